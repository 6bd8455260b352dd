/* suite/kernels/shared/sum.h - the summation tree of every double reduction.
 *
 * Blocks of 256 terms; inside a block 16 lanes (lane l takes terms l, l + 16, ...), folded by
 * halves; blocks are joined pairwise in order. Error: at most (16 + 4 + log2(blocks)) roundings on
 * any path. Products of two floats are exact in double, so every implementation that follows the
 * tree gives the same bits, with or without fused multiply-add.
 */
#ifndef SAE_KERNELS_SUM_H
#define SAE_KERNELS_SUM_H

#include <sae/base.h>

enum { SAE_SUM_BLOCK = 256, SAE_SUM_LANES = 16 };

/* Joins block sums pairwise as they come: a binary counter of partial sums. */
typedef struct sae_pairwise {
    uint64_t count;
    double part[48]; /* part[i]: sum of 2^i blocks, valid where bit i of count is set */
} sae_pairwise;

static inline SAE_HD void sae_pairwise_add(sae_pairwise *p, double block)
{
    int i = 0;
    for (uint64_t c = p->count++; c & 1; c >>= 1)
        block = p->part[i++] + block;
    p->part[i] = block;
}

static inline SAE_HD double sae_pairwise_total(const sae_pairwise *p)
{
    double total = 0;
    int i = 0;
    for (uint64_t c = p->count; c; c >>= 1, i++)
        if (c & 1)
            total = p->part[i] + total;
    return total;
}

static inline SAE_HD double sae_fold_lanes(double lane[SAE_SUM_LANES])
{
    for (int half = SAE_SUM_LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

#endif
