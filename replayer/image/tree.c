#include "replayer/image/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/format.h"

#define MOST_LINKS 40

static struct tree_node *new_node(const char *name, size_t len)
{
    struct tree_node *n = memory_check(calloc(1, sizeof *n + len + 1));

    n->name_len = (uint16_t)len;
    memcpy(n->name, name, len);
    return n;
}

char *tree_path(const struct tree_node *n)
{
    size_t len = 0;

    for (const struct tree_node *i = n; i->parent != i; i = i->parent)
        len += 1u + i->name_len;
    if (len == 0)
        return memory_text("/");
    char *path = memory_check(malloc(len + 1)), *p = path + len;
    *p = '\0';
    for (const struct tree_node *i = n; i->parent != i; i = i->parent) {
        p -= i->name_len;
        memcpy(p, i->name, i->name_len);
        *--p = '/';
    }
    return path;
}

/* lstat, once, or what was seen at a glance. 0 or -errno. */
static int look(struct tree *t, struct tree_node *n, const char *path)
{
    struct glance now, *g = glances_take(&t->glances, path);
    const bool known = g != NULL;

    if (!known)
        glance_look(g = &now, path);
    n->looked = true;
    n->st = g->st;
    const int error = g->error;
    if (!error) {
        n->kind = (uint8_t)(g->st.stx_mode >> 12);
        n->ino = g->st.stx_ino;
        n->target = g->target;
        n->flags |= DLC_N_STAT | (g->st.stx_mask & STATX_BTIME ? DLC_N_BTIME : 0) | g->access;
        if (n->kind == DT_LNK && !n->target)
            n->flags &= ~(uint32_t)DLC_N_STAT; /* a symlink without its text is no use */
    }
    if (known)
        free(g);
    return error;
}

void tree_init(struct tree *t)
{
    t->glances = (struct glances){0};
    t->root = new_node("", 0);
    t->root->parent = t->root;
    t->root->kind = DT_DIR;
    t->count = 1;
    look(t, t->root, "/");
}

static void free_node(struct tree_node *n)
{
    struct tree_node *child, *next;

    HASH_ITER(hh, n->children, child, next) {
        HASH_DEL(n->children, child);
        free_node(child);
    }
    free(n->target);
    free(n);
}

void tree_free(struct tree *t)
{
    if (t->root)
        free_node(t->root);
    glances_free(&t->glances);
    *t = (struct tree){0};
}

struct tree_node *tree_child(const struct tree_node *dir, const char *name, size_t len)
{
    struct tree_node *n;

    HASH_FIND(hh, dir->children, name, len, n);
    return n;
}

struct tree_node *tree_add(struct tree *t, struct tree_node *dir, const char *name, size_t len)
{
    struct tree_node *n = tree_child(dir, name, len);

    if (n)
        return n;
    n = new_node(name, len);
    n->parent = dir;
    HASH_ADD_KEYPTR(hh, dir->children, n->name, len, n);
    dir->child_count++;
    t->count++;
    return n;
}

/* The child, looked at; NULL with *error where lstat gave one. */
static struct tree_node *step(struct tree *t, struct tree_node *dir, const char *name, size_t len, int *error)
{
    struct tree_node *n = tree_child(dir, name, len);

    *error = 0;
    if (n && n->looked) {
        if (!(n->flags & DLC_N_STAT))
            *error = -EACCES;
        return *error ? NULL : n;
    }
    if (!n && dir->flags & DLC_N_FROZEN) {
        *error = -ENOENT;
        return NULL;
    }
    char *up = tree_path(dir);
    char *path = memory_join(up, name, len);
    struct tree_node *fresh = n ? n : new_node(name, len);
    *error = look(t, fresh, path);
    free(up);
    free(path);
    if (*error == -ENOENT || *error == -ENOTDIR) {
        if (!n)
            free_node(fresh);
        else
            dir->flags &= ~(uint32_t)DLC_N_FROZEN; /* it went while we looked: the list was not the truth */
        return NULL;
    }
    if (!n) {
        fresh->parent = dir;
        HASH_ADD_KEYPTR(hh, dir->children, fresh->name, len, fresh);
        dir->child_count++;
        t->count++;
    }
    return *error || !(fresh->flags & DLC_N_STAT) ? NULL : fresh;
}

static struct tree_node *walk(struct tree *t, struct tree_node *cur, const char *path, bool follow, int *links,
                              struct tree_node **missing)
{
    const char *p = path;

    if (*p == '/')
        cur = t->root;
    for (;;) {
        while (*p == '/')
            p++;
        if (!*p)
            return cur;
        const size_t len = strcspn(p, "/");
        if (cur->kind != DT_DIR || len > NAME_MAX)
            return NULL;
        if (len == 2 && p[0] == '.' && p[1] == '.') {
            cur = cur->parent;
        } else if (!(len == 1 && p[0] == '.')) {
            int error;
            struct tree_node *n = step(t, cur, p, len, &error);
            if (!n) {
                *missing = error == -ENOENT ? cur : NULL;
                return NULL;
            }
            const bool last = p[len + strspn(p + len, "/")] == '\0';
            if (n->kind == DT_LNK && (!last || follow || p[len] == '/')) {
                if (++*links > MOST_LINKS)
                    return NULL;
                n = walk(t, cur, n->target, true, links, missing);
                if (!n)
                    return NULL;
            }
            cur = n;
        }
        p += len;
    }
}

struct tree_node *tree_walk(struct tree *t, const char *path, bool follow, struct tree_node **missing)
{
    int links = 0;

    *missing = NULL;
    return walk(t, t->root, path, follow, &links, missing);
}

int tree_open(const char *path, int flags)
{
    flags |= O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    const int fd = open(path, flags | O_NOATIME);

    return fd < 0 && errno == EPERM ? open(path, flags) : fd;
}

int tree_stat(int fd, struct statx *st)
{
    return statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_SIZE | STATX_MTIME | STATX_CTIME, st) == 0 ? 0 : -errno;
}

void tree_forget_unfrozen(struct tree_node *n)
{
    struct tree_node *child, *next;

    if (!(n->flags & DLC_N_FROZEN))
        n->flags &= ~(uint32_t)(DLC_N_STAT | DLC_N_BTIME | DLC_N_READ | DLC_N_EXEC | DLC_N_NOEXEC);
    HASH_ITER(hh, n->children, child, next)
        if (child->kind == DT_DIR)
            tree_forget_unfrozen(child);
}
