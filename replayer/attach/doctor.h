/* Looking over a machine, and over a manifest, for what will keep dlcache from helping, or from seeing a change. */
#ifndef DLCACHE_DOCTOR_H
#define DLCACHE_DOCTOR_H

#include <stdio.h>

#include "manifests/manifest.h"

/* Checks this node: the parts of the installation, the places for stages (A:B:C), the dynamic loader. Prints a line for
 * each on f. The number of things that are wrong. */
unsigned doctor_machine(const char *places, FILE *f);

/* Names what in the manifest nobody sees change (programs that are statically linked, directories that the pilot wrote in)
 * and what is gone. Prints on f. The number of things to look at. */
unsigned doctor_manifest(const struct manifest *m, FILE *f);

#endif
