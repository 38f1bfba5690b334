#include "facts/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"

static int failed(char **error, const char *file)
{
    if (asprintf(error, "%s: %s", file, strerror(errno)) < 0)
        memory_check(NULL);
    return -1;
}

/* As a file made by open(2) would have it; an older one keeps its own. */
static mode_t mode_for(const struct stat *old)
{
    const mode_t mask = umask(0);

    umask(mask);
    return old ? old->st_mode & 07777 : 0666 & ~mask;
}

/* Something else than a file (a pipe, /dev/null) is written to as it is. */
static int write_in_place(output_put *put, const void *what, const char *file)
{
    FILE *f = fopen(file, "we");
    int rc = f ? put(what, f) : -1;
    const int saved = errno;

    if (f && fclose(f) != 0 && rc == 0)
        return -1;
    errno = saved;
    return rc;
}

/* The temporary file's descriptor, and its name: heap. */
static int make_temporary(const char *file, char **name)
{
    char *resolved = realpath(file, NULL); /* a symlink keeps leading there */

    if (asprintf(name, "%s.XXXXXX", resolved ? resolved : file) < 0)
        memory_check(NULL);
    free(resolved);
    return mkostemp(*name, O_CLOEXEC);
}

static int fill(output_put *put, const void *what, int fd, mode_t mode)
{
    FILE *f = fdopen(fd, "w");
    int rc = f && fchmod(fd, mode) == 0 && put(what, f) == 0 && fsync(fd) == 0 ? 0 : -1;
    const int saved = errno;

    if ((f ? fclose(f) : close(fd)) != 0 && rc == 0)
        return -1;
    errno = saved;
    return rc;
}

static int replace(output_put *put, const void *what, const char *file, const struct stat *old)
{
    char *temporary;
    const int fd = make_temporary(file, &temporary);
    int rc = fd < 0 ? -1 : fill(put, what, fd, mode_for(old));

    if (rc == 0) {
        char *to = memory_bytes(temporary, strlen(temporary) - strlen(".XXXXXX"));
        rc = rename(temporary, to);
        free(to);
    }
    if (rc != 0 && fd >= 0) {
        const int saved = errno;
        unlink(temporary);
        errno = saved;
    }
    free(temporary);
    return rc;
}

int output_write(const char *file, output_put *put, const void *what, char **error)
{
    struct stat st;

    if (strcmp(file, "-") == 0)
        return put(what, stdout) == 0 ? 0 : failed(error, "standard output");
    const bool exists = stat(file, &st) == 0;
    const int rc = exists && !S_ISREG(st.st_mode) ? write_in_place(put, what, file)
                                                  : replace(put, what, file, exists ? &st : NULL);
    return rc == 0 ? 0 : failed(error, file);
}

int output_may_write(const char *file, char **error)
{
    struct stat st;
    char *temporary;

    if (strcmp(file, "-") == 0)
        return 0;
    if (stat(file, &st) == 0 && !S_ISREG(st.st_mode)) {
        if (S_ISDIR(st.st_mode))
            errno = EISDIR;
        return !S_ISDIR(st.st_mode) && access(file, W_OK) == 0 ? 0 : failed(error, file);
    }
    const int fd = make_temporary(file, &temporary);
    const int rc = fd < 0 ? failed(error, file) : 0;
    if (fd >= 0) {
        close(fd);
        unlink(temporary);
    }
    free(temporary);
    return rc;
}
