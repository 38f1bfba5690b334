/* This process's ld.so: what the stage knows of how it searches. No heap, no C library. */
#ifndef DLCACHE_RTLD_H
#define DLCACHE_RTLD_H

#include <link.h>
#include <stdbool.h>

#include "libdlcache/stage.h"

#define RTLD_DEFAULTS 8

struct text {
    const char *p;
    size_t len;
};

struct rtld {
    bool searches;            /* the kernel started it, for a program: LD_LIBRARY_PATH is its library path */
    bool known;               /* it is the one that the stager's node has; else the rest is not set */
    const char *library_path; /* LD_LIBRARY_PATH, or NULL */
    const char *cache;        /* the path of its cache */
    struct text lib;          /* $LIB */
    struct text platform;     /* $PLATFORM; empty: what uses it is left out */
    uint32_t subdirs, defaults;
    struct text subdir[DLC_LOADER_SUBDIRS]; /* looked into before a directory itself, in this order */
    uint64_t same_top[DLC_LOADER_SUBDIRS];  /* those that begin with the same component */
    uint8_t top_len[DLC_LOADER_SUBDIRS];    /* of that component */
    struct text default_dir[RTLD_DEFAULTS];
};

extern struct rtld rtld;

/* The directory has a subdirectory into which some ld.so, on some hardware, would look first: for one that is not
 * known. */
bool rtld_has_hardware(const struct image *im, uint32_t dir);

/* Once, when the stage is open. */
void rtld_open(const struct stage *s, char *const *envp);

#endif
