/* suite/kernels/cuda/pursuit.cu - sparse codes by greedy selection.
 *
 * Floats screen, doubles decide, as in cpu/pursuit.c: a product of the rounded residuals of a chunk
 * of rows with a panel of atoms shows which atoms may be the best, and those are compared by their
 * products with the residuals in double. So neither the atoms taken nor any bit of a result depends
 * on how cuBLAS sums, on panels, or on the other rows.
 *
 * Every step of a chunk is one product with all atoms. The host waits once in a few steps, for the
 * number of rows that go on: rows that have ended take no part in a step, and few end before the
 * others.
 */
#include "cuda/pursuit.cuh"
#include "cuda/replay.cuh"

/* The most that the states of a chunk may take: 1 GiB. */
constexpr int64_t ROOM = (int64_t)1 << 30;
/* Steps from one look to the next. */
#ifdef SAE_EMULATED_CUDA
constexpr int64_t STEPS = 3;
#else
constexpr int64_t STEPS = 8;
#endif

/* ---- rows begin and go on -------------------------------------------------------------------- */

/* Bits of positive doubles are in the order of their values. */
static __global__ void largest_atom(sae_cmat w, totals *t)
{
    WARP_FOR(j, w.rows)
    {
        const sae_real *row = w.p + j * w.ld;
        double s = warp_dot(row, row, w.cols);
        unsigned long long bits;
        memcpy(&bits, &s, sizeof bits);
        if (lane_id() == 0 && s > 0)
            atomicMax((unsigned long long *)&t->norm2, bits);
    }
}

static __global__ void begin_rows(chase q)
{
    WARP_FOR(i, q.x.rows)
    {
        view v = view_of(q, i);
        double xx = warp_dot(v.x, v.x, q.x.cols);
        double scale = xx > 0 && isfinite(xx) ? ldexp(1.0, -ilogb(sqrt(xx))) : 1;
        for (int64_t c = lane_id(); c < q.x.cols; c += WARP) {
            v.r[c] = (double)v.x[c] * scale;
            v.shown[c] = (sae_real)v.r[c];
        }
        if (lane_id() != 0)
            continue;
        int64_t limit = q.p.k_row && q.p.k_row[i] < q.p.k ? q.p.k_row[i] : q.p.k;
        double x2 = xx * scale * scale, tol = q.p.tol * scale;
        quarry s = {0, isfinite(xx) ? limit : 0, 0, -1, 0, 0, scale, x2, x2, tol * tol};
        *v.s = s;
        if (!isfinite(xx))
            atomicAdd(&q.total->nan, (unsigned long long)q.w.rows);
        go_on(q, v.s);
    }
}

/* ---- selection ------------------------------------------------------------------------------- */

static __device__ sae_real block_max(sae_real v)
{
    __shared__ sae_real part[CREW_WARPS];
    for (int by = WARP / 2; by; by /= 2) {
        sae_real other = __shfl_xor_sync(~0u, v, by);
        v = other > v ? other : v;
    }
    __syncthreads();
    if (lane_id() == 0)
        part[threadIdx.x / WARP] = v;
    __syncthreads();
    for (int i = 0; i < CREW_WARPS; i++)
        v = part[i] > v ? part[i] : v;
    return v;
}

/* What ranks an atom, by its product in float; NaN: it is out of use. */
static __device__ sae_real rough_score(const chase &q, const view &v, int64_t j, sae_real c)
{
    if (v.dead && (v.dead[j / 32] >> (j % 32) & 1))
        return NAN;
    return q.p.positive ? c : fabsf(c);
}

typedef struct pick {
    double best, corr;
    int64_t at;
} pick;

/* The best of the atoms whose bits are set, the first of which is j0; the first of equals. */
static __device__ void decide(const chase &q, const view &v, int64_t j0, unsigned hits, pick *p)
{
    for (; hits; hits &= hits - 1) {
        int64_t j = j0 + __ffs((int)hits) - 1;
        double c = warp_dot(v.r, atom_row(q, j), q.w.cols), score = q.p.positive ? c : fabs(c);
        if (score > p->best) {
            p->best = score;
            p->corr = c;
            p->at = j;
        }
    }
}

/* The best of what the warps found, into the state of the row. */
static __device__ void join_picks(pick mine, quarry *s)
{
    __shared__ pick found[CREW_WARPS];
    if (lane_id() == 0)
        found[threadIdx.x / WARP] = mine;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    for (int i = 0; i < CREW_WARPS; i++) {
        pick p = found[i];
        if (p.at >= 0 && (p.best > s->best || (p.best == s->best && p.at < s->at))) {
            s->best = p.best;
            s->corr = p.corr;
            s->at = p.at;
        }
    }
}

/* By how much a product of vectors of norm 1 may be off. Operands may be cut to 10 bits (TF32) or 7
 * (bf16); a chain of d products is rounded, whatever its order, at worst towards zero; and so was r
 * when it became float. */
