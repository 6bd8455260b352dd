/* tests/emu/cuda_runtime.h - the part of CUDA that suite/kernels/cuda uses, on a processor.
 *
 * The kernels' sources are compiled unchanged as C++ and run here, thread by thread, so that what
 * they compute is tested on machines without a GPU. What it shows that a GPU may hide:
 *   - work in a stream waits until something synchronises: a host that reads too early reads old
 *     values;
 *   - device memory is inaccessible to the host outside of kernels and copies (on processors with
 *     protection keys);
 *   - fresh device memory holds NaN patterns, blocks run in a shuffled order and threads in a
 *     different order every launch: what depends on an order or lacks a barrier gives other bits;
 *   - a barrier that not all threads of a block (warp) reach ends the program;
 *   - every stream is a queue of its own: what one uploads may overtake what another has queued;
 *   - there are three devices: work that a thread sends to a stream of another ends the program,
 *     and so does work that touches memory its device does not reach (with protection keys);
 *   - work of the second device runs as soon as it may, of the others as late as it may: what
 *     should have waited for another device reads old values;
 *   - what may not happen while a graph is captured fails; graphs work on the memory of the moment.
 * What it cannot show: time, memory order inside a block beyond that, the precision of device
 * functions. Shared memory keeps its contents from block to block.
 */
#ifndef SAE_EMU_CUDA_RUNTIME_H
#define SAE_EMU_CUDA_RUNTIME_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <vector>

#define SAE_EMULATED_CUDA 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __restrict__
#define __shared__ static
#define __launch_bounds__(...)
#define __constant__

/* ---- launches -------------------------------------------------------------------------------- */

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

struct alignas(16) float4 {
    float x, y, z, w;
};

struct emu_position {
    dim3 thread, block, blocks, threads;
};
extern emu_position emu_at; /* of the thread that runs */
#define threadIdx (emu_at.thread)
#define blockIdx (emu_at.block)
#define blockDim (emu_at.threads)
#define gridDim (emu_at.blocks)
enum { warpSize = 32 };

typedef struct emu_stream *cudaStream_t;
void emu_enqueue(cudaStream_t s, std::function<void()> work);
/* What streams do together, when all of them have come to it. */
void emu_enqueue_all(const std::vector<cudaStream_t> &s, std::function<void()> work);
int emu_device_of(cudaStream_t s);
void emu_grid(dim3 grid, dim3 block, const std::function<void()> &thread);

/* kernel<<<grid, block>>>(arguments...): copied now; it runs when the stream comes to it. */
template <class... P, class... A>
void emu_launch(dim3 grid, dim3 block, cudaStream_t s, void (*kernel)(P...), A... argument)
{
    emu_enqueue(s, [=] { emu_grid(grid, block, [&] { kernel(argument...); }); });
}

/* ---- inside kernels -------------------------------------------------------------------------- */

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);
/* All lanes of a warp put a word down and look at that of lane `from`, or theirs when it left. */
uint64_t emu_exchange(uint64_t mine, int from);
uint32_t emu_ballot(int predicate);
int emu_lane();

template <class T> T emu_from_lane(T v, int from)
{
    static_assert(sizeof(T) <= 8, "a word");
    uint64_t mine = 0;
    memcpy(&mine, &v, sizeof v);
    mine = emu_exchange(mine, from);
    memcpy(&v, &mine, sizeof v);
    return v;
}
template <class T> T __shfl_sync(unsigned, T v, int lane)
{
    return emu_from_lane(v, lane & 31);
}
template <class T> T __shfl_xor_sync(unsigned, T v, int by)
{
    return emu_from_lane(v, emu_lane() ^ by);
}
template <class T> T __shfl_up_sync(unsigned, T v, unsigned by)
{
    int from = emu_lane() - (int)by;
    return emu_from_lane(v, from < 0 ? emu_lane() : from);
}
template <class T> T __shfl_down_sync(unsigned, T v, unsigned by)
{
    int from = emu_lane() + (int)by;
    return emu_from_lane(v, from > 31 ? emu_lane() : from);
}
inline unsigned __reduce_add_sync(unsigned, unsigned v)
{
    for (int by = 16; by; by /= 2)
        v += __shfl_xor_sync(~0u, v, by);
    return v;
}
inline unsigned __reduce_max_sync(unsigned, unsigned v)
{
    for (int by = 16; by; by /= 2) {
        unsigned other = __shfl_xor_sync(~0u, v, by);
        v = other > v ? other : v;
    }
    return v;
}
inline unsigned __ballot_sync(unsigned, int p)
{
    return emu_ballot(p);
}
inline int __any_sync(unsigned, int p)
{
    return emu_ballot(p) != 0;
}

template <class T, class U> T atomicAdd(T *p, U v)
{
    T old = *p;
    *p = (T)(old + (T)v);
    return old;
}
template <class T, class U> T atomicMax(T *p, U v)
{
    T old = *p;
    *p = (T)v > old ? (T)v : old;
    return old;
}
template <class T, class U> T atomicMin(T *p, U v)
{
    T old = *p;
    *p = (T)v < old ? (T)v : old;
    return old;
}
template <class T, class U> T atomicOr(T *p, U v)
{
    T old = *p;
    *p = (T)(old | (T)v);
    return old;
}
inline int __popc(unsigned v)
{
    return __builtin_popcount(v);
}
inline int __ffs(int v)
{
    return __builtin_ffs(v);
}
inline unsigned __float_as_uint(float v)
{
    unsigned u;
    memcpy(&u, &v, sizeof u);
    return u;
}
inline float __uint_as_float(unsigned u)
{
    float v;
    memcpy(&v, &u, sizeof v);
    return v;
}
inline double __dmul_rn(double a, double b)
{
    return a * b;
}

/* ---- the runtime ----------------------------------------------------------------------------- */

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorPeerAccessAlreadyEnabled = 704,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901
};
enum cudaMemcpyKind {
    cudaMemcpyHostToDevice = 1,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice
};
enum { cudaMemAttachGlobal = 1, cudaStreamNonBlocking = 1, cudaHostAllocPortable = 1 };
enum { cudaEventDisableTiming = 2 };
typedef struct emu_event *cudaEvent_t;
typedef struct emu_graph *cudaGraph_t;
typedef struct emu_exec *cudaGraphExec_t;
enum cudaStreamCaptureMode { cudaStreamCaptureModeThreadLocal = 1 };
struct cudaDeviceProp {
    char name[256];
    int multiProcessorCount, major, minor;
};

cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int index);
cudaError_t cudaGetDevice(int *index);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int index);
cudaError_t cudaMemGetInfo(size_t *free, size_t *total);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t emu_malloc(void **p, size_t bytes);
cudaError_t emu_malloc_managed(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t s);
cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t s);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags);
cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer);
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned flags);
/* From begin to end of a capture work is recorded, and whatever waits, takes memory or talks to the
 * host fails and spoils the recording. */
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
cudaError_t cudaGetLastError(void);
const char *cudaGetErrorString(cudaError_t e);
template <class T> cudaError_t cudaMalloc(T **p, size_t bytes)
{
    return emu_malloc((void **)p, bytes);
}
template <class T> cudaError_t cudaMallocManaged(T **p, size_t bytes, unsigned = 1)
{
    return emu_malloc_managed((void **)p, bytes);
}

void *emu_nccl(); /* nccl.cc, as dlopen returns a library */

#endif
