/* Reading ld.so.cache, the new format of glibc 2.2 (sysdeps/generic/dl-cache.h). Rules: cache.h. */
#include <sys/mman.h>
#include <sys/stat.h>

#include <errno.h>

#include "cache.h"
#include "libdlcache/hash.h"
#include "libdlcache/sys.h"
#include "rtld.h"

#define CACHE_MAGIC "glibc-ld.so.cache1.1"
#define OLD_MAGIC "ld.so-1.7.0"

struct cache_entry {
    int32_t flags;
    uint32_t key, value; /* offsets of the strings, from the header of the new format */
    uint32_t osversion;
    uint64_t hwcap;
};

struct cache_header {
    char magic[20];
    uint32_t entries;
    uint32_t strings_bytes;
    uint8_t flags; /* 2: little-endian; 0: not said */
    uint8_t padding[3];
    uint32_t extension; /* offset in the file, or 0 */
    uint32_t unused[3];
    struct cache_entry entry[];
};

_Static_assert(sizeof(struct cache_header) == 48 && sizeof(struct cache_entry) == 24, "as ldconfig writes it");

/* What ldconfig says of a library that this ld.so takes: FLAG_ELF_LIBC6 and the architecture. */
#if defined __x86_64__
#define CACHE_FLAGS 0x0303
#else
#define CACHE_FLAGS 0x0a03
#endif

#define EXTENSION_MAGIC 0xeaa42174u
#define TAG_HWCAPS 1u

struct section {
    uint32_t tag, flags;
    uint32_t offset, size; /* in the file */
};

struct extension {
    uint32_t magic, sections;
    struct section section[];
};

/* hwcap: the low half is the number of a directory of glibc-hwcaps, in the section's list. */
#define HWCAP_NAMED (1ull << 62)
#define HWCAP_LEVEL (0x3ffull << 32)
/* The kernel that every glibc wants since 2.26, and that there is then. */
#define OLD_KERNEL 0x030200

static struct {
    bool tried, there;
    const char *map;
    uint64_t bytes;
    const struct cache_header *header;
    uint64_t header_bytes;
} cache;

/* Checks what is mapped. */
static bool is_cache(void)
{
    uint64_t at = 0;

    /* An old cache may stand before the new one: 12-byte entries after a header of 16 bytes. */
    if (dlc_same(cache.map, OLD_MAGIC, sizeof OLD_MAGIC - 1)) {
        uint32_t entries;
        __builtin_memcpy(&entries, cache.map + 12, 4);
        at = (16 + (uint64_t)entries * 12 + 7) & ~7ull;
    }
    if (at + sizeof(struct cache_header) > cache.bytes)
        return false;
    cache.header = (const void *)(cache.map + at);
    cache.header_bytes = cache.bytes - at;
    return dlc_same(cache.header->magic, CACHE_MAGIC, sizeof cache.header->magic) &&
           (cache.header->flags == 0 || (cache.header->flags & 3) == 2) &&
           cache.header->entries <= (cache.header_bytes - sizeof(struct cache_header)) / sizeof(struct cache_entry);
}

