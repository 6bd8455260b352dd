/* tests/emu/cuda.h - the part of the driver that suite/kernels/cuda/share.cu uses (memory.cc). */
#ifndef SAE_EMU_CUDA_H
#define SAE_EMU_CUDA_H

#include <stddef.h>

enum CUresult { CUDA_SUCCESS = 0, CUDA_ERROR_OUT_OF_MEMORY = 2 };
typedef unsigned long long CUdeviceptr, CUmemGenericAllocationHandle;
enum CUmemAllocationType { CU_MEM_ALLOCATION_TYPE_PINNED = 1 };
enum CUmemLocationType { CU_MEM_LOCATION_TYPE_DEVICE = 1 };
enum CUmemAccess_flags { CU_MEM_ACCESS_FLAGS_PROT_READWRITE = 3 };
enum CUmemAllocationGranularity_flags { CU_MEM_ALLOC_GRANULARITY_MINIMUM };
struct CUmemLocation {
    CUmemLocationType type;
    int id;
};
struct CUmemAllocationProp {
    CUmemAllocationType type;
    CUmemLocation location;
};
struct CUmemAccessDesc {
    CUmemLocation location;
    CUmemAccess_flags flags;
};

#define EMU_DRIVER extern "C" __attribute__((visibility("default")))
EMU_DRIVER CUresult cuGetErrorString(CUresult rc, const char **text);
EMU_DRIVER CUresult cuMemGetAllocationGranularity(size_t *grain, const CUmemAllocationProp *of,
                                                  CUmemAllocationGranularity_flags which);
EMU_DRIVER CUresult cuMemAddressReserve(CUdeviceptr *at, size_t bytes, size_t alignment,
                                        CUdeviceptr wish, unsigned long long flags);
EMU_DRIVER CUresult cuMemAddressFree(CUdeviceptr at, size_t bytes);
EMU_DRIVER CUresult cuMemCreate(CUmemGenericAllocationHandle *h, size_t bytes,
                                const CUmemAllocationProp *of, unsigned long long flags);
EMU_DRIVER CUresult cuMemRelease(CUmemGenericAllocationHandle h);
EMU_DRIVER CUresult cuMemMap(CUdeviceptr at, size_t bytes, size_t offset,
                             CUmemGenericAllocationHandle h, unsigned long long flags);
EMU_DRIVER CUresult cuMemUnmap(CUdeviceptr at, size_t bytes);
EMU_DRIVER CUresult cuMemSetAccess(CUdeviceptr at, size_t bytes, const CUmemAccessDesc *access,
                                   size_t count);

void *emu_driver(); /* as dlopen returns a library */

#endif
