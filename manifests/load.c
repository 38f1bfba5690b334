/* Reading a manifest, and everything that can be wrong with one. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "manifests/manifest.h"
#include "manifests/quick.h"
#include "manifests/scan.h"
#include "manifests/text.h"

#define DEEPEST 4 /* entries, which one, "needed", which one */
#define FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL) /* a member twice would hide one of the two */

struct loader {
    const char *file; /* for messages */
    const char *text; /* the whole file */
    size_t size;
    struct manifest *m;
    char *error;
    struct scan_step at[DEEPEST]; /* where in the text we are, for messages */
    size_t depth;
};

static void enter(struct loader *l, const char *key, size_t index)
{
    l->at[l->depth++] = (struct scan_step){key, index};
}

static void leave(struct loader *l)
{
    l->depth--;
}

static bool fail(struct loader *l, size_t line, const char *what)
{
    char *plain = text_plain(what);

    if (!l->error && asprintf(&l->error, "%s:%zu: %s", l->file, line, plain) < 0)
        memory_check(NULL);
    free(plain);
    return false;
}

/* What is wrong where we are. Only then the line is looked for. */
__attribute__((format(printf, 2, 3))) static bool wrong(struct loader *l, const char *format, ...)
{
    char *what = NULL;
    const char *where;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&what, format, ap) < 0)
        memory_check(NULL);
    va_end(ap);
    scan_find(l->text, l->text + l->size, l->at, l->depth, &where);
    fail(l, scan_line(l->text, where), what);
    free(what);
    return false;
}

/* The same, of a member of the object where we are. */
static bool wrong_member(struct loader *l, const char *key, const char *why)
{
    enter(l, key, 0);
    wrong(l, "\"%s\" %s", key, why);
    leave(l);
    return false;
}

/* --- members ---------------------------------------------------------------------------------------------------- */

enum need { OPTIONAL, REQUIRED };

static bool get_text(struct loader *l, const json_t *o, const char *key, enum need need, char **out)
{
    const char *why;

    *out = text_get(o, key, &why);
    if (!*out && why) {
        char escaped[64];
        snprintf(escaped, sizeof escaped, "%s_escaped", key);
        return wrong_member(l, json_object_get(o, escaped) ? escaped : key, why);
    }
    return *out || need == OPTIONAL || wrong_member(l, key, "is missing");
}

static bool get_integer(struct loader *l, const json_t *o, const char *key, enum need need, int64_t least,
                        int64_t most, int64_t *out)
{
    const json_t *value = json_object_get(o, key);
    char why[64];

    if (!value)
        return need == OPTIONAL || wrong_member(l, key, "is missing");
    if (!json_is_integer(value))
        return wrong_member(l, key, "is not a whole number");
    *out = json_integer_value(value);
    if (*out >= least && *out <= most)
        return true;
    snprintf(why, sizeof why, "is %" PRId64 ", which cannot be", *out);
    return wrong_member(l, key, why);
}

static bool get_count(struct loader *l, const json_t *o, const char *key, uint64_t *out)
{
    int64_t n = 0;

    if (!get_integer(l, o, key, OPTIONAL, 0, INT64_MAX, &n))
        return false;
    *out = (uint64_t)n;
    return true;
}

static bool get_bool(struct loader *l, const json_t *o, const char *key, bool *out)
{
    const json_t *value = json_object_get(o, key);

    if (value && !json_is_boolean(value))
        return wrong_member(l, key, "is neither true nor false");
    *out = json_is_true(value);
    return true;
}

static bool get_list(struct loader *l, const json_t *o, const char *key, enum need need, char ***list, size_t *count)
{
    const json_t *array = json_object_get(o, key), *value;
    const char *why;
    size_t i;

    if (!array)
        return need == OPTIONAL || wrong_member(l, key, "is missing");
    if (!json_is_array(array))
        return wrong_member(l, key, "is not an array");
    *list = memory_new(json_array_size(array), sizeof **list);
    json_array_foreach(array, i, value) {
        char *text = text_of_element(value, &why);
        if (!text) {
            enter(l, key, 0);
            enter(l, NULL, i);
            return wrong(l, "element %zu of \"%s\" %s", i + 1, key, why);
        }
        (*list)[(*count)++] = text;
    }
    return true;
}

/* --- entries ---------------------------------------------------------------------------------------------------- */

