/* This process's mounts against the image's. Runs before main and in the dynamic loader: raw calls, no heap. */
#include "mounts.h"

#include <errno.h>
#include <sys/statfs.h>

#include "sys.h"

struct text {
    char *p;
    size_t len;
};

/* One line of mountinfo. */
struct line {
    uint32_t id, parent;
    uint64_t dev;
    struct text root, point, type, source;
};

static int text_is(struct text t, const char *p, size_t len)
{
    return t.len == len && dlc_same(t.p, p, len);
}

/* --- one line -------------------------------------------------------------------------------------------------- */

/* mountinfo writes space, tab, newline and backslash as \ooo. In place. */
static void unescape(struct text *t)
{
    size_t out = 0;

    for (size_t i = 0; i < t->len; i++) {
        const char *p = t->p + i;
        if (t->len - i > 3 && p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
            p[3] >= '0' && p[3] <= '7') {
            t->p[out++] = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            i += 3;
        } else {
            t->p[out++] = *p;
        }
    }
    t->len = out;
}

/* The next word, which the line's end may end only where the line is whole. */
static int next_word(char **p, char *end, int cut, struct text *word)
{
    if (*p >= end)
        return 0;
    word->p = *p;
    while (*p < end && **p != ' ')
        ++*p;
    word->len = (size_t)(*p - word->p);
    if (*p < end)
        ++*p;
    else if (cut)
        return 0;
    return 1;
}

static uint32_t number(const char **p, const char *end)
{
    uint32_t n = 0;

    while (*p < end && **p >= '0' && **p <= '9')
        n = n * 10 + (uint32_t)(*(*p)++ - '0');
    return n;
}

static uint32_t number_of(struct text t)
{
    const char *p = t.p;
    return number(&p, t.p + t.len);
}

static uint64_t device_of(struct text t)
{
    const char *p = t.p, *end = t.p + t.len;
    const uint64_t major = number(&p, end);

    p += p < end;
    const uint64_t minor = number(&p, end);
    return dlc_device(major, minor);
}

/* "id parent major:minor ROOT POINT options [optional …] - TYPE SOURCE super". Changes the line. */
static int parse_line(struct line *l, char *p, char *end, int cut)
{
    struct text word[6];

    for (int i = 0; i < 6; i++)
        if (!next_word(&p, end, cut, &word[i]))
            return -EPROTO;
    l->id = number_of(word[0]);
    l->parent = number_of(word[1]);
    l->dev = device_of(word[2]);
    l->root = word[3];
    l->point = word[4];
    do
        if (!next_word(&p, end, cut, &word[0]))
            return cut ? -E2BIG : -EPROTO;
    while (!text_is(word[0], "-", 1));
    if (!next_word(&p, end, cut, &l->type) || !next_word(&p, end, cut, &l->source))
        return cut ? -E2BIG : -EPROTO;
    unescape(&l->root);
    unescape(&l->point);
    unescape(&l->type);
    unescape(&l->source);
    return l->point.len ? 0 : -EPROTO;
}

/* --- one mount, and the image ---------------------------------------------------------------------------------- */

/* The node at a mount point. Mount points are real paths: no symlink leads there. */
static uint32_t node_at(const struct image *im, const char *p, size_t len)
{
    const char *end = p + len;
    uint32_t node = 0;

    while (p < end && node != DLC_NONE) {
        const char *name = p;
        while (p < end && *p != '/')
            p++;
        if (p > name)
            node = image_find(im, node, name, (size_t)(p - name));
        p += p < end;
    }
    return node;
}

/* Bytes of `path` that `point` covers, as a whole directory: "/" covers none of them. SIZE_MAX: it does not. */
static size_t covered(const char *point, size_t n, struct text path)
{
    if (n == 1 && point[0] == '/')
        return 0;
    return path.len >= n && dlc_same(path.p, point, n) && (path.len == n || path.p[n] == '/') ? n : SIZE_MAX;
}

/* What the line mounts is the directory that the image's mount `m`, which covers its point, has there. On this node
 * the device's number tells apart what has the same name: two of tmpfs, two overlays. */
static int mounts_the_same(const struct view *v, uint32_t m, const struct line *l)
{
    const struct image *im = &v->image;
    const struct dlc_mount *k = &im->mounts[m];
    const struct dlc_mount_state *node = &v->mounts[m];
    const size_t n = covered(im->strings + k->point, k->point_len, l->point);
    const size_t root = k->root_len == 1 ? 0 : k->root_len; /* "/" and "/x" is "/x" */
    const size_t rest = l->point.len == 1 ? 0 : l->point.len - n;

    if (!node->agrees || (k->dev == k->mi_dev && node->dev != l->dev) ||
        !text_is(l->type, im->strings + k->type, k->type_len) ||
        !text_is(l->source, im->strings + k->source, k->source_len))
        return 0;
    if (root + rest == 0)
        return text_is(l->root, "/", 1);
    return l->root.len == root + rest && dlc_same(l->root.p, im->strings + k->root, root) &&
           dlc_same(l->root.p + root, l->point.p + n, rest);
}

