/* A bundle: a tar archive of an environment, to be served as if it were unpacked at a prefix.
 *
 * It is read twice: for the names, their stat data and what its shared objects say of themselves; then for the
 * contents, in its own order. What its members do not say is made up: inode numbers, which differ from each other and
 * from another archive's; the times of change, which are the archive's. Directories are complete: what else there is
 * at the prefix is not seen. */
#ifndef DLCACHE_BUNDLE_H
#define DLCACHE_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replayer/image/build.h"

struct bundle_place {
    const char *archive;
    const char *at;   /* the prefix: absolute */
    unsigned strip;   /* so many directories are taken off the members' names */
    bool strict;      /* what would be a warning is an error */
};

struct bundle;

/* The names: fills *out as build_image does, with out->bundle for the contents. 0, or -1 with *error (heap). */
int bundle_build(const struct bundle_place *p, struct built *out, char **error);

/* Gives the contents of the sources that bundle_build made to `put`, in their order: `bytes` of them from `offset` of
 * the source's on, each but once, ascending; what is left out is zero. `put` returns other than 0 to end it. 0; 1
 * where `put` ended it; -1 with *error (heap). */
typedef int bundle_put(void *arg, size_t source, uint64_t offset, const void *data, size_t bytes);
int bundle_read(const struct bundle *b, bundle_put *put, void *arg, char **error);

void bundle_free(struct bundle *b);

/* "--strip": a number, or false. */
bool bundle_strip(const char *text, unsigned *strip);

#endif
