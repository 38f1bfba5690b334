/* A message for whoever called: heap, for him to free. */
#ifndef DLCACHE_ERROR_H
#define DLCACHE_ERROR_H

/* Puts it where there is none yet: what failed first is what is told. Returns -1. */
__attribute__((format(printf, 2, 3))) int error_put(char **error, const char *format, ...);

#endif
