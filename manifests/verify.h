/* Is the file system still what a manifest says? */
#ifndef DLCACHE_VERIFY_H
#define DLCACHE_VERIFY_H

#include "manifests/diff.h"
#include "manifests/manifest.h"

struct verify_options {
    unsigned jobs; /* files in flight, 1 to 256 */
    bool digest;   /* read all contents that the manifest knows; else those of the same size and another time */
};

/* Could not be looked at. */
struct verify_trouble {
    const char *path; /* the manifest's */
    int error;        /* errno */
};

struct verify {
    struct manifest *now; /* what is there, entry by entry */
    struct diff d;        /* the manifest's entries, and `now`'s */
    struct verify_trouble *troubles;
    size_t trouble_count;
};

/* Says on a terminal how far it is (facts/progress.h). 0; or an errno where no thread could be started. m stays the caller's, to be kept as long. */
int verify_manifest(const struct manifest *m, const struct verify_options *options, struct verify *v);
void verify_free(struct verify *v);

#endif
