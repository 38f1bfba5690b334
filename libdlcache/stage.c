/* Opening a stage. Runs inside the user's process and inside the dynamic loader: raw system calls, no heap, no
 * descriptor kept. */
#include "stage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sys.h"

/* Maps the file `name` of the stage, which must be the caller's own. */
static int map_file(int dirfd, const char *name, int prot, unsigned uid, uint64_t least, void **p, uint64_t *bytes)
{
    const int flags = (prot & PROT_WRITE ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    struct stat st;
    int fd = sys_openat(dirfd, name, flags, 0);

    if (fd < 0)
        return fd == -ENOENT ? -ESTALE : fd;
    int rc = sys_fstat(fd, &st);
    if (rc == 0) {
        if (!S_ISREG(st.st_mode) || st.st_uid != uid || st.st_mode & 022) {
            rc = -EPERM;
        } else if ((uint64_t)st.st_size < least) {
            rc = -EBADMSG;
        } else {
            *bytes = (uint64_t)st.st_size;
            *p = sys_mmap(*bytes, prot, MAP_SHARED, fd, 0);
            rc = *p ? 0 : -ENOMEM;
        }
    }
    sys_close(fd);
    return rc;
}

static int table_fits(const struct dlc_state *st, uint64_t off, uint64_t count, uint64_t record)
{
    return off % 8 == 0 && off >= st->size && off <= st->total && count <= (st->total - off) / record;
}

/* As many strings as it says. */
static int loader_fits(const struct dlc_loader *l)
{
    uint32_t strings = 0;

    if (l->id_len == 0)
        return 1;
    if (l->id_len > sizeof l->id || l->text_len > sizeof l->text || l->subdirs > DLC_LOADER_SUBDIRS ||
        l->defaults > sizeof l->text)
        return 0;
    for (uint32_t i = 0; i < l->text_len; i++)
        strings += l->text[i] == '\0';
    return strings == 3 + l->subdirs + l->defaults && l->text[l->text_len - 1] == '\0';
}

static int check_state(const struct stage *s, const struct dlc_state *st)
{
    const struct image *im = &s->view.image;

    if (!dlc_same(st->magic, DLC_STATE_MAGIC, sizeof st->magic))
        return -EPROTO;
    if (st->version != DLC_FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    if (st->size != sizeof *st || st->total != s->state_bytes)
        return -EBADMSG;
    if (!st->complete || st->nodes != im->node_count ||
        !dlc_same(st->digest, im->header->digest, sizeof st->digest))
        return -ESTALE;
    if (!table_fits(st, st->mirror_off, im->node_count, sizeof(struct dlc_mirror)) ||
        !table_fits(st, st->inode_off, st->inode_count, sizeof(uint32_t)) ||
        !table_fits(st, st->mount_off, im->mount_count, sizeof(struct dlc_mount_state)) ||
        !table_fits(st, st->dirty_off, im->node_count, 1) ||
        !table_fits(st, st->loader_off, 1, sizeof(struct dlc_loader)) ||
        !table_fits(st, st->counts_off, DLC_COUNT_SLOTS, sizeof(struct dlc_counts)))
        return -EBADMSG;
    if (!loader_fits((const void *)((const char *)st + st->loader_off)))
        return -EBADMSG;
    if (st->inode_count < im->node_count || st->inode_count > (uint64_t)1 << 32 ||
        st->inode_count & (st->inode_count - 1) || st->prefix_len == 0 || st->prefix_len >= sizeof st->prefix ||
        st->prefix[st->prefix_len] != '\0')
        return -EBADMSG;
    /* The mirror's symlinks and every process's answers name the place where the stage was laid down. */
    const size_t tail = sizeof "/" STAGE_MIRROR - 1;
    if (st->prefix_len != s->dir_len + tail || !dlc_same(st->prefix, s->dir, s->dir_len) ||
        !dlc_same(st->prefix + s->dir_len, "/" STAGE_MIRROR, tail))
        return -ESTALE;
    return 0;
}

static int open_parts(struct stage *s, int dirfd, unsigned uid)
{
    void *p = NULL;
    struct stat st;
    int rc = map_file(dirfd, STAGE_INDEX, PROT_READ, uid, sizeof(struct dlc_header), &p, &s->index_bytes);

    if (rc)
        return rc;
    s->view.image.header = p;
    if ((rc = image_open(&s->view.image, p, s->index_bytes)))
        return rc;
    if ((rc = map_file(dirfd, STAGE_STATE, PROT_READ | PROT_WRITE, uid, sizeof(struct dlc_state), &p,
                       &s->state_bytes)))
        return rc;
    struct dlc_state *state = p;
    s->view.state = state;
    if ((rc = check_state(s, state)))
        return rc;
    if ((rc = sys_fstatat(dirfd, STAGE_MIRROR, &st, AT_SYMLINK_NOFOLLOW)))
        return rc == -ENOENT ? -ESTALE : rc;
    if (!S_ISDIR(st.st_mode) || st.st_uid != uid || st.st_dev != state->dev)
        return -ESTALE;

    char *base = p;
    s->mirror = (const void *)(base + state->mirror_off);
    s->inodes = (const void *)(base + state->inode_off);
    s->loader = (const void *)(base + state->loader_off);
    s->counts = (void *)(base + state->counts_off);
    s->inode_mask = (uint32_t)(state->inode_count - 1);
    s->view.mounts = (const void *)(base + state->mount_off);
    s->view.all_agree = state->all_agree != 0;
    s->view.dirty = (const void *)(base + state->dirty_off);
    s->view.prefix = state->prefix;
    s->view.prefix_len = state->prefix_len;
    return 0;
}

int stage_open(struct stage *s, const char *dir)
{
    const unsigned uid = sys_geteuid();
    struct stat st;
    size_t len = dlc_strlen(dir);

    __builtin_memset(s, 0, sizeof *s);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    if (len == 0 || dir[0] != '/')
        return -ENOENT;
    if (len + sizeof "/" STAGE_MIRROR > sizeof s->dir)
        return -ENAMETOOLONG;
    __builtin_memcpy(s->dir, dir, len);
    s->dir_len = (uint32_t)len;

    const int fd = sys_openat(AT_FDCWD, s->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0)
        return fd == -ENOTDIR || fd == -ELOOP ? -ENOENT : fd == -EACCES ? -EPERM : fd;
    int rc = sys_fstat(fd, &st);
    if (rc == 0)
        rc = st.st_uid != uid || st.st_mode & 077 ? -EPERM : open_parts(s, fd, uid);
    sys_close(fd);
    if (rc)
        stage_close(s);
    return rc;
}

void stage_close(struct stage *s)
{
    if (s->view.image.header)
        sys_munmap((void *)s->view.image.header, s->index_bytes);
    if (s->view.state)
        sys_munmap(s->view.state, s->state_bytes);
    __builtin_memset(s, 0, sizeof *s);
}

const char *stage_error(int error)
{
    switch (error) {
    case 0: return "usable";
    case -ENOENT: return "there is no such directory";
    case -EPERM: return "it is not your own, or open to others (a stage has mode 0700)";
    case -EPROTO: return "its index or state is not one of dlcache";
    case -EPROTONOSUPPORT: return "it was made by another version of dlcache";
    case -EBADMSG: return "its index or state is damaged or cut short";
    case -ESTALE: return "it is incomplete, was moved, or its parts do not belong together";
    case -ENAMETOOLONG: return "its path is too long";
    case -ENOMEM: return "it cannot be mapped into memory";
    default: return "it cannot be read";
    }
}

struct dlc_counts *stage_counts(const struct stage *s)
{
    return &s->counts[(unsigned long)sys_call(__NR_getpid, 0, 0, 0, 0) % DLC_COUNT_SLOTS];
}

uint32_t stage_node_of(const struct stage *s, const struct stat *st)
{
    if (st->st_dev != s->view.state->dev)
        return DLC_NONE;
    uint32_t b = (uint32_t)(st->st_ino * 0x9e3779b97f4a7c15ull >> 32) & s->inode_mask;
    for (uint32_t node; (node = s->inodes[b]) != 0; b = (b + 1) & s->inode_mask) {
        if (node >= s->view.image.node_count || s->mirror[node].ino != st->st_ino)
            continue;
        const struct dlc_node *n = &s->view.image.nodes[node];
        const struct dlc_mirror *m = &s->mirror[node];
        /* An inode number can come again after somebody cleaned the place. */
        if (m->ctime != st->st_ctim.tv_sec || m->ctime_ns != (uint32_t)st->st_ctim.tv_nsec)
            return DLC_NONE;
        if (n->flags & DLC_N_DATA && n->size != (uint64_t)st->st_size)
            return DLC_NONE;
        return node;
    }
    return DLC_NONE;
}
