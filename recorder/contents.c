#include "contents.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "facts/memory.h"

static int read_all(int fd, void *buffer, struct contents *c)
{
    XXH3_state_t *state = memory_check(XXH3_createState());
    uint64_t bytes = 0;
    int rc = XXH3_128bits_reset(state) == XXH_OK ? 0 : -EINVAL;

    while (rc == 0) {
        ssize_t n = read(fd, buffer, CONTENTS_BUFFER);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = -errno;
        if (n <= 0)
            break;
        const size_t room = sizeof c->head - c->head_len, more = (size_t)n < room ? (size_t)n : room;
        memcpy(c->head + c->head_len, buffer, more);
        c->head_len += more;
        bytes += (uint64_t)n;
        XXH3_128bits_update(state, buffer, (size_t)n);
    }
    if (rc == 0 && bytes != (uint64_t)c->st.st_size)
        rc = -ESTALE;
    if (rc == 0) {
        XXH128_canonical_t canonical;
        XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(state));
        memcpy(c->digest, canonical.digest, sizeof c->digest);
        c->has_digest = true;
    }
    XXH3_freeState(state);
    return rc;
}

int contents_read(const char *path, bool digest, void *buffer, struct contents *c)
{
    /* O_NONBLOCK: a fifo that has taken the file's place must not hold us up. */
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int rc = 0;

    *c = (struct contents){0};
    if (fd < 0)
        return -errno;
    if (fstat(fd, &c->st) != 0)
        rc = -errno;
    else if (!S_ISREG(c->st.st_mode))
        rc = -ESTALE;
    else
        c->is_elf = elf_facts_read(fd, &c->elf) == 0;
    if (rc == 0 && digest)
        rc = read_all(fd, buffer, c);
    if (rc)
        elf_facts_free(&c->elf);
    close(fd);
    return rc;
}
