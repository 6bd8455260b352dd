/* suite/kernels/cpu/simd_generic.c - inner loops for any machine: 128-bit vectors. */
#define SIMD_NAME "128-bit vectors"
#define SIMD_TABLE sae_simd_generic
#define SIMD_VL 4
#define SIMD_HEIGHT 6
#define SIMD_BITS(a, b) bits((a) >= (b))

#include <stdint.h>

static inline uint32_t bits(int32_t __attribute__((vector_size(16))) m)
{
    return (uint32_t)((m[0] & 1) | (m[1] & 2) | (m[2] & 4) | (m[3] & 8));
}

#include "cpu/simd_body.h"
