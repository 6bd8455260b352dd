/* suite/kernels/cpu/pursuit.h - the state of a pursuit and its steps. */
#ifndef SAE_KERNELS_PURSUIT_H
#define SAE_KERNELS_PURSUIT_H

#include "cpu/cpu.h"

typedef struct sae_chase { /* one call */
    const sae_pursuit *p;
    const sae_simd *simd;
    sae_cmat w;
    const float *gram; /* [n x n] or NULL: correlations come anew for every step */
    int64_t k;         /* the largest support of a row */
    uint32_t mask;     /* of scores, see sae_screen */
    double norm;       /* of the largest atom */
} sae_chase;

/* One row, scaled by a power of two so that 1 <= |x| < 2. */
typedef struct sae_quarry {
    int64_t steps, limit; /* taken, to take at most */
    double scale, x2, r2, tol2; /* x2 = |x|^2, r2 = |r|^2 */
    double off;             /* no correlation c[j] is further than this from <r, w[j]> */
    float top;              /* largest score in c */
    int stale;              /* c must be computed from r before the next step */
    int fresh;              /* c was, and no step has changed it */
    int64_t count;          /* of the support */
    double *x, *r, *move;   /* [d] */
    double *z, *sol;        /* [k] of the support; OMP's solution, GRADIENT's correlations */
    int32_t *atom;          /* [k] the support, ascending */
    float *c;               /* [n] correlations */
    /* OMP */
    int64_t taken;
    int32_t *order;          /* [k] atoms in the order they were taken */
    double *l, *forth;       /* packed Cholesky factor by rows; L forth = <x, w> */
    unsigned char *dead;     /* [n] taken or dependent */
} sae_quarry;

/* Find the largest score of the atoms in use. */
void sae_chase_peak(const sae_chase *q, sae_quarry *s);
/* Take atom j. */
void sae_chase_step(const sae_chase *q, sae_quarry *s, int64_t j);

/* By how much c may be off: a chain of d products is rounded, and r to float, and c itself. */
static inline double sae_chase_error(const sae_chase *q, double norms)
{
    return ((double)q->w.cols + 4) * 0x1p-24 * norms + 1e-36;
}

#endif
