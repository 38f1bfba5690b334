/* Finding one's way in a JSON text without building what it says: for the line of an error, and to read a long array
 * element by element. Takes everything on trust, so that in a text that is not JSON it may find nothing, or something
 * odd; but it never looks beyond `end`. */
#ifndef DLCACHE_SCAN_H
#define DLCACHE_SCAN_H

#include <stddef.h>

/* One step down: to the member `key`, or, where that is NULL, to the element `index`. */
struct scan_step {
    const char *key;
    size_t index;
};

/* Behind white space. */
const char *scan_space(const char *p, const char *end);
/* Behind the value that begins at p; NULL where it has no end. */
const char *scan_skip(const char *p, const char *end);
/* Where the value begins that `count` steps lead to. NULL where they lead nowhere; *deepest is then the value that
 * has no such member or element; else the value itself. Keys are compared as they are written. */
const char *scan_find(const char *text, const char *end, const struct scan_step *steps, size_t count,
                      const char **deepest);
/* The line that p is on, from 1. */
size_t scan_line(const char *text, const char *p);

#endif