/* The cache is tried once for a batch. False: only ld.so knows what to make of it. */
static bool cache_open(const struct view *v)
{
    const size_t len = dlc_strlen(rtld.cache);
    static char copy[4096 + 512] DLC_LARGE;
    const char *path = rtld.cache;
    struct found found;
    struct stat st;

    if (cache.tried)
        return !cache.there || cache.map;
    cache.tried = true;
    cache.there = true;
    if (v->prefix_len + len < sizeof copy && lookup(v, path, len, 0, &found) == VERDICT_FILE) {
        __builtin_memcpy(copy, v->prefix, v->prefix_len);
        __builtin_memcpy(copy + v->prefix_len, path, len + 1);
        path = copy;
    }
    const int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        cache.there = fd != -ENOENT;
        return !cache.there;
    }
    if (sys_fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(struct cache_header)) {
        cache.bytes = (uint64_t)st.st_size;
        cache.map = sys_mmap(cache.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    sys_close(fd);
    if (cache.map && !is_cache()) {
        sys_munmap((void *)(uintptr_t)cache.map, cache.bytes);
        cache.map = NULL;
    }
    return cache.map;
}

void cache_close(void)
{
    if (cache.map)
        sys_munmap((void *)(uintptr_t)cache.map, cache.bytes);
    cache.map = NULL;
    cache.tried = false;
}

static const char *text(uint32_t off)
{
    const char *base = (const char *)cache.header;

    if (off >= cache.header_bytes || !__builtin_memchr(base + off, '\0', cache.header_bytes - off))
        return NULL;
    return base + off;
}

/* The order of the file: numbers inside names count as numbers, and it is descending (glibc's _dl_cache_libcmp). */
static int compare(const char *a, const char *b)
{
    while (*a) {
        const bool da = *a >= '0' && *a <= '9', db = *b >= '0' && *b <= '9';
        if (da && db) {
            uint64_t x = 0, y = 0;
            while (*a >= '0' && *a <= '9')
                x = x * 10 + (uint64_t)(*a++ - '0');
            while (*b >= '0' && *b <= '9')
                y = y * 10 + (uint64_t)(*b++ - '0');
            if (x != y)
                return x < y ? -1 : 1;
        } else if (da != db) {
            return da ? 1 : -1;
        } else if (*a != *b) {
            return *a < *b ? -1 : 1;
        } else {
            a++, b++;
        }
    }
    return *a == *b ? 0 : -1;
}

/* Which of the loader's subdirectories an entry with HWCAP_NAMED is for; `subdirs` where for none. Its number is one of
 * the extension's list of names. */
static uint32_t subdirectory(uint32_t number)
{
    static const char top[] = "glibc-hwcaps/";
    const uint32_t at = cache.header->extension;
    const struct extension *x = (const void *)(cache.map + at);

    if (at == 0 || at % 4 || at + sizeof *x > cache.bytes || x->magic != EXTENSION_MAGIC ||
        x->sections > (cache.bytes - at - sizeof *x) / sizeof *x->section)
        return rtld.subdirs;
    for (uint32_t i = 0; i < x->sections; i++) {
        const struct section *s = &x->section[i];
        if (s->tag != TAG_HWCAPS || s->offset % 4 || s->offset > cache.bytes || s->size > cache.bytes - s->offset ||
            number >= s->size / 4)
            continue;
        const char *name = text(((const uint32_t *)(const void *)(cache.map + s->offset))[number]);
        const size_t len = name ? dlc_strlen(name) : 0, skip = sizeof top - 1;
        for (uint32_t k = 0; name && k < rtld.subdirs; k++) {
            const struct text *sub = &rtld.subdir[k];
            if (sub->len == skip + len && dlc_same(sub->p, top, skip) && dlc_same(sub->p + skip, name, len))
                return k;
        }
    }
    return rtld.subdirs;
}

const char *cache_lookup(const struct view *v, const char *name, bool *doubt)
{
    *doubt = !cache_open(v);
    if (*doubt || !cache.there)
        return NULL;

    const struct cache_entry *entries = cache.header->entry;
    uint32_t low = 0, high = cache.header->entries;
    /* The first entry of that name. */
    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        const char *key = text(entries[mid].key);
        if (!key) {
            *doubt = true;
            return NULL;
        }
        if (compare(name, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    /* The best of those for hardware, which come first; or the first of the others. */
    const char *found = NULL;
    uint32_t best = rtld.subdirs;
    for (uint32_t i = low; i < cache.header->entries; i++) {
        const struct cache_entry *e = &entries[i];
        const char *key = text(e->key);
        if (!key || compare(name, key) != 0)
            break;
        if (e->flags != CACHE_FLAGS)
            continue; /* of another architecture */
        const bool named = (e->hwcap & ~HWCAP_LEVEL) >> 32 == HWCAP_NAMED >> 32;
        if ((named ? e->hwcap & HWCAP_LEVEL : e->hwcap) || e->osversion > OLD_KERNEL) {
            *doubt = true;
            return NULL;
        }
        if (!named)
            return found ? found : text(e->value);
        const uint32_t sub = subdirectory((uint32_t)e->hwcap);
        if (sub < best) {
            best = sub;
            found = text(e->value);
        }
    }
    return found;
}
