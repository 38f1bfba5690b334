#include "replayer/image/objects.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts/elf.h"
#include "facts/memory.h"
#include "facts/parallel.h"
#include "libdlcache/format.h"

/* Files that stay open from when they are looked into until they are read. */
#define OPEN_MOST 256u

struct object {
    struct tree_node *node;
    char *path;
    const char *asked;
    size_t planned; /* its contents, in the plan */
    bool keep;      /* stays open */
    bool is_elf;
    int fd;
    struct elf_facts facts; /* where it is ELF */
};

void objects_want(struct objects *all, struct tree_node *n, const char *path, const char *asked,
                  const struct image_plan *plan)
{
    all->list = memory_grow(all->list, &all->capacity, all->count + 1, sizeof *all->list);
    all->list[all->count++] = (struct object){
        .node = n, .path = memory_text(path), .asked = asked, .planned = plan->data_count - 1, .fd = -1};
}

static void look_into(void *list, size_t i)
{
    struct object *o = (struct object *)list + i;
    const int fd = tree_open(o->path, 0);

    o->is_elf = fd >= 0 && elf_facts_read(fd, &o->facts) == 0;
    if (fd >= 0 && o->keep)
        o->fd = fd;
    else if (fd >= 0)
        close(fd);
}

/* Directories that ld.so will search for what this object needs: to be frozen, empty ones, too. */
static void want_search_path(struct tree *t, const char *list, const char *origin)
{
    while (list && *list) {
        const size_t len = strcspn(list, ":");
        const size_t token = strncmp(list, "$ORIGIN", 7) == 0     ? 7
                             : strncmp(list, "${ORIGIN}", 9) == 0 ? 9
                                                                  : 0;
        if (len >= token && (token || list[0] == '/')) {
            struct tree_node *missing, *dir;
            char *dirname = memory_check(malloc(strlen(origin) + len + 1));
            sprintf(dirname, "%s%.*s", token ? origin : "", (int)(len - token), list + token);
            dir = tree_walk(t, dirname, true, &missing);
            if (dir && dir->kind == DT_DIR)
                dir->wanted = true;
            else if (missing)
                missing->wanted = true;
            free(dirname);
        }
        list += len + (list[len] == ':');
    }
}

static void add(struct object *o, struct tree *t, struct image_plan *plan)
{
    if (!elf_is_loadable(&o->facts))
        return;
    plan_object(plan, o->node, &o->facts);
    if (!o->facts.interpreted)
        o->node->flags &= ~(uint32_t)DLC_N_RUN; /* static: it would see where it lies */
    /* Its $ORIGIN is the directory of the name by which it is loaded. */
    for (int i = 0; i < 2; i++) {
        const char *name = i ? o->asked : o->path;
        char *origin = memory_bytes(name, (size_t)(strrchr(name, '/') - name));
        want_search_path(t, o->facts.rpath, origin);
        want_search_path(t, o->facts.runpath, origin);
        free(origin);
    }
}

void objects_look(struct objects *all, struct tree *t, struct image_plan *plan)
{
    const unsigned most = parallel_open(OPEN_MOST, 4);
    unsigned kept = 0;

    for (size_t i = 0; i < all->count && kept < most; i++)
        kept += all->list[i].keep = !plan->data[all->list[i].planned].again;
    parallel_each(0, all->count, look_into, all->list);
    for (size_t i = 0; i < all->count; i++) {
        struct object *o = &all->list[i];
        plan->data[o->planned].fd = o->fd;
        if (o->is_elf)
            add(o, t, plan);
        elf_facts_free(&o->facts);
        free(o->path);
    }
    free(all->list);
    *all = (struct objects){0};
}
