/* How two search paths differ, element by element. */
#ifndef DLCACHE_SEARCH_PATH_H
#define DLCACHE_SEARCH_PATH_H

#include <stddef.h>

enum search_path_what { SEARCH_PATH_REMOVED, SEARCH_PATH_ADDED, SEARCH_PATH_MOVED };

struct search_path_change {
    enum search_path_what what;
    char *element;     /* "" is the current directory */
    size_t place, was; /* from 1: in the first one where it was removed, else in the second; was: moved from there */
};

struct search_path_changes {
    struct search_path_change *list; /* those removed, in their order; then the others, in theirs */
    size_t count, capacity;
};

/* Each is a text with ':' between the elements; "" or NULL has none. An element has moved where its place among those
 * that both have is another one: what else came or went has moved nothing. Free with search_path_free. */
void search_path_compare(const char *a, const char *b, struct search_path_changes *changes);
void search_path_free(struct search_path_changes *changes);

#endif
