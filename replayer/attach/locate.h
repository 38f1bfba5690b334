/* Finding the project's own files: beside the running program, or where `make install` puts them. */
#ifndef DLCACHE_LOCATE_H
#define DLCACHE_LOCATE_H

/* From now on beside that file, instead of the running program. The text stays the caller's. */
void locate_from(const char *file);

/* The canonical path of "libdlcache.so", "libdlcache-audit.so", "dlcache-run", "dlcache-stage" or "dlcache-mpi.so": heap,
 * or NULL where it is in none of the places. */
char *locate(const char *name);

#endif
