/* Path resolution: against a table, and against the kernel. */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

static const char *const verdicts[] = {"UNKNOWN", "FILE", "META", "DIR", "ABSENT", "NOTDIR"};

static const struct row {
    const char *path; /* below the tree */
    enum verdict follow, nofollow;
} rows[] = {
    {"", VERDICT_DIR, VERDICT_DIR},
    {"a", VERDICT_DIR, VERDICT_DIR},
    {"a/", VERDICT_DIR, VERDICT_DIR},
    {"a///b/./../f", VERDICT_FILE, VERDICT_FILE},
    {"a/f", VERDICT_FILE, VERDICT_FILE},
    {"a/f/", VERDICT_NOTDIR, VERDICT_NOTDIR},
    {"a/f/x", VERDICT_NOTDIR, VERDICT_NOTDIR},
    {"a/f/.", VERDICT_NOTDIR, VERDICT_NOTDIR},
    {"a/f/..", VERDICT_NOTDIR, VERDICT_NOTDIR},
    {"a/none", VERDICT_ABSENT, VERDICT_ABSENT},
    {"a/none/x/y", VERDICT_ABSENT, VERDICT_ABSENT},
    {"a/none/../f", VERDICT_ABSENT, VERDICT_ABSENT},
    {"none", VERDICT_ABSENT, VERDICT_ABSENT},
    {"empty/x", VERDICT_ABSENT, VERDICT_ABSENT},
    {"a/to-f", VERDICT_FILE, VERDICT_META},
    {"a/to-f/", VERDICT_NOTDIR, VERDICT_NOTDIR},
    {"a/to-f-slash", VERDICT_NOTDIR, VERDICT_META},
    {"a/to-b", VERDICT_DIR, VERDICT_META},
    {"a/to-b/", VERDICT_DIR, VERDICT_DIR},
    {"a/to-b/g", VERDICT_FILE, VERDICT_FILE},
    {"a/to-b-slash", VERDICT_DIR, VERDICT_META},
    {"a/to-b-slash/g", VERDICT_FILE, VERDICT_FILE},
    {"a/to-b/..", VERDICT_DIR, VERDICT_DIR},
    {"a/to-b/round/h", VERDICT_FILE, VERDICT_FILE},
    {"a/to-b/round/../g", VERDICT_FILE, VERDICT_FILE},
    {"a/far", VERDICT_FILE, VERDICT_META},
    {"a/self/self/self/f", VERDICT_FILE, VERDICT_FILE},
    {"a/dangling", VERDICT_ABSENT, VERDICT_META},
    {"a/dangling/x", VERDICT_ABSENT, VERDICT_ABSENT},
    {"a/loop1", VERDICT_UNKNOWN, VERDICT_META},
    {"a/loop1/x", VERDICT_UNKNOWN, VERDICT_UNKNOWN},
    {"empty/abs/g", VERDICT_FILE, VERDICT_FILE},
    {"empty/abs/../f", VERDICT_FILE, VERDICT_FILE},
    {"a/fifo", VERDICT_META, VERDICT_META},
    {"a/fifo/", VERDICT_NOTDIR, VERDICT_NOTDIR},
    {"a/out/surely-not-there", VERDICT_UNKNOWN, VERDICT_UNKNOWN},
    {"a/\xff\n\"", VERDICT_FILE, VERDICT_FILE},
    {"a/b/hard", VERDICT_FILE, VERDICT_FILE},
    {"..", VERDICT_UNKNOWN, VERDICT_UNKNOWN}, /* not frozen: its stat data are the kernel's */
    {"../..", VERDICT_UNKNOWN, VERDICT_UNKNOWN},
    {"../surely-not-there", VERDICT_UNKNOWN, VERDICT_UNKNOWN},
};

START_TEST(test_row)
{
    const struct row *r = &rows[_i];
    char path[512];
    struct found found;

    snprintf(path, sizeof path, *r->path ? "%s/%s" : "%s%s", tree.dir, r->path);
    enum verdict v = lookup(&tree.view, path, strlen(path), 0, &found);
    ck_assert_msg(v == r->follow, "%s: %s", path, verdicts[v]);
    ck_assert_int_eq(found.node != DLC_NONE, v == VERDICT_FILE || v == VERDICT_META || v == VERDICT_DIR);
    v = lookup(&tree.view, path, strlen(path), LOOKUP_NOFOLLOW, &found);
    ck_assert_msg(v == r->nofollow, "%s, not followed: %s", path, verdicts[v]);
}
END_TEST

