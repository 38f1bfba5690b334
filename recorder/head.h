/* The head of a manifest: what ran, where, and how it looks for its files. */
#ifndef DLCACHE_HEAD_H
#define DLCACHE_HEAD_H

#include "collect.h"

/* Fills in everything but the entries, the mounts and the effective prefixes. */
void head_fill(struct manifest *m, const struct collect_request *request);

#endif
