/* suite/core/elf.c - what a shared object needs from others, before any of its code runs.
 *
 * Reads the section headers of an ELF64 file: the dynamic symbol table and its strings.
 */
#include "core/elf.h"

#include "core/error.h"
#include "core/file.h"

#include <dlfcn.h>
#include <elf.h>
#include <string.h>

/* [off, off + bytes) of the file, or NULL if it is not all there. */
static const unsigned char *part(const sae_map *m, uint64_t off, uint64_t bytes)
{
    return off <= m->bytes && bytes <= m->bytes - off ? m->p + off : NULL;
}

static int section(const sae_map *m, const Elf64_Ehdr *e, uint64_t i, Elf64_Shdr *out)
{
    const unsigned char *p = part(m, e->e_shoff, (uint64_t)e->e_shnum * sizeof *out);
    if (!p || i >= e->e_shnum)
        return 0;
    memcpy(out, p + i * sizeof *out, sizeof *out);
    return 1;
}

/* The first symbol of the table that nobody we allow defines, or NULL. */
static const char *first_foreign(const sae_map *m, Elf64_Shdr syms, Elf64_Shdr strings,
                                 void *const *libs, int count)
{
    const unsigned char *s = part(m, syms.sh_offset, syms.sh_size);
    const char *names = (const char *)part(m, strings.sh_offset, strings.sh_size);
    if (!s || !names || strings.sh_size == 0 || names[strings.sh_size - 1])
        return "(damaged symbol table)";
    for (uint64_t i = 1; i < syms.sh_size / sizeof(Elf64_Sym); i++) {
        Elf64_Sym sym;
        memcpy(&sym, s + i * sizeof sym, sizeof sym);
        if (sym.st_shndx != SHN_UNDEF || ELF64_ST_BIND(sym.st_info) == STB_WEAK)
            continue;
        if (sym.st_name >= strings.sh_size)
            return "(damaged symbol table)";
        int known = 0;
        for (int k = 0; k < count && !known; k++)
            known = dlsym(libs[k], names + sym.st_name) != NULL;
        if (!known)
            return names + sym.st_name;
    }
    return NULL;
}

static int check(const sae_map *m, void *const *libs, int count, sae_err *err)
{
    Elf64_Ehdr e;
    const unsigned char *head = part(m, 0, sizeof e);
    if (!head || memcmp(head, ELFMAG, SELFMAG) != 0 || head[EI_CLASS] != ELFCLASS64)
        SAE_FAIL(err, SAE_EFORMAT, "not a 64-bit ELF shared object");
    memcpy(&e, head, sizeof e);
    if (e.e_type != ET_DYN || e.e_shentsize != sizeof(Elf64_Shdr))
        SAE_FAIL(err, SAE_EFORMAT, "not a shared object (link it with -shared)");
    for (uint64_t i = 0; i < e.e_shnum; i++) {
        Elf64_Shdr syms, strings;
        if (!section(m, &e, i, &syms))
            break;
        if (syms.sh_type != SHT_DYNSYM)
            continue;
        if (!section(m, &e, syms.sh_link, &strings))
            break;
        const char *foreign = first_foreign(m, syms, strings, libs, count);
        if (foreign)
            SAE_FAIL(err, SAE_EABI,
                     "undefined symbol %s: plug-ins may use libc and libm only, kernels come "
                     "through sae_ctx", foreign);
        return SAE_OK;
    }
    SAE_FAIL(err, SAE_EFORMAT, "no dynamic symbol table");
}

int sae_elf_check_imports(const char *path, sae_err *err)
{
    static const char *const allowed[] = {"libc.so.6", "libm.so.6"};
    void *libs[2] = {NULL, NULL};
    int rc = SAE_OK, count = 0;
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    for (int i = 0; i < 2; i++) {
        libs[count] = dlopen(allowed[i], RTLD_LAZY | RTLD_LOCAL);
        count += libs[count] != NULL;
    }
    rc = check(&m, libs, count, err);
    while (count > 0)
        dlclose(libs[--count]);
    sae_map_close(&m);
    return rc;
}
