/* dlopen where the loader's other door is shut: the audit library cannot be used with this C library, or is not wanted.
 * Rules: shim.h; signal handlers do not call dlopen.
 *
 * What is asked for by a path and held is loaded from the mirror, with what it needs, as far as the index tells all that
 * ld.so would do. Once loaded, ld.so takes each object for the one of the original: its name, its origin, its file. So
 * nothing is ever loaded twice, whoever asks for it later, and by whatever name.
 *
 * Scopes, orders and counts are ld.so's own:
 * - A first group, which needs nothing, is loaded for its constructor: it runs with ld.so's lock held, and nothing is
 *   loaded or unloaded by another thread from the first look at what is there to the end.
 * - A second one needs, by name, what ld.so would load natively, in its order: breadth first, the object itself before
 *   all others. What is there already has its place in it, too: symbols are looked for in that order.
 * - Before the first constructor, each is made the original's, and the object itself is asked for, with the caller's
 *   flags: ld.so makes it a scope of its own, calls the constructors in its order, and counts it as opened.
 * - The second group's scope is left for the object's own, and the groups are closed.
 * Whatever fails is done again natively, and that is the answer. */
#include <dlfcn.h>
#include <sys/mman.h>

#include "group.h"
#include "libdlcache/attach.h"
#include "libdlcache/loader/rtld.h"
#include "libdlcache/sys.h"

/* How it goes on: with this handle; or with the C library's function, for which everything is as the caller left it. */
struct turn {
    void *handle;
    void *next;
};

__attribute__((visibility("hidden"))) struct turn shim_dlopen_turn(const char *name, int flags);

/* dlopen looks at who calls it: a name without a slash is looked for where the caller's RUNPATH says. Natively it must
 * be entered with the return address that we were entered with, which no C compiler promises. */
#if defined __x86_64__
__asm__(".text\n"
        ".globl dlopen\n"
        ".type dlopen, @function\n"
        "dlopen:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    push %rdi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    push %rsi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    sub $8, %rsp\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    call shim_dlopen_turn\n"
        "    add $8, %rsp\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    pop %rsi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    pop %rdi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    test %rdx, %rdx\n"
        "    jne 1f\n"
        "    ret\n"
        "1:  jmp *%rdx\n"
        "    .cfi_endproc\n"
        ".size dlopen, . - dlopen\n");
#else
__asm__(".text\n"
        ".globl dlopen\n"
        ".type dlopen, %function\n"
        "dlopen:\n"
        "    .cfi_startproc\n"
        "    hint #34\n" /* bti c */
        "    stp x29, x30, [sp, #-32]!\n"
        "    .cfi_def_cfa_offset 32\n"
        "    .cfi_offset 29, -32\n"
        "    .cfi_offset 30, -24\n"
        "    mov x29, sp\n"
        "    stp x0, x1, [sp, #16]\n"
        "    bl shim_dlopen_turn\n"
        "    mov x17, x0\n"
        "    mov x16, x1\n"
        "    ldp x0, x1, [sp, #16]\n"
        "    ldp x29, x30, [sp], #32\n"
        "    .cfi_restore 29\n"
        "    .cfi_restore 30\n"
        "    .cfi_def_cfa_offset 0\n"
        "    cbnz x16, 1f\n"
        "    mov x0, x17\n"
        "    ret\n"
        "1:  br x16\n"
        "    .cfi_endproc\n"
        ".size dlopen, . - dlopen\n");
#endif

static bool active;
static DLC_LARGE char library_path[PATH_MAX]; /* as ld.so read it: programs write over their environment */

/* Somebody serves, or wants to know of, what the loader does; `off`: our own library does not. */
static bool others_audit(const char *list, bool off)
{
    const struct stage *s = &shim.stage;

    for (; list && *list; list += *list == ':') {
        const size_t n = strcspn(list, ":");
        const bool ours = n > s->dir_len && dlc_same(list, s->dir, s->dir_len) && list[s->dir_len] == '/';
        if (n && !(ours && off))
            return true;
        list += n;
    }
    return false;
}

void shim_dlopen_start(char *const *envp)
{
    const char *audit = env_value(envp, "DLCACHE_AUDIT");
    const char *path = env_value(envp, "LD_LIBRARY_PATH");
    const char *preload = env_value(envp, "LD_PRELOAD");

    /* valgrind reads what ld.so tells debuggers, and would look for symbols under the wrong names. */
    if (!shim.serving || (preload && strstr(preload, "/vgpreload_")) || others_audit(env_value(envp, "LD_AUDIT"), audit && strcmp(audit, "off") == 0) ||
        (path && strlen(path) >= sizeof library_path))
        return;
    if (path)
        strcpy(library_path, path);
    rtld_open(&shim.stage, envp);
    active = true;
}

