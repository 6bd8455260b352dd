/* suite/kernels/cuda/select.cu - sources of scores, codes from parts of rows, parts of codes. */
#include "cuda/select.cuh"

/* ---- sources --------------------------------------------------------------------------------- */

sae_cuda_source sae_cuda_source_of(enum sae_key key, int64_t rows, int64_t cols, int64_t n)
{
    sae_cuda_source src;
    memset(&src, 0, sizeof src);
    src.rows = rows;
    src.cols = cols;
    src.n = n;
    src.rank.mask = key == SAE_KEY_ABS ? 0x7FFFFFFFu : ~0u;
    src.rank.floor = key == SAE_KEY_VALUE ? 0 : 0x80000000u; /* that of 0 */
    return src;
}

int sae_cuda_from_encoder(const sae_encoder *e, enum sae_key key, sae_cuda_source *out)
{
    if (bad_encoder(e))
        return SAE_EINVAL;
    *out = sae_cuda_source_of(key, e->x.rows, encoder_cols(e), e->w.rows);
    out->walk = sae_cuda_walk_of(e);
    return SAE_OK;
}

int sae_cuda_from_scores(const sae_scores *s, sae_cuda_source *out)
{
    if (bad_scores(s))
        return SAE_EINVAL;
    *out = sae_cuda_source_of(s->key, s->value.rows, s->value.cols, s->value.cols);
    out->s = s;
    if (s->score.p)
        out->value = s->value;
    return SAE_OK;
}

/* Given scores, in the order of sae_cuda_walk_next. */
static int next_given(sae_cuda_source *src)
{
    sae_cmat m = src->value.p ? src->s->score : src->s->value;
    sae_cuda_pre *p = &src->pre;
    p->col += p->cols;
    if (p->col >= src->cols) {
        p->row += p->live;
        p->col = p->live = 0;
    }
    if (p->row >= src->rows || src->cols == 0)
        return 0;
    p->live = src->rows - p->row < CHUNK ? src->rows - p->row : CHUNK;
    p->cols = src->cols - p->col < PANEL ? src->cols - p->col : PANEL;
    p->p = m.p + p->row * m.ld + p->col;
    p->ld = m.ld;
    return 1;
}

int sae_cuda_source_next(sae_device *dev, sae_cuda_source *src)
{
    if (src->s)
        return next_given(src);
    int rc = sae_cuda_walk_next(dev, &src->walk);
    src->pre = src->walk.pre;
    return rc;
}

sae_cuda_origin sae_cuda_origin_of(const sae_device *dev, const sae_cuda_source *src)
{
    sae_cuda_origin o;
    memset(&o, 0, sizeof o);
    o.rank = src->rank;
    if (src->s) {
        o.value = src->s->value;
        o.score = src->s->score;
    } else {
        o.e = *src->walk.e;
        o.copy = sae_cuda_frozen(dev, o.e.w).p;
    }
    return o;
}

/* ---- codes ----------------------------------------------------------------------------------- */

int sae_cuda_code_begin(sae_device *dev, int64_t rows, int64_t n, sae_code *z, sae_cuda_answer **a)
{
    if (z->dense)
        return SAE_EINVAL;
    z->B = rows;
    z->n = n;
    z->nnz = z->nan = 0;
    *a = ws_new<sae_cuda_answer>(dev, WS_SUMS, 1);
    return *a ? SAE_OK : SAE_ENOMEM;
}

int sae_cuda_code_clear(sae_device *dev, const sae_code *z, sae_cuda_answer *a)
{
    TRY(sae_cuda_zero(dev, a, sizeof *a));
    return sae_cuda_zero(dev, z->rowptr, (size_t)(z->B + 1) * sizeof *z->rowptr);
}

/* One block: the row pointers behind rowptr[row]. */
static __global__ void add_rowptr(sae_cuda_rows rows, int64_t *rowptr, sae_cuda_answer *a)
{
    unsigned long long at = (unsigned long long)rowptr[rows.row], all;
    for (int64_t from = 0; from < rows.rows; from += BLOCK) {
        int64_t r = from + threadIdx.x;
        unsigned long long count = 0;
        for (int64_t p = 0; p < rows.panels && r < rows.rows; p++)
            count += rows.part[p * rows.stride + r].count;
        unsigned long long before = block_scan(count, &all);
        if (r < rows.rows)
            rowptr[rows.row + r + 1] = (int64_t)(at + before + count);
        at += all;
    }
    if (threadIdx.x == 0)
        a->nnz = at;
}

