#include "replayer/image/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "facts/elf.h"
#include "facts/error.h"
#include "facts/memory.h"
#include "facts/whole.h"
#include "libdlcache/format.h"
#include "libdlcache/hash.h"
#include "replayer/image/archive.h"
#include "replayer/image/tree.h"
#include "replayer/image/write.h"

/* Of the warnings so many are printed; then their number. */
#define WARNINGS 10

/* No real shared object is larger: what lies in one is found out from a copy in memory. */
#define LARGEST_OBJECT ((uint64_t)2 << 30)

/* Inode numbers that no file system of today gives. */
#define MADE_UP ((uint64_t)1 << 62)

struct bundle {
    char *path;
    struct stat st;    /* of the archive, when the names were read */
    size_t *members;   /* one a source: which of the archive's members has its contents */
    uint64_t *sizes;
    size_t count;
};

/* A file, under whatever names: nodes that have it say so by their `ino`, until the numbers are made up. */
struct inode {
    size_t member;     /* of the archive, from 0 */
    struct statx st;
    char *target;
    uint32_t links;
    bool is_object;
    struct elf_facts facts;
};

struct unpacking {
    const struct bundle_place *place;
    struct archive_file *file;
    struct stat st;    /* the archive's */
    struct tree tree;
    struct tree_node *top; /* the prefix */
    struct statx base; /* of the deepest directory that is there */
    struct inode *inodes;
    size_t inode_count, inode_capacity;
    struct tree_node **names; /* that have contents */
    size_t name_count, name_capacity;
    size_t member;     /* the one that is being read, from 0 */
    struct image_plan plan;
    struct build_report report;
    uint64_t warnings;
    char *error;
};

/* Of a member that is left out. -1 where that is an error. */
static int leave_out(struct unpacking *u, const char *name, const char *why)
{
    if (u->place->strict)
        return error_put(&u->error, "%s: %s: %s", u->place->archive, name, why);
    if (++u->warnings <= WARNINGS)
        fprintf(stderr, "dlcache: warning: %s: %s: %s; it is left out\n", u->place->archive, name, why);
    return 0;
}

bool bundle_strip(const char *text, unsigned *strip)
{
    char *end;
    const unsigned long n = strtoul(text, &end, 10);

    *strip = (unsigned)n;
    return *text >= '0' && *text <= '9' && !*end && n <= PATH_MAX;
}

/* --- names ------------------------------------------------------------------------------------------------------ */

/* A directory that no member describes. */
static void make_directory(struct unpacking *u, struct tree_node *n)
{
    n->kind = DT_DIR;
    n->looked = true;
    n->ino = 0;
    n->flags = DLC_N_STAT | DLC_N_FROZEN | DLC_N_READ | DLC_N_EXEC | DLC_N_MADE;
    n->st = (struct statx){
        .stx_mode = S_IFDIR | 0755, .stx_uid = geteuid(), .stx_gid = getegid(), .stx_size = 4096, .stx_blocks = 8,
        .stx_mtime = {.tv_sec = u->st.st_mtim.tv_sec, .tv_nsec = (uint32_t)u->st.st_mtim.tv_nsec},
        .stx_atime = {.tv_sec = u->st.st_mtim.tv_sec, .tv_nsec = (uint32_t)u->st.st_mtim.tv_nsec},
    };
}

static struct tree_node *add_name(struct unpacking *u, struct tree_node *dir, const char *name, size_t len)
{
    const uint32_t order = dir->child_count;
    struct tree_node *n = tree_child(dir, name, len);

    if (!n) {
        n = tree_add(&u->tree, dir, name, len);
        n->order = order;
    }
    return n;
}

/* The next component of a member's name; "." is none. Its length, or 0 at the end. */
static size_t component(const char **p)
{
    for (;;) {
        *p += strspn(*p, "/");
        const size_t n = strcspn(*p, "/");
        if (n != 1 || **p != '.')
            return n;
        ++*p;
    }
}

static bool climbs(const char *name)
{
    for (size_t n; (n = component(&name)); name += n)
        if (n == 2 && name[0] == '.' && name[1] == '.')
            return true;
    return false;
}

/* The name without the directories that are to be stripped; NULL where nothing is left. */
static const char *stripped(const struct unpacking *u, const char *name)
{
    size_t n;

    for (unsigned i = 0; i < u->place->strip; i++) {
        if (!(n = component(&name)))
            return NULL;
        name += n;
    }
    return u->place->strip && component(&name) == 0 ? NULL : name;
}

