#include "facts/table.h"

#include <string.h>

#include "facts/memory.h"
#include "libdlcache/hash.h"

/* Where that text is, or would be. At least one slot is free. */
static struct table_slot *slot_of(const struct table *t, uint64_t hash, const char *text, size_t len)
{
    for (size_t i = hash & (t->capacity - 1);; i = (i + 1) & (t->capacity - 1)) {
        struct table_slot *s = &t->slots[i];
        if (!s->text || (s->hash == hash && strncmp(s->text, text, len) == 0 && s->text[len] == '\0'))
            return s;
    }
}

void *table_find(const struct table *t, const char *text, size_t len)
{
    return t->count ? slot_of(t, dlc_hash64(0, text, len), text, len)->value : NULL;
}

static void grow(struct table *t)
{
    const struct table old = *t;

    t->capacity = old.capacity ? old.capacity * 2 : 64;
    t->slots = memory_new(t->capacity, sizeof *t->slots);
    for (size_t i = 0; i < old.capacity; i++) {
        size_t at = old.slots[i].hash & (t->capacity - 1);
        if (!old.slots[i].text)
            continue;
        while (t->slots[at].text)
            at = (at + 1) & (t->capacity - 1);
        t->slots[at] = old.slots[i];
    }
    free(old.slots);
}

void table_add(struct table *t, const char *text, void *value)
{
    const size_t len = strlen(text);
    const uint64_t hash = dlc_hash64(0, text, len);

    if ((t->count + 1) * 2 > t->capacity)
        grow(t);
    *slot_of(t, hash, text, len) = (struct table_slot){hash, text, value};
    t->count++;
}

void table_free(struct table *t)
{
    free(t->slots);
    *t = (struct table){0};
}
