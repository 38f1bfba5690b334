/* An image in one file: doc/FORMAT.md 2 and 9. */
#ifndef DLCACHE_IMAGE_FILE_H
#define DLCACHE_IMAGE_FILE_H

#include <stdbool.h>

#include "replayer/image/build.h"

/* How far it is: bytes of the contents done, of all. */
typedef void image_progress(uint64_t done, uint64_t total);

/* Reads the contents that `b` names, and writes index, contents and their digests to `path`, which is there when it is
 * whole. What cannot be read is taken out of b->index, with a warning, and counted in b->report. `progress`: called
 * for each chunk, or NULL. 0, or -1 with *error (heap). */
int image_file_write(struct built *b, const char *path, image_progress *progress, char **error);

/* True where the file at `path` begins like an image (and not like a manifest, or it cannot be read). */
bool image_file_is(const char *path);

/* Reads and checks the index of an image; its contents become the one source of *b. 0, or -1 with *error (heap). */
int image_file_open(struct built *b, const char *path, char **error);

#endif
