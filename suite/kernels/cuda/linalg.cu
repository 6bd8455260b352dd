/* suite/kernels/cuda/linalg.cu - cross products in double, eigenvectors, Cholesky by cuSOLVER. */
#include "cuda/share.cuh"

#include <stdio.h>

/* ---- cross products -------------------------------------------------------------------------- */

/* A block has a TILE x TILE piece of the result, a thread SIDE x SIDE of its entries in registers;
 * DEPTH rows of both operands lie in shared memory. Rows of every chain ascend and products of
 * floats are exact in double: the bits are the host's, which no library promises. */
constexpr int TILE = 64, SIDE = 4, DEPTH = 16, ACROSS = TILE / SIDE;

typedef struct cross_rows {
    double v[DEPTH][TILE];
} cross_rows;

/* Rows [r0, r0 + live) and columns [c0, c0 + TILE) of x, zeros behind its last column. */
static __device__ void load_rows(sae_cmat x, int64_t r0, int live, int64_t c0, cross_rows *to)
{
    for (int i = (int)threadIdx.x; i < live * TILE; i += BLOCK) {
        int64_t c = c0 + i % TILE;
        to->v[i / TILE][i % TILE] = c < x.cols ? (double)x.p[(r0 + i / TILE) * x.ld + c] : 0;
    }
}

/* The thread's entries of out, from memory or back to it. */
static __device__ void move_tile(double sum[SIDE][SIDE], int64_t i0, int64_t j0, int64_t rows,
                                 int64_t cols, double *out, int store)
{
    for (int u = 0; u < SIDE; u++)
        for (int v = 0; v < SIDE; v++) {
            int64_t i = i0 + u * ACROSS, j = j0 + v * ACROSS;
            int inside = i < rows && j < cols;
            if (inside && store)
                out[i * cols + j] = sum[u][v];
            else if (!store)
                sum[u][v] = inside ? out[i * cols + j] : 0;
        }
}

static __global__ void cross_tiles(sae_cmat a, sae_cmat b, double *out)
{
    __shared__ cross_rows sa, sb;
    int ty = (int)threadIdx.x / ACROSS, tx = (int)threadIdx.x % ACROSS;
    int64_t wide = (b.cols + TILE - 1) / TILE;
    int64_t i0 = blockIdx.x / wide * TILE, j0 = blockIdx.x % wide * TILE;
    double sum[SIDE][SIDE];
    move_tile(sum, i0 + ty, j0 + tx, a.cols, b.cols, out, 0);
    for (int64_t r = 0; r < a.rows; r += DEPTH) {
        int live = (int)(a.rows - r < DEPTH ? a.rows - r : DEPTH);
        __syncthreads(); /* the last rows are in use */
        load_rows(a, r, live, i0, &sa);
        load_rows(b, r, live, j0, &sb);
        __syncthreads();
        for (int k = 0; k < live; k++)
            for (int u = 0; u < SIDE; u++)
                for (int v = 0; v < SIDE; v++)
                    sum[u][v] += sa.v[k][ty + u * ACROSS] * sb.v[k][tx + v * ACROSS];
    }
    move_tile(sum, i0 + ty, j0 + tx, a.cols, b.cols, out, 1);
}

SAE_DECL_cross(SAE_CUDA(cross))
{
    if (bad_cmat(a) || bad_cmat(b) || a.rows != b.rows)
        return SAE_EINVAL;
    int64_t high = blocks_for(a.cols, TILE), wide = blocks_for(b.cols, TILE);
    if (high * wide > MOST_BLOCKS)
        return SAE_EINVAL; /* out would have 4 * 10^12 entries */
    return LAUNCH(dev, cross_tiles, (unsigned)(high * wide), BLOCK, a, b, out);
}

/* ---- cuSOLVER -------------------------------------------------------------------------------- */

static int check_solver(sae_device *dev, cusolverStatus_t rc)
{
    if (rc == CUSOLVER_STATUS_SUCCESS)
        return SAE_OK;
    if (!dev->why[0])
        snprintf(dev->why, sizeof dev->why, "cuSOLVER: status %d", (int)rc);
    return SAE_EBACKEND;
}

/* Its handle takes a while to make and few runs need one. It allocates and may wait for the device,
 * which spoils what other threads record there. */
static int open_solver(sae_device *dev)
{
    TRY(sae_cuda_check(dev, sae_cuda_here(dev)));
    if (dev->solver)
        return SAE_OK;
    {
        std::lock_guard<std::shared_mutex> no_recording(sae_cuda_recording);
        std::lock_guard<std::mutex> alone(sae_cuda_memory);
        TRY(check_solver(dev, cusolverDnCreate(&dev->solver)));
    }
    return check_solver(dev, cusolverDnSetStream(dev->solver, dev->stream));
}

/* The orders whose squares and workspaces LAPACK's interfaces can count in 32 bits. */
static int bad_order(int64_t n)
{
    return n < 0 || n > 32766;
}

/* ---- eigenvectors ---------------------------------------------------------------------------- */

/* Sums of the squares of rows; of one row of sums: their sum. */
static __global__ void square_rows(int64_t rows, int64_t n, const double *a, double *out)
{
    WARP_FOR(i, rows)
    {
        double s = warp_sum(n, [=](int64_t j) { return a[i * n + j] * a[i * n + j]; });
        if (lane_id() == 0)
            out[i] = s;
    }
}

static __global__ void add_up(int64_t n, const double *v, double *out)
{
    double s = warp_sum(n, [=](int64_t i) { return v[i]; });
    if (threadIdx.x == 0)
        *out = s;
}

