/* suite/kernels/cuda/code.cu - products with codes, their transpose, norms and statistics.
 *
 * Sums of rows (code_decode, code_outer) gather rows of a matrix by a block whose threads stand on
 * columns: every access is coalesced and every output has one writer.
 */
#include "cuda/replay.cuh"
#include "cuda/sort.cuh"

/* for (b over [0, n)) by the blocks of the grid: every thread sees every b of its block. */
#define BLOCK_FOR(b, n) for (int64_t b = blockIdx.x; b < (n); b += gridDim.x)

/* Listed entries of row r: [first, end); entry i belongs to feature_of(z, r, i). */
static __device__ int64_t first_of(sae_code z, int64_t r)
{
    return z.dense ? r * z.n : z.rowptr[r];
}

static __device__ int64_t end_of(sae_code z, int64_t r)
{
    return z.dense ? (r + 1) * z.n : z.rowptr[r + 1];
}

static __device__ int64_t feature_of(sae_code z, int64_t r, int64_t i)
{
    return z.dense ? i - r * z.n : z.idx[i];
}

/* ---- sums of rows ---------------------------------------------------------------------------- */

/* Sum over i < count of val[pos[i]] * m[row[i], :]; without pos: of val[i]. */
template <class M> struct gather { /* M: sae_cmat or sae_cuda_half */
    const int32_t *row;
    const int64_t *pos;
    const sae_real *val;
    int64_t count;
    M m;
};

/* A thread for every column, in whole warps. */
static int threads_for(int64_t cols)
{
    return cols >= BLOCK ? BLOCK : cols > 0 ? (int)((cols + WARP - 1) / WARP * WARP) : WARP;
}

/* out = base + alpha * the sum, by a block; base NULL: 0. Entries ascend; those of a piece, which
 * the block's shared memory holds, add up before they are added to the rest. */
template <class M>
static __device__ void add_rows(gather<M> g, sae_real alpha, const sae_real *base, sae_real *out)
{
    __shared__ int32_t row[BLOCK];
    __shared__ sae_real val[BLOCK];
    int64_t from = 0;
    do {
        int64_t left = g.count - from, t = threadIdx.x;
        int live = (int)(left < blockDim.x ? left : blockDim.x);
        __syncthreads(); /* the last piece is in use */
        if (t < live) {
            row[t] = g.row[from + t];
            val[t] = g.val[g.pos ? g.pos[from + t] : from + t];
        }
        __syncthreads();
        const sae_real *before = from ? out : base;
        for (int64_t c = t; c < g.m.cols; c += blockDim.x) {
            sae_real s = 0;
            for (int i = 0; i < live; i++)
                s = fmaf(val[i], widened(g.m.p[row[i] * g.m.ld + c]), s);
            out[c] = fmaf(alpha, s, before ? before[c] : 0);
        }
        from += blockDim.x;
    } while (from < g.count);
}

template <class M>
static __global__ void decode_rows(sae_code z, M w, const sae_real *bias, sae_mat xhat)
{
    BLOCK_FOR(r, z.B)
    {
        int64_t first = z.rowptr[r];
        gather<M> g = {z.idx + first, nullptr, z.val + first, z.rowptr[r + 1] - first, w};
        add_rows(g, 1, bias, xhat.p + r * xhat.ld);
    }
}

template <class M>
static int decode(sae_device *dev, const sae_code *z, M w, const sae_real *bias, sae_mat xhat)
{
    return LAUNCH(dev, decode_rows<M>, blocks_for(z->B, 1), threads_for(w.cols), *z, w, bias, xhat);
}

static __global__ void repeat_row(const sae_real *v, sae_mat out)
{
    GRID_FOR(i, out.rows * out.cols)
    out.p[i / out.cols * out.ld + i % out.cols] = v[i % out.cols];
}

static sae_cmat dense_of(const sae_code *z)
{
    sae_cmat m = {z->val, z->B, z->n, z->n};
    return m;
}

SAE_DECL_code_decode(SAE_CUDA(code_decode))
{
    if (bad_code(z) || bad_mat(xhat) || xhat.rows != z->B || !has_shape(w, z->n, xhat.cols))
        return SAE_EINVAL;
    if (!z->dense) {
        sae_cuda_half half = sae_cuda_frozen(dev, w);
        return half.p ? decode(dev, z, half, bias, xhat) : decode(dev, z, w, bias, xhat);
    }
    if (bias)
        TRY(LAUNCH(dev, repeat_row, blocks_for(z->B * w.cols, BLOCK), BLOCK, bias, xhat));
    return SAE_CUDA(gemm)(dev, 0, 0, 1, dense_of(z), w, bias ? 1 : 0, xhat);
}

/* ---- code_grad ------------------------------------------------------------------------------- */

