#include "replayer/image/archive.h"

#include <archive.h>
#include <archive_entry.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts/memory.h"

#define LIBRARY "libarchive.so.13"

/* Bytes that are read at a time. */
#define BLOCK ((size_t)1 << 20)

#define FUNCTIONS(X)                                                                                                 \
    X(archive_error_string)                                                                                          \
    X(archive_filter_count)                                                                                          \
    X(archive_read_data_block)                                                                                       \
    X(archive_read_free)                                                                                             \
    X(archive_read_new)                                                                                              \
    X(archive_read_next_header)                                                                                      \
    X(archive_read_set_option)                                                                                       \
    X(archive_read_open_fd)                                                                                          \
    X(archive_read_support_filter_bzip2)                                                                             \
    X(archive_read_support_filter_gzip)                                                                              \
    X(archive_read_support_filter_lz4)                                                                               \
    X(archive_read_support_filter_xz)                                                                                \
    X(archive_read_support_filter_zstd)                                                                              \
    X(archive_read_support_format_tar)                                                                               \
    X(archive_entry_atime)                                                                                           \
    X(archive_entry_atime_is_set)                                                                                    \
    X(archive_entry_atime_nsec)                                                                                      \
    X(archive_entry_gid)                                                                                             \
    X(archive_entry_hardlink)                                                                                        \
    X(archive_entry_mode)                                                                                            \
    X(archive_entry_mtime)                                                                                           \
    X(archive_entry_mtime_nsec)                                                                                      \
    X(archive_entry_pathname)                                                                                        \
    X(archive_entry_size)                                                                                            \
    X(archive_entry_symlink)                                                                                         \
    X(archive_entry_uid)

static struct {
    void *handle;
#define FIELD(name) __typeof__(&name) name;
    FUNCTIONS(FIELD)
#undef FIELD
} lib;

struct archive_file {
    char *path;
    int fd;
    struct archive *archive;
};

static int fail(char **error, const char *path, const char *what)
{
    if (asprintf(error, "%s: %s", path, what) < 0)
        memory_check(NULL);
    return -1;
}

/* NULL, or what is missing. */
static const char *load(void)
{
    if (lib.handle)
        return NULL;
    void *handle = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!handle)
        return dlerror();
#define FIND(name)                                                                                                   \
    lib.name = (__typeof__(&name))dlsym(handle, #name);                                                              \
    if (!lib.name)                                                                                                   \
        return dlerror();
    FUNCTIONS(FIND)
#undef FIND
    lib.handle = handle;
    return NULL;
}

/* A tar ends with blocks of zeros. Of a compressed one its filter knows whether it is whole. */
static int has_end(const struct archive_file *f)
{
    static const char zeros[512];
    char last[sizeof zeros];
    struct stat st;

    return lib.archive_filter_count(f->archive) > 1 ||
           (fstat(f->fd, &st) == 0 && st.st_size >= (off_t)sizeof last &&
            pread(f->fd, last, sizeof last, st.st_size - (off_t)sizeof last) == (ssize_t)sizeof last &&
            memcmp(last, zeros, sizeof last) == 0);
}

struct archive_file *archive_file_open(const char *path, char **error)
{
    struct archive_file *f = memory_new(1, sizeof *f);
    struct stat st;
    const char *why = load();

    f->path = memory_text(path);
    f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        fail(error, path, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        fail(error, path, "is no regular file");
    else if (why)
        fail(error, path, why);
    else if (!(f->archive = lib.archive_read_new()))
        fail(error, path, strerror(ENOMEM));
    if (!f->archive) {
        archive_file_close(f);
        return NULL;
    }
    /* Where the library was built without one of these it says so when such a file is read. */
    lib.archive_read_support_filter_bzip2(f->archive);
    lib.archive_read_support_filter_gzip(f->archive);
    lib.archive_read_support_filter_lz4(f->archive);
    lib.archive_read_support_filter_xz(f->archive);
    lib.archive_read_support_filter_zstd(f->archive);
    lib.archive_read_support_format_tar(f->archive);
    /* To the end of the file: a compressed one has its checksum there. (gzip's libarchive does not compute.) */
    lib.archive_read_set_option(f->archive, "tar", "read_concatenated_archives", "1");
    if (lib.archive_read_open_fd(f->archive, f->fd, BLOCK) != ARCHIVE_OK) {
        fail(error, path, lib.archive_error_string(f->archive) ?: "cannot be read");
        archive_file_close(f);
        return NULL;
    }
    return f;
}

void archive_file_close(struct archive_file *f)
{
    if (!f)
        return;
    if (f->archive)
        lib.archive_read_free(f->archive);
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    free(f);
}

int archive_file_stat(const struct archive_file *f, struct stat *st)
{
    return fstat(f->fd, st) == 0 ? 0 : -errno;
}

int archive_file_next(struct archive_file *f, struct archive_member *m, char **error)
{
    struct archive_entry *e;
    const int rc = lib.archive_read_next_header(f->archive, &e);

    if (rc == ARCHIVE_EOF)
        return has_end(f) ? 0 : fail(error, f->path, "is truncated: it has no end");
    /* A warning is of a name that cannot be told in this locale: its bytes are there all the same. */
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
        return fail(error, f->path, lib.archive_error_string(f->archive) ?: "is damaged");
    const int64_t size = lib.archive_entry_size(e);
    *m = (struct archive_member){
        .path = lib.archive_entry_pathname(e),
        .hard_link = lib.archive_entry_hardlink(e),
        .target = lib.archive_entry_symlink(e),
        .mode = lib.archive_entry_mode(e),
        .uid = (uint32_t)lib.archive_entry_uid(e),
        .gid = (uint32_t)lib.archive_entry_gid(e),
        .size = size > 0 ? (uint64_t)size : 0,
        .mtime = lib.archive_entry_mtime(e),
        .mtime_ns = (uint32_t)lib.archive_entry_mtime_nsec(e),
    };
    const int has_atime = lib.archive_entry_atime_is_set(e);
    m->atime = has_atime ? lib.archive_entry_atime(e) : m->mtime;
    m->atime_ns = has_atime ? (uint32_t)lib.archive_entry_atime_nsec(e) : m->mtime_ns;
    return m->path ? 1 : fail(error, f->path, "is damaged: a member has no name");
}

int archive_file_block(struct archive_file *f, const void **data, size_t *bytes, uint64_t *offset, char **error)
{
    int64_t at;
    const int rc = lib.archive_read_data_block(f->archive, data, bytes, &at);

    if (rc == ARCHIVE_EOF)
        return 0;
    if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
        return fail(error, f->path, lib.archive_error_string(f->archive) ?: "is damaged");
    *offset = (uint64_t)at;
    return 1;
}
