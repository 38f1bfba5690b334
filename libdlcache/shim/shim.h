/* The preloaded library: what every wrapper is made of.
 *
 * RULES OF THE ROOM. This code runs inside somebody else's process, in any context: a signal handler, a vfork child,
 * a child forked by a program with threads, before this library's constructor, after its destructor. Therefore no
 * heap, no lock, no descriptor that stays open, no thread, no stdio, no getenv after the constructor; errno is what
 * the C library would leave, and untouched on success; any doubt means the original, silently; never exit or abort.
 * What a wrapper hands to the caller by contract (realpath's buffer, a FILE, a DIR) the C library allocates. */
#ifndef DLCACHE_SHIM_H
#define DLCACHE_SHIM_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/types.h>
#include <string.h>
#include <unistd.h>
#include <utime.h>

#include "libdlcache/handover.h"
#include "recorder/note.h"

/* The C library's headers promise that paths are not NULL; programs break the promise, and the kernel answers EFAULT. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wpointer-bool-conversion"
#pragma clang diagnostic ignored "-Wtautological-pointer-compare"
#else
#pragma GCC diagnostic ignored "-Wnonnull-compare"
#endif

/* --- the table ------------------------------------------------------------------------------------------------ */
#define SYM(ret, name, params) __attribute__((visibility("default"))) ret name params;
#include "symbols.def"
#undef SYM

enum symbol {
#define SYM(ret, name, params) SYMBOL_##name,
#include "symbols.def"
#undef SYM
    SYMBOLS
};

struct real {
#define SYM(ret, name, params) ret(*name) params;
#include "symbols.def"
#undef SYM
};

extern struct real shim_real;

/* The next definition of that function after ours. Resolved by the constructor; by the first call where one comes
 * before it. Never NULL: where there is none, a function that fails with ENOSYS. */
