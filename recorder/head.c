#include "head.h"

#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "entries.h"
#include "facts/memory.h"

static char *interpreter_of(const struct notes *notes)
{
    const struct noted_file *first = notes_first(notes), *python = NULL;

    for (size_t i = 0; i < notes->file_count; i++) {
        const struct noted_file *f = &notes->files[i];
        const char *slash = strrchr(f->exe, '/');
        if (slash && strncmp(slash + 1, "python", 6) == 0 && (!python || f->start_ns < python->start_ns))
            python = f;
    }
    if (python)
        first = python;
    return first && first->exe[0] == '/' ? memory_text(first->exe) : NULL;
}

static void fill_search(struct manifest *m, char *const *envp)
{
    static const char *const names[] = {
        "PATH", "LD_LIBRARY_PATH", "LD_RUN_PATH", "PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONPYCACHEPREFIX",
        "VIRTUAL_ENV", "CONDA_PREFIX", "PERL5LIB", "PERLLIB", "R_HOME", "R_LIBS", "R_LIBS_SITE", "R_LIBS_USER",
        "JULIA_LOAD_PATH", "JULIA_DEPOT_PATH", "LUA_PATH", "LUA_CPATH", "NODE_PATH", "RUBYLIB", "GEM_PATH",
        "TCLLIBPATH", "CLASSPATH",
    };
    const size_t count = sizeof names / sizeof *names;

    m->search = memory_new(count, sizeof *m->search);
    for (size_t i = 0; i < count; i++) {
        const size_t n = strlen(names[i]);
        for (char *const *e = envp; e && *e; e++) {
            if (strncmp(*e, names[i], n) != 0 || (*e)[n] != '=')
                continue;
            m->search[m->search_count++] = (struct manifest_variable){memory_text(names[i]), memory_text(*e + n + 1)};
            break;
        }
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_rank(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Which ranks took part, and where. */
static void fill_ranks(struct manifest *m, const struct notes *notes)
{
    int64_t *ranks = memory_new(notes->file_count, sizeof *ranks);
    const char **hosts = memory_new(notes->file_count, sizeof *hosts);

    for (size_t i = 0; i < notes->file_count; i++) {
        ranks[i] = notes->files[i].rank;
        hosts[i] = notes->files[i].host;
    }
    qsort(ranks, notes->file_count, sizeof *ranks, by_rank);
    qsort(hosts, notes->file_count, sizeof *hosts, by_text);
    for (size_t i = 0; i < notes->file_count; i++) {
        if (ranks[i] >= 0 && (i == 0 || ranks[i] != ranks[i - 1]))
            m->ranks++;
        if (*hosts[i] && (i == 0 || strcmp(hosts[i], hosts[i - 1]) != 0))
            entries_add_text(&m->hosts, &m->host_count, hosts[i]);
    }
    free(ranks);
    free(hosts);
}

void head_fill(struct manifest *m, const struct collect_request *r)
{
    const time_t now = time(NULL);
    struct utsname uts;
    struct tm tm;
    char text[40];

    for (char *const *a = r->command; *a; a++)
        entries_add_text(&m->command, &m->command_count, *a);
    m->version = MANIFEST_VERSION;
    m->cwd = memory_text(r->cwd);
    m->host = memory_text(uname(&uts) == 0 ? uts.nodename : "");
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    m->recorded = memory_text(text);
    m->interpreter = interpreter_of(r->notes);
    m->processes = r->notes->process_count;
    fill_ranks(m, r->notes);
    m->exit_status = r->exit_status;
    fill_search(m, r->environment);
    m->policy.all = r->policy->all;
    for (size_t i = 0; i < r->policy->include.asked_count; i++)
        entries_add_text(&m->policy.include, &m->policy.include_count, r->policy->include.asked[i]);
    for (size_t i = 0; i < r->policy->exclude.asked_count; i++)
        entries_add_text(&m->policy.exclude, &m->policy.exclude_count, r->policy->exclude.asked[i]);
}
