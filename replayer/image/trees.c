#include "replayer/image/trees.h"

#include <errno.h>
#include <fts.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "facts/memory.h"

static enum manifest_kind kind_of(const FTSENT *e)
{
    const mode_t mode = e->fts_statp->st_mode;

    switch (e->fts_info) {
    case FTS_D: return MANIFEST_DIRECTORY;
    case FTS_SL:
    case FTS_SLNONE: return MANIFEST_SYMLINK;
    default: break;
    }
    if (strstr(e->fts_name, ".so"))
        return MANIFEST_SHARED_OBJECT;
    return mode & 0111 ? MANIFEST_EXECUTABLE : MANIFEST_DATA;
}

static void add(struct manifest *m, const FTSENT *e)
{
    struct manifest_entry *entry = manifest_add(m, e->fts_path, kind_of(e));

    entry->order = m->entry_count - 1;
    entry->counts.open = e->fts_info == FTS_F;
    entry->counts.list = e->fts_info == FTS_D;
    entry->counts.stat = e->fts_info != FTS_F && e->fts_info != FTS_D;
}

/* 0 or -1. */
static int walk(struct manifest *m, char *directory, char **error)
{
    char *const paths[] = {directory, NULL};
    FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR | FTS_XDEV, NULL);
    FTSENT *e;

    memory_check(fts);
    const size_t before = m->entry_count;
    while ((e = fts_read(fts))) {
        switch (e->fts_info) {
        case FTS_D:
        case FTS_F:
        case FTS_SL:
        case FTS_SLNONE:
            add(m, e);
            break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            fprintf(stderr, "dlcache: warning: %s: %s; it is left to the file system\n", e->fts_path,
                    strerror(e->fts_errno));
            break;
        default: break; /* a directory's end; devices, sockets: the kernel's */
        }
    }
    fts_close(fts);
    if (m->entry_count > before)
        return 0;
    if (asprintf(error, "%s: nothing can be read there", directory) < 0)
        memory_check(NULL);
    return -1;
}

/* The directory itself, without symlinks; heap, or NULL with *error. */
static char *real_directory(const char *path, char **error)
{
    struct stat st;
    char *real = realpath(path, NULL);

    if (real && stat(real, &st) == 0 && S_ISDIR(st.st_mode) && strcmp(real, "/") != 0)
        return real;
    if (asprintf(error, "%s: %s", path, !real                    ? strerror(errno)
                                        : strcmp(real, "/") == 0 ? "that is everything"
                                                                 : "is no directory") < 0)
        memory_check(NULL);
    free(real);
    return NULL;
}

/* One below another would be walked twice. */
static int is_new(const struct manifest *m, const char *directory)
{
    for (size_t i = 0; i < m->policy.prefix_count; i++) {
        const size_t n = strlen(m->policy.prefixes[i]);
        if (strncmp(directory, m->policy.prefixes[i], n) == 0 && (directory[n] == '/' || !directory[n]))
            return 0;
    }
    return 1;
}

static int by_length(const void *a, const void *b)
{
    const size_t x = strlen(*(char *const *)a), y = strlen(*(char *const *)b);

    return x < y ? -1 : x > y;
}

struct manifest *manifest_of_trees(char *const *directories, size_t count, char **error)
{
    struct manifest *m = manifest_new();
    char **real = memory_new(count, sizeof *real);
    int rc = 0;

    m->policy.prefixes = memory_new(count, sizeof *m->policy.prefixes);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = (real[i] = real_directory(directories[i], error)) ? 0 : -1;
    if (rc == 0)
        qsort(real, count, sizeof *real, by_length);
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (!is_new(m, real[i]))
            continue;
        m->policy.prefixes[m->policy.prefix_count++] = memory_text(real[i]);
        rc = walk(m, real[i], error);
    }
    for (size_t i = 0; i < count; i++)
        free(real[i]);
    free(real);
    if (rc) {
        manifest_free(m);
        return NULL;
    }
    manifest_sort(m);
    return m;
}