static bool get_kind(struct loader *l, const json_t *o, enum manifest_kind *kind)
{
    const json_t *value = json_object_get(o, "kind");

    if (!value)
        return wrong_member(l, "kind", "is missing");
    if (!json_is_string(value))
        return wrong_member(l, "kind", "is not a string");
    for (int i = 0; i < MANIFEST_KINDS; i++) {
        if (strcmp(json_string_value(value), manifest_kind_names[i]) == 0) {
            *kind = (enum manifest_kind)i;
            return true;
        }
    }
    return wrong_member(l, "kind", "is none that is known");
}

static bool get_digest(struct loader *l, const json_t *o, struct manifest_entry *e)
{
    const json_t *value = json_object_get(o, "xxh3_128");
    const char *hex = json_string_value(value);

    if (!value)
        return true;
    if (!hex || strlen(hex) != 32 || strspn(hex, "0123456789abcdef") != 32)
        return wrong_member(l, "xxh3_128", "is not 32 lower-case hexadecimal digits");
    for (int i = 0; i < 16; i++)
        e->digest[i] = (uint8_t)(text_digit(hex[2 * i]) << 4 | text_digit(hex[2 * i + 1]));
    e->has_digest = true;
    return true;
}

static bool get_counts(struct loader *l, const json_t *o, struct manifest_counts *c)
{
    const json_t *counts = json_object_get(o, "counts");

    if (!counts)
        return true;
    if (!json_is_object(counts))
        return wrong_member(l, "counts", "is not an object");
    enter(l, "counts", 0);
    const bool ok = get_count(l, counts, "stat", &c->stat) && get_count(l, counts, "open", &c->open) &&
                    get_count(l, counts, "list", &c->list) && get_count(l, counts, "load", &c->load) &&
                    get_count(l, counts, "exec", &c->exec) && get_count(l, counts, "write", &c->write);
    leave(l);
    return ok;
}

static bool get_stat(struct loader *l, const json_t *o, struct manifest_entry *e)
{
    int64_t size = 0, mode = 0;

    e->has_stat = json_object_get(o, "size") || json_object_get(o, "mtime_ns") || json_object_get(o, "mode");
    if (!e->has_stat)
        return true;
    if (e->kind == MANIFEST_ABSENT)
        return wrong(l, "something absent has no size, mtime_ns or mode");
    if (!get_integer(l, o, "size", REQUIRED, 0, INT64_MAX, &size) ||
        !get_integer(l, o, "mtime_ns", REQUIRED, INT64_MIN, INT64_MAX, &e->mtime_ns) ||
        !get_integer(l, o, "mode", REQUIRED, 0, 0177777, &mode))
        return false;
    e->size = (uint64_t)size;
    e->mode = (uint32_t)mode;
    return true;
}

static bool load_entry(struct loader *l, const json_t *o)
{
    char *path = NULL;
    enum manifest_kind kind = MANIFEST_DATA;
    int64_t processes = 0, ranks = 0, pilots = 0;

    if (!json_is_object(o))
        return wrong(l, "an entry is not an object");
    if (!get_text(l, o, "path", REQUIRED, &path))
        return false;
    bool ok = path[0] == '/' || wrong(l, "the path \"%.200s\" is not absolute", path);
    ok = ok && get_kind(l, o, &kind);
    struct manifest_entry *e = ok ? manifest_add(l->m, path, kind) : NULL;
    free(path);
    if (!e || !get_bool(l, o, "volatile", &e->is_volatile) || !get_bool(l, o, "stale", &e->is_stale) ||
        !get_stat(l, o, e) || !get_digest(l, o, e) ||
        !get_text(l, o, "target", OPTIONAL, &e->target) || !get_text(l, o, "soname", OPTIONAL, &e->soname) ||
        !get_list(l, o, "needed", OPTIONAL, &e->needed, &e->needed_count) || !get_counts(l, o, &e->counts) ||
        !get_count(l, o, "order", &e->order) || !get_count(l, o, "first_ns", &e->first_ns) ||
        !get_integer(l, o, "processes", OPTIONAL, 0, UINT32_MAX, &processes) ||
        !get_integer(l, o, "ranks", OPTIONAL, 0, UINT32_MAX, &ranks) ||
        !get_integer(l, o, "pilots", OPTIONAL, 0, UINT32_MAX, &pilots))
        return false;
    e->processes = (uint32_t)processes;
    e->ranks = (uint32_t)ranks;
    e->pilots = (uint32_t)pilots;
    if (e->is_volatile && kind != MANIFEST_DIRECTORY)
        return wrong(l, "only a directory can be volatile");
    if (e->is_stale && kind != MANIFEST_BYTECODE)
        return wrong(l, "only bytecode can be stale");
    return true;
}

