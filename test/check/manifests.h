/* What the suites about manifests share: a scratch directory with two files in it, and manifests made of text. */
#ifndef DLCACHE_CHECK_MANIFESTS_H
#define DLCACHE_CHECK_MANIFESTS_H

#include <check.h>

#include "manifests/manifest.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

#define HEAD "{\"format\":\"dlcache-manifest\",\"version\":1,\"command\":[],\"policy\":{\"prefixes\":[\"/\"]},\n"
#define ONE(members) HEAD "\"entries\":[\n{\"path\":\"/a\",\"kind\":\"data\"},\n{" members "}\n]}\n"

extern char place[64], file[80], other[80];

void write_bytes(const char *path, const char *bytes, size_t n);
/* All of a file of less than a megabyte: heap. */
char *read_bytes(const char *path, size_t *n);

/* These assert that it goes well. */
struct manifest *load(const char *path);
void save(struct manifest *m, const char *path);
/* Loads the text, from `file`. */
struct manifest *from_text(const char *text);

/* n texts: heap. */
char **list_of(size_t n, ...);
/* Every member is set, to something else than zero. */
struct manifest *full(void);

/* Its tests begin and end with an empty directory. */
TCase *manifests_case(Suite *suite, const char *name);

#endif
