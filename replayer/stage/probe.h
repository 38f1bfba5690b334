/* Does auditing work with this node's dynamic loader? Vendors patch glibc: its version does not tell; a try does. */
#ifndef DLCACHE_PROBE_H
#define DLCACHE_PROBE_H

#include <stdint.h>

/* The argument with which this program does nothing, for the probe. */
#define PROBE_ARGUMENT "--probe-audit"

/* Runs this program under the audit library of the stage in `dir`: DLC_AUDIT_OK where it was called by ld.so and the
 * program ended well, DLC_AUDIT_BAD where not. */
uint32_t probe_audit(const char *dir);

#endif
