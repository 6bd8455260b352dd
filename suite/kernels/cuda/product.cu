/* suite/kernels/cuda/product.cu - dense products by cuBLAS; an encoder's output piece by piece. */
#include "cuda/walk.cuh"

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
static int multiply(sae_device *dev, int ta, int tb, sae_real alpha, sae_cuda_operand a,
                    sae_cuda_operand b, sae_real beta, sae_mat c)
{
    int64_t depth = ta ? a.rows : a.cols;
    cudaDataType type = b.half ? CUDA_R_16BF : CUDA_R_32F;
    cublasComputeType_t compute = b.half ? CUBLAS_COMPUTE_32F : dev->compute;
    if (c.rows == 0 || c.cols == 0)
        return SAE_OK;
    if (depth == 0)
        return LAUNCH(dev, scale_all, blocks_for(c.rows * c.cols, BLOCK), BLOCK, beta, c);
    TRY(sae_cuda_check(dev, sae_cuda_here(dev)));
    return sae_cuda_check_blas(
        dev, cublasGemmEx_64(dev->blas, op(tb), op(ta), c.cols, c.rows, depth, &alpha, b.p, type,
                             lead(b.ld), a.p, type, lead(a.ld), &beta, c.p, CUDA_R_32F, lead(c.ld),
                             compute, CUBLAS_GEMM_DEFAULT));
}

static sae_cuda_operand floats(sae_cmat m)
{
    sae_cuda_operand o = {m.p, m.rows, m.cols, m.ld, 0};
    return o;
}

/* w as products read it. */
static sae_cuda_operand weights(const sae_device *dev, sae_cmat w)
{
    sae_cuda_half h = sae_cuda_frozen(dev, w);
    sae_cuda_operand o = {h.p, h.rows, h.cols, h.ld, 1};
    return h.p ? o : floats(w);
}

int sae_cuda_product(sae_device *dev, int ta, int tb, sae_real alpha, sae_cmat a, sae_cmat b,
                     sae_real beta, sae_mat c)
{
    return multiply(dev, ta, tb, alpha, floats(a), floats(b), beta, c);
}

/* ---- products whose rows do not see each other ------------------------------------------------
 *
 * Few rows are padded to a whole chunk, too, though a product of one row (a token that is decoded)
 * then takes as long as one of CHUNK: cuBLAS chooses tiles, and whether to cut the depth, by the
 * number of rows, and promises the same bits for the same shape only. A second, smaller chunk for
 * few rows would give a row other bits there than in a large batch.
 */

/* A chunk that needs no copy: it lies in memory as padded rows do. cuBLAS may choose its algorithm
 * by leading extents and alignment too, and the bits of a row must not depend on them. */
static int is_chunk(sae_cmat x)
{
    return x.rows == CHUNK && x.ld == x.cols && (uintptr_t)x.p % 256 == 0;
}

/* out [CHUNK x cols] = x [live x cols] - shift, zero rows behind. */
template <class T> static __global__ void pad_rows(sae_cmat x, const sae_real *shift, T *out)
{
    GRID_FOR(i, CHUNK * x.cols)
    {
        int64_t r = i / x.cols, c = i % x.cols;
        sae_real v = r < x.rows ? x.p[r * x.ld + c] : 0;
        narrow(shift && r < x.rows ? v - shift[c] : v, out + i);
    }
}

static __global__ void copy_rows(sae_cmat x, sae_mat out)
{
    GRID_FOR(i, x.rows * x.cols)
    out.p[i / x.cols * out.ld + i % x.cols] = x.p[i / x.cols * x.ld + i % x.cols];
}

template <class T>
static int padded(sae_device *dev, enum sae_cuda_slot slot, sae_cmat x, const sae_real *shift,
                  T **out)
{
    *out = ws_new<T>(dev, slot, CHUNK * x.cols);
    if (!*out)
        return SAE_ENOMEM;
    return LAUNCH(dev, pad_rows<T>, blocks_for(CHUNK * x.cols, BLOCK), BLOCK, x, shift, *out);
}

/* Up to CHUNK rows of x - shift as the left operand, in bf16 where the right one is. */
static int left_operand(sae_device *dev, sae_cmat x, const sae_real *shift, int half,
                        sae_cuda_operand *out)
{
    sae_real *wide = NULL;
    uint16_t *narrowed = NULL;
    *out = floats(x);
    if (!half && !shift && is_chunk(x))
        return SAE_OK;
    TRY(half ? padded(dev, WS_ROWS, x, shift, &narrowed) : padded(dev, WS_ROWS, x, shift, &wide));
    sae_cuda_operand o = {half ? (void *)narrowed : wide, CHUNK, x.cols, x.cols, half};
    *out = o;
    return SAE_OK;
}

/* c [up to CHUNK rows] = alpha a op(b) + beta c, computed in the shape of a whole chunk. */
static int chunk_product(sae_device *dev, int tb, sae_real alpha, sae_cuda_operand a,
                         sae_cuda_operand b, sae_real beta, sae_mat c)
{
    if (is_chunk(as_const(c)))
        return multiply(dev, 0, tb, alpha, a, b, beta, c);
    sae_mat out = {ws_new<sae_real>(dev, WS_OUT, CHUNK * c.cols), CHUNK, c.cols, c.cols};
    if (!out.p)
        return SAE_ENOMEM;
    if (beta != 0)
        TRY(padded(dev, WS_OUT, as_const(c), nullptr, &out.p));
    TRY(multiply(dev, 0, tb, alpha, a, b, beta, out));
    sae_cmat live = {out.p, c.rows, c.cols, out.ld};
    return LAUNCH(dev, copy_rows, blocks_for(c.rows * c.cols, BLOCK), BLOCK, live, c);
}

