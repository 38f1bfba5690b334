/* A hash table of texts, and what belongs to each. Made for very many of them: to look for one is a miss of the
 * processor's cache or two, where chains of large elements take one for each element on the way. */
#ifndef DLCACHE_TABLE_H
#define DLCACHE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct table {
    struct table_slot {
        uint64_t hash;
        const char *text; /* NUL-terminated, the caller's; NULL: nothing is here */
        void *value;
    } *slots;
    size_t capacity; /* a power of 2; 0 before the first */
    size_t count;
};

/* What belongs to the text of `len` bytes, or NULL. */
void *table_find(const struct table *t, const char *text, size_t len);

/* Adds a text that is not in the table yet, and lives as long as the table. */
void table_add(struct table *t, const char *text, void *value);

/* Frees the table, not what is in it. */
void table_free(struct table *t);

#endif