/* Products with FEW rows of w by a warp: what it reads of dx serves all of them. A lane adds up 16
 * terms of every 512 before it adds them to its sum. */
constexpr int FEW = 4;

template <class T>
static __device__ void few_dots(const sae_real *x, const T *const *w, int64_t d, sae_real *sum)
{
    constexpr int64_t SPAN = 16 * WARP;
    for (int q = 0; q < FEW; q++)
        sum[q] = 0;
    for (int64_t from = 0; from < d; from += SPAN) {
        int64_t end = from + SPAN < d ? from + SPAN : d;
        sae_real part[FEW] = {0};
        for (int64_t c = from + lane_id(); c < end; c += WARP)
            for (int q = 0; q < FEW; q++)
                part[q] = fmaf(x[c], widened(w[q][c]), part[q]);
        for (int q = 0; q < FEW; q++)
            sum[q] += part[q];
    }
    for (int q = 0; q < FEW; q++)
        for (int by = WARP / 2; by; by /= 2)
            sum[q] += __shfl_xor_sync(~0u, sum[q], by);
}

template <class M>
static __global__ void grad_rows(sae_code z, sae_cmat dx, M w, sae_real *dval)
{
    BLOCK_FOR(r, z.B)
    {
        int64_t end = z.rowptr[r + 1];
        for (int64_t i = z.rowptr[r] + (int64_t)(threadIdx.x / WARP) * FEW; i < end;
             i += WARPS * FEW) {
            decltype(w.p) row[FEW];
            sae_real dot[FEW];
            for (int q = 0; q < FEW; q++) /* behind the end: the last one again */
                row[q] = w.p + z.idx[i + q < end ? i + q : end - 1] * w.ld;
            few_dots(dx.p + r * dx.ld, row, w.cols, dot);
            for (int q = 0; q < FEW; q++)
                if (lane_id() == q && i + q < end)
                    dval[i + q] = dot[q];
        }
    }
}

template <class M>
static int grad(sae_device *dev, const sae_code *z, sae_cmat dx, M w, sae_real *dval)
{
    return LAUNCH(dev, grad_rows<M>, blocks_for(z->B, 1), BLOCK, *z, dx, w, dval);
}

SAE_DECL_code_grad(SAE_CUDA(code_grad))
{
    if (bad_code(z) || bad_cmat(dx) || dx.rows != z->B || !has_shape(w, z->n, dx.cols))
        return SAE_EINVAL;
    if (!z->dense) {
        sae_cuda_half half = sae_cuda_frozen(dev, w);
        return half.p ? grad(dev, z, dx, half, dval) : grad(dev, z, dx, w, dval);
    }
    sae_mat out = {dval, z->B, z->n, z->n};
    return SAE_CUDA(gemm)(dev, 0, 1, 1, dx, w, 0, out);
}

/* ---- code_transpose -------------------------------------------------------------------------- */

static __global__ void number_entries(sae_code z, int64_t *pos, int32_t *row)
{
    WARP_FOR(r, z.B)
    for (int64_t i = z.rowptr[r] + lane_id(); i < z.rowptr[r + 1]; i += WARP) {
        pos[i] = i;
        row[i] = (int32_t)r;
    }
}

static __global__ void fill_index(const uint32_t *key, const int32_t *row, sae_csc t)
{
    GRID_FOR(j, t.n + 1)
    t.colptr[j] = lower_bound(key, t.nnz, j);
    GRID_FOR(i, t.nnz)
    t.row[i] = row[t.pos[i]];
}

/* The sort is stable and rows ascend: so do the rows of a column. */
static int index_columns(sae_device *dev, const sae_code *z, const sae_csc *t)
{
    uint32_t *key = ws_new<uint32_t>(dev, WS_KEY, z->nnz);
    int64_t *pos = ws_new<int64_t>(dev, WS_LIST, z->nnz);
    int32_t *row = ws_new<int32_t>(dev, WS_SPARE, z->nnz);
    int bits = 1;
    if (!key || !pos || !row)
        return SAE_ENOMEM;
    while (bits < 32 && (z->n - 1) >> bits)
        bits++;
    TRY(LAUNCH(dev, number_entries, blocks_for(z->B, WARPS), BLOCK, *z, pos, row));
    if (z->nnz)
        TRY(sae_cuda_sort(dev, z->nnz, bits, (const uint32_t *)z->idx, pos, key, t->pos));
    int64_t most = z->nnz > z->n + 1 ? z->nnz : z->n + 1;
    return LAUNCH(dev, fill_index, blocks_for(most, BLOCK), BLOCK, key, row, *t);
}

SAE_DECL_code_transpose(SAE_CUDA(code_transpose))
{
    TRY(transpose_extents(z, t));
    return sae_cuda_replay(dev, [=] { return index_columns(dev, z, t); }, z->B, z->rowptr, z->idx,
                           *t);
}

