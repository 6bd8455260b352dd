/* suite/kernels/cuda/reduce.cu - arrays of several devices that become one, by NCCL.
 *
 * NCCL is opened when it is first needed, at SAEMARK_NCCL or where the loader finds libnccl.so.2:
 * neither the program nor its build depends on it. What is used of it has been the same since
 * version 2.10 (ncclAvg), by its headers up to 2.31.
 */
#include "cuda/reduce.cuh"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the library ----------------------------------------------------------------------------- */

/* As in nccl.h. */
typedef struct ncclComm *comm_t;
enum { NCCL_OK = 0, NCCL_UINT8 = 1, NCCL_UINT64 = 5, NCCL_FLOAT = 7 };
enum { NCCL_SUM = 0, NCCL_MAX = 2, NCCL_AVG = 4 };
enum { NCCL_2_10 = 21000 };

static struct {
    int (*GetVersion)(int *version);
    int (*CommInitAll)(comm_t *comm, int count, const int *device);
    int (*CommDestroy)(comm_t comm);
    int (*GroupStart)(void);
    int (*GroupEnd)(void);
    int (*AllReduce)(const void *from, void *to, size_t n, int type, int op, comm_t comm,
                     cudaStream_t s);
    int (*Broadcast)(const void *from, void *to, size_t n, int type, int root, comm_t comm,
                     cudaStream_t s);
    const char *(*GetErrorString)(int rc);
    char missing[200]; /* why it cannot be used */
    int tried;
} nccl;

static int check(int rc, const char *what, sae_err *err)
{
    return rc == NCCL_OK ? SAE_OK
                         : REFUSE(err, SAE_EBACKEND, "NCCL: %s: %s", what,
                                  nccl.GetErrorString(rc));
}

/* Sums of NVLS, in switches, differ from call to call (NVIDIA/nccl issue 1497); who sets NCCL_ALGO
 * knows. */
static void *open_library(void)
{
#ifdef SAE_EMULATED_CUDA
    return emu_nccl();
#else
    const char *path = getenv("SAEMARK_NCCL");
    setenv("NCCL_ALGO", "^NVLS", 0);
    return dlopen(path ? path : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
#endif
}

/* nccl.missing is empty behind it when all is there. It stays open. */
static void load(void)
{
    int version = 0;
    nccl.tried = 1;
    void *library = open_library();
    if (!library) {
        const char *why = dlerror();
        snprintf(nccl.missing, sizeof nccl.missing, "no NCCL (%.150s)", why ? why : "?");
        return;
    }
#define FIND(name)                                                                                 \
    if (!(*(void **)&nccl.name = dlsym(library, "nccl" #name)))                                    \
    snprintf(nccl.missing, sizeof nccl.missing, "NCCL has no nccl" #name)
    FIND(GetVersion);
    FIND(CommInitAll);
    FIND(CommDestroy);
    FIND(GroupStart);
    FIND(GroupEnd);
    FIND(AllReduce);
    FIND(Broadcast);
    FIND(GetErrorString);
#undef FIND
    if (!nccl.missing[0] && (nccl.GetVersion(&version) != NCCL_OK || version < NCCL_2_10))
        snprintf(nccl.missing, sizeof nccl.missing, "NCCL is older than 2.10 (%d)", version);
}

/* ---- a ring of devices ----------------------------------------------------------------------- */

struct sae_cuda_ring {
    int count;
    sae_device *dev[SAE_CUDA_MOST];
    comm_t comm[SAE_CUDA_MOST];
};

void sae_cuda_ring_close(sae_device *dev)
{
    sae_cuda_ring *r = dev->ring;
    if (!r)
        return;
    for (int i = 0; i < r->count; i++) {
        nccl.CommDestroy(r->comm[i]);
        r->dev[i]->ring = NULL;
    }
    free(r);
}

static int is_ring_of(const sae_cuda_ring *r, sae_device *const *dev, int count)
{
    return r && r->count == count && !memcmp(r->dev, dev, (size_t)count * sizeof *dev);
}

/* The ring of these devices, which stays until one of them closes or has another one. */
static int open_ring(sae_device *const *dev, int count, sae_err *err)
{
    int index[SAE_CUDA_MOST];
    if (is_ring_of(dev[0]->ring, dev, count))
        return SAE_OK;
    if (count > SAE_CUDA_MOST)
        return REFUSE(err, SAE_EINVAL, "%d devices", count);
    if (!nccl.tried)
        load();
    if (nccl.missing[0])
        return REFUSE(err, SAE_ENEEDS, "%s", nccl.missing);
    sae_cuda_ring *r = (sae_cuda_ring *)calloc(1, sizeof *r);
    if (!r)
        return REFUSE(err, SAE_ENOMEM, "out of memory for a ring of devices");
    for (int i = 0; i < count; i++) {
        sae_cuda_ring_close(dev[i]);
        index[i] = dev[i]->index;
    }
    int rc = check(nccl.CommInitAll(r->comm, count, index), "ncclCommInitAll", err);
    if (rc < 0) {
        free(r);
        return rc;
    }
    r->count = count;
    for (int i = 0; i < count; i++) {
        r->dev[i] = dev[i];
        dev[i]->ring = r;
    }
    return SAE_OK;
}

static int enqueue(const sae_cuda_ring *r, int i, void *p, int64_t n, enum sae_reduction how)
{
    static const struct {
        int type, op;
    } kinds[] = {{NCCL_FLOAT, NCCL_AVG}, {NCCL_UINT64, NCCL_SUM}, {NCCL_UINT64, NCCL_MAX}};
    cudaStream_t s = r->dev[i]->stream;
    if (how == SAE_REDUCE_FIRST)
        return nccl.Broadcast(p, p, (size_t)n, NCCL_UINT8, 0, r->comm[i], s);
    return nccl.AllReduce(p, p, (size_t)n, kinds[how].type, kinds[how].op, r->comm[i], s);
}

/* Every device's share goes into its own stream: what it had to do before comes before, and nobody
 * waits on the host. */
int sae_cuda_reduce(sae_device *const *dev, int count, void *const *p, int64_t n,
                    enum sae_reduction how, sae_err *err)
{
    TRY(open_ring(dev, count, err));
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    TRY(check(nccl.GroupStart(), "ncclGroupStart", err));
    int rc = SAE_OK;
    for (int i = 0; i < count && rc >= 0; i++)
        rc = check(enqueue(dev[0]->ring, i, p[i], n, how), "a collective", err);
    int end = check(nccl.GroupEnd(), "ncclGroupEnd", err);
    return rc < 0 ? rc : end;
}
