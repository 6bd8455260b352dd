/* suite/kernels/cuda/device.cu - opening a GPU, its memory and copies, and the backend itself. */
#include "cuda/reduce.cuh"
#include "cuda/share.cuh"
#include "cuda/upload.cuh"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLAS_ROOM = 32 << 20 };

cudaError_t sae_cuda_here(const sae_device *dev)
{
    int now = -1;
    cudaError_t rc = cudaGetDevice(&now);
    return rc != cudaSuccess || now == dev->index ? rc : cudaSetDevice(dev->index);
}

int sae_cuda_check(sae_device *dev, cudaError_t rc)
{
    if (rc == cudaSuccess)
        return SAE_OK;
    if (!dev->why[0])
        snprintf(dev->why, sizeof dev->why, "%s", cudaGetErrorString(rc));
    return rc == cudaErrorMemoryAllocation ? SAE_ENOMEM : SAE_EBACKEND;
}

int sae_cuda_check_blas(sae_device *dev, cublasStatus_t rc)
{
    if (rc == CUBLAS_STATUS_SUCCESS)
        return SAE_OK;
    if (!dev->why[0])
        snprintf(dev->why, sizeof dev->why, "cuBLAS: %s", cublasGetStatusString(rc));
    return SAE_EBACKEND;
}

int sae_cuda_refuse(sae_err *err, int rc, const char *file, int line, const char *fmt, ...)
{
    va_list ap;
    if (!err || err->code)
        return rc;
    err->code = rc;
    err->file = file;
    err->line = line;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return rc;
}

/* ---- memory ---------------------------------------------------------------------------------- */

std::mutex sae_cuda_memory;
std::shared_mutex sae_cuda_recording;

void sae_cuda_free(const sae_device *dev, void *p)
{
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    sae_cuda_here(dev);
    cudaFree(p);
}

void *sae_cuda_take(sae_device *dev, size_t bytes)
{
    void *p = NULL;
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    cudaError_t rc = sae_cuda_here(dev);
    if (rc == cudaSuccess)
        rc = cudaMalloc(&p, bytes ? bytes : 1);
    if (rc == cudaSuccess)
        return p;
    cudaGetLastError(); /* it would be found by the next launch */
    size_t left = 0, total = 0;
    if (!dev->why[0] && cudaMemGetInfo(&left, &total) == cudaSuccess)
        snprintf(dev->why, sizeof dev->why, "%zu bytes asked for, %zu of %zu free: %s", bytes, left,
                 total, cudaGetErrorString(rc));
    return NULL;
}

static void *alloc_cuda(sae_device *dev, size_t bytes)
{
    void *p = sae_cuda_spread_take(dev, bytes);
    if (p && sae_cuda_zero(dev, p, bytes) < 0) {
        sae_cuda_spread_free(dev, p);
        return NULL;
    }
    return p;
}

void *sae_cuda_ws(sae_device *dev, enum sae_cuda_slot slot, int64_t count, size_t size)
{
    size_t bytes;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &bytes))
        return NULL;
    sae_cuda_here(dev); /* for what works in it */
    if (dev->ws[slot].p && bytes <= dev->ws[slot].bytes)
        return dev->ws[slot].p;
    dev->generation++;
    sae_cuda_free(dev, dev->ws[slot].p);
    dev->ws[slot].p = sae_cuda_take(dev, bytes);
    dev->ws[slot].bytes = dev->ws[slot].p ? bytes : 0;
    return dev->ws[slot].p;
}

int sae_cuda_zero(sae_device *dev, void *p, size_t bytes)
{
    if (!bytes)
        return SAE_OK;
    TRY(sae_cuda_check(dev, sae_cuda_here(dev)));
    return sae_cuda_check(dev, sae_cuda_zero_pieces(dev, p, bytes));
}

static int copy_cuda(sae_device *dev, void *dst, const void *src, size_t bytes,
                     enum sae_copy kind)
{
    static const cudaMemcpyKind kinds[] = {cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost,
                                           cudaMemcpyDeviceToDevice};
    if (!bytes)
        return SAE_OK;
    TRY(sae_cuda_check(dev, sae_cuda_here(dev)));
    TRY(sae_cuda_check(dev, sae_cuda_copy_pieces(dev, dst, src, bytes, kinds[kind], dev->stream)));
    /* The caller may change src at once, also where it is pinned; and reads dst at once. */
    return kind == SAE_COPY_D2D ? SAE_OK
                                : sae_cuda_check(dev, cudaStreamSynchronize(dev->stream));
}

int sae_cuda_read(sae_device *dev, void *host, const void *device, size_t bytes)
{
    return copy_cuda(dev, host, device, bytes, SAE_COPY_D2H);
}

static int sync_cuda(sae_device *dev)
{
    TRY(sae_cuda_check(dev, sae_cuda_here(dev)));
    return sae_cuda_check(dev, cudaStreamSynchronize(dev->stream));
}

/* ---- opening --------------------------------------------------------------------------------- */

static int score(void)
{
    int count = 0;
    return cudaGetDeviceCount(&count) == cudaSuccess && count > 0 ? 20 : 0;
}

static void close_cuda(sae_device **dev)
{
    sae_device *d = *dev;
    *dev = NULL;
    if (!d)
        return;
    sae_cuda_here(d);
    sae_cuda_ring_close(d);
    sae_cuda_replay_close(d);
    for (int i = 0; i < WS_SLOTS; i++)
        sae_cuda_free(d, d->ws[i].p);
    sae_cuda_frozen_close(d);
    sae_cuda_share_close(d);
    if (d->solver)
        cusolverDnDestroy(d->solver);
    if (d->blas)
        cublasDestroy(d->blas);
    sae_cuda_free(d, d->blas_room);
    if (d->uploads)
        cudaStreamDestroy(d->uploads);
    if (d->stream)
        cudaStreamDestroy(d->stream);
    if (d->told)
        cudaEventDestroy(d->told);
    free(d);
}

