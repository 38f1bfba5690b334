/* slowfs [OPTION]... SOURCE NODE=MOUNTPOINT...: one server, a client on each mount point. Says "ready" on standard
 * output when all are mounted, runs until it gets SIGTERM or all are unmounted, and leaves nothing mounted. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "faults.h"
#include "service.h"
#include "slowfs.h"

/* So many requests of a node are taken from its kernel at a time; the others wait there. More than there are clients on
 * a node in any test; a thread that waits costs a stack. */
#define THREADS 64
#define STACK (256 * 1024)

struct settings settings = {
    .slots = 40,
    .keep_cache = true,
    .attr_timeout = 3,
    .entry_timeout = 30,
    .log = -1,
};
static const char *name = "slowfs";
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the number of nodes that are mounted */
static size_t mounted;

static void usage(FILE *out)
{
    fputs("usage: slowfs [OPTION]... SOURCE [NODE=]MOUNTPOINT...\n"
          "Passes SOURCE through to all MOUNTPOINTs as one parallel file system's server would.\n\n"
          "  --slots N             requests served at a time, of all nodes together (40)\n"
          "  --latency KIND=US,... service times in microseconds; all=US; network=US: of each request, and\n"
          "                        holds no slot (100)\n"
          "  --bandwidth BYTES     a second, of all nodes together, read and written (no limit); 100M, 1G\n"
          "  --attr SECONDS        how long clients keep attributes (3), ...\n"
          "  --entry SECONDS       ... names that are there (30), ...\n"
          "  --negative SECONDS    ... and names that are not (0)\n"
          "  --no-page-cache       clients forget a file's contents when it is opened again\n"
          "  --readdirplus         clients are told attributes with a directory's names\n"
          "  --read-only           what would change something fails with EROFS\n"
          "  --fault RULE          as written into .slowfs/fault\n"
          "  --seed N              of what fails by chance (1)\n"
          "  --name NAME           the source in the table of mounts (slowfs)\n"
          "  --log FILE            a line a request: node, process, kind, path, error\n"
          "  --control DIR         one more mount, which has the control files and nothing else\n\n"
          "Control files, in DIR and MOUNTPOINT/.slowfs: counters (JSON); reset, fault, latency (to be written).\n",
          out);
}

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
    va_list args;

    fputs("slowfs: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

/* --- the command line ------------------------------------------------------------------------------------------ */

static double number(const char *text, const char *option, double least)
{
    char *end;
    double n = strtod(text, &end);

    if (end != text && *end && !end[1] && strchr("KMG", *end))
        n *= *end == 'K' ? 1 << 10 : *end == 'M' ? 1 << 20 : 1 << 30;
    else if (end == text || *end)
        n = -1;
    if (!(n >= least && n < 1e15))
        die("--%s wants a number, not '%s'", option, text);
    return n;
}

enum { SLOTS = 1, LATENCY, BANDWIDTH, ATTR, ENTRY, NEGATIVE, NO_PAGE_CACHE, READDIRPLUS, READ_ONLY, FAULT, SEED, NAME,
       LOG, CONTROL, HELP };
static const struct option options[] = {
    {"slots", 1, NULL, SLOTS},         {"latency", 1, NULL, LATENCY},
    {"bandwidth", 1, NULL, BANDWIDTH}, {"attr", 1, NULL, ATTR},
    {"entry", 1, NULL, ENTRY},         {"negative", 1, NULL, NEGATIVE},
    {"no-page-cache", 0, NULL, NO_PAGE_CACHE}, {"readdirplus", 0, NULL, READDIRPLUS},
    {"read-only", 0, NULL, READ_ONLY}, {"fault", 1, NULL, FAULT},
    {"seed", 1, NULL, SEED},           {"name", 1, NULL, NAME},
    {"log", 1, NULL, LOG},             {"help", 0, NULL, HELP},
    {"control", 1, NULL, CONTROL},     {NULL, 0, NULL, 0},
};

static void take_option(int which, const char *value, const char *option)
{
    switch (which) {
    case SLOTS: settings.slots = (unsigned)number(value, option, 1); break;
    case BANDWIDTH: settings.bandwidth = (uint64_t)number(value, option, 1); break;
    case ATTR: settings.attr_timeout = number(value, option, 0); break;
    case ENTRY: settings.entry_timeout = number(value, option, 0); break;
    case NEGATIVE: settings.negative_timeout = number(value, option, 0); break;
    case NO_PAGE_CACHE: settings.keep_cache = false; break;
    case READDIRPLUS: settings.readdirplus = true; break;
    case READ_ONLY: settings.read_only = true; break;
    case SEED: faults_seed((unsigned)number(value, option, 0)); break;
    case NAME: name = value; break;
    case CONTROL: settings.control.mountpoint = value; break;
    case LATENCY:
        if (service_set_latency(value) != 0)
            die("--latency wants KIND=MICROSECONDS,..., not '%s'", value);
        break;
    case FAULT:
        if (faults_set(value) != 0)
            die("'%s' is no rule", value);
        break;
    case LOG:
        settings.log = open(value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (settings.log < 0)
            die("%s: %s", value, strerror(errno));
        break;
    case HELP: usage(stdout); exit(0);
    default: usage(stderr); exit(2);
    }
}

static void parse(int argc, char **argv)
{
    int which, index = 0;

    while ((which = getopt_long(argc, argv, "+", options, &index)) != -1)
        take_option(which, optarg, which == '?' ? "" : options[index].name);
    if (argc - optind < 2) {
        usage(stderr);
        exit(2);
    }
    settings.source = open(argv[optind], O_PATH | O_DIRECTORY | O_CLOEXEC);
    settings.source_path = realpath(argv[optind], NULL);
    if (settings.source < 0 || !settings.source_path)
        die("%s: %s", argv[optind], strerror(errno));
    settings.node_count = (size_t)(argc - optind - 1);
    settings.nodes = calloc(settings.node_count, sizeof *settings.nodes);
    if (!settings.nodes)
        die("out of memory");
    for (size_t i = 0; i < settings.node_count; i++) {
        char *const text = argv[optind + 1 + (int)i], *const equals = strchr(text, '=');
        if (equals)
            *equals = '\0';
        settings.nodes[i].name = text;
        settings.nodes[i].mountpoint = equals ? equals + 1 : text;
    }
}

/* --- the nodes ------------------------------------------------------------------------------------------------- */

static void mount_node(struct node *node)
{
    char mount_options[512];
    char *argv[] = {"slowfs", "-o", mount_options, NULL};
    struct fuse_args args = FUSE_ARGS_INIT(3, argv);
    const struct fuse_lowlevel_ops *const operations =
        settings.readdirplus ? &slowfs_operations_plus : &slowfs_operations;

    snprintf(mount_options, sizeof mount_options, "fsname=%s,subtype=slowfs,allow_other,default_permissions", name);
    inodes_init(&node->inodes, settings.source);
    node->session = fuse_session_new(&args, operations, sizeof *operations, node);
    if (!node->session || fuse_session_mount(node->session, node->mountpoint) != 0)
        die("%s cannot be mounted", node->mountpoint);
    node->mounted = true;
    mounted++;
    fuse_opt_free_args(&args);
}

static void unmount(const struct node *node)
{
    if (node->mounted)
        umount2(node->mountpoint, MNT_DETACH);
}

static void unmount_all(void)
{
    unmount(&settings.control);
    for (size_t i = 0; i < settings.node_count; i++)
        unmount(&settings.nodes[i]);
}

/* Reads requests until the file system is unmounted. */
static void *serve(void *p)
{
    struct node *const node = p;
    struct fuse_buf buffer = {0};
    int n;

    prctl(PR_SET_TIMERSLACK, 1000);
    while ((n = fuse_session_receive_buf(node->session, &buffer)) > 0 || n == -EINTR)
        if (n > 0)
            fuse_session_process_buf(node->session, &buffer);
    free(buffer.mem);
    pthread_mutex_lock(&lock);
    if (--node->threads == 0 && --mounted == 0)
        kill(getpid(), SIGTERM);
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void start_node(struct node *node)
{
    pthread_attr_t attributes;
    pthread_t thread;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    node->threads = THREADS;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&thread, &attributes, serve, node) != 0) {
            unmount_all();
            die("cannot start threads");
        }
    pthread_attr_destroy(&attributes);
}

/* A descriptor for every inode that a node's kernel knows. */
static void want_descriptors(void)
{
    const struct rlimit most = {1 << 20, 1 << 20};
    struct rlimit limit;

    if (setrlimit(RLIMIT_NOFILE, &most) != 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    sigset_t ends;
    int signal_number;

    parse(argc, argv);
    want_descriptors();
    umask(0); /* the client's kernel has applied the client's */
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGHUP);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    atexit(unmount_all);
    if (settings.control.mountpoint)
        mount_node(&settings.control);
    for (size_t i = 0; i < settings.node_count; i++)
        mount_node(&settings.nodes[i]);
    if (settings.control.mountpoint)
        start_node(&settings.control);
    for (size_t i = 0; i < settings.node_count; i++)
        start_node(&settings.nodes[i]);
    puts("ready");
    fflush(stdout);
    sigwait(&ends, &signal_number);
    unmount_all();
    _exit(0); /* requests under way end with ENOTCONN */
}
