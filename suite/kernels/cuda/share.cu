/* suite/kernels/cuda/share.cu - several devices as one: memory spread over theirs, and the order of
 * what they do.
 *
 * What a lead allocates is one range of addresses, whose pieces lie on its devices in order and are
 * open to all of them (the driver's virtual memory management). Small things lie on the lead; the
 * others reach them as peers. The driver is opened when it is first needed: the object does not
 * depend on it.
 */
#include "cuda/share.cuh"

#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* What is smaller is not worth a piece on every device. Small in tests, so that they get there. */
#ifdef SAE_EMULATED_CUDA
constexpr size_t LEAST_SPREAD = 4096;
#else
constexpr size_t LEAST_SPREAD = (size_t)64 << 20;
#endif

/* ---- the driver ------------------------------------------------------------------------------ */

typedef struct driver {
    decltype(&cuMemGetAllocationGranularity) MemGetAllocationGranularity;
    decltype(&cuMemAddressReserve) MemAddressReserve;
    decltype(&cuMemAddressFree) MemAddressFree;
    decltype(&cuMemCreate) MemCreate;
    decltype(&cuMemRelease) MemRelease;
    decltype(&cuMemMap) MemMap;
    decltype(&cuMemUnmap) MemUnmap;
    decltype(&cuMemSetAccess) MemSetAccess;
    decltype(&cuGetErrorString) GetErrorString;
    char missing[200]; /* why it cannot be used */
} driver;

static void *open_library(void)
{
#ifdef SAE_EMULATED_CUDA
    return emu_driver();
#else
    return dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
#endif
}

