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
#include "manifests/text.h"

struct loader {
    const char *file; /* for messages */
    const char *text; /* the whole file */
    size_t size;
    struct manifest *m;
    char *error;
    bool in_entries;  /* which entry is being read */
    size_t entry;
};

/* The line on which entry number `wanted` begins: counts the objects at the depth of the entries. Only for messages. */
static unsigned line_of_entry(const struct loader *l, size_t wanted)
{
    const char *p = memmem(l->text, l->size, "\"entries\"", 9);
    const char *end = l->text + l->size;
    unsigned line = 1;
    int depth = 0;
    size_t seen = 0;
    bool in_string = false;

    if (!p)
        return 0;
    for (const char *q = l->text; q < p; q++)
        line += *q == '\n';
    for (p += 9; p < end; p++) {
        if (*p == '\n')
            line++;
        if (in_string) {
            if (*p == '\\')
                p++;
            else if (*p == '"')
                in_string = false;
        } else if (*p == '"') {
            in_string = true;
        } else if (*p == '{') {
            if (depth++ == 0 && seen++ == wanted)
                return line;
        } else if (*p == '}') {
            depth--;
        }
    }
    return 0;
}

__attribute__((format(printf, 2, 3))) static bool wrong(struct loader *l, const char *format, ...)
{
    char *what = NULL;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&what, format, ap) < 0)
        memory_check(NULL);
    va_end(ap);
    if (!l->error) {
        const unsigned line = l->in_entries ? line_of_entry(l, l->entry) : 0;
        int n = line           ? asprintf(&l->error, "%s:%u: %s", l->file, line, what)
                : l->in_entries ? asprintf(&l->error, "%s: entry %zu: %s", l->file, l->entry + 1, what)
                                : asprintf(&l->error, "%s: %s", l->file, what);
        if (n < 0)
            memory_check(NULL);
    }
    free(what);
    return false;
}

/* --- members ---------------------------------------------------------------------------------------------------- */

enum need { OPTIONAL, REQUIRED };

static bool get_text(struct loader *l, const json_t *o, const char *key, enum need need, char **out)
{
    const char *why;

    *out = text_get(o, key, &why);
    if (!*out && why)
        return wrong(l, "\"%s\" %s", key, why);
    if (!*out && need == REQUIRED)
        return wrong(l, "\"%s\" is missing", key);
    return true;
}

static bool get_integer(struct loader *l, const json_t *o, const char *key, enum need need, int64_t least,
                        int64_t most, int64_t *out)
{
    const json_t *value = json_object_get(o, key);

    if (!value)
        return need == OPTIONAL || wrong(l, "\"%s\" is missing", key);
    if (!json_is_integer(value))
        return wrong(l, "\"%s\" is not a whole number", key);
    *out = json_integer_value(value);
    if (*out < least || *out > most)
        return wrong(l, "\"%s\" is %" PRId64 ", which cannot be", key, *out);
    return true;
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
        return wrong(l, "\"%s\" is neither true nor false", key);
    *out = json_is_true(value);
    return true;
}

static bool get_list(struct loader *l, const json_t *o, const char *key, enum need need, char ***list, size_t *count)
{
    const json_t *array = json_object_get(o, key), *value;
    const char *why;
    size_t i;

    if (!array)
        return need == OPTIONAL || wrong(l, "\"%s\" is missing", key);
    if (!json_is_array(array))
        return wrong(l, "\"%s\" is not an array", key);
    *list = memory_new(json_array_size(array), sizeof **list);
    json_array_foreach(array, i, value) {
        char *text = text_of_element(value, &why);
        if (!text)
            return wrong(l, "element %zu of \"%s\" %s", i + 1, key, why);
        (*list)[(*count)++] = text;
    }
    return true;
}

/* --- entries ---------------------------------------------------------------------------------------------------- */

static bool get_kind(struct loader *l, const json_t *o, enum manifest_kind *kind)
{
    const json_t *value = json_object_get(o, "kind");

    if (!value)
        return wrong(l, "\"kind\" is missing");
    if (!json_is_string(value))
        return wrong(l, "\"kind\" is not a string");
    for (int i = 0; i < MANIFEST_KINDS; i++) {
        if (strcmp(json_string_value(value), manifest_kind_names[i]) == 0) {
            *kind = (enum manifest_kind)i;
            return true;
        }
    }
    return wrong(l, "the kind \"%.40s\" is not known", json_string_value(value));
}

