#include "manifests/quick.h"

#include <string.h>

#include "facts/memory.h"
#include "manifests/text.h"

#define MOST_NEEDED 256 /* more DT_NEEDED than that are in doubt */

struct reader {
    const char *p, *end;
};

static bool take(struct reader *r, char c)
{
    if (r->p == r->end || *r->p != c)
        return false;
    r->p++;
    return true;
}

/* What is between two quotes, with no escape in it. */
static bool span(struct reader *r, const char **text, size_t *len)
{
    if (!take(r, '"'))
        return false;
    *text = r->p;
    const char *quote = memchr(r->p, '"', (size_t)(r->end - r->p));
    if (!quote)
        return false;
    *len = (size_t)(quote - r->p);
    r->p = quote + 1;
    return true;
}

static bool string(struct reader *r, char **out)
{
    const char *text;
    size_t len;

    if (!span(r, &text, &len))
        return false;
    char *bytes = memory_bytes(text, len);
    if (strlen(bytes) != len || !text_is_plain(bytes)) {
        free(bytes);
        return false;
    }
    *out = bytes;
    return true;
}

/* 18 digits always fit. */
static bool number(struct reader *r, uint64_t most, uint64_t *out)
{
    const char *begin = r->p;
    uint64_t n = 0;

    for (; r->p < r->end && *r->p >= '0' && *r->p <= '9'; r->p++) {
        if (r->p - begin == 18)
            return false;
        n = 10 * n + (uint64_t)(*r->p - '0');
    }
    if (r->p == begin || (*begin == '0' && r->p - begin > 1) || n > most)
        return false;
    *out = n;
    /* A fraction or an exponent would follow: what is behind a member is looked at by its caller. */
    return true;
}

static bool time_of(struct reader *r, int64_t *out)
{
    /* 19 digits: nanoseconds since 1970 have been that many since 2001 */
    const char *begin = r->p;
    uint64_t high = 0, low = 0;

    while (r->p < r->end && *r->p >= '0' && *r->p <= '9')
        r->p++;
    if (r->p - begin > 19)
        return false;
    struct reader first = {begin, r->p - begin == 19 ? r->p - 1 : r->p};
    if (!number(&first, UINT64_MAX, &high))
        return false;
    if (r->p - begin < 19) {
        *out = (int64_t)high;
        return true;
    }
    low = (uint64_t)(r->p[-1] - '0');
    if (high > (INT64_MAX - low) / 10)
        return false;
    *out = (int64_t)(10 * high + low);
    return true;
}

static bool kind(struct reader *r, enum manifest_kind *out)
{
    const char *text;
    size_t len;

    if (!span(r, &text, &len))
        return false;
    for (int i = 0; i < MANIFEST_KINDS; i++) {
        if (strlen(manifest_kind_names[i]) == len && memcmp(manifest_kind_names[i], text, len) == 0) {
            *out = (enum manifest_kind)i;
            return true;
        }
    }
    return false;
}

static bool digest(struct reader *r, struct manifest_entry *e)
{
    const char *hex;
    size_t len;

    if (!span(r, &hex, &len) || len != 32)
        return false;
    for (int i = 0; i < 32; i++) {
        const int d = hex[i] <= 'f' && !(hex[i] >= 'A' && hex[i] <= 'F') ? text_digit(hex[i]) : -1;
        if (d < 0)
            return false;
        e->digest[i / 2] = (uint8_t)(i % 2 ? e->digest[i / 2] | d : d << 4);
    }
    e->has_digest = true;
    return true;
}

static bool needed(struct reader *r, struct manifest_entry *e)
{
    if (!take(r, '['))
        return false;
    e->needed = memory_new(MOST_NEEDED, sizeof *e->needed);
    do {
        if (e->needed_count == MOST_NEEDED || !string(r, &e->needed[e->needed_count]))
            return false;
        e->needed_count++;
    } while (take(r, ','));
    e->needed = memory_check(realloc(e->needed, e->needed_count * sizeof *e->needed));
    return take(r, ']');
}

