/* Manifests: what is loaded is what was saved, whatever the paths; what is wrong is told with its line; differences,
 * totals, and a save that changes all or nothing. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "facts/memory.h"
#include "manifests/diff.h"
#include "manifests/manifest.h"
#include "manifests/package.h"
#include "manifests/scan.h"
#include "manifests/show.h"
#include "manifests/text.h"
#include "test/check/suites.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static char dir[64], file[80], other[80];

/* In the runner's own process: a test that fails ends without its teardown. */
static void make_dir(void)
{
    strcpy(dir, "/tmp/dlcache-manifest.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(file, sizeof file, "%s/m.json", dir);
    snprintf(other, sizeof other, "%s/n.json", dir);
}

/* How many files were in it. */
static int empty_dir(void)
{
    int n = 0;

    chmod(dir, 0700);
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    for (struct dirent *e; (e = readdir(d));)
        n += unlinkat(dirfd(d), e->d_name, 0) == 0;
    closedir(d);
    return n;
}

static void remove_dir(void)
{
    empty_dir();
    ck_assert_int_eq(rmdir(dir), 0);
}

static void setup(void)
{
    empty_dir();
}

static void teardown(void)
{
    chmod(dir, 0700);
    unlink(file);
    unlink(other);
    ck_assert_msg(empty_dir() == 0, "a test has left something else than its files");
}

static void write_bytes(const char *path, const char *bytes, size_t n)
{
    FILE *f = fopen(path, "we");

    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    ck_assert_int_eq(fclose(f), 0);
}

static char *read_bytes(const char *path, size_t *n)
{
    FILE *f = fopen(path, "re");
    char *bytes = memory_new(1, 1 << 20);

    ck_assert_ptr_nonnull(f);
    *n = fread(bytes, 1, (1 << 20) - 1, f);
    fclose(f);
    return bytes;
}

static struct manifest *load(const char *path)
{
    char *error = NULL;
    struct manifest *m = manifest_load(path, &error);

    ck_assert_msg(m != NULL, "%s", error);
    ck_assert_ptr_null(error);
    return m;
}

static void save(struct manifest *m, const char *path)
{
    char *error = NULL;
    const int rc = manifest_save(m, path, &error);

    ck_assert_msg(rc == 0, "%s", error);
}

static struct manifest *from_text(const char *text)
{
    write_bytes(file, text, strlen(text));
    return load(file);
}

static char **list_of(size_t n, ...)
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
static struct manifest *full(void)
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
    e = manifest_add(m, "/sw/lib", MANIFEST_DIRECTORY);
    e->is_volatile = true;
    e = manifest_add(m, "/sw/a", MANIFEST_SYMLINK);
    e->target = memory_text("lib/\xff");
    return m;
}

/* --- there and back --------------------------------------------------------------------------------------------- */

START_TEST(saved_loaded_and_saved_is_the_same_bytes)
{
    size_t n, k;
    struct manifest *m = full();

    save(m, file);
    manifest_free(m);
    m = load(file);
    save(m, other);
    char *a = read_bytes(file, &n), *b = read_bytes(other, &k);
    ck_assert_uint_eq(n, k);
    ck_assert_mem_eq(a, b, n);
    free(a);
    free(b);
    manifest_free(m);
}
END_TEST

START_TEST(every_member_is_kept)
{
    struct manifest *m = full();

    save(m, file);
    manifest_free(m);
    m = load(file);
    ck_assert_int_eq(m->version, 1);
    ck_assert_uint_eq(m->command_count, 3);
    ck_assert_str_eq(m->command[2], "print('\xff')");
    ck_assert_str_eq(m->cwd, "/home/\xe9t\xe9");
    ck_assert_str_eq(m->host, "login1");
    ck_assert_str_eq(m->recorded, "2024-05-06T07:08:09Z");
    ck_assert_str_eq(m->interpreter, "/sw/bin/python3.11");
    ck_assert_uint_eq(m->processes, 4000000000u);
    ck_assert_int_eq(m->exit_status, 137);
    ck_assert_uint_eq(m->search_count, 1);
    ck_assert_str_eq(m->search[0].name, "PYTHONPATH");
    ck_assert_str_eq(m->search[0].value, "/a:/b\xff");
    ck_assert_uint_eq(m->mount_count, 1);
    ck_assert_str_eq(m->mounts[0].source, "srv:/sw");
    ck_assert(m->policy.all);
    ck_assert_uint_eq(m->policy.exclude_count, 2);
    ck_assert_str_eq(m->policy.exclude[1], "/sw/\xfe");
    ck_assert_uint_eq(m->entry_count, 3);
    ck_assert_str_eq(m->entries[0].path, "/sw/a");
    ck_assert_str_eq(m->entries[0].target, "lib/\xff");
    ck_assert(m->entries[1].is_volatile && !m->entries[1].has_stat && !m->entries[1].has_digest);
    const struct manifest_entry *e = manifest_find(m, "/sw/lib/libz.so.1");
    ck_assert_ptr_eq(e, &m->entries[2]);
    ck_assert_uint_eq(e->size, INT64_MAX);
    ck_assert_int_eq(e->mtime_ns, INT64_MIN);
    ck_assert_uint_eq(e->mode, S_IFREG | 04755);
    ck_assert_uint_eq(e->digest[0], 0xf0);
    ck_assert_uint_eq(e->digest[15], 0x0f);
    ck_assert_uint_eq(e->needed_count, 2);
    ck_assert_str_eq(e->needed[1], "lib\xff.so");
    ck_assert_uint_eq(e->counts.exec, 5);
    ck_assert_uint_eq(e->counts.write, INT64_MAX);
    ck_assert_uint_eq(e->order, 7);
    ck_assert_uint_eq(e->first_ns, 123456789);
    ck_assert_uint_eq(e->processes, 3);
    ck_assert_ptr_null(manifest_find(m, "/sw/lib/libz.so"));
    manifest_free(m);
}
END_TEST