START_TEST(test_no_path)
{
    struct found found;
    char longer[300];

    ck_assert_int_eq(lookup(&tree.view, "", 0, 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(lookup(&tree.view, "a/f", 3, 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(lookup(&tree.view, "/", 1, 0, &found), VERDICT_UNKNOWN);
    lookup(&tree.view, "/", 1, LOOKUP_CHANGED, &found);
    ck_assert_uint_eq(found.node, 0);
    lookup(&tree.view, "/..", 3, LOOKUP_CHANGED, &found);
    ck_assert_uint_eq(found.node, 0);
    memset(longer, 'x', sizeof longer);
    memcpy(longer, tree.dir, strlen(tree.dir));
    longer[strlen(tree.dir)] = '/';
    /* ENAMETOOLONG is the kernel's to say. */
    ck_assert_int_eq(lookup(&tree.view, longer, sizeof longer, 0, &found), VERDICT_UNKNOWN);
}
END_TEST

/* What a verdict claims has to be what the kernel says. */
static void compare(const char *path, unsigned flags, unsigned *unknown)
{
    struct found found;
    struct stat st;
    const enum verdict v = lookup(&tree.view, path, strlen(path), flags, &found);
    const int rc = flags & LOOKUP_NOFOLLOW ? lstat(path, &st) : stat(path, &st);
    const int error = rc == 0 ? 0 : errno;
    const struct dlc_node *n = found.node == DLC_NONE ? NULL : &tree.view.image.nodes[found.node];

    switch (v) {
    case VERDICT_UNKNOWN: ++*unknown; break;
    case VERDICT_ABSENT: ck_assert_msg(error == ENOENT, "%s: ABSENT, errno %d", path, error); break;
    case VERDICT_NOTDIR: ck_assert_msg(error == ENOTDIR, "%s: NOTDIR, errno %d", path, error); break;
    case VERDICT_FILE:
    case VERDICT_META:
    case VERDICT_DIR:
        ck_assert_msg(error == 0, "%s: %s, errno %d", path, verdicts[v], error);
        ck_assert_msg(n->ino == st.st_ino && n->mode == st.st_mode && n->size == (uint64_t)st.st_size &&
                          n->nlink == st.st_nlink && n->mtime == st.st_mtim.tv_sec,
                      "%s: another file", path);
        ck_assert_int_eq(v == VERDICT_DIR, S_ISDIR(st.st_mode));
        break;
    }
}

static void random_path(char path[512], unsigned *seed)
{
    static const char *const parts[] = {
        "a", "b", "c", "f", "g", "h", "empty", "abs", "hard", "fifo", "to-b", "round", "to-f", "to-f-slash", "to-b-slash",
        "far", "dangling", "loop1", "loop2", "self", "none", ".", "..", "", "a", "b", "..", "\xff\n\"",
    };
    int n = snprintf(path, 512, "%s", tree.dir);

    for (int k = 1 + rand_r(seed) % 7; k > 0; k--)
        n += snprintf(path + n, 512 - (size_t)n, "/%s", parts[(unsigned)rand_r(seed) % (sizeof parts / sizeof *parts)]);
    if (rand_r(seed) % 8 == 0)
        strcat(path, "/");
}

START_TEST(test_as_the_kernel)
{
    unsigned unknown = 0, all = 40000;
    unsigned seed = 1;
    char path[512];

    for (unsigned i = 0; i < all; i++) {
        random_path(path, &seed);
        compare(path, 0, &unknown);
        compare(path, LOOKUP_NOFOLLOW, &unknown);
    }
    /* Only what leads out of the tree, or round in a loop, may be unknown. */
    ck_assert_uint_lt(unknown, all / 4);
}
END_TEST

START_TEST(test_links_limit)
{
    char path[4096];
    struct found found;
    struct stat st;
    unsigned unknown = 0;

    for (int links = 38; links <= 42; links++) {
        int n = snprintf(path, sizeof path, "%s/a", tree.dir);
        for (int i = 0; i < links; i++)
            n += snprintf(path + n, sizeof path - (size_t)n, "/self");
        ck_assert_int_eq(stat(path, &st), links <= 40 ? 0 : -1);
        ck_assert_int_eq(lookup(&tree.view, path, strlen(path), 0, &found),
                         links <= 40 ? VERDICT_DIR : VERDICT_UNKNOWN);
        compare(path, 0, &unknown);
    }
}
END_TEST

START_TEST(test_from_a_directory)
{
    struct found found;
    char path[512];

    snprintf(path, sizeof path, "%s/a/b", tree.dir);
    ck_assert_int_eq(lookup(&tree.view, path, strlen(path), 0, &found), VERDICT_DIR);
    const uint32_t b = found.node;
    ck_assert_int_eq(lookup_from(&tree.view, b, "c/h", 3, 0, &found), VERDICT_FILE);
    ck_assert_int_eq(lookup_from(&tree.view, b, "../f", 4, 0, &found), VERDICT_FILE);
    ck_assert_int_eq(lookup_from(&tree.view, b, "round/h", 7, 0, &found), VERDICT_FILE);
    ck_assert_int_eq(lookup_from(&tree.view, b, "none", 4, 0, &found), VERDICT_ABSENT);
    ck_assert_int_eq(lookup_from(&tree.view, b, path, strlen(path), 0, &found), VERDICT_DIR);
    ck_assert_uint_eq(found.node, b);
}
END_TEST

START_TEST(test_mirror_means_the_original)
{
    struct found found;
    char path[512];

    tree.view.prefix = "/shm/x/root";
    tree.view.prefix_len = (uint32_t)strlen(tree.view.prefix);
    snprintf(path, sizeof path, "%s%s/a/f", tree.view.prefix, tree.dir);
    ck_assert_int_eq(lookup(&tree.view, path, strlen(path), 0, &found), VERDICT_FILE);
    ck_assert_uint_eq(lookup_prefix(&tree.view, path, strlen(path)), tree.view.prefix_len);
    lookup(&tree.view, "/shm/x/root", 11, LOOKUP_CHANGED, &found);
    ck_assert_uint_eq(found.node, 0);
    ck_assert_uint_eq(lookup_prefix(&tree.view, "/shm/x/rooted", 13), 0);
    ck_assert_uint_eq(lookup_prefix(&tree.view, "/shm/x/roo", 10), 0);
}
END_TEST

/* A state that says: nothing is dirty, and all mounts agree. */
static struct dlc_state state;
static uint8_t dirty[4096];
static struct dlc_mount_state mounts[64];

static struct recent recent;

static void give_state(void)
{
    memset(&recent, 0, sizeof recent);
    tree.view.recent = &recent;
    ck_assert_uint_lt(tree.view.image.node_count, sizeof dirty);
    ck_assert_uint_lt(tree.view.image.mount_count, 64);
    for (int i = 0; i < 64; i++)
        mounts[i].agrees = 1;
    tree.view.all_agree = 1;
    tree.view.state = &state;
    tree.view.dirty = dirty;
    tree.view.mounts = mounts;
}

static enum verdict ask(const char *name, unsigned flags, struct found *found)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", tree.dir, name);
    return lookup(&tree.view, path, strlen(path), flags, found);
}

START_TEST(test_dirty)
{
    struct found found, other;

    give_state();
    ck_assert_int_eq(ask("a/b", 0, &found), VERDICT_DIR);
    const uint32_t b = found.node;
    ck_assert_int_eq(ask("a/b/g", 0, &found), VERDICT_FILE);
    state.any_dirty = 1;
    dirty[found.node] = DLC_D_SELF;
    ck_assert_int_eq(ask("a/b/g", 0, &other), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/to-b/g", 0, &other), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/b/none", 0, &other), VERDICT_ABSENT);
    ck_assert_int_eq(ask("a/b/g", LOOKUP_CHANGED, &other), VERDICT_FILE);
    ck_assert_uint_eq(other.node, found.node);
    dirty[b] = DLC_D_NAMES;
    ck_assert_int_eq(ask("a/b/none", 0, &other), VERDICT_UNKNOWN);
    ck_assert_uint_eq(other.parent, b);
    ck_assert_int_eq(ask("a/b/hard", 0, &other), VERDICT_FILE);
    ck_assert_int_eq(ask("a/b", 0, &other), VERDICT_UNKNOWN); /* its time of modification */
    dirty[b] = DLC_D_SELF;
    ck_assert_int_eq(ask("a/b/hard", 0, &other), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/b/c/h", 0, &other), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/f", 0, &other), VERDICT_FILE);
}
END_TEST

/* Whoever looked there before: the answer is the same. */
static void same_again(const char *path, unsigned flags)
{
    struct found found, other;

    tree.view.recent = NULL;
    const enum verdict verdict = lookup(&tree.view, path, strlen(path), flags, &found);
    tree.view.recent = &recent;
    for (int i = 0; i < 2; i++) {
        ck_assert_msg(lookup(&tree.view, path, strlen(path), flags, &other) == verdict, "%s", path);
        ck_assert_msg(other.node == found.node && other.parent == found.parent, "%s", path);
    }
}

static unsigned recent_kept(void)
{
    unsigned n = 0;
    for (unsigned i = 0; i < RECENT_ENTRIES; i++)
        n += recent.entries[i].version != 0;
    return n;
}

START_TEST(test_recent)
{
    char path[4096];
    struct found found;
    unsigned seed = 2;

    give_state();
    for (int i = 0; i < 40000; i++) {
        random_path(path, &seed);
        same_again(path, 0);
        same_again(path, LOOKUP_NOFOLLOW);
        same_again(path, LOOKUP_CHANGED);
    }
    /* Each length of the text, shorter and longer than what is kept. */
    for (int slashes = 1; slashes < 260; slashes++) {
        snprintf(path, sizeof path, "%s%*s", tree.dir, slashes, "");
        memset(path + strlen(tree.dir), '/', (size_t)slashes);
        strcat(path, "empty");
        same_again(path, 0);
    }
    ck_assert_uint_eq(recent_kept(), RECENT_ENTRIES);
    /* Links that were followed on the way count. */
    for (int links = 38; links <= 42; links++) {
        int n = snprintf(path, sizeof path, "%s/a", tree.dir);
        for (int i = 0; i < links; i++)
            n += snprintf(path + n, sizeof path - (size_t)n, "/self");
        same_again(path, 0);
        strcat(path, "/to-f");
        same_again(path, 0);
    }
    same_again("/", 0);
    same_again("/none", 0);
    same_again("none", 0);
    /* An entry that somebody is writing is left alone. */
    give_state();
    for (unsigned i = 0; i < RECENT_ENTRIES; i++)
        recent.entries[i].version = 1;
    ck_assert_int_eq(ask("a/f", 0, &found), VERDICT_FILE);
    ck_assert_int_eq(ask("a/f", 0, &found), VERDICT_FILE);
    for (unsigned i = 0; i < RECENT_ENTRIES; i++)
        ck_assert(recent.entries[i].version == 1 && recent.entries[i].len == 0);
}
END_TEST

/* Two texts for which there is one place: who finds one of them, while others put in now this and now that, finds its
 * own node, or none. */
static void *keep_and_find(void *number)
{
    static const char *const texts[] = {"/one/directory/as-long-as/the-other/below/", "/two/directory/as-long-as/the-other/below/"};
    const unsigned mine = (uintptr_t)number % 2;
    uintptr_t wrong = 0;

    for (unsigned i = 0; i < 300000; i++) {
        const unsigned which = (i + mine) % 2;
        const size_t len = strlen(texts[which]);
        uint32_t node = 77;
        unsigned links = 78;
        if (recent_find(&recent, texts[which], len, &node, &links))
            wrong += node != 1 + which || links != 10 + which;
        else
            wrong += node != 77 || links != 78; /* a walk begins with these */
        recent_keep(&recent, texts[!which], len, 1 + !which, 10 + !which);
    }
    return (void *)wrong;
}

START_TEST(test_recent_in_threads)
{
    pthread_t threads[4];

    for (uintptr_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, keep_and_find, (void *)i), 0);
    for (int i = 0; i < 4; i++) {
        void *wrong;
        ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
        ck_assert_uint_eq((uintptr_t)wrong, 0);
    }
    ck_assert_ptr_null(keep_and_find(NULL));
    ck_assert_uint_eq(recent_kept(), 1);
    for (unsigned i = 0; i < RECENT_ENTRIES; i++)
        ck_assert_uint_eq(recent.entries[i].version % 2, 0);
}
END_TEST

