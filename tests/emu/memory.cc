/* tests/emu/memory.cc - the memories of the devices, and who reaches which.
 *
 * Device memory may be touched by running work alone, and by that of a device which reaches it: a
 * protection key shuts the memory of each device, and one shuts what cuMem* maps for a set of them,
 * where the processor has keys (mprotect for every launch took nine tenths of the time). Elsewhere
 * everybody reaches everything.
 */
#include "cuda.h"
#include "emu.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <map>

#define EXPORT extern "C" __attribute__((visibility("default")))

/* For tests. apart: 1: no device is another one's peer. guarded: 1: memory has keys.
 * driver_calls: how many that may fail are left until they do; -1: any number. reserved: how many
 * ranges of addresses there are. */
EXPORT int emu_apart, emu_guarded, emu_driver_calls, emu_reserved;
int emu_apart, emu_guarded, emu_driver_calls = -1, emu_reserved;

namespace
{

const size_t BANK = (size_t)8 << 30, ALIGN = 256, GRAIN = 4096;
enum { NO_KEY = -1, UNKNOWN = 0 }; /* key 0 is everybody's */

struct bank {
    char *base;
    size_t end, used;                      /* it has grown to; allocated or created */
    std::multimap<size_t, char *> returned; /* free pieces by size */
    int key;
    bool reaches[EMU_DEVICES]; /* other ones, whose peer access is enabled */
};

struct piece {
    size_t bytes;
    int device;
};

bank banks[EMU_DEVICES];
std::map<char *, piece> taken; /* device allocations */
int key_of[1 << EMU_DEVICES];  /* for memory that a set of devices reaches */
thread_local unsigned open_to; /* as are the rights of a key */

int new_key()
{
    return pkey_alloc(0, PKEY_DISABLE_ACCESS);
}

bool reaches(unsigned devices, int owner)
{
    for (int d = 0; d < EMU_DEVICES; d++)
        if (devices >> d & 1 && (d == owner || (banks[d].reaches[owner] && !emu_apart)))
            return true;
    return false;
}

void set(int key, bool yes)
{
    if (key > 0)
        pkey_set(key, yes ? 0 : PKEY_DISABLE_ACCESS);
}

void rights(unsigned devices)
{
    open_to = devices;
    for (int d = 0; d < EMU_DEVICES; d++)
        set(banks[d].key, reaches(devices, d));
    for (unsigned m = 0; m < 1 << EMU_DEVICES; m++)
        set(key_of[m], m & devices);
}

char *pages(size_t bytes, int access)
{
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *p = mmap(nullptr, bytes, access, how, -1, 0);
    return p == MAP_FAILED ? nullptr : (char *)p;
}

void shut(char *p, size_t bytes, int key)
{
    if (key > 0 ? pkey_mprotect(p, bytes, PROT_READ | PROT_WRITE, key)
                : mprotect(p, bytes, PROT_READ | PROT_WRITE))
        emu_give_up("mprotect");
}

char *room_in(bank &b, size_t bytes)
{
    auto found = b.returned.find(bytes);
    if (bytes > BANK - b.used)
        return nullptr;
    if (found != b.returned.end()) {
        char *p = found->second;
        b.returned.erase(found);
        return p;
    }
    if (!b.base && (b.base = pages(BANK, PROT_NONE))) {
        b.key = new_key();
        emu_guarded = b.key > 0;
        shut(b.base, BANK, b.key);
    }
    if (!b.base || bytes > BANK - b.end)
        return nullptr;
    b.end += bytes;
    return b.base + b.end - bytes;
}

} // namespace

emu_open::emu_open(unsigned devices) : before(open_to)
{
    rights(devices);
}

emu_open::~emu_open()
{
    rights(before);
}

/* ---- the runtime ---- */

cudaError_t cudaMemGetInfo(size_t *free, size_t *total)
{
    emu_alone my_turn(emu_turn);
    *total = BANK;
    *free = BANK - banks[emu_device()].used;
    return cudaSuccess;
}

cudaError_t emu_malloc(void **p, size_t bytes)
{
    size_t room = (bytes + ALIGN) / ALIGN * ALIGN;
    int device = emu_device();
    *p = nullptr;
    if (emu_spoils())
        return emu_failed(cudaErrorStreamCaptureUnsupported);
    emu_alone my_turn(emu_turn);
    char *got = bytes < BANK ? room_in(banks[device], room) : nullptr;
    if (!got)
        return emu_failed(cudaErrorMemoryAllocation);
    banks[device].used += room;
    taken[got] = {room, device};
    emu_open memory(1u << device);
    memset(got, 0xFF, room);
    *p = got;
    return cudaSuccess;
}

