/* Whose a path is: what reports group by. */
#ifndef DLCACHE_PACKAGE_H
#define DLCACHE_PACKAGE_H

#include <stddef.h>

/* The package that a path belongs to: what lies directly below a directory of modules (site-packages, dist-packages,
 * lib-dynload, python3.x), by the name that it is imported by; or else the directory that it is in. Bytes of `path`
 * itself: *len of them. */
const char *manifest_package(const char *path, size_t *len);

#endif
