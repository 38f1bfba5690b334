#include "replayer/stage/laydown.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "facts/whole.h"
#include "libdlcache/stage.h"
#include "replayer/stage/copy.h"
#include "replayer/stage/names.h"
#include "replayer/stage/state.h"

struct laydown {
    const struct place *place;
    const struct view *view;
    const struct image *im;
    struct names names;
    char *prefix;           /* the mirror's path when the stage has its name */
    uint32_t *files;        /* nodes with contents, by offset; hard links side by side */
    uint32_t *made;         /* one a file: the name that was made first, for the first of its hard links */
    size_t file_count;
    uint64_t at;            /* contents laid down */
    size_t file;            /* the one that is being written */
    int fd;
    struct dlc_mirror *mirror; /* one a node; whose inode number is 0 is not noted yet */
    struct copier *copier;  /* the contents come from the originals at once; NULL: by laydown_data */
};

static void fail(struct outcome *o, const char *path, int error)
{
    outcome_fail(o, "%s: %s", path ? path : "a file's path is too long", strerror(error));
}

/* --- what a name becomes ---------------------------------------------------------------------------------------- */

/* A directory of the mirror: a frozen one, and any on the way to something. */
static bool is_real_directory(const struct dlc_node *n)
{
    return n->kind == DT_DIR && (n->flags & DLC_N_FROZEN || n->children > 0);
}

/* A symlink that leads to something in the image (or provably to nothing) leads there in the mirror, too. */
static bool is_real_link(const struct laydown *l, uint32_t node)
{
    const struct dlc_node *n = &l->im->nodes[node];
    struct found found;
    char path[PATH_MAX];

    if (n->kind != DT_LNK || !(n->flags & DLC_N_STAT))
        return false;
    const long len = image_path(l->im, node, path, sizeof path);
    return len > 0 && lookup(l->view, path, (size_t)len, 0, &found) != VERDICT_UNKNOWN;
}

/* A relative target that climbs to "/" and further stays at "/"; in the mirror it would leave. Its part behind the
 * climb, or NULL. */
static const char *climbs_out(const struct laydown *l, uint32_t node, const char *target)
{
    long depth = -1; /* of the directory that the link is in */
    const char *out = NULL;

    for (uint32_t i = node; i != 0; i = l->im->nodes[i].parent)
        depth++;
    for (const char *p = target; *p;) {
        const size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.') {
            if (--depth < 0) {
                depth = 0;
                out = p + n;
            }
        } else if (n && !(n == 1 && p[0] == '.')) {
            depth++;
        }
        p += n;
        p += strspn(p, "/");
    }
    return out;
}

static void make_symlink(struct laydown *l, uint32_t node, const char *target, struct outcome *o)
{
    struct name_at at;

    if (names_at(&l->names, node, &at) && symlinkat(target, at.dir, at.name) != 0)
        fail(o, names_path(&l->names, node), errno);
}

static void make_real_link(struct laydown *l, uint32_t node, struct outcome *o)
{
    const struct dlc_node *n = &l->im->nodes[node];
    const char *target = l->im->strings + n->target;
    const char *behind = target[0] == '/' ? target : climbs_out(l, node, target);

    if (!behind) {
        make_symlink(l, node, target, o);
        return;
    }
    char *absolute;
    if (asprintf(&absolute, "%s%s%s", l->prefix, *behind == '/' ? "" : "/", behind) < 0)
        memory_check(NULL);
    make_symlink(l, node, strlen(absolute) < PATH_MAX ? absolute : target, o);
    free(absolute);
}

static void link_original(struct laydown *l, uint32_t node, struct outcome *o)
{
    const char *path = names_path(&l->names, node);

    if (!path)
        return;
    char *original = memory_text(path + l->names.root_len);
    make_symlink(l, node, original, o);
    free(original);
}

/* --- the parts of the mirror, in order -------------------------------------------------------------------------- */

static int by_data(const void *a, const void *b, void *arg)
{
    const struct dlc_node *nodes = arg;
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    if (nodes[x].data != nodes[y].data)
        return nodes[x].data < nodes[y].data ? -1 : 1;
    return x < y ? -1 : x > y;
}

