/* From the arguments of a call to a verdict, and from a node to its place in the mirror. Rules: shim.h. */
#include <limits.h>
#include <signal.h>
#include <sys/sysmacros.h>

#include "libdlcache/sys.h"
#include "shim.h"

#define PAGE 4096ul

/* Pages that were found readable. A path that is not readable has to give EFAULT, as from the kernel, and no fault in
 * here. A page that a string was once read from is taken to stay: asking each time would double the cost of a call. */
#define PAGES 1024
static DLC_LARGE uint32_t readable_pages[PAGES]; /* of the page's number what the place does not say, and 1 */

static bool page_readable(uintptr_t page)
{
    uint32_t *slot = &readable_pages[(page / PAGE) % PAGES];
    const uint64_t tag = page / PAGE / PAGES + 1;

    if (__builtin_expect(__atomic_load_n(slot, __ATOMIC_RELAXED) == tag, 1))
        return true;
    /* The kernel reads the set before it looks at the first argument: -EFAULT, or -EINVAL for readable memory. */
    if (sys_call(__NR_rt_sigprocmask, -1, page, 0, 8) != -EINVAL)
        return false;
    if (tag <= UINT32_MAX) /* more where addresses have 57 bits, and a program asked for those */
        __atomic_store_n(slot, (uint32_t)tag, __ATOMIC_RELAXED);
    return true;
}

long shim_strlen(const char *path)
{
    const uintptr_t start = (uintptr_t)path;
    size_t n = 0;

    if (start < PAGE)
        return -1;
    while (n < PATH_MAX) {
        const uintptr_t page = (start + n) & ~(PAGE - 1);
        if (!page_readable(page))
            return -1;
        const size_t room = page + PAGE - (start + n);
        const size_t k = strnlen(path + n, room);
        n += k;
        if (k < room)
            return n < PATH_MAX ? (long)n : -1;
    }
    return -1;
}

bool shim_readable(const void *p, size_t n)
{
    const uintptr_t first = (uintptr_t)p & ~(PAGE - 1), last = ((uintptr_t)p + n - 1) & ~(PAGE - 1);
    return first >= PAGE && page_readable(first) && (last == first || page_readable(last));
}

uint32_t shim_node_of_fd(int fd)
{
    struct stat st;

    if (sys_fstat(fd, &st) != 0)
        return DLC_NONE;
    return stage_node_of(&shim.stage, &st);
}

long shim_read_fd_link(int fd, char *buf, size_t size)
{
    char link[32] = "/proc/self/fd/";
    char digits[12];
    size_t n = sizeof "/proc/self/fd/" - 1, d = sizeof digits;
    unsigned number = (unsigned)fd;

    do
        digits[--d] = (char)('0' + number % 10);
    while (number /= 10);
    __builtin_memcpy(link + n, digits + d, sizeof digits - d);
    link[n + sizeof digits - d] = '\0';
    return sys_readlinkat(AT_FDCWD, link, buf, size);
}

bool shim_is_original(uint32_t node, int dirfd, const char *path)
{
    const struct dlc_node *n = &shim.stage.view.image.nodes[node];
    struct statx x;

    if (n->mount >= shim.stage.view.image.mount_count)
        return false;
    const uint64_t dev = shim.stage.view.mounts[n->mount].dev;
    if (sys_call6(__NR_statx, dirfd, (long)path, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME,
                  (long)&x, 0) != 0 ||
        x.stx_ino != n->ino || x.stx_dev_major != major(dev) || x.stx_dev_minor != minor(dev))
        return false;
    /* Inode numbers come again; with the time of birth it is the same one. */
    return !(n->flags & DLC_N_BTIME) || !(x.stx_mask & STATX_BTIME) ||
           (x.stx_btime.tv_sec == n->btime && x.stx_btime.tv_nsec == n->btime_ns);
}

bool shim_is_dirty(uint32_t node, unsigned bits)
{
    const struct view *v = &shim.stage.view;

    if (__builtin_expect(!__atomic_load_n(&v->state->any_dirty, __ATOMIC_RELAXED), 1))
        return false;
    if (__atomic_load_n(&v->dirty[node], __ATOMIC_ACQUIRE) & bits)
        return true;
    while (node != 0) {
        node = v->image.nodes[node].parent;
        if (__atomic_load_n(&v->dirty[node], __ATOMIC_ACQUIRE) & DLC_D_SELF)
            return true;
    }
    return false;
}

static __attribute__((noinline)) bool find_fd(int fd, size_t room, struct found *found)
{
    char path[room];
    const long n = shim_read_fd_link(fd, path, room);

    found->node = DLC_NONE;
    if (n > 0 && path[0] == '/' && (size_t)n < room)
        lookup(&shim.stage.view, path, (size_t)n, LOOKUP_NOFOLLOW | LOOKUP_CHANGED, found);
    return n < (long)room;
}

