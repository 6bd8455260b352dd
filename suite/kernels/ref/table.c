/* suite/kernels/ref/table.c - the table of reference kernels. */
#include "ref/ref.h"

void SAE_REF(table)(sae_kernels *k)
{
    k->abi = SAE_KERNELS_ABI;
    k->size = sizeof *k;
#define ASSIGN(op) k->op = SAE_REF(op);
    SAE_KERNEL_LIST(ASSIGN)
#undef ASSIGN
}