/* Path; and how it must stand in the file. */
static const struct {
    const char *path, *text;
} hostile[] = {
    {"/a\nb", "{\"path\":\"/a\\nb\","},
    {"/a\"b'", "{\"path\":\"/a\\\"b'\","},
    {"/a\\b", "{\"path\":\"/a\\\\b\","},
    {"/a\tb\r\x01\x7f", "{\"path\":\"/a\\tb\\r\\u0001\x7f\","},
    {"/a\\xff", "{\"path\":\"/a\\\\xff\","},
    {"/a\xff", "{\"path_escaped\":\"/a\\\\xff\","},
    {"/a\\xff\xff", "{\"path_escaped\":\"/a\\\\\\\\xff\\\\xff\","},
    {"/a\n\xff\"", "{\"path_escaped\":\"/a\\n\\\\xff\\\"\","},
    {"/\xc3\xa9", "{\"path\":\"/\xc3\xa9\","},
    {"/\xc0\xaf", "{\"path_escaped\":\"/\\\\xc0\\\\xaf\","},         /* overlong slash */
    {"/\xe0\x80\xaf", "{\"path_escaped\":\"/\\\\xe0\\\\x80\\\\xaf\","},
    {"/\xed\xa0\x80", "{\"path_escaped\":\"/\\\\xed\\\\xa0\\\\x80\","}, /* a surrogate */
    {"/\xf4\x90\x80\x80", "{\"path_escaped\":\"/\\\\xf4\\\\x90\\\\x80\\\\x80\","}, /* beyond Unicode */
    {"/\xf0\x9f\x98\x80", "{\"path\":\"/\xf0\x9f\x98\x80\","},
    {"/\xe2\x82", "{\"path_escaped\":\"/\\\\xe2\\\\x82\","},         /* cut short */
    {"/\xef\xbf\xbf", "{\"path\":\"/\xef\xbf\xbf\","},
};

START_TEST(hostile_paths_survive)
{
    struct manifest *m = manifest_new();
    struct manifest_entry *e = manifest_add(m, hostile[_i].path, MANIFEST_SYMLINK);
    size_t n, k;

    e->target = memory_text(hostile[_i].path + 1);
    save(m, file);
    manifest_free(m);
    char *a = read_bytes(file, &n);
    ck_assert_msg(strstr(a, hostile[_i].text) != NULL, "%s is not in %s", hostile[_i].text, a);
    m = load(file);
    ck_assert_uint_eq(m->entry_count, 1);
    ck_assert_str_eq(m->entries[0].path, hostile[_i].path);
    ck_assert_str_eq(m->entries[0].target, hostile[_i].path + 1);
    save(m, other);
    char *b = read_bytes(other, &k);
    ck_assert_str_eq(a, b);
    free(a);
    free(b);
    manifest_free(m);
}
END_TEST

START_TEST(every_byte_survives)
{
    struct manifest *m = manifest_new();
    char path[8], *why_not = NULL;

    for (int a = 1; a < 256; a++) {
        snprintf(path, sizeof path, "/%c%c", a, 256 - a);
        manifest_add(m, path, MANIFEST_DATA);
    }
    save(m, file);
    struct manifest *back = manifest_load(file, &why_not);
    ck_assert_msg(back != NULL, "%s", why_not);
    ck_assert_uint_eq(back->entry_count, 255);
    for (size_t i = 0; i < 255; i++)
        ck_assert_str_eq(back->entries[i].path, m->entries[i].path);
    manifest_free(m);
    manifest_free(back);
}
END_TEST

#define HEAD "{\"format\":\"dlcache-manifest\",\"version\":1,\"command\":[],\"policy\":{\"prefixes\":[\"/\"]},\n"
#define ONE(members) HEAD "\"entries\":[\n{\"path\":\"/a\",\"kind\":\"data\"},\n{" members "}\n]}\n"

START_TEST(kinds_by_their_names)
{
    char text[400];

    snprintf(text, sizeof text, HEAD "\"entries\":[{\"path\":\"/a\",\"kind\":\"%s\"}]}", manifest_kind_names[_i]);
    struct manifest *m = from_text(text);
    ck_assert_int_eq(m->entries[0].kind, _i);
    manifest_free(m);
}
END_TEST

START_TEST(any_json_will_do)
{
    /* Entries before the head, in one line, unsorted, the key written with an escape; members that are not known. */
    struct manifest *m = from_text("\n {\"entries\" : [ {\"kind\":\"data\",\"path\":\"/\\u0062\"} , "
                                   "{\"path\":\"/a\",\"kind\":\"absent\",\"new\":[{}]} ] ,\"x\":{\"entries\":[1]},"
                                   "\"format\":\"dlcache-manifest\",\"version\":1,\"command\":[],"
                                   "\"policy\":{\"prefixes\":[]}}");
    ck_assert_uint_eq(m->entry_count, 2);
    ck_assert_str_eq(m->entries[0].path, "/a");
    ck_assert_str_eq(m->entries[1].path, "/b");
    manifest_free(m);
    m = from_text(HEAD "\"entr\\u0069es\":[{\"path\":\"/a\",\"kind\":\"data\"}]}");
    ck_assert_uint_eq(m->entry_count, 1);
    manifest_free(m);
    m = from_text(HEAD "\"entries\":[]}");
    ck_assert_uint_eq(m->entry_count, 0);
    manifest_free(m);
}
END_TEST

/* --- what is wrong ---------------------------------------------------------------------------------------------- */

#define TEXT(s) (s), sizeof(s) - 1
#define FORMAT "\"format\":\"dlcache-manifest\",\n"
#define SHORT "\"version\":1,\"command\":[],\"policy\":{\"prefixes\":[]},\"entries\":[]"

