/* The build id of an ELF object in memory: what it is, whatever it is called. Reads memory only; any context. */
#ifndef DLCACHE_BUILD_ID_H
#define DLCACHE_BUILD_ID_H

#include <elf.h>
#include <link.h>
#include <stddef.h>
#include <stdint.h>

/* The build id of the object whose ELF header is mapped at `base`, into `id`: its length; 0 where there is none, or it
 * is longer than `most`, or base is NULL. */
static inline uint32_t build_id(const void *base, uint8_t *id, size_t most)
{
    const ElfW(Ehdr) *eh = base;

    if (!eh || __builtin_memcmp(eh->e_ident, ELFMAG, SELFMAG) != 0 || eh->e_phentsize != sizeof(ElfW(Phdr)))
        return 0;
    const ElfW(Phdr) *ph = (const void *)((const char *)base + eh->e_phoff);
    for (unsigned i = 0; i < eh->e_phnum; i++) {
        if (ph[i].p_type != PT_NOTE)
            continue;
        const char *p = (const char *)base + ph[i].p_vaddr, *end = p + ph[i].p_memsz;
        const size_t align = ph[i].p_align == 8 ? 7 : 3;
        while ((size_t)(end - p) >= sizeof(ElfW(Nhdr))) {
            const ElfW(Nhdr) *n = (const void *)p;
            const size_t name = sizeof *n, desc = (name + n->n_namesz + align) & ~align;
            if (desc > (size_t)(end - p) || n->n_descsz > (size_t)(end - p) - desc)
                break;
            if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 && __builtin_memcmp(p + name, "GNU", 4) == 0) {
                if (n->n_descsz > most)
                    return 0;
                __builtin_memcpy(id, p + desc, n->n_descsz);
                return n->n_descsz;
            }
            const size_t whole = (desc + n->n_descsz + align) & ~align;
            if (whole > (size_t)(end - p))
                break;
            p += whole;
        }
    }
    return 0;
}

#endif
