/* suite/bench/cases/work.h - matrices and codes that kernels are timed on, made when first asked
 * for and kept while the shape stays. */
#ifndef SAE_BENCH_WORK_H
#define SAE_BENCH_WORK_H

#include "bench/cases/cases.h"

enum sae_slot { /* what a buffer is */
    SLOT_DENSE_A, SLOT_DENSE_B, SLOT_DENSE_OUT, /* [B x n] */
    SLOT_X, SLOT_Y, SLOT_XHAT,                  /* [B x d] */
    SLOT_W, SLOT_GRAD, SLOT_M, SLOT_V,          /* [n x d], W of unit rows */
    SLOT_BIAS_N, SLOT_BIAS_D, SLOT_ROW,         /* [n], [d], [B] */
    SLOT_DVAL,                                  /* [B k] */
    SLOT_ROWS_DOUBLE, SLOT_LONG_DOUBLE,         /* [B], [B d] double */
    SLOT_SQUARE, SLOT_SQUARE_START, SLOT_CROSS, /* [d x d] double */
    SLOT_D_DOUBLE,                              /* [d] double */
    SLOT_TARGET,                                /* [B] double: a norm that fewer than k of the
                                                   largest values reach */
    SLOT_COUNTS, SLOT_FIRED, SLOT_FIRES,        /* [n] 64-bit */
    SLOT_QUOTA,                                 /* [n] 64-bit: B k entries in all, at least one */
    SLOT_L0,                                    /* [B] 64-bit */
    SLOTS
};

typedef struct sae_work {
    sae_cases *c;
    sae_shape s;
    void *slot[SLOTS];
    sae_code z, made; /* k random entries a row; room for what kernels make */
    sae_csc t;        /* of z */
    int rc;           /* first failure to make something */
} sae_work;

/* Another shape drops what was made for the last one. */
void sae_work_shape(sae_work *w, const sae_shape *s);
void sae_work_close(sae_work *w); /* NULL-safe; it may be used again */
sae_work *sae_cases_work(sae_cases *c, sae_err *err); /* the one of all kernels */

/* NULL after a failure, which is kept in w->rc. Reals are standard normal, the rest is 0. */
void *sae_work_get(sae_work *w, enum sae_slot slot);
sae_code *sae_work_code(sae_work *w);  /* z */
sae_code *sae_work_made(sae_work *w);  /* room for 2 B k entries */
sae_csc *sae_work_index(sae_work *w);  /* t */
/* The bound that lets about k of n standard normal values through. */
double sae_work_bound(const sae_work *w);

#endif
