/* sae/stock_run.h - backward of codes of any length, in runs of rows.
 *
 * A selection without a bound on its entries (a threshold, a prefix) may list half of all B n
 * entries early in training and few of them later. Its backward pass takes as many rows at a time
 * as fit in a scratch of fixed size: all of them once the code is sparse. A run of a dense code is
 * a slab of STOCK_DENSE_ROWS rows.
 */
#ifndef SAE_STOCK_RUN_H
#define SAE_STOCK_RUN_H

#include "stock_code.h"
#include "stock_slab.h"

enum { STOCK_RUN = 1 << 20 }; /* entries of a run; more where one row may have more */

typedef struct stock_run {
    int64_t cap;
    int64_t *rowptr;   /* [B + 1] */
    stock_links links; /* [cap] */
    sae_real *val;     /* [cap] any use */
    int64_t row0;      /* the run's first row */
    sae_code part;     /* its rows as a code of their own */
} stock_run;

static inline void stock_take_run(stock_bump *s, const sae_dims *dim, int64_t B, stock_run *out)
{
    int64_t n = dim->n, most = STOCK_RUN;
    if (n == 0 || B <= most / n)
        most = B * n;
    out->cap = most > n ? most : n;
    out->rowptr = (int64_t *)stock_take(s, B < INT64_MAX ? B + 1 : -1, sizeof(int64_t));
    stock_take_links(s, n, out->cap, &out->links);
    out->val = stock_take_real(s, out->cap, 1);
}

/* The run's rows of a matrix with a row per row of the batch. */
static inline sae_cmat stock_run_rows(const stock_run *run, sae_cmat x)
{
    sae_cmat part = {x.p + run->row0 * x.ld, run->part.B, x.cols, x.ld};
    return part;
}

/* The run as a slab. */
static inline stock_slab stock_run_slab(const stock_run *run)
{
    stock_slab s = {run->row0, run->part.B, run->part.n, run->part.B};
    return s;
}

/* A number per entry of the run: of the slab's shape, or listed in a row. */
static inline sae_mat stock_run_mat(const stock_run *run, sae_real *p)
{
    const sae_code *z = &run->part;
    return z->dense ? stock_mat(p, z->B, z->n) : stock_mat(p, 1, z->nnz);
}

static inline sae_cmat stock_run_cmat(const stock_run *run, const sae_real *p)
{
    const sae_code *z = &run->part;
    return z->dense ? stock_cmat(p, z->B, z->n) : stock_cmat(p, 1, z->nnz);
}

/* out = x + alpha * v[feature] for the run's entries; out may be x. Writes val if z is sparse. */
static inline int stock_run_shift(const sae_ctx *c, const stock_run *run, sae_cmat x, double alpha,
                                  const sae_real *v, sae_mat out)
{
    if (run->part.dense)
        return c->k->shift_rows(c->dev, x, (sae_real)alpha, v, out);
    SAE_TRY(c->k->map(c->dev, SAE_FN_CLAMP, 1, 1, x, stock_run_mat(run, run->val)));
    SAE_TRY(c->k->code_scale(c->dev, &run->part, run->val, NULL, v, run->val));
    return c->k->shift_rows(c->dev, x, (sae_real)alpha, run->val, out);
}

/* out[j] += alpha * sum of v over the run's entries of feature j; of a sparse one by links.csc. */
static inline int stock_run_sum(const sae_ctx *c, const stock_run *run, const sae_real *v,
                                double alpha, sae_real *out)
{
    if (run->part.dense)
        return c->k->col_sum(c->dev, stock_run_cmat(run, v), (sae_real)alpha, out);
    return c->k->code_col_sum(c->dev, &run->links.csc, v, (sae_real)alpha, out);
}

/* Rows of a sparse code from r0 on that the scratch has room for. O(rows) host work. */
static inline int stock_run_some(const sae_ctx *c, const sae_code *z, int64_t r0, stock_run *run)
{
    int64_t chunk[STOCK_CHUNK], first, ends = 0, nnz = 0;
    int full = 0;
    SAE_TRY(stock_get(c, &first, z->rowptr + r0, sizeof first));
    for (int64_t r = r0; r <= z->B && !full; r += STOCK_CHUNK) {
        int64_t some = stock_some(z->B + 1 - r), kept = 0;
        SAE_TRY(stock_get(c, chunk, z->rowptr + r, (size_t)some * sizeof *chunk));
        while (kept < some && chunk[kept] - first <= run->cap) {
            nnz = chunk[kept] - first;
            chunk[kept++] = nnz;
        }
        SAE_TRY(stock_put(c, run->rowptr + ends, chunk, (size_t)kept * sizeof *chunk));
        ends += kept;
        full = kept < some;
    }
    if (ends < 2)
        return SAE_RECORD(c->err, SAE_ECAPACITY, "row %lld of a code: more entries than features",
                          (long long)r0);
    run->row0 = r0;
    run->part = *z;
    run->part.B = ends - 1;
    run->part.nnz = run->part.cap = nnz;
    run->part.rowptr = run->rowptr;
    run->part.idx = z->idx + first;
    run->part.val = z->val + first;
    return SAE_OK;
}

/* The run that starts at row r0 < z.B, of at least one row. */
static inline int stock_run_at(const sae_ctx *c, const sae_code *z, int64_t r0, stock_run *run)
{
    int64_t left = z->B - r0;
    if (!z->dense && (r0 > 0 || z->nnz > run->cap))
        return stock_run_some(c, z, r0, run);
    run->row0 = r0;
    run->part = *z;
    if (!z->dense)
        return SAE_OK;
    run->part.B = left < STOCK_DENSE_ROWS ? left : (int64_t)STOCK_DENSE_ROWS;
    run->part.nnz = run->part.cap = run->part.B * z->n;
    run->part.val = z->val + r0 * z->n;
    return SAE_OK;
}

#endif
