#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "faults.h"

static const char *const kind_names[KINDS] = {
#define KIND(name, us, changes) [KIND_##name] = #name,
#include "kinds.def"
#undef KIND
};
static const bool kind_changes[KINDS] = {
#define KIND(name, us, changes) [KIND_##name] = changes,
#include "kinds.def"
#undef KIND
};

/* A request that waits for a slot; on its thread's stack. */
struct waiter {
    pthread_cond_t turn;
    struct waiter *next;
    bool go;
};

static struct {
    pthread_mutex_t lock; /* of all that is here, and of the nodes' counts */
    unsigned long latency[KINDS], network; /* µs */
    unsigned busy, waiting, most_waiting;
    struct waiter *first, **last;
    uint64_t wire_free; /* when what was sent so far is through, ns */
} server = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .network = 100,
    .latency = {
#define KIND(name, us, changes) [KIND_##name] = us,
#include "kinds.def"
#undef KIND
    },
    .last = &server.first,
};

/* --- time ------------------------------------------------------------------------------------------------------ */

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t ns)
{
    const struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static void sleep_us(unsigned long us)
{
    if (us)
        sleep_until(now() + us * 1000u);
}

/* When `bytes` that are sent from now on are through. All nodes share the wire. */
static uint64_t wire_through(size_t bytes)
{
    const uint64_t start = now();

    if (!bytes || !settings.bandwidth)
        return start;
    pthread_mutex_lock(&server.lock);
    if (server.wire_free < start)
        server.wire_free = start;
    server.wire_free += (uint64_t)((double)bytes * 1e9 / (double)settings.bandwidth);
    const uint64_t through = server.wire_free;
    pthread_mutex_unlock(&server.lock);
    return through;
}

/* --- slots: first come, first served --------------------------------------------------------------------------- */

static void take_slot(void)
{
    pthread_mutex_lock(&server.lock);
    if (server.busy < settings.slots) {
        server.busy++;
    } else {
        struct waiter me = {.turn = PTHREAD_COND_INITIALIZER};
        *server.last = &me;
        server.last = &me.next;
        if (++server.waiting > server.most_waiting)
            server.most_waiting = server.waiting;
        while (!me.go)
            pthread_cond_wait(&me.turn, &server.lock);
        server.waiting--;
    }
    pthread_mutex_unlock(&server.lock);
}

/* The slot goes to whoever has waited longest, without being free in between. */
static void give_slot(void)
{
    pthread_mutex_lock(&server.lock);
    struct waiter *const next = server.first;
    if (next) {
        server.first = next->next;
        if (!server.first)
            server.last = &server.first;
        next->go = true;
        pthread_cond_signal(&next->turn);
    } else {
        server.busy--;
    }
    pthread_mutex_unlock(&server.lock);
}

/* --- a request ------------------------------------------------------------------------------------------------- */

/* The path below the source, "/" being the source itself. */
static void path_of(char *path, size_t size, struct node *node, fuse_ino_t ino, const char *name)
{
    char link[64], whole[4096];
    const size_t prefix = strlen(settings.source_path);

    snprintf(link, sizeof link, "/proc/self/fd/%d", inodes_of(&node->inodes, ino)->fd);
    const ssize_t n = readlink(link, whole, sizeof whole - 1);
    whole[n < 0 ? 0 : n] = '\0';
    const char *below = strncmp(whole, settings.source_path, prefix) == 0 ? whole + prefix : whole;
    snprintf(path, size, "%s%s%s", *below || name ? below : "/", name ? "/" : "", name ? name : "");
}

static void write_log(const struct node *node, fuse_req_t req, enum kind kind, const char *path, int error)
{
    char line[4500];
    const int n = snprintf(line, sizeof line, "%s %d %s %s%s%s\n", node->name, (int)fuse_req_ctx(req)->pid,
                           kind_names[kind], path, error ? " " : "", error ? faults_error_name(error) : "");

    if (write(settings.log, line, (size_t)n) != n)
        return; /* a full disk: the file system goes on */
}

bool service(fuse_req_t req, enum kind kind, fuse_ino_t ino, const char *name, size_t bytes)
{
    struct node *const node = fuse_req_userdata(req);
    char path[4200] = "";

    if (control_owns(req, ino) || (settings.read_only && kind_changes[kind])) {
        fuse_reply_err(req, control_owns(req, ino) ? EPERM : EROFS);
        return false;
    }
    if (settings.log >= 0 || faults_need_paths())
        path_of(path, sizeof path, node, ino, name);
    const int error = faults_decide(req, kind, path);
    pthread_mutex_lock(&server.lock);
    node->counts[kind]++;
    node->failed += error != 0;
    if (!error && kind == KIND_read)
        node->bytes_read += bytes;
    if (!error && kind == KIND_write)
        node->bytes_written += bytes;
    const unsigned long network = server.network, latency = server.latency[kind];
    pthread_mutex_unlock(&server.lock);
    if (settings.log >= 0)
        write_log(node, req, kind, path, error);
    if (error) {
        fuse_reply_err(req, error);
        return false;
    }
    if (kind == KIND_release || kind == KIND_releasedir) /* nobody waits for these */
        return true;
    sleep_us(network);
    take_slot();
    sleep_us(latency);
    give_slot();
    if (bytes && settings.bandwidth)
        sleep_until(wire_through(bytes));
    return true;
}

void service_absent(fuse_req_t req)
{
    struct node *const node = fuse_req_userdata(req);

    pthread_mutex_lock(&server.lock);
    node->absent++;
    pthread_mutex_unlock(&server.lock);
}

/* --- control --------------------------------------------------------------------------------------------------- */

int service_kind(const char *name)
{
    for (int kind = 0; kind < KINDS; kind++)
        if (strcmp(kind_names[kind], name) == 0)
            return kind;
    return -1;
}

const char *service_kind_name(enum kind kind)
{
    return kind_names[kind];
}

static int set_one(char *text)
{
    char *equals = strchr(text, '='), *end;

    if (!equals || !equals[1])
        return -EINVAL;
    *equals = '\0';
    const unsigned long us = strtoul(equals + 1, &end, 10);
    const int kind = service_kind(text);
    if (*end)
        return -EINVAL;
    if (kind >= 0)
        server.latency[kind] = us;
    else if (strcmp(text, "network") == 0)
        server.network = us;
    else if (strcmp(text, "all") == 0)
        for (int i = 0; i < KINDS; i++)
            server.latency[i] = us;
    else
        return -EINVAL;
    return 0;
}

int service_set_latency(const char *text)
{
    char copy[1024], *rest = NULL;
    int error = 0;

    if (strlen(text) >= sizeof copy)
        return -EINVAL;
    strcpy(copy, text);
    pthread_mutex_lock(&server.lock);
    for (char *one = strtok_r(copy, ", \n", &rest); one && !error; one = strtok_r(NULL, ", \n", &rest))
        error = set_one(one);
    pthread_mutex_unlock(&server.lock);
    return error;
}

void service_reset(void)
{
    pthread_mutex_lock(&server.lock);
    for (size_t i = 0; i < settings.node_count; i++) {
        struct node *const node = &settings.nodes[i];
        memset(node->counts, 0, sizeof node->counts);
        node->absent = node->failed = node->bytes_read = node->bytes_written = 0;
    }
    server.most_waiting = server.waiting;
    pthread_mutex_unlock(&server.lock);
}

/* What clients wait for: the end of an open file is told behind their back. */
static bool in_total(enum kind kind)
{
    return kind != KIND_release && kind != KIND_releasedir;
}

static void print_node(FILE *out, const struct node *node)
{
    uint64_t total = 0;

    for (enum kind kind = 0; kind < KINDS; kind++)
        total += in_total(kind) ? node->counts[kind] : 0;
    fprintf(out, "{\"total\": %ju", (uintmax_t)total);
    for (enum kind kind = 0; kind < KINDS; kind++)
        fprintf(out, ", \"%s\": %ju", kind_names[kind], (uintmax_t)node->counts[kind]);
    fprintf(out, ", \"absent\": %ju, \"failed\": %ju, \"bytes_read\": %ju, \"bytes_written\": %ju}",
            (uintmax_t)node->absent, (uintmax_t)node->failed, (uintmax_t)node->bytes_read,
            (uintmax_t)node->bytes_written);
}

void service_print_counters(FILE *out)
{
    struct node all = {0};

    pthread_mutex_lock(&server.lock);
    fprintf(out, "{\"slots\": %u, \"busy\": %u, \"waiting\": %u, \"most_waiting\": %u,\n \"nodes\": {\n",
            settings.slots, server.busy, server.waiting, server.most_waiting);
    for (size_t i = 0; i < settings.node_count; i++) {
        const struct node *const node = &settings.nodes[i];
        fprintf(out, "  \"%s\": ", node->name);
        print_node(out, node);
        fputs(i + 1 < settings.node_count ? ",\n" : "},\n", out);
        for (enum kind kind = 0; kind < KINDS; kind++)
            all.counts[kind] += node->counts[kind];
        all.absent += node->absent;
        all.failed += node->failed;
        all.bytes_read += node->bytes_read;
        all.bytes_written += node->bytes_written;
    }
    pthread_mutex_unlock(&server.lock);
    fputs(" \"all\": ", out);
    print_node(out, &all);
    fputs("}\n", out);
}

void service_print_latency(FILE *out)
{
    pthread_mutex_lock(&server.lock);
    fprintf(out, "network=%lu", server.network);
    for (enum kind kind = 0; kind < KINDS; kind++)
        fprintf(out, ",%s=%lu", kind_names[kind], server.latency[kind]);
    fputc('\n', out);
    pthread_mutex_unlock(&server.lock);
}
