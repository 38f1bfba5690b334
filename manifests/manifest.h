/* A manifest in memory: what a program touched. The file's format described by manifests/manifest.schema.json and
 * manifests/README.md. Paths are bytes: they are never empty, begin with '/', hold no NUL, and need not be UTF-8.
 *
 * Errors: functions that can fail return 0 or -1, and then *error holds a heap-allocated message for a person (with
 * the file's name, and the line where there is one), which the caller frees. Not for use inside the user's
 * process. */
#ifndef DLCACHE_MANIFEST_H
#define DLCACHE_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define MANIFEST_FORMAT "dlcache-manifest"
#define MANIFEST_VERSION 1

enum manifest_kind {
    MANIFEST_MODULE,        /* Python source (.py), or a zip of them on the path */
    MANIFEST_BYTECODE,      /* .pyc */
    MANIFEST_SHARED_OBJECT, /* ELF ET_DYN that was, or can be, loaded by the dynamic loader */
    MANIFEST_EXECUTABLE,    /* a program or script that was executed */
    MANIFEST_DATA,          /* any other regular file */
    MANIFEST_DIRECTORY,
    MANIFEST_SYMLINK,
    MANIFEST_ABSENT,        /* looked up and not found */
    MANIFEST_KINDS
};

/* "module", "bytecode", "shared-object", "executable", "data", "directory", "symlink", "absent". */
extern const char *const manifest_kind_names[MANIFEST_KINDS];

/* What was done with a path, all processes together. */
struct manifest_counts {
    uint64_t stat;  /* stat, access, readlink and their families */
    uint64_t open;  /* opened for reading */
    uint64_t list;  /* opened as a directory */
    uint64_t load;  /* tried by the dynamic loader */
    uint64_t exec;  /* executed */
    uint64_t write; /* opened for writing, created, removed, renamed, changed */
};

struct manifest_entry {
    char *path;
    enum manifest_kind kind;
    bool is_volatile;     /* directory: the pilot wrote in it */
    bool is_stale;        /* bytecode: that of another source than was there (manifests/bytecode.h) */
    bool has_stat;        /* size, mtime_ns and mode are known (never for absent) */
    bool has_digest;      /* regular file that was read whole when recorded */
    uint64_t size;        /* bytes */
    int64_t mtime_ns;     /* since the epoch */
    uint32_t mode;        /* st_mode, type included */
    uint8_t digest[16];   /* XXH3-128 of the contents, canonical (big-endian) */
    char *target;         /* symlink: its text; else NULL */
    char *soname;         /* shared object: DT_SONAME, or NULL */
    char **needed;        /* shared object: DT_NEEDED in order, or NULL */
    size_t needed_count;
    struct manifest_counts counts;
    uint64_t order;       /* rank of the first touch among all entries, from 0; recorders number them densely */
    uint64_t first_ns;    /* when it was first touched, since the program started */
    uint32_t processes;   /* that touched it; a child that executes nothing counts with its parent */
    uint32_t ranks;       /* of MPI or Slurm that touched it; 0: none, or not known */
    uint32_t pilots;      /* that touched it, where several were merged; else 0 */
};

/* A run that is in a merged manifest. */
struct manifest_pilot {
    char *id;       /* XXH3-128 of its own manifest: 32 hexadecimal digits */
    char **command; /* argv */
    size_t command_count;
    char *host, *recorded; /* or NULL */
    uint32_t processes, ranks;
    int exit_status;
};

struct manifest_mount {
    char *point, *type, *source, *root; /* as in /proc/self/mountinfo, unescaped */
};

struct manifest_variable {
    char *name, *value;
};

struct manifest {
    int version;
    char **command; /* argv */
    size_t command_count;
    char *cwd;
    char *host;
    char *recorded;    /* ISO 8601, UTC */
    char *interpreter; /* resolved path of the program, or of the Python that ran it; may be NULL */
    uint32_t processes;/* that took part in the pilot, counted likewise */
    uint32_t ranks;    /* of MPI or Slurm that took part */
    char **hosts;      /* that they ran on, sorted, none twice */
    size_t host_count;
    int exit_status;   /* of the command, as a shell would say it */
    struct manifest_variable *search; /* PATH, LD_LIBRARY_PATH, PYTHONPATH, PYTHONHOME, VIRTUAL_ENV…, those set */
    size_t search_count;
    struct manifest_mount *mounts; /* those that the entries lie on */
    size_t mount_count;
    struct { /* what was asked, and what it came to */
        bool all;
        char **include;
        size_t include_count;
        char **exclude;
        size_t exclude_count;
        char **prefixes; /* directories below which entries were kept, and may be frozen */
        size_t prefix_count;
    } policy;
    struct manifest_pilot *pilots; /* of a merged one: by id; the rest of the head is that of the one recorded last */
    size_t pilot_count;
    struct manifest_entry *entries; /* sorted by path bytes, no path twice */
    size_t entry_count;
    size_t entry_capacity;
};

/* An empty manifest; never NULL (out of memory ends the program with a message). */
struct manifest *manifest_new(void);
void manifest_free(struct manifest *m); /* NULL is fine */
void manifest_pilots_free(struct manifest *m);

/* Reads the file ("-": standard input). */
struct manifest *manifest_load(const char *file, char **error);

/* Writes atomically: a temporary file beside it, synced, renamed over it ("-": standard output). The entries are
 * sorted first. */
int manifest_save(struct manifest *m, const char *file, char **error);

/* Writes it to f, sorted as it is: 0, or -1 with errno. */
int manifest_put(const struct manifest *m, FILE *f);

/* Whether manifest_save could write there, before much work is done for it. Leaves nothing behind. */
int manifest_may_save(const char *file, char **error);

/* Appends an entry with that path (copied) and returns it, zeroed otherwise; valid until the next call. */
struct manifest_entry *manifest_add(struct manifest *m, const char *path, enum manifest_kind kind);
/* Appends that entry, and what it points to is the manifest's from now on. */
struct manifest_entry *manifest_append(struct manifest *m, const struct manifest_entry *e);
/* Frees what an entry points to. */
void manifest_entry_free(struct manifest_entry *e);

/* Sorts the entries by path bytes; manifest_find needs it. */
void manifest_sort(struct manifest *m);
const struct manifest_entry *manifest_find(const struct manifest *m, const char *path);

/* a + b, and INT64_MAX where it would be more: that is as far as a JSON number goes. */
uint64_t manifest_sum(uint64_t a, uint64_t b);

/* Whether entries of that kind are regular files. */
bool manifest_has_contents(enum manifest_kind kind);

/* All of them together. */
uint64_t manifest_calls(const struct manifest_counts *c);

/* Sum of the sizes of entries that have contents. */
uint64_t manifest_bytes(const struct manifest *m);

#endif
