/* See manifests.h. */
#include "test/check/manifests.h"

#include <check.h>
#include <dirent.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"

char place[64], file[80], other[80];

/* In the runner's own process: a test that fails ends without its teardown. */
static void make_dir(void)
{
    strcpy(place, "/tmp/dlcache-manifest.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(place));
    snprintf(file, sizeof file, "%s/m.json", place);
    snprintf(other, sizeof other, "%s/n.json", place);
}

/* How many files were in it. */
static int empty_dir(void)
{
    int n = 0;

    chmod(place, 0700);
    DIR *d = opendir(place);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));)
        n += unlinkat(dirfd(d), e->d_name, 0) == 0;
    closedir(d);
    return n;
}

static void remove_dir(void)
{
    empty_dir();
    ck_assert_int_eq(rmdir(place), 0);
}

static void setup(void)
{
    empty_dir();
}

static void teardown(void)
{
    chmod(place, 0700);
    unlink(file);
    unlink(other);
    ck_assert_msg(empty_dir() == 0, "a test has left something else than its files");
}

void write_bytes(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "we");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

char *read_bytes(const char *path, size_t *n)
{
    FILE *f = fopen(path, "re");
    char *bytes = memory_new(1, 1 << 20);

    ck_assert_ptr_nonnull(f);
    *n = fread(bytes, 1, (1 << 20) - 1, f);
    fclose(f);
    return bytes;
}

struct manifest *load(const char *path)
{
    char *error = NULL;
    struct manifest *m = manifest_load(path, &error);

    ck_assert_msg(m != NULL, "%s", error);
    ck_assert_ptr_null(error);
    return m;
}

void save(struct manifest *m, const char *path)
{
    char *error = NULL;
    const int rc = manifest_save(m, path, &error);

    ck_assert_msg(rc == 0, "%s", error);
}

struct manifest *from_text(const char *text)
{
    write_bytes(file, text, strlen(text));
    return load(file);
}

char **list_of(size_t n, ...)
{
    char **list = memory_new(n, sizeof *list);
    va_list ap;

    va_start(ap, n);
    for (size_t i = 0; i < n; i++)
        list[i] = memory_text(va_arg(ap, const char *));
    va_end(ap);
    return list;
}

/* Every member is set, to something else than zero. */
struct manifest *full(void)
{
    struct manifest *m = manifest_new();
    struct manifest_entry *e;

    m->command = list_of(3, "python", "-c", "print('\xff')");
    m->command_count = 3;
    m->cwd = memory_text("/home/\xe9t\xe9");
    m->host = memory_text("login1");
    m->recorded = memory_text("2024-05-06T07:08:09Z");
    m->interpreter = memory_text("/sw/bin/python3.11");
    m->processes = 4000000000u;
    m->ranks = 4000000001u;
    m->hosts = list_of(2, "n1", "n\xff");
    m->host_count = 2;
    m->exit_status = 137;
    m->search = memory_new(1, sizeof *m->search);
    m->search[m->search_count++] =
        (struct manifest_variable){memory_text("PYTHONPATH"), memory_text("/a:/b\xff")};
    m->mounts = memory_new(1, sizeof *m->mounts);
    m->mounts[m->mount_count++] =
        (struct manifest_mount){memory_text("/sw"), memory_text("nfs4"), memory_text("srv:/sw"), memory_text("/")};
    m->policy.all = true;
    m->policy.include = list_of(1, "/sw");
    m->policy.include_count = 1;
    m->policy.exclude = list_of(2, "/sw/x y", "/sw/\xfe");
    m->policy.exclude_count = 2;
    m->policy.prefixes = list_of(1, "/sw");
    m->policy.prefix_count = 1;
    m->pilots = memory_new(1, sizeof *m->pilots);
    m->pilots[m->pilot_count++] = (struct manifest_pilot){
        memory_text("0123456789abcdef0123456789abcdef"), list_of(2, "python", "\xff"), 2, memory_text("n\xff"),
        memory_text("2024-05-06T07:08:09Z"), 5, 4, 3};

    e = manifest_add(m, "/sw/lib/libz.so.1", MANIFEST_SHARED_OBJECT);
    e->has_stat = e->has_digest = true;
    e->size = INT64_MAX;
    e->mtime_ns = INT64_MIN;
    e->mode = S_IFREG | 04755;
    for (int i = 0; i < 16; i++)
        e->digest[i] = (uint8_t)(0xf0 - 15 * i);
    e->soname = memory_text("libz.so.1");
    e->needed = list_of(2, "libc.so.6", "lib\xff.so");
    e->needed_count = 2;
    e->counts = (struct manifest_counts){1, 2, 3, 4, 5, INT64_MAX};
    e->order = 7;
    e->first_ns = 123456789;
    e->processes = 3;
    e->ranks = 2;
    e->pilots = 2;
    e = manifest_add(m, "/sw/lib", MANIFEST_DIRECTORY);
    e->is_volatile = true;
    e = manifest_add(m, "/sw/__pycache__/m.cpython-311.pyc", MANIFEST_BYTECODE);
    e->is_stale = true;
    e = manifest_add(m, "/sw/a", MANIFEST_SYMLINK);
    e->target = memory_text("lib/\xff");
    return m;
}

TCase *manifests_case(Suite *suite, const char *name)
{
    TCase *c = tcase_create(name);

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, make_dir, remove_dir);
    tcase_add_checked_fixture(c, setup, teardown);
    suite_add_tcase(suite, c);
    return c;
}
