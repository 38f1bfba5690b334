/* The recorder's policy, without a pilot: what is kept, and why not the rest; and what it stands on. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts/elf.h"
#include "facts/mounts.h"
#include "recorder/policy.h"
#include "recorder/prefixes.h"
#include "recorder/run.h"

Suite *suite_policy(void);

#define LUSTRE 0x0bd00bd0u
#define NFS 0x6969u
#define EXT4 0xef53u
#define OVERLAY 0x794c7630u
#define FUSE 0x65735546u
#define TMPFS 0x01021994u

static const struct row {
    const char *include, *exclude; /* one of each, or NULL; exist nowhere */
    bool all;
    const char *path;
    uint32_t magic;
    const char *type;
    bool on_root, is_data;
    enum policy_verdict verdict;
} rows[] = {
    /* The default: shared, and below a software prefix (/sw, and /proj/app for code). */
    {NULL, NULL, false, "/sw/lib/a.py", LUSTRE, NULL, false, false, POLICY_KEEP},
    {NULL, NULL, false, "/sw", NFS, NULL, false, false, POLICY_KEEP},
    {NULL, NULL, false, "/sw/share/zone", FUSE, NULL, false, true, POLICY_KEEP},
    {NULL, NULL, false, "/sw/lib/a.py", 0, "wekafs", false, false, POLICY_KEEP},
    {NULL, NULL, false, "/sw/lib/a.py", EXT4, "ext4", false, false, POLICY_LOCAL},
    {NULL, NULL, false, "/sw/lib/a.py", OVERLAY, "overlay", false, false, POLICY_LOCAL},
    {NULL, NULL, false, "/sw/lib/a.py", FUSE, "fuse.squashfuse", false, false, POLICY_LOCAL},
    {NULL, NULL, false, "/sw/lib/a.py", FUSE, "fuse.fuse-overlayfs", false, false, POLICY_LOCAL},
    {NULL, NULL, false, "/sw/lib/a.py", FUSE, "fuse.cvmfs2", false, false, POLICY_KEEP},
    {NULL, NULL, false, "/sw/lib/a.py", NFS, "nfs", true, false, POLICY_LOCAL},
    {NULL, NULL, false, "/software/a.py", LUSTRE, NULL, false, false, POLICY_OUTSIDE},
    {NULL, NULL, false, "/data/a.py", LUSTRE, NULL, false, false, POLICY_OUTSIDE},
    {NULL, NULL, false, "/proj/app/main.py", LUSTRE, NULL, false, false, POLICY_KEEP},
    {NULL, NULL, false, "/proj/app/input.h5", LUSTRE, NULL, false, true, POLICY_OUTSIDE},
    {NULL, NULL, false, "/proj/app/env/data", LUSTRE, NULL, false, true, POLICY_KEEP},
    {NULL, NULL, false, "/proj/apple/x.py", LUSTRE, NULL, false, false, POLICY_OUTSIDE},
    /* Never, whatever is asked. */
    {NULL, NULL, false, "/proc/self/maps", LUSTRE, NULL, false, false, POLICY_NEVER},
    {"/", NULL, true, "/sys/devices", LUSTRE, NULL, false, false, POLICY_NEVER},
    {"/dev", NULL, true, "/dev/null", LUSTRE, NULL, false, false, POLICY_NEVER},
    {"/run/x", NULL, true, "/run/x/y", LUSTRE, NULL, false, false, POLICY_NEVER},
    {NULL, NULL, true, "/procession", EXT4, NULL, true, false, POLICY_KEEP},
    /* Scratch areas: by name only. */
    {NULL, NULL, true, "/tmp/x", LUSTRE, NULL, false, false, POLICY_NEVER},
    {"/", NULL, false, "/tmp/x", LUSTRE, NULL, false, false, POLICY_NEVER},
    {"/tmp", NULL, false, "/tmp/x", TMPFS, NULL, false, false, POLICY_KEEP},
    {"/tmp/env", NULL, false, "/tmp/env/lib", TMPFS, NULL, false, false, POLICY_KEEP},
    {"/tmp/env", NULL, false, "/tmp/other", TMPFS, NULL, false, false, POLICY_NEVER},
    {"/tmp/env", NULL, false, "/tmp/environment", TMPFS, NULL, false, false, POLICY_NEVER},
    {"/var/tmp/e", NULL, false, "/var/tmp/e", TMPFS, NULL, false, false, POLICY_KEEP},
    {"/dev/shm/e", NULL, false, "/dev/shm/e/f", TMPFS, NULL, false, false, POLICY_KEEP},
    {NULL, NULL, true, "/dev/shm/e", TMPFS, NULL, false, false, POLICY_NEVER},
    /* Asked for. */
    {"/usr", NULL, false, "/usr/lib/x", EXT4, NULL, true, true, POLICY_KEEP},
    {"/usr", NULL, false, "/usrlocal", EXT4, NULL, true, true, POLICY_LOCAL},
    {"/usr", NULL, false, "/sw/a.py", LUSTRE, NULL, false, false, POLICY_KEEP},
    {"/", NULL, false, "/etc/passwd", EXT4, NULL, true, true, POLICY_KEEP},
    {NULL, NULL, true, "/etc/passwd", EXT4, NULL, true, true, POLICY_KEEP},
    {NULL, "/sw/private", false, "/sw/private/x", LUSTRE, NULL, false, false, POLICY_EXCLUDED},
    {NULL, "/sw/private", true, "/sw/private", LUSTRE, NULL, false, false, POLICY_EXCLUDED},
    {NULL, "/sw/private", false, "/sw/privateer", LUSTRE, NULL, false, false, POLICY_KEEP},
    {"/sw", "/sw/private", false, "/sw/private/x", LUSTRE, NULL, false, false, POLICY_EXCLUDED},
    {"/sw/private/keep", "/sw/private", false, "/sw/private/keep/x", EXT4, NULL, true, false, POLICY_KEEP},
    {"/sw/private/keep", "/sw/private", false, "/sw/private/other", EXT4, NULL, true, false, POLICY_EXCLUDED},
    {"/sw/same", "/sw/same", false, "/sw/same/x", LUSTRE, NULL, false, false, POLICY_EXCLUDED},
    {"/", "/", true, "/sw/x", LUSTRE, NULL, false, false, POLICY_EXCLUDED},
};

