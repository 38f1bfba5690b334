/* Prints all that a program can see of how it was started: its arguments, its environment, its names, its descriptors,
 * what it inherits of signals, limits and the like; to the file $OUT, or to standard output. With "load NAME": on
 * standard error, whether that library, loaded now, comes from the mirror of $DLCACHE_STAGE. */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

extern char **environ;

static void line_of(const char *file, const char *start)
{
    char line[4096];
    FILE *f = fopen(file, "re");

    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, start, strlen(start)) == 0)
            printf("%s %s", file, line);
    if (f)
        fclose(f);
}

static void link_of(const char *file)
{
    char to[4096];
    const ssize_t n = readlink(file, to, sizeof to);
    printf("%s -> %.*s\n", file, (int)(n < 0 ? 0 : n), to);
}

static void descriptors(void)
{
    for (int fd = 0; fd < 1024; fd++) {
        const int flags = fcntl(fd, F_GETFD), status = fcntl(fd, F_GETFL);
        struct stat st;
        if (flags >= 0 && fstat(fd, &st) == 0)
            printf("fd %d: flags %x %x, mode %o, at %lld\n", fd, (unsigned)flags, (unsigned)status, st.st_mode,
                   S_ISREG(st.st_mode) ? (long long)lseek(fd, 0, SEEK_CUR) : -1);
    }
}

static void inherited(void)
{
    struct itimerval timer;
    cpu_set_t cpus;
    int death = 0;
    const mode_t mask = umask(0);

    umask(mask);
    prctl(PR_GET_PDEATHSIG, &death, 0, 0, 0);
    getitimer(ITIMER_REAL, &timer);
    sched_getaffinity(0, sizeof cpus, &cpus);
    printf("umask %o, nice %d, personality %x, death signal %d, dumpable %d, timer %d, cpus %d, scheduler %d\n", mask,
           getpriority(PRIO_PROCESS, 0), (unsigned)personality(0xffffffff), death, prctl(PR_GET_DUMPABLE, 0, 0, 0, 0),
           timer.it_value.tv_sec > 0, CPU_COUNT(&cpus), sched_getscheduler(0));
    for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
        struct rlimit limit;
        getrlimit(i, &limit);
        printf("limit %d: %lld %lld\n", i, (long long)limit.rlim_cur, (long long)limit.rlim_max);
    }
    printf("group %d, session %d\n", getpgrp() == getpid(), getsid(0) == getpid());
}

static void load(const char *name)
{
    char line[4096];
    const char *stage = getenv("DLCACHE_STAGE"), *from = "nowhere";
    void *const handle = dlopen(name, RTLD_NOW);
    FILE *f = fopen("/proc/self/maps", "re");

    while (f && fgets(line, sizeof line, f))
        if (strstr(line, name))
            from = stage && strstr(line, stage) ? "mirror" : "original";
    fprintf(stderr, "%s\n", handle ? from : dlerror());
}

int main(int argc, char **argv)
{
    static char buffer[1 << 16];
    char dir[4096];

    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    for (int i = 0; i < argc; i++)
        printf("argv[%d] %s\n", i, argv[i]);
    for (char **var = environ; *var; var++)
        puts(*var);
    printf("execfn %s\n", (char *)getauxval(AT_EXECFN));
    line_of("/proc/self/comm", "");
    link_of("/proc/self/exe");
    link_of("/proc/self/cwd");
    puts(getcwd(dir, sizeof dir));
    for (const char **start = (const char *[]){"SigP", "ShdP", "SigB", "SigI", "SigC", "Cap",
                                                    "NoNew", "Seccomp:", "Threads", NULL}; *start; start++)
        line_of("/proc/self/status", *start);
    descriptors();
    inherited();
    if (argc > 2 && strcmp(argv[argc - 2], "load") == 0)
        load(argv[argc - 1]);
    /* All of it is in the buffer still: descriptors were looked at as they were. */
    if (getenv("OUT"))
        dup2(open(getenv("OUT"), O_WRONLY | O_CREAT | O_TRUNC, 0600), STDOUT_FILENO);
    return 0;
}
