/* suite/kernels/cpu/pursuit.c - sparse codes by greedy selection.
 *
 * Floats screen, doubles decide. Correlations of a row with all atoms are kept in float together
 * with a bound of their error; every atom that might be the best is then compared by its product
 * with the residual in double. So the atoms taken are those of exact arithmetic (to double
 * precision) however the correlations were had, and a row's result depends neither on its batch nor
 * on the number of threads.
 *
 * Correlations come from a product of the residuals of many rows with all atoms. Matching pursuit
 * on large batches computes the Gram matrix instead and subtracts a row of it at each step (Mallat
 * & Zhang 1993), until the bound is no longer small beside the best score.
 */
#include "cpu/pursuit.h"

#include <math.h>
#include <omp.h>
#include <string.h>

/* Rows that share a product; bytes that they may take; the largest Gram matrix: 1 GiB. */
enum { BLOCK = 256, ROOM = 1 << 27, GRAM_MOST = 1 << 28 };

/* ---- one row --------------------------------------------------------------------------------- */

static int finished(const sae_quarry *s)
{
    return s->steps >= s->limit || !(s->r2 > s->tol2);
}

/* The largest float that is not above v. */
static float below(double v)
{
    float f = (float)v;
    return (double)f > v ? nextafterf(f, -INFINITY) : f;
}

/* The best atom, of those whose score may be the largest; the first of equals. -1: none. */
static int64_t best_atom(const sae_chase *q, const sae_quarry *s)
{
    float lo = below((double)s->top - 2 * s->off);
    double best = 1e-12 * sqrt(s->x2) * q->norm;
    int64_t at = -1;
    for (int64_t j0 = 0; j0 < q->w.rows; j0 += SAE_SCAN) {
        uint64_t nan;
        int count = (int)min_i64(SAE_SCAN, q->w.rows - j0);
        uint64_t hit = q->simd->scan(s->c + j0, count, q->mask, &lo, 0, &nan);
        for (; hit; hit &= hit - 1) {
            int64_t j = j0 + __builtin_ctzll(hit);
            double score = q->simd->wide_dot(s->r, row_of(q->w, j), q->w.cols);
            if (!q->p->positive)
                score = fabs(score);
            if (score > best) {
                best = score;
                at = j;
            }
        }
    }
    return at;
}

/* Step until the row ends or its correlations are needed anew. */
static void advance(const sae_chase *q, sae_quarry *s)
{
    enum { FEW = 32 }; /* beyond this share of the top, the errors let too many atoms pass */
    while (!finished(s) && !s->stale) {
        if (!s->fresh && FEW * s->off > (double)s->top) {
            s->stale = 1;
            return;
        }
        int64_t j = best_atom(q, s);
        if (j < 0)
            s->limit = s->steps;
        else
            sae_chase_step(q, s, j);
    }
}

/* Returns 0 if x is not finite. */
static int begin_row(const sae_chase *q, sae_quarry *s, const float *x, int64_t limit)
{
    int64_t d = q->w.cols, n = q->w.rows;
    double xx = q->simd->dot(x, x, d);
    s->scale = xx > 0 && isfinite(xx) ? ldexp(1, -ilogb(sqrt(xx))) : 1;
    s->x2 = s->r2 = xx * s->scale * s->scale;
    s->tol2 = q->p->tol * s->scale * (q->p->tol * s->scale);
    s->steps = s->count = s->taken = 0;
    s->limit = isfinite(xx) ? limit : 0;
    s->stale = 1;
    for (int64_t i = 0; i < d; i++)
        s->x[i] = s->r[i] = (double)x[i] * s->scale;
    if (s->dead)
        memset(s->dead, 0, (size_t)n);
    return isfinite(xx);
}

/* ---- blocks of rows -------------------------------------------------------------------------- */

typedef struct block {
    sae_quarry *row;
    int64_t most, rows;
    int64_t *waiting;   /* [rows] rows whose correlations are stale */
    float *r, *product; /* their residuals, [rows x d], and correlations, [rows x n] */
} block;