/* Directories beside each other are kept beside each other, whichever letter it is that their names differ in, and
 * directories of one name, however long it is where they lie. */
START_TEST(test_recent_and_similar_names)
{
    for (size_t i = 0; i < 4; i++) {
        char path[] = "/sw/lib/module/";
        unsigned used = 0;
        for (path[10 + i] = 'a'; path[10 + i] <= 'z'; path[10 + i]++)
            used |= 1u << (recent_entry(&recent, path, sizeof path - 1) - recent.entries);
        ck_assert_int_ge(__builtin_popcount(used), 6);
    }
    char path[128] = "";
    unsigned used = 0;
    for (size_t n = 12; n < 100; n++) {
        memset(path, 'x', n - 12);
        strcpy(path + n - 12, "__pycache__/");
        used |= 1u << (recent_entry(&recent, path, n) - recent.entries);
    }
    ck_assert_int_ge(__builtin_popcount(used), 12);
}
END_TEST

#ifdef __SANITIZE_THREAD__
enum { RACES_ARE_TOLD = 1 }; /* and what this program does is one */
#else
enum { RACES_ARE_TOLD = 0 };
#endif

struct writer {
    char *at;
    int stop;
};

static void *write_into(void *arg)
{
    struct writer *w = arg;

    while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED)) {
        __atomic_store_n(w->at, '.', __ATOMIC_RELAXED);
        __atomic_store_n(w->at, 'b', __ATOMIC_RELAXED);
    }
    return NULL;
}