/* Entry number i, wherever it came from. */
static bool load_element(struct loader *l, size_t i, const json_t *value)
{
    enter(l, "entries", 0);
    enter(l, NULL, i);
    const bool ok = load_entry(l, value);
    if (ok)
        l->depth -= 2;
    return ok;
}

/* The place in the file is not known any more: the second of the same path is looked for. Only for the message. */
static bool path_twice(struct loader *l, const char *path)
{
    const char *end = l->text + l->size, *deepest;
    bool first = true;

    enter(l, "entries", 0);
    enter(l, NULL, 0);
    for (const char *p = scan_find(l->text, end, l->at, 2, &deepest); p;) {
        json_t *o = json_loadb(p, (size_t)(end - p), FLAGS | JSON_DISABLE_EOF_CHECK, NULL);
        const char *why;
        char *other = text_get(o, "path", &why);
        const bool same = other && strcmp(other, path) == 0;
        free(other);
        json_decref(o);
        if (same && !first)
            return fail(l, scan_line(l->text, p), "two entries have the same path");
        first = first && !same;
        p = scan_skip(p, end);
        p = p ? scan_space(p, end) : NULL;
        p = p && p < end && *p == ',' ? scan_space(p + 1, end) : NULL;
    }
    return wrong(l, "two entries have the same path");
}

static bool finish_entries(struct loader *l)
{
    manifest_sort(l->m);
    for (size_t i = 1; i < l->m->entry_count; i++)
        if (strcmp(l->m->entries[i - 1].path, l->m->entries[i].path) == 0)
            return path_twice(l, l->m->entries[i].path);
    return true;
}

static bool load_whole_entries(struct loader *l, const json_t *root)
{
    const json_t *entries = json_object_get(root, "entries"), *value;
    size_t i;

    if (!entries)
        return wrong_member(l, "entries", "is missing");
    if (!json_is_array(entries))
        return wrong_member(l, "entries", "is not an array");
    json_array_foreach(entries, i, value)
        if (!load_element(l, i, value))
            return false;
    return finish_entries(l);
}

static bool not_json(struct loader *l, size_t line, const char *why)
{
    char *what;

    if (asprintf(&what, "not JSON: %s", why) < 0)
        memory_check(NULL);
    fail(l, line, what);
    free(what);
    return false;
}

/* Element i, which begins at p; *behind is where it ends. */
static bool load_part(struct loader *l, size_t i, const char *p, const char *end, const char **behind)
{
    json_error_t e;
    json_t *value = json_loadb(p, (size_t)(end - p), FLAGS | JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY, &e);

    if (!value)
        return not_json(l, scan_line(l->text, p) + (size_t)e.line - 1, e.text);
    const bool ok = load_element(l, i, value);
    json_decref(value);
    *behind = p + e.position;
    return ok;
}

/* The elements of the array [from, end): one at a time, since all together as JSON they take ten times their text. */
static bool load_parts(struct loader *l, const char *from, const char *end)
{
    const char *p = scan_space(from + 1, end);

    for (size_t i = 0; i > 0 || *p != ']'; i++) {
        const char *behind = quick_entry(p, end, l->m);
        if (!behind && !load_part(l, i, p, end, &behind))
            return false;
        p = scan_space(behind, end);
        if (p == end - 1)
            break;
        if (*p != ',')
            return not_json(l, scan_line(l->text, p), "',' or ']' expected behind an entry");
        p = scan_space(p + 1, end);
    }
    return finish_entries(l);
}

/* --- the head --------------------------------------------------------------------------------------------------- */

static bool load_format(struct loader *l, const json_t *root)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    int64_t version = 0;

    enter(l, "format", 0);
    if (!format || strcmp(format, MANIFEST_FORMAT) != 0)
        return wrong(l, "this is not a manifest: \"format\" is not \"" MANIFEST_FORMAT "\"");
    leave(l);
    if (!get_integer(l, root, "version", REQUIRED, 1, INT64_MAX, &version))
        return false;
    enter(l, "version", 0);
    if (version > MANIFEST_VERSION)
        return wrong(l, "the manifest has version %" PRId64 "; this dlcache reads up to version %d", version,
                     MANIFEST_VERSION);
    leave(l);
    return true;
}

