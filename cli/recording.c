/* A manifest is made: its name, and what is told about it. Lines fit a terminal of 80 columns, but for paths. */
#include "cli/recording.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/cli.h"
#include "facts/memory.h"
#include "libdlcache/attach.h"
#include "manifests/bytecode.h"
#include "manifests/text.h"

int recording_wrong(const char *verb, const char *what, const char *why)
{
    fprintf(stderr, "dlcache: %s: %s%s%s\n", verb, what, why ? ": " : "", why ? why : "");
    return 2;
}

int recording_ask(const char *verb, struct policy_list *list, const char *option, const char *path, bool must_exist)
{
    const int rc = *path ? policy_ask(list, path, must_exist) : -ENOENT;

    if (rc)
        fprintf(stderr, "dlcache: %s: %s %s: %s\n", verb, option, path, strerror(-rc));
    return rc ? 2 : 0;
}

/* ------------------------------------------------------------------------------------------------------- its name */

/* How many processes the launcher started beside this one: 1 where there was none. A batch script is none of them. */
static long size_of_job(void)
{
    static const char *const names[] = {"PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *value = getenv(names[i]);
        if (value && atol(value) > 1)
            return atol(value);
    }
    return 1;
}

static void put_part(FILE *f, char letter, bool *tells_ranks)
{
    struct utsname uts;

    switch (letter) {
    case 'r': fprintf(f, "%ld", settings_rank(environ) < 0 ? 0 : settings_rank(environ)); break;
    case 'p': fprintf(f, "%ld", (long)getpid()); break;
    case 'h': fputs(uname(&uts) == 0 ? uts.nodename : "host", f); break;
    case '%': fputc('%', f); break;
    default: break;
    }
    *tells_ranks |= letter == 'r' || letter == 'p';
}

int recording_name(const char *verb, const char *output, char **name)
{
    size_t size;
    bool tells_ranks = strcmp(output, "-") == 0 || strncmp(output, "/dev/", 5) == 0;

    for (const char *p = output; (p = strchr(p, '%')); p += 2)
        if (p[1] == '\0' || !strchr("rhp%", p[1]))
            return recording_wrong(verb, "-o knows %r, %h, %p and %% alone", output);
    FILE *f = memory_check(open_memstream(name, &size));
    for (const char *p = output; *p; p++) {
        if (*p == '%')
            put_part(f, *++p, &tells_ranks);
        else
            fputc(*p, f);
    }
    fclose(f);
    memory_check(*name);
    if (!tells_ranks && size_of_job() > 1)
        return recording_wrong(verb, "every rank would write this manifest; name them apart (-o app-%r.json), or record\n"
                               "dlcache: the launcher (dlcache record -- mpiexec ...)", output);
    return 0;
}

/* ------------------------------------------------------------------------------------------------ what it came to */

static const char *plural(uint64_t n, const char *one, const char *many)
{
    return n == 1 ? one : many;
}

static void put_kept(const char *output, const struct manifest *m, const struct collect_report *r)
{
    char size[16];

    fprintf(stderr, "dlcache: %s: %" PRIu32 " process%s", output, m->processes, plural(m->processes, "", "es"));
    if (m->ranks)
        fprintf(stderr, ", %" PRIu32 " rank%s", m->ranks, plural(m->ranks, "", "s"));
    if (m->host_count > 1)
        fprintf(stderr, ", %zu hosts", m->host_count);
    fprintf(stderr, "\ndlcache: kept: %" PRIu64 " file%s (%s to stage), %" PRIu64 " absent name%s\n"
            "dlcache:       %" PRIu64 " director%s, %" PRIu64 " symlink%s\n",
            r->files, plural(r->files, "", "s"), cli_size(r->bytes, size), r->absent, plural(r->absent, "", "s"),
            r->directories, plural(r->directories, "y", "ies"), r->links, plural(r->links, "", "s"));
}

void recording_left_out(const char *path, const char *why)
{
    char *plain = text_plain(path);

    fprintf(stderr, "dlcache: left out (%s): %s\n", why, plain);
    free(plain);
}

static void put_left(uint64_t count, const char *why)
{
    if (count)
        fprintf(stderr, "dlcache: left out: %" PRIu64 " %s\n", count, why);
}

static void put_left_out(const struct collect_report *r)
{
    put_left(r->left[POLICY_LOCAL], "on file systems of this node alone (--include keeps)");
    put_left(r->left[POLICY_OUTSIDE], "outside the program's software (--include keeps)");
    put_left(r->left[POLICY_EXCLUDED], "by --exclude");
    put_left(r->left[POLICY_NEVER], "in /proc, /sys, /dev, /run or a temporary directory");
    put_left(r->written, "that the program wrote");
    put_left(r->gone, "that are gone since");
    put_left(r->special, "devices, sockets and pipes");
}