static __global__ void copy_parts(sae_cuda_rows rows, sae_code z)
{
    WARP_FOR(r, rows.rows)
    {
        int64_t row = rows.row + r, to = z.rowptr[row];
        for (int64_t p = 0; p < rows.panels; p++) {
            sae_cuda_part part = rows.part[p * rows.stride + r];
            int64_t most =
                rows.list - part.start < z.cap - to ? rows.list - part.start : z.cap - to;
            for (int64_t i = lane_id(); i < part.count && i < most; i += WARP) {
                int32_t j = rows.idx[part.start + i];
                z.idx[to + i] = j;
                z.val[to + i] =
                    rows.value.p ? rows.value.p[row * rows.value.ld + j] : rows.val[part.start + i];
            }
            to += part.count;
        }
    }
}

int sae_cuda_code_join(sae_device *dev, const sae_cuda_rows *rows, const sae_code *z,
                       sae_cuda_answer *a)
{
    TRY(LAUNCH(dev, add_rowptr, 1, BLOCK, *rows, z->rowptr, a));
    return LAUNCH(dev, copy_parts, blocks_for(rows->rows, WARPS), BLOCK, *rows, *z);
}

int sae_cuda_code_end(sae_device *dev, const sae_cuda_answer *a, sae_code *z)
{
    sae_cuda_answer got;
    TRY(sae_cuda_read(dev, &got, a, sizeof got));
    if (got.bad)
        return SAE_EINVAL;
    z->nnz = (int64_t)got.nnz;
    z->nan = (int64_t)got.nan;
    return z->nnz > z->cap ? SAE_ECAPACITY : SAE_OK;
}

/* ---- parts of codes -------------------------------------------------------------------------- */

static __global__ void find_slices(sae_code z, int64_t j0, int64_t j1, sae_cuda_part *part)
{
    GRID_FOR(r, z.B)
    {
        int64_t first = z.rowptr[r], count = z.rowptr[r + 1] - first;
        int64_t from = lower_bound(z.idx + first, count, j0);
        int64_t to = lower_bound(z.idx + first, count, j1);
        sae_cuda_part p = {first + from, (unsigned)(to - from), 0};
        part[r] = p;
    }
}

SAE_DECL_code_slice(SAE_CUDA(code_slice))
{
    sae_cuda_answer *a;
    if (bad_code(z) || z->dense || j0 < 0 || j1 < j0 || j1 > z->n)
        return SAE_EINVAL;
    TRY(sae_cuda_code_begin(dev, z->B, z->n, out, &a));
    TRY(sae_cuda_code_clear(dev, out, a));
    sae_cuda_part *part = ws_new<sae_cuda_part>(dev, WS_STATE, z->B);
    if (!part)
        return SAE_ENOMEM;
    TRY(LAUNCH(dev, find_slices, blocks_for(z->B, BLOCK), BLOCK, *z, j0, j1, part));
    sae_cuda_rows rows = {0, z->B, 1, z->B, z->nnz, part, z->idx, z->val, {nullptr, 0, 0, 0}};
    TRY(sae_cuda_code_join(dev, &rows, out, a));
    return sae_cuda_code_end(dev, a, out);
}

/* A block per row: zeros, then its entries. */
static __global__ void fill_rows(sae_code z, sae_mat out)
{
    for (int64_t r = blockIdx.x; r < z.B; r += gridDim.x) {
        sae_real *o = out.p + r * out.ld;
        for (int64_t j = threadIdx.x; j < z.n; j += BLOCK)
            o[j] = z.dense ? z.val[r * z.n + j] : 0;
        __syncthreads();
        if (!z.dense)
            for (int64_t i = z.rowptr[r] + threadIdx.x; i < z.rowptr[r + 1]; i += BLOCK)
                o[z.idx[i]] = z.val[i];
    }
}

SAE_DECL_code_to_dense(SAE_CUDA(code_to_dense))
{
    if (bad_code(z) || !has_shape(as_const(out), z->B, z->n))
        return SAE_EINVAL;
    return LAUNCH(dev, fill_rows, blocks_for(z->B, 1), BLOCK, *z, out);
}