/* The node of a member's name, with the directories above it; the prefix itself for "./". NULL with *why. */
static struct tree_node *reach(struct unpacking *u, const char *name, const char **why)
{
    struct tree_node *n = u->top;
    size_t len = component(&name);

    while (len) {
        if (len > NAME_MAX) {
            *why = "a part of its name is too long";
            return NULL;
        }
        if (n->kind != DT_DIR) {
            *why = n->kind == DT_LNK ? "it lies behind a symlink" : "it lies below what is no directory";
            return NULL;
        }
        n = add_name(u, n, name, len);
        name += len;
        len = component(&name);
        if (len && !n->looked)
            make_directory(u, n);
    }
    return n;
}

static bool is_file(const struct tree_node *n)
{
    return n->kind != DT_DIR && n->looked;
}

/* The node of a name that was there before, or NULL. */
static struct tree_node *find(const struct unpacking *u, const char *name)
{
    struct tree_node *n = u->top;

    for (size_t len; n && (len = component(&name)); name += len)
        n = tree_child(n, name, len);
    return n;
}

/* --- what a member says ----------------------------------------------------------------------------------------- */

/* As tar unpacks it: for root with the owner that the archive names, otherwise everything is one's own. */
static void put_stat(struct statx *st, const struct archive_member *m)
{
    const bool root = geteuid() == 0;

    *st = (struct statx){
        .stx_mode = (uint16_t)m->mode, .stx_uid = root ? m->uid : geteuid(), .stx_gid = root ? m->gid : getegid(),
        .stx_size = m->size, .stx_blocks = (m->size + 4095) / 4096 * 8,
        .stx_mtime = {.tv_sec = m->mtime, .tv_nsec = m->mtime_ns},
        .stx_atime = {.tv_sec = m->atime, .tv_nsec = m->atime_ns},
    };
}

/* What who stages may do with it: DLC_N_READ, DLC_N_EXEC or DLC_N_NOEXEC. */
static uint32_t access_of(const struct statx *st)
{
    const bool root = geteuid() == 0, directory = S_ISDIR(st->stx_mode);
    const bool read = root || st->stx_mode & 0400;
    const bool exec = root ? directory || st->stx_mode & 0111 : (st->stx_mode & 0100) != 0;

    if (S_ISLNK(st->stx_mode))
        return DLC_N_READ | DLC_N_EXEC;
    return (read ? DLC_N_READ : 0u) | (exec ? DLC_N_EXEC : DLC_N_NOEXEC);
}

/* Shared objects and programs are copied into memory, for as long as it takes to look into them. */
static int read_object(struct unpacking *u, struct inode *inode, uint64_t size)
{
    const void *data;
    size_t bytes;
    uint64_t at;
    int rc = archive_file_block(u->file, &data, &bytes, &at, &u->error);

    if (rc <= 0 || size > LARGEST_OBJECT || at != 0 || bytes < 4 || memcmp(data, "\177ELF", 4) != 0)
        return rc < 0 ? -1 : 0;
    const int fd = memfd_create("object", MFD_CLOEXEC);
    if (fd < 0)
        return error_put(&u->error, "%s: no memory to look into it: %s", u->place->archive, strerror(errno));
    for (; rc > 0; rc = archive_file_block(u->file, &data, &bytes, &at, &u->error)) {
        const int error = -whole_write(fd, data, bytes, at);
        if (error) {
            rc = error_put(&u->error, "%s: no memory to look into it: %s", u->place->archive, strerror(error));
            break;
        }
    }
    inode->is_object = rc == 0 && elf_facts_read(fd, &inode->facts) == 0;
    close(fd);
    return rc;
}

static void put_directory(struct unpacking *u, struct tree_node *n, const struct archive_member *m)
{
    if (n->kind != DT_DIR)
        make_directory(u, n);
    const struct statx old = n->st;
    put_stat(&n->st, m);
    n->st.stx_size = old.stx_size;
    n->st.stx_blocks = old.stx_blocks;
    n->flags &= ~(uint32_t)(DLC_N_READ | DLC_N_EXEC | DLC_N_NOEXEC | DLC_N_BTIME);
    n->flags |= access_of(&n->st);
}

/* A name gets a file: what it had before is replaced, as tar does. */
static void put_inode(struct tree_node *n, size_t inode, uint32_t kind)
{
    n->looked = true;
    n->flags = DLC_N_STAT | DLC_N_MADE;
    n->kind = (uint8_t)kind;
    n->ino = inode;
}

