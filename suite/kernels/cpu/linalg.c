/* suite/kernels/cpu/linalg.c - cross products by tiles; eigenvectors and Cholesky by LAPACK.
 *
 * LAPACK runs on one thread: how many it took would decide the last bits. */
#include "cpu/cpu.h"

#include <lapacke.h>
#include <math.h>
#include <omp.h>
#include <string.h>

/* OpenBLAS's own switch; other libraries have none. */
extern void openblas_set_num_threads(int threads) __attribute__((weak));

static void one_thread(void)
{
    if (openblas_set_num_threads)
        openblas_set_num_threads(1);
}

/* ---- cross products -------------------------------------------------------------------------- */

/* A block of rows in double, cut into strips of `width` columns, each [rows][width]. */
typedef struct strips {
    sae_cmat x;
    double *p;
    int64_t width, count;
} strips;

enum { BLOCK = 256 };

static int open_strips(sae_device *dev, int slot, sae_cmat x, int64_t width, strips *s)
{
    s->x = x;
    s->width = width;
    s->count = chunks_of(x.cols, width);
    s->p = sae_ws_shared(dev, slot, s->count * width * BLOCK, sizeof *s->p);
    return s->p ? SAE_OK : SAE_ENOMEM;
}

static void pack_strip(const strips *s, int64_t i, int64_t r0, int64_t rows)
{
    int64_t live = min_i64(s->width, s->x.cols - i * s->width);
    double *out = s->p + i * s->width * BLOCK;
    for (int64_t r = r0; r < r0 + rows; r++, out += s->width)
        for (int64_t l = 0; l < s->width; l++)
            out[l] = l < live ? (double)row_of(s->x, r)[i * s->width + l] : 0;
}

/* Tile (i, j) of out takes a block's products. */
static void add_tile(const sae_simd *simd, const strips *a, const strips *b, int64_t i, int64_t j,
                     int64_t rows, double *out)
{
    double tile[SAE_CROSS_HEIGHT * SAE_TILE_MAX_WIDTH / 2] = {0};
    int64_t W = b->width, n = b->x.cols, live = min_i64(W, n - j * W);
    int64_t height = min_i64(a->width, a->x.cols - i * a->width);
    out += i * a->width * n + j * W;
    for (int64_t h = 0; h < height; h++)
        memcpy(tile + h * W, out + h * n, (size_t)live * sizeof *tile);
    simd->cross(rows, a->p + i * a->width * BLOCK, b->p + j * W * BLOCK, tile);
    for (int64_t h = 0; h < height; h++)
        memcpy(out + h * n, tile + h * W, (size_t)live * sizeof *tile);
}

SAE_DECL_cross(SAE_CPU(cross))
{
    if (bad_cmat(a) || bad_cmat(b) || a.rows != b.rows)
        return SAE_EINVAL;
    const sae_simd *simd = simd_of(dev);
    strips sa, sb;
    int rc = open_strips(dev, ALL_SUMS, a, SAE_CROSS_HEIGHT, &sa);
    if (!rc)
        rc = open_strips(dev, ALL_LANES, b, simd->width / 2, &sb);
    if (rc)
        return rc;
    for (int64_t r0 = 0; r0 < a.rows; r0 += BLOCK) {
        int64_t rows = min_i64(BLOCK, a.rows - r0);
        PARALLEL_FOR(dev, i, sa.count + sb.count, 4)
            pack_strip(i < sa.count ? &sa : &sb, i < sa.count ? i : i - sa.count, r0, rows);
        PARALLEL_FOR(dev, t, sa.count * sb.count, 8)
            add_tile(simd, &sa, &sb, t % sa.count, t / sa.count, rows, out);
    }
    return SAE_OK;
}

/* ---- eigenvectors ---------------------------------------------------------------------------- */

/* Rows of v in descending order into a, each with its largest entry positive. */
static void put_vectors(const double *v, const double *value, int64_t n, double *a, double *w)
{
    for (int64_t i = 0; i < n; i++) {
        const double *row = v + (n - 1 - i) * n;
        int64_t big = 0;
        for (int64_t j = 1; j < n; j++)
            if (fabs(row[j]) > fabs(row[big]))
                big = j;
        for (int64_t j = 0; j < n; j++)
            a[i * n + j] = row[big] < 0 ? -row[j] : row[j];
        w[i] = value[n - 1 - i];
    }
}

/* LAPACK's columns are our rows. */
SAE_DECL_eigh(SAE_CPU(eigh))
{
    if (n < 0 || n > 32766) /* LAPACK counts its workspace, 1 + 6 n + 2 n^2, in 32 bits */
        return SAE_EINVAL;
    int64_t square = n * n, lwork = 1 + 6 * n + 2 * square, liwork = 3 + 5 * n;
    double *v = sae_ws_shared(dev, ALL_SUMS, square + n + lwork, sizeof *v), size = 0;
    lapack_int *iwork = sae_ws_shared(dev, ALL_KEYS, liwork, sizeof *iwork);
    if (!v || !iwork)
        return SAE_ENOMEM;
    for (int64_t i = 0; i < square; i++) {
        size += a[i] * a[i];
        v[i] = a[i];
    }
    if (!isfinite(size))
        return SAE_EINVAL;
    if (n == 0)
        return SAE_OK;
    double *value = v + square;
    one_thread();
    if (LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, 'V', 'L', (lapack_int)n, v, (lapack_int)n, value,
                            value + n, (lapack_int)lwork, iwork, (lapack_int)liwork))
        return SAE_EBACKEND;
    put_vectors(v, value, n, a, w);
    return SAE_OK;
}

/* ---- Cholesky -------------------------------------------------------------------------------- */

static void transpose(const double *x, int64_t rows, int64_t cols, double *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++)
            out[j * rows + i] = x[i * cols + j];
}

/* LAPACK's upper triangle by columns is our lower one by rows. */
SAE_DECL_solve_spd(SAE_CPU(solve_spd))
{
    if (n < 0 || n > INT32_MAX || m < 0 || m > INT32_MAX)
        return SAE_EINVAL;
    double *columns = sae_ws_shared(dev, ALL_SUMS, n * m, sizeof *columns);
    if (!columns)
        return SAE_ENOMEM;
    if (n == 0)
        return SAE_OK;
    one_thread();
    lapack_int order = (lapack_int)n;
    if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', order, a, order))
        return SAE_EINVAL;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(a[i * n + i])) /* not every LAPACK sees a NaN */
            return SAE_EINVAL;
    transpose(b, n, m, columns);
    if (m > 0 && LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, 'U', order, (lapack_int)m, a, order, columns,
                                     order))
        return SAE_EBACKEND;
    transpose(columns, m, n, b);
    return SAE_OK;
}