/* Rows of v in descending order into a, each with its largest entry positive. */
static __global__ void put_vectors(int64_t n, const double *v, const double *value, double *a,
                                   double *w)
{
    WARP_FOR(i, n)
    {
        const double *row = v + (n - 1 - i) * n;
        int64_t big = lane_id();
        for (int64_t j = big; j < n; j += WARP)
            big = fabs(row[j]) > fabs(row[big]) ? j : big;
        for (int by = WARP / 2; by; by /= 2) {
            int64_t other = __shfl_xor_sync(~0u, big, by);
            double mine = big < n ? fabs(row[big]) : 0, its = other < n ? fabs(row[other]) : 0;
            big = big >= n || its > mine || (its == mine && other < big) ? other : big;
        }
        for (int64_t j = lane_id(); j < n; j += WARP)
            a[i * n + j] = row[big] < 0 ? -row[j] : row[j];
        if (lane_id() == 0)
            w[i] = value[n - 1 - i];
    }
}

/* SAE_EINVAL where the sum of the squares is not finite; the call waits for it. */
static int check_squares(sae_device *dev, int64_t n, const double *a)
{
    double *part = ws_new<double>(dev, WS_SUMS, n + 1), total;
    if (!part)
        return SAE_ENOMEM;
    TRY(LAUNCH(dev, square_rows, blocks_for(n, WARPS), BLOCK, n, n, a, part));
    TRY(LAUNCH(dev, add_up, 1, WARP, n, part, part + n));
    TRY(sae_cuda_read(dev, &total, part + n, sizeof total));
    return isfinite(total) ? SAE_OK : SAE_EINVAL;
}

/* cuSOLVER's columns are our rows. */
SAE_DECL_eigh(SAE_CUDA(eigh))
{
    int lwork = 0, info = 0, order = (int)n;
    if (bad_order(n))
        return SAE_EINVAL;
    if (n == 0)
        return SAE_OK;
    TRY(check_squares(dev, n, a));
    TRY(open_solver(dev));
    double *v = ws_new<double>(dev, WS_STATE, n * (n + 1)), *value = v + n * n;
    int *status = ws_new<int>(dev, WS_COUNT, 1);
    if (!v || !status)
        return SAE_ENOMEM;
    cusolverEigMode_t mode = CUSOLVER_EIG_MODE_VECTOR;
    cublasFillMode_t half = CUBLAS_FILL_MODE_LOWER;
    TRY(check_solver(dev, cusolverDnDsyevd_bufferSize(dev->solver, mode, half, order, v, order,
                                                      value, &lwork)));
    double *work = ws_new<double>(dev, WS_SPARE, lwork);
    if (!work)
        return SAE_ENOMEM;
    TRY(sae_cuda_check(dev, sae_cuda_copy_pieces(dev, v, a, (size_t)(n * n) * sizeof *v,
                                                 cudaMemcpyDeviceToDevice, dev->stream)));
    TRY(check_solver(dev, cusolverDnDsyevd(dev->solver, mode, half, order, v, order, value, work,
                                           lwork, status)));
    TRY(LAUNCH(dev, put_vectors, blocks_for(n, WARPS), BLOCK, n, v, value, a, w));
    TRY(sae_cuda_read(dev, &info, status, sizeof info));
    return info ? SAE_EBACKEND : SAE_OK;
}

/* ---- Cholesky -------------------------------------------------------------------------------- */

static __global__ void transpose(const double *x, int64_t rows, int64_t cols, double *out)
{
    GRID_FOR(i, rows * cols)
    out[i % cols * rows + i / cols] = x[i];
}

/* A pivot that is no positive number counts as failure even where the library saw none. */
static __global__ void judge_factor(int64_t n, const double *a, int *status)
{
    GRID_FOR(i, n)
    if (!(a[i * (n + 1)] > 0 && isfinite(a[i * (n + 1)])))
        *status = 1;
}

/* The lower triangle by rows is cuSOLVER's upper one by columns. Waits for the verdict. */
static int factor(sae_device *dev, int64_t n, double *a, int *status)
{
    int lwork = 0, info = 0, order = (int)n;
    cublasFillMode_t half = CUBLAS_FILL_MODE_UPPER;
    TRY(check_solver(dev, cusolverDnDpotrf_bufferSize(dev->solver, half, order, a, order, &lwork)));
    double *work = ws_new<double>(dev, WS_SPARE, lwork);
    if (!work)
        return SAE_ENOMEM;
    TRY(check_solver(
        dev, cusolverDnDpotrf(dev->solver, half, order, a, order, work, lwork, status)));
    TRY(LAUNCH(dev, judge_factor, blocks_for(n, BLOCK), BLOCK, n, a, status));
    TRY(sae_cuda_read(dev, &info, status, sizeof info));
    return info ? SAE_EINVAL : SAE_OK;
}

SAE_DECL_solve_spd(SAE_CUDA(solve_spd))
{
    if (bad_order(n) || m < 0 || m > INT32_MAX)
        return SAE_EINVAL;
    double *columns = ws_new<double>(dev, WS_STATE, n * m);
    int *status = ws_new<int>(dev, WS_COUNT, 1), order = (int)n;
    if (!columns || !status)
        return SAE_ENOMEM;
    if (n == 0)
        return SAE_OK;
    TRY(open_solver(dev));
    TRY(factor(dev, n, a, status));
    if (m == 0)
        return SAE_OK;
    unsigned blocks = blocks_for(n * m, BLOCK);
    TRY(LAUNCH(dev, transpose, blocks, BLOCK, b, n, m, columns));
    TRY(check_solver(dev, cusolverDnDpotrs(dev->solver, CUBLAS_FILL_MODE_UPPER, order, (int)m, a,
                                           order, columns, order, status)));
    return LAUNCH(dev, transpose, blocks, BLOCK, columns, m, n, b);
}
