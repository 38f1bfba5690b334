#include "manifests/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "facts/memory.h"

/* Length of the UTF-8 sequence at p, or 0: RFC 3629, no surrogates, nothing overlong. */
static size_t sequence(const unsigned char *p)
{
    size_t n;

    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        n = 2;
    else if (p[0] >= 0xe0 && p[0] <= 0xef)
        n = 3;
    else if (p[0] >= 0xf0 && p[0] <= 0xf4)
        n = 4;
    else
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) /* the NUL ends it as well */
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static int is_utf8(const char *bytes)
{
    for (const unsigned char *p = (const unsigned char *)bytes; *p;) {
        const size_t n = sequence(p);
        if (n == 0)
            return 0;
        p += n;
    }
    return 1;
}

bool text_is_plain(const char *bytes)
{
    for (const unsigned char *p = (const unsigned char *)bytes; *p;) {
        const size_t n = *p < ' ' || *p == '"' || *p == '\\' ? 0 : sequence(p);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

static json_t *escaped(const char *bytes)
{
    char *text = memory_check(malloc(4 * strlen(bytes) + 1)), *out = text;

    for (const unsigned char *p = (const unsigned char *)bytes; *p;) {
        const size_t n = sequence(p);
        if (n == 0) {
            out += sprintf(out, "\\x%02x", *p++);
        } else if (*p == '\\') {
            out += sprintf(out, "\\\\");
            p++;
        } else {
            memcpy(out, p, n);
            out += n;
            p += n;
        }
    }
    *out = '\0';
    json_t *value = memory_check(json_string(text));
    free(text);
    return value;
}

int text_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static char *unescaped(const char *text, const char **why)
{
    char *bytes = memory_check(malloc(strlen(text) + 1)), *out = bytes;

    for (const char *p = text; *p; p++) {
        if (*p != '\\') {
            *out++ = *p;
        } else if (p[1] == '\\') {
            *out++ = *++p;
        } else if (p[1] == 'x' && text_digit(p[2]) >= 0 && text_digit(p[3]) >= 0) {
            if (p[2] == '0' && p[3] == '0') {
                *why = "holds a NUL";
                free(bytes);
                return NULL;
            }
            *out++ = (char)(text_digit(p[2]) << 4 | text_digit(p[3]));
            p += 3;
        } else {
            *why = "holds an escape that is neither \\xHH nor \\\\";
            free(bytes);
            return NULL;
        }
    }
    *out = '\0';
    return bytes;
}

json_t *text_element(const char *bytes)
{
    if (is_utf8(bytes))
        return memory_check(json_string(bytes));
    json_t *object = memory_check(json_object());
    json_object_set_new(object, "escaped", escaped(bytes));
    return object;
}

void text_set(json_t *object, const char *key, const char *bytes)
{
    char other[64];

    if (is_utf8(bytes)) {
        json_object_set_new(object, key, memory_check(json_string(bytes)));
        return;
    }
    snprintf(other, sizeof other, "%s_escaped", key);
    json_object_set_new(object, other, escaped(bytes));
}

static char *plain(const json_t *value, const char **why)
{
    if (!json_is_string(value)) {
        *why = "is not a string";
        return NULL;
    }
    if (json_string_length(value) != strlen(json_string_value(value))) {
        *why = "holds a NUL";
        return NULL;
    }
    return memory_text(json_string_value(value));
}

static char *from_escaped(const json_t *value, const char **why)
{
    char *text = plain(value, why);
    char *bytes = text ? unescaped(text, why) : NULL;

    free(text);
    return bytes;
}

char *text_get(const json_t *object, const char *key, const char **why)
{
    char other[64];
    json_t *value = json_object_get(object, key);

    *why = NULL;
    snprintf(other, sizeof other, "%s_escaped", key);
    const json_t *also = json_object_get(object, other);
    if (value && also) {
        *why = "is there twice, plain and escaped";
        return NULL;
    }
    return value ? plain(value, why) : also ? from_escaped(also, why) : NULL;
}

char *text_of_element(const json_t *element, const char **why)
{
    *why = NULL;
    if (!json_is_object(element))
        return plain(element, why);
    json_t *value = json_object_get(element, "escaped");
    if (!value) {
        *why = "is neither a string nor {\"escaped\": …}";
        return NULL;
    }
    return from_escaped(value, why);
}

/* --- on a terminal ---------------------------------------------------------------------------------------------- */

static int is_control(const unsigned char *p)
{
    return *p < ' ' || *p == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0);
}

char *text_plain(const char *bytes)
{
    char *text = memory_check(malloc(4 * strlen(bytes) + 1)), *out = text;

    for (const unsigned char *p = (const unsigned char *)bytes; *p;) {
        size_t n = sequence(p);
        if (n == 0 || is_control(p)) {
            for (n = n ? n : 1; n > 0; n--)
                out += sprintf(out, "\\x%02x", *p++);
            continue;
        }
        memcpy(out, p, n);
        out += n;
        p += n;
    }
    *out = '\0';
    return text;
}

/* Without a locale it is not known how wide a character is: never more than this. */
static size_t columns(size_t sequence_length)
{
    return sequence_length > 2 ? 2 : 1;
}

size_t text_put(FILE *f, const char *bytes, size_t width, enum text_cut cut)
{
    char *text = text_plain(bytes);
    const unsigned char *p, *begin = (const unsigned char *)text, *end;
    size_t used = 0;

    for (p = begin; *p; p += sequence(p))
        used += columns(sequence(p));
    end = p;
    const int longer = used > width;
    if (longer && cut == TEXT_CUT_BEGIN) {
        for (; used + 1 > width; begin += sequence(begin))
            used -= columns(sequence(begin));
        fputs("…", f);
    } else if (longer) {
        for (used = 0, p = begin; used + columns(sequence(p)) + 1 <= width; p += sequence(p))
            used += columns(sequence(p));
        end = p;
    }
    fwrite(begin, 1, (size_t)(end - begin), f);
    if (longer && cut == TEXT_CUT_END)
        fputs("…", f);
    free(text);
    return used + (longer ? 1 : 0);
}

void text_put_word(FILE *f, const char *bytes)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+,=@%:";
    char *shown = text_plain(bytes);
    const bool can_be_shown = strcmp(shown, bytes) == 0;

    if (*bytes && !bytes[strspn(bytes, plain)]) {
        fputs(bytes, f);
    } else if (can_be_shown) {
        putc('\'', f);
        for (const char *p = bytes; *p; p++)
            *p == '\'' ? (void)fputs("'\\''", f) : (void)putc(*p, f);
        putc('\'', f);
    } else {
        fputs("$'", f);
        for (const unsigned char *p = (const unsigned char *)bytes; *p; p++)
            *p < ' ' || *p > '~' || *p == '\'' || *p == '\\' ? (void)fprintf(f, "\\x%02x", *p) : (void)putc(*p, f);
        putc('\'', f);
    }
    free(shown);
}