/* One that is to be served. */
struct request {
    struct group lock; /* the first: what it is called with is this */
    struct group group;
    const char *path;
    int flags;
    void *handle;
    struct closure *closure;
};

/* ld.so has loaded them all. */
static void arrived(struct group *g)
{
    struct request *r = (void *)((char *)g - offsetof(struct request, group));
    struct closure *c = r->closure;

    for (struct link_map *map = _r_debug.r_map; map; map = map->l_next)
        for (size_t i = 0; i < c->count; i++)
            if (c->members[i].path && strcmp(c->members[i].name, map->l_name) == 0)
                c->members[i].map = map;
    for (size_t i = 0; i < c->count; i++) {
        const struct member *m = &c->members[i];
        if (!m->path || !m->map)
            continue;
        group_set_loader(g, m->map, m->loader ? m->loader->map : NULL);
        if (m->node != DLC_NONE)
            group_make_original(m->map, m->node);
    }
    r->handle = REAL(dlopen)(c->names[0], r->flags);
}

static void load(struct group *lock)
{
    struct request *r = (void *)lock;
    struct closure *c = r->closure;
    struct found found;

    if (!group_knows_objects() || shim_ask(AT_FDCWD, r->path, 0, &found) != VERDICT_FILE ||
        !closure_plan(c, r->path, found.node, library_path))
        return;
    r->group.began = arrived;
    void *group = group_open(&r->group, c->names, c->count, r->flags & (RTLD_LAZY | RTLD_NOW | RTLD_DEEPBIND));
    if (!group)
        return;
    if (r->handle)
        group_leave_scopes(&r->group, r->handle, lock);
    dlclose(group);
}

/* It is there already: ld.so finds it by its name. */
static int has_name(struct dl_phdr_info *info, size_t size, void *name)
{
    (void)size;
    return info->dlpi_name && strcmp(info->dlpi_name, name) == 0;
}

/* Up to n - 1 bytes of a file of /proc, terminated. */
static bool read_text(const char *path, char *buf, size_t n)
{
    const int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    const long got = fd >= 0 ? sys_read(fd, buf, n - 1) : -1;

    if (fd >= 0)
        sys_close(fd);
    buf[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* A debugger looks at what is loaded before the names are put right. Then it takes an object whose name has changed for
 * another one in the same place, and the breakpoints that it has put there for code. One that only looks on may. */
static bool in_debugger(void)
{
    char status[2048], path[40] = "/proc/", comm[32];

    if (!read_text("/proc/self/status", status, sizeof status))
        return true;
    const char *tracer = strstr(status, "\nTracerPid:\t");
    if (!tracer)
        return true;
    tracer += sizeof "\nTracerPid:\t" - 1;
    const size_t n = strcspn(tracer, "\n");
    if (*tracer == '0' || n > 16)
        return n > 16;
    memcpy(path + 6, tracer, n);
    memcpy(path + 6 + n, "/comm", sizeof "/comm");
    return !read_text(path, comm, sizeof comm) || strcmp(comm, "strace\n") != 0;
}

static bool may_serve(const char *name, int flags)
{
    const struct view *v = &shim.stage.view;
    const int known = RTLD_LAZY | RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE | RTLD_DEEPBIND;
    struct found found;

    if (!active || flags & ~known || !(flags & (RTLD_LAZY | RTLD_NOW)))
        return false;
    const long len = shim_strlen(name);
    if (len <= 0 || name[0] != '/' || memchr(name, '$', (size_t)len))
        return false;
    return shim_ask(AT_FDCWD, name, 0, &found) == VERDICT_FILE && v->image.nodes[found.node].object != DLC_NONE &&
           !dl_iterate_phdr(has_name, (void *)(uintptr_t)name) && !in_debugger();
}

static __attribute__((noinline)) void *serve(const char *name, int flags)
{
    struct request r = {.lock = {.began = load}, .path = name, .flags = flags};

    r.closure = sys_mmap(sizeof *r.closure, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!r.closure)
        return NULL;
    void *lock = group_open(&r.lock, NULL, 0, RTLD_LAZY);
    if (lock)
        dlclose(lock);
    sys_munmap(r.closure, sizeof *r.closure);
    return r.handle;
}

struct turn shim_dlopen_turn(const char *name, int flags)
{
    if (may_serve(name, flags)) {
        const int saved = errno;
        void *handle = serve(name, flags);
        errno = saved;
        if (handle)
            return (struct turn){handle, NULL};
    }
    return (struct turn){NULL, (void *)REAL(dlopen)};
}