static bool get_digest(struct loader *l, const json_t *o, struct manifest_entry *e)
{
    const json_t *value = json_object_get(o, "xxh3_128");
    const char *hex = json_string_value(value);

    if (!value)
        return true;
    if (!hex || strlen(hex) != 32 || strspn(hex, "0123456789abcdef") != 32)
        return wrong(l, "\"xxh3_128\" is not 32 lower-case hexadecimal digits");
    for (int i = 0; i < 16; i++) {
        unsigned byte;
        sscanf(hex + 2 * i, "%2x", &byte);
        e->digest[i] = (uint8_t)byte;
    }
    e->has_digest = true;
    return true;
}

static bool get_counts(struct loader *l, const json_t *o, struct manifest_counts *c)
{
    const json_t *counts = json_object_get(o, "counts");

    if (!counts)
        return true;
    if (!json_is_object(counts))
        return wrong(l, "\"counts\" is not an object");
    return get_count(l, counts, "stat", &c->stat) && get_count(l, counts, "open", &c->open) &&
           get_count(l, counts, "list", &c->list) && get_count(l, counts, "load", &c->load) &&
           get_count(l, counts, "exec", &c->exec) && get_count(l, counts, "write", &c->write);
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
    int64_t processes = 0;

    if (!json_is_object(o))
        return wrong(l, "an entry is not an object");
    if (!get_text(l, o, "path", REQUIRED, &path))
        return false;
    bool ok = path[0] == '/' || wrong(l, "the path \"%.200s\" is not absolute", path);
    ok = ok && get_kind(l, o, &kind);
    struct manifest_entry *e = ok ? manifest_add(l->m, path, kind) : NULL;
    free(path);
    if (!e || !get_bool(l, o, "volatile", &e->is_volatile) || !get_stat(l, o, e) || !get_digest(l, o, e) ||
        !get_text(l, o, "target", OPTIONAL, &e->target) || !get_text(l, o, "soname", OPTIONAL, &e->soname) ||
        !get_list(l, o, "needed", OPTIONAL, &e->needed, &e->needed_count) || !get_counts(l, o, &e->counts) ||
        !get_count(l, o, "order", &e->order) || !get_count(l, o, "first_ns", &e->first_ns) ||
        !get_integer(l, o, "processes", OPTIONAL, 0, UINT32_MAX, &processes))
        return false;
    e->processes = (uint32_t)processes;
    if (e->is_volatile && kind != MANIFEST_DIRECTORY)
        return wrong(l, "only a directory can be volatile");
    return true;
}

static bool load_entries(struct loader *l, const json_t *root)
{
    const json_t *entries = json_object_get(root, "entries"), *value;

    if (!entries)
        return wrong(l, "\"entries\" is missing");
    if (!json_is_array(entries))
        return wrong(l, "\"entries\" is not an array");
    l->in_entries = true;
    json_array_foreach(entries, l->entry, value)
        if (!load_entry(l, value))
            return false;
    l->in_entries = false;
    manifest_sort(l->m);
    for (size_t i = 1; i < l->m->entry_count; i++)
        if (strcmp(l->m->entries[i - 1].path, l->m->entries[i].path) == 0)
            return wrong(l, "two entries have the path %s", l->m->entries[i].path);
    return true;
}

/* --- the head --------------------------------------------------------------------------------------------------- */

static bool load_format(struct loader *l, const json_t *root)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    int64_t version = 0;

    if (!format || strcmp(format, MANIFEST_FORMAT) != 0)
        return wrong(l, "this is not a manifest: \"format\" is not \"" MANIFEST_FORMAT "\"");
    if (!get_integer(l, root, "version", REQUIRED, 1, INT64_MAX, &version))
        return false;
    if (version > MANIFEST_VERSION)
        return wrong(l, "the manifest has version %" PRId64 "; this dlcache reads up to version %d", version,
                     MANIFEST_VERSION);
    return true;
}

