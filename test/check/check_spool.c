/* The collector, fed with spool files that this test writes itself: sound ones, and every kind of damage. */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "libdlcache/hash.h"
#include "recorder/collect.h"
#include "recorder/note.h"
#include "recorder/places.h"
#include "recorder/spool_read.h"

Suite *suite_spool(void);

#define FIRST SPOOL_FIRST
#define SECOND 1000000000ull

static char dir[64]; /* of the test: spool files in it, and a tree below it */
static uint64_t started_ns; /* when the pilot is said to have started: in an hour, so that the whole tree is older */

/* A spool file in memory. */
struct writer {
    char *bytes;
    size_t used, capacity;
    uint64_t clock;
};

static struct spool_header *header(struct writer *w)
{
    return (struct spool_header *)w->bytes;
}

static uint32_t *heads(struct writer *w)
{
    return (uint32_t *)(w->bytes + sizeof(struct spool_header));
}

static void begin(struct writer *w, uint32_t pid, uint64_t start, const char *exe)
{
    *w = (struct writer){.used = FIRST, .capacity = FIRST + 65536, .clock = start};
    w->bytes = calloc(1, w->capacity);
    struct spool_header *h = header(w);
    memcpy(h->magic, SPOOL_MAGIC, sizeof h->magic);
    h->version = SPOOL_VERSION;
    h->pid = pid;
    h->size = (uint64_t)1 << 30;
    h->start_ns = start;
    h->rank = -1;
    strcpy(h->exe, exe);
}

static struct spool_note *at(struct writer *w, size_t offset)
{
    ck_assert_uint_eq(offset % 8, 0);
    return (struct spool_note *)(w->bytes + offset);
}

/* A note that nothing leads to: its offset. */
static size_t loose_note(struct writer *w, enum spool_op op, enum spool_result result, uint32_t count, const char *path)
{
    const size_t len = strlen(path), bytes = SPOOL_NOTE_BYTES(len), offset = w->used;

    if (offset + bytes > w->capacity) {
        w->bytes = realloc(w->bytes, w->capacity * 2);
        memset(w->bytes + w->capacity, 0, w->capacity);
        w->capacity *= 2;
    }
    struct spool_note *n = at(w, offset);
    n->hash = (uint32_t)dlc_hash64((uint64_t)op << 8 | (uint64_t)result, path, len);
    n->when = w->clock += 1000;
    n->count = count;
    n->len = (uint16_t)len;
    n->op = (uint8_t)op;
    n->result = (uint8_t)result;
    memcpy(n->path, path, len + 1);
    w->used += bytes;
    header(w)->used = header(w)->allocated = w->used;
    return offset;
}

static void note(struct writer *w, enum spool_op op, enum spool_result result, uint32_t count, const char *path)
{
    const size_t offset = loose_note(w, op, result, count, path);
    const uint64_t hash = dlc_hash64((uint64_t)op << 8 | (uint64_t)result, path, strlen(path));
    uint32_t *slot = &heads(w)[hash % SPOOL_HEADS];

    for (uint64_t way = hash / SPOOL_HEADS; *slot; way /= SPOOL_CHILDREN)
        slot = &at(w, (size_t)*slot * 8)->child[way % SPOOL_CHILDREN];
    *slot = (uint32_t)(offset / 8);
}

__attribute__((format(printf, 1, 2))) static const char *in_dir(const char *format, ...)
{
    static char text[8][4096];
    static int next;
    char *out = text[next++ % 8];
    va_list args;

    size_t n = (size_t)snprintf(out, sizeof text[0], "%s/", dir);
    va_start(args, format);
    vsnprintf(out + n, sizeof text[0] - n, format, args);
    va_end(args);
    return out;
}

static void put_file(const char *path, const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
    ck_assert_int_eq(write(fd, bytes, n), n);
    close(fd);
}

static void end(struct writer *w, const char *name)
{
    put_file(in_dir("spool/%s", name), w->bytes, w->used);
    free(w->bytes);
}

