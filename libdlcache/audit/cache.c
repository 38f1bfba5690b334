/* Reading /etc/ld.so.cache, the new format of glibc 2.2 (sysdeps/generic/dl-cache.h). Rules: audit.h. */
#include <sys/mman.h>
#include <sys/stat.h>

#include "audit.h"
#include "libdlcache/sys.h"

#define CACHE_FILE "/etc/ld.so.cache"
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
    uint32_t extension;
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

static struct {
    const char *map;
    uint64_t bytes;
    const struct cache_header *header;
    uint64_t header_bytes;
} cache;

bool cache_open(void)
{
    struct stat st;

    if (cache.map)
        return true;
    const int fd = sys_openat(AT_FDCWD, CACHE_FILE, O_RDONLY | O_CLOEXEC, 0);

    if (fd < 0)
        return false;
    if (sys_fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(struct cache_header)) {
        cache.bytes = (uint64_t)st.st_size;
        cache.map = sys_mmap(cache.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    sys_close(fd);
    if (!cache.map)
        return false;

    uint64_t at = 0;
    /* An old cache may stand before the new one: 12-byte entries after a header of 16 bytes. */
    if (dlc_same(cache.map, OLD_MAGIC, sizeof OLD_MAGIC - 1)) {
        uint32_t entries;
        __builtin_memcpy(&entries, cache.map + 12, 4);
        at = (16 + (uint64_t)entries * 12 + 7) & ~7ull;
    }
    if (at + sizeof(struct cache_header) <= cache.bytes) {
        cache.header = (const void *)(cache.map + at);
        cache.header_bytes = cache.bytes - at;
        if (dlc_same(cache.header->magic, CACHE_MAGIC, sizeof cache.header->magic) &&
            (cache.header->flags == 0 || cache.header->flags == 2) &&
            cache.header->entries <= (cache.header_bytes - sizeof(struct cache_header)) / sizeof(struct cache_entry))
            return true;
    }
    cache_close();
    return false;
}

void cache_close(void)
{
    if (cache.map)
        sys_munmap((void *)(uintptr_t)cache.map, cache.bytes);
    cache.map = NULL;
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

const char *cache_lookup(const char *name, bool *doubt)
{
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
    const char *found = NULL;
    for (uint32_t i = low; i < cache.header->entries; i++) {
        const char *key = text(entries[i].key);
        if (!key || compare(name, key) != 0)
            break;
        if (entries[i].flags != CACHE_FLAGS)
            continue; /* of another architecture */
        if (entries[i].hwcap || entries[i].osversion) {
            *doubt = true;
            return NULL;
        }
        if (!found)
            found = text(entries[i].value);
    }
    return found;
}