static const struct {
    const char *text;
    size_t size;
    unsigned line;
    const char *error;
} bad[] = {
    {TEXT(""), 1, "the file is empty"},
    {TEXT("\n\n"), 0, "not JSON: '[' or '{' expected near end of file"},
    {TEXT("\x7f""ELF"), 1, "not JSON: "},
    {TEXT("[]"), 1, "this is not a manifest: not an object"},
    {TEXT("3"), 1, "not JSON: "},
    {TEXT("{}"), 1, "this is not a manifest: \"format\" is not \"dlcache-manifest\""},
    {TEXT("{\n\"format\":\"x\"}"), 2, "this is not a manifest: \"format\" is not \"dlcache-manifest\""},
    {TEXT("{\n\"format\":1}"), 2, "this is not a manifest: \"format\""},
    {TEXT("{" FORMAT SHORT ",\n\"format\":\"dlcache-manifest\"}"), 3, "not JSON: duplicate object key"},
    {TEXT("{" FORMAT SHORT ",\n\"entries\":[]}"), 3, "not JSON: duplicate object key"},
    {TEXT("{" FORMAT SHORT "} x"), 2, "not JSON: end of file expected near 'x'"},
    /* the head, member by member */
    {TEXT("{" FORMAT "\"command\":[]}"), 1, "\"version\" is missing"},
    {TEXT("{" FORMAT "\"version\":\"1\"}"), 2, "\"version\" is not a whole number"},
    {TEXT("{" FORMAT "\"version\":1.0}"), 2, "\"version\" is not a whole number"},
    {TEXT("{" FORMAT "\"version\":0}"), 2, "\"version\" is 0, which cannot be"},
    {TEXT("{" FORMAT "\"version\":2}"), 2, "the manifest has version 2; this dlcache reads up to version 1"},
    {TEXT("{" FORMAT "\"version\":99999999999999999999}"), 2, "not JSON: too big integer"},
    {TEXT("{" FORMAT "\"version\":1}"), 1, "\"command\" is missing"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":\"ls\"}"), 2, "\"command\" is not an array"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[\"a\",\n1]}"), 3, "element 2 of \"command\" is not a string"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[{}]}"), 2,
     "element 1 of \"command\" is neither a string nor {\"escaped\""},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[{\"escaped\":2}]}"), 2, "element 1 of \"command\" is not a string"},
    {TEXT("{" FORMAT "\"cwd\":1,\n" SHORT "}"), 2, "\"cwd\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\n\"cwd_escaped\":\"\\\\y\"}"), 3,
     "\"cwd_escaped\" holds an escape that is neither \\xHH nor \\\\"},
    {TEXT("{" FORMAT SHORT ",\"host\":[]}"), 2, "\"host\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\"recorded\":0}"), 2, "\"recorded\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\"interpreter\":false}"), 2, "\"interpreter\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\"processes\":4294967296}"), 2, "\"processes\" is 4294967296, which cannot be"},
    {TEXT("{" FORMAT SHORT ",\"exit_status\":256}"), 2, "\"exit_status\" is 256, which cannot be"},
    {TEXT("{" FORMAT SHORT ",\"exit_status\":null}"), 2, "\"exit_status\" is not a whole number"},
    {TEXT("{" FORMAT SHORT ",\"search\":{}}"), 2, "\"search\" is not an array"},
    {TEXT("{" FORMAT SHORT ",\"search\":[\n1]}"), 3, "element 1 of \"search\" is not an object"},
    {TEXT("{" FORMAT SHORT ",\"search\":[{\"value\":\"\"}]}"), 2, "\"name\" is missing"},
    {TEXT("{" FORMAT SHORT ",\"search\":[{\"name\":\"A\",\n\"value\":2}]}"), 3, "\"value\" is not a string"},
    {TEXT("{" FORMAT SHORT ",\"mounts\":1}"), 2, "\"mounts\" is not an array"},
    {TEXT("{" FORMAT SHORT ",\"mounts\":[[]]}"), 2, "element 1 of \"mounts\" is not an object"},
    {TEXT("{" FORMAT SHORT ",\"mounts\":[{\"point\":\"/\",\"type\":\"a\",\"source\":\"b\"}]}"), 2,
     "\"root\" is missing"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[]}"), 1, "\"policy\" is missing"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":[]}"), 2, "\"policy\" is not an object"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\n\"policy\":{}}"), 3, "\"prefixes\" is missing"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":{\n\"all\":1}}"), 3,
     "\"all\" is neither true nor false"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":{\"include\":1}}"), 2, "\"include\" is not an array"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":{\"exclude\":[1]}}"), 2,
     "element 1 of \"exclude\" is not a string"},
    {TEXT("{" FORMAT "\"version\":1,\"command\":[],\"policy\":{\"prefixes\":[\"/\",\n\"sw\"]}}"), 3,
     "the prefix \"sw\" is not absolute"},
    {TEXT(HEAD "\"x\":1}"), 1, "\"entries\" is missing"},
    {TEXT(HEAD "\"entries\":{}}"), 2, "\"entries\" is not an array"},
    /* the entries: the second one is on line 4 */
    {TEXT(HEAD "\"entries\":[\n[]]}"), 3, "an entry is not an object"},
    {TEXT(HEAD "\"entries\":[\n7]}"), 3, "an entry is not an object"},
    {TEXT(ONE("")), 4, "\"path\" is missing"},
    {TEXT(ONE("\"kind\":\"data\"")), 4, "\"path\" is missing"},
    {TEXT(ONE("\"path\":3,\"kind\":\"data\"")), 4, "\"path\" is not a string"},
    {TEXT(ONE("\"path\":\"b\",\"kind\":\"data\"")), 4, "the path \"b\" is not absolute"},
    {TEXT(ONE("\"path\":\"\",\"kind\":\"data\"")), 4, "the path \"\" is not absolute"},
    {TEXT(ONE("\"path\":\"x\\u001b\\n\",\"kind\":\"data\"")), 4, "the path \"x\\x1b\\x0a\" is not absolute"},
    {TEXT(ONE("\"path\":\"/b\\u0000c\",\"kind\":\"data\"")), 4, "\"path\" holds a NUL"},
    {TEXT(ONE("\"path_escaped\":\"/b\\\\x00c\",\"kind\":\"data\"")), 4, "\"path_escaped\" holds a NUL"},
    {TEXT(ONE("\"path_escaped\":\"/b\\\\xf\",\"kind\":\"data\"")), 4,
     "\"path_escaped\" holds an escape that is neither"},
    {TEXT(ONE("\"path_escaped\":\"/b\\\\xgg\",\"kind\":\"data\"")), 4,
     "\"path_escaped\" holds an escape that is neither"},
    {TEXT(ONE("\"path_escaped\":\"/b\\\\\",\"kind\":\"data\"")), 4,
     "\"path_escaped\" holds an escape that is neither"},
    {TEXT(ONE("\"path\":\"/b\",\"path_escaped\":\"/c\",\"kind\":\"data\"")), 4,
     "\"path_escaped\" is there twice, plain and escaped"},
    {TEXT(ONE("\"path\":\"/b\"")), 4, "\"kind\" is missing"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":0")), 4, "\"kind\" is not a string"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"Data\"")), 4, "\"kind\" is none that is known"},
    {TEXT(ONE("\"path\":\"/a\",\"kind\":\"data\"")), 4, "two entries have the same path"},
    {TEXT(ONE("\"path_escaped\":\"/\\\\x61\",\"kind\":\"data\"")), 4, "two entries have the same path"},
    {TEXT(ONE("\"path\":\"/b\",\n\"path\":\"/b\",\"kind\":\"data\"")), 5, "not JSON: duplicate object key"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"volatile\":1")), 4, "\"volatile\" is neither true nor false"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"volatile\":true")), 4, "only a directory can be volatile"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1")), 4, "\"mtime_ns\" is missing"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"mode\":1,\"mtime_ns\":1")), 4, "\"size\" is missing"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1,\"mtime_ns\":1")), 4, "\"mode\" is missing"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":-1,\"mtime_ns\":1,\"mode\":1")), 4,
     "\"size\" is -1, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":9223372036854775808,\"mtime_ns\":1,\"mode\":1")), 4,
     "not JSON: too big integer"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1e300,\"mtime_ns\":1,\"mode\":1")), 4,
     "\"size\" is not a whole number"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1,\"mtime_ns\":\"1\",\"mode\":1")), 4,
     "\"mtime_ns\" is not a whole number"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"size\":1,\"mtime_ns\":1,\n\"mode\":65536")), 5,
     "\"mode\" is 65536, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"absent\",\"size\":1")), 4,
     "something absent has no size, mtime_ns or mode"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"xxh3_128\":\"abc\"")), 4, "\"xxh3_128\" is not 32 lower-case"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"xxh3_128\":\"0123456789ABCDEF0123456789ABCDEF\"")), 4,
     "\"xxh3_128\" is not 32"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"xxh3_128\":1")), 4, "\"xxh3_128\" is not 32 lower-case"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"symlink\",\"target\":1")), 4, "\"target\" is not a string"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"soname\":[]")), 4, "\"soname\" is not a string"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"needed\":\"x\"")), 4, "\"needed\" is not an array"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"needed\":[\"a\",\n\"b\",\nnull]")), 6,
     "element 3 of \"needed\" is not a string"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"counts\":[]")), 4, "\"counts\" is not an object"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"counts\":{\n\"list\":-2}")), 5, "\"list\" is -2, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"counts\":{\"write\":true}")), 4,
     "\"write\" is not a whole number"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"order\":\"1\"")), 4, "\"order\" is not a whole number"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"first_ns\":-1")), 4, "\"first_ns\" is -1, which cannot be"},
    {TEXT(ONE("\"path\":\"/b\",\"kind\":\"data\",\"processes\":-1")), 4, "\"processes\" is -1, which cannot be"},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/a\",\"kind\":\"data\"}\n{\"path\":\"/b\",\"kind\":\"data\"}]}"), 4,
     "not JSON: ',' or ']' expected"},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/a\",\"kind\":\"data\"},\n]}"), 4, "not JSON: "},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/\xff\",\"kind\":\"data\"}\n]}"), 3, "not JSON: "},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/\\ud800\",\"kind\":\"data\"}\n]}"), 3, "not JSON: "},
    {TEXT(HEAD "\"entries\":[\n{\"path\":\"/a\nb\",\"kind\":\"data\"}\n]}"), 3, "not JSON: "},
    {TEXT(HEAD "\"entries\":[}]}"), 2, "not JSON: "},
};

