/* Building an image, and refusing a damaged one. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

#include "libdlcache/hash.h"
#include "replayer/image/freeze.h"
#include "replayer/image/tree.h"
#include "test/check/suites.h"
#include "test/check/tree.h"

static struct test_tree tree;

static void setup(void)
{
    test_tree_setup(&tree);
}

static void teardown(void)
{
    test_tree_teardown(&tree);
}

static const struct dlc_node *node(const char *name)
{
    struct found found;
    char path[512];

    snprintf(path, sizeof path, "%s/%s", tree.dir, name);
    lookup(&tree.view, path, strlen(path), LOOKUP_NOFOLLOW | LOOKUP_CHANGED, &found);
    ck_assert_uint_ne(found.node, DLC_NONE);
    return &tree.view.image.nodes[found.node];
}

START_TEST(test_every_field_of_stat)
{
    static const char *const names[] = {"", "a", "a/f", "a/b/g", "a/b/c/h", "a/b/hard", "a/fifo", "a/to-b", "a/\xff\n\""};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct dlc_node *n = node(names[i]);
        char path[512];
        struct stat st;
        snprintf(path, sizeof path, *names[i] ? "%s/%s" : "%s%s", tree.dir, names[i]);
        ck_assert_int_eq(lstat(path, &st), 0);
        ck_assert_uint_eq(n->ino, st.st_ino);
        ck_assert_uint_eq(n->mode, st.st_mode);
        ck_assert_uint_eq(n->nlink, st.st_nlink);
        ck_assert_uint_eq(n->uid, st.st_uid);
        ck_assert_uint_eq(n->gid, st.st_gid);
        ck_assert_uint_eq(n->size, (uint64_t)st.st_size);
        ck_assert_uint_eq(n->blocks, (uint64_t)st.st_blocks);
        ck_assert_uint_eq(n->blksize, (uint64_t)st.st_blksize);
        ck_assert_int_eq(n->mtime, st.st_mtim.tv_sec);
        ck_assert_uint_eq(n->mtime_ns, (uint64_t)st.st_mtim.tv_nsec);
        ck_assert_int_eq(n->ctime, st.st_ctim.tv_sec);
        ck_assert_uint_eq(n->ctime_ns, (uint64_t)st.st_ctim.tv_nsec);
        ck_assert_uint_eq(tree.view.image.mounts[n->mount].dev, st.st_dev);
    }
    ck_assert_uint_eq(node("a/to-b")->target_len, 1);
    ck_assert_mem_eq(tree.view.image.strings + node("a/to-b")->target, "b", 2);
}
END_TEST

START_TEST(test_directories)
{
    const struct dlc_node *a = node("a");

    ck_assert(a->flags & DLC_N_FROZEN);
    ck_assert_uint_eq(a->children, 14);
    ck_assert(node("empty")->flags & DLC_N_FROZEN);
    ck_assert_uint_eq(node("empty")->children, 1);
    ck_assert(!(tree.view.image.nodes[0].flags & DLC_N_FROZEN)); /* "/" is not below the prefix */
    ck_assert(node("a/b/c/h")->flags & DLC_N_EXEC);
    ck_assert(node("a/f")->flags & DLC_N_READ);
    ck_assert(!(node("a/f")->flags & DLC_N_EXEC));
    /* The children are in the order of their bytes. */
    for (uint32_t i = 1; i < a->children; i++) {
        const struct dlc_node *x = &tree.view.image.nodes[a->first + i - 1], *y = x + 1;
        ck_assert_int_lt(strcmp(tree.view.image.strings + x->name, tree.view.image.strings + y->name), 0);
    }
}
END_TEST

