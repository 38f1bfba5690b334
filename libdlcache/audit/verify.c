/* One file: is it there, and would ld.so take it, or go on? Rules: audit.h. */
#include <elf.h>
#include <errno.h>
#include <linux/stat.h>
#include <sys/sysmacros.h>

#include "audit.h"
#include "libdlcache/sys.h"

#if defined __x86_64__
#define MACHINE EM_X86_64
#else
#define MACHINE EM_AARCH64
#endif

bool make_full(struct candidate *c)
{
    size_t n = 0;

    if (c->path[0] != '/') {
        const long got = sys_getcwd(c->full, PATH_SIZE);
        if (got < 2 || c->full[0] != '/')
            return false;
        n = (size_t)got - 1;
        if (c->full[n - 1] != '/')
            c->full[n++] = '/';
    }
    if (n + c->len >= PATH_SIZE)
        return false;
    __builtin_memcpy(c->full + n, c->path, c->len + 1);
    c->full_len = n + c->len;
    return true;
}

/* As open_verify in ld.so, which skips what is of another class or machine. Whatever else is wrong with a file ends its
 * search, with a message: ld.so comes there itself. */
static enum outcome judge(const ElfW(Ehdr) *eh, long n, bool *other_class)
{
    if (n < (long)sizeof *eh || __builtin_memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0)
        return DOUBT;
    if (eh->e_ident[EI_CLASS] != (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32)) {
        *other_class = true;
        return NOT_HERE;
    }
    if (eh->e_machine == MACHINE)
        return HERE;
    if (eh->e_ident[EI_DATA] != ELFDATA2LSB || eh->e_ident[EI_VERSION] != EV_CURRENT || eh->e_version != EV_CURRENT ||
        (eh->e_ident[EI_OSABI] != ELFOSABI_SYSV && eh->e_ident[EI_OSABI] != ELFOSABI_LINUX))
        return DOUBT;
    return NOT_HERE;
}

static void identify(struct identity *file, const struct statx *x)
{
    *file = (struct identity){
        .dev = makedev(x->stx_dev_major, x->stx_dev_minor),
        .ino = x->stx_ino,
        .btime = x->stx_mask & STATX_BTIME ? x->stx_btime.tv_sec : 0,
        .btime_ns = x->stx_mask & STATX_BTIME ? x->stx_btime.tv_nsec : 0,
        .node = DLC_NONE,
    };
}

/* What open said. Anything else than "not there" ends ld.so's search of a whole list. */
static enum outcome refused(long error)
{
    return error == -ENOENT || error == -EACCES || error == -ENOTDIR ? NOT_HERE : DOUBT;
}

static long look(int fd, const char *path, unsigned flags, struct statx *x)
{
    return sys_call6(__NR_statx, fd, (long)path, flags, STATX_BASIC_STATS | STATX_BTIME, (long)x, 0);
}

/* Asks the kernel. */
static enum outcome look_at(const char *path, struct candidate *c)
{
    ElfW(Ehdr) eh;
    struct statx x;
    const int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);

    if (fd < 0)
        return refused(fd);
    const long n = sys_read(fd, &eh, sizeof eh);
    const long rc = look(fd, "", AT_EMPTY_PATH, &x);
    sys_close(fd);
    if (rc != 0)
        return DOUBT;
    identify(&c->file, &x);
    return judge(&eh, n, &c->other_class);
}

/* Of a node, as the kernel would say. */
static void identify_node(struct identity *file, uint32_t node)
{
    const struct view *v = &audit.stage.view;
    const struct dlc_node *n = &v->image.nodes[node];

    *file = (struct identity){
        .dev = v->mounts[n->mount].dev,
        .ino = n->ino,
        .btime = n->flags & DLC_N_BTIME ? n->btime : 0,
        .btime_ns = n->flags & DLC_N_BTIME ? n->btime_ns : 0,
        .node = node,
    };
}

/* A file that is held, but not as an object: of the mirror's copy can be told what it is. The original is taken. */
static enum outcome look_at_copy(struct candidate *c, uint32_t node)
{
    const struct view *v = &audit.stage.view;
    const size_t below = lookup_prefix(v, c->full, c->full_len);
    static char copy[MIRROR_SIZE] DLC_LARGE;

    if (v->prefix_len + c->full_len - below >= sizeof copy)
        return DOUBT;
    __builtin_memcpy(copy, v->prefix, v->prefix_len);
    __builtin_memcpy(copy + v->prefix_len, c->full + below, c->full_len - below + 1);
    const enum outcome outcome = look_at(copy, c);
    if (outcome == HERE) {
        identify_node(&c->file, node);
        c->file.node = DLC_NONE;
    }
    return outcome == HERE || c->other_class ? outcome : DOUBT;
}

static enum outcome verify_with(struct candidate *c, enum outcome (*ask)(const char *, struct candidate *))
{
    const struct view *v = &audit.stage.view;
    struct found found;

    switch (lookup(v, c->full, c->full_len, 0, &found)) {
    case VERDICT_ABSENT:
    case VERDICT_NOTDIR: return NOT_HERE;
    case VERDICT_FILE:
        if (v->image.nodes[found.node].object == DLC_NONE)
            return look_at_copy(c, found.node);
        identify_node(&c->file, found.node);
        return HERE;
    default: return ask(c->full + lookup_prefix(v, c->full, c->full_len), c);
    }
}

enum outcome verify(struct candidate *c)
{
    return verify_with(c, look_at);
}

static enum outcome look_readable(const char *path, struct candidate *c)
{
    struct statx x;
    const long rc = look(AT_FDCWD, path, 0, &x);

    if (rc != 0)
        return refused(rc);
    if (!S_ISREG(x.stx_mode) || (x.stx_mode & 0444) != 0444)
        return look_at(path, c);
    identify(&c->file, &x);
    return HERE;
}

enum outcome verify_cached(struct candidate *c)
{
    return verify_with(c, look_readable);
}
