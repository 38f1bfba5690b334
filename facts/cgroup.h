/* The memory that control groups leave to this process. */
#ifndef DLCACHE_CGROUP_H
#define DLCACHE_CGROUP_H

#include <stdint.h>

/* Bytes that may still be used before the limit of this process's control group, or of one above it, is reached, what
 * the kernel can take back (file pages that are no tmpfs's) counted as free. UINT64_MAX: no limit, or none that can be
 * read. `proc`: "/proc/self/cgroup"; `mounts`: "/proc/self/mountinfo"; other files in tests. Versions 1 and 2: see the
 * kernel's Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst. */
uint64_t cgroup_memory_left(const char *proc, const char *mounts);

#endif