START_TEST(test_contents)
{
    uint64_t end = 0, files = 0, bytes = 0;

    for (size_t i = 0; i < tree.built.source_count; i++) {
        const struct image_source *s = &tree.built.sources[i];
        ck_assert_uint_ge(s->data, end);
        ck_assert_uint_eq(s->data % 8, 0);
        end = s->data + s->size;
        files++;
        bytes += s->size;
        ck_assert_uint_eq(tree.view.image.nodes[s->node].data, s->data);
    }
    ck_assert_uint_le(end, tree.built.data_size);
    ck_assert_uint_eq(files, 4); /* f, also as hard; g, empty; h; the odd name */
    ck_assert_uint_eq(bytes, 14 + 0 + 1 + 8);
    ck_assert_uint_eq(node("a/f")->data, node("a/b/hard")->data);
    ck_assert_uint_ne(node("a/f")->data, node("a/b/g")->data);
    ck_assert(!(node("a/fifo")->flags & DLC_N_DATA));
    const struct dlc_inode *inode =
        image_inode(&tree.view.image, tree.view.image.mounts[node("a/f")->mount].dev, node("a/f")->ino);
    ck_assert_ptr_nonnull(inode);
    ck_assert_uint_eq(tree.view.image.nodes[inode->node].data, node("a/f")->data);
    ck_assert_ptr_null(image_inode(&tree.view.image, 1, 1));
}
END_TEST

START_TEST(test_paths)
{
    char buf[512];

    for (uint32_t i = 0; i < tree.view.image.node_count; i++) {
        struct found found;
        long n = image_path(&tree.view.image, i, buf, sizeof buf);
        ck_assert_int_eq(n, (long)strlen(buf));
        lookup(&tree.view, buf, (size_t)n, LOOKUP_NOFOLLOW | LOOKUP_CHANGED, &found);
        ck_assert_uint_eq(found.node, i);
        ck_assert_int_eq(image_path(&tree.view.image, i, buf, (size_t)n), -ENAMETOOLONG);
    }
}
END_TEST

static void set_file_times(const char *name, time_t access, time_t modification)
{
    const struct timespec times[2] = {{access, 111}, {modification, 222}};
    char path[512];

    snprintf(path, sizeof path, "%s/%s", tree.dir, name);
    ck_assert_int_eq(utimensat(AT_FDCWD, path, times, AT_SYMLINK_NOFOLLOW), 0);
}

/* utimensat changes the time of change, which is part of the image: taken out here to compare the rest. */
static void level_change_times(void *index)
{
    struct dlc_header *h = index;
    struct dlc_node *n = (void *)((char *)index + h->nodes.off);

    for (uint64_t i = 0; i < h->nodes.count; i++) {
        n[i].ctime = 0;
        n[i].ctime_ns = 0;
    }
    image_seal(index);
}

START_TEST(test_same_image_twice)
{
    struct manifest *m = test_tree_manifest(&tree);
    struct built again;
    char *error = NULL;

    set_file_times("a/f", 1000, 5000);
    test_tree_build(&tree, m);
    ck_assert_int_eq(node("a/f")->atime, 1000);
    ck_assert_uint_eq(node("a/f")->atime_ns, 111);
    /* Another time of access: the image has it, and is the same image. */
    set_file_times("a/f", 2000, 5000);
    ck_assert_int_eq(build_image(m, false, &again, &error), 0);
    ck_assert_uint_eq(again.index_size, tree.built.index_size);
    level_change_times(again.index);
    level_change_times(tree.built.index);
    ck_assert_mem_eq(((struct dlc_header *)again.index)->digest, tree.view.image.header->digest, 16);
    ck_assert_mem_ne(again.index, tree.built.index, again.index_size);
    built_free(&again);
    /* Another time of modification: another image. */
    set_file_times("a/f", 2000, 6000);
    ck_assert_int_eq(build_image(m, false, &again, &error), 0);
    level_change_times(again.index);
    ck_assert_mem_ne(((struct dlc_header *)again.index)->digest, tree.view.image.header->digest, 16);
    built_free(&again);
    manifest_free(m);
}
END_TEST

/* Building reads directories and ELF headers, and leaves no trace of it. */
START_TEST(test_times_of_access_stay)
{
    struct manifest *m = test_tree_manifest(&tree);
    struct stat st;
    char path[512];

    set_file_times("a/b/c/h", 1000, 5000);
    set_file_times("a/b/c", 1000, 5000);
    test_tree_build(&tree, m);
    manifest_free(m);
    snprintf(path, sizeof path, "%s/a/b/c", tree.dir);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_atim.tv_sec, 1000);
    ck_assert(node("a/b/c")->flags & DLC_N_FROZEN);
}
END_TEST

