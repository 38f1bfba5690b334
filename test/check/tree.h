/* A small tree on disk, and an image of it: what several suites start from. */
#ifndef DLCACHE_TEST_TREE_H
#define DLCACHE_TEST_TREE_H

#include "libdlcache/lookup.h"
#include "replayer/image/build.h"

struct test_tree {
    char dir[64];          /* canonical */
    struct built built;
    struct view view;      /* without a state, unless a test puts one there */
};

/* Makes the tree: see tree.c. Then images it: with everything in it opened by the "pilot", and `dir` as the prefix. */
void test_tree_setup(struct test_tree *t);
/* Images it again, from a manifest of the test's own. */
void test_tree_build(struct test_tree *t, struct manifest *m);
/* A manifest that names every file, directory and symlink of the tree. */
struct manifest *test_tree_manifest(const struct test_tree *t);
void test_tree_teardown(struct test_tree *t);

#endif