static double product_error(const sae_device *dev, int64_t d)
{
    double chain = ((double)d + 4) * 0x1p-24, cut = 0x1p-10;
    if (dev->compute == CUBLAS_COMPUTE_32F)
        return chain;
    if (dev->compute != CUBLAS_COMPUTE_32F_FAST_TF32)
        cut = 0x1p-7;
    return 2 * chain + cut * (2 + cut);
}

/* A row's block looks at its products c with the atoms [col, col + cols), which are off by no more
 * than `off`. An atom that is better than the best so far is within `off` of it, and the best of
 * these atoms within 2 `off` of the largest product. */
static __global__ void screen(chase q, const sae_real *product, int64_t col, int64_t cols)
{
    view v = view_of(q, blockIdx.x);
    if (finished(v.s))
        return;
    const sae_real *c = product + (int64_t)blockIdx.x * cols;
    double off = q.error * sqrt(q.total->norm2) * sqrt(v.s->r2) + 1e-36;
    pick mine = {v.s->best, 0, -1};
    sae_real top = -INFINITY;
    for (int64_t i = threadIdx.x; i < cols; i += CREW) {
        sae_real score = rough_score(q, v, col + i, c[i]);
        top = score > top ? score : top;
    }
    double low = fmax((double)block_max(top) - 2 * off, mine.best - off);
    for (int64_t from = threadIdx.x / WARP * WARP; from < cols; from += CREW) {
        int64_t i = from + lane_id();
        int hit = i < cols && (double)rough_score(q, v, col + i, c[i]) >= low;
        decide(q, v, col + from, __ballot_sync(~0u, hit), &mine);
    }
    join_picks(mine, v.s);
}

/* ---- codes ----------------------------------------------------------------------------------- */

/* The coefficient as it is listed, if it is not 0. */
static __device__ sae_real listed(const view &v, int64_t i)
{
    return (sae_real)(v.z[i] / v.s->scale);
}

static __global__ void count_rows(chase q, int64_t *rowptr)
{
    WARP_FOR(i, q.x.rows)
    {
        view v = view_of(q, i);
        int count = 0;
        for (int64_t t = lane_id(); t < v.s->count; t += WARP)
            count += listed(v, t) != 0;
        for (int by = WARP / 2; by; by /= 2)
            count += __shfl_xor_sync(~0u, count, by);
        if (lane_id() == 0)
            rowptr[i + 1] = count;
    }
}

/* rowptr[1..] from counts to their sums on top of rowptr[0], by one block. */
static __global__ void add_counts(int64_t rows, int64_t *rowptr, totals *t)
{
    int64_t before = rowptr[0];
    for (int64_t from = 0; from < rows; from += BLOCK) {
        int64_t i = from + threadIdx.x, total, count = i < rows ? rowptr[i + 1] : 0;
        int64_t sum = before + block_scan(count, &total) + count;
        if (i < rows)
            rowptr[i + 1] = sum;
        before += total;
    }
    if (threadIdx.x == 0)
        t->nnz = before;
}

/* Every coefficient at its place in the order of atoms; what has no room is left out. */
static __global__ void put_rows(chase q, const int64_t *rowptr, sae_code z)
{
    WARP_FOR(i, q.x.rows)
    {
        view v = view_of(q, i);
        for (int64_t t = lane_id(); t < v.s->count; t += WARP) {
            int64_t at = rowptr[i];
            sae_real value = listed(v, t);
            for (int64_t u = 0; u < v.s->count && value != 0; u++)
                at += v.atom[u] < v.atom[t] && listed(v, u) != 0;
            if (value != 0 && at < z.cap) {
                z.idx[at] = v.atom[t];
                z.val[at] = value;
            }
        }
    }
}

/* ---- the call -------------------------------------------------------------------------------- */

/* Room for the states of *most rows, and what all rows share. */
static int open_chase(sae_device *dev, chase *q, int64_t *most)
{
    int64_t d = q->w.cols, k = q->k;
    int omp = q->p.solver == SAE_SOLVE_OMP;
    if (omp && k > 1 << 24) /* a factor of a petabyte: keep its size countable */
        return SAE_ENOMEM;
    int64_t factor = omp ? k * (k + 1) / 2 : 0, reals = d + 2 * k + factor;
    int64_t bytes = 8 * reals + 4 * (d + k) + 4 * q->words + (int64_t)sizeof(quarry);
    int64_t rows = ROOM / bytes + 1;
    rows = rows < CHUNK ? rows : CHUNK;
    *most = rows = rows < q->x.rows ? rows : q->x.rows;
    q->row = ws_new<quarry>(dev, WS_STATE, rows);
    q->r = ws_new<double>(dev, WS_SPARE, rows * reals);
    q->shown = ws_new<sae_real>(dev, WS_ROWS, rows * d);
    q->atom = ws_new<int32_t>(dev, WS_LIST, rows * k);
    q->dead = omp ? ws_new<uint32_t>(dev, WS_KEY, rows * q->words) : nullptr;
    q->total = ws_new<totals>(dev, WS_COUNT, 1);
    if (!q->row || !q->r || !q->shown || !q->atom || (omp && !q->dead) || !q->total)
        return SAE_ENOMEM;
    q->z = q->r + rows * d;
    q->g = q->z + rows * k;
    q->l = q->g + rows * k;
    TRY(sae_cuda_zero(dev, q->total, sizeof *q->total));
    return LAUNCH(dev, largest_atom, blocks_for(q->w.rows, WARPS), BLOCK, q->w, q->total);
}

