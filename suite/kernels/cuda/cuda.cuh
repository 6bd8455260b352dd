/* suite/kernels/cuda/cuda.cuh - the device, its workspaces, launches, and what kernels share.
 *
 * The sources are also compiled as C++ against tests/emu, which runs them on the processor: they
 * use nothing of CUDA that is not there.
 *
 * Determinism (level D2): every output element has one writer, integer atomics only, grids
 * depend on extents alone. Double reductions follow the tree of shared/sum.h and give the host's
 * bits. Rows of encoders and products go through products of one fixed number of rows and one
 * layout, so that a row's bits do not depend on its batch even where cuBLAS chooses its algorithm
 * by them.
 *
 * An entry with many launches records them once as a CUDA graph and replays that (replay.cuh).
 */
#ifndef SAE_KERNELS_CUDA_CUH
#define SAE_KERNELS_CUDA_CUH

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include <sae/backend.h>
#include <string.h>

#include <mutex>
#include <shared_mutex>

#include "shared/shape.h"
#include "shared/sum.h"

#define SAE_CUDA(op) sae_k_##op##_cuda
#define SAE_CUDA_PROTOTYPE(op) extern "C" SAE_DECL_##op(SAE_CUDA(op));
SAE_KERNEL_LIST(SAE_CUDA_PROTOTYPE)
#undef SAE_CUDA_PROTOTYPE
extern const sae_lm_ops sae_cuda_lm; /* lm.cu */

/* ---- the device ------------------------------------------------------------------------------ */

/* Slots of the workspace. No kernel calls another while it holds one that the other uses. */
enum sae_cuda_slot {
    WS_ROWS,   /* a chunk of rows of an encoder's input, or of a product's operands */
    WS_OUT,    /* the product of a chunk and a panel */
    WS_SHIFT,  /* the features of an encoder's subset */
    WS_COUNT,  /* counts of rows or columns, and their sums */
    WS_KEY,    /* keys and their sorted copies */
    WS_LIST,   /* candidates of a selection */
    WS_SPARE,  /* the candidates' other half */
    WS_SUMS,   /* sums of blocks */
    WS_CUB,    /* what CUB works in */
    WS_STATE,  /* states of rows: selections, pursuits */
    WS_SLOTS
};

enum { MOST_FROZEN = 64, SAE_CUDA_MOST = 64 /* devices at once */ };

/* A bf16 copy of weights, of frozen.cu. Its memory stays for the next tensor that fits. */
typedef struct sae_cuda_copy {
    sae_cmat w; /* p == NULL: free */
    int users;
    void *p;
    size_t bytes;
} sae_cuda_copy;

typedef struct sae_cuda_ring sae_cuda_ring; /* reduce.cuh */

struct sae_device {
    int index;
    sae_cuda_ring *ring;          /* it reduces with, or NULL */
    struct sae_cuda_share *share; /* of share.cu: it leads, or NULL */
    sae_device *lead;             /* the one it is a peer of, or NULL */
    cudaEvent_t told;             /* all it has been told so far, for sae_cuda_after */
    cudaStream_t stream, uploads; /* the latter of sae_backend.upload alone */
    cublasHandle_t blas;
    cublasComputeType_t compute; /* of products in fp32 */
    void *blas_room;
    cusolverDnHandle_t solver; /* of linalg.cu, made when it is first needed */
    struct {
        void *p;
        size_t bytes;
    } ws[WS_SLOTS];
    sae_cuda_copy frozen[MOST_FROZEN];
    struct sae_cuda_graphs *graphs; /* of replay.cu */
    uint64_t generation;            /* changes with what recorded launches hold: see replay.cuh */
    int64_t replays;                /* for tests */
    char name[96], library[96];
    char why[160]; /* the first error of the runtime */
};

/* Before what goes into dev's streams or memory, or through its handles: of several devices it is
 * now the one of this thread. */