/* A program that writes into a path which another of its threads is asking for learns something of either path; but
 * whoever asks later, the right thing. */
START_TEST(test_recent_and_a_path_that_changes)
{
    char path[4096], other[4096];
    struct found found;
    pthread_t thread;

    give_state();
    const int n = snprintf(path, sizeof path, "%s/a/b/g", tree.dir);
    snprintf(other, sizeof other, "%s/a/./g", tree.dir);
    struct writer w = {path + n - 3, 0};
    ck_assert_int_eq(pthread_create(&thread, NULL, write_into, &w), 0);
    for (int i = 0; i < 300000; i++) {
        memset(&recent, 0, sizeof recent);
        lookup(&tree.view, path, (size_t)n, 0, &found);
        ck_assert_int_eq(lookup(&tree.view, other, (size_t)n, 0, &found), VERDICT_ABSENT);
    }
    __atomic_store_n(&w.stop, 1, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
}
END_TEST

START_TEST(test_recent_and_dirty)
{
    struct found found;

    give_state();
    ck_assert_int_eq(ask("a/b/g", 0, &found), VERDICT_FILE);
    ck_assert_int_eq(ask("a/b/g", 0, &found), VERDICT_FILE);
    ck_assert_uint_ge(recent_kept(), 1);
    dirty[found.parent] = DLC_D_SELF;
    state.any_dirty = 1;
    ck_assert_int_eq(ask("a/b/g", 0, &found), VERDICT_UNKNOWN);
    state.any_dirty = 0;
    tree.view.all_agree = 0;
    ck_assert_int_eq(ask("a/b/g", 0, &found), VERDICT_FILE);
    for (int i = 0; i < 64; i++)
        mounts[i].agrees = 0;
    ck_assert_int_eq(ask("a/b/g", 0, &found), VERDICT_UNKNOWN);
}
END_TEST

START_TEST(test_another_mount)
{
    struct found found;

    give_state();
    ck_assert_int_eq(ask("a/f", 0, &found), VERDICT_FILE);
    tree.view.all_agree = 0;
    mounts[tree.view.image.nodes[found.node].mount].agrees = 0;
    ck_assert_int_eq(ask("a/f", 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/none", 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/to-b/g", 0, &found), VERDICT_UNKNOWN);
}
END_TEST

/* A process elsewhere: nothing holds but below `dir`, and there not below `but`. */
static void give_spots(struct spot spots[3], const char *dir, const char *but)
{
    struct found found;

    give_state();
    ck_assert_int_eq(ask(dir, 0, &found), VERDICT_DIR);
    spots[0] = (struct spot){found.node, 1};
    ck_assert_int_eq(ask(but, 0, &found), VERDICT_DIR);
    spots[1] = (struct spot){found.node, 0};
    spots[2] = (struct spot){0, 0};
    tree.view.all_agree = 0;
    tree.view.spots = spots;
    tree.view.spot_count = 3;
}

START_TEST(test_spots)
{
    static const struct {
        const char *path;
        enum verdict verdict;
    } asked[] = {
        {"a/b/g", VERDICT_FILE},          {"a/b/none", VERDICT_ABSENT},    {"a/b/g/x", VERDICT_NOTDIR},
        {"a/b/../b/g", VERDICT_FILE},     {"a/b/c/h", VERDICT_UNKNOWN},    {"a/b/c/none", VERDICT_UNKNOWN},
        {"a/b/c/../g", VERDICT_UNKNOWN},  {"a/b/c", VERDICT_UNKNOWN},      {"a/f", VERDICT_UNKNOWN},
        {"a/b/../f", VERDICT_UNKNOWN},    {"a/none", VERDICT_UNKNOWN},     {"none", VERDICT_UNKNOWN},
        {"a/../a/b/g", VERDICT_UNKNOWN},  {"a/to-b/g", VERDICT_UNKNOWN},   {"empty", VERDICT_UNKNOWN},
        {"a/b", VERDICT_UNKNOWN}, /* c below it is another: who walks into the mirror from here would miss that */
    };
    struct spot spots[3];
    struct found found;

    give_spots(spots, "a/b", "a/b/c");
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        const enum verdict v = ask(asked[i].path, 0, &found);
        ck_assert_msg(v == asked[i].verdict, "%s: %s", asked[i].path, verdicts[v]);
    }
    /* What is written is marked all the same. */
    ask("a/../a/b/c/h", LOOKUP_CHANGED, &found);
    ck_assert_uint_ne(found.node, DLC_NONE);
    spots[1].agrees = 1;
    ck_assert_int_eq(ask("a/b", 0, &found), VERDICT_DIR);
    ck_assert_int_eq(ask("a/b/c/../g", 0, &found), VERDICT_FILE);
}
END_TEST

