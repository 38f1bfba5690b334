/* Laying an image down on one node: the mirror, and the stage's other files. doc/FORMAT.md 8. */
#ifndef DLCACHE_LAYDOWN_H
#define DLCACHE_LAYDOWN_H

#include <stdbool.h>
#include <stdint.h>

#include "libdlcache/lookup.h"
#include "replayer/stage/copy.h"
#include "replayer/stage/place.h"

struct laydown;

/* Every name, in place->temporary, naming place->dir. The view is of the image and nothing else; it and the place
 * stay the caller's. `from`: the contents are copied from there, while the names are made; NULL: laydown_data brings
 * them. *o where it fails. */
struct laydown *laydown_begin(const struct place *place, const struct view *view, const struct copying *from,
                              struct outcome *o);

/* Waits for what is copied. *bad, *count: as source_finish. */
void laydown_copied(struct laydown *l, uint32_t **bad, size_t *count, struct outcome *o);

/* By others, in any thread, as source_copy has them: a file's contents, instead of laydown_data. */
int laydown_open(void *l, uint32_t node);
int laydown_end(void *l, uint32_t node, int fd);
/* In the main thread: what they said of it. */
void laydown_failed(struct laydown *l, uint32_t node, int error, struct outcome *o);

/* The next bytes of the contents, in order. */
void laydown_data(struct laydown *l, const void *data, uint64_t bytes, struct outcome *o);

/* After the last byte, and after contents that could not be read have been dropped from the image: symlinks to the
 * originals in their stead, times and modes. */
void laydown_finish(struct laydown *l, struct outcome *o);

/* Writes the state: what lies where now, and which mounts of this node are the reader's. After laydown_finish. */
void laydown_state(struct laydown *l, uint32_t audit, const struct dlc_loader *loader, struct outcome *o);

void laydown_free(struct laydown *l);

/* What the stage of this image takes in a file system with pages of 4 KiB. */
uint64_t laydown_bytes(const struct image *im);

#endif