START_TEST(bad_input_is_refused_with_its_line)
{
    char expected[400], *error = NULL;

    write_bytes(file, bad[_i].text, bad[_i].size);
    struct manifest *m = manifest_load(file, &error);
    ck_assert_msg(m == NULL, "accepted: %s", bad[_i].text);
    snprintf(expected, sizeof expected, "%s:%u: %s", file, bad[_i].line, bad[_i].error);
    if (bad[_i].line == 0) /* at the end, whatever line that is taken for */
        ck_assert_msg(strstr(error, bad[_i].error) != NULL, "%s", error);
    else
        ck_assert_msg(strncmp(error, expected, strlen(expected)) == 0, "\"%s\" instead of \"%s\"", error, expected);
    free(error);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
    struct manifest *m = full();
    char start[100];
    size_t n;

    save(m, file);
    manifest_free(m);
    char *text = read_bytes(file, &n);
    snprintf(start, sizeof start, "%s:", file);
    for (size_t k = 0; k + 1 < n; k++) { /* without the last newline it is whole */
        char *error = NULL;
        write_bytes(file, text, k);
        m = manifest_load(file, &error);
        ck_assert_msg(m == NULL, "the first %zu of %zu bytes are accepted", k, n);
        ck_assert_msg(strncmp(error, start, strlen(start)) == 0, "%s", error);
        ck_assert_int_gt(atoi(error + strlen(start)), 0);
        free(error);
    }
    free(text);
}
END_TEST

START_TEST(no_changed_byte_does_harm)
{
    struct manifest *m = full();
    size_t n;

    save(m, file);
    manifest_free(m);
    char *text = read_bytes(file, &n);
    for (size_t k = 0; k < n; k++) {
        static const char instead[] = "\"[{}],:\\ \xff";
        const char was = text[k];
        for (size_t i = 0; i < sizeof instead; i++) {
            char *error = NULL;
            text[k] = instead[i];
            write_bytes(file, text, n);
            m = manifest_load(file, &error);
            ck_assert((m == NULL) == (error != NULL));
            manifest_free(m);
            free(error);
        }
        text[k] = was;
    }
    free(text);
}
END_TEST

START_TEST(a_file_that_cannot_be_read)
{
    char expected[400], *error = NULL;

    ck_assert_ptr_null(manifest_load(file, &error));
    snprintf(expected, sizeof expected, "%s: No such file or directory", file);
    ck_assert_str_eq(error, expected);
    free(error);
    error = NULL;
    ck_assert_ptr_null(manifest_load(dir, &error));
    snprintf(expected, sizeof expected, "%s: Is a directory", dir);
    ck_assert_str_eq(error, expected);
    free(error);
}
END_TEST

