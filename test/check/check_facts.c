/* What our own programs ask of the machine. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/cgroup.h"
#include "facts/table.h"
#include "test/check/suites.h"

static char top[64];

static void put(const char *name, const char *text)
{
    char path[512];

    snprintf(path, sizeof path, "%s/%s", top, name);
    for (char *p = path + strlen(top) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        mkdir(path, 0700);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    ck_assert_ptr_nonnull(f);
    fputs(text, f);
    fclose(f);
}

static void put_mount(const char *root, const char *point, const char *type, const char *options)
{
    char text[1024];

    snprintf(text, sizeof text, "1 0 0:1 / / rw - ext4 /dev/x rw\n30 1 0:26 %s %s/%s rw - %s %s rw,%s\n", root, top, point,
             type, type, options);
    put("mountinfo", text);
}

static uint64_t left(void)
{
    char proc[128], mounts[128];

    snprintf(proc, sizeof proc, "%s/cgroup", top);
    snprintf(mounts, sizeof mounts, "%s/mountinfo", top);
    return cgroup_memory_left(proc, mounts);
}

static void setup(void)
{
    strcpy(top, "/tmp/dlcache-check.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(top));
}

static void teardown(void)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf %s", top);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(test_version_2)
{
    put("cgroup", "0::/job/step\n");
    put_mount("/", "sys", "cgroup2", "");
    put("sys/job/step/memory.max", "max\n");
    put("sys/job/step/memory.current", "300\n");
    ck_assert_uint_eq(left(), UINT64_MAX);
    /* The limit of the group above holds for this one. */
    put("sys/job/memory.max", "1000\n");
    put("sys/job/memory.current", "700\n");
    put("sys/job/memory.stat", "anon 500\ninactive_file 40\nactive_file 60\nshmem 100\n");
    ck_assert_uint_eq(left(), 1000 - (700 - 100));
    put("sys/job/step/memory.max", "500\n");
    ck_assert_uint_eq(left(), 200);
    put("sys/job/step/memory.current", "600\n");
    ck_assert_uint_eq(left(), 0);
}
END_TEST

START_TEST(test_version_1)
{
    put("cgroup", "4:cpu,cpuacct:/x\n3:freezer,memory:/slurm/uid_1/job_2\n0::/other\n");
    put_mount("/", "mem", "cgroup", "memory");
    put("mem/slurm/uid_1/job_2/memory.limit_in_bytes", "9223372036854771712\n");
    put("mem/slurm/uid_1/job_2/memory.usage_in_bytes", "10\n");
    ck_assert_uint_eq(left(), UINT64_MAX);
    put("mem/slurm/memory.limit_in_bytes", "5000\n");
    put("mem/slurm/memory.usage_in_bytes", "2000\n");
    put("mem/slurm/memory.stat", "inactive_file 1\ntotal_inactive_file 500\ntotal_active_file 500\n");
    ck_assert_uint_eq(left(), 4000);
}
END_TEST

/* In a container the mount shows the container's own part. */
START_TEST(test_part_of_the_hierarchy)
{
    put("cgroup", "0::/docker/abc/step\n");
    put_mount("/docker/abc", "sys", "cgroup2", "");
    put("sys/step/memory.max", "900\n");
    put("sys/step/memory.current", "100\n");
    ck_assert_uint_eq(left(), 800);
    put("cgroup", "0::/elsewhere\n");
    ck_assert_uint_eq(left(), UINT64_MAX);
}
END_TEST

START_TEST(test_no_groups)
{
    ck_assert_uint_eq(left(), UINT64_MAX);
    put("cgroup", "nonsense\n::\n:\n\n");
    put_mount("/", "sys", "cgroup2", "");
    ck_assert_uint_eq(left(), UINT64_MAX);
}
END_TEST

/* Every prefix of a long text, and many texts that differ at their end alone. */
START_TEST(test_table)
{
    enum { MANY = 5000 };
    static char texts[MANY][32], prefixes[200][256];
    struct table t = {0};
    char text[256];

    ck_assert_ptr_null(table_find(&t, "", 0));
    memset(text, 'x', sizeof text);
    for (int i = 0; i < MANY; i++) {
        snprintf(texts[i], sizeof texts[i], "/a/directory/lib%d.so", i);
        ck_assert_ptr_null(table_find(&t, texts[i], strlen(texts[i])));
        table_add(&t, texts[i], texts[i]);
    }
    for (int i = 0; i < 200; i += 2) {
        memcpy(prefixes[i], text, (size_t)i);
        table_add(&t, prefixes[i], prefixes[i]);
    }
    ck_assert_uint_eq(t.count, MANY + 100);
    for (int i = 0; i < MANY; i++) {
        ck_assert_ptr_eq(table_find(&t, texts[i], strlen(texts[i])), texts[i]);
        ck_assert_ptr_null(table_find(&t, texts[i], strlen(texts[i]) - 1));
    }
    for (size_t i = 0; i < 200; i++) /* what follows the text is none of its business */
        ck_assert_ptr_eq(table_find(&t, text, i), i % 2 ? NULL : prefixes[i]);
    table_free(&t);
    ck_assert_ptr_null(table_find(&t, texts[0], strlen(texts[0])));
}
END_TEST

Suite *suite_facts(void)
{
    Suite *s = suite_create("facts");
    TCase *t = tcase_create("cgroup");
    TCase *texts = tcase_create("table");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_version_2);
    tcase_add_test(t, test_version_1);
    tcase_add_test(t, test_part_of_the_hierarchy);
    tcase_add_test(t, test_no_groups);
    suite_add_tcase(s, t);
    tcase_add_test(texts, test_table);
    suite_add_tcase(s, texts);
    return s;
}