START_TEST(test_verdict)
{
    const struct row *r = &rows[_i];
    struct policy p = {.all = r->all};
    const struct policy_facts facts = {r->magic, r->type, r->on_root, r->is_data};

    if (r->include)
        ck_assert_int_eq(policy_ask(&p.include, r->include, false), 0);
    if (r->exclude)
        ck_assert_int_eq(policy_ask(&p.exclude, r->exclude, false), 0);
    policy_add_prefix(&p, "/sw", false);
    policy_add_prefix(&p, "/proj/app", true);
    policy_add_prefix(&p, "/proj/app/env", false);
    policy_add_prefix(&p, "/proj/app", true);
    policy_add_prefix(&p, "/", false);
    policy_ready(&p);
    ck_assert_uint_eq(p.prefix_count, 3);
    const enum policy_verdict verdict = policy_decide(&p, r->path, &facts);
    ck_assert_msg(verdict == r->verdict, "%s: %s, not %s", r->path, policy_verdict_names[verdict],
                  policy_verdict_names[r->verdict]);
    policy_free(&p);
}
END_TEST

START_TEST(test_full_prefix_wins)
{
    struct policy p = {0};

    policy_add_prefix(&p, "/a", true);
    policy_add_prefix(&p, "/a", false);
    policy_ready(&p);
    ck_assert_uint_eq(p.prefix_count, 1);
    ck_assert(!p.prefixes[0].code_only);
    ck_assert_ptr_eq(policy_prefix_of(&p, "/a/data", true), &p.prefixes[0]);
    ck_assert_ptr_null(policy_prefix_of(&p, "/ab", false));
    policy_free(&p);
}
END_TEST

