#include "notes.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>

#include "facts/memory.h"
#include "spool_read.h"

void notes_add(struct notes *n, uint32_t file, const char *path, size_t len, enum spool_op op,
               enum spool_result result, uint64_t count, uint64_t when)
{
    struct noted *p = table_find(&n->by_path, path, len);

    if (!p) {
        p = memory_new(1, sizeof *p);
        p->path = memory_bytes(path, len);
        p->first_ns = when;
        p->index = (uint32_t)n->path_count;
        p->last_file = UINT32_MAX;
        n->paths = memory_grow(n->paths, &n->path_capacity, n->path_count + 1, sizeof(struct noted *));
        n->paths[n->path_count++] = p;
        table_add(&n->by_path, p->path, p);
    }
    if (when < p->first_ns)
        p->first_ns = when;
    p->counts[op][result] += count;
    if (p->last_file != file) {
        p->last_file = file;
        n->touches = memory_grow(n->touches, &n->touch_capacity, n->touch_count + 1, sizeof *n->touches);
        n->touches[n->touch_count++] = (struct noted_touch){file, p->index};
    }
}

static void visit(void *context, const struct spool_seen *seen)
{
    struct notes *n = context;
    notes_add(n, (uint32_t)n->file_count, seen->path, seen->len, seen->op, seen->result, seen->count, seen->when);
}

/* "PID.TIME.DOOR.spool": the door, or "" for a file of another name. */
static char *door_of(const char *name)
{
    const size_t len = strlen(name) - strlen(SPOOL_SUFFIX);
    const char *dot = memrchr(name, '.', len);

    return dot ? memory_bytes(dot + 1, len - (size_t)(dot + 1 - name)) : memory_text("");
}

static void read_file(struct notes *n, const char *dir, const char *name)
{
    char *path = memory_join(dir, name, strlen(name));
    struct spool_facts facts;

    if (spool_read(path, &facts, visit, n) == 0) {
        n->files = memory_grow(n->files, &n->file_capacity, n->file_count + 1, sizeof *n->files);
        n->files[n->file_count++] = (struct noted_file){
            .pid = facts.pid,
            .start_ns = facts.start_ns,
            .rank = facts.rank,
            .host = memory_text(facts.host),
            .exe = memory_text(facts.exe),
            .door = door_of(name),
        };
        n->lost = n->lost + facts.lost < n->lost ? UINT64_MAX : n->lost + facts.lost;
        n->dead_files += facts.dead;
        n->damaged_files += facts.damaged;
    } else {
        n->damaged_files++;
    }
    free(path);
}

static int by_pid(const void *a, const void *b)
{
    const struct noted_file *x = *(struct noted_file *const *)a, *y = *(struct noted_file *const *)b;

    const int host = strcmp(x->host, y->host);
    if (host)
        return host;
    if (x->pid != y->pid)
        return x->pid < y->pid ? -1 : 1;
    return x->start_ns < y->start_ns ? -1 : x->start_ns > y->start_ns;
}

/* A process that execs keeps its pid, and a process has a file for each door: the files of one pid of a host, in time, belong
 * to one program until a door comes a second time, or the program is another. */
static void number_processes(struct notes *n)
{
    struct noted_file **sorted = memory_new(n->file_count, sizeof *sorted);
    size_t group = 0;

    for (size_t i = 0; i < n->file_count; i++)
        sorted[i] = &n->files[i];
    qsort(sorted, n->file_count, sizeof *sorted, by_pid);
    for (size_t i = 0; i < n->file_count; i++) {
        bool starts = i == 0 || sorted[i]->pid != sorted[group]->pid ||
                      strcmp(sorted[i]->host, sorted[group]->host) != 0 ||
                      strcmp(sorted[i]->exe, sorted[group]->exe) != 0;
        for (size_t k = group; k < i && !starts; k++)
            starts = strcmp(sorted[k]->door, sorted[i]->door) == 0;
        if (starts) {
            group = i;
            n->process_count++;
        }
        sorted[i]->process = n->process_count - 1;
    }
    free(sorted);
}

struct notes *notes_read(const char *dir, char **error)
{
    DIR *d = opendir(dir);
    struct notes *n;
    struct dirent *e;

    if (!d) {
        if (asprintf(error, "%s: %s", dir, strerror(errno)) < 0)
            *error = memory_text("out of memory");
        return NULL;
    }
    n = memory_new(1, sizeof *n);
    while (errno = 0, (e = readdir(d))) {
        const size_t len = strlen(e->d_name);
        if (len > strlen(SPOOL_SUFFIX) && strcmp(e->d_name + len - strlen(SPOOL_SUFFIX), SPOOL_SUFFIX) == 0)
            read_file(n, dir, e->d_name);
    }
    if (errno) {
        if (asprintf(error, "%s: %s", dir, strerror(errno)) < 0)
            *error = memory_text("out of memory");
        notes_free(n);
        n = NULL;
    } else {
        number_processes(n);
    }
    closedir(d);
    return n;
}

void notes_free(struct notes *n)
{
    if (!n)
        return;
    table_free(&n->by_path);
    for (size_t i = 0; i < n->path_count; i++) {
        free(n->paths[i]->path);
        free(n->paths[i]);
    }
    for (size_t i = 0; i < n->file_count; i++) {
        free(n->files[i].exe);
        free(n->files[i].host);
        free(n->files[i].door);
    }
    free(n->paths);
    free(n->files);
    free(n->touches);
    free(n);
}

const struct noted_file *notes_first(const struct notes *n)
{
    const struct noted_file *first = NULL;

    for (size_t i = 0; i < n->file_count; i++)
        if (!first || n->files[i].start_ns < first->start_ns)
            first = &n->files[i];
    return first;
}
