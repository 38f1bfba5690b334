/* The next definitions of many functions at once. Rules: shim.h.
 *
 * dlsym looks for one name in every object, and there are some two hundred names: at the start of every program, and
 * with hundreds of objects. Here each object is opened once and asked for all of them; its Bloom filter says no to
 * most. At the start, the loader's list has the order of its search. */
#include "next.h"

#include <elf.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct symbols {
    const ElfW(Sym) *symbol;
    const char *strings;
    const ElfW(Half) *version; /* NULL: not versioned */
    const ElfW(Addr) *bloom;
    const uint32_t *bucket, *chain;
    uint32_t buckets, first, words, shift;
};

/* The hash table as the linker wrote it (DT_GNU_HASH): four numbers, the filter, the buckets, the hashes. */
static bool read_hash(struct symbols *s, const uint32_t *table)
{
    if (!table)
        return false;
    s->buckets = table[0];
    s->first = table[1];
    s->words = table[2];
    s->shift = table[3];
    s->bloom = (const void *)(table + 4);
    s->bucket = (const void *)(s->bloom + s->words);
    s->chain = s->bucket + s->buckets;
    return s->buckets && s->words && (s->words & (s->words - 1)) == 0;
}

/* False: what this object defines cannot be told here. */
static bool read_object(struct symbols *s, const struct link_map *map)
{
    const void *hash = NULL;

    *s = (struct symbols){0};
    for (const ElfW(Dyn) *d = map->l_ld; d->d_tag != DT_NULL; d++) {
        /* ld.so adds the load address in place, where it may write. */
        const void *p = (const void *)(d->d_un.d_ptr < map->l_addr ? d->d_un.d_ptr + map->l_addr : d->d_un.d_ptr);
        switch (d->d_tag) {
        case DT_SYMTAB: s->symbol = p; break;
        case DT_STRTAB: s->strings = p; break;
        case DT_VERSYM: s->version = p; break;
        case DT_GNU_HASH: hash = p; break;
        case DT_FILTER:
        case DT_AUXILIARY: return false; /* others are searched before it */
        default: break;
        }
    }
    return s->symbol && s->strings && read_hash(s, hash);
}

static uint32_t hash_of(const char *name)
{
    uint32_t h = 5381;

    while (*name)
        h = h * 33 + (unsigned char)*name++;
    return h;
}

enum answer { NONE, DEFINED, DOUBT };

static enum answer find(const struct symbols *s, const struct link_map *map, const char *name, uint32_t hash, void **p)
{
    const unsigned bits = 8 * sizeof *s->bloom;
    const ElfW(Addr) word = s->bloom[hash / bits & (s->words - 1)];
    enum answer answer = NONE;

    if (!(word >> hash % bits & word >> (hash >> s->shift) % bits & 1))
        return NONE;
    uint32_t i = s->bucket[hash % s->buckets];
    if (i < s->first)
        return NONE;
    for (;; i++) {
        const uint32_t other = s->chain[i - s->first];
        const ElfW(Sym) *symbol = &s->symbol[i];
        if ((other | 1) == (hash | 1) && strcmp(s->strings + symbol->st_name, name) == 0 &&
            symbol->st_shndx != SHN_UNDEF) {
            if (ELF64_ST_TYPE(symbol->st_info) != STT_FUNC)
                return DOUBT;
            if (!s->version || !(s->version[i] & 0x8000)) {
                *p = (void *)(map->l_addr + symbol->st_value);
                return DEFINED;
            }
            answer = DOUBT; /* a version of the past; today's may come */
        }
        if (other & 1)
            return answer;
    }
}

void next_find(const ElfW(Dyn) *self, const char *const *names, size_t count, void **found)
{
    uint32_t hash[NEXT_MAX];
    bool open[NEXT_MAX];
    size_t left = count;
    /* While objects are added, those in the list are whole; and all that the program needs is there before it is bound. */
    const struct link_map *map = _r_debug.r_state != RT_DELETE ? _r_debug.r_map : NULL;

    for (size_t i = 0; i < count; i++) {
        found[i] = NULL;
        open[i] = true;
        hash[i] = hash_of(names[i]);
    }
    while (map && map->l_ld != self)
        map = map->l_next;
    if (!map)
        return;
    while (left && (map = map->l_next)) {
        struct symbols s;
        if (!read_object(&s, map))
            return;
        for (size_t i = 0; i < count; i++) {
            if (open[i] && find(&s, map, names[i], hash[i], &found[i]) != NONE) {
                open[i] = false;
                left--;
            }
        }
    }
    /* Each object was asked. */
    for (size_t i = 0; i < count; i++)
        if (open[i])
            found[i] = NEXT_NOWHERE;
}
