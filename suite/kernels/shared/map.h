/* suite/kernels/shared/map.h - what map computes of a number. */
#ifndef SAE_KERNELS_MAP_H
#define SAE_KERNELS_MAP_H

#include <math.h>
#include <sae/kernels.h>

static inline SAE_HD double sae_map_number(enum sae_fn f, double p, double q, double x)
{
    if (x != x)
        return x;
    switch (f) {
    case SAE_FN_EXP:
        return exp(x);
    case SAE_FN_TANH:
        return tanh(x);
    case SAE_FN_ABS:
        return fabs(x);
    case SAE_FN_SIGN:
        return (x > 0) - (x < 0);
    case SAE_FN_POWER:
        return x > 0 ? pow(x, p) : 0;
    default:
        return x < p ? p : x > q ? q : x;
    }
}

#endif
