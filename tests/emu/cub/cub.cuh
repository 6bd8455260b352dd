/* tests/emu/cub/cub.cuh - the device-wide algorithms of CUB that suite/kernels/cuda uses. */
#ifndef SAE_EMU_CUB_H
#define SAE_EMU_CUB_H

#include "cuda_runtime.h"

#include <algorithm>
#include <vector>

namespace cub
{

/* The call without memory only says how much it wants. */
inline bool emu_asked(void *temp, size_t &bytes)
{
    if (!temp)
        bytes = 1;
    return !temp;
}

struct DeviceRadixSort {
    /* Stable, by bits [begin, end) of unsigned keys. */
    template <class K, class V, class N>
    static cudaError_t SortPairs(void *temp, size_t &bytes, const K *keys, K *keys_out,
                                 const V *values, V *values_out, N n, int begin = 0,
                                 int end = (int)sizeof(K) * 8, cudaStream_t s = nullptr)
    {
        static_assert(K(-1) > K(0), "unsigned keys");
        if (emu_asked(temp, bytes))
            return cudaSuccess;
        emu_enqueue(s, [=] {
            K mask = end - begin >= (int)sizeof(K) * 8 ? K(-1) : (K)(((K)1 << (end - begin)) - 1);
            std::vector<N> order((size_t)n);
            for (N i = 0; i < n; i++)
                order[(size_t)i] = i;
            std::stable_sort(order.begin(), order.end(), [=](N a, N b) {
                return ((keys[a] >> begin) & mask) < ((keys[b] >> begin) & mask);
            });
            for (N i = 0; i < n; i++) {
                keys_out[i] = keys[order[(size_t)i]];
                values_out[i] = values[order[(size_t)i]];
            }
        });
        return cudaSuccess;
    }
};

} // namespace cub

#endif
