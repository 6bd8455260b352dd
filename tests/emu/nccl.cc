/* tests/emu/nccl.cc - the part of NCCL that suite/kernels/cuda/reduce.cu uses, on a processor.
 *
 * It finds what NCCL leaves undefined: a rank that is missing from a group or is there twice, ranks
 * that disagree on what is computed, a stream of another device. Sums run in the order of ranks.
 */
#include "cuda_runtime.h"

#include <dlfcn.h>

#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace
{

enum { OK, INVALID_USAGE = 5 };
enum { UINT8 = 1, UINT64 = 5, FLOAT = 7 };
enum { SUM = 0, MAX = 2, AVG = 4, COPY = 100 };

struct clique {
    int ranks, left; /* communicators not destroyed yet */
};

} // namespace

struct ncclComm {
    clique *of;
    int rank, device;
};

namespace
{

struct call {
    ncclComm *comm;
    const void *from;
    void *to;
    size_t n;
    int type, op;
    cudaStream_t stream;
};

std::vector<call> group;
int depth;

template <class T> void reduce(const std::vector<call> &ranks)
{
    for (size_t i = 0; i < ranks[0].n; i++) {
        T v = ((const T *)ranks[0].from)[i];
        for (size_t r = 1; r < ranks.size() && ranks[0].op != COPY; r++) {
            T w = ((const T *)ranks[r].from)[i];
            v = ranks[0].op != MAX ? (T)(v + w) : w > v ? w : v;
        }
        if (ranks[0].op == AVG)
            v = (T)(v / (T)ranks.size());
        for (const call &c : ranks)
            ((T *)c.to)[i] = v;
    }
}

void compute(const std::vector<call> &ranks)
{
    if (ranks[0].type == FLOAT)
        reduce<float>(ranks);
    else if (ranks[0].type == UINT64)
        reduce<uint64_t>(ranks);
    else
        reduce<uint8_t>(ranks);
}

bool agree(const std::vector<call> &ranks)
{
    if (ranks.size() != (size_t)ranks[0].comm->of->ranks)
        return false;
    for (size_t r = 0; r < ranks.size(); r++) {
        const call &c = ranks[r], &a = ranks[0];
        if (c.comm->of != a.comm->of || c.comm->rank != (int)r || c.n != a.n ||
            c.type != a.type || c.op != a.op || emu_device_of(c.stream) != c.comm->device)
            return false;
    }
    return true;
}

int join(const call &c)
{
    group.push_back(c);
    return depth ? OK : INVALID_USAGE; /* one thread has all ranks: it would wait for itself */
}

} // namespace

EXPORT int ncclGetVersion(int *version)
{
    *version = 22800;
    return OK;
}

EXPORT const char *ncclGetErrorString(int rc)
{
    return rc ? "invalid usage" : "no error";
}

EXPORT int ncclCommInitAll(ncclComm **comm, int count, const int *device)
{
    clique *all = new clique{count, count};
    for (int i = 0; i < count; i++)
        comm[i] = new ncclComm{all, i, device[i]};
    return OK;
}

EXPORT int ncclCommDestroy(ncclComm *comm)
{
    if (--comm->of->left == 0)
        delete comm->of;
    delete comm;
    return OK;
}

EXPORT int ncclGroupStart(void)
{
    depth++;
    return OK;
}

EXPORT int ncclGroupEnd(void)
{
    std::vector<call> ranks;
    if (--depth)
        return OK;
    ranks.swap(group);
    if (ranks.empty())
        return OK;
    if (!agree(ranks))
        return INVALID_USAGE;
    std::vector<cudaStream_t> streams;
    for (const call &c : ranks)
        streams.push_back(c.stream);
    emu_enqueue_all(streams, [=] { compute(ranks); });
    return OK;
}

EXPORT int ncclAllReduce(const void *from, void *to, size_t n, int type, int op, ncclComm *comm,
                         cudaStream_t s)
{
    return join({comm, from, to, n, type, op, s});
}

EXPORT int ncclBroadcast(const void *from, void *to, size_t n, int type, int, ncclComm *comm,
                         cudaStream_t s)
{
    return join({comm, from, to, n, type, COPY, s});
}

/* The library that reduce.cu opens: this one. */
void *emu_nccl()
{
    Dl_info me;
    return dladdr((void *)ncclGetVersion, &me) ? dlopen(me.dli_fname, RTLD_NOW) : nullptr;
}