static bool load_search(struct loader *l, const json_t *root)
{
    const json_t *array = json_object_get(root, "search"), *value;
    size_t i;

    if (!array)
        return true;
    if (!json_is_array(array))
        return wrong(l, "\"search\" is not an array");
    l->m->search = memory_new(json_array_size(array), sizeof *l->m->search);
    json_array_foreach(array, i, value) {
        struct manifest_variable *v = &l->m->search[l->m->search_count++];
        if (!json_is_object(value))
            return wrong(l, "element %zu of \"search\" is not an object", i + 1);
        if (!get_text(l, value, "name", REQUIRED, &v->name) || !get_text(l, value, "value", REQUIRED, &v->value))
            return false;
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
        return wrong(l, "\"mounts\" is not an array");
    l->m->mounts = memory_new(json_array_size(array), sizeof *l->m->mounts);
    json_array_foreach(array, i, value) {
        struct manifest_mount *mount = &l->m->mounts[l->m->mount_count++];
        if (!json_is_object(value))
            return wrong(l, "element %zu of \"mounts\" is not an object", i + 1);
        if (!get_text(l, value, "point", REQUIRED, &mount->point) ||
            !get_text(l, value, "type", REQUIRED, &mount->type) ||
            !get_text(l, value, "source", REQUIRED, &mount->source) ||
            !get_text(l, value, "root", REQUIRED, &mount->root))
            return false;
    }
    return true;
}

static bool load_policy(struct loader *l, const json_t *root)
{
    const json_t *policy = json_object_get(root, "policy");
    struct manifest *m = l->m;

    if (!policy)
        return wrong(l, "\"policy\" is missing");
    if (!json_is_object(policy))
        return wrong(l, "\"policy\" is not an object");
    if (!get_bool(l, policy, "all", &m->policy.all) ||
        !get_list(l, policy, "include", OPTIONAL, &m->policy.include, &m->policy.include_count) ||
        !get_list(l, policy, "exclude", OPTIONAL, &m->policy.exclude, &m->policy.exclude_count) ||
        !get_list(l, policy, "prefixes", REQUIRED, &m->policy.prefixes, &m->policy.prefix_count))
        return false;
    for (size_t i = 0; i < m->policy.prefix_count; i++)
        if (m->policy.prefixes[i][0] != '/')
            return wrong(l, "the prefix \"%.200s\" is not absolute", m->policy.prefixes[i]);
    return true;
}

static bool load_root(struct loader *l, const json_t *root)
{
    struct manifest *m = l->m;
    int64_t processes = 0, status = 0;

    if (!json_is_object(root))
        return wrong(l, "this is not a manifest: not an object");
    if (!load_format(l, root) || !get_list(l, root, "command", REQUIRED, &m->command, &m->command_count) ||
        !get_text(l, root, "cwd", OPTIONAL, &m->cwd) || !get_text(l, root, "host", OPTIONAL, &m->host) ||
        !get_text(l, root, "recorded", OPTIONAL, &m->recorded) ||
        !get_text(l, root, "interpreter", OPTIONAL, &m->interpreter) ||
        !get_integer(l, root, "processes", OPTIONAL, 0, UINT32_MAX, &processes) ||
        !get_integer(l, root, "exit_status", OPTIONAL, 0, 255, &status) || !load_search(l, root) ||
        !load_mounts(l, root) || !load_policy(l, root))
        return false;
    m->processes = (uint32_t)processes;
    m->exit_status = (int)status;
    return load_entries(l, root);
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
    json_error_t e;
    /* A member twice would hide one of the two. */
    json_t *root = json_loadb(text, l.size, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    l.text = text;
    l.m = manifest_new();
    bool ok = root != NULL;
    if (root)
        ok = load_root(&l, root);
    else if (l.size == 0)
        l.error = message(l.file, "the file is empty");
    else if (asprintf(&l.error, "%s:%d: not JSON: %s", l.file, e.line, e.text) < 0)
        memory_check(NULL);
    json_decref(root);
    free(text);
    if (!ok) {
        manifest_free(l.m);
        *error = l.error;
        return NULL;
    }
    return l.m;
}