static int put_file(struct unpacking *u, struct tree_node *n, const struct archive_member *m)
{
    u->inodes = memory_grow(u->inodes, &u->inode_capacity, u->inode_count + 1, sizeof *u->inodes);
    struct inode *inode = &u->inodes[u->inode_count];
    *inode = (struct inode){.member = u->member};
    put_stat(&inode->st, m);
    if (S_ISLNK(m->mode)) {
        inode->target = memory_text(m->target);
        inode->st.stx_size = strlen(m->target);
        inode->st.stx_blocks = 0;
        inode->st.stx_mode = S_IFLNK | 0777;
    }
    put_inode(n, u->inode_count++, S_ISLNK(m->mode) ? DT_LNK : DT_REG);
    return S_ISREG(m->mode) && m->size ? read_object(u, inode, m->size) : 0;
}

/* Of a hard link: the name that it is another of, or NULL. */
static const struct tree_node *linked(const struct unpacking *u, const struct archive_member *m)
{
    const char *name = stripped(u, m->hard_link);
    const struct tree_node *other = name && !climbs(name) ? find(u, name) : NULL;

    return other && is_file(other) ? other : NULL;
}

/* Why a member is left out, or NULL; *other is what a hard link is another name of. */
static const char *unfit(const struct unpacking *u, const struct archive_member *m, const struct tree_node **other)
{
    const uint32_t kind = m->mode & S_IFMT;

    *other = m->hard_link ? linked(u, m) : NULL;
    if (m->hard_link)
        return *other ? NULL : "it is a link to what is not there";
    if (kind == S_IFLNK)
        return m->target && *m->target ? NULL : "it is a symlink to nowhere";
    return kind == S_IFREG || kind == S_IFDIR ? NULL : "it is a device, a FIFO or a socket";
}