/* One step of every row that goes on. */
static int step_rows(sae_device *dev, const chase *q)
{
    int64_t rows = q->x.rows, n = q->w.rows, d = q->w.cols;
    sae_real *product = ws_new<sae_real>(dev, WS_OUT, rows * (n < PANEL ? n : PANEL));
    if (!product)
        return SAE_ENOMEM;
    sae_cmat shown = {q->shown, rows, d, d};
    for (int64_t col = 0; col < n; col += PANEL) {
        int64_t cols = n - col < PANEL ? n - col : PANEL;
        sae_cmat atoms = {q->w.p + col * q->w.ld, cols, d, q->w.ld};
        sae_mat out = {product, rows, cols, cols};
        TRY(sae_cuda_product(dev, 0, 1, 1, shown, atoms, 0, out));
        TRY(LAUNCH(dev, screen, (unsigned)rows, CREW, *q, product, col, cols));
    }
    TRY(sae_cuda_zero(dev, &q->total->live, sizeof q->total->live));
    return sae_cuda_chase_step(dev, q);
}

/* `steps` steps, replayed. Parts of workspaces lie where the size of the call's chunks put them. */
static int several_steps(sae_device *dev, const chase *q, int64_t steps)
{
    auto body = [=] {
        for (int64_t i = 0; i < steps; i++)
            TRY(step_rows(dev, q));
        return (int)SAE_OK;
    };
    return sae_cuda_replay(dev, body, q->p.solver, q->p.positive, q->p.k, q->p.k_row, q->p.tol,
                           q->x, q->w, q->k, q->z, q->g, q->l, q->words, steps);
}

static int run_chunk(sae_device *dev, const chase *q)
{
    unsigned long long live = q->p.k > 0;
    TRY(sae_cuda_zero(dev, &q->total->live, sizeof live));
    if (q->dead)
        TRY(sae_cuda_zero(dev, q->dead, (size_t)(q->x.rows * q->words) * sizeof *q->dead));
    TRY(LAUNCH(dev, begin_rows, blocks_for(q->x.rows, WARPS), BLOCK, *q));
    /* OMP passes over dependent atoms: it may take more than k steps. */
    for (int64_t left = q->p.k; live; left -= STEPS) {
        TRY(several_steps(dev, q, left > 0 && left < STEPS ? left : STEPS));
        TRY(sae_cuda_read(dev, &live, &q->total->live, sizeof live));
    }
    return SAE_OK;
}

/* The codes of the chunk, whose rows begin at rowptr. */
static int put_chunk(sae_device *dev, const chase *q, int64_t *rowptr, sae_code *z)
{
    unsigned blocks = blocks_for(q->x.rows, WARPS);
    TRY(LAUNCH(dev, count_rows, blocks, BLOCK, *q, rowptr));
    TRY(LAUNCH(dev, add_counts, 1, BLOCK, q->x.rows, rowptr, q->total));
    return LAUNCH(dev, put_rows, blocks, BLOCK, *q, rowptr, *z);
}

SAE_DECL_pursuit(SAE_CUDA(pursuit))
{
    if (bad_cmat(x) || bad_cmat(w) || x.cols != w.cols || w.rows > INT32_MAX || p->k < 0 ||
        z->dense || p->solver > SAE_SOLVE_GRADIENT ||
        (p->positive && p->solver == SAE_SOLVE_OMP))
        return SAE_EINVAL;
    chase q = {};
    totals t;
    int64_t most;
    q.p = *p;
    q.x = x;
    q.w = w;
    q.k = p->k < w.rows ? p->k : w.rows;
    q.error = product_error(dev, w.cols);
    q.words = p->solver == SAE_SOLVE_OMP ? (w.rows + 31) / 32 : 0;
    TRY(open_chase(dev, &q, &most));
    z->B = x.rows;
    z->n = w.rows;
    TRY(sae_cuda_zero(dev, z->rowptr, sizeof *z->rowptr));
    for (int64_t r = 0; r < x.rows; r += most) {
        q.x.p = x.p + r * x.ld;
        q.x.rows = x.rows - r < most ? x.rows - r : most;
        q.p.k_row = p->k_row ? p->k_row + r : nullptr;
        TRY(run_chunk(dev, &q));
        TRY(put_chunk(dev, &q, z->rowptr + r, z));
    }
    TRY(sae_cuda_read(dev, &t, q.total, sizeof t));
    z->nnz = t.nnz;
    z->nan = (int64_t)t.nan;
    return z->nnz > z->cap ? SAE_ECAPACITY : SAE_OK;
}
