/* suite/kernels/cpu/code.c - products with codes, their transpose, norms and firing statistics. */
#include "cpu/cpu.h"

#include <omp.h>
#include <string.h>

SAE_DECL_code_to_dense(SAE_CPU(code_to_dense))
{
    if (bad_code(z) || !has_shape(as_const(out), z->B, z->n))
        return SAE_EINVAL;
    PARALLEL_FOR(dev, r, z->B, CHUNK_ROWS)
    {
        float *o = out.p + r * out.ld;
        if (z->dense) {
            memcpy(o, z->val + r * z->n, (size_t)z->n * sizeof *o);
            continue;
        }
        memset(o, 0, (size_t)z->n * sizeof *o);
        for (int64_t i = z->rowptr[r]; i < z->rowptr[r + 1]; i++)
            o[z->idx[i]] = z->val[i];
    }
    return SAE_OK;
}

static sae_cmat dense_of(const sae_code *z)
{
    sae_cmat m = {z->val, z->B, z->n, z->n};
    return m;
}

static int decode_dense(sae_device *dev, const sae_code *z, sae_cmat w, const float *bias,
                        sae_mat xhat)
{
    int rc = SAE_CPU(gemm)(dev, 0, 0, 1, dense_of(z), w, 0, xhat);
    return rc || !bias ? rc : SAE_CPU(shift_rows)(dev, as_const(xhat), 1, bias, xhat);
}

SAE_DECL_code_decode(SAE_CPU(code_decode))
{
    if (bad_code(z) || bad_mat(xhat) || xhat.rows != z->B || !has_shape(w, z->n, xhat.cols))
        return SAE_EINVAL;
    if (z->dense)
        return decode_dense(dev, z, w, bias, xhat);
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, r, z->B, CHUNK_ROWS)
    {
        int64_t first = z->rowptr[r];
        sae_gather g = {.count = z->rowptr[r + 1] - first, .d = w.cols, .ld = w.ld, .alpha = 1};
        g.row = z->idx + first;
        g.val = z->val + first;
        g.m = w.p;
        g.base = bias;
        g.out = xhat.p + r * xhat.ld;
        s->gather(&g);
    }
    return SAE_OK;
}

SAE_DECL_code_grad(SAE_CPU(code_grad))
{
    if (bad_code(z) || bad_cmat(dx) || dx.rows != z->B || !has_shape(w, z->n, dx.cols))
        return SAE_EINVAL;
    if (z->dense) {
        sae_mat out = {dval, z->B, z->n, z->n};
        return SAE_CPU(gemm)(dev, 0, 1, 1, dx, w, 0, out);
    }
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, r, z->B, CHUNK_ROWS)
    {
        int64_t i = z->rowptr[r];
        s->dots(z->rowptr[r + 1] - i, z->idx + i, row_of(dx, r), w.p, w.ld, w.cols, dval + i);
    }
    return SAE_OK;
}

/* Counting sort with one histogram per part of the rows; parts are joined feature by feature. The
 * result is a sorted order, the same for any number of parts. */
SAE_DECL_code_transpose(SAE_CPU(code_transpose))
{
    int rc = transpose_extents(z, t);
    if (rc < 0)
        return rc;
    int64_t n = z->n, parts = min_i64(dev->threads, 1 + z->nnz / (n + 1));
    int64_t *place = sae_ws_shared(dev, ALL_CURSOR, parts * n, sizeof *place);
    if (!place)
        return SAE_ENOMEM;
    PARALLEL_FOR(dev, p, parts, 1)
    {
        int64_t *count = place + p * n;
        memset(count, 0, (size_t)n * sizeof *count);
        for (int64_t i = z->rowptr[z->B * p / parts]; i < z->rowptr[z->B * (p + 1) / parts]; i++)
            count[z->idx[i]]++;
    }
    int64_t at = 0;
    for (int64_t j = 0; j < n; j++) {
        t->colptr[j] = at;
        for (int64_t p = 0; p < parts; p++) {
            int64_t count = place[p * n + j];
            place[p * n + j] = at;
            at += count;
        }
    }
    t->colptr[n] = at;
    PARALLEL_FOR(dev, p, parts, 1)
    {
        int64_t *next = place + p * n;
        for (int64_t r = z->B * p / parts; r < z->B * (p + 1) / parts; r++)
            for (int64_t i = z->rowptr[r]; i < z->rowptr[r + 1]; i++) {
                int64_t o = next[z->idx[i]]++;
                t->row[o] = (int32_t)r;
                t->pos[o] = i;
            }
    }
    return SAE_OK;
}

SAE_DECL_code_outer(SAE_CPU(code_outer))
{
    if (t->n < 0 || bad_cmat(x) || !has_shape(as_const(dw), t->n, x.cols))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, j, t->n, CHUNK_ROWS)
    {
        int64_t first = t->colptr[j];
        sae_gather g = {.count = t->colptr[j + 1] - first, .d = x.cols, .ld = x.ld};
        if (g.count == 0)
            continue;
        g.alpha = alpha;
        g.row = t->row + first;
        g.pos = t->pos + first;
        g.val = val;
        g.m = x.p;
        g.base = g.out = dw.p + j * dw.ld;
        s->gather(&g);
    }
    return SAE_OK;
}

