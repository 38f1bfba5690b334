/* One attachment for both of our libraries: the audit library, which comes first, leaves the stage that it has open to
 * the preloaded one. They share no symbols, being in different name spaces of the loader; the audit library sees the
 * other come in, and finds the handover by the entry point of its ELF header, which a library has no other use for. */
#ifndef DLCACHE_HANDOVER_H
#define DLCACHE_HANDOVER_H

#include "stage.h"

#define HANDOVER_MAGIC "dlcache's stage" /* 16 bytes, with its NUL */

struct handover {
    char magic[16];
    uint64_t bytes;            /* of struct stage, for the two libraries might not be of one build */
    const struct stage *stage; /* NULL: nothing is handed over. Never closed */
    unsigned euid;             /* whose the stage is */
};

#endif
