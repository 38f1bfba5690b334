/* Whether the stage's record of a dynamic loader is about the one that calls. Rules: rtld.h. */
#include "rtld.h"

#include "libdlcache/attach.h"
#include "libdlcache/build_id.h"
#include "libdlcache/sys.h"

struct rtld rtld;

static bool contains(const char *text, const char *word)
{
    const size_t n = dlc_strlen(word), len = dlc_strlen(text);

    for (size_t i = 0; i + n <= len; i++)
        if (dlc_same(text + i, word, n))
            return true;
    return false;
}

/* The environment tells it of other hardware, or of another kernel, than there is. */
static bool is_misled(char *const *envp)
{
    const char *tunables = env_value(envp, "GLIBC_TUNABLES");

    return (tunables && contains(tunables, "hwcap")) || env_value(envp, "LD_HWCAP_MASK") ||
           env_value(envp, "LD_ASSUME_KERNEL");
}

static struct text take(const char **p)
{
    const struct text t = {*p, dlc_strlen(*p)};

    *p += t.len + 1;
    return t;
}

static void read_record(const struct dlc_loader *l)
{
    const char *p = l->text;

    rtld.cache = take(&p).p;
    rtld.lib = take(&p);
    rtld.platform = take(&p);
    rtld.subdirs = l->subdirs;
    rtld.defaults = l->defaults;
    for (uint32_t i = 0; i < l->subdirs; i++) {
        const struct text s = rtld.subdir[i] = take(&p);
        const char *slash = __builtin_memchr(s.p, '/', s.len);
        rtld.top_len[i] = (uint8_t)(slash ? (size_t)(slash - s.p) : s.len);
    }
    for (uint32_t i = 0; i < l->subdirs; i++)
        for (uint32_t j = 0; j < l->subdirs; j++)
            if (rtld.top_len[i] == rtld.top_len[j] && dlc_same(rtld.subdir[i].p, rtld.subdir[j].p, rtld.top_len[i]))
                rtld.same_top[i] |= 1ull << j;
    for (uint32_t i = 0; i < l->defaults; i++)
        rtld.default_dir[i] = take(&p);
}

bool rtld_has_hardware(const struct image *im, uint32_t dir)
{
    static const char *const names[] = {
        "glibc-hwcaps", "tls", "x86_64", "haswell", "xeon_phi", "avx512_1", "aarch64", "atomics", "sse2", "i686",
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (image_find(im, dir, names[i], dlc_strlen(names[i])) != DLC_NONE)
            return true;
    return false;
}

void rtld_open(const struct stage *s, char *const *envp)
{
    static const char name[] = "LD_LIBRARY_PATH=";
    const struct dlc_loader *l = s->loader;
    const void *base = NULL;
    uint8_t id[sizeof l->id];
    char *const *end;

    /* Of several, ld.so takes the last. */
    for (end = envp; *end; end++) {
        size_t i = 0;
        while (name[i] && (*end)[i] == name[i])
            i++;
        if (!name[i])
            rtld.library_path = *end + i;
    }
    while (!*end) /* more than one, where somebody has taken variables out */
        end++;
    for (const ElfW(auxv_t) *aux = (const void *)end; aux->a_type != AT_NULL; aux++)
        if (aux->a_type == AT_BASE)
            base = (const void *)aux->a_un.a_val;
    rtld.searches = base != NULL;
    const uint32_t n = build_id(base, id, sizeof id);
    rtld.known = n && n == l->id_len && dlc_same(id, l->id, n) && l->defaults <= RTLD_DEFAULTS && !is_misled(envp);
    if (rtld.known)
        read_record(l);
}
