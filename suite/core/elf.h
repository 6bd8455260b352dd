/* suite/core/elf.h - what a shared object needs from others, before any of its code runs. */
#ifndef SAE_CORE_ELF_H
#define SAE_CORE_ELF_H

#include <sae/base.h>

/* SAE_EFORMAT unless path is a shared object for this machine; SAE_EABI naming the first undefined
 * symbol that neither libc nor libm defines. */
int sae_elf_check_imports(const char *path, sae_err *err);

#endif
