/* Reading a manifest, and everything that can be wrong with one: the file, and its entries. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "manifests/loader.h"
#include "manifests/manifest.h"
#include "manifests/quick.h"
#include "manifests/scan.h"
#include "manifests/text.h"

#define FLAGS (JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL) /* a member twice would hide one of the two */

/* --- entries ---------------------------------------------------------------------------------------------------- */

static bool get_kind(struct loader *l, const json_t *o, enum manifest_kind *kind)
{
    const json_t *value = json_object_get(o, "kind");

    if (!value)
        return loader_wrong_member(l, "kind", "is missing");
    if (!json_is_string(value))
        return loader_wrong_member(l, "kind", "is not a string");
    for (int i = 0; i < MANIFEST_KINDS; i++) {
        if (strcmp(json_string_value(value), manifest_kind_names[i]) == 0) {
            *kind = (enum manifest_kind)i;
            return true;
        }
    }
    return loader_wrong_member(l, "kind", "is none that is known");
}

static bool get_digest(struct loader *l, const json_t *o, struct manifest_entry *e)
{
    const json_t *value = json_object_get(o, "xxh3_128");
    const char *hex = json_string_value(value);

    if (!value)
        return true;
    if (!hex || strlen(hex) != 32 || strspn(hex, "0123456789abcdef") != 32)
        return loader_wrong_member(l, "xxh3_128", "is not 32 lower-case hexadecimal digits");
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
        return loader_wrong_member(l, "counts", "is not an object");
    loader_enter(l, "counts", 0);
    const bool ok = loader_count(l, counts, "stat", &c->stat) && loader_count(l, counts, "open", &c->open) &&
                    loader_count(l, counts, "list", &c->list) && loader_count(l, counts, "load", &c->load) &&
                    loader_count(l, counts, "exec", &c->exec) && loader_count(l, counts, "write", &c->write);
    loader_leave(l);
    return ok;
}

static bool get_stat(struct loader *l, const json_t *o, struct manifest_entry *e)
{
    int64_t size = 0, mode = 0;

    e->has_stat = json_object_get(o, "size") || json_object_get(o, "mtime_ns") || json_object_get(o, "mode");
    if (!e->has_stat)
        return true;
    if (e->kind == MANIFEST_ABSENT)
        return loader_wrong(l, "something absent has no size, mtime_ns or mode");
    if (!loader_integer(l, o, "size", LOADER_REQUIRED, 0, INT64_MAX, &size) ||
        !loader_integer(l, o, "mtime_ns", LOADER_REQUIRED, INT64_MIN, INT64_MAX, &e->mtime_ns) ||
        !loader_integer(l, o, "mode", LOADER_REQUIRED, 0, 0177777, &mode))
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
        return loader_wrong(l, "an entry is not an object");
    if (!loader_text(l, o, "path", LOADER_REQUIRED, &path))
        return false;
    bool ok = path[0] == '/' || loader_wrong(l, "the path \"%.200s\" is not absolute", path);
    ok = ok && get_kind(l, o, &kind);
    struct manifest_entry *e = ok ? manifest_add(l->m, path, kind) : NULL;
    free(path);
    if (!e || !loader_bool(l, o, "volatile", &e->is_volatile) || !loader_bool(l, o, "stale", &e->is_stale) ||
        !get_stat(l, o, e) || !get_digest(l, o, e) ||
        !loader_text(l, o, "target", LOADER_OPTIONAL, &e->target) ||
        !loader_text(l, o, "soname", LOADER_OPTIONAL, &e->soname) ||
        !loader_list(l, o, "needed", LOADER_OPTIONAL, &e->needed, &e->needed_count) || !get_counts(l, o, &e->counts) ||
        !loader_count(l, o, "order", &e->order) || !loader_count(l, o, "first_ns", &e->first_ns) ||
        !loader_integer(l, o, "processes", LOADER_OPTIONAL, 0, UINT32_MAX, &processes) ||
        !loader_integer(l, o, "ranks", LOADER_OPTIONAL, 0, UINT32_MAX, &ranks) ||
        !loader_integer(l, o, "pilots", LOADER_OPTIONAL, 0, UINT32_MAX, &pilots))
        return false;
    e->processes = (uint32_t)processes;
    e->ranks = (uint32_t)ranks;
    e->pilots = (uint32_t)pilots;
    if (e->is_volatile && kind != MANIFEST_DIRECTORY)
        return loader_wrong(l, "only a directory can be volatile");
    if (e->is_stale && kind != MANIFEST_BYTECODE)
        return loader_wrong(l, "only bytecode can be stale");
    return true;
}

/* Entry number i, wherever it came from. */
static bool load_element(struct loader *l, size_t i, const json_t *value)
{
    loader_enter(l, "entries", 0);
    loader_enter(l, NULL, i);
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

    loader_enter(l, "entries", 0);
    loader_enter(l, NULL, 0);
    for (const char *p = scan_find(l->text, end, l->at, 2, &deepest); p;) {
        json_t *o = json_loadb(p, (size_t)(end - p), FLAGS | JSON_DISABLE_EOF_CHECK, NULL);
        const char *why;
        char *other = text_get(o, "path", &why);
        const bool same = other && strcmp(other, path) == 0;
        free(other);
        json_decref(o);
        if (same && !first)
            return loader_fail(l, scan_line(l->text, p), "two entries have the same path");
        first = first && !same;
        p = scan_skip(p, end);
        p = p ? scan_space(p, end) : NULL;
        p = p && p < end && *p == ',' ? scan_space(p + 1, end) : NULL;
    }
    return loader_wrong(l, "two entries have the same path");
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
        return loader_wrong_member(l, "entries", "is missing");
    if (!json_is_array(entries))
        return loader_wrong_member(l, "entries", "is not an array");
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
    loader_fail(l, line, what);
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

    bool ok = root ? loader_head(l, root) : not_json(l, (size_t)(e.line > 0 ? e.line : 1), e.text);
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
    const bool ok = l.size ? load_text(&l) : loader_fail(&l, 1, "the file is empty");
    free(text);
    if (!ok) {
        manifest_free(l.m);
        *error = l.error;
        return NULL;
    }
    return l.m;
}