cudaError_t sae_cuda_here(const sae_device *dev);
/* Status of a call of the runtime; remembers why. */
int sae_cuda_check(sae_device *dev, cudaError_t rc);
int sae_cuda_check_blas(sae_device *dev, cublasStatus_t rc);
/* rc; *err says so, if it is the first failure of a call. err may be NULL. */
int sae_cuda_refuse(sae_err *err, int rc, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
#define REFUSE(err, rc, ...) sae_cuda_refuse(err, rc, __FILE__, __LINE__, __VA_ARGS__)
/* Device memory, contents undefined; NULL when out of memory: dev->why says how much there was. */
void *sae_cuda_take(sae_device *dev, size_t bytes);
void sae_cuda_free(const sae_device *dev, void *p); /* NULL-safe; waits for what uses it */
/* Held by what allocates or frees, and while a collective is launched on one device after the
 * other: freeing waits for a device and its peers, where a share that has begun would wait for one
 * that is held up behind the freeing (pytorch issue 50925). */
extern std::mutex sae_cuda_memory;
/* Shared by recordings of launches, alone for what another thread's recording might not survive. */
extern std::shared_mutex sae_cuda_recording;
/* Room for count * size bytes in a slot, contents undefined; NULL when out of memory. Valid until
 * the slot is asked for again. Aligned to 256 bytes. */
void *sae_cuda_ws(sae_device *dev, enum sae_cuda_slot slot, int64_t count, size_t size);
/* Copy to host memory and wait. */
int sae_cuda_read(sae_device *dev, void *host, const void *device, size_t bytes);
int sae_cuda_zero(sae_device *dev, void *p, size_t bytes);
void sae_cuda_replay_close(sae_device *dev);

template <class T> T *ws_new(sae_device *dev, enum sae_cuda_slot slot, int64_t count)
{
    return (T *)sae_cuda_ws(dev, slot, count, sizeof(T));
}

#define TRY(call)                                                                                  \
    do {                                                                                           \
        int try_rc = (call);                                                                       \
        if (try_rc < 0)                                                                            \
            return try_rc;                                                                         \
    } while (0)

/* ---- launches -------------------------------------------------------------------------------- */

constexpr int WARP = 32, BLOCK = 256, WARPS = BLOCK / WARP;
constexpr int64_t MOST_BLOCKS = 1 << 30;

/* LAUNCH(dev, kernel, blocks, threads, arguments...): status of the launch; 0 blocks: nothing. */
#ifdef SAE_EMULATED_CUDA
#define LAUNCH(dev, kernel, blocks, threads, ...)                                                  \
    ((blocks) ? (sae_cuda_here(dev),                                                               \
                 emu_launch(dim3(blocks), dim3(threads), (dev)->stream, kernel, __VA_ARGS__),      \
                 SAE_OK)                                                                           \
              : SAE_OK)
#else
#define LAUNCH(dev, kernel, blocks, threads, ...)                                                  \
    ((blocks) ? (sae_cuda_here(dev),                                                               \
                 kernel<<<(blocks), (threads), 0, (dev)->stream>>>(__VA_ARGS__),                   \
                 sae_cuda_check(dev, cudaGetLastError()))                                          \
              : SAE_OK)
#endif

static inline unsigned blocks_for(int64_t items, int64_t each)
{
    int64_t blocks = items / each + (items % each != 0);
    return (unsigned)(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS);
}

/* for (i over [0, n)) by all threads of a one-dimensional grid. */
#define GRID_FOR(i, n)                                                                             \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n);                      \
         i += (int64_t)gridDim.x * blockDim.x)
/* for (i over [0, n)) by the warps of the grid: every lane sees every i of its warp. */
#define WARP_FOR(i, n)                                                                             \
    for (int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / WARP; i < (n);             \
         i += (int64_t)gridDim.x * blockDim.x / WARP)

/* ---- inside kernels -------------------------------------------------------------------------- */

static __device__ inline int lane_id(void)
{
    return (int)(threadIdx.x % WARP);
}

/* The first place in the ascending v[0, count) whose entry is at least `key`. */
template <class T, class K> __device__ int64_t lower_bound(const T *v, int64_t count, K key)
{
    int64_t from = 0, end = count;
    while (from < end) {
        int64_t mid = from + (end - from) / 2;
        if (v[mid] < key)
            from = mid + 1;
        else
            end = mid;
    }
    return from;
}

