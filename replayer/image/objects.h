/* What shared objects and programs say of themselves, with many requests in flight; and where ld.so will search for
 * what they need. */
#ifndef DLCACHE_OBJECTS_H
#define DLCACHE_OBJECTS_H

#include <stddef.h>

#include "replayer/image/tree.h"
#include "replayer/image/write.h"

/* All zero at first. */
struct objects {
    struct object *list;
    size_t count, capacity;
};

/* The node, whose contents were planned last, may be one: `path` is its own, `asked` one by which it was asked for,
 * which stays as it is until objects_look. */
void objects_want(struct objects *all, struct tree_node *n, const char *path, const char *asked,
                  const struct image_plan *plan);

/* Looks into all of them. Objects come into the plan; directories that ld.so will search are marked as wanted. Some
 * files stay open, for the reader to go on with. Frees what *all has. */
void objects_look(struct objects *all, struct tree *t, struct image_plan *plan);

#endif
