/* suite/kernels/cpu/rows.c - kernels that go over rows of dense matrices. */
#include "cpu/cpu.h"

#include <math.h>
#include <omp.h>
#include <string.h>

SAE_DECL_shift_rows(SAE_CPU(shift_rows))
{
    if (bad_mat(out) || !has_shape(x, out.rows, out.cols))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_PIECES(dev, at, out)
        s->add_scaled(piece_of(x, at), (double)alpha, v + at.c, piece_out(out, at), at.live);
    return SAE_OK;
}

/* One partial sum per block of rows, joined in the order of the blocks: a wave of blocks at a time,
 * so that memory does not grow with the number of rows. */
SAE_DECL_col_sum(SAE_CPU(col_sum))
{
    enum { WAVE = 64 };
    if (bad_cmat(x))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    int64_t blocks = chunks_of(x.rows, SAE_SUM_BLOCK), cols = x.cols;
    double *part = sae_ws_shared(dev, ALL_SUMS, min_i64(blocks, WAVE) * cols, sizeof *part);
    sae_pairwise *sum = sae_ws_shared(dev, ALL_ENTRIES, cols, sizeof *sum);
    if (!part || !sum)
        return SAE_ENOMEM;
    for (int64_t j = 0; j < cols; j++)
        sum[j].count = 0;
    for (int64_t first = 0; first < blocks; first += WAVE) {
        int64_t wave = min_i64(WAVE, blocks - first);
        PARALLEL_FOR(dev, b, wave, 1)
        {
            int64_t r0 = (first + b) * SAE_SUM_BLOCK;
            memset(part + b * cols, 0, (size_t)cols * sizeof *part);
            for (int64_t r = r0; r < min_i64(r0 + SAE_SUM_BLOCK, x.rows); r++)
                s->add_to(part + b * cols, row_of(x, r), cols);
        }
        for (int64_t b = 0; b < wave; b++)
            for (int64_t j = 0; j < cols; j++)
                sae_pairwise_add(&sum[j], part[b * cols + j]);
    }
    for (int64_t j = 0; j < cols; j++)
        out[j] = (float)((double)out[j] + (double)alpha * sae_pairwise_total(&sum[j]));
    return SAE_OK;
}

SAE_DECL_row_dot(SAE_CPU(row_dot))
{
    if (bad_cmat(a) || !has_shape(b, a.rows, a.cols))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, r, a.rows, CHUNK_ROWS)
        out[r] = s->dot(row_of(a, r), row_of(b, r), a.cols);
    return SAE_OK;
}

SAE_DECL_residual(SAE_CPU(residual))
{
    if (bad_cmat(xhat) || !has_shape(y, xhat.rows, xhat.cols) ||
        (resid.p && !has_shape(as_const(resid), xhat.rows, xhat.cols)))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, r, xhat.rows, CHUNK_ROWS)
        sse[r] = s->residual(row_of(xhat, r), row_of(y, r),
                             resid.p ? resid.p + r * resid.ld : NULL, xhat.cols);
    return SAE_OK;
}

static double project_row(const sae_simd *s, const float *w, float *g, int64_t n)
{
    double ww = w ? s->dot(w, w, n) : 0;
    if (ww > 0)
        s->add_scaled(g, -s->dot(w, g, n) / ww, w, g, n);
    return s->dot(g, g, n);
}

SAE_DECL_project_rows(SAE_CPU(project_rows))
{
    if (bad_mat(g) || (w.p && !has_shape(w, g.rows, g.cols)))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    double *part = sae_ws_shared(dev, ALL_SUMS, g.rows, sizeof *part);
    if (!part)
        return SAE_ENOMEM;
    PARALLEL_FOR(dev, r, g.rows, CHUNK_ROWS)
        part[r] = project_row(s, w.p ? row_of(w, r) : NULL, g.p + r * g.ld, g.cols);
    sae_pairwise total = {0};
    for (int64_t r = 0; r < g.rows; r++)
        sae_pairwise_add(&total, part[r]);
    *norm2 = sae_pairwise_total(&total);
    return SAE_OK;
}

static void scale_to_unit(const sae_simd *s, float *w, int64_t n)
{
    double norm = sqrt(s->dot(w, w, n));
    if (norm > 0)
        s->scale(w, 1 / norm, n);
}

SAE_DECL_unit_rows(SAE_CPU(unit_rows))
{
    if (bad_mat(w))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, r, w.rows, CHUNK_ROWS)
        scale_to_unit(s, w.p + r * w.ld, w.cols);
    return SAE_OK;
}

SAE_DECL_adam_step(SAE_CPU(adam_step))
{
    if (bad_mat(w) || w.ld != w.cols || a->t < 1)
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    const sae_adam_row c = sae_adam_fold(a);
    if (a->unit_rows) {
        PARALLEL_FOR(dev, r, w.rows, CHUNK_ROWS)
        {
            int64_t i = r * w.cols;
            s->adam(&c, w.p + i, g + i, m + i, v + i, w.cols);
            scale_to_unit(s, w.p + i, w.cols);
        }
    } else {
        int64_t count = w.rows * w.cols;
        PARALLEL_FOR(dev, p, chunks_of(count, PIECE), 8)
        {
            int64_t i = p * PIECE;
            s->adam(&c, w.p + i, g + i, m + i, v + i, min_i64(PIECE, count - i));
        }
    }
    return SAE_OK;
}

SAE_DECL_normal_fill(SAE_CPU(normal_fill))
{
    if (bad_mat(out) || out.cols > UINT32_MAX)
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, r, out.rows, CHUNK_ROWS)
        s->normals(seed, stream, row0 + (uint64_t)r, out.cols, out.p + r * out.ld);
    return SAE_OK;
}

SAE_DECL_gate(SAE_CPU(gate))
{
    if (bad_mat(out) || !has_shape(value, out.rows, out.cols) ||
        !has_shape(gate, out.rows, out.cols))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_PIECES(dev, at, out)
        s->gate(piece_of(value, at), piece_of(gate, at), piece_out(out, at), at.live);
    return SAE_OK;
}