cudaError_t emu_malloc_managed(void **p, size_t bytes)
{
    *p = malloc(bytes ? bytes : 1);
    return *p ? cudaSuccess : emu_failed(cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void *p)
{
    if (emu_spoils())
        return emu_failed(cudaErrorStreamCaptureUnsupported);
    emu_alone my_turn(emu_turn);
    emu_finish();
    auto found = taken.find((char *)p);
    if (found == taken.end()) {
        free(p);
        return cudaSuccess;
    }
    bank &b = banks[found->second.device];
    b.used -= found->second.bytes;
    b.returned.emplace(found->second.bytes, found->first);
    taken.erase(found);
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned)
{
    *p = malloc(bytes);
    if (!*p)
        return emu_failed(cudaErrorMemoryAllocation);
    memset(*p, 0xFF, bytes);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *p)
{
    free(p);
    return cudaSuccess;
}

cudaError_t cudaDeviceCanAccessPeer(int *can, int device, int peer)
{
    *can = device != peer && !emu_apart;
    return cudaSuccess;
}

/* The thread's device reaches that one's memory, not the other way round. */
cudaError_t cudaDeviceEnablePeerAccess(int peer, unsigned)
{
    emu_alone my_turn(emu_turn);
    int device = emu_device();
    if (peer < 0 || peer >= EMU_DEVICES || peer == device || emu_apart)
        return emu_failed(cudaErrorInvalidValue);
    if (banks[device].reaches[peer])
        return emu_failed(cudaErrorPeerAccessAlreadyEnabled);
    banks[device].reaches[peer] = true;
    return cudaSuccess;
}

/* ---- the driver ------------------------------------------------------------------------------ */

namespace
{

struct created {
    piece what;
    int users; /* mappings, and one while its handle has not been released */
    bool released;
};

struct mapping {
    size_t bytes;
    CUmemGenericAllocationHandle of;
};

std::map<CUmemGenericAllocationHandle, created> physical;
std::map<char *, size_t> ranges; /* of addresses */
std::map<char *, mapping> mapped;

void insist(bool right, const char *why)
{
    if (!right)
        emu_give_up(why);
}

bool driver_fails()
{
    if (emu_driver_calls > 0)
        emu_driver_calls--;
    else if (emu_driver_calls == 0)
        return true;
    return false;
}

bool grains(size_t bytes)
{
    return bytes && bytes % GRAIN == 0;
}

void leave(CUmemGenericAllocationHandle h)
{
    created &c = physical[h];
    if (--c.users)
        return;
    banks[c.what.device].used -= c.what.bytes;
    physical.erase(h);
}

bool inside_a_range(const char *p, size_t bytes)
{
    for (const auto &r : ranges)
        if (p >= r.first && bytes <= r.second && (size_t)(p - r.first) <= r.second - bytes)
            return true;
    return false;
}

bool any_mapped(const char *p, size_t bytes)
{
    for (const auto &m : mapped)
        if (p < m.first + m.second.bytes && m.first < p + bytes)
            return true;
    return false;
}

/* Of mappings as they were made, none of them in part. */
bool all_mapped(char *p, size_t bytes)
{
    size_t seen = 0;
    while (seen < bytes) {
        auto m = mapped.find(p + seen);
        if (m == mapped.end())
            return false;
        seen += m->second.bytes;
    }
    return seen == bytes;
}

} // namespace

CUresult cuGetErrorString(CUresult rc, const char **text)
{
    *text = rc == CUDA_SUCCESS ? "no error" : "out of memory";
    return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationGranularity(size_t *grain, const CUmemAllocationProp *,
                                       CUmemAllocationGranularity_flags)
{
    *grain = GRAIN;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr *at, size_t bytes, size_t alignment, CUdeviceptr wish,
                             unsigned long long flags)
{
    emu_alone my_turn(emu_turn);
    insist(grains(bytes) && !alignment && !wish && !flags, "cuMemAddressReserve");
    char *p = driver_fails() ? nullptr : pages(bytes, PROT_NONE);
    if (!p)
        return CUDA_ERROR_OUT_OF_MEMORY;
    ranges[p] = bytes;
    emu_reserved++;
    *at = (CUdeviceptr)(uintptr_t)p;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr at, size_t bytes)
{
    emu_alone my_turn(emu_turn);
    char *p = (char *)(uintptr_t)at;
    auto found = ranges.find(p);
    insist(found != ranges.end() && found->second == bytes, "cuMemAddressFree: no such range");
    insist(!any_mapped(p, bytes), "cuMemAddressFree: something is mapped there");
    ranges.erase(found);
    emu_reserved--;
    munmap(p, bytes);
    return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle *h, size_t bytes, const CUmemAllocationProp *of,
                     unsigned long long flags)
{
    static CUmemGenericAllocationHandle last;
    emu_alone my_turn(emu_turn);
    int device = of->location.id;
    insist(grains(bytes) && !flags && of->type == CU_MEM_ALLOCATION_TYPE_PINNED &&
               of->location.type == CU_MEM_LOCATION_TYPE_DEVICE && device >= 0 &&
               device < EMU_DEVICES,
           "cuMemCreate");
    if (bytes > BANK - banks[device].used || driver_fails())
        return CUDA_ERROR_OUT_OF_MEMORY;
    banks[device].used += bytes;
    *h = ++last;
    physical[*h] = {{bytes, device}, 1, false};
    return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle h)
{
    emu_alone my_turn(emu_turn);
    auto found = physical.find(h);
    insist(found != physical.end() && !found->second.released, "cuMemRelease: released already");
    found->second.released = true;
    leave(h);
    return CUDA_SUCCESS;
}

/* Nobody reaches it before cuMemSetAccess. Fresh memory holds NaN patterns. */
CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t offset, CUmemGenericAllocationHandle h,
                  unsigned long long flags)
{
    emu_alone my_turn(emu_turn);
    char *p = (char *)(uintptr_t)at;
    auto found = physical.find(h);
    insist(found != physical.end() && found->second.what.bytes == bytes && !offset && !flags,
           "cuMemMap: not the whole of an allocation");
    insist(inside_a_range(p, bytes) && !any_mapped(p, bytes), "cuMemMap: no place there");
    if (driver_fails())
        return CUDA_ERROR_OUT_OF_MEMORY;
    found->second.users++;
    mapped[p] = {bytes, h};
    insist(!mprotect(p, bytes, PROT_READ | PROT_WRITE), "mprotect");
    memset(p, 0xFF, bytes);
    insist(!mprotect(p, bytes, PROT_NONE), "mprotect");
    return CUDA_SUCCESS;
}

CUresult cuMemSetAccess(CUdeviceptr at, size_t bytes, const CUmemAccessDesc *access, size_t count)
{
    emu_alone my_turn(emu_turn);
    char *p = (char *)(uintptr_t)at;
    unsigned devices = 0;
    insist(all_mapped(p, bytes), "cuMemSetAccess: not what is mapped");
    for (size_t i = 0; i < count; i++) {
        unsigned one = 1u << access[i].location.id;
        insist(access[i].flags == CU_MEM_ACCESS_FLAGS_PROT_READWRITE &&
                   access[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE &&
                   one < 1u << EMU_DEVICES && !(devices & one),
               "cuMemSetAccess: who");
        devices |= one;
    }
    if (driver_fails())
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (key_of[devices] == UNKNOWN)
        key_of[devices] = new_key();
    shut(p, bytes, key_of[devices]);
    return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr at, size_t bytes)
{
    emu_alone my_turn(emu_turn);
    char *p = (char *)(uintptr_t)at;
    insist(all_mapped(p, bytes), "cuMemUnmap: not what is mapped");
    insist(!mprotect(p, bytes, PROT_NONE), "mprotect");
    for (size_t done = 0; done < bytes;) {
        mapping m = mapped[p + done];
        mapped.erase(p + done);
        leave(m.of);
        done += m.bytes;
    }
    return CUDA_SUCCESS;
}

/* Copies and fills over several mappings may work on a GPU, but nobody says so. */
void emu_one_piece(const void *p, size_t bytes)
{
    emu_alone my_turn(emu_turn);
    auto m = mapped.upper_bound((char *)p);
    if (m == mapped.begin())
        return;
    --m;
    size_t from = (size_t)((const char *)p - m->first);
    insist(from >= m->second.bytes || bytes <= m->second.bytes - from,
           "a copy or a fill that goes on behind a mapping");
}

/* The library that share.cu opens: this one. */
void *emu_driver()
{
    Dl_info me;
    return dladdr((void *)cuMemCreate, &me) ? dlopen(me.dli_fname, RTLD_NOW) : nullptr;
}
