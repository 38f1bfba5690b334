/* Heap memory for our own programs: never NULL; running out of it ends the program with a message. What these return
 * is freed with free(). Not for use inside the user's process. */
#ifndef DLCACHE_MEMORY_H
#define DLCACHE_MEMORY_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void *memory_check(void *p)
{
    if (!p) {
        fputs("dlcache: out of memory\n", stderr);
        exit(2);
    }
    return p;
}

/* Zeroed. */
static inline void *memory_new(size_t count, size_t size)
{
    return memory_check(calloc(count ? count : 1, size));
}

/* The array p of *capacity elements, made larger where it has no room for `count`. New elements are not zeroed. */
static inline void *memory_grow(void *p, size_t *capacity, size_t count, size_t size)
{
    if (count <= *capacity)
        return p;
    size_t more = *capacity ? *capacity * 2 : 16;
    if (more < count)
        more = count;
    if (more > SIZE_MAX / 2 / size)
        return memory_check(NULL);
    *capacity = more;
    return memory_check(realloc(p, more * size));
}

/* The first `len` bytes of `text`, and a NUL. */
static inline char *memory_bytes(const char *text, size_t len)
{
    char *p = memory_check(malloc(len + 1));
    memcpy(p, text, len);
    p[len] = '\0';
    return p;
}

static inline char *memory_text(const char *text)
{
    return memory_bytes(text, strlen(text));
}

/* dir/name, with one slash between them. */
static inline char *memory_join(const char *dir, const char *name, size_t name_len)
{
    const size_t n = strlen(dir);
    const size_t slash = n == 0 || dir[n - 1] != '/';
    char *p = memory_check(malloc(n + slash + name_len + 1));

    memcpy(p, dir, n);
    p[n] = '/';
    memcpy(p + n + slash, name, name_len);
    p[n + slash + name_len] = '\0';
    return p;
}

#endif