START_TEST(test_name_without_stat)
{
    struct manifest *m = manifest_new();
    struct found found;
    char path[512];

    snprintf(path, sizeof path, "%s/a/f", tree.dir);
    manifest_add(m, path, MANIFEST_DATA)->counts.open = 1;
    m->policy.prefixes = calloc(1, sizeof(char *));
    m->policy.prefixes[0] = strdup(tree.dir);
    m->policy.prefix_count = 1;
    test_tree_build(&tree, m);
    manifest_free(m);
    ck_assert_int_eq(ask("a/f", 0, &found), VERDICT_FILE);
    ck_assert_int_eq(ask("a/none", 0, &found), VERDICT_ABSENT);
    ck_assert_int_eq(ask("a/b", 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/b/g", 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/to-b", 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/to-b/g", 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("a/fifo", 0, &found), VERDICT_UNKNOWN);
    ck_assert_int_eq(ask("none", 0, &found), VERDICT_UNKNOWN); /* nobody asked for it there: not frozen */
}
END_TEST

Suite *suite_lookup(void)
{
    Suite *s = suite_create("lookup");
    TCase *c = tcase_create("lookup");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, test_row, 0, sizeof rows / sizeof *rows);
    tcase_add_test(c, test_no_path);
    tcase_add_test(c, test_as_the_kernel);
    tcase_add_test(c, test_links_limit);
    tcase_add_test(c, test_from_a_directory);
    tcase_add_test(c, test_mirror_means_the_original);
    tcase_add_test(c, test_dirty);
    tcase_add_test(c, test_recent);
    tcase_add_test(c, test_recent_in_threads);
    tcase_add_test(c, test_recent_and_similar_names);
    if (!RACES_ARE_TOLD)
        tcase_add_test(c, test_recent_and_a_path_that_changes);
    tcase_add_test(c, test_recent_and_dirty);
    tcase_add_test(c, test_another_mount);
    tcase_add_test(c, test_spots);
    tcase_add_test(c, test_name_without_stat);
    suite_add_tcase(s, c);
    return s;
}