/* The next element of the array `key`, of objects. */
static bool enter_object(struct loader *l, const char *key, size_t i, const json_t *value)
{
    enter(l, key, 0);
    enter(l, NULL, i);
    return json_is_object(value) || wrong(l, "element %zu of \"%s\" is not an object", i + 1, key);
}

static bool load_search(struct loader *l, const json_t *root)
{
    const json_t *array = json_object_get(root, "search"), *value;
    size_t i;

    if (!array)
        return true;
    if (!json_is_array(array))
        return wrong_member(l, "search", "is not an array");
    l->m->search = memory_new(json_array_size(array), sizeof *l->m->search);
    json_array_foreach(array, i, value) {
        struct manifest_variable *v = &l->m->search[l->m->search_count++];
        if (!enter_object(l, "search", i, value) || !get_text(l, value, "name", REQUIRED, &v->name) ||
            !get_text(l, value, "value", REQUIRED, &v->value))
            return false;
        l->depth -= 2;
    }
    return true;
}

static bool load_mounts(struct loader *l, const json_t *root)
{
    const json_t *array = json_object_get(root, "mounts"), *value;
    size_t i;

    if (!array)
        return true;
    if (!json_is_array(array))
        return wrong_member(l, "mounts", "is not an array");
    l->m->mounts = memory_new(json_array_size(array), sizeof *l->m->mounts);
    json_array_foreach(array, i, value) {
        struct manifest_mount *mount = &l->m->mounts[l->m->mount_count++];
        if (!enter_object(l, "mounts", i, value) || !get_text(l, value, "point", REQUIRED, &mount->point) ||
            !get_text(l, value, "type", REQUIRED, &mount->type) ||
            !get_text(l, value, "source", REQUIRED, &mount->source) ||
            !get_text(l, value, "root", REQUIRED, &mount->root))
            return false;
        l->depth -= 2;
    }
    return true;
}

