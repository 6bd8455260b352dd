/* suite/kernels/cuda/product.cu - dense products by cuBLAS; an encoder's output piece by piece. */
#include "cuda/cuda.cuh"

static cublasOperation_t op(int transposed)
{
    return transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
}

/* cuBLAS refuses leading extents of 0. */
static int64_t lead(int64_t ld)
{
    return ld > 0 ? ld : 1;
}

static __global__ void scale_all(sae_real beta, sae_mat c)
{
    GRID_FOR(i, c.rows * c.cols)
    {
        sae_real *p = c.p + i / c.cols * c.ld + i % c.cols;
        *p = beta == 0 ? 0 : beta * *p;
    }
}

/* Row-major c = op(a) op(b) is column-major c^T = op(b)^T op(a)^T. */
int sae_cuda_product(sae_device *dev, int ta, int tb, sae_real alpha, sae_cmat a, sae_cmat b,
                     sae_real beta, sae_mat c)
{
    int64_t depth = ta ? a.rows : a.cols;
    if (c.rows == 0 || c.cols == 0)
        return SAE_OK;
    if (depth == 0)
        return LAUNCH(dev, scale_all, blocks_for(c.rows * c.cols, BLOCK), BLOCK, beta, c);
    return sae_cuda_check_blas(
        dev, cublasGemmEx_64(dev->blas, op(tb), op(ta), c.cols, c.rows, depth, &alpha, b.p,
                             CUDA_R_32F, lead(b.ld), a.p, CUDA_R_32F, lead(a.ld), &beta, c.p,
                             CUDA_R_32F, lead(c.ld), dev->compute, CUBLAS_GEMM_DEFAULT));
}

/* ---- products whose rows do not see each other ----------------------------------------------- */

/* A chunk that needs no copy: it lies in memory as padded rows do. cuBLAS may choose its algorithm
 * by leading extents and alignment too, and the bits of a row must not depend on them. */
static int is_chunk(sae_cmat x)
{
    return x.rows == CHUNK && x.ld == x.cols && (uintptr_t)x.p % 256 == 0;
}

/* out [CHUNK x cols] = x [live x cols] - shift, zero rows behind. */
static __global__ void pad_rows(sae_cmat x, const sae_real *shift, sae_real *out)
{
    GRID_FOR(i, CHUNK * x.cols)
    {
        int64_t r = i / x.cols, c = i % x.cols;
        sae_real v = r < x.rows ? x.p[r * x.ld + c] : 0;
        out[i] = shift && r < x.rows ? v - shift[c] : v;
    }
}

static __global__ void copy_rows(sae_cmat x, sae_mat out)
{
    GRID_FOR(i, x.rows * x.cols)
    out.p[i / x.cols * out.ld + i % x.cols] = x.p[i / x.cols * x.ld + i % x.cols];
}

static int padded(sae_device *dev, enum sae_cuda_slot slot, sae_cmat x, const sae_real *shift,
                  sae_mat *out)
{
    sae_mat m = {ws_new<sae_real>(dev, slot, CHUNK * x.cols), CHUNK, x.cols, x.cols};
    *out = m;
    if (!m.p)
        return SAE_ENOMEM;
    return LAUNCH(dev, pad_rows, blocks_for(CHUNK * x.cols, BLOCK), BLOCK, x, shift, m.p);
}

/* Rows of a product in the shape of a whole chunk. */
static int padded_product(sae_device *dev, int tb, sae_real alpha, sae_cmat a, sae_cmat b,
                          sae_real beta, sae_mat c)
{
    sae_mat in, out;
    TRY(padded(dev, WS_ROWS, a, nullptr, &in));
    out = {ws_new<sae_real>(dev, WS_OUT, CHUNK * c.cols), CHUNK, c.cols, c.cols};
    if (!out.p)
        return SAE_ENOMEM;
    if (beta != 0)
        TRY(padded(dev, WS_OUT, as_const(c), nullptr, &out));
    TRY(sae_cuda_product(dev, 0, tb, alpha, as_const(in), b, beta, out));
    sae_cmat live = {out.p, c.rows, c.cols, out.ld};
    return LAUNCH(dev, copy_rows, blocks_for(c.rows * c.cols, BLOCK), BLOCK, live, c);
}

