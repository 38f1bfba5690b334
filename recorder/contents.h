/* The contents of a file, read once: what they are, for the manifest. */
#ifndef DLCACHE_CONTENTS_H
#define DLCACHE_CONTENTS_H

#include <sys/stat.h>

#include "facts/elf.h"

struct contents {
    struct stat st;      /* of the open file */
    bool is_elf;
    struct elf_facts elf; /* the caller frees it with elf_facts_free */
    bool has_digest;
    uint8_t digest[16];  /* XXH3-128, canonical */
    uint8_t head[16];    /* its first bytes, where there is a digest */
    size_t head_len;
};

/* Opens a regular file (not through a symlink) and reads its facts; with `digest` all of its bytes as well. 0, or
 * -errno: -ESTALE when it is not a regular file any more, or changed while it was read. `buffer` has CONTENTS_BUFFER
 * bytes. */
#define CONTENTS_BUFFER ((size_t)1 << 20)
int contents_read(const char *path, bool digest, void *buffer, struct contents *c);

#endif
