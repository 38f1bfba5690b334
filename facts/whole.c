#include "facts/whole.h"

#include <errno.h>
#include <unistd.h>

int whole_read(int fd, void *data, uint64_t bytes, uint64_t at)
{
    char *p = data;

    for (ssize_t n; bytes; p += n, at += (uint64_t)n, bytes -= (uint64_t)n) {
        n = pread(fd, p, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n < 0)
            return -errno;
        else if (n == 0)
            return 1;
    }
    return 0;
}

int whole_write(int fd, const void *data, uint64_t bytes, uint64_t at)
{
    const char *p = data;

    for (ssize_t n; bytes; p += n, at += (uint64_t)n, bytes -= (uint64_t)n) {
        n = pwrite(fd, p, bytes, (off_t)at);
        if (n < 0 && errno == EINTR)
            n = 0;
        else if (n < 0)
            return -errno;
        else if (n == 0)
            return -ENOSPC;
    }
    return 0;
}
