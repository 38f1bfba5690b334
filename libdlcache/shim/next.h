/* The next definitions of many functions at once. */
#ifndef DLCACHE_NEXT_H
#define DLCACHE_NEXT_H

#include <link.h>
#include <stddef.h>

#define NEXT_MAX 256
#define NEXT_NOWHERE ((void *)-1)

/* Puts into found[i] what dlsym(RTLD_NEXT, names[i]) gives the object with the dynamic section `self`, in the version
 * that a program is linked with today; NEXT_NOWHERE where it gives NULL (and an error that it takes memory for); NULL
 * where it cannot be told with certainty, and dlsym is to be asked. At most NEXT_MAX names. For the start of the program:
 * the loader's list of objects is read as it is. */
void next_find(const ElfW(Dyn) *self, const char *const *names, size_t count, void **found);

#endif
