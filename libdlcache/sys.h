/* Raw system calls, and the handful of memory functions, for code that may not use the C library's.
 *
 * Each call returns what the kernel returns: a value >= 0, or -errno. errno is never touched. May be called in any
 * context: a signal handler, a vfork child, the dynamic loader before there is a C library. */
#ifndef DLCACHE_SYS_H
#define DLCACHE_SYS_H

#include <asm/unistd.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#if defined __x86_64__
static inline long sys_call6(long n, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#elif defined __aarch64__
static inline long sys_call6(long n, long a, long b, long c, long d, long e, long f)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register long x5 __asm__("x5") = f;
    __asm__ volatile("svc 0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory", "cc");
    return x0;
}
#else
#error "dlcache knows the system calls of x86-64 and aarch64"
#endif

#define sys_call(n, a, b, c, d) sys_call6((n), (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

static inline int sys_openat(int dirfd, const char *path, int flags, unsigned mode)
{
    return (int)sys_call(__NR_openat, dirfd, path, flags, mode);
}

static inline int sys_close(int fd)
{
    return (int)sys_call(__NR_close, fd, 0, 0, 0);
}

static inline long sys_read(int fd, void *buf, size_t n)
{
    return sys_call(__NR_read, fd, buf, n, 0);
}

static inline long sys_write(int fd, const void *buf, size_t n)
{
    return sys_call(__NR_write, fd, buf, n, 0);
}

static inline long sys_pread(int fd, void *buf, size_t n, uint64_t off)
{
    return sys_call(__NR_pread64, fd, buf, n, off);
}

static inline int sys_fstatat(int dirfd, const char *path, struct stat *st, int flags)
{
    return (int)sys_call(__NR_newfstatat, dirfd, path, st, flags);
}

static inline int sys_statx(int dirfd, const char *path, int flags, unsigned mask, struct statx *stx)
{
    return (int)sys_call6(__NR_statx, dirfd, (long)path, flags, mask, (long)stx, 0);
}

static inline int sys_fstat(int fd, struct stat *st)
{
    return (int)sys_call(__NR_fstat, fd, st, 0, 0);
}

/* Bytes written into buf; not terminated, as with readlink(2). */
static inline long sys_readlinkat(int dirfd, const char *path, char *buf, size_t n)
{
    return sys_call(__NR_readlinkat, dirfd, path, buf, n);
}

/* Length of the string in buf, its NUL included. */
static inline long sys_getcwd(char *buf, size_t n)
{
    return sys_call(__NR_getcwd, buf, n, 0, 0);
}

/* NULL when the kernel refuses. */
static inline void *sys_mmap(size_t len, int prot, int flags, int fd, uint64_t off)
{
    long r = sys_call6(__NR_mmap, 0, (long)len, prot, flags, fd, (long)off);
    return r < 0 && r > -4096 ? NULL : (void *)r;
}

static inline void sys_munmap(void *p, size_t len)
{
    sys_call(__NR_munmap, p, len, 0, 0);
}

static inline unsigned sys_geteuid(void)
{
    return (unsigned)sys_call(__NR_geteuid, 0, 0, 0, 0);
}

/* For large tables that most processes never touch: apart from what every process writes (Makefile: $(small)). */
#define DLC_LARGE __attribute__((section(".bss.large")))

static inline size_t dlc_strlen(const char *s)
{
    size_t n = 0;
    while (s[n])
        n++;
    return n;
}

/* st_dev as the kernel packs it for stat(2): makedev(). */
static inline uint64_t dlc_device(uint64_t major, uint64_t minor)
{
    return (major & 0xfffff000u) << 32 | (major & 0xfffu) << 8 | (minor & 0xffffff00u) << 12 | (minor & 0xffu);
}

/* True when the n bytes at both places are the same. */
static inline int dlc_same(const void *a, const void *b, size_t n)
{
    return __builtin_memcmp(a, b, n) == 0;
}

#endif