static int product_by_chunks(sae_device *dev, int tb, sae_real alpha, sae_cmat a,
                             sae_cuda_operand right, sae_real beta, sae_mat c)
{
    for (int64_t r = 0; r < c.rows; r += CHUNK) {
        int64_t live = c.rows - r < CHUNK ? c.rows - r : CHUNK;
        sae_cmat from = {a.p + r * a.ld, live, a.cols, a.ld};
        sae_mat to = {c.p + r * c.ld, live, c.cols, c.ld};
        sae_cuda_operand left;
        TRY(left_operand(dev, from, nullptr, right.half, &left));
        TRY(chunk_product(dev, tb, alpha, left, right, beta, to));
    }
    return SAE_OK;
}

SAE_DECL_gemm(SAE_CUDA(gemm))
{
    if (bad_gemm(ta, tb, a, b, c))
        return SAE_EINVAL;
    if (ta || c.rows == 0)
        return sae_cuda_product(dev, ta, tb, alpha, a, b, beta, c);
    sae_cuda_operand right = weights(dev, b);
    auto body = [=] { return product_by_chunks(dev, tb, alpha, a, right, beta, c); };
    if (!right.half && is_chunk(a) && is_chunk(as_const(c))) /* one launch */
        return body();
    return sae_cuda_replay(dev, body, tb, alpha, a, b, right.p, beta, c);
}

/* ---- the walk -------------------------------------------------------------------------------- */

template <class T>
static __global__ void gather_rows(const T *w, int64_t ld, int64_t cols, const int32_t *row,
                                   int64_t count, T *out)
{
    GRID_FOR(i, count * cols)
    out[i] = w[row[i / cols] * ld + i % cols];
}

static int next_chunk(sae_device *dev, sae_cuda_walk *w)
{
    const sae_encoder *e = w->e;
    sae_cuda_pre *p = &w->pre;
    p->row += p->live;
    p->col = p->cols = 0;
    int64_t left = e->x.rows - p->row;
    if (left <= 0)
        return 0;
    p->live = left < CHUNK ? left : CHUNK;
    sae_cmat x = {e->x.p + p->row * e->x.ld, p->live, e->x.cols, e->x.ld};
    TRY(left_operand(dev, x, e->shift, w->w.half, &w->x));
    return 1;
}

template <class T>
static int gathered(sae_device *dev, sae_cuda_operand w, const int32_t *row, int64_t count,
                    const void **out)
{
    T *p = ws_new<T>(dev, WS_SHIFT, PANEL * w.cols);
    *out = p;
    if (!p)
        return SAE_ENOMEM;
    return LAUNCH(dev, gather_rows<T>, blocks_for(count * w.cols, BLOCK), BLOCK, (const T *)w.p,
                  w.ld, w.cols, row, count, p);
}

/* The features of a panel, as rows of the weights. */
static int panel_rows(sae_device *dev, const sae_cuda_walk *w, int64_t col, int64_t cols,
                      sae_cuda_operand *out)
{
    const int32_t *subset = w->e->subset;
    *out = w->w;
    out->rows = cols;
    if (!subset) {
        out->p = (const char *)w->w.p + col * w->w.ld * (w->w.half ? 2 : 4);
        return SAE_OK;
    }
    out->ld = w->w.cols;
    return w->w.half ? gathered<uint16_t>(dev, w->w, subset + col, cols, &out->p)
                     : gathered<sae_real>(dev, w->w, subset + col, cols, &out->p);
}

int sae_cuda_walk_next(sae_device *dev, sae_cuda_walk *w)
{
    const sae_encoder *e = w->e;
    sae_cuda_pre *p = &w->pre;
    int64_t all = encoder_cols(e);
    p->col += p->cols;
    if (all == 0)
        return 0;
    if (!w->w.p)
        w->w = weights(dev, e->w);
    if (!p->live || p->col >= all) {
        int rc = next_chunk(dev, w);
        if (rc <= 0)
            return rc;
    }
    sae_cuda_operand rows;
    p->cols = all - p->col < PANEL ? all - p->col : PANEL;
    p->bias = e->bias;
    p->subset = e->subset;
    p->ld = p->cols;
    TRY(panel_rows(dev, w, p->col, p->cols, &rows));
    sae_real *out = ws_new<sae_real>(dev, WS_OUT, (int64_t)CHUNK * PANEL);
    sae_mat to = {out, CHUNK, p->cols, p->cols};
    p->p = out;
    if (!out)
        return SAE_ENOMEM;
    TRY(multiply(dev, 0, 1, 1, w->x, rows, 0, to));
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

static int write_dense(sae_device *dev, const sae_encoder *e, sae_mat pre)
{
    sae_cuda_walk w = sae_cuda_walk_of(e);
    int rc;
    while ((rc = sae_cuda_walk_next(dev, &w)) > 0)
        TRY(LAUNCH(dev, write_pre, blocks_for(w.pre.live * w.pre.cols, BLOCK), BLOCK, w.pre, pre));
    return rc;
}

SAE_DECL_encode_dense(SAE_CUDA(encode_dense))
{
    if (bad_encoder(e) || !has_shape(as_const(pre), e->x.rows, encoder_cols(e)))
        return SAE_EINVAL;
    return sae_cuda_replay(dev, [=] { return write_dense(dev, e, pre); }, *e, pre,
                           sae_cuda_frozen(dev, e->w).p);
}