START_TEST(test_symlinked_include)
{
    char dir[] = "/tmp/check-policy-XXXXXX", link[64], asked[80], below[80];
    const struct policy_facts facts = {EXT4, NULL, true, false};
    struct policy p = {0};

    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(link, sizeof link, "%s/link", dir);
    ck_assert_int_eq(symlink("missing", link), 0);
    ck_assert_int_eq(policy_ask(&p.include, link, true), -ENOENT);
    ck_assert_uint_eq(p.include.asked_count, 0);
    unlink(link);
    ck_assert_int_eq(symlink("/usr", link), 0);
    snprintf(asked, sizeof asked, "%s//./link/", dir);
    ck_assert_int_eq(policy_ask(&p.include, asked, true), 0);
    ck_assert_str_eq(p.include.asked[0], asked);
    ck_assert_str_eq(p.include.canonical[0], "/usr");
    snprintf(below, sizeof below, "%s/link/lib", dir);
    ck_assert_int_eq(policy_decide(&p, below, &facts), POLICY_KEEP);
    ck_assert_int_eq(policy_decide(&p, "/usr/lib", &facts), POLICY_KEEP);
    ck_assert_int_eq(policy_decide(&p, "/etc", &facts), POLICY_LOCAL);
    policy_free(&p);
    unlink(link);
    rmdir(dir);
}
END_TEST

static void check_prefixes(struct policy *p, const char *expected)
{
    char text[1024] = "";

    policy_ready(p);
    for (size_t i = 0; i < p->prefix_count; i++) {
        strcat(text, p->prefixes[i].path);
        strcat(text, p->prefixes[i].code_only ? "(code) " : " ");
    }
    ck_assert_str_eq(text, expected);
    policy_free(p);
}

START_TEST(test_prefixes)
{
    struct policy p = {0};
    char *const environment[] = {"PATH=/usr/bin:relative::/nowhere/bin", "LD_LIBRARY_PATH=/usr/lib",
                                 "PYTHONPATHX=/etc", NULL};

    prefixes_from_environment(&p, environment);
    check_prefixes(&p, "/usr /usr/bin /usr/lib ");
    prefixes_from_module(&p, "/sw/py/lib/python3.11/site-packages/numpy/__pycache__/a.pyc");
    check_prefixes(&p, "/sw/py /sw/py/lib/python3.11/site-packages /sw/py/lib/python3.11/site-packages/numpy(code) ");
    prefixes_from_module(&p, "/usr/lib/python3/dist-packages/six.py");
    check_prefixes(&p, "/usr /usr/lib/python3/dist-packages ");
    prefixes_from_module(&p, "/me/site-packages/six.py");
    check_prefixes(&p, "/me/site-packages ");
    prefixes_from_module(&p, "/me/app/main.py");
    check_prefixes(&p, "/me/app(code) ");
    prefixes_from_object(&p, "/sw/lib/libx.so");
    check_prefixes(&p, "/sw/lib ");
    prefixes_from_program(&p, "/usr/bin/python3.11");
    check_prefixes(&p, "/usr /usr/bin ");
    prefixes_from_program(&p, "/me/case/a.out");
    check_prefixes(&p, "/me/case(code) ");
    prefixes_from_program(&p, "/init");
    check_prefixes(&p, "");
}
END_TEST