SAE_DECL_gemm(SAE_CUDA(gemm))
{
    if (bad_gemm(ta, tb, a, b, c))
        return SAE_EINVAL;
    if (ta)
        return sae_cuda_product(dev, ta, tb, alpha, a, b, beta, c);
    for (int64_t r = 0; r < c.rows; r += CHUNK) {
        int64_t live = c.rows - r < CHUNK ? c.rows - r : CHUNK;
        sae_cmat from = {a.p + r * a.ld, live, a.cols, a.ld};
        sae_mat to = {c.p + r * c.ld, live, c.cols, c.ld};
        TRY(is_chunk(from) && is_chunk(as_const(to))
                ? sae_cuda_product(dev, 0, tb, alpha, from, b, beta, to)
                : padded_product(dev, tb, alpha, from, b, beta, to));
    }
    return SAE_OK;
}

/* ---- the walk -------------------------------------------------------------------------------- */

static __global__ void gather_rows(sae_cmat w, const int32_t *row, int64_t count, sae_real *out)
{
    GRID_FOR(i, count * w.cols)
    out[i] = w.p[row[i / w.cols] * w.ld + i % w.cols];
}

static int next_chunk(sae_device *dev, sae_cuda_walk *w)
{
    const sae_encoder *e = w->e;
    sae_cuda_pre *p = &w->pre;
    sae_mat in;
    p->row += p->live;
    p->col = p->cols = 0;
    int64_t left = e->x.rows - p->row;
    p->live = left < CHUNK ? left : CHUNK;
    sae_cmat x = {e->x.p + p->row * e->x.ld, p->live, e->x.cols, e->x.ld};
    w->x = x;
    if (left <= 0 || (!e->shift && is_chunk(x)))
        return left > 0;
    TRY(padded(dev, WS_ROWS, x, e->shift, &in));
    w->x = as_const(in);
    return 1;
}

/* The features of a panel, as rows of w. */
static int panel_rows(sae_device *dev, const sae_encoder *e, int64_t col, int64_t cols,
                      sae_cmat *out)
{
    sae_cmat w = {e->w.p + col * e->w.ld, cols, e->w.cols, e->w.ld};
    *out = w;
    if (!e->subset)
        return SAE_OK;
    sae_real *p = ws_new<sae_real>(dev, WS_SHIFT, PANEL * w.cols);
    if (!p)
        return SAE_ENOMEM;
    out->p = p;
    out->ld = w.cols;
    return LAUNCH(dev, gather_rows, blocks_for(cols * w.cols, BLOCK), BLOCK, e->w, e->subset + col,
                  cols, p);
}

int sae_cuda_walk_next(sae_device *dev, sae_cuda_walk *w)
{
    const sae_encoder *e = w->e;
    sae_cuda_pre *p = &w->pre;
    int64_t all = encoder_cols(e);
    p->col += p->cols;
    if (all == 0)
        return 0;
    if (!p->live || p->col >= all) {
        int rc = next_chunk(dev, w);
        if (rc <= 0)
            return rc;
    }
    sae_cmat rows;
    p->cols = all - p->col < PANEL ? all - p->col : PANEL;
    p->bias = e->bias;
    p->subset = e->subset;
    p->ld = p->cols;
    TRY(panel_rows(dev, e, p->col, p->cols, &rows));
    sae_real *out = ws_new<sae_real>(dev, WS_OUT, (int64_t)CHUNK * PANEL);
    sae_mat to = {out, CHUNK, p->cols, p->cols};
    p->p = out;
    if (!out)
        return SAE_ENOMEM;
    TRY(sae_cuda_product(dev, 0, 1, 1, w->x, rows, 0, to));
    return 1;
}

static __global__ void write_pre(sae_cuda_pre pre, sae_mat out)
{
    GRID_FOR(i, pre.live * pre.cols)
    {
        int64_t r = i / pre.cols, c = i % pre.cols;
        out.p[(pre.row + r) * out.ld + pre.col + c] = pre.at(r, c);
    }
}

SAE_DECL_encode_dense(SAE_CUDA(encode_dense))
{
    if (bad_encoder(e) || !has_shape(as_const(pre), e->x.rows, encoder_cols(e)))
        return SAE_EINVAL;
    sae_cuda_walk w = sae_cuda_walk_of(e);
    int rc;
    while ((rc = sae_cuda_walk_next(dev, &w)) > 0)
        TRY(LAUNCH(dev, write_pre, blocks_for(w.pre.live * w.pre.cols, BLOCK), BLOCK, w.pre, pre));
    return rc;
}
