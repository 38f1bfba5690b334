/* Trying what cannot be told from a version or a mount option. */
#ifndef DLCACHE_PROBE_H
#define DLCACHE_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "libdlcache/format.h"

/* The argument with which the stager does nothing, for the probe. */
#define PROBE_ARGUMENT "--probe-audit"

/* Does auditing work with this node's dynamic loader? Vendors patch glibc: its version does not tell. Runs `program`,
 * with `argument`, under the audit library of that path: DLC_AUDIT_OK where ld.so called it and the program ended well,
 * DLC_AUDIT_BAD where not. `scratch`: a directory in which a directory can be made meanwhile. */
uint32_t probe_audit(const char *audit_library, const char *scratch, const char *program, const char *argument);

/* How this node's dynamic loader searches: runs this program, with `argument`, and lets ld.so say it. All zero where it
 * does not, or says what is not understood. `scratch`: a directory in which a file can be made meanwhile. */
void probe_loader(struct dlc_loader *loader, const char *scratch, const char *argument);

/* Code can be mapped from files in that directory: a hardened /dev/shm is mounted noexec. */
bool probe_execute(const char *dir);

#endif