/* ---- code_outer ------------------------------------------------------------------------------ */

/* A column of at least two segments' length is long: its segments (the last one takes the rest)
 * have a block each, and their sums are added in order. A segment takes the slot in which its first
 * entry lies; as none is shorter than a slot, no two take the same. Bits of a column depend on its
 * own entries and on nnz. */
#ifdef SAE_EMULATED_CUDA
constexpr int64_t SEGMENT = 16, SLOTS = 24;
#else
constexpr int64_t SEGMENT = 128, SLOTS = 8192;
#endif

typedef struct segments {
    int64_t length, slots; /* [slots x cols] at sum */
    sae_real *sum;
} segments;

typedef struct segment {
    int64_t column, number, of, first, count;
} segment;

/* Only the column of a slot's last entry can have a segment that begins there. Returns 0 when none
 * does, as where that column is none of t, which may be a range of a larger index. */
static __device__ int segment_of(sae_csc t, segments s, int64_t slot, segment *out)
{
    int64_t last = (slot + 1) * s.length;
    last = (last < t.nnz ? last : t.nnz) - 1;
    int64_t j = lower_bound(t.colptr, t.n + 1, last + 1) - 1;
    if (j < 0 || j >= t.n)
        return 0;
    int64_t first = t.colptr[j], end = t.colptr[j + 1], of = (end - first) / s.length;
    segment g = {j, (last - first) / s.length, of, 0, s.length};
    g.first = first + g.number * s.length;
    if (g.number == of - 1)
        g.count = end - g.first;
    *out = g;
    return of > 1 && g.number < of && g.first >= slot * s.length;
}

static __device__ gather<sae_cmat> entries_of(sae_csc t, const sae_real *val, sae_cmat x,
                                              int64_t first, int64_t count)
{
    gather<sae_cmat> g = {t.row + first, t.pos + first, val, count, x};
    return g;
}

/* Short columns into dw, segments of long ones into their slots, which come first. */
static __global__ void outer_parts(sae_csc t, const sae_real *val, sae_real alpha, sae_cmat x,
                                   segments s, sae_mat dw)
{
    BLOCK_FOR(b, s.slots + t.n)
    {
        segment g;
        if (b < s.slots) {
            if (segment_of(t, s, b, &g))
                add_rows(entries_of(t, val, x, g.first, g.count), 1, nullptr, s.sum + b * x.cols);
            continue;
        }
        int64_t j = b - s.slots, first = t.colptr[j], count = t.colptr[j + 1] - first;
        sae_real *to = dw.p + j * dw.ld;
        if (count > 0 && count / s.length < 2)
            add_rows(entries_of(t, val, x, first, count), alpha, to, to);
    }
}

/* The block of a column's first slot joins all of them. */
static __global__ void outer_join(sae_csc t, sae_real alpha, segments s, sae_mat dw)
{
    BLOCK_FOR(b, s.slots)
    {
        segment g;
        if (!segment_of(t, s, b, &g) || g.number > 0)
            continue;
        for (int64_t c = threadIdx.x; c < dw.cols; c += blockDim.x) {
            sae_real total = 0, *to = dw.p + g.column * dw.ld + c;
            for (int64_t i = 0; i < g.of; i++)
                total += s.sum[(b + i) * dw.cols + c];
            *to = fmaf(alpha, total, *to);
        }
    }
}

SAE_DECL_code_outer(SAE_CUDA(code_outer))
{
    if (t->n < 0 || bad_cmat(x) || !has_shape(as_const(dw), t->n, x.cols))
        return SAE_EINVAL;
    if (x.cols == 0)
        return SAE_OK;
    segments s = {SEGMENT, 0, nullptr};
    while (s.length * SLOTS < t->nnz)
        s.length *= 2;
    if (t->nnz >= 2 * s.length) {
        s.slots = (t->nnz + s.length - 1) / s.length;
        s.sum = ws_new<sae_real>(dev, WS_SUMS, s.slots * x.cols);
        if (!s.sum)
            return SAE_ENOMEM;
    }
    int threads = threads_for(x.cols);
    TRY(LAUNCH(dev, outer_parts, blocks_for(s.slots + t->n, 1), threads, *t, val, alpha, x, s, dw));
    return LAUNCH(dev, outer_join, blocks_for(s.slots, 1), threads, *t, alpha, s, dw);
}

/* ---- columns --------------------------------------------------------------------------------- */

static __global__ void sum_columns(sae_csc t, const sae_real *val, sae_real alpha, sae_real *out)
{
    WARP_FOR(j, t.n)
    {
        const int64_t *pos = t.pos + t.colptr[j];
        double s = warp_sum(t.colptr[j + 1] - t.colptr[j],
                            [=](int64_t i) { return (double)val[pos[i]]; });
        if (lane_id() == 0)
            out[j] = (sae_real)((double)out[j] + (double)alpha * s);
    }
}

