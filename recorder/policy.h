/* What of all that a pilot touched goes into its manifest, and why not the rest.
 *
 * policy_decide is pure: it looks at nothing but its arguments. What it has to know of the file system is in struct
 * policy_facts; where the program's software lies is in the prefixes (recorder/prefixes.h finds them). */
#ifndef DLCACHE_POLICY_H
#define DLCACHE_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum policy_verdict {
    POLICY_KEEP,
    POLICY_NEVER,    /* /proc, /sys, /dev, /run; /tmp, /var/tmp and /dev/shm where not included by name */
    POLICY_EXCLUDED, /* --exclude */
    POLICY_LOCAL,    /* on a file system of this node alone, or on the one that "/" is on */
    POLICY_OUTSIDE,  /* on a shared file system, but below none of the program's software prefixes */
    POLICY_VERDICTS
};

/* "kept", "never", "excluded", "local", "outside". */
extern const char *const policy_verdict_names[POLICY_VERDICTS];

/* --include or --exclude: what was asked, and the same as absolute paths without "//", "." and a slash at the end, in
 * every form that a path may match by: as asked, and with its symlinks resolved (the last one is canonical). */
struct policy_list {
    char **asked;
    size_t asked_count, asked_capacity;
    char **paths;
    size_t path_count, path_capacity;
    char **canonical; /* one for each that was asked */
    size_t canonical_count, canonical_capacity;
};

struct policy_prefix {
    char *path;     /* canonical */
    bool code_only; /* a directory that holds a program's own modules, beside who knows what data: data stay out */
};

/* All zero is the default policy, without prefixes. */
struct policy {
    bool all;
    struct policy_list include, exclude;
    struct policy_prefix *prefixes; /* sorted by policy_ready */
    size_t prefix_count, prefix_capacity;
};

struct policy_facts {
    uint32_t fs_magic;   /* statfs f_type */
    const char *fs_type; /* the type in mountinfo, or NULL */
    bool on_root;        /* on the file system that "/" is on */
    bool is_data;        /* a regular file that is neither module, bytecode, object nor program */
};

/* The verdict on a canonical path. --exclude against --include: the longer match wins, the exclusion where both are
 * the same; an inclusion holds on every file system. */
enum policy_verdict policy_decide(const struct policy *p, const char *path, const struct policy_facts *facts);

/* The longest prefix that takes the path, or NULL. */
const struct policy_prefix *policy_prefix_of(const struct policy *p, const char *path, bool is_data);

/* True for the types of shared file systems: by number, or by name for those whose number is not published. */
bool policy_is_shared(uint32_t fs_magic, const char *fs_type);

/* True when the path is `dir` or lies below it. */
bool policy_below(const char *path, const char *dir);

/* Adds to a list what was asked on the command line; relative paths are taken from the current directory. 0, or
 * -errno where `must_exist` and there is no such path. */
int policy_ask(struct policy_list *list, const char *asked, bool must_exist);

/* Adds a prefix (copied); "/" is never one. After the last, policy_ready. */
void policy_add_prefix(struct policy *p, const char *path, bool code_only);
void policy_ready(struct policy *p);

void policy_free(struct policy *p); /* what it holds, not p */

#endif
