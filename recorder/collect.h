/* From the notes of a pilot to its manifest. */
#ifndef DLCACHE_COLLECT_H
#define DLCACHE_COLLECT_H

#include "manifests/manifest.h"
#include "notes.h"
#include "policy.h"

struct collect_request {
    const struct notes *notes;
    struct policy *policy;   /* what was asked; collect adds the program's prefixes */
    char *const *command;    /* NULL-terminated */
    const char *program;     /* the file that the command names, absolute, or NULL */
    uint64_t started_ns;     /* just before the command ran, by the clock of files: what is older, is older than that */
    int exit_status;
    char *const *environment;
    const char *cwd;         /* that the command ran in */
    /* Called for each path that is left out, or NULL. Why: "local", "outside", "excluded", "never" (policy.h), "written"
     * (by the pilot), "gone", "special" (a device, a socket, a pipe). */
    void (*left_out)(const char *path, const char *why);
};

/* What the manifest holds, and what it does not: numbers of paths, and bytes of contents. */
struct collect_report {
    uint64_t files, links, directories, absent, volatiles;
    uint64_t bytes;      /* of files that were opened, loaded or executed */
    uint64_t left[POLICY_VERDICTS]; /* by the policy */
    void (*left_out)(const char *path, const char *why); /* the request's */
    uint64_t written;    /* files that the pilot wrote */
    uint64_t gone;       /* found by the pilot, not there any more */
    uint64_t special;    /* sockets, devices, fifos */
    uint64_t unreadable; /* kept, but their contents could not be read */
    uint64_t silent;     /* programs that were started, and noted nothing */
    char *silent_example; /* the path of one, or NULL; heap */
    char *unreadable_example; /* "PATH: reason", or NULL; heap */
};

/* Looks at the file system as it is now, reads the contents of what is kept, and makes the manifest; the caller frees
 * it with manifest_free. Never NULL. Fills in *report; free with collect_report_free. */
struct manifest *collect(const struct collect_request *request, struct collect_report *report);
void collect_report_free(struct collect_report *report);

#endif