/* Per row: doubles, 32-bit numbers, floats; OMP's parts after those of all. */
static int open_block(sae_device *dev, const sae_chase *q, int64_t rows, block *b)
{
    int64_t n = q->w.rows, d = q->w.cols, k = q->k;
    int omp = q->p->solver == SAE_SOLVE_OMP;
    int64_t reals = 3 * d + 2 * k + (omp ? k * (k + 1) / 2 + k : 0), numbers = omp ? 2 * k : k;
    int64_t bytes = 8 * reals + 4 * numbers + 8 * n + 4 * d + (omp ? n : 0);
    b->most = min_i64(rows, ROOM / bytes + 1);
    b->most = min_i64(b->most, BLOCK);
    b->row = sae_ws_shared(dev, ALL_WORKERS, b->most, sizeof *b->row + sizeof *b->waiting);
    double *real = sae_ws_shared(dev, ALL_ENTRIES, b->most * reals, sizeof *real);
    int32_t *number = sae_ws_shared(dev, ALL_KEYS, b->most * numbers, sizeof *number);
    float *c = sae_ws_shared(dev, ALL_CURSOR, b->most * (2 * n + d), sizeof *c);
    unsigned char *dead = sae_ws_shared(dev, ALL_BOUNDS, omp ? b->most * n : 1, 1);
    if (!b->row || !real || !number || !c || !dead)
        return SAE_ENOMEM;
    b->waiting = (int64_t *)(b->row + b->most);
    b->product = c + b->most * n;
    b->r = b->product + b->most * n;
    for (int64_t i = 0; i < b->most; i++, real += reals, number += numbers) {
        sae_quarry s = {.x = real, .r = real + d, .move = real + 2 * d, .z = real + 3 * d};
        s.sol = s.z + k;
        s.atom = number;
        s.c = c + i * n;
        if (omp) {
            s.forth = s.sol + k;
            s.l = s.forth + k;
            s.order = number + k;
            s.dead = dead + i * n;
        }
        b->row[i] = s;
    }
    return SAE_OK;
}

/* Fresh correlations for the rows that wait. */
static int correlate(sae_device *dev, const sae_chase *q, block *b, int64_t count)
{
    int64_t n = q->w.rows, d = q->w.cols;
    PARALLEL_FOR(dev, i, count, CHUNK_ROWS)
        for (int64_t t = 0; t < d; t++)
            b->r[i * d + t] = (float)b->row[b->waiting[i]].r[t];
    sae_cmat r = {b->r, count, d, d};
    sae_mat out = {b->product, count, n, n};
    return SAE_CPU(gemm)(dev, 0, 1, 1, r, q->w, 0, out);
}

static void resume(const sae_chase *q, const block *b, int64_t i)
{
    sae_quarry *s = &b->row[b->waiting[i]];
    memcpy(s->c, b->product + i * q->w.rows, (size_t)q->w.rows * sizeof *s->c);
    sae_chase_peak(q, s);
    s->off = sae_chase_error(q, q->norm * sqrt(s->r2));
    s->stale = 0;
    s->fresh = 1;
    advance(q, s);
}

static int run_block(sae_device *dev, const sae_chase *q, block *b)
{
    for (;;) {
        int64_t count = 0;
        for (int64_t i = 0; i < b->rows; i++)
            if (!finished(&b->row[i]))
                b->waiting[count++] = i;
        if (count == 0)
            return SAE_OK;
        int rc = correlate(dev, q, b, count);
        if (rc)
            return rc;
        PARALLEL_FOR(dev, i, count, 1)
            resume(q, b, i);
    }
}

/* Append the coefficients of a row; those past the capacity are counted, not written. */
static void put_row(const sae_quarry *s, sae_code *z)
{
    for (int64_t i = 0; i < s->count; i++) {
        float v = (float)(s->z[i] / s->scale);
        if (v == 0)
            continue;
        if (z->nnz < z->cap) {
            z->idx[z->nnz] = s->atom[i];
            z->val[z->nnz] = v;
        }
        z->nnz++;
    }
}

/* ---- the Gram matrix ------------------------------------------------------------------------- */

