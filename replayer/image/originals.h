/* The files whose contents go into an image: each is opened once, compared with what the index says of it before and
 * after it is read, and perhaps copied into the reader's own mirror as it is read. Called in any thread. */
#ifndef DLCACHE_ORIGINALS_H
#define DLCACHE_ORIGINALS_H

#include <stddef.h>
#include <stdint.h>

#include "replayer/image/build.h"

struct originals;

/* Files that are filled with what is read, by the threads that read it. */
struct source_copy {
    int (*open)(void *arg, uint32_t node);        /* a descriptor for writing, or -1 with errno; 0: it wants none */
    int (*end)(void *arg, uint32_t node, int fd); /* it is whole, and will be closed. 0 or errno */
    void *arg;
};

/* `built` stays the caller's, and as it is; `copy`: or NULL. */
struct originals *originals_new(const struct built *built, const struct source_copy *copy);

/* One more piece of that source will be read. Before any is. */
void originals_expect(struct originals *o, size_t source);

/* Reads `bytes` from offset `at` of the source's contents on: one of the pieces that are expected. 0, or errno: the source
 * is bad, and `to` undefined. After the last piece it is closed. */
int originals_read(struct originals *o, size_t source, void *to, uint64_t bytes, uint64_t at);

/* What could not be written to a copy: errno, and whose it is; 0: nothing. */
int originals_failed(struct originals *o, uint32_t *node);

/* The source's errno, or 0; when nobody reads any more. */
int originals_error(const struct originals *o, size_t source);

/* Closes what is still open. */
void originals_free(struct originals *o);

/* The file that is open is what the index says of it: contents and stat data that do not belong together are no use.
 * 0 or errno. */
int original_look(int fd, const struct image_source *from);

/* What ESTALE means here, and else strerror: static, or until the next call. */
const char *original_why(int error);

/* Says on standard error which sources could not be read: `errors` has an errno or 0 for each. Their nodes come into
 * `bad`; the number of them. */
size_t originals_tell(const struct built *built, const int *errors, uint32_t *bad);

#endif