/* The sum of term(i), i in [0, count), by a warp, along the tree of shared/sum.h: half a warp per
 * block of 256 terms. Every lane gets the result. */
template <class F> __device__ double warp_sum(int64_t count, F term)
{
    sae_pairwise p; /* in local memory: not zeroed, which would be 12 KB of stores by a warp */
    p.count = 0;
    int lane = lane_id(), half = lane / SAE_SUM_LANES;
    for (int64_t from = 0; from < count; from += 2 * SAE_SUM_BLOCK) {
        int64_t first = from + half * SAE_SUM_BLOCK, end = first + SAE_SUM_BLOCK;
        double s = 0;
        for (int64_t i = first + lane % SAE_SUM_LANES; i < (end < count ? end : count);
             i += SAE_SUM_LANES)
            s += term(i);
        for (int by = SAE_SUM_LANES / 2; by; by /= 2)
            s += __shfl_down_sync(~0u, s, (unsigned)by);
        double second = __shfl_sync(~0u, s, SAE_SUM_LANES);
        if (lane == 0) {
            sae_pairwise_add(&p, s);
            if (from + SAE_SUM_BLOCK < count)
                sae_pairwise_add(&p, second);
        }
    }
    double total = lane == 0 ? sae_pairwise_total(&p) : 0;
    return __shfl_sync(~0u, total, 0);
}

/* Exclusive sum over the threads of a block of BLOCK threads; *total: of all. All threads call. */
template <class T> __device__ T block_scan(T v, T *total)
{
    __shared__ T sums[WARPS];
    T inclusive = v;
    for (unsigned by = 1; by < WARP; by *= 2) {
        T left = __shfl_up_sync(~0u, inclusive, by);
        if (lane_id() >= (int)by)
            inclusive += left;
    }
    if (lane_id() == WARP - 1)
        sums[threadIdx.x / WARP] = inclusive;
    __syncthreads();
    T before = 0, all = 0;
    for (unsigned w = 0; w < WARPS; w++) {
        before += w < threadIdx.x / WARP ? sums[w] : 0;
        all += sums[w];
    }
    __syncthreads(); /* sums may be written again */
    *total = all;
    return before + inclusive - v;
}

/* ---- weights in bf16 (frozen.cu) ------------------------------------------------------------- */

/* Rows of bf16, each the upper half of a float. */
typedef struct sae_cuda_half {
    const uint16_t *p;
    int64_t rows, cols, ld;
} sae_cuda_half;

/* The copy of w, or of a part of what is frozen; p == NULL: there is none, w itself is read. */
sae_cuda_half sae_cuda_frozen(const sae_device *dev, sae_cmat w);
void sae_cuda_frozen_close(sae_device *dev);
int sae_cuda_freeze(sae_device *dev, sae_cmat w); /* as sae_backend.freeze and thaw */
void sae_cuda_thaw(sae_device *dev, const sae_real *w);

static __device__ inline sae_real widened(sae_real v)
{
    return v;
}

static __device__ inline sae_real widened(uint16_t v)
{
    return __uint_as_float((unsigned)v << 16);
}

static __device__ inline void narrow(sae_real v, sae_real *out)
{
    *out = v;
}

/* To nearest, ties to even, as sae_float_bf16; NaN stays one. */
static __device__ inline void narrow(sae_real v, uint16_t *out)
{
    unsigned u = __float_as_uint(v);
    *out = (uint16_t)(v != v ? u >> 16 | 0x40u : (u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

/* ---- products (product.cu) ------------------------------------------------------------------- */

/* Rows of a chunk and features of a panel: every product of an encoder has this many rows and, but
 * for the last panel, this many columns. Smaller in tests, where one processor does the work. */
#ifdef SAE_EMULATED_CUDA
constexpr int64_t CHUNK = 16, PANEL = 48;
#else
constexpr int64_t CHUNK = 1024, PANEL = 8192;
#endif

/* c = alpha op(a) op(b) + beta c, row-major, in the device's precision. */
int sae_cuda_product(sae_device *dev, int ta, int tb, sae_real alpha, sae_cmat a, sae_cmat b,
                     sae_real beta, sae_mat c);

#endif