/* Of the image's mounts the one nearest above has a say, which can be there several times: with other devices. */
static void compare(const struct view *v, const struct line *l, struct own_mount *o)
{
    const struct image *im = &v->image;
    size_t best = 0;

    o->known = 0;
    o->same = 0;
    for (uint32_t m = 0; m < im->mount_count; m++) {
        const struct dlc_mount *k = &im->mounts[m];
        const size_t n = covered(im->strings + k->point, k->point_len, l->point);
        if (n == SIZE_MAX || (o->known && n < best))
            continue;
        const int same = mounts_the_same(v, m, l);
        o->same = (uint8_t)(o->known && n == best ? o->same && same : same);
        o->known = 1;
        best = n;
    }
}

static int add(struct own_mounts *own, const struct view *v, const struct line *l)
{
    const uint32_t node = node_at(&v->image, l->point.p, l->point.len);

    if (node == DLC_NONE)
        return 0;
    if (own->count == OWN_MOUNTS_MOST)
        return -E2BIG;
    struct own_mount *o = &own->mounts[own->count++];
    o->id = l->id;
    o->parent = l->parent;
    o->node = node;
    compare(v, l, o);
    return 0;
}

static size_t put_number(char *to, uint64_t n, unsigned base)
{
    char digits[24];
    size_t d = sizeof digits;

    do
        digits[--d] = "0123456789abcdef"[n % base];
    while (n /= base);
    __builtin_memcpy(to, digits + d, sizeof digits - d);
    return sizeof digits - d;
}

/* The root of a chroot that is no mount point is told as the reader tells it: by its file system and its inode. */
static int add_root(struct own_mounts *own, const struct view *v)
{
    char type[24], source[32] = "inode ", slash[] = "/";
    struct statfs fs;
    struct stat st;

    for (uint32_t i = 0; i < own->count; i++)
        if (own->mounts[i].node == 0)
            return 0;
    long rc = sys_call(__NR_statfs, "/", &fs, 0, 0);
    if (rc == 0)
        rc = sys_fstatat(AT_FDCWD, "/", &st, 0);
    if (rc)
        return (int)rc;
    struct line l = {.id = OWN_MOUNTS_ROOT, .dev = st.st_dev, .root = {slash, 1}, .point = {slash, 1}};
    l.type = (struct text){type, put_number(type, (unsigned long)fs.f_type, 16)};
    l.source = (struct text){source, 6 + put_number(source + 6, st.st_ino, 10)};
    return add(own, v, &l);
}

/* --- all of them ----------------------------------------------------------------------------------------------- */

/* Takes what whole lines there are in the first `n` bytes of the buffer. Bytes that are left, or -errno. A line
 * longer than the buffer is taken when it fills it; what is to come of it is dropped: *cut. */
static long take_lines(struct own_mounts *own, const struct view *v, size_t n, int *cut)
{
    char *p = own->line, *end = p + n;
    struct line l;
    int rc = 0;

    for (char *eol; rc == 0 && p < end && (eol = __builtin_memchr(p, '\n', (size_t)(end - p))); p = eol + 1) {
        if (!*cut && (rc = parse_line(&l, p, eol, 0)) == 0)
            rc = add(own, v, &l);
        *cut = 0;
    }
    if (rc == 0 && p == own->line && n == sizeof own->line) {
        if (!*cut && (rc = parse_line(&l, p, end, 1)) == 0)
            rc = add(own, v, &l);
        *cut = 1;
        p = end;
    }
    __builtin_memmove(own->line, p, (size_t)(end - p));
    return rc ? rc : end - p;
}

static int read_all(struct own_mounts *own, const struct view *v)
{
    const int fd = sys_openat(AT_FDCWD, "/proc/self/mountinfo", O_RDONLY | O_CLOEXEC, 0);
    long left = 0, got;
    int cut = 0;

    if (fd < 0)
        return fd;
    own->count = 0;
    do {
        got = sys_read(fd, own->line + left, sizeof own->line - (size_t)left);
        if (got == -EINTR)
            continue;
        left = got < 0 ? got : take_lines(own, v, (size_t)(left + got), &cut);
    } while (got == -EINTR || (got > 0 && left >= 0));
    sys_close(fd);
    return left < 0 ? (int)left : left > 0 ? -EPROTO : add_root(own, v);
}

/* --- what can be seen of them ---------------------------------------------------------------------------------- */

