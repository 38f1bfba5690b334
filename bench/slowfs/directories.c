#include "ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "service.h"

/* An open directory: of one reader at a time. `ahead` has been read, but did not fit into the last answer. */
struct listing {
    pthread_mutex_t lock;
    DIR *dir;
    struct dirent *ahead;
    off_t offset;
};

static struct listing *listing_open(fuse_req_t req, fuse_ino_t ino)
{
    struct listing *const listing = calloc(1, sizeof *listing);
    const int fd = openat(fd_of(req, ino), ".", O_RDONLY | O_DIRECTORY | O_NOATIME | O_CLOEXEC);

    if (listing && fd >= 0 && (listing->dir = fdopendir(fd))) {
        pthread_mutex_init(&listing->lock, NULL);
        return listing;
    }
    const int error = listing ? errno : ENOMEM;
    if (fd >= 0)
        close(fd);
    free(listing);
    errno = error;
    return NULL;
}

static void listing_close(struct listing *listing)
{
    closedir(listing->dir);
    pthread_mutex_destroy(&listing->lock);
    free(listing);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    if (control_owns(req, ino)) {
        control_opendir(req, fi);
        return;
    }
    if (!service(req, KIND_opendir, ino, NULL, 0))
        return;
    struct listing *const listing = listing_open(req, ino);
    if (!listing) {
        fuse_reply_err(req, errno);
        return;
    }
    fi->fh = (uintptr_t)listing;
    if (fuse_reply_open(req, fi) == -ENOENT)
        listing_close(listing);
}

/* The size of an entry in the answer, which has no room for it where that is more than `room`. */
static size_t add_entry(fuse_req_t req, fuse_ino_t parent, const struct dirent *d, char *p, size_t room, bool plus)
{
    struct fuse_entry_param entry = {.attr = {.st_ino = d->d_ino, .st_mode = (mode_t)d->d_type << 12}};
    const bool dots = strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0;

    if (!plus)
        return fuse_add_direntry(req, p, room, d->d_name, &entry.attr, d->d_off);
    const size_t size = fuse_add_direntry_plus(req, NULL, 0, d->d_name, &entry, d->d_off);
    if (size > room)
        return size;
    if (!dots && find(req, parent, d->d_name, &entry) != 0)
        return 0; /* gone */
    return fuse_add_direntry_plus(req, p, room, d->d_name, &entry, d->d_off);
}

/* Names from `offset` on, as many as fit: their bytes, or -errno. */
static ssize_t fill(fuse_req_t req, fuse_ino_t ino, struct listing *listing, char *buffer, size_t size, off_t offset,
                    bool plus)
{
    size_t used = 0;

    if (offset != listing->offset) {
        seekdir(listing->dir, offset);
        listing->ahead = NULL;
        listing->offset = offset;
    }
    for (;;) {
        errno = 0;
        if (!listing->ahead && !(listing->ahead = readdir(listing->dir)))
            return errno && !used ? -errno : (ssize_t)used;
        const size_t n = add_entry(req, ino, listing->ahead, buffer + used, size - used, plus);
        if (n > size - used)
            return (ssize_t)used;
        used += n;
        listing->offset = listing->ahead->d_off;
        listing->ahead = NULL;
    }
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi, bool plus)
{
    if (control_owns(req, ino)) {
        control_readdir(req, size, offset);
        return;
    }
    if (!service(req, plus ? KIND_readdirplus : KIND_readdir, ino, NULL, 0))
        return;
    struct listing *const listing = (struct listing *)(uintptr_t)fi->fh;
    char *const buffer = malloc(size);
    ssize_t n = -ENOMEM;
    if (buffer) {
        pthread_mutex_lock(&listing->lock);
        n = fill(req, ino, listing, buffer, size, offset, plus);
        pthread_mutex_unlock(&listing->lock);
    }
    if (n < 0)
        fuse_reply_err(req, (int)-n);
    else
        fuse_reply_buf(req, buffer, (size_t)n);
    free(buffer);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    list(req, ino, size, offset, fi, false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
    list(req, ino, size, offset, fi, true);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct listing *const listing = (struct listing *)(uintptr_t)fi->fh;

    if (control_owns(req, ino) || service(req, KIND_releasedir, ino, NULL, 0))
        fuse_reply_err(req, 0);
    if (listing)
        listing_close(listing);
}
