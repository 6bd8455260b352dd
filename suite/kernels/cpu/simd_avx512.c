/* suite/kernels/cpu/simd_avx512.c - inner loops for AVX-512 (F, BW, DQ, VL). */
#ifdef __x86_64__
#define SIMD_NAME "AVX-512"
#define SIMD_TABLE sae_simd_avx512
#define SIMD_VL 16
#define SIMD_HEIGHT 14
#define SIMD_BITS(a, b) ((uint32_t)_mm512_cmp_ps_mask((a), (b), _CMP_GE_OQ))

#include <immintrin.h>

#include "cpu/simd_body.h"
#else
typedef int sae_simd_avx512_is_for_x86;
#endif