/* What the root of all stands on is not listed, nor is what lies below the root of a chroot; or it is itself. */
static int stands_on(const struct own_mounts *own, const struct own_mount *o, const struct own_mount *below)
{
    if (below && below->id != OWN_MOUNTS_ROOT)
        return o->parent == below->id;
    if (o->parent == OWN_MOUNTS_ROOT || o->parent == o->id)
        return 1;
    for (uint32_t i = 0; i < own->count; i++)
        if (own->mounts[i].id == o->parent)
            return 0;
    return 1;
}

/* The uppermost of the mounts on `node` that stand on `base`, one upon the other; NULL: none does. */
static const struct own_mount *stacked(const struct own_mounts *own, uint32_t node, const struct own_mount *base)
{
    const struct own_mount *top = NULL;

    for (uint32_t rounds = 0; rounds <= own->count; rounds++) {
        const struct own_mount *below = top ? top : base, *next = NULL;
        for (uint32_t i = 0; i < own->count && !next; i++) {
            const struct own_mount *o = &own->mounts[i];
            if (o->node == node && o != below && stands_on(own, o, below))
                next = o;
        }
        if (!next)
            break;
        top = next;
    }
    return top;
}

/* What is seen at the node: a mount can lie hidden under another that came later, further up. */
static const struct own_mount *seen_at(const struct own_mounts *own, const struct image *im, uint32_t node)
{
    const struct own_mount *base = node ? seen_at(own, im, im->nodes[node].parent) : NULL;
    const struct own_mount *top = stacked(own, node, base);

    return top ? top : base;
}

/* --- what that means for the view ------------------------------------------------------------------------------ */

static void put_spot(struct own_mounts *own, struct view *v, uint32_t node, int agrees)
{
    for (uint32_t i = 0; i < v->spot_count; i++)
        if (v->spots[i].node == node)
            return;
    own->spots[v->spot_count++] = (struct spot){node, (uint32_t)agrees};
}

/* The image's mount points come first: where one is not a mount point here, the files are others. */
static int find_spots(struct own_mounts *own, struct view *v)
{
    const struct image *im = &v->image;
    int lost = 0;

    if (im->mount_count + (uint64_t)own->count > OWN_MOUNTS_MOST)
        return -E2BIG;
    for (uint32_t m = 0; m < im->mount_count; m++) {
        const uint32_t node = node_at(im, im->strings + im->mounts[m].point, im->mounts[m].point_len);
        if (node == DLC_NONE)
            return -EXDEV;
        const struct own_mount *o = seen_at(own, im, node);
        const int agrees = o && o->node == node && o->same;
        lost |= !agrees;
        put_spot(own, v, node, agrees);
    }
    for (uint32_t i = 0; i < own->count; i++) {
        const struct own_mount *o = seen_at(own, im, own->mounts[i].node);
        if (!o || o->node != own->mounts[i].node)
            continue; /* hidden */
        lost |= o->known && !o->same;
        put_spot(own, v, o->node, o->same);
    }
    return lost;
}

static struct spot *spot_above(struct own_mounts *own, const struct view *v, uint32_t node)
{
    while (node != 0) {
        node = v->image.nodes[node].parent;
        for (uint32_t i = 0; i < v->spot_count; i++)
            if (own->spots[i].node == node)
                return &own->spots[i];
    }
    return NULL;
}

/* A spot amid what is not known: whether one may walk there is asked. Only the directory that it is mounted in:
 * nothing of the spot's own file system. */
static int is_reached(struct own_mounts *own, const struct view *v, uint32_t node)
{
    const uint32_t dir = v->image.nodes[node].parent;
    const struct spot *above = spot_above(own, v, node);

    if (node == 0 || (above && above->agrees))
        return 1;
    return image_path(&v->image, dir, own->line, sizeof own->line) > 0 &&
           sys_call(__NR_faccessat, AT_FDCWD, own->line, 1, 0) == 0;
}

int own_mounts_apply(struct own_mounts *own, struct view *v)
{
    struct view seen = *v;
    int agree = 0;
    int rc = read_all(own, v);

    if (rc)
        return rc;
    seen.spots = own->spots;
    seen.spot_count = 0;
    int lost = find_spots(own, &seen);
    if (lost < 0)
        return lost;
    for (uint32_t i = 0; i < seen.spot_count; i++) {
        struct spot *s = &own->spots[i];
        if (s->agrees && !is_reached(own, &seen, s->node)) {
            s->agrees = 0;
            lost = 1;
        }
        agree |= s->agrees != 0;
    }
    if (!agree)
        return -EXDEV;
    seen.all_agree = !lost;
    if (!lost)
        seen.spot_count = 0;
    *v = seen;
    return 0;
}
