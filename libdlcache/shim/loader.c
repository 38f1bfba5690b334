/* What the dynamic loader says of an object that it has from the mirror, or would have had. Its name in the link map
 * the audit library put right; its $ORIGIN, the directories made with it, and the texts of errors are the loader's own,
 * and put right here. Rules: shim.h. */
#include <dlfcn.h>
#include <sys/mman.h>

#include "libdlcache/sys.h"
#include "shim.h"

/* What the loader is answered from: by the audit library also before our constructor, and where that did not attach. */
static const struct stage *stage(void)
{
    return shim_handover.stage ? shim_handover.stage : shim.serving ? &shim.stage : NULL;
}

/* Auditors are not asked about a path that is to be loaded into the base name space by its number: the original would come
 * in beside what came from the mirror. There it is what dlopen does. */
static void *open_in_base(Lmid_t lmid, const char *name, int flags)
{
    (void)lmid;
    return dlopen(name, flags);
}

__attribute__((visibility("hidden"))) void *shim_dlmopen_turn(Lmid_t lmid, const char *name);

void *shim_dlmopen_turn(Lmid_t lmid, const char *name)
{
    /* What is expanded is so for the caller, and asked for. */
    if (lmid == LM_ID_BASE && shim_handover.stage && name && strchr(name, '/') && !strchr(name, '$'))
        return (void *)open_in_base;
    return (void *)REAL(dlmopen);
}

/* As dlopen.c's: with the return address that we were entered with. */
#if defined __x86_64__
__asm__(".text\n"
        ".globl dlmopen\n"
        ".type dlmopen, @function\n"
        "dlmopen:\n"
        "    .cfi_startproc\n"
        "    endbr64\n"
        "    push %rdi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    push %rsi\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    push %rdx\n"
        "    .cfi_adjust_cfa_offset 8\n"
        "    call shim_dlmopen_turn\n"
        "    pop %rdx\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    pop %rsi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    pop %rdi\n"
        "    .cfi_adjust_cfa_offset -8\n"
        "    jmp *%rax\n"
        "    .cfi_endproc\n"
        ".size dlmopen, . - dlmopen\n");
#else
__asm__(".text\n"
        ".globl dlmopen\n"
        ".type dlmopen, %function\n"
        "dlmopen:\n"
        "    .cfi_startproc\n"
        "    hint #34\n" /* bti c */
        "    stp x29, x30, [sp, #-48]!\n"
        "    .cfi_def_cfa_offset 48\n"
        "    .cfi_offset 29, -48\n"
        "    .cfi_offset 30, -40\n"
        "    mov x29, sp\n"
        "    stp x0, x1, [sp, #16]\n"
        "    str x2, [sp, #32]\n"
        "    bl shim_dlmopen_turn\n"
        "    mov x16, x0\n"
        "    ldp x0, x1, [sp, #16]\n"
        "    ldr x2, [sp, #32]\n"
        "    ldp x29, x30, [sp], #48\n"
        "    .cfi_restore 29\n"
        "    .cfi_restore 30\n"
        "    .cfi_def_cfa_offset 0\n"
        "    br x16\n"
        "    .cfi_endproc\n"
        ".size dlmopen, . - dlmopen\n");
#endif

/* Less the mirror's prefix, of a path that may be written to. */
static void strip(char *path)
{
    const size_t len = strlen(path);
    const size_t below = lookup_prefix(&stage()->view, path, len);

    if (below == len && len)
        __builtin_memcpy(path, "/", 2);
    else if (below)
        __builtin_memmove(path, path + below, len - below + 1);
}

/* The directories that are searched, of which the loader has written a list: from `own` to `info`, or only the size. */
static void put_search_path(Dl_serinfo *info, Dl_serinfo *own, bool fill)
{
    size_t bytes = own->dls_size;
    char *to = fill ? (char *)&info->dls_serpath[own->dls_cnt] : NULL;

    for (unsigned i = 0; i < own->dls_cnt; i++) {
        char *const name = own->dls_serpath[i].dls_name;
        const size_t before = strlen(name);
        strip(name);
        const size_t len = strlen(name);
        bytes -= before - len;
        if (fill) {
            info->dls_serpath[i] = (Dl_serpath){.dls_name = to, .dls_flags = own->dls_serpath[i].dls_flags};
            __builtin_memcpy(to, name, len + 1);
            to += len + 1;
        }
    }
    if (fill)
        return;
    info->dls_size = bytes; /* there may be no more of it than these two */
    info->dls_cnt = own->dls_cnt;
}

/* The loader writes the names behind `info`, where the caller has as much room as they take natively. Its own are
 * longer: they go to pages of ours first. */
static int search_path(void *handle, Dl_serinfo *info, bool fill)
{
    Dl_serinfo head;
    int rc = REAL(dlinfo)(handle, RTLD_DI_SERINFOSIZE, &head);

    if (rc != 0)
        return rc;
    Dl_serinfo *const own = sys_mmap(head.dls_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!own) /* nothing is written that there may be no room for */
        return fill ? -1 : REAL(dlinfo)(handle, RTLD_DI_SERINFOSIZE, info);
    own->dls_size = head.dls_size;
    own->dls_cnt = head.dls_cnt;
    rc = REAL(dlinfo)(handle, RTLD_DI_SERINFO, own);
    if (rc == 0)
        put_search_path(info, own, fill);
    sys_munmap(own, head.dls_size);
    return rc;
}

int dlinfo(void *handle, int request, void *arg)
{
    if (stage() && (request == RTLD_DI_SERINFO || request == RTLD_DI_SERINFOSIZE))
        return search_path(handle, arg, request == RTLD_DI_SERINFO);
    const int rc = REAL(dlinfo)(handle, request, arg);
    if (rc == 0 && stage() && request == RTLD_DI_ORIGIN)
        strip(arg);
    return rc;
}

/* What a path of the stage that begins there is longer than what it stands for; 0 where none does. */
static size_t excess(const char *at)
{
    static const char mirror[] = "/" STAGE_MIRROR "/", absent[] = "/" STAGE_ABSENT "/";
    const struct stage *s = stage();

    if (strncmp(at, s->dir, s->dir_len) != 0)
        return 0;
    if (strncmp(at + s->dir_len, mirror, sizeof mirror - 1) == 0)
        return s->dir_len + sizeof mirror - 2; /* the path begins with the slash */
    if (strncmp(at + s->dir_len, absent, sizeof absent - 1) == 0)
        return s->dir_len + sizeof absent - 1;
    return 0;
}

static bool is_within_path(char before)
{
    return (before >= 'a' && before <= 'z') || (before >= 'A' && before <= 'Z') || (before >= '0' && before <= '9') ||
           before == '.' || before == '_' || before == '-' || before == '+' || before == '/';
}

/* The text is the C library's, and this thread's until its next error. One that names the stage was composed, and lies
 * on the heap; its constants, which may not be written to, name no path. */
char *dlerror(void)
{
    char *const text = REAL(dlerror)();

    if (!text || !stage() || !strstr(text, stage()->dir))
        return text;
    char *to = text;
    for (const char *from = text; *from; *to++ = *from++)
        if (from == text || !is_within_path(from[-1]))
            from += excess(from);
    *to = '\0';
    return text;
}
