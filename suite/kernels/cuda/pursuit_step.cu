/* suite/kernels/cuda/pursuit_step.cu - steps of matching, gradient and orthogonal matching pursuit.
 *
 * All in double and by a block for each row: coefficients and residuals do not see the products in
 * float.
 */
#include "cuda/pursuit.cuh"

/* ---- matching and gradient pursuit ----------------------------------------------------------- */

/* The atom that a row takes; -1 when it takes none. Every thread calls. */
static __device__ int64_t atom_to_take(const view &v)
{
    int over = finished(v.s);
    int64_t j = v.s->at;
    __syncthreads(); /* all have read */
    if (!over && j < 0 && threadIdx.x == 0)
        v.s->limit = v.s->steps;
    return over ? -1 : j;
}

/* Position of atom j in the support, which takes it in with coefficient 0 if it is new. */
static __device__ int64_t place(const view &v, int64_t j)
{
    __shared__ int64_t at;
    int64_t count = v.s->count;
    if (threadIdx.x == 0)
        at = count;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < count; i += CREW)
        if (v.atom[i] == j)
            at = i;
    __syncthreads();
    if (threadIdx.x == 0 && at == count) {
        v.atom[count] = (int32_t)j;
        v.z[count] = 0;
        v.s->count++;
    }
    __syncthreads();
    return at;
}

/* r -= sum z[i] w[atom[i]], afresh: from x; the step is done. */
static __device__ void renew(const chase &q, const view &v, const int32_t *atom, const double *z,
                             int64_t count, int afresh)
{
    double sum = 0;
    for (int64_t c = threadIdx.x; c < q.w.cols; c += CREW) {
        double r = afresh ? (double)v.x[c] * v.s->scale : v.r[c];
        for (int64_t i = 0; i < count; i++)
            r -= z[i] * (double)atom_row(q, atom[i])[c];
        v.r[c] = r;
        v.shown[c] = (sae_real)r;
        sum += r * r;
    }
    sum = block_add(sum);
    if (threadIdx.x != 0)
        return;
    v.s->r2 = sum;
    v.s->steps++;
    go_on(q, v.s);
}

static __global__ void step_mp(chase q)
{
    view v = view_of(q, blockIdx.x);
    int64_t j = atom_to_take(v);
    if (j < 0)
        return;
    int64_t at = place(v, j);
    int32_t atom = (int32_t)j;
    double a = v.s->corr;
    if (threadIdx.x == 0)
        v.z[at] += a;
    renew(q, v, &atom, &a, 1, 0);
}

static __global__ void step_gradient(chase q)
{
    view v = view_of(q, blockIdx.x);
    int64_t j = atom_to_take(v);
    if (j < 0)
        return;
    int64_t at = place(v, j), count = v.s->count;
    for (int64_t i = threadIdx.x / WARP; i < count; i += CREW_WARPS) {
        double g = 0; /* atoms out of the support since they were clipped do not move */
        if (i == at || v.z[i] != 0)
            g = warp_dot(v.r, atom_row(q, v.atom[i]), q.w.cols);
        if (lane_id() == 0)
            v.g[i] = g;
    }
    __syncthreads();
    double along = 0, size = 0; /* <move, r>, |move|^2 */
    for (int64_t i = threadIdx.x; i < count; i += CREW)
        along += v.g[i] * v.g[i];
    for (int64_t c = threadIdx.x; c < q.w.cols; c += CREW) {
        double move = 0;
        for (int64_t i = 0; i < count; i++)
            move += v.g[i] * (double)atom_row(q, v.atom[i])[c];
        size += move * move;
    }
    along = block_add(along);
    size = block_add(size);
    if (!(size > 0)) {
        if (threadIdx.x == 0)
            v.s->limit = v.s->steps;
        return;
    }
    for (int64_t i = threadIdx.x; i < count; i += CREW) {
        double z = v.z[i] + along / size * v.g[i];
        v.z[i] = q.p.positive && z < 0 ? 0 : z;
    }
    __syncthreads();
    renew(q, v, v.atom, v.z, count, 1);
}

/* ---- orthogonal matching pursuit ------------------------------------------------------------- */

static __device__ double *row_of_l(const view &v, int64_t i)
{
    return v.l + i * (i + 1) / 2;
}

/* Atom j as row `count` of the factor, by a warp; that row holds its products with the support and
 * itself, g[count] that with x. 0: it depends on the support. */
static __device__ int extend_factor(const view &v, int64_t j)
{
    int64_t count = v.s->count;
    double *last = row_of_l(v, count), pivot = last[count], forth = v.g[count];
    for (int64_t i = 0; i < count; i++) {
        const double *row = row_of_l(v, i);
        double s = 0;
        for (int64_t t = lane_id(); t < i; t += WARP)
            s += last[t] * row[t];
        s = (last[i] - warp_add(s)) / row[i];
        __syncwarp(); /* all have read last[i] */
        if (lane_id() == 0)
            last[i] = s;
        __syncwarp();
        pivot -= s * s;
        forth -= s * v.g[i];
    }
    __syncwarp();
    if (lane_id() == 0 && pivot >= 1e-7) {
        last[count] = sqrt(pivot);
        v.g[count] = forth / last[count];
        v.atom[count] = (int32_t)j;
        v.s->count++;
    }
    return pivot >= 1e-7;
}

/* L^T z = g by a warp, column by column. */
static __device__ void solve_back(const view &v)
{
    int64_t count = v.s->count;
    for (int64_t i = lane_id(); i < count; i += WARP)
        v.z[i] = v.g[i];
    __syncwarp();
    for (int64_t i = count - 1; i >= 0; i--) {
        const double *row = row_of_l(v, i);
        double z = v.z[i] / row[i];
        __syncwarp();
        for (int64_t t = lane_id(); t < i; t += WARP)
            v.z[t] -= z * row[t];
        if (lane_id() == 0)
            v.z[i] = z;
        __syncwarp();
    }
}

/* The products that extend_factor reads, one by each warp. */
static __device__ void gram_row(const chase &q, const view &v, int64_t j)
{
    int64_t count = v.s->count, d = q.w.cols;
    const sae_real *w = atom_row(q, j);
    double *last = row_of_l(v, count);
    for (int64_t i = threadIdx.x / WARP; i <= count + 1; i += CREW_WARPS) {
        double s;
        if (i <= count)
            s = warp_dot(w, atom_row(q, i < count ? v.atom[i] : j), d);
        else
            s = v.s->scale * warp_dot(v.x, w, d);
        if (lane_id() == 0)
            *(i <= count ? last + i : v.g + count) = s;
    }
}

static __global__ void step_omp(chase q)
{
    __shared__ int taken;
    view v = view_of(q, blockIdx.x);
    int64_t j = atom_to_take(v);
    if (j < 0)
        return;
    gram_row(q, v, j);
    __syncthreads();
    if (threadIdx.x < WARP) {
        int extended = extend_factor(v, j);
        __syncwarp();
        if (extended)
            solve_back(v);
        if (threadIdx.x == 0) {
            v.dead[j / 32] |= 1u << (j % 32);
            taken = extended;
        }
    }
    __syncthreads();
    if (taken)
        renew(q, v, v.atom, v.z, v.s->count, 1);
    else if (threadIdx.x == 0)
        go_on(q, v.s);
}

int sae_cuda_chase_step(sae_device *dev, const chase *q)
{
    static void (*const step[])(chase) = {step_mp, step_omp, step_gradient};
    return LAUNCH(dev, step[q->p.solver], (unsigned)q->x.rows, CREW, *q);
}
