#include "facts/elf.h"

#include <elf.h>
#include <string.h>
#include <unistd.h>

#include "libdlcache/format.h" /* this machine's byte order is the little one */
#include "facts/memory.h"

/* No real file comes near these. */
#define MOST_DYNAMIC 65536
#define MOST_NEEDED 16384
#define LONGEST_NAME 4096

/* All n bytes at `off`, or -1. */
static int read_at(int fd, void *buf, size_t n, uint64_t off)
{
    char *p = buf;

    if (off > INT64_MAX - n)
        return -1;
    while (n) {
        ssize_t got = pread(fd, p, n, (off_t)off);
        if (got <= 0)
            return -1;
        p += got;
        n -= (size_t)got;
        off += (uint64_t)got;
    }
    return 0;
}

/* Where in the file the address is, or UINT64_MAX. *left: bytes of the file's segment from there. */
static uint64_t offset_of(const Elf64_Phdr *ph, size_t count, uint64_t address, uint64_t *left)
{
    for (size_t i = 0; i < count; i++) {
        if (ph[i].p_type != PT_LOAD || address < ph[i].p_vaddr || address - ph[i].p_vaddr >= ph[i].p_filesz)
            continue;
        const uint64_t inside = address - ph[i].p_vaddr;
        if (ph[i].p_offset > UINT64_MAX - inside)
            continue;
        *left = ph[i].p_filesz - inside;
        return ph[i].p_offset + inside;
    }
    return UINT64_MAX;
}

/* The string at `index` of the table of `size` bytes at `off`, or NULL. Heap. */
static char *string_at(int fd, uint64_t off, uint64_t size, uint64_t index)
{
    char buf[LONGEST_NAME];

    if (index >= size || off > UINT64_MAX - index)
        return NULL;
    uint64_t n = size - index < sizeof buf ? size - index : sizeof buf;
    ssize_t got = off + index > INT64_MAX ? -1 : pread(fd, buf, n, (off_t)(off + index));
    if (got <= 0)
        return NULL;
    const size_t len = strnlen(buf, (size_t)got);
    return len == 0 || len == (size_t)got ? NULL : memory_bytes(buf, len);
}

static void read_names(int fd, const Elf64_Phdr *ph, size_t phnum, const Elf64_Dyn *dyn, size_t count,
                       struct elf_facts *facts)
{
    uint64_t table = UINT64_MAX, size = 0, left = 0;

    for (size_t i = 0; i < count && dyn[i].d_tag != DT_NULL; i++) {
        if (dyn[i].d_tag == DT_STRTAB)
            table = offset_of(ph, phnum, dyn[i].d_un.d_ptr, &left);
        else if (dyn[i].d_tag == DT_STRSZ)
            size = dyn[i].d_un.d_val;
        else if (dyn[i].d_tag == DT_FLAGS)
            facts->flags = (uint32_t)dyn[i].d_un.d_val;
        else if (dyn[i].d_tag == DT_FLAGS_1)
            facts->flags_1 = (uint32_t)dyn[i].d_un.d_val;
    }
    if (table == UINT64_MAX)
        return;
    if (size > left)
        size = left;
    size_t capacity = 0;
    for (size_t i = 0; i < count && dyn[i].d_tag != DT_NULL; i++) {
        char **one = dyn[i].d_tag == DT_SONAME    ? &facts->soname
                     : dyn[i].d_tag == DT_RPATH   ? &facts->rpath
                     : dyn[i].d_tag == DT_RUNPATH ? &facts->runpath
                                                  : NULL;
        char *name = NULL;
        if (dyn[i].d_tag == DT_NEEDED || (one && !*one))
            name = string_at(fd, table, size, dyn[i].d_un.d_val);
        if (!name)
            continue;
        if (one) {
            *one = name;
        } else if (facts->needed_count < MOST_NEEDED) {
            facts->needed = memory_grow(facts->needed, &capacity, facts->needed_count + 1, sizeof *facts->needed);
            facts->needed[facts->needed_count++] = name;
        } else {
            free(name);
        }
    }
}

int elf_facts_read(int fd, struct elf_facts *facts)
{
    Elf64_Ehdr h;

    *facts = (struct elf_facts){0};
    if (read_at(fd, &h, sizeof h, 0) != 0 || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 ||
        h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB)
        return -1;
    facts->type = h.e_type;
    facts->machine = h.e_machine;
    if (h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phnum == 0)
        return 0;
    Elf64_Phdr *ph = memory_new(h.e_phnum, sizeof *ph);
    if (read_at(fd, ph, h.e_phnum * sizeof *ph, h.e_phoff) == 0) {
        for (size_t i = 0; i < h.e_phnum; i++) {
            if (ph[i].p_type == PT_TLS) {
                facts->tls_size = ph[i].p_memsz;
                facts->tls_align = ph[i].p_align;
            }
            facts->interpreted |= ph[i].p_type == PT_INTERP;
            if (ph[i].p_type != PT_DYNAMIC || facts->dynamic)
                continue;
            facts->dynamic = true;
            uint64_t count = ph[i].p_filesz / sizeof(Elf64_Dyn);
            if (count > MOST_DYNAMIC)
                count = MOST_DYNAMIC;
            Elf64_Dyn *dyn = memory_new(count, sizeof *dyn);
            if (read_at(fd, dyn, count * sizeof *dyn, ph[i].p_offset) == 0)
                read_names(fd, ph, h.e_phnum, dyn, count, facts);
            free(dyn);
        }
    }
    free(ph);
    return 0;
}

bool elf_is_loadable(const struct elf_facts *facts)
{
#if defined __x86_64__
    const uint16_t machine = EM_X86_64;
#else
    const uint16_t machine = EM_AARCH64;
#endif
    return facts->machine == machine && (facts->type == ET_DYN || facts->type == ET_EXEC) && facts->dynamic;
}

void elf_facts_free(struct elf_facts *facts)
{
    free(facts->soname);
    free(facts->rpath);
    free(facts->runpath);
    for (size_t i = 0; i < facts->needed_count; i++)
        free(facts->needed[i]);
    free(facts->needed);
    *facts = (struct elf_facts){0};
}