static void setup(void)
{
    strcpy(dir, "/tmp/check-spool-XXXXXX");
    started_ns = ((uint64_t)time(NULL) + 3600) * SECOND;
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(mkdir(in_dir("spool"), 0700), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void teardown(void)
{
    ck_assert_int_eq(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ------------------------------------------------------------------------------------------------- one spool file */

struct visits {
    int count, wrong;
    uint64_t sum;
};

/* The notes of `sample`: whatever the damage, nothing else may come out. */
static const char *const names[] = {"/a", "/usr/lib/libc.so.6",    "/x\ny/\"\xff\xfe",
                                    "/a", "/long/long/long/name", "/"};

static void count_visit(void *context, const struct spool_seen *seen)
{
    struct visits *v = context;
    bool known = false;

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        known |= strlen(names[i]) == seen->len && strcmp(names[i], seen->path) == 0;
    v->wrong += !known;
    v->count++;
    v->sum += seen->count;
}

static void sample(struct writer *w)
{
    begin(w, 7, 5 * SECOND, "/usr/bin/python3.11");
    note(w, SPOOL_STAT, SPOOL_FOUND, 1, names[0]);
    note(w, SPOOL_LOAD, SPOOL_FOUND, 10, names[1]);
    note(w, SPOOL_OPEN, SPOOL_ABSENT, 100, names[2]);
    note(w, SPOOL_OPEN, SPOOL_FOUND, 1000, names[3]);
    note(w, SPOOL_LIST, SPOOL_FAILED, 10000, names[4]);
    note(w, SPOOL_LIST, SPOOL_FOUND, 100000, names[5]);
}

static struct visits read_bytes(const void *bytes, size_t n, int expected, struct spool_facts *facts)
{
    struct visits v = {0};
    put_file(in_dir("one"), bytes, n);
    const int rc = spool_read(in_dir("one"), facts, count_visit, &v);
    ck_assert_int_eq(rc, expected);
    ck_assert_int_eq(v.wrong, 0);
    return v;
}

START_TEST(test_whole)
{
    struct writer w;
    struct spool_facts facts;

    sample(&w);
    header(&w)->lost = 3;
    header(&w)->dead = 1;
    header(&w)->rank = 12;
    const struct visits v = read_bytes(w.bytes, w.used, 0, &facts);
    ck_assert_int_eq(v.count, 6);
    ck_assert_uint_eq(v.sum, 111111);
    ck_assert_uint_eq(facts.pid, 7);
    ck_assert_uint_eq(facts.start_ns, 5 * SECOND);
    ck_assert_uint_eq(facts.lost, 3);
    ck_assert_int_eq(facts.rank, 12);
    ck_assert(facts.dead && !facts.damaged);
    ck_assert_str_eq(facts.exe, "/usr/bin/python3.11");
    memset(header(&w)->exe, 'x', sizeof header(&w)->exe);
    header(&w)->used = UINT64_MAX; /* handed out, but never backed */
    ck_assert_int_eq(read_bytes(w.bytes, w.used, 0, &facts).count, 6);
    ck_assert_uint_eq(strlen(facts.exe), sizeof facts.exe - 1);
    free(w.bytes);
}
END_TEST

START_TEST(test_truncated)
{
    struct writer w;
    struct spool_facts facts;
    int last = 0;

    sample(&w);
    for (size_t n = 0; n < w.used; n++) {
        if (n > sizeof(struct spool_header) + 64 && n + 64 < FIRST)
            n += 397;
        const struct visits v = read_bytes(w.bytes, n, n < sizeof(struct spool_header) ? -EBADMSG : 0, &facts);
        ck_assert_int_ge(v.count, last);
        last = v.count;
        if (n >= sizeof(struct spool_header) && v.count < 5)
            ck_assert(facts.damaged);
    }
    ck_assert_int_ge(last, 5);
    free(w.bytes);
}
END_TEST

START_TEST(test_not_a_spool)
{
    struct writer w;
    struct spool_facts facts;

    sample(&w);
    header(&w)->version++;
    ck_assert_int_eq(read_bytes(w.bytes, w.used, -EBADMSG, &facts).count, 0);
    header(&w)->version--;
    header(&w)->magic[0] = 'd';
    ck_assert_int_eq(read_bytes(w.bytes, w.used, -EBADMSG, &facts).count, 0);
    memset(w.bytes, 0, w.used);
    ck_assert_int_eq(read_bytes(w.bytes, w.used, -EBADMSG, &facts).count, 0);
    free(w.bytes);
    ck_assert_int_eq(spool_read(in_dir("missing"), &facts, count_visit, NULL), -ENOENT);
    ck_assert_int_eq(spool_read(dir, &facts, count_visit, NULL), -EBADMSG);
    ck_assert_int_eq(mkfifo(in_dir("fifo"), 0600), 0);
    ck_assert_int_eq(spool_read(in_dir("fifo"), &facts, count_visit, NULL), -EBADMSG);
    ck_assert_int_eq(symlink("one", in_dir("link")), 0);
    ck_assert_int_eq(spool_read(in_dir("link"), &facts, count_visit, NULL), -ELOOP);
}
END_TEST

/* Nothing that a head or a child says can be trusted. */
START_TEST(test_links)
{
    static const uint32_t nowhere[] = {1, 100, FIRST / 8 - 1, FIRST / 8 + 1, UINT32_MAX, UINT32_MAX - 3, 1u << 28};
    struct spool_facts facts;
    struct writer w;

    for (size_t i = 0; i < sizeof nowhere / sizeof *nowhere * SPOOL_CHILDREN; i++) {
        sample(&w);
        at(&w, FIRST)->child[i % SPOOL_CHILDREN] = nowhere[i / SPOOL_CHILDREN];
        heads(&w)[17] = nowhere[i / SPOOL_CHILDREN];
        ck_assert_int_eq(read_bytes(w.bytes, w.used, 0, &facts).count, 6);
        ck_assert(facts.damaged);
        free(w.bytes);
    }
    sample(&w);
    const uint32_t first = FIRST / 8, second = (uint32_t)((FIRST + SPOOL_NOTE_BYTES(strlen(names[0]))) / 8);
    ck_assert_str_eq(at(&w, second * 8)->path, names[1]);
    for (size_t i = 0; i < SPOOL_CHILDREN; i++) {
        at(&w, FIRST)->child[i] = first; /* itself */
        ck_assert_uint_eq(read_bytes(w.bytes, w.used, 0, &facts).sum, 111111);
        ck_assert(facts.damaged);
        at(&w, FIRST)->child[i] = second;
        at(&w, second * 8)->child[SPOOL_CHILDREN - 1 - i] = first; /* and back */
        ck_assert_uint_eq(read_bytes(w.bytes, w.used, 0, &facts).sum, 111111);
        ck_assert(facts.damaged);
    }
    for (size_t i = 0; i < SPOOL_HEADS; i++)
        heads(&w)[i] = second;
    ck_assert_uint_eq(read_bytes(w.bytes, w.used, 0, &facts).sum, 11);
    ck_assert(facts.damaged);
    /* Every note leads to the same ones. */
    for (size_t place = FIRST; place < w.used; place += SPOOL_NOTE_BYTES(at(&w, place)->len))
        for (size_t i = 0, to = FIRST; i < SPOOL_CHILDREN; i++, to += SPOOL_NOTE_BYTES(at(&w, to)->len))
            at(&w, place)->child[i] = (uint32_t)(to / 8);
    ck_assert_uint_eq(read_bytes(w.bytes, w.used, 0, &facts).sum, 1111);
    ck_assert(facts.damaged);
    free(w.bytes);
}
END_TEST

struct order {
    uint64_t last;
    int count, wrong;
};

static void order_visit(void *context, const struct spool_seen *seen)
{
    struct order *o = context;

    o->wrong += seen->when <= o->last;
    o->last = seen->when;
    o->count++;
}

/* A chain as long as a file of rubbish could have it, in any order: read, and in the file's order. */
START_TEST(test_deep)
{
    enum { NOTES = 200000 };
    struct spool_facts facts;
    struct order order = {0};
    struct writer w;
    size_t last = 0;

    begin(&w, 7, SECOND, "");
    uint32_t *places = calloc(NOTES, sizeof *places);
    for (int i = 0; i < NOTES; i++)
        places[i] = (uint32_t)(loose_note(&w, SPOOL_STAT, SPOOL_FOUND, 1, "/a") / 8);
    heads(&w)[3] = places[0];
    for (size_t i = 1; i < NOTES; i++) {
        const size_t next = i * 7919 % NOTES; /* each once: they have no common divisor */
        at(&w, (size_t)places[last] * 8)->child[i % SPOOL_CHILDREN] = places[next];
        last = next;
    }
    put_file(in_dir("one"), w.bytes, w.used);
    ck_assert_int_eq(spool_read(in_dir("one"), &facts, order_visit, &order), 0);
    ck_assert(!facts.damaged);
    ck_assert_int_eq(order.count, NOTES);
    ck_assert_uint_eq(facts.notes, NOTES);
    ck_assert_int_eq(order.wrong, 0);
    free(places);
    free(w.bytes);
}
END_TEST

START_TEST(test_bad_notes)
{
    struct spool_facts facts;
    struct writer w;

    for (int i = 0; i < 9; i++) {
        sample(&w);
        struct spool_note *n = at(&w, FIRST);
        switch (i) {
        case 0: n->op = SPOOL_OPS; break;
        case 1: n->result = SPOOL_RESULTS; break;
        case 2: n->len++; break;
        case 3: n->len--; break;
        case 4: n->len = 0xffff; break;
        case 5: n->path[0] = 'a'; break;
        case 6: n->path[n->len] = 'x'; break;
        case 7: n->path[1] = '\0'; break;
        case 8: n->hash++; break;
        }
        ck_assert_uint_eq(read_bytes(w.bytes, w.used, 0, &facts).sum, 111110);
        ck_assert(facts.damaged);
        free(w.bytes);
    }
}
END_TEST

START_TEST(test_garbage)
{
    struct spool_facts facts;
    unsigned seed = 12345 + (unsigned)_i;
    struct writer w;

    for (int round = 0; round < 40; round++) {
        sample(&w);
        for (int i = 0; i < 1 << (round % 12); i++) {
            size_t at = sizeof(struct spool_header) + (size_t)rand_r(&seed) % (w.used - sizeof(struct spool_header));
            if (round % 2 && (size_t)rand_r(&seed) % 2)
                at = FIRST + (size_t)rand_r(&seed) % (w.used - FIRST);
            w.bytes[at] = (char)rand_r(&seed);
        }
        ck_assert_int_le(read_bytes(w.bytes, w.used, 0, &facts).count, 6);
        free(w.bytes);
    }
}
END_TEST

/* ---------------------------------------------------------------------------------------- noting, inside a process */

enum { WRITERS = 4, PATHS = 20000 };

/* Every one of them notes everything: each from another beginning, so that most of it is new to each. */
static void note_all(struct recorder *r, int who)
{
    char path[64];

    for (int i = 0; i < PATHS; i++) {
        const int n = snprintf(path, sizeof path, "/some/where/%d", (i + who * PATHS / WRITERS) % PATHS);
        recorder_note(r, SPOOL_STAT, SPOOL_ABSENT, path, (size_t)n);
        if (i % 2 == 0)
            recorder_note(r, SPOOL_OPEN, SPOOL_FOUND, path, (size_t)n);
    }
}

struct thread {
    struct recorder *recorder;
    int who;
};

static void *note_in_thread(void *argument)
{
    const struct thread *t = argument;
    note_all(t->recorder, t->who);
    return NULL;
}

struct tally {
    uint64_t notes[SPOOL_OPS], counts[SPOOL_OPS];
    uint8_t seen[SPOOL_OPS][PATHS];
    int wrong;
};

static void tally_visit(void *context, const struct spool_seen *seen)
{
    struct tally *t = context;
    const int number = strncmp(seen->path, "/some/where/", 12) == 0 ? atoi(seen->path + 12) : PATHS;

    if (number >= PATHS || t->seen[seen->op][number]++) {
        t->wrong++;
        return;
    }
    t->notes[seen->op]++;
    t->counts[seen->op] += seen->count;
}

/* Threads, and the processes of a fork, at once: each path is noted once, and every time is counted. */
START_TEST(test_noting)
{
    static struct recorder r;
    static struct tally tally;
    struct thread threads[WRITERS];
    pthread_t ids[WRITERS];
    struct spool_facts facts;
    pid_t pids[WRITERS];
    int status;

    ck_assert_int_eq(recorder_open(&r, in_dir("spool"), "preload", 5), 0);
    for (int i = 0; i < WRITERS; i++) {
        pids[i] = fork();
        ck_assert_int_ge(pids[i], 0);
        if (pids[i] == 0) {
            note_all(&r, i);
            _exit(0);
        }
    }
    for (int i = 0; i < WRITERS; i++) {
        threads[i] = (struct thread){&r, i};
        ck_assert_int_eq(pthread_create(&ids[i], NULL, note_in_thread, &threads[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        ck_assert_int_eq(pthread_join(ids[i], NULL), 0);
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert_int_eq(status, 0);
    }
    ck_assert_int_eq(spool_read(r.file, &facts, tally_visit, &tally), 0);
    ck_assert(!facts.damaged && !facts.dead);
    ck_assert_uint_eq(facts.lost, 0);
    ck_assert_int_eq(facts.rank, 5);
    ck_assert_int_eq(tally.wrong, 0);
    ck_assert_uint_eq(tally.notes[SPOOL_STAT], PATHS);
    ck_assert_uint_eq(tally.counts[SPOOL_STAT], 2 * WRITERS * PATHS);
    ck_assert_uint_eq(tally.notes[SPOOL_OPEN], PATHS / 2);
    ck_assert_uint_eq(tally.counts[SPOOL_OPEN], 2 * WRITERS * PATHS / 2);
    munmap(r.spool, r.spool->size);
}
END_TEST

static unsigned depth_below(const struct spool_header *h, uint32_t place)
{
    const struct spool_note *n = (const void *)((const char *)h + (uint64_t)place * 8);
    unsigned deepest = 0;

    for (unsigned i = 0; place && i < SPOOL_CHILDREN; i++) {
        const unsigned depth = depth_below(h, n->child[i]);
        deepest = depth > deepest ? depth : deepest;
    }
    return place ? deepest + 1 : 0;
}

/* A process that notes little writes one page; and of many notes each is found in a few steps. */
START_TEST(test_noting_costs)
{
    static struct recorder r;
    char path[64];

    ck_assert_uint_le(SPOOL_FIRST + 10 * SPOOL_NOTE_BYTES(32), 4096);
    ck_assert_int_eq(recorder_open(&r, in_dir("spool"), "preload", -1), 0);
    for (int i = 0; i < PATHS; i++) {
        const int n = snprintf(path, sizeof path, "/prefix/d%03d/libu%04d.so", i / 400, i % 400);
        recorder_note(&r, SPOOL_LOAD, SPOOL_ABSENT, path, (size_t)n);
    }
    for (unsigned i = 0; i < SPOOL_HEADS; i++) /* 39 a head, and 85 in four full levels */
        ck_assert_uint_le(depth_below(r.spool, ((const uint32_t *)(r.spool + 1))[i]), 8);
    munmap(r.spool, r.spool->size);
}
END_TEST

/* --------------------------------------------------------------------------------------------------- the manifest */

static struct manifest *collect_all(struct policy *policy, struct collect_report *report)
{
    char *error = NULL;
    char *const command[] = {"prog", "arg\xff", NULL};
    char *const environment[] = {"PATH=/usr/bin", "HOME=/root", NULL};
    struct notes *notes = notes_read(in_dir("spool"), &error);

    ck_assert_msg(notes != NULL, "%s", error);
    if (policy->include.asked_count == 0)
        ck_assert_int_eq(policy_ask(&policy->include, in_dir("tree"), true), 0);
    const struct collect_request request = {
        .notes = notes,
        .policy = policy,
        .command = command,
        .started_ns = started_ns,
        .exit_status = 3,
        .environment = environment,
        .cwd = "/somewhere",
    };
    struct manifest *m = collect(&request, report);
    notes_free(notes);
    policy_free(policy);
    return m;
}

static const struct manifest_entry *get(const struct manifest *m, const char *path)
{
    const struct manifest_entry *e = manifest_find(m, path);
    ck_assert_msg(e != NULL, "no entry: %s", path);
    return e;
}

static void make_tree(void)
{
    static const char *const dirs[] = {"tree", "tree/lib", "tree/lib/__pycache__", "tree/out", "tree/made"};
    struct timespec old[2] = {{1, 5}, {1, 5}};

    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        ck_assert_int_eq(mkdir(in_dir("%s", dirs[i]), 0755), 0);
    put_file(in_dir("tree/lib/m.py"), "x = 1\n", 6);
    put_file(in_dir("tree/lib/__pycache__/m.pyc"), "bytecode", 8);
    put_file(in_dir("tree/lib/data.bin"), "", 0);
    put_file(in_dir("tree/lib/new\nline\"\xff"), "odd", 3);
    put_file(in_dir("tree/out/log"), "written", 7);
    put_file(in_dir("tree/out/config"), "read", 4);
    ck_assert_int_eq(utimensat(AT_FDCWD, in_dir("tree/lib/m.py"), old, 0), 0);
    ck_assert_int_eq(symlink("lib", in_dir("tree/current")), 0);
    ck_assert_int_eq(symlink("current/m.py", in_dir("tree/alias.py")), 0);
    ck_assert_int_eq(symlink("nothing", in_dir("tree/dangling")), 0);
    ck_assert_int_eq(symlink("loop", in_dir("tree/loop")), 0);
    ck_assert_int_eq(symlink(in_dir("tree/lib"), in_dir("door")), 0);
    ck_assert_int_eq(mkfifo(in_dir("tree/fifo"), 0600), 0);
}

static void write_notes(void)
{
    struct writer w;

    begin(&w, 7, 5 * SECOND, "/usr/bin/python3.11");
    note(&w, SPOOL_STAT, SPOOL_FOUND, 2, in_dir("tree//lib/./m.py"));
    note(&w, SPOOL_STAT, SPOOL_FOUND, 3, in_dir("tree/lib/../lib/m.py"));
    note(&w, SPOOL_OPEN, SPOOL_FOUND, 1, in_dir("tree/alias.py"));
    note(&w, SPOOL_STAT, SPOOL_FAILED, 9, in_dir("tree/loop"));
    note(&w, SPOOL_OPEN, SPOOL_FOUND, 1, in_dir("door/new\nline\"\xff"));
    note(&w, SPOOL_STAT, SPOOL_ABSENT, 4, in_dir("tree/current/none.py"));
    note(&w, SPOOL_STAT, SPOOL_ABSENT, 4, in_dir("tree/none/../none2"));
    note(&w, SPOOL_STAT, SPOOL_ABSENT, 1, in_dir("tree/dangling"));
    note(&w, SPOOL_LIST, SPOOL_FOUND, 1, in_dir("tree/lib/"));
    note(&w, SPOOL_STAT, SPOOL_FOUND, 1, in_dir("tree/lib/data.bin"));
    note(&w, SPOOL_STAT, SPOOL_FOUND, 1, in_dir("tree/fifo"));
    note(&w, SPOOL_OPEN, SPOOL_FOUND, 1, in_dir("outside"));
    note(&w, SPOOL_OPEN, SPOOL_FOUND, 1, "/proc/self/status");
    end(&w, "7.5.audit.spool");

    begin(&w, 7, 5 * SECOND + 10, "/usr/bin/python3.11");
    note(&w, SPOOL_OPEN, SPOOL_FOUND, 2, in_dir("tree/lib/m.py"));
    note(&w, SPOOL_WRITE, SPOOL_FOUND, 1, in_dir("tree/out/log"));
    note(&w, SPOOL_OPEN, SPOOL_FOUND, 1, in_dir("tree/out/config"));
    note(&w, SPOOL_WRITE, SPOOL_FOUND, 1, in_dir("tree/made"));
    note(&w, SPOOL_STAT, SPOOL_ABSENT, 1, in_dir("tree/lib/__pycache__/m.pyc"));
    note(&w, SPOOL_WRITE, SPOOL_FOUND, 1, in_dir("tree/lib/__pycache__"));
    note(&w, SPOOL_WRITE, SPOOL_FOUND, 1, in_dir("tree/lib/__pycache__/m.pyc"));
    note(&w, SPOOL_WRITE, SPOOL_FOUND, 1, in_dir("tree/lib/__pycache__/m.pyc.77"));
    end(&w, "7.5.preload.spool");

    begin(&w, 8, 6 * SECOND, "/usr/bin/other");
    header(&w)->lost = 5;
    header(&w)->dead = 1;
    note(&w, SPOOL_OPEN, SPOOL_FOUND, 1, in_dir("tree/lib/m.py"));
    note(&w, SPOOL_STAT, SPOOL_FOUND, 1, in_dir("tree/lib/m.py"));
    end(&w, "8.6.preload.spool");
    put_file(in_dir("spool/9.9.preload.spool"), "rubbish", 7);
    put_file(in_dir("spool/ignored"), "rubbish", 7);
}

START_TEST(test_collect_files)
{
    struct collect_report report;
    struct policy policy = {0};

    make_tree();
    write_notes();
    struct manifest *m = collect_all(&policy, &report);

    const struct manifest_entry *e = get(m, in_dir("tree/lib/m.py"));
    ck_assert_int_eq(e->kind, MANIFEST_MODULE);
    ck_assert_uint_eq(e->counts.stat, 6);
    ck_assert_uint_eq(e->counts.open, 4);
    ck_assert_uint_eq(e->processes, 2);
    ck_assert_uint_eq(e->size, 6);
    ck_assert_int_eq(e->mtime_ns, 1000000005);
    ck_assert(e->has_stat && e->has_digest);
    /* xxh128sum of "x = 1\n" */
    static const uint8_t digest[16] = {0x72, 0x98, 0xca, 0x6b, 0x1c, 0x4f, 0x81, 0x6b,
                                       0xcc, 0xa6, 0x29, 0x75, 0x38, 0xb6, 0x24, 0x9e};
    ck_assert_mem_eq(e->digest, digest, 16);
    ck_assert_uint_eq(e->first_ns, 1000);

    ck_assert_int_eq(get(m, in_dir("tree/lib/new\nline\"\xff"))->kind, MANIFEST_DATA);
    e = get(m, in_dir("tree/lib/data.bin"));
    ck_assert(e->has_stat && !e->has_digest); /* only looked at */
    e = get(m, in_dir("tree/lib/__pycache__/m.pyc"));
    ck_assert_int_eq(e->kind, MANIFEST_BYTECODE);
    ck_assert(e->has_digest);
    ck_assert_ptr_null(manifest_find(m, in_dir("tree/out/log")));
    ck_assert_int_eq(get(m, in_dir("tree/out/config"))->kind, MANIFEST_DATA);
    ck_assert_ptr_null(manifest_find(m, in_dir("tree/fifo")));
    ck_assert_ptr_null(manifest_find(m, in_dir("outside")));
    ck_assert_ptr_null(manifest_find(m, "/proc/self/status"));

    ck_assert_uint_eq(report.files, 5);
    ck_assert_uint_eq(report.bytes, 6 + 3 + 8 + 4);
    ck_assert_uint_eq(report.written, 1);
    ck_assert_uint_eq(report.gone, 1);
    ck_assert_uint_eq(report.special, 1);
    manifest_free(m);
    collect_report_free(&report);
}
END_TEST

START_TEST(test_collect_names)
{
    struct collect_report report;
    struct policy policy = {0};

    make_tree();
    write_notes();
    struct manifest *m = collect_all(&policy, &report);

    const struct manifest_entry *e = get(m, in_dir("tree/alias.py"));
    ck_assert_int_eq(e->kind, MANIFEST_SYMLINK);
    ck_assert_str_eq(e->target, "current/m.py");
    ck_assert_uint_eq(e->counts.open, 1);
    e = get(m, in_dir("tree/current"));
    ck_assert_int_eq(e->kind, MANIFEST_SYMLINK);
    ck_assert_uint_eq(e->counts.stat, 0);
    ck_assert_ptr_null(manifest_find(m, in_dir("door"))); /* a way into it, but in /tmp */
    e = get(m, in_dir("tree/dangling"));
    ck_assert_int_eq(e->kind, MANIFEST_SYMLINK);
    ck_assert_int_eq(get(m, in_dir("tree/nothing"))->kind, MANIFEST_ABSENT);
    e = get(m, in_dir("tree/lib/none.py"));
    ck_assert_int_eq(e->kind, MANIFEST_ABSENT);
    ck_assert_uint_eq(e->counts.stat, 4);
    ck_assert(!e->has_stat);
    ck_assert_int_eq(get(m, in_dir("tree/none/../none2"))->kind, MANIFEST_ABSENT);
    ck_assert_ptr_null(manifest_find(m, in_dir("tree/none2")));
    ck_assert_ptr_null(manifest_find(m, in_dir("tree/loop")));

    e = get(m, in_dir("tree/lib"));
    ck_assert_int_eq(e->kind, MANIFEST_DIRECTORY);
    ck_assert_uint_eq(e->counts.list, 1);
    ck_assert(!e->is_volatile);
    ck_assert(get(m, in_dir("tree/out"))->is_volatile);
    ck_assert(get(m, in_dir("tree/made"))->is_volatile);
    ck_assert(get(m, in_dir("tree"))->is_volatile); /* "made" was made in it */
    ck_assert(!get(m, in_dir("tree/lib/__pycache__"))->is_volatile);

    uint8_t *seen = calloc(m->entry_count, 1);
    for (size_t i = 0; i < m->entry_count; i++) {
        ck_assert_uint_lt(m->entries[i].order, m->entry_count);
        ck_assert(!seen[m->entries[i].order]++);
        ck_assert(i == 0 || strcmp(m->entries[i - 1].path, m->entries[i].path) < 0);
    }
    free(seen);
    manifest_free(m);
    collect_report_free(&report);
}
END_TEST

START_TEST(test_collect_head)
{
    struct collect_report report;
    struct policy policy = {0};
    char *error = NULL;

    make_tree();
    write_notes();
    struct notes *notes = notes_read(in_dir("spool"), &error);
    ck_assert_uint_eq(notes->file_count, 3);
    ck_assert_uint_eq(notes->process_count, 2);
    ck_assert_uint_eq(notes->lost, 5);
    ck_assert_uint_eq(notes->dead_files, 1);
    ck_assert_uint_eq(notes->damaged_files, 1);
    notes_free(notes);
    ck_assert_int_eq(policy_ask(&policy.exclude, in_dir("tree/out"), false), 0);
    struct manifest *m = collect_all(&policy, &report);
    ck_assert_uint_eq(m->processes, 2);
    ck_assert_int_eq(m->exit_status, 3);
    ck_assert_str_eq(m->interpreter, "/usr/bin/python3.11");
    ck_assert_str_eq(m->cwd, "/somewhere");
    ck_assert_uint_eq(m->command_count, 2);
    ck_assert_str_eq(m->command[1], "arg\xff");
    ck_assert_uint_eq(m->search_count, 1);
    ck_assert_str_eq(m->search[0].value, "/usr/bin");
    ck_assert_uint_eq(m->policy.prefix_count, 1);
    ck_assert_str_eq(m->policy.prefixes[0], in_dir("tree"));
    ck_assert_str_eq(m->policy.exclude[0], in_dir("tree/out"));
    ck_assert_uint_ge(m->mount_count, 1);
    ck_assert_uint_eq(strlen(m->recorded), 20);
    ck_assert_ptr_null(manifest_find(m, in_dir("tree/out/config")));
    ck_assert_uint_eq(report.left[POLICY_EXCLUDED], 2);
    manifest_free(m);
    collect_report_free(&report);
}
END_TEST

static void end_of(void *context, struct place *p, enum place_reach how)
{
    if (how == PLACE_FINAL)
        *(struct place **)context = p;
}

static const struct place *walk_to(struct places *ps, const char *path, bool seen)
{
    struct place *end = NULL;

    places_walk(ps, path, seen, end_of, &end);
    return end;
}

/* Where many names are not there, the directory's list is asked instead of each. What somebody has seen is looked at
 * all the same: here it comes after the list was read, and there may be names that no list has. */
START_TEST(test_lists)
{
    struct places ps;

    make_tree();
    places_init(&ps);
    for (int i = 0; i < 100; i++) {
        const struct place *p = walk_to(&ps, in_dir("tree/lib/none%d", i), false);
        ck_assert_str_eq(p->path, in_dir("tree/lib/none%d", i));
        ck_assert(!p->exists);
        ck_assert_int_eq(p->unlisted, i >= 16);
    }
    ck_assert(walk_to(&ps, in_dir("tree/lib/m.py"), false)->exists);
    ck_assert_str_eq(walk_to(&ps, in_dir("door/m.py"), false)->path, in_dir("tree/lib/m.py"));
    put_file(in_dir("tree/lib/hidden"), "x", 1);
    ck_assert_int_eq(mkdir(in_dir("tree/lib/sub"), 0700), 0);
    put_file(in_dir("tree/lib/sub/file"), "xy", 2);
    ck_assert(!walk_to(&ps, in_dir("tree/lib/hidden"), false)->exists);
    ck_assert(!walk_to(&ps, in_dir("tree/lib/sub"), false)->exists);
    ck_assert_uint_eq(walk_to(&ps, in_dir("tree/lib/hidden"), true)->size, 1);
    ck_assert_uint_eq(walk_to(&ps, in_dir("tree/lib/sub/file"), false)->size, 2); /* on the way all is looked at */
    ck_assert(S_ISDIR(walk_to(&ps, in_dir("tree/lib/sub"), false)->mode));
    places_free(&ps);
}
END_TEST

/* Looked up before it was there, and nobody noted who made it. */
START_TEST(test_appeared)
{
    struct collect_report report;
    struct policy policy = {0};
    struct writer w;

    make_tree();
    started_ns = 5 * SECOND;
    begin(&w, 7, 5 * SECOND, "");
    note(&w, SPOOL_STAT, SPOOL_ABSENT, 1, in_dir("tree/lib/m.py"));
    end(&w, "7.5.preload.spool");
    struct manifest *m = collect_all(&policy, &report);
    ck_assert_uint_eq(m->entry_count, 1);
    ck_assert(get(m, in_dir("tree/lib"))->is_volatile);
    ck_assert_uint_eq(report.written, 1);
    manifest_free(m);
    collect_report_free(&report);
}
END_TEST

START_TEST(test_nothing)
{
    struct collect_report report;
    struct policy policy = {0};
    char *error = NULL;

    ck_assert_ptr_null(notes_read(in_dir("missing"), &error));
    ck_assert_ptr_nonnull(strstr(error, "missing"));
    free(error);
    ck_assert_int_eq(mkdir(in_dir("tree"), 0755), 0);
    struct manifest *m = collect_all(&policy, &report);
    ck_assert_uint_eq(m->entry_count, 0);
    ck_assert_uint_eq(m->processes, 0);
    ck_assert_ptr_null(m->interpreter);
    manifest_free(m);
    collect_report_free(&report);
}
END_TEST

START_TEST(test_processes)
{
    static const struct {
        uint32_t pid;
        uint64_t start;
        const char *exe, *door;
    } files[] = {
        {5, 1, "/bin/sh", "audit"},  {5, 2, "/bin/sh", "preload"},
        {5, 3, "/bin/sh", "audit"},  {5, 4, "/bin/sh", "preload"}, /* exec of itself */
        {5, 5, "/bin/ls", "preload"}, {6, 1, "/bin/sh", "audit"},
    };
    char *error = NULL;
    struct writer w;

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64];
        begin(&w, files[i].pid, files[i].start, files[i].exe);
        note(&w, SPOOL_STAT, SPOOL_FOUND, 1, "/usr");
        snprintf(name, sizeof name, "%u.%u.%s.spool", files[i].pid, (unsigned)files[i].start, files[i].door);
        end(&w, name);
    }
    struct notes *notes = notes_read(in_dir("spool"), &error);
    ck_assert_uint_eq(notes->process_count, 4);
    ck_assert_uint_eq(notes->path_count, 1);
    ck_assert_uint_eq(notes->touch_count, 6);
    ck_assert_uint_eq(notes->paths[0]->counts[SPOOL_STAT][SPOOL_FOUND], 6);
    notes_free(notes);
}
END_TEST

/* Spools of several nodes in one directory: the same pid is another process there. */
START_TEST(test_ranks_and_hosts)
{
    static const struct {
        const char *host;
        int64_t rank;
    } files[] = {{"n2", 2}, {"n1", 0}, {"n1", -1}, {"n2", 2}};
    struct policy policy = {.all = true};
    struct collect_report report;
    struct writer w;

    ck_assert_int_eq(mkdir(in_dir("tree"), 0755), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[64];
        begin(&w, 7, started_ns, "/bin/sh");
        strcpy(header(&w)->host, files[i].host);
        header(&w)->rank = files[i].rank;
        note(&w, SPOOL_STAT, SPOOL_FOUND, 1, "/usr");
        if (files[i].rank == 2)
            note(&w, SPOOL_STAT, SPOOL_ABSENT, 1, "/usr/none at all");
        snprintf(name, sizeof name, "7.%zu.%s.spool", i, i == 3 ? "audit" : "preload");
        end(&w, name);
    }
    struct manifest *m = collect_all(&policy, &report);
    ck_assert_uint_eq(m->processes, 3);
    ck_assert_uint_eq(m->ranks, 2);
    ck_assert_uint_eq(m->host_count, 2);
    ck_assert_str_eq(m->hosts[0], "n1");
    ck_assert_str_eq(m->hosts[1], "n2");
    const struct manifest_entry *e = manifest_find(m, "/usr");
    ck_assert_uint_eq(e->processes, 3);
    ck_assert_uint_eq(e->ranks, 2);
    e = manifest_find(m, "/usr/none at all");
    ck_assert_uint_eq(e->processes, 1);
    ck_assert_uint_eq(e->ranks, 1);
    manifest_free(m);
    collect_report_free(&report);
}
END_TEST

Suite *suite_spool(void)
{
    Suite *s = suite_create("spool");
    TCase *t = tcase_create("spool");

    tcase_set_timeout(t, 120);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, test_whole);
    tcase_add_test(t, test_truncated);
    tcase_add_test(t, test_not_a_spool);
    tcase_add_test(t, test_links);
    tcase_add_test(t, test_deep);
    tcase_add_test(t, test_bad_notes);
    tcase_add_loop_test(t, test_garbage, 0, 5);
    tcase_add_test(t, test_noting);
    tcase_add_test(t, test_noting_costs);
    tcase_add_test(t, test_collect_files);
    tcase_add_test(t, test_collect_names);
    tcase_add_test(t, test_collect_head);
    tcase_add_test(t, test_lists);
    tcase_add_test(t, test_appeared);
    tcase_add_test(t, test_nothing);
    tcase_add_test(t, test_processes);
    tcase_add_test(t, test_ranks_and_hosts);
    suite_add_tcase(s, t);
    return s;
}