START_TEST(a_scan_never_leaves_the_text)
{
    static const char *const texts[] = {"", "{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":[", "{\"a\":[1",
                                        "{\"a\":[1,", "{\"a\\", "{\"a\":\"\\", "[", "[[", "{}",
                                        "{\"b\":1,\"a\":[0,1]}"};
    const struct scan_step steps[] = {{"a", 0}, {NULL, 1}};
    const char *deepest;

    for (size_t i = 0; i < COUNT(texts); i++) {
        const size_t n = strlen(texts[i]);
        char *exact = memory_check(malloc(n + 1)); /* a sanitizer sees the step beyond */
        memcpy(exact, texts[i], n);
        exact = memory_check(realloc(exact, n ? n : 1));
        const char *p = scan_find(exact, exact + n, steps, 2, &deepest);
        ck_assert(deepest >= exact && deepest <= exact + n);
        if (i + 1 == COUNT(texts))
            ck_assert_int_eq(p - exact, (int)n - 3);
        else
            ck_assert_ptr_null(p);
        free(exact);
    }
}
END_TEST

/* --- differences ------------------------------------------------------------------------------------------------ */

#define DIGEST_1 ",\"xxh3_128\":\"00000000000000000000000000000001\""
#define DIGEST_2 ",\"xxh3_128\":\"00000000000000000000000000000002\""
#define STAT(size, mtime, mode) ",\"size\":" #size ",\"mtime_ns\":" #mtime ",\"mode\":" #mode
#define NOTHING (-1)

static const struct {
    const char *a, *b; /* what stands behind the path; NULL: no such entry */
    int cause;
    const char *text;  /* in the print, behind the path */
} causes[] = {
    {"\"data\"", "\"data\"", NOTHING, NULL},
    {"\"data\"" STAT(1, 1, 33188) DIGEST_1, "\"data\"" STAT(1, 1, 33188) DIGEST_1, NOTHING, NULL},
    {"\"data\"" STAT(1, 1, 33188) DIGEST_1, "\"data\"" STAT(1, 1, 33188) DIGEST_2, DIFF_CONTENT, ""},
    {"\"data\"" STAT(1, 1, 33188), "\"data\"" STAT(2, 1, 33188), DIFF_CONTENT, " (1, 2 bytes)"},
    {"\"data\"" STAT(1, 1, 33188), "\"data\"" STAT(1, 2, 33188) DIGEST_1, DIFF_CONTENT, ""},
    {"\"data\"" DIGEST_1, "\"data\"" STAT(2, 1, 33188) DIGEST_2, DIFF_CONTENT, ""},
    {"\"data\"" STAT(1, 1, 33188) DIGEST_1, "\"data\"" STAT(1, 2, 33188) DIGEST_1, DIFF_TIME, ""},
    {"\"data\"" STAT(1, 1, 33188) DIGEST_1, "\"data\"" STAT(1, 1, 33261) DIGEST_1, DIFF_MODE, " (0644, 0755)"},
    {"\"directory\"" STAT(1, 1, 16877), "\"directory\"" STAT(1, 1, 16832), DIFF_MODE, " (0755, 0700)"},
    {"\"directory\"" STAT(1, 1, 16877), "\"directory\"" STAT(9, 9, 16877), NOTHING, NULL},
    {"\"directory\",\"volatile\":true", "\"directory\"", DIFF_VOLATILE, " (A)"},
    {"\"directory\"", "\"directory\",\"volatile\":true", DIFF_VOLATILE, " (B)"},
    {"\"data\"", "\"directory\"", DIFF_KIND, " (data; directory)"},
    {"\"directory\"", "\"symlink\",\"target\":\"\\u001b[2J\"", DIFF_KIND, " (directory; symlink to \\x1b[2J)"},
    {"\"symlink\",\"target\":\"x\"", "\"symlink\",\"target\":\"y\"", DIFF_KIND, " (symlink to x; symlink to y)"},
    {"\"symlink\",\"target\":\"x\"" STAT(1, 1, 41471), "\"symlink\",\"target\":\"x\"" STAT(1, 2, 40960),
     NOTHING, NULL},
    {"\"data\"", "\"executable\"", NOTHING, NULL}, /* one looked at it, the other ran it */
    {"\"data\"", "\"absent\"", DIFF_FOUND_A, ""},
    {"\"absent\"", "\"symlink\",\"target\":\"x\"", DIFF_FOUND_B, ""},
    {"\"absent\"", "\"absent\"", NOTHING, NULL},
    {"\"data\"", NULL, DIFF_ONLY_A, ""},
    {NULL, "\"data\"", DIFF_ONLY_B, ""},
    {NULL, "\"absent\"", DIFF_ONLY_B, " (looked for in vain)"},
    {"\"data\",\"counts\":{\"stat\":1},\"order\":1,\"first_ns\":5,\"processes\":1",
     "\"data\",\"counts\":{\"open\":7},\"order\":2,\"first_ns\":6,\"processes\":9", NOTHING, NULL},
};

static struct manifest *with_entry(const char *rest)
{
    char text[800];

    if (rest)
        snprintf(text, sizeof text, HEAD "\"entries\":[{\"path\":\"/sw/f\",\"kind\":%s}]}", rest);
    return from_text(rest ? text : HEAD "\"entries\":[]}");
}

static char *printed(const struct diff *d, bool colours)
{
    char *text;
    size_t n;
    FILE *f = memory_check(open_memstream(&text, &n));

    diff_print(d, f, colours);
    fclose(f);
    return text;
}

START_TEST(differences_by_cause)
{
    struct manifest *a = with_entry(causes[_i].a), *b = with_entry(causes[_i].b);
    char expected[400];
    struct diff d;

    diff_manifests(a, b, &d);
    ck_assert_uint_eq(d.head_count, 0);
    ck_assert_uint_eq(d.line_count, causes[_i].cause != NOTHING);
    char *text = printed(&d, false);
    if (d.line_count) {
        const char *name = diff_cause_names[causes[_i].cause];
        ck_assert_int_eq((int)d.lines[0].cause, causes[_i].cause);
        snprintf(expected, sizeof expected, "%s: 1\n  /sw\n    /sw/f%s\n", diff_cause_texts[causes[_i].cause],
                 causes[_i].text);
        ck_assert_str_eq(text, expected);
        json_t *json = diff_json(&d);
        ck_assert(json_is_false(json_object_get(json, "same")));
        json_t *line = json_array_get(json_object_get(json, "entries"), 0);
        ck_assert_str_eq(json_string_value(json_object_get(line, "cause")), name);
        ck_assert_str_eq(json_string_value(json_object_get(line, "path")), "/sw/f");
        ck_assert_str_eq(json_string_value(json_object_get(line, "package")), "/sw");
        json_decref(json);
    } else {
        ck_assert_str_eq(text, "");
    }
    free(text);
    diff_free(&d);
    manifest_free(a);
    manifest_free(b);
}
END_TEST

#define MEMBERS(policy, more) \
    "{\"format\":\"dlcache-manifest\",\"version\":1,\"command\":[],\"policy\":{" policy "}" more ",\"entries\":[]}"

#define PLAIN(more) MEMBERS("\"prefixes\":[]", more)

static const struct {
    const char *a, *b;
    const char *name, *text_a, *text_b; /* NULL name: the same */
} heads[] = {
    {PLAIN(",\"cwd\":\"/a\",\"host\":\"a\",\"recorded\":\"1\",\"processes\":1,\"exit_status\":0"),
     PLAIN(",\"cwd\":\"/b\",\"host\":\"b\",\"recorded\":\"2\",\"processes\":2,\"exit_status\":1"),
     NULL, NULL, NULL},
    {PLAIN(",\"interpreter\":\"/a\""), PLAIN(",\"interpreter\":\"/b\""),
     "interpreter", "/a", "/b"},
    {PLAIN(""), PLAIN(",\"interpreter\":\"/b\""), "interpreter", NULL, "/b"},
    {PLAIN(",\"search\":[{\"name\":\"PATH\",\"value\":\"/a\"}]"),
     PLAIN(",\"search\":[{\"name\":\"PATH\",\"value\":\"\"}]"), "PATH", "/a", ""},
    {PLAIN(",\"search\":[{\"name\":\"PATH\",\"value\":\"/a\"}]"), PLAIN(""),
     "PATH", "/a", NULL},
    {PLAIN(""), PLAIN(",\"search\":[{\"name\":\"PATH\",\"value\":\"/a\"}]"),
     "PATH", NULL, "/a"},
    {MEMBERS("\"prefixes\":[],\"all\":true", ""), PLAIN(""), "policy: all", "true", "false"},
    {MEMBERS("\"prefixes\":[],\"include\":[\"/a /b\"]", ""),
     MEMBERS("\"prefixes\":[],\"include\":[\"/a\",\"/b\"]", ""),
     "policy: include", "'/a /b'", "'/a' '/b'"},
    {MEMBERS("\"prefixes\":[],\"exclude\":[\"/it's\"]", ""), PLAIN(""), "policy: exclude",
     "'/it'\\''s'", NULL},
    {MEMBERS("\"prefixes\":[\"/a\"]", ""), MEMBERS("\"prefixes\":[\"/b\"]", ""), "policy: prefixes", "'/a'", "'/b'"},
};

START_TEST(differences_of_the_head)
{
    struct manifest *a = from_text(heads[_i].a), *b = from_text(heads[_i].b);
    char expected[400];
    struct diff d;

    diff_manifests(a, b, &d);
    ck_assert_uint_eq(d.line_count, 0);
    ck_assert_uint_eq(d.head_count, heads[_i].name != NULL);
    if (heads[_i].name) {
        ck_assert_str_eq(d.heads[0].name, heads[_i].name);
        ck_assert_pstr_eq(d.heads[0].a, heads[_i].text_a);
        ck_assert_pstr_eq(d.heads[0].b, heads[_i].text_b);
        char *text = printed(&d, false);
        const char *a_text = heads[_i].text_a, *b_text = heads[_i].text_b;
        snprintf(expected, sizeof expected, "%s\n  A: %s\n  B: %s\n", heads[_i].name,
                 a_text ? a_text : "(not set)", b_text ? b_text : "(not set)");
        ck_assert_str_eq(text, expected);
        free(text);
        text = printed(&d, true);
        ck_assert_ptr_nonnull(strstr(text, "\033[31mA: "));
        ck_assert_ptr_nonnull(strstr(text, "\033[32mB: "));
        free(text);
    }
    diff_free(&d);
    manifest_free(a);
    manifest_free(b);
}
END_TEST

/* --- totals ----------------------------------------------------------------------------------------------------- */

static const struct {
    const char *path, *package;
} packages[] = {
    {"/sw/lib/python3.11/site-packages/numpy/core/a.py", "numpy"},
    {"/sw/lib/python3.11/site-packages/six.py", "six"},
    {"/usr/lib/python3/dist-packages/scipy/x.so", "scipy"},
    {"/usr/lib/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so", "_json"},
    {"/usr/lib/python3.11/json/decoder.py", "json"},
    {"/usr/lib/python3.11/os.py", "os"},
    {"/usr/lib/python3.11/__pycache__/os.cpython-311.pyc", "os"},
    {"/usr/lib/python3.11/__pycache__", "__pycache__"},
    {"/usr/lib/python3.11/__pycache__/", "__pycache__"},
    {"/usr/lib/python3.11/json/__pycache__/decoder.cpython-311.pyc", "json"},
    {"/usr/lib/python3.11/LICENSE.txt", "LICENSE.txt"},
    {"/usr/lib/python3.11/.py", ".py"},
    {"/sw/site-packages/a.so.1", "a.so.1"},
    {"/sw/site-packages/numpy-1.24.2.dist-info/x.py", "numpy-1.24.2.dist-info"},
    {"/usr/lib/python3.11", "/usr/lib"},
    {"/usr/lib/python3.11/", "/usr/lib/python3.11"},
    {"/usr/lib/python3.11/site-packages", "site-packages"},
    {"/usr/lib/python3.x/a/b", "/usr/lib/python3.x/a"},
    {"/opt/my-site-packages/a/b", "/opt/my-site-packages/a"},
    {"/opt/site-packages.old/a", "/opt/site-packages.old"},
    {"/usr/lib/libc.so.6", "/usr/lib"},
    {"/f", "/"},
    {"/", "/"},
};

START_TEST(packages_of_paths)
{
    size_t n;
    const char *p = manifest_package(packages[_i].path, &n);
    char *name = memory_bytes(p, n);

    ck_assert(p >= packages[_i].path && p + n <= packages[_i].path + strlen(packages[_i].path));
    ck_assert_str_eq(name, packages[_i].package);
    free(name);
}
END_TEST

static json_int_t at(const json_t *root, const char *a, const char *b)
{
    return json_integer_value(json_object_get(json_object_get(root, a), b));
}

START_TEST(totals_for_programs)
{
    struct manifest *m = from_text(
        HEAD "\"processes\":3,\"entries\":["
        "{\"path\":\"/sw/site-packages/p/a.py\",\"kind\":\"module\",\"size\":10,\"mtime_ns\":1,\"mode\":33188,"
        "\"counts\":{\"stat\":2,\"open\":1}},"
        "{\"path\":\"/sw/site-packages/p/b.so\",\"kind\":\"shared-object\",\"size\":1000,\"mtime_ns\":1,"
        "\"mode\":33188,"
        "\"counts\":{\"load\":4}},"
        "{\"path\":\"/sw/site-packages/q\",\"kind\":\"directory\",\"size\":4096,\"mtime_ns\":1,\"mode\":16877,"
        "\"counts\":{\"list\":1}},"
        "{\"path_escaped\":\"/sw/\\\\xff/gone\",\"kind\":\"absent\","
        "\"counts\":{\"stat\":5,\"exec\":6,\"write\":7}}]}");
    json_t *root = manifest_show_json(m);

    ck_assert_int_eq(json_integer_value(json_object_get(root, "entries")), 4);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "bytes")), 1010);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "processes")), 3);
    ck_assert_int_eq(at(json_object_get(root, "kinds"), "module", "entries"), 1);
    ck_assert_int_eq(at(json_object_get(root, "kinds"), "shared-object", "bytes"), 1000);
    ck_assert_int_eq(at(json_object_get(root, "kinds"), "directory", "bytes"), 0);
    ck_assert_int_eq(at(json_object_get(root, "kinds"), "absent", "entries"), 1);
    ck_assert_int_eq(at(root, "calls", "stat"), 7);
    ck_assert_int_eq(at(root, "calls", "open"), 1);
    ck_assert_int_eq(at(root, "calls", "list"), 1);
    ck_assert_int_eq(at(root, "calls", "load"), 4);
    ck_assert_int_eq(at(root, "calls", "exec"), 6);
    ck_assert_int_eq(at(root, "calls", "write"), 7);
    const json_t *package = json_array_get(json_object_get(root, "packages"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(package, "name")), "p");
    ck_assert_int_eq(json_integer_value(json_object_get(package, "entries")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(package, "bytes")), 1010);
    ck_assert_int_eq(json_integer_value(json_object_get(package, "calls")), 7);
    const json_t *missed = json_array_get(json_object_get(root, "missed"), 0);
    ck_assert_str_eq(json_string_value(json_object_get(missed, "name_escaped")), "/sw/\\xff");
    ck_assert_int_eq(json_integer_value(json_object_get(missed, "calls")), 18);
    const json_t *biggest = json_object_get(root, "biggest");
    ck_assert_uint_eq(json_array_size(biggest), 2);
    const json_t *first = json_array_get(biggest, 0);
    ck_assert_str_eq(json_string_value(json_object_get(first, "path")), "/sw/site-packages/p/b.so");
    json_decref(root);
    manifest_free(m);
}
END_TEST

