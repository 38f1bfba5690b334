#include "facts/mounts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "facts/memory.h"

/* mountinfo writes space, tab, newline and backslash as \ooo. In place. */
static void unescape(char *text)
{
    char *out = text;

    for (const char *p = text; *p; p++) {
        if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0' && p[3] <= '7') {
            *out++ = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
            p += 3;
        } else {
            *out++ = *p;
        }
    }
    *out = '\0';
}

static void free_one(struct mount_point *p)
{
    free(p->point);
    free(p->type);
    free(p->source);
    free(p->root);
    free(p);
}

static void add(struct mounts *m, uint64_t dev, const char *const *field)
{
    struct mount_point *p = memory_new(1, sizeof *p), *under;

    p->dev = dev;
    p->point = memory_text(field[0]);
    p->root = memory_text(field[1]);
    p->type = memory_text(field[2]);
    p->source = memory_text(field[3]);
    unescape(p->point);
    unescape(p->root);
    unescape(p->type);
    unescape(p->source);
    HASH_FIND(hh, m->by_point, p->point, strlen(p->point), under);
    if (under) {
        HASH_DEL(m->by_point, under);
        free_one(under);
    }
    HASH_ADD_KEYPTR(hh, m->by_point, p->point, strlen(p->point), p);
}

/* "id parent major:minor ROOT POINT options [optional …] - TYPE SOURCE super". Changes the line. */
static void parse_line(struct mounts *m, char *line)
{
    const char *field[4] = {NULL, NULL, NULL, NULL};
    unsigned major = 0, minor = 0;
    char *word;
    int behind = 0;

    line[strcspn(line, "\n")] = '\0';
    for (int at = 0; (word = strsep(&line, " ")); at++) {
        if (at == 2)
            sscanf(word, "%u:%u", &major, &minor);
        else if (at == 3)
            field[1] = word;
        else if (at == 4)
            field[0] = word;
        else if (at > 5 && !behind && strcmp(word, "-") == 0)
            behind = at;
        else if (behind && at == behind + 1)
            field[2] = word;
        else if (behind && at == behind + 2)
            field[3] = word;
    }
    if (field[0] && field[1] && field[2])
        add(m, makedev(major, minor), (const char *const[]){field[0], field[1], field[2], field[3] ? field[3] : ""});
}

/* The root directory of a chroot. */
static void add_root(struct mounts *m)
{
    struct mount_point *root;
    struct statfs fs;
    struct stat st;
    char type[32], source[32];

    HASH_FIND(hh, m->by_point, "/", 1, root);
    if (root || stat("/", &st) != 0 || statfs("/", &fs) != 0)
        return;
    snprintf(type, sizeof type, "%lx", (unsigned long)fs.f_type);
    snprintf(source, sizeof source, "inode %llu", (unsigned long long)st.st_ino);
    add(m, st.st_dev, (const char *const[]){"/", "/", type, source});
}

int mounts_read(struct mounts *m, const char *file)
{
    FILE *f = fopen(file, "re");
    char *line = NULL;
    size_t size = 0;

    *m = (struct mounts){0};
    if (!f)
        return -errno;
    while (getline(&line, &size, f) > 0)
        parse_line(m, line);
    int rc = ferror(f) ? -EIO : 0;
    if (rc == 0)
        add_root(m);
    free(line);
    fclose(f);
    if (rc)
        mounts_free(m);
    return rc;
}

void mounts_free(struct mounts *m)
{
    struct mount_point *p, *next;

    HASH_ITER(hh, m->by_point, p, next) {
        HASH_DEL(m->by_point, p);
        free_one(p);
    }
}

struct mount_point *mounts_of(const struct mounts *m, const char *path)
{
    struct mount_point *p = NULL;

    for (size_t n = strlen(path); n > 0; n--) {
        if (path[n] != '/' && path[n] != '\0')
            continue;
        HASH_FIND(hh, m->by_point, path, n, p);
        if (p)
            return p;
    }
    HASH_FIND(hh, m->by_point, "/", 1, p);
    return p;
}