static bool is_digest(const char *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static bool load_pilots(struct loader *l, const json_t *root)
{
    const json_t *array = json_object_get(root, "pilots"), *value;
    size_t i;

    if (!array)
        return true;
    if (!json_is_array(array))
        return wrong_member(l, "pilots", "is not an array");
    l->m->pilots = memory_new(json_array_size(array), sizeof *l->m->pilots);
    json_array_foreach(array, i, value) {
        struct manifest_pilot *p = &l->m->pilots[l->m->pilot_count++];
        int64_t processes = 0, ranks = 0, status = 0;
        if (!enter_object(l, "pilots", i, value) || !get_text(l, value, "id", REQUIRED, &p->id) ||
            !get_list(l, value, "command", OPTIONAL, &p->command, &p->command_count) ||
            !get_text(l, value, "host", OPTIONAL, &p->host) ||
            !get_text(l, value, "recorded", OPTIONAL, &p->recorded) ||
            !get_integer(l, value, "processes", OPTIONAL, 0, UINT32_MAX, &processes) ||
            !get_integer(l, value, "ranks", OPTIONAL, 0, UINT32_MAX, &ranks) ||
            !get_integer(l, value, "exit_status", OPTIONAL, 0, 255, &status))
            return false;
        if (!is_digest(p->id))
            return wrong_member(l, "id", "is not 32 lower-case hexadecimal digits");
        p->processes = (uint32_t)processes;
        p->ranks = (uint32_t)ranks;
        p->exit_status = (int)status;
        l->depth -= 2;
    }
    return true;
}

static bool load_policy(struct loader *l, const json_t *root)
{
    const json_t *policy = json_object_get(root, "policy");
    struct manifest *m = l->m;

    if (!policy)
        return wrong_member(l, "policy", "is missing");
    if (!json_is_object(policy))
        return wrong_member(l, "policy", "is not an object");
    enter(l, "policy", 0);
    if (!get_bool(l, policy, "all", &m->policy.all) ||
        !get_list(l, policy, "include", OPTIONAL, &m->policy.include, &m->policy.include_count) ||
        !get_list(l, policy, "exclude", OPTIONAL, &m->policy.exclude, &m->policy.exclude_count) ||
        !get_list(l, policy, "prefixes", REQUIRED, &m->policy.prefixes, &m->policy.prefix_count))
        return false;
    enter(l, "prefixes", 0);
    for (size_t i = 0; i < m->policy.prefix_count; i++) {
        enter(l, NULL, i);
        if (m->policy.prefixes[i][0] != '/')
            return wrong(l, "the prefix \"%.200s\" is not absolute", m->policy.prefixes[i]);
        leave(l);
    }
    l->depth = 0;
    return true;
}

static bool load_head(struct loader *l, const json_t *root)
{
    struct manifest *m = l->m;
    int64_t processes = 0, ranks = 0, status = 0;

    if (!json_is_object(root))
        return wrong(l, "this is not a manifest: not an object");
    if (!load_format(l, root) || !get_list(l, root, "command", REQUIRED, &m->command, &m->command_count) ||
        !get_text(l, root, "cwd", OPTIONAL, &m->cwd) || !get_text(l, root, "host", OPTIONAL, &m->host) ||
        !get_text(l, root, "recorded", OPTIONAL, &m->recorded) ||
        !get_text(l, root, "interpreter", OPTIONAL, &m->interpreter) ||
        !get_integer(l, root, "processes", OPTIONAL, 0, UINT32_MAX, &processes) ||
        !get_integer(l, root, "ranks", OPTIONAL, 0, UINT32_MAX, &ranks) ||
        !get_list(l, root, "hosts", OPTIONAL, &m->hosts, &m->host_count) ||
        !get_integer(l, root, "exit_status", OPTIONAL, 0, 255, &status) || !load_search(l, root) ||
        !load_mounts(l, root) || !load_policy(l, root) || !load_pilots(l, root))
        return false;
    m->processes = (uint32_t)processes;
    m->ranks = (uint32_t)ranks;
    m->exit_status = (int)status;
    return true;
}

/* --- the file --------------------------------------------------------------------------------------------------- */

/* All of a descriptor: heap, with a NUL behind it; NULL with errno. */
static char *read_whole(int fd, size_t *size)
{
    size_t capacity = 0;
    char *text = NULL;

    *size = 0;
    for (;;) {
        text = memory_grow(text, &capacity, *size + 65536 + 1, 1);
        const ssize_t n = read(fd, text + *size, capacity - *size - 1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            free(text);
            return NULL;
        }
        if (n == 0)
            break;
        *size += (size_t)n;
    }
    text[*size] = '\0';
    return text;
}

static char *message(const char *file, const char *what)
{
    char *text;

    if (asprintf(&text, "%s: %s", file, what) < 0)
        memory_check(NULL);
    return text;
}

/* All but what is in the array [from, end), with as many lines. Heap. */
static char *without(const struct loader *l, const char *from, const char *end, size_t *size)
{
    const size_t before = (size_t)(from + 1 - l->text), after = (size_t)(l->text + l->size - end) + 1;
    const size_t lines = scan_line(from, end) - 1;
    char *text = memory_check(malloc(before + lines + after));

    memcpy(text, l->text, before);
    memset(text + before, '\n', lines);
    memcpy(text + before + lines, end - 1, after);
    *size = before + lines + after;
    return text;
}

static bool load_text(struct loader *l)
{
    const struct scan_step step = {"entries", 0};
    const char *end = l->text + l->size, *deepest;
    const char *array = scan_find(l->text, end, &step, 1, &deepest);
    const char *array_end = array && *array == '[' ? scan_skip(array, end) : NULL;
    size_t size = l->size;
    char *rest = array_end ? without(l, array, array_end, &size) : NULL;
    json_error_t e;
    json_t *root = json_loadb(rest ? rest : l->text, size, FLAGS, &e);

    bool ok = root ? load_head(l, root) : not_json(l, (size_t)(e.line > 0 ? e.line : 1), e.text);
    /* Where the array could not be told from the rest, the rest has it. */
    ok = ok && (array_end ? load_parts(l, array, array_end) : load_whole_entries(l, root));
    json_decref(root);
    free(rest);
    return ok;
}

struct manifest *manifest_load(const char *file, char **error)
{
    const bool standard = strcmp(file, "-") == 0;
    struct loader l = {.file = standard ? "standard input" : file};
    const int fd = standard ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    char *text = fd < 0 ? NULL : read_whole(fd, &l.size);
    const int saved = errno;

    if (fd >= 0 && !standard)
        close(fd);
    if (!text) {
        *error = message(l.file, strerror(saved));
        return NULL;
    }
    l.text = text;
    l.m = manifest_new();
    const bool ok = l.size ? load_text(&l) : fail(&l, 1, "the file is empty");
    free(text);
    if (!ok) {
        manifest_free(l.m);
        *error = l.error;
        return NULL;
    }
    return l.m;
}
