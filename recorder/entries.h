/* From a place to the manifest's entry for it. */
#ifndef DLCACHE_ENTRIES_H
#define DLCACHE_ENTRIES_H

#include "collect.h"
#include "places.h"

enum place_fate_kind {
    FATE_KEEP,
    FATE_NOTHING, /* nothing is known of it: an operation failed */
    FATE_WRITTEN, /* a file that the pilot wrote, or that came while it ran */
    FATE_GONE,    /* found by the pilot, not there any more */
    FATE_SPECIAL  /* socket, device, fifo */
};

/* What becomes of a place that the policy keeps. `started_ns`: when the pilot started. */
enum place_fate_kind place_fate(const struct place *p, uint64_t started_ns);

/* Found by an operation of the pilot. */
bool place_was_found(const struct place *p);

/* There now, but looked up by the pilot only before it was: something made it in between. */
bool place_was_made(const struct place *p, uint64_t started_ns);

bool place_is_python(const struct place *p); /* by its name: a module, or bytecode */
bool place_is_data(const struct place *p);   /* a regular file that is not code, as far as its name and use say */

/* Adds an entry for every place that is marked as kept, reading contents, and orders them; counts into *report what
 * was kept and what was not. `zero_ns`: the time from which first_ns counts. */
void entries_make(struct manifest *m, const struct places *ps, uint64_t started_ns, uint64_t zero_ns,
                  struct collect_report *report);

/* Appends a copy of the text to a list of them. */
void entries_add_text(char ***list, size_t *count, const char *text);

#endif