static driver opened(void)
{
    driver d;
    memset(&d, 0, sizeof d);
    void *library = open_library();
    if (!library) {
        const char *why = dlerror();
        snprintf(d.missing, sizeof d.missing, "no CUDA driver (%.150s)", why ? why : "?");
        return d;
    }
#define FIND(name)                                                                                 \
    if (!(*(void **)&d.name = dlsym(library, "cu" #name)))                                         \
    snprintf(d.missing, sizeof d.missing, "the CUDA driver has no cu" #name)
    FIND(MemGetAllocationGranularity);
    FIND(MemAddressReserve);
    FIND(MemAddressFree);
    FIND(MemCreate);
    FIND(MemRelease);
    FIND(MemMap);
    FIND(MemUnmap);
    FIND(MemSetAccess);
    FIND(GetErrorString);
#undef FIND
    return d;
}

/* It stays open. */
static const driver &cu(void)
{
    static const driver d = opened();
    return d;
}

static const char *text_of(CUresult rc)
{
    const char *text = NULL;
    cu().GetErrorString(rc, &text);
    return text ? text : "?";
}

/* ---- devices that share ---------------------------------------------------------------------- */

typedef struct range {
    struct range *next;
    char *p;
    size_t bytes; /* whole grains */
} range;

struct sae_cuda_share {
    int places, index[SAE_CUDA_MOST]; /* the devices of the pieces */
    int count;
    sae_device *dev[SAE_CUDA_MOST]; /* those still open, the lead first */
    size_t grain;
    range *ranges;
};

static CUmemAllocationProp memory_of(int index)
{
    CUmemAllocationProp p;
    memset(&p, 0, sizeof p);
    p.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    p.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    p.location.id = index;
    return p;
}

/* From now on `from` reads and writes what the other one's memory holds. Two of one GPU do. */
static int reach(sae_device *from, const sae_device *to, sae_err *err)
{
    int can = 0;
    if (from->index == to->index)
        return SAE_OK;
    cudaError_t rc = sae_cuda_here(from);
    if (rc == cudaSuccess)
        rc = cudaDeviceCanAccessPeer(&can, from->index, to->index);
    if (rc == cudaSuccess && !can)
        return REFUSE(err, SAE_ENEEDS, "CUDA devices %d and %d do not reach each other's memory",
                      from->index, to->index);
    if (rc == cudaSuccess)
        rc = cudaDeviceEnablePeerAccess(to->index, 0);
    if (rc == cudaSuccess)
        return SAE_OK;
    cudaGetLastError(); /* it would be found by the next launch */
    return rc == cudaErrorPeerAccessAlreadyEnabled
               ? SAE_OK
               : REFUSE(err, SAE_EBACKEND, "CUDA device %d, access to the memory of device %d: %s",
                        from->index, to->index, cudaGetErrorString(rc));
}

static int reach_all(const sae_cuda_share *s, sae_err *err)
{
    for (int i = 0; i < s->count; i++)
        for (int j = 0; j < s->count; j++)
            TRY(reach(s->dev[i], s->dev[j], err));
    return SAE_OK;
}

/* Pieces are whole grains, of every device. */
static int find_grain(sae_cuda_share *s, sae_err *err)
{
    for (int i = 0; i < s->places; i++) {
        size_t grain = 0;
        CUmemAllocationProp of = memory_of(s->index[i]);
        CUresult rc = cu().MemGetAllocationGranularity(&grain, &of,
                                                       CU_MEM_ALLOC_GRANULARITY_MINIMUM);
        if (rc != CUDA_SUCCESS)
            return REFUSE(err, SAE_ENEEDS, "CUDA device %d cannot map memory: %s", s->index[i],
                          text_of(rc));
        s->grain = grain > s->grain ? grain : s->grain;
    }
    return SAE_OK;
}

/* Each device once, and none that shares already. */
static int fill(sae_cuda_share *s, sae_device *lead, sae_device *const *peer, int count,
                sae_err *err)
{
    s->places = s->count = 1 + count;
    for (int i = 0; i <= count; i++) {
        sae_device *d = s->dev[i] = i ? peer[i - 1] : lead;
        if (!d || d->share || d->lead)
            return REFUSE(err, SAE_EINVAL, "a device that is missing or shares its memory already");
        s->index[i] = d->index;
        for (int j = 0; j < i; j++)
            if (s->dev[j] == d)
                return REFUSE(err, SAE_EINVAL, "a device that shares is there twice");
    }
    if (cu().missing[0])
        return REFUSE(err, SAE_ENEEDS, "%s", cu().missing);
    TRY(reach_all(s, err));
    return find_grain(s, err);
}

int sae_cuda_share_memory(sae_device *lead, sae_device *const *peer, int count, sae_err *err)
{
    if (count < 0 || count >= SAE_CUDA_MOST)
        return REFUSE(err, SAE_EINVAL, "%d devices beside the first", count);
    sae_cuda_share *s = (sae_cuda_share *)calloc(1, sizeof *s);
    if (!s)
        return REFUSE(err, SAE_ENOMEM, "out of memory for devices that share");
    int rc = fill(s, lead, peer, count, err);
    if (rc < 0 || count == 0) {
        free(s);
        return rc;
    }
    lead->share = s;
    for (int i = 0; i < count; i++)
        peer[i]->lead = lead;
    return SAE_OK;
}

int sae_cuda_after(sae_device *dev, sae_device *other)
{
    if (dev == other)
        return SAE_OK;
    TRY(sae_cuda_check(dev, sae_cuda_here(other)));
    TRY(sae_cuda_check(dev, cudaEventRecord(other->told, other->stream)));
    TRY(sae_cuda_check(dev, sae_cuda_here(dev)));
    return sae_cuda_check(dev, cudaStreamWaitEvent(dev->stream, other->told, 0));
}

const char *sae_cuda_share_why(const sae_device *dev)
{
    const sae_cuda_share *s = dev->share;
    for (int i = 0; s && !dev->why[0] && i < s->count; i++)
        if (s->dev[i]->why[0])
            return s->dev[i]->why;
    return dev->why;
}

/* ---- spread memory --------------------------------------------------------------------------- */

/* Where piece i of so many bytes begins: as even as whole grains are. */
static size_t edge(const sae_cuda_share *s, size_t bytes, int i)
{
    return bytes / s->grain * (size_t)i / (size_t)s->places * s->grain;
}

/* Who reaches a piece: every GPU once. */
static int access_of(const sae_cuda_share *s, CUmemAccessDesc *access)
{
    int count = 0;
    for (int i = 0; i < s->places; i++) {
        int seen = 0;
        for (int j = 0; j < count; j++)
            seen |= access[j].location.id == s->index[i];
        if (seen)
            continue;
        memset(&access[count], 0, sizeof access[count]);
        access[count].location = memory_of(s->index[i]).location;
        access[count++].flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    }
    return count;
}

static CUresult map_piece(const sae_cuda_share *s, const range *r, int i)
{
    CUmemAccessDesc access[SAE_CUDA_MOST];
    CUmemGenericAllocationHandle memory;
    CUmemAllocationProp of = memory_of(s->index[i]);
    size_t from = edge(s, r->bytes, i), bytes = edge(s, r->bytes, i + 1) - from;
    CUdeviceptr at = (CUdeviceptr)(uintptr_t)r->p + from;
    if (!bytes)
        return CUDA_SUCCESS;
    CUresult rc = cu().MemCreate(&memory, bytes, &of, 0);
    if (rc != CUDA_SUCCESS)
        return rc;
    rc = cu().MemMap(at, bytes, 0, memory, 0);
    cu().MemRelease(memory); /* it lives until it is unmapped */
    if (rc != CUDA_SUCCESS)
        return rc;
    rc = cu().MemSetAccess(at, bytes, access, (size_t)access_of(s, access));
    if (rc != CUDA_SUCCESS)
        cu().MemUnmap(at, bytes);
    return rc;
}

/* Its first `pieces` pieces are mapped. */
static void drop(const sae_cuda_share *s, range *r, int pieces)
{
    CUdeviceptr at = (CUdeviceptr)(uintptr_t)r->p;
    for (int i = 0; i < pieces; i++) {
        size_t from = edge(s, r->bytes, i), bytes = edge(s, r->bytes, i + 1) - from;
        if (bytes)
            cu().MemUnmap(at + from, bytes);
    }
    if (at)
        cu().MemAddressFree(at, r->bytes);
    free(r);
}

static cudaError_t room_of(int index, size_t *left, size_t *total)
{
    cudaError_t rc = cudaSetDevice(index);
    return rc == cudaSuccess ? cudaMemGetInfo(left, total) : rc;
}

/* Why there is no piece i of memory for `asked` bytes. */
static void explain(sae_device *lead, size_t asked, const range *r, int i, CUresult rc)
{
    const sae_cuda_share *s = lead->share;
    size_t left = 0, total = 0, piece = edge(s, r->bytes, i + 1) - edge(s, r->bytes, i);
    if (lead->why[0] || room_of(s->index[i], &left, &total) != cudaSuccess)
        return;
    snprintf(lead->why, sizeof lead->why,
             "%zu bytes asked for, of which %zu on device %d, %zu of %zu free: %.40s", asked, piece,
             s->index[i], left, total, text_of(rc));
}

/* r->p is set and its pieces are mapped; or it is gone. */
static range *mapped(sae_device *lead, range *r, size_t asked)
{
    const sae_cuda_share *s = lead->share;
    CUdeviceptr at = 0;
    int i = 0;
    CUresult rc = cu().MemAddressReserve(&at, r->bytes, 0, 0, 0);
    r->p = rc == CUDA_SUCCESS ? (char *)(uintptr_t)at : NULL;
    while (rc == CUDA_SUCCESS && i < s->places) {
        rc = map_piece(s, r, i);
        i += rc == CUDA_SUCCESS;
    }
    if (rc == CUDA_SUCCESS)
        return r;
    explain(lead, asked, r, i, rc);
    drop(s, r, r->p ? i : 0);
    return NULL;
}

void *sae_cuda_spread_take(sae_device *dev, size_t bytes)
{
    sae_cuda_share *s = dev->share;
    if (!s || bytes < LEAST_SPREAD || bytes > SIZE_MAX - s->grain)
        return sae_cuda_take(dev, bytes);
    range *r = (range *)calloc(1, sizeof *r);
    if (!r)
        return NULL;
    r->bytes = (bytes + s->grain - 1) / s->grain * s->grain;
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    r = mapped(dev, r, bytes);
    sae_cuda_here(dev); /* which finding out why not has changed */
    if (!r)
        return NULL;
    r->next = s->ranges;
    s->ranges = r;
    return r->p;
}

static range **find(const sae_device *dev, const void *p)
{
    range **at = dev->share ? &dev->share->ranges : NULL;
    while (at && *at && (*at)->p != p)
        at = &(*at)->next;
    return at && *at ? at : NULL;
}

/* p's range, in no list any more; NULL: p is not spread. */
static range *forget(const sae_device *dev, const void *p)
{
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    range **at = find(dev, p), *r = at ? *at : NULL;
    if (r)
        *at = r->next;
    return r;
}

int sae_cuda_spread_over(const sae_device *dev, const void *p, sae_device *const **of)
{
    if (!find(dev, p))
        return 1;
    *of = dev->share->dev;
    return dev->share->count;
}

/* Unmapping waits for nobody, and what a peer still does on the lead's memory is not the lead's. */
void sae_cuda_spread_free(sae_device *dev, void *p)
{
    sae_cuda_share *s = dev->share;
    for (int i = 0; p && s && i < s->count; i++) {
        sae_cuda_here(s->dev[i]);
        cudaStreamSynchronize(s->dev[i]->stream);
    }
    range *r = p ? forget(dev, p) : NULL;
    if (!r) {
        sae_cuda_free(dev, p);
        return;
    }
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    sae_cuda_here(dev);
    drop(s, r, s->places);
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* How many of the bytes from p on lie in the piece of p. What kernels may do with a range, copies
 * over its pieces are not documented to. */
static size_t stretch(const sae_device *dev, const void *p, size_t bytes)
{
    const sae_cuda_share *s = dev->lead ? dev->lead->share : dev->share;
    if (!s)
        return bytes;
    std::lock_guard<std::mutex> alone(sae_cuda_memory);
    const range *r = s->ranges;
    while (r && ((const char *)p < r->p || (const char *)p >= r->p + r->bytes))
        r = r->next;
    if (!r)
        return bytes;
    size_t from = (size_t)((const char *)p - r->p);
    int i = 1;
    while (edge(s, r->bytes, i) <= from)
        i++;
    size_t left = edge(s, r->bytes, i) - from;
    return left < bytes ? left : bytes;
}

cudaError_t sae_cuda_copy_pieces(const sae_device *dev, void *dst, const void *src, size_t bytes,
                                 cudaMemcpyKind kind, cudaStream_t stream)
{
    char *to = (char *)dst;
    const char *from = (const char *)src;
    cudaError_t rc = cudaSuccess;
    for (size_t done = 0, some; done < bytes && rc == cudaSuccess; done += some) {
        some = stretch(dev, to + done, bytes - done);
        some = stretch(dev, from + done, some);
        rc = cudaMemcpyAsync(to + done, from + done, some, kind, stream);
    }
    return rc;
}

cudaError_t sae_cuda_zero_pieces(const sae_device *dev, void *p, size_t bytes)
{
    char *to = (char *)p;
    cudaError_t rc = cudaSuccess;
    for (size_t done = 0, some; done < bytes && rc == cudaSuccess; done += some) {
        some = stretch(dev, to + done, bytes - done);
        rc = cudaMemsetAsync(to + done, 0, some, dev->stream);
    }
    return rc;
}

/* ---- room ------------------------------------------------------------------------------------ */

void sae_cuda_share_room(const sae_device *dev, int64_t *left, int64_t *total)
{
    const sae_cuda_share *s = dev->share;
    int places = s ? s->places : 1;
    size_t least = SIZE_MAX, all = 0, here = 0, whole = 0;
    for (int i = 0; i < places; i++) {
        int index = s ? s->index[i] : dev->index, times = 0;
        for (int j = 0; j < places; j++) /* pieces that lie on one GPU */
            times += !s || s->index[j] == index;
        if (room_of(index, &here, &whole) != cudaSuccess)
            here = whole = 0;
        least = here / (size_t)times < least ? here / (size_t)times : least;
        all += whole / (size_t)times;
    }
    sae_cuda_here(dev);
    *left = (int64_t)(least * (size_t)places);
    *total = (int64_t)all;
}

/* ---- closing --------------------------------------------------------------------------------- */

static void leave(sae_cuda_share *s, const sae_device *dev)
{
    int kept = 0;
    for (int i = 0; i < s->count; i++)
        if (s->dev[i] != dev)
            s->dev[kept++] = s->dev[i];
    s->count = kept;
}

void sae_cuda_share_close(sae_device *dev)
{
    sae_cuda_share *s = dev->share;
    if (dev->lead)
        leave(dev->lead->share, dev);
    dev->lead = NULL;
    if (!s)
        return;
    for (int i = 0; i < s->count; i++)
        s->dev[i]->lead = NULL;
    while (s->ranges)
        sae_cuda_spread_free(dev, s->ranges->p);
    dev->share = NULL;
    free(s);
}
