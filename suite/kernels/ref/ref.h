/* suite/kernels/ref/ref.h - names of the reference kernels and what their files share.
 *
 * The reference is scalar, single-threaded and accumulates in double: it says what each entry of
 * sae/kernels.h means. It is compiled once per precision; both sets of symbols can be linked into
 * one program.
 */
#ifndef SAE_KERNELS_REF_H
#define SAE_KERNELS_REF_H

#include "shared/device.h"
#include "shared/shape.h"
#include "shared/sum.h"

#ifdef SAE_REAL_IS_DOUBLE
#define SAE_REF(op) sae_k_##op##_ref64
#else
#define SAE_REF(op) sae_k_##op##_ref
#endif

#define SAE_REF_PROTOTYPE(op) SAE_DECL_##op(SAE_REF(op));
SAE_KERNEL_LIST(SAE_REF_PROTOTYPE)
#undef SAE_REF_PROTOTYPE

/* Fills every entry, abi and size included. */
void SAE_REF(table)(sae_kernels *k);

/* row_prefix: by how much the norm of a prefix, whose squares add to `sum`, is above the target.
 * Compiled once, so that every implementation rounds alike and decides alike. */
double SAE_REF(prefix_gap)(double sum, double target, int squared);

/* <a, b> by the tree of shared/sum.h. */
static inline double ref_dot(const sae_real *a, const sae_real *b, int64_t n)
{
    sae_pairwise p = {0};
    for (int64_t i0 = 0; i0 < n; i0 += SAE_SUM_BLOCK) {
        int64_t end = i0 + SAE_SUM_BLOCK < n ? i0 + SAE_SUM_BLOCK : n;
        double lane[SAE_SUM_LANES] = {0};
        for (int64_t i = i0; i < end; i++)
            lane[(i - i0) % SAE_SUM_LANES] += (double)a[i] * (double)b[i];
        sae_pairwise_add(&p, sae_fold_lanes(lane));
    }
    return sae_pairwise_total(&p);
}

#endif
