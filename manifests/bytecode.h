/* Python modules that every process compiles again, for want of bytecode that Python takes: the one place that says
 * which. Import looks for a module's bytecode and reads it; where it is not there, or is that of another source, it
 * reads the source, and compiles. What is never looked for (a script's) is never missed. */
#ifndef DLCACHE_BYTECODE_H
#define DLCACHE_BYTECODE_H

#include "manifests/manifest.h"

/* A package, or a directory of modules, that compiling at once would do. */
struct bytecode_place {
    char *directory;
    size_t absent, stale; /* modules; in all and of one place at least one */
    bool plain;           /* of some the bytecode of `python3` is meant */
    char level;           /* of others that of `python3 -O` ('1') or `-OO` ('2'); 0: of none */
};

struct bytecode {
    struct bytecode_place *places; /* most modules first */
    size_t count, capacity;
    size_t absent, stale;          /* modules in all */
};

/* What the manifest says about it. Free with bytecode_free. */
void bytecode_of(const struct manifest *m, struct bytecode *b);
void bytecode_free(struct bytecode *b);

/* The command that makes the bytecode there, with the Python that ran: heap. */
char *bytecode_command(const struct manifest *m, const struct bytecode_place *p);

/* Of ".../__pycache__/name.cpython-311.pyc" the path ".../name.py", heap; NULL for any other path. */
char *bytecode_source(const char *path);

/* Whether bytecode that begins with these bytes is not that of a source of this time and size, or no bytecode at all
 * (PEP 552). Where it goes by the source's hash, that is not known: then it is taken for good. */
#define BYTECODE_HEAD 16
bool bytecode_is_stale(const uint8_t *head, size_t len, int64_t mtime_s, uint64_t size);

#endif