uint32_t shim_original_node_of_fd(int fd)
{
    struct found found;

    if (!find_fd(fd, SHIM_SHORT, &found))
        find_fd(fd, PATH_MAX, &found);
    return found.node;
}

/* Below the current directory, or a descriptor's, whose path takes less than `room` bytes; false: more. */
static __attribute__((noinline)) bool ask_below(size_t room, int dirfd, const char *path, size_t len, unsigned flags,
                                                struct found *found, enum verdict *verdict)
{
    const struct view *v = &shim.stage.view;
    char buf[room + 1 + len];
    long n = dirfd == AT_FDCWD ? sys_getcwd(buf, room) - 1 : shim_read_fd_link(dirfd, buf, room);

    if (n == -ERANGE - 1 || n == (long)room)
        return false;
    *verdict = VERDICT_UNKNOWN;
    if (n <= 0 || buf[0] != '/')
        return true;
    buf[n++] = '/';
    __builtin_memcpy(buf + n, path, len);
    if (!lookup_prefix(v, buf, (size_t)n - 1))
        *verdict = lookup_from(v, 0, buf, (size_t)n + len, flags, found);
    return true;
}

static __attribute__((noinline)) enum verdict ask_relative(int dirfd, const char *path, size_t len, unsigned flags,
                                                           struct found *found)
{
    const struct view *v = &shim.stage.view;
    enum verdict verdict = VERDICT_UNKNOWN;

    if (dirfd != AT_FDCWD) {
        const uint32_t start = shim_node_of_fd(dirfd);
        /* What is below a directory that was moved is not what the index says. */
        if (start != DLC_NONE && v->image.nodes[start].kind == DT_DIR &&
            (flags & LOOKUP_CHANGED || !shim_is_dirty(start, DLC_D_SELF)))
            return lookup_from(v, start, path, len, flags, found);
        /* A directory of the original. Below it the kernel is asked; but a change there is a change all the same. */
        if (!(flags & LOOKUP_CHANGED))
            return VERDICT_UNKNOWN;
    }
    if (!ask_below(SHIM_SHORT, dirfd, path, len, flags, found, &verdict))
        ask_below(PATH_MAX, dirfd, path, len, flags, found, &verdict);
    return verdict;
}

enum verdict shim_ask(int dirfd, const char *path, unsigned flags, struct found *found)
{
    found->node = found->parent = DLC_NONE;
    if (!shim.serving || (__atomic_load_n(&shim.left, __ATOMIC_RELAXED) && !(flags & LOOKUP_CHANGED)))
        return VERDICT_UNKNOWN;
    const long len = shim_strlen(path);
    if (len <= 0)
        return VERDICT_UNKNOWN;
    if (path[0] == '/')
        return lookup_prefix(&shim.stage.view, path, (size_t)len)
                   ? VERDICT_UNKNOWN
                   : lookup_from(&shim.stage.view, 0, path, (size_t)len, flags, found);
    return ask_relative(dirfd, path, (size_t)len, flags, found);
}