/* A list is the truth for the time of modification that stat gave, to the nanosecond. */
START_TEST(test_changed_before_it_was_listed)
{
    struct tree names;
    struct tree_node *missing, *dir;
    char path[512];

    snprintf(path, sizeof path, "%s/a/b/c", tree.dir);
    for (int changed = 0; changed < 2; changed++) {
        set_file_times("a/b/c", 1000, 5000);
        tree_init(&names);
        dir = tree_walk(&names, path, true, &missing);
        ck_assert_ptr_nonnull(dir);
        if (changed) {
            const struct timespec later[2] = {{1000, 111}, {5000, 223}};
            ck_assert_int_eq(utimensat(AT_FDCWD, path, later, 0), 0);
        }
        ck_assert_uint_eq(freeze(&names, &dir, 1), !changed);
        ck_assert_int_eq(!(dir->flags & DLC_N_FROZEN), changed);
        tree_free(&names);
    }
}
END_TEST

/* Of several one cannot be listed, in one somebody has looked for a name that came later, and one may not be searched. */
START_TEST(test_many_lists)
{
    const char *const below[] = {"/a", "/a/b", "/a/b/c", "/gone"};
    struct tree_node *missing, *dirs[4];
    struct tree names;
    char path[512];

    tree_init(&names);
    snprintf(path, sizeof path, "%s/gone", tree.dir);
    ck_assert_int_eq(mkdir(path, 0755), 0);
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s%s", tree.dir, below[i]);
        ck_assert_ptr_nonnull(dirs[i] = tree_walk(&names, path, true, &missing));
    }
    tree_add(&names, dirs[1], "later", 5);
    dirs[2]->flags &= ~(uint32_t)DLC_N_EXEC;
    rmdir(path);
    ck_assert_uint_eq(freeze(&names, dirs, 4), 1);
    ck_assert(dirs[0]->flags & DLC_N_FROZEN);
    ck_assert_ptr_nonnull(tree_child(dirs[0], "f", 1));
    ck_assert_ptr_nonnull(tree_child(dirs[1], "hard", 4));
    ck_assert_ptr_null(tree_child(dirs[2], "h", 1));
    for (size_t i = 1; i < 4; i++)
        ck_assert(!(dirs[i]->flags & DLC_N_FROZEN));
    tree_free(&names);
}
END_TEST

START_TEST(test_paths_too_long)
{
    char *first = NULL;
    const size_t most = strlen(tree.dir) + strlen("/a/b/g");
    const uint32_t count = tree.view.image.node_count;

    ck_assert_uint_eq(image_drop_long(tree.built.index, 4000, &first), 0);
    ck_assert_ptr_null(first);
    /* Longer are a/b/hard (the other name of a/f), a/b/round, a/b/c/h, a/dangling and some symlinks. */
    ck_assert_uint_gt(image_drop_long(tree.built.index, most, &first), 4);
    ck_assert_ptr_nonnull(first);
    ck_assert_uint_gt(strlen(first), most);
    ck_assert_int_eq(strncmp(first, tree.dir, strlen(tree.dir)), 0);
    free(first);
    ck_assert_int_eq(image_open(&tree.view.image, tree.built.index, tree.built.index_size), 0);
    ck_assert_int_eq(image_check(&tree.view.image, NULL), 0);
    ck_assert_uint_eq(tree.view.image.node_count, count);
    ck_assert(!(node("a/b/c/h")->flags & DLC_N_DATA));
    ck_assert(!(node("a/b/hard")->flags & DLC_N_DATA));
    ck_assert(!(node("a/f")->flags & DLC_N_DATA));
    ck_assert(node("a/b/g")->flags & DLC_N_DATA);
    ck_assert(!(node("a/b/c")->flags & DLC_N_FROZEN));
    ck_assert(!(node("a/b")->flags & DLC_N_FROZEN));
    ck_assert(node("a/b/c/h")->flags & DLC_N_STAT);
}
END_TEST

