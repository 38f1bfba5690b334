#include "replayer/attach/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "facts/elf.h"
#include "facts/memory.h"
#include "libdlcache/format.h"
#include "replayer/attach/locate.h"
#include "replayer/attach/probe.h"
#include "replayer/attach/remove.h"

/* Of each kind so many are named. */
#define NAMED 10

static unsigned say(FILE *f, bool good, const char *what, const char *detail)
{
    fprintf(f, "%-5s %s%s%s\n", good ? "ok" : "WRONG", what, *detail ? ": " : "", detail);
    return !good;
}

static unsigned check_part(FILE *f, const char *name, const char *why)
{
    char *path = locate(name);
    const unsigned wrong = say(f, path != NULL, name, path ? path : why);

    free(path);
    return wrong;
}

static unsigned check_place(FILE *f, const char *place)
{
    struct statvfs fs;
    char detail[200];

    if (statvfs(place, &fs) != 0)
        return say(f, false, place, strerror(errno));
    if (access(place, W_OK | X_OK) != 0)
        return say(f, false, place, "stages cannot be made there");
    const bool runs = probe_execute(place);
    snprintf(detail, sizeof detail, "%.1f GB free%s", (double)fs.f_bavail * (double)fs.f_frsize / 1e9,
             runs ? "" : ", mounted noexec: shared objects would not be served (stage --dir names other places)");
    return say(f, runs, place, detail);
}

static unsigned check_loader(FILE *f)
{
    char scratch[] = "/tmp/dlcache-doctor.XXXXXX", version[64];
    char *audit = locate("libdlcache-audit.so");
    bool works = false;

    snprintf(version, sizeof version, "glibc %s", gnu_get_libc_version());
    if (audit && mkdtemp(scratch)) {
        works = probe_audit(audit, scratch, "/proc/self/exe", "--version") == DLC_AUDIT_OK;
        tree_remove(AT_FDCWD, scratch);
    }
    free(audit);
    return say(f, works, "auditing by the dynamic loader", works ? version
                                                                : "does not work here: only shared objects asked for by path are served");
}

unsigned doctor_machine(const char *places, FILE *f)
{
    unsigned wrong = check_part(f, "libdlcache.so", "is not installed beside dlcache");

    wrong += check_part(f, "libdlcache-audit.so", "is not installed beside dlcache");
    wrong += check_part(f, "dlcache-run", "is not installed beside dlcache");
    wrong += check_part(f, "dlcache-stage", "is not installed: this dlcache cannot stage");
    wrong += check_part(f, "dlcache-mpi.so", "is not installed: this dlcache cannot stage on several nodes");
    wrong += check_loader(f);
    char *list = memory_text(places), *rest = list;
    for (const char *place; (place = strsep(&rest, ":"));)
        if (*place)
            wrong += check_place(f, place);
    free(list);
    return wrong;
}

/* --- a manifest ------------------------------------------------------------------------------------------------- */

/* Control characters would do things to the terminal. */
static void put_path(FILE *f, const char *path)
{
    fputs("        ", f);
    for (const unsigned char *p = (const unsigned char *)path; *p; p++)
        fprintf(f, *p < ' ' || *p == 0x7f ? "\\x%02x" : "%c", *p);
    putc('\n', f);
}

static bool is_static(const struct manifest_entry *e)
{
    struct elf_facts facts;
    const int fd = e->kind == MANIFEST_EXECUTABLE ? open(e->path, O_RDONLY | O_CLOEXEC) : -1;
    bool alone = false;

    if (fd >= 0 && elf_facts_read(fd, &facts) == 0) {
        alone = !facts.interpreted;
        elf_facts_free(&facts);
    }
    if (fd >= 0)
        close(fd);
    return alone;
}

static bool is_gone(const struct manifest_entry *e)
{
    struct stat st;
    return e->kind != MANIFEST_ABSENT && lstat(e->path, &st) != 0;
}

static bool is_written(const struct manifest_entry *e)
{
    return e->is_volatile;
}

/* A title, and the first of the entries that are it; their number. */
static unsigned list_those(const struct manifest *m, bool (*is)(const struct manifest_entry *), const char *title,
                           FILE *f)
{
    unsigned n = 0;

    for (size_t i = 0; i < m->entry_count; i++) {
        if (!is(&m->entries[i]))
            continue;
        if (n++ == 0)
            fprintf(f, "look  %s\n", title);
        if (n <= NAMED)
            put_path(f, m->entries[i].path);
    }
    if (n > NAMED)
        fprintf(f, "        and %u more\n", n - NAMED);
    return n;
}

unsigned doctor_manifest(const struct manifest *m, FILE *f)
{
    return list_those(m, is_static, "statically linked: not served, and what they write is not seen", f) +
           list_those(m, is_written, "written in by the pilot: never frozen, new names there are asked of the file system",
                      f) +
           list_those(m, is_gone, "in the manifest, and gone", f);
}
