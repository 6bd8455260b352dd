/* suite/kernels/cpu/simd_avx2.c - inner loops for AVX2 with FMA. */
#ifdef __x86_64__
#define SIMD_NAME "AVX2"
#define SIMD_TABLE sae_simd_avx2
#define SIMD_VL 8
#define SIMD_HEIGHT 6
#define SIMD_BITS(a, b) ((uint32_t)_mm256_movemask_ps(_mm256_cmp_ps((a), (b), _CMP_GE_OQ)))

#include <immintrin.h>

#include "cpu/simd_body.h"
#else
typedef int sae_simd_avx2_is_for_x86;
#endif
