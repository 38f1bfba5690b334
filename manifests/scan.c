#include "manifests/scan.h"

#include <string.h>

const char *scan_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* Behind the string whose opening quote is at p. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end; p++) {
        if (*p == '\\')
            p++;
        else if (*p == '"')
            return p + 1;
    }
    return NULL;
}

/* No recursion: how deep a hostile text nests must not matter. */
static const char *skip_nested(const char *p, const char *end)
{
    size_t depth = 0;

    while (p && p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        depth += *p == '[' || *p == '{';
        depth -= *p == ']' || *p == '}';
        p++;
        if (depth == 0)
            return p;
    }
    return NULL;
}

const char *scan_skip(const char *p, const char *end)
{
    if (p == end)
        return NULL;
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '[' || *p == '{')
        return skip_nested(p, end);
    while (p < end && !strchr(",]} \t\r\n", *p))
        p++;
    return p;
}

/* The member or element of the container at p. */
static const char *step_down(const char *p, const char *end, const struct scan_step *step)
{
    const size_t n = step->key ? strlen(step->key) : 0;

    if (p == end || *p != (step->key ? '{' : '['))
        return NULL;
    for (size_t i = 0; p < end; i++) {
        const char *key = NULL;
        p = scan_space(p + 1, end); /* behind the bracket, or the comma */
        if (step->key) {
            if (p == end || *p != '"')
                return NULL;
            key = p + 1;
            p = skip_string(p, end);
            p = p ? scan_space(p, end) : NULL;
            if (!p || p == end || *p != ':')
                return NULL;
            p = scan_space(p + 1, end);
        }
        if (p == end || *p == ']' || *p == '}')
            return NULL;
        if (key ? (size_t)(end - key) > n && memcmp(key, step->key, n) == 0 && key[n] == '"' : i == step->index)
            return p;
        p = scan_skip(p, end);
        p = p ? scan_space(p, end) : NULL;
        if (!p || p == end || *p != ',')
            return NULL;
    }
    return NULL;
}

const char *scan_find(const char *text, const char *end, const struct scan_step *steps, size_t count,
                      const char **deepest)
{
    const char *p = scan_space(text, end);

    *deepest = p;
    for (size_t i = 0; i < count && p; i++) {
        p = step_down(p, end, &steps[i]);
        if (p)
            *deepest = p;
    }
    return p;
}

size_t scan_line(const char *text, const char *p)
{
    size_t line = 1;

    while ((text = memchr(text, '\n', (size_t)(p - text)))) {
        line++;
        text++;
    }
    return line;
}