/* 0, or -1 with u->error. */
static int take(struct unpacking *u, const struct archive_member *m)
{
    const struct tree_node *other;
    const bool directory = S_ISDIR(m->mode) && !m->hard_link;

    if (climbs(m->path))
        return error_put(&u->error, "%s: %s: a name with \"..\" in it: such an archive is not staged",
                         u->place->archive, m->path);
    const char *name = stripped(u, m->path);
    if (!name)
        return 0;
    const char *why = unfit(u, m, &other);
    struct tree_node *n = why ? NULL : reach(u, name, &why);
    if (!n)
        return leave_out(u, m->path, why);
    if (directory) {
        put_directory(u, n, m);
        return 0;
    }
    if (n == u->top)
        return leave_out(u, m->path, "it has no name");
    if (n->kind == DT_DIR && n->child_count)
        return leave_out(u, m->path, "there is a directory of that name, which is not empty");
    if (!other)
        return put_file(u, n, m);
    put_inode(n, other->ino, other->kind);
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------------------------- */

/* The prefix: what there is of it is looked at, the rest becomes directories that no member describes. */
static int find_top(struct unpacking *u)
{
    const char *at = u->place->at, *p = at;
    struct tree_node *n = u->tree.root, *missing;

    if (at[0] != '/' || climbs(at))
        return error_put(&u->error, "--at %s: a path from / on is wanted, without \"..\"", at);
    for (size_t len; (len = component(&p)); p += len) {
        struct tree_node *next = NULL;
        if (!(n->flags & DLC_N_MADE)) {
            char *path = memory_bytes(at, (size_t)(p + len - at));
            next = tree_walk(&u->tree, path, true, &missing);
            free(path);
        }
        if (!next) {
            if (!(n->flags & DLC_N_MADE))
                u->base = n->st;
            if (len > NAME_MAX || tree_child(n, p, len))
                return error_put(&u->error, "--at %s: it cannot be reached", at);
            next = add_name(u, n, p, len);
            make_directory(u, next);
        }
        if (next->kind != DT_DIR)
            return error_put(&u->error, "--at %s: is no directory", at);
        n = next;
    }
    if (n == u->tree.root)
        return error_put(&u->error, "--at %s: that is everything", at);
    u->top = n;
    if (!(n->flags & DLC_N_MADE)) {
        u->base = n->st;
        n->flags |= DLC_N_FROZEN | DLC_N_MADE;
    }
    return 0;
}

static int read_members(struct unpacking *u)
{
    struct archive_member m;
    int rc;

    while ((rc = archive_file_next(u->file, &m, &u->error)) > 0) {
        if (take(u, &m) != 0)
            return -1;
        u->member++;
    }
    return rc ? -1 : u->member ? 0 : error_put(&u->error, "%s: is empty", u->place->archive);
}

static void count_links(struct unpacking *u, struct tree_node *dir)
{
    struct tree_node *child, *next;

    HASH_ITER(hh, dir->children, child, next) {
        if (is_file(child))
            u->inodes[child->ino].links++;
        else
            count_links(u, child);
    }
}

/* Which archive it is, and when it was written: what has another is another. */
static uint64_t identity(const struct stat *st)
{
    const uint64_t words[] = {(uint64_t)st->st_dev,         (uint64_t)st->st_ino,          (uint64_t)st->st_size,
                              (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec, (uint64_t)st->st_ctim.tv_sec,
                              (uint64_t)st->st_ctim.tv_nsec};

    return dlc_hash64(0, words, sizeof words);
}

/* The number is its own in the image, and most likely nowhere else. */
static uint64_t number(const struct unpacking *u, uint64_t n)
{
    return MADE_UP | (identity(&u->st) & 0x3fffffff) << 32 | n;
}

static void complete_stat(const struct unpacking *u, struct tree_node *n, uint64_t ino)
{
    n->ino = n->st.stx_ino = ino;
    n->st.stx_dev_major = u->base.stx_dev_major;
    n->st.stx_dev_minor = u->base.stx_dev_minor;
    n->st.stx_blksize = 4096;
    n->st.stx_ctime.tv_sec = u->st.st_ctim.tv_sec;
    n->st.stx_ctime.tv_nsec = (uint32_t)u->st.st_ctim.tv_nsec;
}

static void complete_file(struct unpacking *u, struct tree_node *n)
{
    const struct inode *inode = &u->inodes[n->ino];

    n->st = inode->st;
    n->st.stx_nlink = inode->links;
    n->flags |= access_of(&n->st);
    if (inode->target)
        n->target = memory_text(inode->target);
    if (n->kind == DT_REG) {
        n->data = u->name_count;
        u->names = memory_grow(u->names, &u->name_capacity, u->name_count + 1, sizeof *u->names);
        u->names[u->name_count++] = n;
    } else {
        complete_stat(u, n, number(u, n->ino));
    }
}

static void complete(struct unpacking *u, struct tree_node *dir)
{
    struct tree_node *child, *next;
    uint32_t directories = 0;

    HASH_ITER(hh, dir->children, child, next) {
        if (child->kind == DT_DIR) {
            directories++;
            complete(u, child);
        } else {
            complete_file(u, child);
        }
    }
    dir->st.stx_nlink = 2 + directories;
    u->report.frozen++;
}

static void number_directories(struct unpacking *u, struct tree_node *dir, uint64_t *count)
{
    struct tree_node *child, *next;

    /* What is there has a number: the kernel says it, too, of a descriptor or of "..". */
    complete_stat(u, dir, dir->ino ? dir->ino : number(u, u->inode_count + ++*count));
    HASH_ITER(hh, dir->children, child, next)
        if (child->kind == DT_DIR)
            number_directories(u, child, count);
}

static int by_inode(const void *a, const void *b)
{
    const struct tree_node *x = *(struct tree_node *const *)a, *y = *(struct tree_node *const *)b;

    if (x->ino != y->ino)
        return x->ino < y->ino ? -1 : 1;
    return x->data < y->data ? -1 : x->data > y->data;
}

/* The contents, in the archive's order: the inodes have it. */
static void plan(struct unpacking *u, struct bundle *b)
{
    size_t last = SIZE_MAX;

    b->members = memory_new(u->name_count, sizeof *b->members);
    b->sizes = memory_new(u->name_count, sizeof *b->sizes);
    if (u->name_count)
        qsort(u->names, u->name_count, sizeof *u->names, by_inode);
    for (size_t i = 0; i < u->name_count; i++) {
        struct tree_node *n = u->names[i];
        const size_t index = n->ino;
        const struct inode *inode = &u->inodes[index];
        complete_stat(u, n, number(u, index));
        if (!(n->flags & DLC_N_READ)) { /* who may not read it where it is unpacked does not here */
            u->report.unreadable++;
            continue;
        }
        plan_data(&u->plan, n, b->path);
        if (index != last) {
            b->members[b->count] = inode->member;
            b->sizes[b->count++] = inode->st.stx_size;
            last = index;
        }
        if (n->flags & DLC_N_EXEC && !(n->st.stx_mode & 06000))
            n->flags |= DLC_N_RUN;
        if (inode->is_object && elf_is_loadable(&inode->facts)) {
            plan_object(&u->plan, n, &inode->facts);
            if (!inode->facts.interpreted)
                n->flags &= ~(uint32_t)DLC_N_RUN;
        }
    }
}

static int finish(struct unpacking *u, struct built *out)
{
    struct bundle *b = memory_new(1, sizeof *b);
    struct tree_node *first = u->top;
    uint64_t directories = 0;

    b->path = memory_check(realpath(u->place->archive, NULL));
    b->st = u->st;
    out->bundle = b;
    count_links(u, u->top);
    complete(u, u->top);
    while (first->parent->flags & DLC_N_MADE) { /* of the prefix, what is not there */
        first = first->parent;
        first->st.stx_nlink = 3;
        u->report.frozen++;
    }
    number_directories(u, first, &directories);
    plan(u, b);
    tree_forget_unfrozen(u->tree.root);
    u->plan.bundle = u->top;
    u->report.names = u->tree.count;
    if (u->warnings > WARNINGS)
        fprintf(stderr, "dlcache: warning: ... and %" PRIu64 " more that are left out\n", u->warnings - WARNINGS);
    return write_index(&u->tree, &u->plan, out, &u->error);
}

static void end(struct unpacking *u)
{
    archive_file_close(u->file);
    for (size_t i = 0; i < u->inode_count; i++) {
        free(u->inodes[i].target);
        elf_facts_free(&u->inodes[i].facts);
    }
    free(u->inodes);
    free(u->names);
    plan_free(&u->plan);
    tree_free(&u->tree);
}

int bundle_build(const struct bundle_place *p, struct built *out, char **error)
{
    struct unpacking u = {.place = p};

    *out = (struct built){0};
    tree_init(&u.tree);
    int rc = (u.file = archive_file_open(p->archive, &u.error)) ? 0 : -1;
    if (rc == 0 && (rc = archive_file_stat(u.file, &u.st)) != 0)
        error_put(&u.error, "%s: %s", p->archive, strerror(-rc));
    if (rc == 0)
        rc = find_top(&u) ?: read_members(&u) ?: finish(&u, out);
    if (rc == 0) {
        u.report.files = out->source_count;
        for (size_t i = 0; i < out->source_count; i++)
            u.report.bytes += out->sources[i].size;
        out->report = u.report;
    } else {
        built_free(out);
        *error = u.error;
    }
    end(&u);
    return rc ? -1 : 0;
}

/* --- contents --------------------------------------------------------------------------------------------------- */

/* What is at its path is what the names were read from. */
static int look(const struct bundle *b, char **error)
{
    struct stat st;

    if (stat(b->path, &st) != 0)
        return error_put(error, "%s: %s", b->path, strerror(errno));
    return identity(&st) == identity(&b->st) ? 0 : error_put(error, "%s: it changed while it was read", b->path);
}

/* One member. 0, 1 where `put` ended it, -1. */
static int read_member(const struct bundle *b, struct archive_file *f, size_t source, bundle_put *put, void *arg,
                       char **error)
{
    const void *data;
    size_t bytes;
    uint64_t at, end = 0;
    int rc;

    while ((rc = archive_file_block(f, &data, &bytes, &at, error)) > 0) {
        if (at < end || at > b->sizes[source] || bytes > b->sizes[source] - at)
            return error_put(error, "%s: is damaged, or changed while it was read", b->path);
        if (bytes && put(arg, source, at, data, bytes) != 0)
            return 1;
        end = at + bytes;
    }
    return rc;
}

int bundle_read(const struct bundle *b, bundle_put *put, void *arg, char **error)
{
    struct archive_file *f = NULL;
    struct archive_member m;
    size_t source = 0;
    int rc = look(b, error) ?: (f = archive_file_open(b->path, error)) ? 0 : -1;

    for (size_t i = 0; rc == 0 && source < b->count; i++) {
        rc = archive_file_next(f, &m, error);
        if (rc == 0 || (rc > 0 && i == b->members[source] && m.size != b->sizes[source]))
            rc = error_put(error, "%s: it changed while it was read", b->path);
        else if (rc > 0)
            rc = i == b->members[source] ? read_member(b, f, source++, put, arg, error) : 0;
    }
    if (rc == 0)
        rc = look(b, error);
    archive_file_close(f);
    return rc;
}

void bundle_free(struct bundle *b)
{
    if (!b)
        return;
    free(b->path);
    free(b->members);
    free(b->sizes);
    free(b);
}
