/* suite/kernels/cuda/pursuit.cuh - the state of a pursuit and what its kernels share. */
#ifndef SAE_KERNELS_CUDA_PURSUIT_CUH
#define SAE_KERNELS_CUDA_PURSUIT_CUH

#include "cuda/cuda.cuh"

/* Threads of a row's block; fewer in tests, where one processor does the work. */
#ifdef SAE_EMULATED_CUDA
constexpr int CREW = 2 * WARP;
#else
constexpr int CREW = BLOCK;
#endif
constexpr int CREW_WARPS = CREW / WARP;

/* One row, scaled by a power of two so that 1 <= |x| < 2. */
typedef struct quarry {
    int64_t steps, limit; /* taken, to take at most */
    int64_t count;        /* of the support */
    int64_t at;           /* the best atom so far, -1: none */
    double best, corr;    /* its score and <r, w[at]>; without one, what a score must exceed */
    double scale, x2, r2, tol2; /* x2 = |x|^2, r2 = |r|^2 */
} quarry;

typedef struct totals {
    int64_t nnz;
    unsigned long long nan, live; /* live: rows of the chunk that go on */
    double norm2;                 /* of the largest atom */
} totals;

/* A call, and the chunk of rows that it is at. */
typedef struct chase {
    sae_pursuit p; /* k_row: of the chunk */
    sae_cmat x, w;
    double error;    /* of the products, for vectors of norm 1 */
    int64_t k;       /* the largest support of a row */
    quarry *row;     /* of the chunk; so are the rest, each with as many entries for every row: */
    double *r;       /* [d] residual */
    sae_real *shown; /* [d] the residual as products read it */
    int32_t *atom;   /* [k] the support in the order in which it was taken */
    double *z;       /* [k] its coefficients */
    double *g;       /* [k] GRADIENT: its correlations; OMP: L g = <x, w> */
    double *l;       /* [k (k + 1) / 2] OMP: Cholesky factor of the support's Gram matrix */
    uint32_t *dead;  /* [words] OMP: a bit for every atom, taken or dependent; else NULL */
    int64_t words;
    totals *total;
} chase;

/* What a row's block works on. */
typedef struct view {
    quarry *s;
    const sae_real *x;
    double *r, *z, *g, *l;
    sae_real *shown;
    int32_t *atom;
    uint32_t *dead;
} view;

static __device__ inline view view_of(const chase &q, int64_t i)
{
    int64_t d = q.w.cols, k = q.k;
    view v = {q.row + i,
              q.x.p + i * q.x.ld,
              q.r + i * d,
              q.z + i * k,
              q.g + i * k,
              q.l + i * (k * (k + 1) / 2),
              q.shown + i * d,
              q.atom + i * k,
              q.dead ? q.dead + i * q.words : nullptr};
    return v;
}

static __device__ inline const sae_real *atom_row(const chase &q, int64_t j)
{
    return q.w.p + j * q.w.ld;
}

/* ---- sums ------------------------------------------------------------------------------------ */

static __device__ inline double warp_add(double s)
{
    for (int by = WARP / 2; by; by /= 2)
        s += __shfl_xor_sync(~0u, s, by);
    return s;
}

/* <v, w> by a warp; every lane gets it. */
template <class T> static __device__ double warp_dot(const T *v, const sae_real *w, int64_t d)
{
    double s = 0;
    for (int64_t c = lane_id(); c < d; c += WARP)
        s = fma((double)v[c], (double)w[c], s);
    return warp_add(s);
}

/* The sum over a block of CREW threads; every thread gets it. */
static __device__ inline double block_add(double s)
{
    __shared__ double part[CREW_WARPS];
    s = warp_add(s);
    __syncthreads(); /* part may be in use */
    if (lane_id() == 0)
        part[threadIdx.x / WARP] = s;
    __syncthreads();
    s = 0;
    for (int i = 0; i < CREW_WARPS; i++)
        s += part[i];
    return s;
}

static __device__ inline int finished(const quarry *s)
{
    return s->steps >= s->limit || !(s->r2 > s->tol2);
}

/* Before a row's next selection, by one thread. */
static __device__ inline void go_on(const chase &q, quarry *s)
{
    s->at = -1;
    s->best = 1e-12 * sqrt(s->x2) * sqrt(q.total->norm2);
    if (!finished(s))
        atomicAdd(&q.total->live, 1ULL);
}

/* One step of every row of the chunk that goes on, with the atoms that were selected. */
int sae_cuda_chase_step(sae_device *dev, const chase *q);

#endif