START_TEST(absurd_sums_do_not_wrap)
{
    struct manifest *m = manifest_new();

    for (int i = 0; i < 3; i++) {
        char path[8];
        snprintf(path, sizeof path, "/%d", i);
        struct manifest_entry *e = manifest_add(m, path, MANIFEST_DATA);
        e->has_stat = true;
        e->size = INT64_MAX;
        e->counts.stat = e->counts.open = INT64_MAX;
    }
    json_t *root = manifest_show_json(m);
    ck_assert_uint_eq(manifest_bytes(m), INT64_MAX);
    ck_assert_int_eq(json_integer_value(json_object_get(root, "bytes")), INT64_MAX);
    ck_assert_int_eq(at(root, "calls", "stat"), INT64_MAX);
    const json_t *package = json_array_get(json_object_get(root, "packages"), 0);
    ck_assert_int_eq(json_integer_value(json_object_get(package, "bytes")), INT64_MAX);
    ck_assert_int_eq(json_integer_value(json_object_get(package, "calls")), INT64_MAX);
    json_decref(root);
    manifest_free(m);
}
END_TEST

static const struct {
    const char *bytes;
    size_t width;
    enum text_cut cut;
    const char *put;
    size_t used;
} puts_of[] = {
    {"abc", 3, TEXT_CUT_BEGIN, "abc", 3},
    {"abcd", 3, TEXT_CUT_BEGIN, "…cd", 3},
    {"abcd", 3, TEXT_CUT_END, "ab…", 3},
    {"", 3, TEXT_CUT_END, "", 0},
    {"a\xff""b", 6, TEXT_CUT_BEGIN, "a\\xffb", 6},
    {"\033[1m\n", 80, TEXT_CUT_BEGIN, "\\x1b[1m\\x0a", 11},
    {"\xc2\x9b", 80, TEXT_CUT_BEGIN, "\\xc2\\x9b", 8}, /* a control character too: CSI */
    {"ééééé", 4, TEXT_CUT_BEGIN, "…ééé", 4},
    {"漢字漢字", 8, TEXT_CUT_BEGIN, "漢字漢字", 8},
    {"漢字漢字", 6, TEXT_CUT_BEGIN, "…漢字", 5},
    {"漢字漢字", 6, TEXT_CUT_END, "漢字…", 5},
};

