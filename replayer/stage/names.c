#include "replayer/stage/names.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "facts/memory.h"

void names_begin(struct names *s, const struct image *im, const char *root)
{
    *s = (struct names){.im = im, .root_len = strlen(root), .dir = -1};
    s->path = memory_check(malloc(PATH_MAX + s->root_len));
    memcpy(s->path, root, s->root_len + 1);
}

void names_end(struct names *s)
{
    if (s->dir >= 0)
        close(s->dir);
    free(s->path);
}

const char *names_path(struct names *s, uint32_t node)
{
    const struct dlc_node *n = &s->im->nodes[node];

    if (node == 0) {
        s->path[s->root_len] = '\0';
        return s->path;
    }
    if (!s->in_len || s->in_path != n->parent) {
        const long len = n->parent ? image_path(s->im, n->parent, s->path + s->root_len, PATH_MAX - s->root_len) : 0;
        s->in_path = n->parent;
        s->in_len = len < 0 ? 0 : s->root_len + (size_t)len;
    }
    if (!s->in_len || s->in_len + 1 + n->name_len >= PATH_MAX)
        return NULL;
    s->path[s->root_len] = '/'; /* the first byte of any path there */
    s->path[s->in_len] = '/';
    memcpy(s->path + s->in_len + 1, name_of(s->im, node), n->name_len + 1u);
    return s->path;
}

bool names_copy_path(const struct names *s, uint32_t node, char path[PATH_MAX])
{
    memcpy(path, s->path, s->root_len);
    return image_path(s->im, node, path + s->root_len, PATH_MAX - s->root_len) >= 0;
}

bool names_at(struct names *s, uint32_t node, struct name_at *at)
{
    const uint32_t dir = s->im->nodes[node].parent;

    if (node && (s->dir < 0 || s->dir_node != dir)) {
        const char *path = names_path(s, dir);
        if (s->dir >= 0)
            close(s->dir);
        s->dir = path ? open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;
        s->dir_node = dir;
    }
    const char *path = names_path(s, node);
    *at = node && s->dir >= 0 ? (struct name_at){s->dir, name_of(s->im, node)} : (struct name_at){AT_FDCWD, path};
    return path != NULL;
}
