/* A tar archive, compressed or not, member by member, from its beginning to its end.
 *
 * libarchive reads it. It is loaded when the first archive is opened: whoever reads none, as all nodes of a job but
 * one, looks for none of the libraries that it needs. */
#ifndef DLCACHE_ARCHIVE_H
#define DLCACHE_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

struct archive_member {
    const char *path;      /* as the archive has it; until the next member */
    const char *hard_link; /* another member's path, or NULL */
    const char *target;    /* of a symlink, or NULL */
    uint32_t mode;         /* with the bits of its kind */
    uint32_t uid, gid;
    uint64_t size;
    int64_t atime, mtime;  /* seconds; where the archive has no atime it is mtime */
    uint32_t atime_ns, mtime_ns;
};

struct archive_file;

/* Opens a regular file. NULL with *error (heap). */
struct archive_file *archive_file_open(const char *path, char **error);
void archive_file_close(struct archive_file *f);

/* What fstat says of it now. 0 or -errno. */
int archive_file_stat(const struct archive_file *f, struct stat *st);

/* The next member. 1, 0 at the end, -1 with *error (heap) where the archive is damaged or ends too early. */
int archive_file_next(struct archive_file *f, struct archive_member *m, char **error);

/* The next bytes of the member's contents, and where they belong: what lies between two blocks is zero. As above. */
int archive_file_block(struct archive_file *f, const void **data, size_t *bytes, uint64_t *offset, char **error);

#endif