START_TEST(test_volatile_is_not_frozen)
{
    struct manifest *m = test_tree_manifest(&tree);
    struct found found;
    char path[512];

    for (size_t i = 0; i < m->entry_count; i++)
        m->entries[i].is_volatile = strlen(m->entries[i].path) > 4 &&
                                    strcmp(m->entries[i].path + strlen(m->entries[i].path) - 4, "/a/b") == 0;
    test_tree_build(&tree, m);
    manifest_free(m);
    ck_assert(!(node("a/b")->flags & DLC_N_FROZEN));
    ck_assert(node("a/b")->flags & DLC_N_VOLATILE);
    ck_assert(node("a/b/c")->flags & DLC_N_FROZEN);
    snprintf(path, sizeof path, "%s/a/b/none", tree.dir);
    ck_assert_int_eq(lookup(&tree.view, path, strlen(path), 0, &found), VERDICT_UNKNOWN);
}
END_TEST

START_TEST(test_gone)
{
    struct manifest *m = test_tree_manifest(&tree);
    struct built built;
    char path[512], *error = NULL;

    snprintf(path, sizeof path, "%s/a/f", tree.dir);
    ck_assert_int_eq(unlink(path), 0);
    test_tree_build(&tree, m);
    ck_assert_uint_eq(tree.built.report.gone, 1);
    ck_assert_int_eq(build_image(m, true, &built, &error), -1);
    ck_assert_ptr_nonnull(strstr(error, path));
    free(error);
    manifest_free(m);
}
END_TEST

START_TEST(test_dropped_contents)
{
    const uint32_t f = (uint32_t)(node("a/f") - tree.view.image.nodes);
    const uint64_t inodes = tree.view.image.inode_count;

    image_drop_data(tree.built.index, &f, 1);
    ck_assert_int_eq(image_open(&tree.view.image, tree.built.index, tree.built.index_size), 0);
    ck_assert_int_eq(image_check(&tree.view.image, NULL), 0);
    ck_assert(!(node("a/f")->flags & DLC_N_DATA));
    ck_assert(!(node("a/b/hard")->flags & DLC_N_DATA));
    ck_assert(node("a/b/g")->flags & DLC_N_DATA);
    ck_assert_uint_eq(tree.view.image.inode_count, inodes - 1);
}
END_TEST

START_TEST(test_digest)
{
    XXH128_canonical_t digest;
    char *copy = malloc(tree.built.index_size);

    /* As doc/FORMAT.md says it: the times of access as zero. */
    memcpy(copy, tree.built.index, tree.built.index_size);
    const struct dlc_section nodes = tree.view.image.header->nodes;
    for (uint64_t i = 0; i < nodes.count; i++) {
        memset(copy + nodes.off + i * 160 + 72, 0, 8);
        memset(copy + nodes.off + i * 160 + 104, 0, 4);
    }
    XXH128_canonicalFromHash(&digest, XXH3_128bits(copy + 256, tree.built.index_size - 256));
    free(copy);
    ck_assert_mem_eq(digest.digest, tree.view.image.header->digest, 16);
    ck_assert_uint_eq(tree.view.image.header->check, dlc_hash64(0, tree.built.index, 248));
}
END_TEST

/* --- damage ----------------------------------------------------------------------------------------------------- */

static struct dlc_header *header(void)
{
    return tree.built.index;
}

static void reseal(void)
{
    header()->check = dlc_hash64(0, header(), 248);
}

START_TEST(test_refused_header)
{
    struct image im;
    struct dlc_header good = *header();

    for (size_t i = 0; i < 248; i++) {
        ((unsigned char *)header())[i] ^= 0xff;
        ck_assert_int_lt(image_open(&im, header(), tree.built.index_size), 0);
        *header() = good;
    }
    header()->magic[0] = 'X';
    ck_assert_int_eq(image_open(&im, header(), tree.built.index_size), -EPROTO);
    *header() = good;
    header()->version = 2;
    reseal();
    ck_assert_int_eq(image_open(&im, header(), tree.built.index_size), -EPROTONOSUPPORT);
    *header() = good;
    header()->incompat = 1;
    reseal();
    ck_assert_int_eq(image_open(&im, header(), tree.built.index_size), -EPROTONOSUPPORT);
    *header() = good;
    header()->compat = 1;
    reseal();
    ck_assert_int_eq(image_open(&im, header(), tree.built.index_size), 0);
}
END_TEST