START_TEST(test_list_prepend)
{
    static const struct {
        const char *list, *separators, *expected;
    } cases[] = {
        {NULL, ":", "/l.so"},          {"", ": ", "/l.so"},
        {"/a", ": ", "/l.so:/a"},      {"/a /b:/c", ": ", "/l.so:/a:/b:/c"},
        {"/l.so", ":", "/l.so"},       {"/a:/l.so:/b", ":", "/l.so:/a:/b"},
        {"::/a::", ":", "/l.so:/a"},   {"/l.so.1:/l.s", ":", "/l.so:/l.so.1:/l.s"},
        {"/a b", ":", "/l.so:/a b"},   {"/x/l.so:/b:l.so", ":", "/l.so:/b"},
        {"/l.so/x", ":", "/l.so:/l.so/x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *got = run_list_prepend(cases[i].list, "/l.so", cases[i].separators);
        ck_assert_str_eq(got, cases[i].expected);
        free(got);
    }
}
END_TEST

START_TEST(test_mounts)
{
    char file[] = "/tmp/check-mounts-XXXXXX";
    struct mounts m;
    int fd = mkstemp(file);
    static const char text[] =
        "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
        "2 1 0:5 /sub /mnt/a\\040b rw shared:1 master:2 - nfs4 host:/x\\134y rw\n"
        "3 1 0:6 / /mnt/a\\040b/c rw - tmpfs  rw\n"
        "4 1 0:7 / /mnt/a\\040b/c rw - lustre lus rw\n"
        "nonsense\n5 1 0:8 / /short rw\n6 1 0:9 / /last rw - fuse.x src rw";

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, sizeof text - 1), sizeof text - 1);
    close(fd);
    ck_assert_int_eq(mounts_read(&m, file), 0);
    ck_assert_str_eq(mounts_of(&m, "/")->type, "ext4");
    ck_assert_str_eq(mounts_of(&m, "/mnt/a")->type, "ext4");
    ck_assert_str_eq(mounts_of(&m, "/mnt/a b")->source, "host:/x\\y");
    ck_assert_str_eq(mounts_of(&m, "/mnt/a b/d")->root, "/sub");
    ck_assert_str_eq(mounts_of(&m, "/mnt/a b/c/d")->type, "lustre");
    ck_assert_str_eq(mounts_of(&m, "/short/x")->type, "ext4");
    ck_assert_str_eq(mounts_of(&m, "/last/x")->type, "fuse.x");
    mounts_free(&m);
    unlink(file);
    ck_assert_int_eq(mounts_read(&m, file), -ENOENT);
    ck_assert_ptr_null(mounts_of(&m, "/"));
}
END_TEST

/* This very program, and then with every byte of its first pages damaged in turn. */
START_TEST(test_elf)
{
    char file[] = "/tmp/check-elf-XXXXXX", page[4096];
    struct elf_facts facts;
    FILE *f = fopen("/proc/self/exe", "re");
    int fd = mkstemp(file);
    size_t n;

    ck_assert(f && fd >= 0);
    while ((n = fread(page, 1, sizeof page, f)) > 0)
        ck_assert_int_eq(write(fd, page, n), n);
    fclose(f);
    ck_assert_int_eq(elf_facts_read(fd, &facts), 0);
    ck_assert(facts.dynamic);
    ck_assert_ptr_null(facts.soname);
    bool libc = false;
    for (size_t i = 0; i < facts.needed_count; i++)
        libc |= strcmp(facts.needed[i], "libc.so.6") == 0;
    ck_assert(libc);
    elf_facts_free(&facts);
    for (off_t at = 0; at < 1024; at++) {
        static const unsigned char values[] = {0, 0x7f, 0xff};
        char old;
        ck_assert_int_eq(pread(fd, &old, 1, at), 1);
        for (size_t v = 0; v < sizeof values; v++) {
            ck_assert_int_eq(pwrite(fd, &values[v], 1, at), 1);
            if (elf_facts_read(fd, &facts) == 0)
                elf_facts_free(&facts);
        }
        ck_assert_int_eq(pwrite(fd, &old, 1, at), 1);
    }
    for (off_t size = 1023; size >= 0; size -= 7) {
        ck_assert_int_eq(ftruncate(fd, size), 0);
        if (elf_facts_read(fd, &facts) == 0)
            elf_facts_free(&facts);
    }
    close(fd);
    unlink(file);
}
END_TEST

Suite *suite_policy(void)
{
    Suite *s = suite_create("policy");
    TCase *t = tcase_create("policy");

    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, test_verdict, 0, (int)(sizeof rows / sizeof *rows));
    tcase_add_test(t, test_full_prefix_wins);
    tcase_add_test(t, test_symlinked_include);
    tcase_add_test(t, test_prefixes);
    tcase_add_test(t, test_list_prepend);
    tcase_add_test(t, test_mounts);
    tcase_add_test(t, test_elf);
    suite_add_tcase(s, t);
    return s;
}