START_TEST(texts_fit_their_columns)
{
    char *text;
    size_t n;
    FILE *f = memory_check(open_memstream(&text, &n));

    ck_assert_uint_eq(text_put(f, puts_of[_i].bytes, puts_of[_i].width, puts_of[_i].cut), puts_of[_i].used);
    fclose(f);
    ck_assert_str_eq(text, puts_of[_i].put);
    free(text);
}
END_TEST

/* --- all or nothing --------------------------------------------------------------------------------------------- */

START_TEST(a_save_that_fails_leaves_the_old_file)
{
    struct manifest *m = full();
    char expected[400], *error = NULL;
    size_t n;

    for (int i = 0; i < 1000; i++) {
        char path[40];
        snprintf(path, sizeof path, "/sw/many/%d", i);
        manifest_add(m, path, MANIFEST_ABSENT);
    }
    write_bytes(file, "old", 3);
    /* Check runs each test in a process of its own. */
    signal(SIGXFSZ, SIG_IGN);
    const rlim_t sizes[] = {0, 1000, 4096, 40000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct rlimit was, limit;
        ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &was), 0);
        limit = (struct rlimit){sizes[i], was.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        const int rc = manifest_save(m, file, &error);
        setrlimit(RLIMIT_FSIZE, &was);
        ck_assert_int_eq(rc, -1);
        snprintf(expected, sizeof expected, "%s: File too large", file);
        ck_assert_str_eq(error, expected);
        free(error);
        error = NULL;
        char *text = read_bytes(file, &n);
        ck_assert_str_eq(text, "old");
        free(text);
    }
    /* teardown's rmdir finds out whether a temporary file is left */
    manifest_free(m);
}
END_TEST