START_TEST(test_refused_sections)
{
    static const uint64_t absurd[] = {0, 1, 7, 255, UINT64_MAX, UINT64_MAX - 7, UINT64_MAX / 2, 1ull << 32, 1ull << 60};
    struct dlc_header good = *header();
    struct image im;

    for (size_t field = 48; field < 144; field += 8) {
        for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
            memcpy((char *)header() + field, &absurd[i], 8);
            reseal();
            /* Either refused, or sound as it stands: an empty table of objects can be that. */
            if (image_open(&im, header(), tree.built.index_size) == 0)
                (void)image_check(&im, NULL);
            *header() = good;
        }
    }
}
END_TEST

START_TEST(test_cut_short)
{
    struct image im;

    for (uint64_t n = 0; n < tree.built.index_size; n += n < 300 ? 1 : 97) {
        void *copy = malloc(n ? n : 1); /* so that the address sanitizer sees a read behind the end */
        memcpy(copy, tree.built.index, n);
        ck_assert_int_lt(image_open(&im, copy, n), 0);
        free(copy);
    }
}
END_TEST

/* One byte of the tables is wrong: image_check refuses, or what is left can be read without harm. */
START_TEST(test_damaged_anywhere)
{
    const size_t size = tree.built.index_size;
    unsigned char *copy = malloc(size);
    unsigned refused = 0, seed = 7;

    for (unsigned i = 0; i < 20000; i++) {
        struct image im;
        memcpy(copy, tree.built.index, size);
        for (unsigned k = 1 + i % 3; k > 0; k--)
            copy[256 + (unsigned)rand_r(&seed) % (size - 256)] = (unsigned char)rand_r(&seed);
        ck_assert_int_eq(image_open(&im, copy, size), 0);
        const char *why = NULL;
        if (image_check(&im, &why) != 0) {
            ck_assert_ptr_nonnull(why);
            refused++;
            continue;
        }
        const struct view view = {.image = im};
        struct found found;
        char path[4096];
        for (uint32_t n = 0; n < im.node_count; n++)
            if (image_path(&im, n, path, sizeof path) > 0)
                lookup(&view, path, strlen(path), 0, &found);
    }
    ck_assert_uint_gt(refused, 5000);
    free(copy);
}
END_TEST

/* doc/FORMAT.md 4: words of 8 bytes, the last one filled up with zeroes. */
START_TEST(test_hash_of_every_length)
{
    for (size_t n = 0; n <= 40; n++) {
        unsigned char *text = malloc(n ? n : 1); /* its end is the end of what may be read */
        uint64_t h = 7 * 0x9e3779b97f4a7c15ull ^ n;
        for (size_t i = 0; i < n; i++)
            text[i] = (unsigned char)(251 - 29 * i);
        for (size_t at = 0; at < n; at += 8) {
            uint64_t word = 0;
            for (size_t i = at; i < n && i < at + 8; i++)
                word |= (uint64_t)text[i] << 8 * (i - at);
            h = dlc_hash_mix(h, word);
        }
        ck_assert_uint_eq(dlc_hash64(7, text, n), dlc_hash_mix(h, 0));
        free(text);
    }
}
END_TEST

Suite *suite_build(void)
{
    Suite *s = suite_create("image");
    TCase *c = tcase_create("image");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 120);
    tcase_add_test(c, test_hash_of_every_length);
    tcase_add_test(c, test_every_field_of_stat);
    tcase_add_test(c, test_directories);
    tcase_add_test(c, test_contents);
    tcase_add_test(c, test_paths);
    tcase_add_test(c, test_same_image_twice);
    tcase_add_test(c, test_times_of_access_stay);
    tcase_add_test(c, test_changed_before_it_was_listed);
    tcase_add_test(c, test_many_lists);
    tcase_add_test(c, test_paths_too_long);
    tcase_add_test(c, test_volatile_is_not_frozen);
    tcase_add_test(c, test_gone);
    tcase_add_test(c, test_dropped_contents);
    tcase_add_test(c, test_digest);
    tcase_add_test(c, test_refused_header);
    tcase_add_test(c, test_refused_sections);
    tcase_add_test(c, test_cut_short);
    tcase_add_test(c, test_damaged_anywhere);
    suite_add_tcase(s, c);
    return s;
}