/* Entries below the diagonal of a band of columns, from those above. */
static void mirror(float *g, int64_t n, int64_t c0, int64_t c1)
{
    enum { TILE = 32 };
    for (int64_t r0 = c0; r0 < n; r0 += TILE)
        for (int64_t r = r0; r < min_i64(r0 + TILE, n); r++)
            for (int64_t c = c0; c < min_i64(c1, r); c++)
                g[r * n + c] = g[c * n + r];
}

static int make_gram(sae_device *dev, sae_chase *q)
{
    enum { ROWS = 512, BAND = 32 };
    int64_t n = q->w.rows;
    float *g = sae_ws_shared(dev, ALL_GRAM, n * n, sizeof *g);
    if (!g)
        return SAE_ENOMEM;
    for (int64_t i = 0; i < n; i += ROWS) {
        sae_cmat a = q->w, b = q->w;
        a.p = b.p = row_of(q->w, i);
        a.rows = min_i64(ROWS, n - i);
        b.rows = n - i;
        sae_mat out = {g + i * n + i, a.rows, b.rows, n};
        int rc = SAE_CPU(gemm)(dev, 0, 1, 1, a, b, 0, out);
        if (rc)
            return rc;
    }
    PARALLEL_FOR(dev, i, chunks_of(n, BAND), 1)
        mirror(g, n, i * BAND, min_i64(n, (i + 1) * BAND));
    q->gram = g;
    return SAE_OK;
}

/* n^2 d for the matrix and its row for every step, against 2 n d for every step. */
static int gram_pays(const sae_chase *q, int64_t rows)
{
    double steps = (double)rows * (double)q->p->k, n = (double)q->w.rows, d = (double)q->w.cols;
    return q->p->solver == SAE_SOLVE_MP && n * n <= (double)GRAM_MOST &&
           n * d < steps * (2 * d - 64);
}

static int open_chase(sae_device *dev, const sae_pursuit *p, sae_cmat x, sae_cmat w, sae_chase *q)
{
    *q = (sae_chase){.p = p, .simd = simd_of(dev), .w = w, .k = min_i64(p->k, w.rows)};
    q->mask = p->positive ? 0xffffffffu : 0x7fffffffu;
    const sae_simd *s = q->simd;
    double most = 0;
    SAE_OMP(omp parallel for num_threads(dev->threads) reduction(max : most))
    for (int64_t j = 0; j < w.rows; j++)
        most = fmax(most, s->dot(row_of(w, j), row_of(w, j), w.cols));
    q->norm = sqrt(most);
    return gram_pays(q, x.rows) ? make_gram(dev, q) : SAE_OK;
}

SAE_DECL_pursuit(SAE_CPU(pursuit))
{
    if (bad_cmat(x) || bad_cmat(w) || x.cols != w.cols || w.rows > INT32_MAX || p->k < 0 ||
        z->dense || p->solver > SAE_SOLVE_GRADIENT ||
        (p->positive && p->solver == SAE_SOLVE_OMP))
        return SAE_EINVAL;
    sae_chase q;
    block b = {0};
    int rc = open_chase(dev, p, x, w, &q);
    if (!rc)
        rc = open_block(dev, &q, x.rows, &b);
    z->B = x.rows;
    z->n = w.rows;
    z->nnz = z->nan = z->rowptr[0] = 0;
    for (int64_t r0 = 0; r0 < x.rows && !rc; r0 += b.most) {
        b.rows = min_i64(b.most, x.rows - r0);
        for (int64_t i = 0; i < b.rows; i++) {
            int64_t limit = p->k_row ? min_i64(p->k_row[r0 + i], p->k) : p->k;
            z->nan += begin_row(&q, &b.row[i], row_of(x, r0 + i), limit) ? 0 : w.rows;
        }
        rc = run_block(dev, &q, &b);
        for (int64_t i = 0; i < b.rows && !rc; i++) {
            put_row(&b.row[i], z);
            z->rowptr[r0 + i + 1] = z->nnz;
        }
    }
    return rc ? rc : z->nnz > z->cap ? SAE_ECAPACITY : SAE_OK;
}