START_TEST(a_full_device)
{
    struct manifest *m = full();
    char *error = NULL;

    ck_assert_int_eq(manifest_save(m, "/dev/full", &error), -1);
    ck_assert_str_eq(error, "/dev/full: No space left on device");
    free(error);
    manifest_free(m);
}
END_TEST

START_TEST(where_nothing_can_be_written)
{
    struct manifest *m = full();
    char path[120], expected[400];
    const char *const names[][2] = {{"no/m.json", "No such file or directory"}, {".", "Is a directory"}};

    for (size_t i = 0; i < COUNT(names); i++) {
        char *error = NULL;
        snprintf(path, sizeof path, "%s/%s", dir, names[i][0]);
        snprintf(expected, sizeof expected, "%s: %s", path, names[i][1]);
        ck_assert_int_eq(manifest_may_save(path, &error), -1);
        ck_assert_str_eq(error, expected);
        free(error);
        error = NULL;
        ck_assert_int_eq(manifest_save(m, path, &error), -1);
        ck_assert_str_eq(error, expected);
        free(error);
    }
    /* An unwritable directory; root may write everywhere. */
    char *error = NULL;
    chmod(dir, 0500);
    if (geteuid() == 0)
        ck_assert_int_eq(seteuid(65534), 0);
    snprintf(expected, sizeof expected, "%s: Permission denied", file);
    const int may = manifest_may_save(file, &error);
    char *error_2 = NULL;
    const int rc = manifest_save(m, file, &error_2);
    if (getuid() == 0)
        ck_assert_int_eq(seteuid(0), 0);
    ck_assert_int_eq(may, -1);
    ck_assert_str_eq(error, expected);
    ck_assert_int_eq(rc, -1);
    ck_assert_str_eq(error_2, expected);
    free(error);
    free(error_2);
    manifest_free(m);
}
END_TEST

START_TEST(modes_and_symlinks_are_kept)
{
    struct manifest *m = full();
    struct stat st;
    char *error = NULL;

    umask(027);
    ck_assert_int_eq(manifest_may_save(file, &error), 0);
    ck_assert_int_eq(access(file, F_OK), -1);
    save(m, file);
    ck_assert_int_eq(stat(file, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    ck_assert_int_eq(chmod(file, 0600), 0);
    ck_assert_int_eq(symlink(file, other), 0);
    manifest_add(m, "/new", MANIFEST_ABSENT);
    save(m, other);
    ck_assert_int_eq(lstat(other, &st), 0);
    ck_assert(S_ISLNK(st.st_mode));
    ck_assert_int_eq(lstat(file, &st), 0);
    ck_assert_uint_eq(st.st_mode, S_IFREG | 0600);
    struct manifest *back = load(file);
    ck_assert_uint_eq(back->entry_count, 4);
    manifest_free(back);
    manifest_free(m);
}
END_TEST

Suite *suite_manifest(void)
{
    Suite *suite = suite_create("manifest");
    TCase *c = tcase_create("manifest");

    tcase_set_timeout(c, 120);
    tcase_add_unchecked_fixture(c, make_dir, remove_dir);
    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, saved_loaded_and_saved_is_the_same_bytes);
    tcase_add_test(c, every_member_is_kept);
    tcase_add_loop_test(c, hostile_paths_survive, 0, COUNT(hostile));
    tcase_add_test(c, every_byte_survives);
    tcase_add_loop_test(c, kinds_by_their_names, 0, MANIFEST_KINDS);
    tcase_add_test(c, any_json_will_do);
    tcase_add_loop_test(c, bad_input_is_refused_with_its_line, 0, COUNT(bad));
    tcase_add_test(c, every_truncation_is_refused);
    tcase_add_test(c, no_changed_byte_does_harm);
    tcase_add_test(c, a_file_that_cannot_be_read);
    tcase_add_test(c, a_scan_never_leaves_the_text);
    tcase_add_loop_test(c, differences_by_cause, 0, COUNT(causes));
    tcase_add_loop_test(c, differences_of_the_head, 0, COUNT(heads));
    tcase_add_loop_test(c, packages_of_paths, 0, COUNT(packages));
    tcase_add_test(c, totals_for_programs);
    tcase_add_test(c, absurd_sums_do_not_wrap);
    tcase_add_loop_test(c, texts_fit_their_columns, 0, COUNT(puts_of));
    tcase_add_test(c, a_save_that_fails_leaves_the_old_file);
    tcase_add_test(c, a_full_device);
    tcase_add_test(c, where_nothing_can_be_written);
    tcase_add_test(c, modes_and_symlinks_are_kept);
    suite_add_tcase(suite, c);
    return suite;
}
