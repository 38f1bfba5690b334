#include "test/check/tree.h"

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void in(const struct test_tree *t, char buf[512], const char *name)
{
    snprintf(buf, 512, "%s/%s", t->dir, name);
}

static void make_file(const struct test_tree *t, const char *name, const char *text, mode_t mode)
{
    char path[512];

    in(t, path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, mode);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (int)strlen(text));
    close(fd);
}

static void make_dir(const struct test_tree *t, const char *name)
{
    char path[512];

    in(t, path, name);
    ck_assert_int_eq(mkdir(path, 0755), 0);
}

static void make_link(const struct test_tree *t, const char *target, const char *name)
{
    char path[512];

    in(t, path, name);
    ck_assert_int_eq(symlink(target, path), 0);
}

/* Set by the walk below; Check runs each test in a process of its own. */
static struct manifest *listing;

static int list_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)type;
    (void)ftw;
    struct manifest_entry *e =
        manifest_add(listing, path, S_ISDIR(st->st_mode)   ? MANIFEST_DIRECTORY
                                    : S_ISLNK(st->st_mode) ? MANIFEST_SYMLINK
                                                           : MANIFEST_DATA);
    e->counts.open = S_ISREG(st->st_mode);
    e->order = listing->entry_count;
    return 0;
}

struct manifest *test_tree_manifest(const struct test_tree *t)
{
    listing = manifest_new();
    ck_assert_int_eq(nftw(t->dir, list_one, 16, FTW_PHYS), 0);
    listing->policy.prefixes = calloc(1, sizeof(char *));
    listing->policy.prefixes[0] = strdup(t->dir);
    listing->policy.prefix_count = 1;
    return listing;
}

void test_tree_build(struct test_tree *t, struct manifest *m)
{
    char *error = NULL;
    const char *why = "";

    built_free(&t->built);
    ck_assert_msg(build_image(m, false, &t->built, &error) == 0, "%s", error);
    memset(&t->view, 0, sizeof t->view);
    ck_assert_int_eq(image_open(&t->view.image, t->built.index, t->built.index_size), 0);
    ck_assert_msg(image_check(&t->view.image, &why) == 0, "%s", why);
}

void test_tree_setup(struct test_tree *t)
{
    memset(t, 0, sizeof *t);
    char made[] = "/tmp/dlcache-check.XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(made));
    char *real = realpath(made, NULL);
    snprintf(t->dir, sizeof t->dir, "%s", real);
    free(real);

    char path[512], other[512];
    make_dir(t, "a");
    make_dir(t, "a/b");
    make_dir(t, "a/b/c");
    make_dir(t, "empty");
    make_file(t, "a/f", "contents of f\n", 0644);
    make_file(t, "a/b/g", "", 0644);
    make_file(t, "a/b/c/h", "h", 0755);
    make_file(t, "a/\xff\n\"", "odd name", 0600);
    in(t, path, "a/f");
    in(t, other, "a/b/hard");
    ck_assert_int_eq(link(path, other), 0);
    in(t, path, "a/fifo");
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    make_link(t, "b", "a/to-b");
    make_link(t, "../b/c", "a/b/round");
    make_link(t, "f", "a/to-f");
    make_link(t, "f/", "a/to-f-slash");
    make_link(t, "b/", "a/to-b-slash");
    make_link(t, "to-b/c/h", "a/far");
    make_link(t, "nowhere", "a/dangling");
    make_link(t, "loop2", "a/loop1");
    make_link(t, "loop1", "a/loop2");
    make_link(t, ".", "a/self");
    make_link(t, "../../../../../../../../../../etc", "a/out");
    in(t, path, "a/b");
    make_link(t, path, "empty/abs");
    struct manifest *m = test_tree_manifest(t);
    test_tree_build(t, m);
    manifest_free(m);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_tree_teardown(struct test_tree *t)
{
    built_free(&t->built);
    nftw(t->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}