/* The descriptor that a path of /proc or /dev stands for, or -1: "/proc/self/fd/5", "/dev/fd/5", "/dev/stdin". */
static int descriptor_named(const char *path)
{
    static const char *const heads[] = {"/proc/self/fd/", "/dev/fd/", "/proc/thread-self/fd/"};
    static const char *const names[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    const char *digits = NULL;
    int fd = 0;

    for (int i = 0; i < 3; i++) {
        const size_t n = strlen(heads[i]);
        if (strncmp(path, heads[i], n) == 0)
            digits = path + n;
        if (strcmp(path, names[i]) == 0)
            return i;
    }
    if (!digits || *digits < '0' || *digits > '9')
        return -1;
    for (; *digits >= '0' && *digits <= '9' && fd < 100000000; digits++)
        fd = fd * 10 + (*digits - '0');
    return *digits == '\0' || *digits == '/' ? fd : -1;
}

const char *shim_original(const char *path)
{
    if (!shim.serving || (uintptr_t)path < PAGE || shim_strlen(path) <= 0 || path[0] != '/' ||
        (path[1] != 'p' && path[1] != 'd'))
        return path;
    const int fd = descriptor_named(path);
    if (fd >= 0)
        shim_reopen(fd);
    return path;
}

bool shim_in_mirror(const char *path)
{
    const long len = shim.serving ? shim_strlen(path) : 0;
    return len > 0 && lookup_prefix(&shim.stage.view, path, (size_t)len) != 0;
}

int shim_guard(int fd)
{
    const uint32_t node = fd >= 0 && shim.serving ? shim_node_of_fd(fd) : DLC_NONE;

    if (node == DLC_NONE || shim.stage.view.image.nodes[node].kind != DT_DIR)
        return fd;
    sys_close(fd);
    errno = EACCES;
    return -1;
}

/* What the original's path takes; 0: the arguments go as they are. */
size_t shim_pass_room(struct pass *p, int dirfd, const char *path)
{
    const struct image *im = &shim.stage.view.image;

    p->dirfd = dirfd;
    p->path = shim_original(path);
    if (!shim.serving || dirfd == AT_FDCWD)
        return 0;
    const long len = shim_strlen(path);
    if (len <= 0 || path[0] == '/')
        return 0;
    p->dir = shim_node_of_fd(dirfd);
    p->len = (size_t)len;
    /* Of what is no directory the mirror says so as well as the original did when it was opened. */
    if (p->dir == DLC_NONE || im->nodes[p->dir].kind != DT_DIR)
        return 0;
    const size_t room = image_path_room(im, p->dir) + 1 + p->len;
    return room <= PATH_MAX + 256 ? room : 0;
}

void shim_pass_fill(struct pass *p, char *buf, size_t size)
{
    size_t n = (size_t)image_path(&shim.stage.view.image, p->dir, buf, size);

    buf[n++] = '/';
    __builtin_memcpy(buf + n, p->path, p->len);
    buf[n + p->len] = '\0';
    p->dirfd = AT_FDCWD;
    p->path = buf;
}

size_t shim_mirror_room(uint32_t node)
{
    return shim.stage.view.prefix_len + image_path_room(&shim.stage.view.image, node);
}

bool shim_mirror_path(uint32_t node, char *buf, size_t size)
{
    const struct view *v = &shim.stage.view;

    if (v->prefix_len >= size)
        return false;
    __builtin_memcpy(buf, v->prefix, v->prefix_len);
    return image_path(&v->image, node, buf + v->prefix_len, size - v->prefix_len) >= 0;
}

/* What the stage answers needs no note: of a program that is served, the rest is of interest. A change always is. */
static __attribute__((noinline)) bool was_answered(enum spool_op op, int dirfd, const char *path)
{
    struct found found;

    if (!shim.serving || op == SPOOL_WRITE)
        return false;
    switch (shim_ask(dirfd, path, 0, &found)) {
    case VERDICT_FILE:
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR: return true;
    case VERDICT_META: return op == SPOOL_STAT;
    case VERDICT_DIR:
        return op == SPOOL_STAT || shim.stage.view.image.nodes[found.node].flags & DLC_N_FROZEN;
    case VERDICT_UNKNOWN: break;
    }
    return false;
}

/* Names mean other files there. A vfork child that called chroot has not done it for its parent: so "/" is looked at. */
static bool in_another_root(void)
{
    struct statx root;

    if (!__atomic_load_n(&shim.chrooted, __ATOMIC_ACQUIRE))
        return false;
    return sys_statx(AT_FDCWD, "/", 0, STATX_INO, &root) != 0 || root.stx_ino != shim.root_ino ||
           dlc_device(root.stx_dev_major, root.stx_dev_minor) != shim.root_dev;
}

void shim_note_slow(enum spool_op op, bool failed, int dirfd, const char *path)
{
    const enum spool_result result = !failed                              ? SPOOL_FOUND
                                     : errno == ENOENT || errno == ENOTDIR ? SPOOL_ABSENT
                                                                           : SPOOL_FAILED;
    const long len = shim_strlen(path);

    if (len > 0 && !was_answered(op, dirfd, path) && !in_another_root())
        recorder_note_at(&shim_recorder, op, result, dirfd, path, (size_t)len);
}

/* A call that the stage did not answer: why not. */
static enum dlc_count reason(int dirfd, const char *path)
{
    struct found found;

    if (shim_ask(dirfd, path, 0, &found) != VERDICT_UNKNOWN)
        return DLC_C_NOT_HELD;
    shim_ask(dirfd, path, LOOKUP_CHANGED, &found);
    const uint32_t node = found.node != DLC_NONE ? found.node : found.parent;
    if (node != DLC_NONE && shim_is_dirty(node, DLC_D_SELF | DLC_D_NAMES))
        return DLC_C_CHANGED;
    return found.node != DLC_NONE ? DLC_C_NOT_HELD : DLC_C_UNKNOWN;
}

void shim_count_slow(enum spool_op op, bool passed, bool failed, int dirfd, const char *path)
{
    enum dlc_count what = op == SPOOL_OPEN ? DLC_C_OPENED : op == SPOOL_LIST ? DLC_C_LISTED : DLC_C_FOUND;

    if (passed)
        what = reason(dirfd, path);
    else if (failed && (errno == ENOENT || errno == ENOTDIR))
        what = DLC_C_ABSENT;
    else if (failed)
        what = DLC_C_FOUND; /* it is there, and no symlink, or not to be executed */
    stage_count(shim.counts, what);
}
