#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "faults.h"
#include "service.h"

/* Numbers that the kernel was given: the others are addresses (inodes.c). */
enum { DIRECTORY = 2, FIRST_FILE };

static int reset(const char *text)
{
    (void)text;
    service_reset();
    return 0;
}

static const struct {
    const char *name;
    void (*print)(FILE *);
    int (*set)(const char *);
} files[] = {
    {"counters", service_print_counters, NULL},
    {"reset", NULL, reset},
    {"fault", faults_print, faults_set},
    {"latency", service_print_latency, service_set_latency},
};
#define FILES (sizeof files / sizeof *files)

/* What an open file says: as it was when it was opened. */
struct text {
    char *p;
    size_t size;
};

bool control_owns(fuse_req_t req, fuse_ino_t ino)
{
    return (ino >= DIRECTORY && ino < FIRST_FILE + FILES) || fuse_req_userdata(req) == &settings.control;
}

static struct stat attributes(fuse_ino_t ino)
{
    struct stat st = {.st_ino = ino, .st_nlink = 1, .st_blksize = 4096};

    st.st_mode = ino < FIRST_FILE ? S_IFDIR | 0555 : S_IFREG | (files[ino - FIRST_FILE].set ? 0666 : 0444);
    return st;
}

bool control_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {0};

    if (!control_owns(req, parent) && (parent != FUSE_ROOT_ID || strcmp(name, ".slowfs") != 0))
        return false;
    if (!control_owns(req, parent))
        entry.ino = DIRECTORY;
    for (size_t i = 0; i < FILES && !entry.ino; i++)
        if (strcmp(files[i].name, name) == 0)
            entry.ino = FIRST_FILE + i;
    if (!entry.ino) {
        fuse_reply_err(req, ENOENT);
        return true;
    }
    entry.attr = attributes(entry.ino);
    fuse_reply_entry(req, &entry);
    return true;
}

void control_getattr(fuse_req_t req, fuse_ino_t ino)
{
    const struct stat st = attributes(ino);
    fuse_reply_attr(req, &st, 0);
}

void control_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct text *const text = calloc(1, sizeof *text);
    FILE *out = text ? open_memstream(&text->p, &text->size) : NULL;

    if (!out) {
        free(text);
        fuse_reply_err(req, ENOMEM);
        return;
    }
    if (files[ino - FIRST_FILE].print)
        files[ino - FIRST_FILE].print(out);
    fclose(out);
    fi->fh = (uintptr_t)text;
    fi->direct_io = 1;
    if (fuse_reply_open(req, fi) == -ENOENT) { /* the caller was killed: there will be no release */
        free(text->p);
        free(text);
    }
}

void control_read(fuse_req_t req, size_t size, off_t offset, const struct fuse_file_info *fi)
{
    const struct text *const text = (const struct text *)(uintptr_t)fi->fh;
    const size_t start = (size_t)offset < text->size ? (size_t)offset : text->size;
    const size_t n = text->size - start < size ? text->size - start : size;
    char *const copy = malloc(n + 1); /* the caller can have closed the file before the reply's call is back */

    if (!copy) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    memcpy(copy, text->p + start, n);
    fuse_reply_buf(req, copy, n);
    free(copy);
}

void control_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size)
{
    int (*const set)(const char *) = files[ino - FIRST_FILE].set;
    char *const line = strndup(data, size);
    const int error = !set ? EACCES : !line ? ENOMEM : -set(line);

    free(line);
    if (error)
        fuse_reply_err(req, error);
    else
        fuse_reply_write(req, size);
}

void control_release(fuse_req_t req, struct fuse_file_info *fi)
{
    struct text *const text = (struct text *)(uintptr_t)fi->fh;

    free(text->p);
    free(text);
    fuse_reply_err(req, 0);
}

void control_opendir(fuse_req_t req, struct fuse_file_info *fi)
{
    fi->fh = 0;
    fuse_reply_open(req, fi);
}

void control_readdir(fuse_req_t req, size_t size, off_t offset)
{
    char buffer[1024];
    size_t used = 0;

    for (size_t i = (size_t)offset; i < FILES; i++) {
        const struct stat st = attributes(FIRST_FILE + i);
        const size_t n =
            fuse_add_direntry(req, buffer + used, sizeof buffer - used, files[i].name, &st, (off_t)i + 1);
        if (used + n > sizeof buffer || used + n > size)
            break;
        used += n;
    }
    fuse_reply_buf(req, buffer, used);
}
