#include "manifests/loader.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>

#include "facts/memory.h"
#include "manifests/text.h"

void loader_enter(struct loader *l, const char *key, size_t index)
{
    l->at[l->depth++] = (struct scan_step){key, index};
}

void loader_leave(struct loader *l)
{
    l->depth--;
}

bool loader_fail(struct loader *l, size_t line, const char *what)
{
    char *plain = text_plain(what);

    if (!l->error && asprintf(&l->error, "%s:%zu: %s", l->file, line, plain) < 0)
        memory_check(NULL);
    free(plain);
    return false;
}

/* What is wrong where we are. Only then the line is looked for. */
bool loader_wrong(struct loader *l, const char *format, ...)
{
    char *what = NULL;
    const char *where;
    va_list ap;

    va_start(ap, format);
    if (vasprintf(&what, format, ap) < 0)
        memory_check(NULL);
    va_end(ap);
    scan_find(l->text, l->text + l->size, l->at, l->depth, &where);
    loader_fail(l, scan_line(l->text, where), what);
    free(what);
    return false;
}

/* The same, of a member of the object where we are. */
bool loader_wrong_member(struct loader *l, const char *key, const char *why)
{
    loader_enter(l, key, 0);
    loader_wrong(l, "\"%s\" %s", key, why);
    loader_leave(l);
    return false;
}

/* --- members ---------------------------------------------------------------------------------------------------- */

bool loader_text(struct loader *l, const json_t *o, const char *key, enum loader_need need, char **out)
{
    const char *why;

    *out = text_get(o, key, &why);
    if (!*out && why) {
        char escaped[64];
        snprintf(escaped, sizeof escaped, "%s_escaped", key);
        return loader_wrong_member(l, json_object_get(o, escaped) ? escaped : key, why);
    }
    return *out || need == LOADER_OPTIONAL || loader_wrong_member(l, key, "is missing");
}

bool loader_integer(struct loader *l, const json_t *o, const char *key, enum loader_need need, int64_t least,
                    int64_t most, int64_t *out)
{
    const json_t *value = json_object_get(o, key);
    char why[64];

    if (!value)
        return need == LOADER_OPTIONAL || loader_wrong_member(l, key, "is missing");
    if (!json_is_integer(value))
        return loader_wrong_member(l, key, "is not a whole number");
    *out = json_integer_value(value);
    if (*out >= least && *out <= most)
        return true;
    snprintf(why, sizeof why, "is %" PRId64 ", which cannot be", *out);
    return loader_wrong_member(l, key, why);
}

bool loader_count(struct loader *l, const json_t *o, const char *key, uint64_t *out)
{
    int64_t n = 0;

    if (!loader_integer(l, o, key, LOADER_OPTIONAL, 0, INT64_MAX, &n))
        return false;
    *out = (uint64_t)n;
    return true;
}

bool loader_bool(struct loader *l, const json_t *o, const char *key, bool *out)
{
    const json_t *value = json_object_get(o, key);

    if (value && !json_is_boolean(value))
        return loader_wrong_member(l, key, "is neither true nor false");
    *out = json_is_true(value);
    return true;
}

bool loader_list(struct loader *l, const json_t *o, const char *key, enum loader_need need, char ***list,
                 size_t *count)
{
    const json_t *array = json_object_get(o, key), *value;
    const char *why;
    size_t i;

    if (!array)
        return need == LOADER_OPTIONAL || loader_wrong_member(l, key, "is missing");
    if (!json_is_array(array))
        return loader_wrong_member(l, key, "is not an array");
    *list = memory_new(json_array_size(array), sizeof **list);
    json_array_foreach(array, i, value) {
        char *text = text_of_element(value, &why);
        if (!text) {
            loader_enter(l, key, 0);
            loader_enter(l, NULL, i);
            return loader_wrong(l, "element %zu of \"%s\" %s", i + 1, key, why);
        }
        (*list)[(*count)++] = text;
    }
    return true;
}