/* Which of `keys` comes next; false where it is none of them, or was there before. */
static bool key(struct reader *r, const char *const *keys, unsigned count, unsigned *seen, unsigned *which)
{
    const char *text;
    size_t len;

    if (!span(r, &text, &len) || !take(r, ':'))
        return false;
    for (unsigned i = 0; i < count; i++) {
        if (strlen(keys[i]) == len && memcmp(keys[i], text, len) == 0) {
            const bool again = *seen & 1u << i;
            *seen |= 1u << i;
            *which = i;
            return !again;
        }
    }
    return false;
}

static bool counts(struct reader *r, struct manifest_counts *c)
{
    static const char *const keys[] = {"stat", "open", "list", "load", "exec", "write"};
    uint64_t *const where[] = {&c->stat, &c->open, &c->list, &c->load, &c->exec, &c->write};
    unsigned seen = 0, which;

    if (!take(r, '{'))
        return false;
    do {
        if (!key(r, keys, 6, &seen, &which) || !number(r, INT64_MAX, where[which]))
            return false;
    } while (take(r, ','));
    return take(r, '}');
}

enum {
    PATH, KIND, SIZE, MTIME, MODE, DIGEST, TARGET,
    SONAME, NEEDED, COUNTS, ORDER, FIRST, PROCESSES, RANKS, PILOTS, MEMBERS
};

static bool member(struct reader *r, unsigned which, struct manifest_entry *e)
{
    uint64_t n = 0;

    switch (which) {
    case PATH: return string(r, &e->path);
    case KIND: return kind(r, &e->kind);
    case SIZE: return number(r, INT64_MAX, &e->size);
    case MTIME: return time_of(r, &e->mtime_ns);
    case MODE:
        if (!number(r, 0177777, &n))
            return false;
        e->mode = (uint32_t)n;
        return true;
    case DIGEST: return digest(r, e);
    case TARGET: return string(r, &e->target);
    case SONAME: return string(r, &e->soname);
    case NEEDED: return needed(r, e);
    case COUNTS: return counts(r, &e->counts);
    case ORDER: return number(r, INT64_MAX, &e->order);
    case FIRST: return number(r, INT64_MAX, &e->first_ns);
    case PROCESSES:
        if (!number(r, UINT32_MAX, &n))
            return false;
        e->processes = (uint32_t)n;
        return true;
    case RANKS:
        if (!number(r, UINT32_MAX, &n))
            return false;
        e->ranks = (uint32_t)n;
        return true;
    case PILOTS:
        if (!number(r, UINT32_MAX, &n))
            return false;
        e->pilots = (uint32_t)n;
        return true;
    default: return false;
    }
}

static bool read_entry(struct reader *r, struct manifest_entry *e)
{
    static const char *const keys[MEMBERS] = {
        "path",   "kind",   "size",   "mtime_ns", "mode",      "xxh3_128", "target",
        "soname", "needed", "counts", "order",    "first_ns", "processes", "ranks", "pilots",
    };
    const unsigned stat = 1u << SIZE | 1u << MTIME | 1u << MODE, least = 1u << PATH | 1u << KIND;
    unsigned seen = 0, which;

    if (!take(r, '{'))
        return false;
    do {
        if (!key(r, keys, MEMBERS, &seen, &which) || !member(r, which, e))
            return false;
    } while (take(r, ','));
    e->has_stat = (seen & stat) == stat;
    return take(r, '}') && (seen & least) == least && e->path[0] == '/' && (!(seen & stat) || e->has_stat) &&
           (e->kind != MANIFEST_ABSENT || !e->has_stat);
}

const char *quick_entry(const char *p, const char *end, struct manifest *m)
{
    struct reader r = {p, end};
    struct manifest_entry e = {0};

    if (!read_entry(&r, &e)) {
        manifest_entry_free(&e);
        return NULL;
    }
    manifest_append(m, &e);
    return r.p;
}