SAE_DECL_code_col_sum(SAE_CPU(code_col_sum))
{
    if (t->n < 0)
        return SAE_EINVAL;
    PARALLEL_FOR(dev, j, t->n, 256)
    {
        double sum = 0;
        for (int64_t o = t->colptr[j]; o < t->colptr[j + 1]; o++)
            sum += (double)val[t->pos[o]];
        out[j] = (float)((double)out[j] + (double)alpha * sum);
    }
    return SAE_OK;
}

/* Row by row through the reference: 32 entries per row do not pay for more. */
SAE_DECL_code_norms(SAE_CPU(code_norms))
{
    if (bad_code(z))
        return SAE_EINVAL;
    PARALLEL_FOR(dev, r, z->B, CHUNK_ROWS)
    {
        sae_code row = *z;
        row.B = 1;
        if (z->dense)
            row.val += r * z->n;
        else
            row.rowptr += r;
        SAE_REF(code_norms)(dev, &row, l0 ? l0 + r : NULL, l1 ? l1 + r : NULL);
    }
    return SAE_OK;
}

/* First entry of idx[first, end) that is >= j. */
static int64_t lower_bound(const int32_t *idx, int64_t first, int64_t end, int64_t j)
{
    while (first < end) {
        int64_t mid = first + (end - first) / 2;
        if (idx[mid] < j)
            first = mid + 1;
        else
            end = mid;
    }
    return first;
}

/* Features [j0, j1) of every row: statistics of a feature have one writer. */
static void fire_part(const sae_code *z, int64_t j0, int64_t j1, uint64_t now, uint64_t *last_fired,
                      uint64_t *fire_count)
{
    for (int64_t r = 0; r < z->B; r++) {
        int64_t i = r * z->n + j0, end = r * z->n + j1;
        if (!z->dense) {
            i = lower_bound(z->idx, z->rowptr[r], z->rowptr[r + 1], j0);
            end = lower_bound(z->idx, i, z->rowptr[r + 1], j1);
        }
        for (; i < end; i++) {
            int64_t j = z->dense ? i - r * z->n : z->idx[i];
            if (z->val[i] != 0) {
                last_fired[j] = now;
                fire_count[j]++;
            }
        }
    }
}

SAE_DECL_fire_update(SAE_CPU(fire_update))
{
    if (bad_code(z))
        return SAE_EINVAL;
    int64_t parts = dev->threads;
    PARALLEL_FOR(dev, p, parts, 1)
        fire_part(z, z->n * p / parts, z->n * (p + 1) / parts, now, last_fired, fire_count);
    return SAE_OK;
}

/* Entries [*first, *end) of row r have a feature in [j0, j1). */
static void slice_of(const sae_code *z, int64_t r, int64_t j0, int64_t j1, int64_t *first,
                     int64_t *end)
{
    *first = lower_bound(z->idx, z->rowptr[r], z->rowptr[r + 1], j0);
    *end = lower_bound(z->idx, *first, z->rowptr[r + 1], j1);
}

SAE_DECL_code_slice(SAE_CPU(code_slice))
{
    if (bad_code(z) || z->dense || out->dense || j0 < 0 || j1 < j0 || j1 > z->n)
        return SAE_EINVAL;
    out->B = z->B;
    out->n = z->n;
    out->nan = out->rowptr[0] = 0;
    PARALLEL_FOR(dev, r, z->B, CHUNK_ROWS)
    {
        int64_t first, end;
        slice_of(z, r, j0, j1, &first, &end);
        out->rowptr[r + 1] = end - first;
    }
    for (int64_t r = 0; r < z->B; r++)
        out->rowptr[r + 1] += out->rowptr[r];
    out->nnz = out->rowptr[z->B];
    if (out->nnz > out->cap)
        return SAE_ECAPACITY;
    PARALLEL_FOR(dev, r, z->B, CHUNK_ROWS)
    {
        int64_t first, end, at = out->rowptr[r];
        slice_of(z, r, j0, j1, &first, &end);
        for (int64_t i = first; i < end; i++, at++) {
            out->idx[at] = z->idx[i];
            out->val[at] = z->val[i];
        }
    }
    return SAE_OK;
}

SAE_DECL_code_scale(SAE_CPU(code_scale))
{
    if (bad_code(z))
        return SAE_EINVAL;
    const sae_simd *s = simd_of(dev);
    PARALLEL_FOR(dev, r, z->B, CHUNK_ROWS)
    {
        double by = row ? (double)row[r] : 1;
        int64_t first = z->dense ? r * z->n : z->rowptr[r];
        int64_t end = z->dense ? first + z->n : z->rowptr[r + 1];
        if (z->dense || !col)
            s->scale_by(val + first, by, col, out + first, end - first);
        else
            for (int64_t i = first; i < end; i++)
                out[i] = (float)(by * (double)col[z->idx[i]] * (double)val[i]);
    }
    return SAE_OK;
}
