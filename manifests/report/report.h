/* A manifest as a page to look at: one HTML file that needs nothing else, made of page.html, page.css and the scripts
 * beside this file, and of figures as JSON. */
#ifndef DLCACHE_REPORT_H
#define DLCACHE_REPORT_H

#include <jansson.h>

#include "manifests/manifest.h"

/* Writes the page, whole or not at all ("-": standard output). */
int report_write(const struct manifest *m, const char *file, char **error);

/* What the page shows. However large the manifest, this is not: lists end with what matters. A new reference. */
json_t *report_figures(const struct manifest *m);

#endif
