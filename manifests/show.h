/* A summary of a manifest, for people and for programs. */
#ifndef DLCACHE_SHOW_H
#define DLCACHE_SHOW_H

#include <jansson.h>

#include "manifests/manifest.h"

/* At most 80 columns, and of each list `top` lines. What is wrong with the stream shows in ferror(f). */
void manifest_show(const struct manifest *m, FILE *f, size_t top);
/* The same as an object; a new reference. */
json_t *manifest_show_json(const struct manifest *m);

#endif