/* What the notes lack. */
static void put_trouble(const struct notes *notes, const struct collect_report *r)
{
    if (r->unreadable)
        fprintf(stderr, "dlcache: %" PRIu64 " file%s could not be read:\ndlcache:   %s\n", r->unreadable,
                plural(r->unreadable, "", "s"), r->unreadable_example ? r->unreadable_example : "");
    if (notes->lost || notes->dead_files)
        fprintf(stderr, "dlcache: %" PRIu64 " notes were lost: there was no room for them (see --spool)\n",
                notes->lost);
    if (r->silent) {
        char *path = text_plain(r->silent_example);
        fprintf(stderr, "dlcache: not noted: %" PRIu64 " program%s that ran without the recorder:\ndlcache:   %s\n",
                r->silent, plural(r->silent, "", "s"), path);
        free(path);
    }
    if (notes->damaged_files)
        fprintf(stderr, "dlcache: %" PRIu32 " spool file%s damaged; what could be read is kept\n",
                notes->damaged_files, plural(notes->damaged_files, " was", "s were"));
    if (notes->file_count == 0)
        fputs("dlcache: no process noted anything. Is the command statically linked, does\n"
              "dlcache: it clear its environment, or is DLCACHE_DISABLE set?\n", stderr);
    else if (r->files + r->links + r->directories + r->absent == 0 && r->left[POLICY_LOCAL])
        fputs("dlcache: nothing was kept: what the program touched is on file systems of\n"
              "dlcache: this node alone, which need no cache. To keep some all the same:\n"
              "dlcache:   dlcache record --include /usr ...\n", stderr);
}

/* Commands are to be copied: never cut. */
static void put_bytecode(const char *output, const struct manifest *m)
{
    enum { NAMED = 3 };
    struct bytecode b;

    bytecode_of(m, &b);
    const size_t n = b.absent + b.stale;
    if (n)
        fprintf(stderr, "dlcache: %zu Python module%s compiled at every start, for want of bytecode:\n", n,
                plural(n, " is", "s are"));
    if (b.stale)
        fprintf(stderr, "dlcache: (of %zu there is some, but not of the source as it is now)\n", b.stale);
    for (size_t i = 0; i < b.count && i < NAMED; i++) {
        char *command = bytecode_command(m, &b.places[i]);
        fprintf(stderr, "dlcache:   %s\n", command);
        free(command);
    }
    if (b.count > NAMED)
        fprintf(stderr, "dlcache:   and %zu more (dlcache show %s)\n", b.count - NAMED,
                strcmp(output, "-") == 0 ? "M" : output);
    bytecode_free(&b);
}

/* The last lines: where the pilot wrote in directories that would else be frozen. What writes there costs the file
 * system requests in every rank, and writers that the shim cannot see go on unseen: somebody should look. */
static void name_volatiles(const char *output, const struct manifest *m, const struct collect_report *r)
{
    enum { NAMED = 5 };
    uint64_t named = 0;

    if (r->volatiles == 0)
        return;
    fprintf(stderr, "dlcache: %" PRIu64 " director%s written in: the file system is asked for new names:\n",
            r->volatiles, plural(r->volatiles, "y was", "ies were"));
    for (size_t i = 0; i < m->entry_count && named < NAMED; i++) {
        if (!m->entries[i].is_volatile)
            continue;
        char *path = text_plain(m->entries[i].path);
        fprintf(stderr, "dlcache:   %s\n", path);
        free(path);
        named++;
    }
    if (r->volatiles > named)
        fprintf(stderr, "dlcache:   and %" PRIu64 " more (\"volatile\" in %s)\n", r->volatiles - named,
                strcmp(output, "-") == 0 ? "the manifest" : output);
    fputs("dlcache: caches there can be moved elsewhere: see doc/writers.md\n", stderr);
}

int recording_write(const char *output, const struct collect_request *request)
{
    struct collect_report report;
    char *error = NULL;
    struct manifest *m = collect(request, &report);
    const int rc = manifest_save(m, output, &error);

    if (rc == 0) {
        put_kept(output, m, &report);
        put_left_out(&report);
        put_trouble(request->notes, &report);
        put_bytecode(output, m);
        name_volatiles(output, m, &report);
    } else {
        fprintf(stderr, "dlcache: %s\n", error);
    }
    free(error);
    manifest_free(m);
    collect_report_free(&report);
    return rc == 0 ? 0 : 2;
}