SAE_DECL_code_col_sum(SAE_CUDA(code_col_sum))
{
    if (t->n < 0)
        return SAE_EINVAL;
    return LAUNCH(dev, sum_columns, blocks_for(t->n, WARPS), BLOCK, *t, val, alpha, out);
}

static __global__ void min_columns(sae_csc t, const sae_real *val, sae_real *out)
{
    WARP_FOR(j, t.n)
    {
        sae_real least = out[j];
        for (int64_t o = t.colptr[j] + lane_id(); o < t.colptr[j + 1]; o += WARP)
            least = val[t.pos[o]] < least ? val[t.pos[o]] : least;
        for (int by = WARP / 2; by; by /= 2) {
            sae_real other = __shfl_xor_sync(~0u, least, by);
            least = other < least ? other : least;
        }
        if (lane_id() == 0)
            out[j] = least;
    }
}

SAE_DECL_code_col_min(SAE_CUDA(code_col_min))
{
    if (t->n < 0)
        return SAE_EINVAL;
    return LAUNCH(dev, min_columns, blocks_for(t->n, WARPS), BLOCK, *t, val, out);
}

/* ---- rows and entries ------------------------------------------------------------------------ */

static __global__ void norm_rows(sae_code z, int64_t *l0, double *l1)
{
    WARP_FOR(r, z.B)
    {
        const sae_real *val = z.val + first_of(z, r);
        int count = 0;
        double sum = warp_sum(end_of(z, r) - first_of(z, r), [&](int64_t i) {
            count += val[i] != 0;
            return fabs((double)val[i]);
        });
        for (int by = WARP / 2; by; by /= 2)
            count += __shfl_xor_sync(~0u, count, by);
        if (lane_id() == 0 && l0)
            l0[r] = count;
        if (lane_id() == 0 && l1)
            l1[r] = sum;
    }
}

SAE_DECL_code_norms(SAE_CUDA(code_norms))
{
    if (bad_code(z))
        return SAE_EINVAL;
    return LAUNCH(dev, norm_rows, blocks_for(z->B, WARPS), BLOCK, *z, l0, l1);
}

/* Integer sums do not depend on their order; all writers of last_fired write the same. */
static __global__ void fire_entries(sae_code z, uint64_t now, uint64_t *last, uint64_t *count)
{
    WARP_FOR(r, z.B)
    for (int64_t i = first_of(z, r) + lane_id(); i < end_of(z, r); i += WARP) {
        int64_t j = feature_of(z, r, i);
        if (z.val[i] != 0) {
            last[j] = now;
            atomicAdd((unsigned long long *)count + j, 1ULL);
        }
    }
}

SAE_DECL_fire_update(SAE_CUDA(fire_update))
{
    if (bad_code(z))
        return SAE_EINVAL;
    return LAUNCH(dev, fire_entries, blocks_for(z->B, WARPS), BLOCK, *z, now, last_fired,
                  fire_count);
}

/* Bits of floats of one sign are in order, those of negative ones backwards. A maximum does not
 * depend on the order of its writers; -0 becomes 0, whose bits have the sign of its neighbours. */
static __device__ void raise_to(sae_real *at, sae_real v)
{
    unsigned bits = __float_as_uint(v + 0.0f);
    if (bits >> 31)
        atomicMin((unsigned *)at, bits);
    else
        atomicMax((int *)at, (int)bits);
}

static __global__ void max_entries(sae_code z, sae_real *out)
{
    WARP_FOR(r, z.B)
    for (int64_t i = first_of(z, r) + lane_id(); i < end_of(z, r); i += WARP) {
        int64_t j = feature_of(z, r, i);
        if (z.val[i] > out[j])
            raise_to(out + j, z.val[i]);
    }
}

SAE_DECL_code_max(SAE_CUDA(code_max))
{
    if (bad_code(z))
        return SAE_EINVAL;
    return LAUNCH(dev, max_entries, blocks_for(z->B, WARPS), BLOCK, *z, out);
}

static __global__ void scale_entries(sae_code z, const sae_real *val, const sae_real *row,
                                     const sae_real *col, sae_real *out)
{
    WARP_FOR(r, z.B)
    for (int64_t i = first_of(z, r) + lane_id(); i < end_of(z, r); i += WARP) {
        double by = (row ? (double)row[r] : 1) * (col ? (double)col[feature_of(z, r, i)] : 1);
        out[i] = (sae_real)(by * (double)val[i]);
    }
}

SAE_DECL_code_scale(SAE_CUDA(code_scale))
{
    if (bad_code(z))
        return SAE_EINVAL;
    return LAUNCH(dev, scale_entries, blocks_for(z->B, WARPS), BLOCK, *z, val, row, col, out);
}