static int precision_cuda(sae_device *d, const char *name)
{
    static const struct {
        const char *name;
        cublasComputeType_t type;
    } known[] = {{"fp32", CUBLAS_COMPUTE_32F},
                 {"tf32", CUBLAS_COMPUTE_32F_FAST_TF32},
                 {"bf16", CUBLAS_COMPUTE_32F_FAST_16BF}};
    int version = 0;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name))
            continue;
        d->compute = known[i].type;
        d->generation++;
        TRY(sae_cuda_check_blas(d, cublasGetVersion(d->blas, &version)));
        snprintf(d->library, sizeof d->library, "cuBLAS %d.%d.%d, products in %s", version / 10000,
                 version / 100 % 100, version % 100, name);
        return SAE_OK;
    }
    return SAE_EINVAL;
}

/* The workspace of cuBLAS is ours: its own would come and go with streams, and results may depend
 * on its size. */
static int open_blas(sae_device *d)
{
    TRY(sae_cuda_check_blas(d, cublasCreate(&d->blas)));
    TRY(sae_cuda_check_blas(d, cublasSetStream(d->blas, d->stream)));
    d->blas_room = sae_cuda_take(d, BLAS_ROOM);
    if (!d->blas_room)
        return SAE_ENOMEM;
    TRY(sae_cuda_check_blas(d, cublasSetWorkspace(d->blas, d->blas_room, BLAS_ROOM)));
    return precision_cuda(d, "fp32");
}

static int open_parts(sae_device *d, int index)
{
    cudaDeviceProp p;
    int count = 0;
    d->index = index;
    TRY(sae_cuda_check(d, cudaGetDeviceCount(&count)));
    if (index < 0 || index >= count) {
        snprintf(d->why, sizeof d->why, "there are %d devices, the first is 0", count);
        return SAE_EINVAL;
    }
    TRY(sae_cuda_check(d, sae_cuda_here(d)));
    TRY(sae_cuda_check(d, cudaGetDeviceProperties(&p, index)));
    snprintf(d->name, sizeof d->name, "%.95s", p.name);
    TRY(sae_cuda_check(d, cudaStreamCreateWithFlags(&d->stream, cudaStreamNonBlocking)));
    TRY(sae_cuda_check(d, cudaStreamCreateWithFlags(&d->uploads, cudaStreamNonBlocking)));
    TRY(sae_cuda_check(d, cudaEventCreateWithFlags(&d->told, cudaEventDisableTiming)));
    return open_blas(d);
}

static int open_cuda(sae_device **dev, int index, int threads, sae_err *err)
{
    (void)threads;
    sae_device *d = *dev = (sae_device *)calloc(1, sizeof *d);
    int rc = d ? open_parts(d, index) : SAE_ENOMEM;
    if (rc >= 0)
        return SAE_OK;
    REFUSE(err, rc, "CUDA device %d: %s", index, d && d->why[0] ? d->why : "out of memory");
    close_cuda(dev);
    return rc;
}

static int props_cuda(const sae_device *dev, sae_device_props *out)
{
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "%s", dev->name);
    snprintf(out->library, sizeof out->library, "%s", dev->library);
    sae_cuda_share_room(dev, &out->mem_free, &out->mem_total);
    return SAE_OK;
}

static void kernels_cuda(sae_device *dev, sae_kernels *k)
{
    (void)dev;
#define ASSIGN(op) k->op = SAE_CUDA(op);
    SAE_KERNEL_LIST(ASSIGN)
#undef ASSIGN
}

#define EXPORT extern "C" __attribute__((visibility("default")))

static sae_backend backend(void)
{
    sae_backend be;
    memset(&be, 0, sizeof be);
    be.abi = SAE_BACKEND_ABI;
    be.size = sizeof be;
    be.name = "cuda";
    be.summary = "an NVIDIA GPU: own kernels and cuBLAS";
    be.score = score;
    be.open = open_cuda;
    be.close = close_cuda;
    be.props = props_cuda;
    be.alloc = alloc_cuda;
    be.release = sae_cuda_spread_free;
    be.copy = copy_cuda;
    be.sync = sync_cuda;
    be.kernels = kernels_cuda;
    be.why = sae_cuda_share_why;
    be.precision = precision_cuda;
    be.lm = &sae_cuda_lm;
    be.freeze = sae_cuda_freeze;
    be.thaw = sae_cuda_thaw;
    be.alloc_host = sae_cuda_alloc_host;
    be.release_host = sae_cuda_release_host;
    be.upload = sae_cuda_upload;
    be.reduce = sae_cuda_reduce;
    be.share = sae_cuda_share_memory;
    be.after = sae_cuda_after;
    return be;
}

/* What the loader looks for (suite/core/backend_file.c). */
EXPORT const sae_backend *sae_backend_of_file(void)
{
    static const sae_backend be = backend();
    return &be;
}

/* Memory that host and device both reach, for tests of single kernels. */
EXPORT void *sae_cuda_managed(size_t bytes)
{
    void *p = NULL;
    return cudaMallocManaged(&p, bytes) == cudaSuccess ? p : NULL;
}

EXPORT void sae_cuda_managed_free(void *p)
{
    cudaFree(p);
}

/* How many calls of kernels were replays. */
EXPORT int64_t sae_cuda_replays(const sae_device *dev)
{
    return dev->replays;
}
