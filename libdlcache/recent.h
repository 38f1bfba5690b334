/* The directories that a process looked into last, by the text that it wrote: imports ask for one name after the other
 * below the same few, and each time the walk to them would be most of the answer.
 *
 * What is kept says the same as the image, which never changes: that a walk along this text, all of it passable, ends
 * at this directory. Whether that holds for the process is asked each time, by lookup.c. No heap, no lock, no system
 * call; any context: who finds an entry that somebody is writing, in another thread or below a signal handler, does
 * without. (A sequence lock, as in H.-J. Boehm, "Can seqlocks get along with programming language memory models?",
 * MSPC 2012.) */
#ifndef DLCACHE_RECENT_H
#define DLCACHE_RECENT_H

#include "hash.h"

#define RECENT_ENTRIES 16u /* a page of the process's own */
#define RECENT_WORDS 30u   /* of 8 bytes: longer texts are not kept */

struct recent_entry {
    uint32_t version; /* atomic: odd while it is written, 0 before it ever was */
    uint32_t node;
    uint32_t len;     /* bytes of the text, with the slash at its end */
    uint32_t links;   /* symlinks that were followed */
    uint64_t text[RECENT_WORDS]; /* the last one filled up with zeros */
};

struct recent {
    struct recent_entry entries[RECENT_ENTRIES];
};

/* The text's word number i, of `len` bytes in all, at least 8. */
static inline uint64_t recent_word(const char *text, size_t len, size_t i)
{
    uint64_t word;

    if (8 * i + 8 > len)
        return dlc_hash_tail((const unsigned char *)text + len, len - 8 * i, len);
    __builtin_memcpy(&word, text + 8 * i, 8);
    return word;
}

static inline struct recent_entry *recent_entry(struct recent *r, const char *text, size_t len)
{
    uint64_t word;

    if (len < 8 || len > 8 * RECENT_WORDS)
        return NULL;
    __builtin_memcpy(&word, text + len - 8, 8);
    /* Mixed twice, and of that the upper bits: to the lowest ones the last letters would say nothing. */
    return &r->entries[(dlc_hash_mix(dlc_hash_mix(len, word), 0) >> 32) * RECENT_ENTRIES >> 32];
}

/* True, and the node and how many symlinks led to it, where the text is kept. Otherwise both are as they were. */
static inline int recent_find(struct recent *r, const char *text, size_t len, uint32_t *node, unsigned *links)
{
    struct recent_entry *e = recent_entry(r, text, len);

    if (!e)
        return 0;
    const uint32_t version = __atomic_load_n(&e->version, __ATOMIC_ACQUIRE);
    if (version % 2 || __atomic_load_n(&e->len, __ATOMIC_ACQUIRE) != len)
        return 0;
    for (size_t i = 0; 8 * i < len; i++)
        if (__atomic_load_n(&e->text[i], __ATOMIC_ACQUIRE) != recent_word(text, len, i))
            return 0;
    const uint32_t kept = __atomic_load_n(&e->node, __ATOMIC_ACQUIRE), led = __atomic_load_n(&e->links, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&e->version, __ATOMIC_RELAXED) != version)
        return 0;
    *node = kept;
    *links = led;
    return 1;
}

/* `text` is nobody else's: what it says must not change between the walk and here. */
static inline void recent_keep(struct recent *r, const char *text, size_t len, uint32_t node, unsigned links)
{
    struct recent_entry *e = recent_entry(r, text, len);

    if (!e)
        return;
    uint32_t version = __atomic_load_n(&e->version, __ATOMIC_RELAXED);
    if (version % 2 ||
        !__atomic_compare_exchange_n(&e->version, &version, version + 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    __atomic_store_n(&e->node, node, __ATOMIC_RELEASE);
    __atomic_store_n(&e->len, (uint32_t)len, __ATOMIC_RELEASE);
    __atomic_store_n(&e->links, links, __ATOMIC_RELEASE);
    for (size_t i = 0; 8 * i < len; i++)
        __atomic_store_n(&e->text[i], recent_word(text, len, i), __ATOMIC_RELEASE);
    __atomic_store_n(&e->version, version + 2, __ATOMIC_RELEASE);
}

#endif