#define REAL(name)                                                \
    (*(__builtin_expect(shim_real.name != NULL, 1) ? shim_real.name \
                                                   : (shim_resolve(SYMBOL_##name), shim_real.name)))
void shim_resolve(enum symbol symbol);

/* older.c: what stands for a function that the C library at hand does not have; NULL: nothing does. */
void *shim_older(enum symbol symbol);

/* --- the process ---------------------------------------------------------------------------------------------- */
struct shim {
    bool serving;
    bool recording;
    bool left;            /* the process sees other files now than its stage: see process.c */
    bool chrooted;        /* a process with this memory has called chroot; root_*: what "/" was before */
    uint64_t root_dev, root_ino;
    unsigned euid, egid;  /* when it attached */
    struct stage stage;
    struct dlc_counts *counts; /* NULL: nobody asked for them */
};

extern struct shim shim; /* written by the constructor alone, but for what process.c sets */
extern struct recorder shim_recorder; /* where it is recording */

/* dlopen.c: whether objects are served there. Once, with the environment that the process began with. */
void shim_dlopen_start(char *const *envp);

/* What the audit library fills in, where there is one. */
extern struct handover shim_handover;

/* --- asking --------------------------------------------------------------------------------------------------- */

/* Length of a string of the caller's, or -1: NULL, not readable, or PATH_MAX and longer, which the kernel is to say. */
long shim_strlen(const char *path);

/* Whether n bytes of the caller's, at most a page, can be read: a list of execve's may be anything. */
bool shim_readable(const void *p, size_t n);

/* The verdict on `path` relative to dirfd (AT_FDCWD: the current directory, asked of the kernel). `flags`: LOOKUP_… */
enum verdict shim_ask(int dirfd, const char *path, unsigned flags, struct found *found);

/* A handler's stack is as small as SIGSTKSZ, 8 KiB, of which the kernel's frame takes three; what lies below it may be
 * the program's heap. So the calls that a handler may make have no buffer for the longest path: they take as much of the
 * stack as the path at hand, or this much at first, where that is not known. */
#define SHIM_SHORT 1024

/* Where a call that is not served goes: the caller's own arguments, unless they lead into the mirror. Then it is the
 * original's absolute path, in the caller's frame: a macro. */
struct pass {
    int dirfd;
    const char *path;
    uint32_t dir;
    size_t len;
};
size_t shim_pass_room(struct pass *p, int dirfd, const char *path);
void shim_pass_fill(struct pass *p, char *buf, size_t size);
#define shim_pass(p, dirfd, path)                                             \
    do {                                                                      \
        const size_t pass_room = shim_pass_room((p), (dirfd), (path));        \
        if (pass_room)                                                        \
            shim_pass_fill((p), __builtin_alloca(pass_room), pass_room);      \
    } while (0)

/* A path on its way to the kernel, as it is. A descriptor of the mirror that it names (by a link of /proc or /dev) becomes
 * one of the original first. */
const char *shim_original(const char *path);

/* A path that somebody has written out, below the mirror, is not served: it means the mirror, which somebody may be about
 * to remove. A descriptor of a mirror's directory stands for the original, for every call that takes one; therefore it
 * must come from serving alone, never from opening the mirror by name, or removing a stage would remove what it stands
 * for. The guard takes what the kernel opened: fd, or -1 with EACCES for a directory of the mirror. */
bool shim_in_mirror(const char *path);
int shim_guard(int fd);

/* The mirror's path of a node that is held there, into buf; false where it does not fit. The bytes that it takes, the NUL
 * included. */
#define MIRROR_MAX (4096 + 512)
bool shim_mirror_path(uint32_t node, char *buf, size_t size);
size_t shim_mirror_room(uint32_t node);

/* The node of an open descriptor, or DLC_NONE where it is not the mirror's. */
uint32_t shim_node_of_fd(int fd);

/* The path of an open descriptor, as the kernel says it, into `size` bytes, not terminated: its length; `size`, where it
 * may be longer; or less than 1. */
long shim_read_fd_link(int fd, char *buf, size_t size);

/* What lies at that path (or is open, where it is empty) is what was staged as that node, rather than what took its
 * place since. */
bool shim_is_original(uint32_t node, int dirfd, const char *path);

/* Whether a change to that node, or to a directory above it, is known; `bits`: DLC_D_SELF or both. */
bool shim_is_dirty(uint32_t node, unsigned bits);

/* Makes a descriptor of the mirror one of the original: the node; DLC_NONE where it was none of the mirror's. */
uint32_t shim_reopen(int fd);

/* The node that an open descriptor of the original belongs to, by its path; DLC_NONE where it is none of the image's. */
uint32_t shim_original_node_of_fd(int fd);

/* --- answering ------------------------------------------------------------------------------------------------ */

/* Stat data of a node, as this node's file system would give them. */
void shim_fill_stat(uint32_t node, struct stat *st);
/* Where st is that of a file of the mirror: the original's data instead. */
void shim_correct_stat(struct stat *st);

/* Opens what is held of that path for reading: a descriptor, or -1 with errno for a proven failure; SHIM_PASS where
 * the kernel is to be asked. */
enum { SHIM_PASS = -2 };
int shim_open(int dirfd, const char *path, int flags);

/* --- noting --------------------------------------------------------------------------------------------------- */

/* Notes an operation that returned (`failed`: with errno), but not what the stage answers. errno stays as it is. */
void shim_note_slow(enum spool_op op, bool failed, int dirfd, const char *path);
static inline void shim_note(enum spool_op op, bool failed, int dirfd, const char *path)
{
    if (__builtin_expect(shim.recording, 0))
        shim_note_slow(op, failed, dirfd, path);
}

/* A call that may have changed what is at that path came back: if it did not fail, the node's stage is told, and every
 * process of the node asks the kernel from then on. Notes the operation. `flags`: LOOKUP_NOFOLLOW, and */
enum {
    CHANGED_NAME = 1 << 8, /* a name came or went, rather than what was there was changed */
};
void shim_changed_node(uint32_t node); /* the same for one that is known already */
void shim_changed_slow(int dirfd, const char *path, unsigned flags, bool failed);
static inline void shim_changed(int dirfd, const char *path, unsigned flags, bool failed)
{
    if (shim.serving || shim.recording)
        shim_changed_slow(dirfd, path, flags, failed);
}

/* --- counting ------------------------------------------------------------------------------------------------- */

/* What the stage made of a call, where somebody wants to know: `rc` is what it answered, or SHIM_PASS. errno stays as it
 * is. Returns rc. */
void shim_count_slow(enum spool_op op, bool passed, bool failed, int dirfd, const char *path);
static inline long shim_count(enum spool_op op, long rc, int dirfd, const char *path)
{
    if (__builtin_expect(shim.counts != NULL, 0))
        shim_count_slow(op, rc == SHIM_PASS, rc == -1, dirfd, path);
    return rc;
}

#endif
