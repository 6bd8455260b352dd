/* sae/stock_slab.h - slabs: a few rows of a batch at a time, where B x n at once is too much.
 *
 *     stock_slab s = stock_slab_of(n, most);
 *     while (stock_slab_next(&s, B))
 *         ...
 */
#ifndef SAE_STOCK_SLAB_H
#define SAE_STOCK_SLAB_H

#include "stock.h"

enum { STOCK_DENSE_ROWS = 1024 }; /* of a slab that a training step works in */

typedef struct stock_slab { /* rows [r0, r0 + rows) of the batch */
    int64_t r0, rows, n;
    int64_t most; /* rows at a time */
} stock_slab;

/* Before the first slab. */
static inline stock_slab stock_slab_of(int64_t n, int64_t most)
{
    stock_slab s = {0, 0, n, most};
    return s;
}

/* The next slab; 0 at the end of B rows. */
static inline int stock_slab_next(stock_slab *s, int64_t B)
{
    s->r0 += s->rows;
    s->rows = B - s->r0 < s->most ? B - s->r0 : s->most;
    return s->rows > 0;
}

/* Work memory p of the slab's shape. */
static inline sae_mat stock_slab_mat(stock_slab s, sae_real *p)
{
    return stock_mat(p, s.rows, s.n);
}

static inline sae_cmat stock_slab_cmat(stock_slab s, const sae_real *p)
{
    return stock_cmat(p, s.rows, s.n);
}

/* The slab's rows of p [B x n]. */
static inline sae_cmat stock_slab_rows(stock_slab s, const sae_real *p)
{
    return stock_cmat(p + s.r0 * s.n, s.rows, s.n);
}

/* The slab's rows of x, which has another width. */
static inline sae_cmat stock_slab_part(stock_slab s, sae_cmat x)
{
    return stock_cmat(x.p + s.r0 * x.ld, s.rows, x.cols);
}

/* p += alpha * q, both of the slab's shape. */
static inline int stock_slab_add(const sae_ctx *c, stock_slab s, sae_real *p, double alpha,
                                 const sae_real *q)
{
    return stock_add(c, p, alpha, q, s.rows * s.n);
}

/* p *= q, likewise. */
static inline int stock_slab_mul(const sae_ctx *c, stock_slab s, sae_real *p, const sae_real *q)
{
    return c->k->mul(c->dev, 1, stock_slab_cmat(s, p), stock_slab_cmat(s, q), stock_slab_mat(s, p));
}

#endif
