#include "replayer/attach/probe.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "facts/memory.h"
#include "libdlcache/stage.h"
#include "recorder/spool.h"
#include "replayer/attach/remove.h"

/* The file holds that name. All of it is searched: a long LD_LIBRARY_PATH makes thousands of notes before this one. */
static bool holds(int dirfd, const char *file, const char *name)
{
    const int fd = openat(dirfd, file, O_RDONLY | O_CLOEXEC);
    struct stat st;
    bool found = false;

    if (fd < 0)
        return false;
    if (fstat(fd, &st) == 0 && st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p != MAP_FAILED) {
            found = memmem(p, (size_t)st.st_size, name, strlen(name)) != NULL;
            munmap(p, (size_t)st.st_size);
        }
    }
    close(fd);
    return found;
}

/* The audit library has noted the program's C library: it was asked, and the search went on. */
static bool was_asked(const char *spool)
{
    DIR *d = opendir(spool);
    const struct dirent *e;
    bool asked = false;

    while (d && !asked && (e = readdir(d)))
        asked = strstr(e->d_name, SPOOL_SUFFIX) && holds(dirfd(d), e->d_name, "/libc.so");
    if (d)
        closedir(d);
    return asked;
}

uint32_t probe_audit(const char *audit_library, const char *scratch, const char *program, const char *argument)
{
    char *spool = memory_join(scratch, "probe", 5), *audit = NULL, *record = NULL;
    char *argv[] = {(char *)"dlcache", (char *)(uintptr_t)argument, NULL};
    bool works = false;
    int status;
    pid_t pid;

    if (mkdir(spool, 0700) != 0) {
        free(spool);
        return DLC_AUDIT_BAD;
    }
    if (asprintf(&audit, "LD_AUDIT=%s", audit_library) < 0 || asprintf(&record, "DLCACHE_RECORD=%s", spool) < 0)
        memory_check(NULL);
    const char *path = getenv("LD_LIBRARY_PATH");
    char *library_path;
    if (asprintf(&library_path, "LD_LIBRARY_PATH=%s", path ? path : "") < 0)
        memory_check(NULL);
    /* Without the preloaded library: this program may be one that wants a sanitizer's runtime to come first. */
    char *envp[] = {audit, record, library_path, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    if (posix_spawn(&pid, program, &actions, NULL, argv, envp) == 0) {
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
        works = WIFEXITED(status) && WEXITSTATUS(status) == 0 && was_asked(spool);
    }
    posix_spawn_file_actions_destroy(&actions);
    tree_remove(AT_FDCWD, spool);
    free(audit);
    free(record);
    free(library_path);
    free(spool);
    return works ? DLC_AUDIT_OK : DLC_AUDIT_BAD;
}

bool probe_execute(const char *dir)
{
    char *path = memory_join(dir, ".probe.XXXXXX", 13);
    const int fd = mkostemp(path, O_CLOEXEC);
    bool can = false;

    if (fd >= 0) {
        unlink(path);
        void *p = ftruncate(fd, 4096) == 0 ? mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0) : MAP_FAILED;
        can = p != MAP_FAILED;
        if (can)
            munmap(p, 4096);
        close(fd);
    }
    free(path);
    return can;
}
