#include "replayer/replay/act.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HEAD 65536u  /* of a file of which nobody knows how much the program read */
#define ELF_HEAD 832 /* what ld.so reads first */

static char buffer[262144];

static uint64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A name that has become a pipe or a device neither blocks nor is read. */
static int open_file(const char *path)
{
    return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

static int closed(int fd, int error)
{
    close(fd);
    return error;
}

static int act_open(const char *path, uint64_t most)
{
    const int fd = open_file(path);
    struct stat st;
    ssize_t n = 1;

    if (fd < 0)
        return errno;
    if (fstat(fd, &st) != 0)
        return closed(fd, errno);
    if (!S_ISREG(st.st_mode))
        return closed(fd, S_ISDIR(st.st_mode) ? EISDIR : EINVAL);
    uint64_t left = (uint64_t)st.st_size < most ? (uint64_t)st.st_size : most;
    while (left && (n = read(fd, buffer, left < sizeof buffer ? left : sizeof buffer)) > 0)
        left -= (uint64_t)n;
    return closed(fd, n < 0 ? errno : 0);
}

static int act_list(const char *path)
{
    DIR *d = opendir(path);

    if (!d)
        return errno;
    do
        errno = 0;
    while (readdir(d));
    const int error = errno;
    closedir(d);
    return error;
}

static int act_load(const char *path)
{
    const int fd = open_file(path);
    struct stat st;

    if (fd < 0)
        return errno;
    if (read(fd, buffer, ELF_HEAD) < 0 || fstat(fd, &st) != 0)
        return closed(fd, errno);
    if (!S_ISREG(st.st_mode))
        return closed(fd, EINVAL);
    if (st.st_size) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED)
            return closed(fd, errno);
        munmap(p, (size_t)st.st_size);
    }
    return closed(fd, 0);
}

static int act(enum replay_act what, const char *path)
{
    struct stat st;

    switch (what) {
    case ACT_STAT: return stat(path, &st) == 0 ? 0 : errno;
    case ACT_READLINK: return readlink(path, buffer, sizeof buffer) >= 0 ? 0 : errno;
    case ACT_OPEN_WHOLE: return act_open(path, UINT64_MAX);
    case ACT_OPEN_HEAD: return act_open(path, HEAD);
    case ACT_LIST: return act_list(path);
    case ACT_LOAD: return act_load(path);
    }
    return EINVAL;
}

static void note_error(struct slot *s, const struct step *step, int error)
{
    const bool gone = error == ENOENT || error == ENOTDIR;
    const bool absent = step->kind == REPLAY_ABSENT;
    enum replay_error kind = REPLAY_FAILED;

    if (absent ? gone : error == 0)
        return;
    if (gone)
        kind = REPLAY_MISSING;
    else if (absent && (error == 0 || error == EISDIR || error == EINVAL))
        kind = REPLAY_APPEARED;
    if (s->errors[0] + s->errors[1] + s->errors[2] == 0) {
        s->first_path = step->path;
        s->first_errno = kind == REPLAY_APPEARED ? 0 : (uint32_t)error;
    }
    s->errors[kind]++;
}

static void round_of(struct plan *p, struct slot *s)
{
    const struct step *const end = plan_steps(p) + p->step_count;

    for (const struct step *step = plan_steps(p); step < end; step++) {
        const char *path = plan_text(p, step->path);
        for (uint32_t i = 0; i < step->times; i++) {
            const uint64_t before = now();
            const int error = act((enum replay_act)step->act, path);
            histogram_add(&s->times[step->kind], now() - before);
            note_error(s, step, error);
        }
    }
}

static void barrier(struct plan *p)
{
    __atomic_fetch_add(&p->ready, 1, __ATOMIC_ACQ_REL);
    syscall(SYS_futex, &p->ready, FUTEX_WAKE, 1, NULL, NULL, 0);
    while (!__atomic_load_n(&p->go, __ATOMIC_ACQUIRE))
        syscall(SYS_futex, &p->go, FUTEX_WAIT, 0, NULL, NULL, 0);
}

void replay_process(struct plan *p, uint32_t process)
{
    struct slot *s = plan_slot(p, process);

    barrier(p);
    s->start_ns = now();
    for (uint32_t i = 0; i < p->rounds; i++)
        round_of(p, s);
    s->end_ns = now();
    __atomic_store_n(&s->done, 1, __ATOMIC_RELEASE);
}
