/* What an ELF file says of itself, read with bounds checks: the file may be hostile. */
#ifndef DLCACHE_ELF_FACTS_H
#define DLCACHE_ELF_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf_facts {
    uint16_t type;   /* ET_DYN, ET_EXEC … */
    uint16_t machine;/* EM_… */
    bool dynamic;    /* has a PT_DYNAMIC */
    bool interpreted; /* has a PT_INTERP: a program of the dynamic loader's */
    uint32_t flags, flags_1;      /* DT_FLAGS, DT_FLAGS_1 */
    uint64_t tls_size, tls_align; /* PT_TLS, bytes */
    char *rpath, *runpath;        /* DT_RPATH, DT_RUNPATH, or NULL */
    char *soname;    /* DT_SONAME, or NULL */
    char **needed;   /* DT_NEEDED in order, or NULL */
    size_t needed_count;
};

/* Reads the facts of the open file. 0, or -1 when it is not a 64-bit ELF file of this machine's byte order; then
 * nothing is allocated. Damaged tables give fewer facts. Free with elf_facts_free. The file position is not used. */
int elf_facts_read(int fd, struct elf_facts *facts);

/* The dynamic loader of this machine would take it. */
bool elf_is_loadable(const struct elf_facts *facts);
void elf_facts_free(struct elf_facts *facts);

#endif