/* Which of the files this node is, or its first hard link. */
static size_t file_of(const struct laydown *l, uint32_t node)
{
    const struct dlc_node *nodes = l->im->nodes;
    size_t low = 0, high = l->file_count;

    while (low < high) {
        const size_t mid = low + (high - low) / 2;
        if (nodes[l->files[mid]].data < nodes[node].data)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* An empty file, or another name of one that is there. */
static void make_file(struct laydown *l, uint32_t node, struct outcome *o)
{
    uint32_t *made = &l->made[file_of(l, node)];
    struct name_at at;

    if (!names_at(&l->names, node, &at))
        return;
    if (*made == 0) {
        const int fd = openat(at.dir, at.name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        *made = node;
        if (fd >= 0 && l->copier)
            copier_put(l->copier, node, l->im->nodes[node].data, fd);
        else if (fd < 0 || close(fd) != 0)
            fail(o, names_path(&l->names, node), errno);
        return;
    }
    char *to = memory_text(names_path(&l->names, node));
    const char *from = names_path(&l->names, *made);
    if (from && link(from, to) != 0)
        fail(o, to, errno);
    free(to);
}

static void make_name(struct laydown *l, uint32_t node, struct outcome *o)
{
    const struct dlc_node *n = &l->im->nodes[node];
    struct name_at at;

    if (is_real_directory(n)) {
        if (names_at(&l->names, node, &at) && mkdirat(at.dir, at.name, 0700) != 0)
            fail(o, names_path(&l->names, node), errno);
    } else if (n->flags & DLC_N_DATA) {
        make_file(l, node, o);
    } else if (is_real_link(l, node)) {
        make_real_link(l, node, o);
    } else {
        link_original(l, node, o);
    }
}

static int by_order(const void *a, const void *b, void *arg)
{
    const struct dlc_node *nodes = arg;
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    if (nodes[x].order != nodes[y].order)
        return nodes[x].order < nodes[y].order ? 1 : -1;
    return x < y ? -1 : x > y;
}

/* All names of a directory, the last of its list first: a tmpfs lists the newest first. */
static void make_names(struct laydown *l, uint32_t dir, uint32_t *room, struct outcome *o)
{
    const struct dlc_node *n = &l->im->nodes[dir];

    for (uint32_t i = 0; i < n->children; i++)
        room[i] = n->first + i;
    qsort_r(room, n->children, sizeof *room, by_order, (void *)(uintptr_t)l->im->nodes);
    for (uint32_t i = 0; i < n->children && !o->failed; i++) {
        team_look();
        make_name(l, room[i], o);
    }
}

static void set_times(const struct dlc_node *n, struct timespec times[2])
{
    times[0] = (struct timespec){n->atime, n->atime_ns};
    times[1] = (struct timespec){n->mtime, n->mtime_ns};
}

/* Several names are one file: what makes one of them changes it. */
static bool is_linked(const struct laydown *l, size_t file)
{
    const struct dlc_node *nodes = l->im->nodes;
    const uint64_t data = nodes[l->files[file]].data;

    return (file > 0 && nodes[l->files[file - 1]].data == data) ||
           (file + 1 < l->file_count && nodes[l->files[file + 1]].data == data);
}

int laydown_open(void *arg, uint32_t node)
{
    const struct laydown *l = arg;
    char path[PATH_MAX];

    /* Contents that were dropped, for their path is too long, are read all the same: the others' lie behind them. */
    if (!(l->im->nodes[node].flags & DLC_N_DATA)) {
        errno = 0;
        return -1;
    }
    const uint32_t made = l->made[file_of(l, node)];
    if (!made || !names_copy_path(&l->names, made, path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return open(path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
}

int laydown_end(void *arg, uint32_t node, int fd)
{
    struct laydown *l = arg;
    const struct dlc_node *n = &l->im->nodes[node];
    struct timespec times[2];
    struct stat st;

    set_times(n, times);
    /* Whatever the umask is: a program may look at the bits of what it opened. */
    if (fchmod(fd, (n->mode & 0555) | 0400) != 0 || futimens(fd, times) != 0 || fstat(fd, &st) != 0)
        return errno;
    if (!is_linked(l, file_of(l, node)))
        l->mirror[node] = (struct dlc_mirror){st.st_ino, st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec, 0};
    return 0;
}

struct laydown *laydown_begin(const struct place *place, const struct view *view, const struct copying *from,
                              struct outcome *o)
{
    struct laydown *l = memory_new(1, sizeof *l);
    const struct image *im = &view->image;

    l->place = place;
    l->view = view;
    l->im = im;
    l->fd = -1;
    char *root = memory_join(place->temporary, STAGE_MIRROR, strlen(STAGE_MIRROR));
    names_begin(&l->names, im, root);
    free(root);
    l->prefix = memory_join(place->dir, STAGE_MIRROR, strlen(STAGE_MIRROR));
    l->mirror = memory_new(im->node_count, sizeof *l->mirror);
    l->files = memory_new(im->node_count, sizeof *l->files);
    for (uint32_t i = 0; i < im->node_count; i++)
        if (im->nodes[i].flags & DLC_N_DATA)
            l->files[l->file_count++] = i;
    qsort_r(l->files, l->file_count, sizeof *l->files, by_data, (void *)(uintptr_t)im->nodes);
    l->made = memory_new(l->file_count, sizeof *l->made);

    if (mkdir(names_path(&l->names, 0), 0700) != 0)
        fail(o, names_path(&l->names, 0), errno);
    if (from && !o->failed && !(l->copier = copier_start(from, laydown_end, l)))
        outcome_fail(o, "no thread can be started to read with");
    uint32_t *room = memory_new(im->node_count, sizeof *room);
    for (uint32_t i = 0; i < im->node_count && !o->failed; i++)
        if (i == 0 || is_real_directory(&im->nodes[i]))
            make_names(l, i, room, o);
    free(room);
    return l;
}

void laydown_failed(struct laydown *l, uint32_t node, int error, struct outcome *o)
{
    fail(o, names_path(&l->names, node), error);
}

void laydown_copied(struct laydown *l, uint32_t **bad, size_t *count, struct outcome *o)
{
    uint32_t node;
    const int error = copier_finish(l->copier, bad, count, &node);

    if (error)
        fail(o, names_path(&l->names, node), error);
    copier_free(l->copier);
    l->copier = NULL;
}

static void close_file(struct laydown *l, struct outcome *o)
{
    const uint32_t node = l->files[l->file];
    int error = laydown_end(l, node, l->fd);

    if (close(l->fd) != 0 && !error)
        error = errno;
    if (error)
        fail(o, names_path(&l->names, node), error);
    l->fd = -1;
}

static bool is_link_of_last(const struct laydown *l, size_t file)
{
    const struct dlc_node *nodes = l->im->nodes;
    return file > 0 && nodes[l->files[file]].data == nodes[l->files[file - 1]].data;
}

void laydown_data(struct laydown *l, const void *data, uint64_t bytes, struct outcome *o)
{
    const char *from = data;
    const uint64_t end = l->at + bytes;

    while (l->file < l->file_count && !o->failed) {
        team_look();
        const struct dlc_node *n = &l->im->nodes[l->files[l->file]];
        if (is_link_of_last(l, l->file)) {
            l->file++;
            continue;
        }
        if (n->data >= end)
            break;
        if (l->fd < 0) {
            const uint32_t made = l->made[l->file];
            struct name_at at;
            errno = ENAMETOOLONG;
            l->fd = made && names_at(&l->names, made, &at) ? openat(at.dir, at.name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
            if (l->fd < 0) {
                const int error = errno;
                fail(o, made ? names_path(&l->names, made) : NULL, error);
                break;
            }
        }
        const uint64_t at = n->data > l->at ? n->data : l->at;
        const uint64_t stop = n->data + n->size < end ? n->data + n->size : end;
        const int error = at < stop ? -whole_write(l->fd, from + (at - l->at), stop - at, at - n->data) : 0;
        if (error) {
            fail(o, names_path(&l->names, l->files[l->file]), error);
            return;
        }
        if (stop < n->data + n->size)
            break; /* the rest is in the next chunk */
        close_file(l, o);
        l->file++;
    }
    l->at = end;
}

/* Contents that were dropped: what came of them goes, and a symlink to the original comes. */
static void replace_dropped(struct laydown *l, struct outcome *o)
{
    for (size_t i = 0; i < l->file_count && !o->failed; i++) {
        if (l->im->nodes[l->files[i]].flags & DLC_N_DATA)
            continue;
        const uint32_t node = l->files[i];
        struct name_at at;
        l->mirror[node] = (struct dlc_mirror){0};
        if (names_at(&l->names, node, &at) && unlinkat(at.dir, at.name, 0) != 0)
            fail(o, names_path(&l->names, node), errno);
        else
            link_original(l, node, o);
    }
}

/* The last of what is done to a name; `is_own`: it is no file. 0 or errno. */
static int finish_name(struct laydown *l, uint32_t node, bool is_own)
{
    const struct dlc_node *n = &l->im->nodes[node];
    struct timespec times[2];
    struct stat st;
    struct name_at at;

    if (!names_at(&l->names, node, &at))
        return 0;
    set_times(n, times);
    if (is_own && ((n->kind == DT_DIR && fchmodat(at.dir, at.name, 0555, 0) != 0) ||
                   (n->flags & DLC_N_STAT && utimensat(at.dir, at.name, times, AT_SYMLINK_NOFOLLOW) != 0)))
        return errno;
    /* What is only on the way to something has no stat data to give. */
    if (!(n->flags & DLC_N_STAT))
        return 0;
    if (fstatat(at.dir, at.name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return errno;
    l->mirror[node] = (struct dlc_mirror){st.st_ino, st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec, 0};
    return 0;
}

/* What is no file, and files of several names. Children first: what is made in a directory changes its times, and
 * needs its mode. */
static void finish_names(struct laydown *l, struct outcome *o)
{
    for (uint32_t i = l->im->node_count; i-- > 0 && !o->failed;) {
        const struct dlc_node *n = &l->im->nodes[i];
        const bool is_file = n->flags & DLC_N_DATA, is_own = !is_file && (is_real_directory(n) || is_real_link(l, i));
        if ((!is_own && !is_file) || l->mirror[i].ino)
            continue;
        team_look();
        const int error = finish_name(l, i, is_own);
        if (error)
            fail(o, names_path(&l->names, i), error);
    }
}

void laydown_finish(struct laydown *l, struct outcome *o)
{
    if (!o->failed)
        replace_dropped(l, o);
    if (!o->failed)
        finish_names(l, o);
}

void laydown_state(struct laydown *l, uint32_t audit, const struct dlc_loader *loader, struct outcome *o)
{
    uint64_t bytes;

    if (o->failed)
        return;
    void *state = state_make(l->view, l->mirror, names_path(&l->names, 0), l->prefix, audit, loader, &bytes, o);
    if (state)
        place_file(l->place, STAGE_STATE, state, bytes, 0600, o);
    free(state);
}

void laydown_free(struct laydown *l)
{
    if (!l)
        return;
    copier_free(l->copier);
    if (l->fd >= 0)
        close(l->fd);
    names_end(&l->names);
    free(l->prefix);
    free(l->files);
    free(l->made);
    free(l->mirror);
    free(l);
}

uint64_t laydown_bytes(const struct image *im)
{
    uint64_t bytes = im->header->index_size + state_bytes(im) + (4u << 20);

    for (uint32_t i = 0; i < im->node_count; i++) {
        const struct dlc_node *n = &im->nodes[i];
        if (n->flags & DLC_N_DATA)
            bytes += (n->size + 4095) & ~4095ull;
        /* A long symlink takes a page. */
        else if (n->kind != DT_DIR && (n->target_len > 100 || n->kind != DT_LNK))
            bytes += 128;
    }
    return bytes;
}
