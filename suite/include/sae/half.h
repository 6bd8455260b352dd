/* sae/half.h - IEEE binary16 and bfloat16 to float and back.
 *
 * Widening is exact. Narrowing rounds to nearest, ties to even; what is too large becomes infinity;
 * NaN stays NaN (quiet, sign and leading payload bits kept).
 */
#ifndef SAE_HALF_H
#define SAE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float sae_bits_float(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

static inline uint32_t sae_float_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float sae_bf16_float(uint16_t h)
{
    return sae_bits_float((uint32_t)h << 16);
}

static inline uint16_t sae_float_bf16(float f)
{
    uint32_t u = sae_float_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}

/* The 15 magnitude bits, moved to float's place, are a float that is too small by 2^112: one exact
 * multiplication repairs normal and subnormal numbers alike. */
static inline float sae_f16_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000u) << 16, mag = (uint32_t)(h & 0x7fffu) << 13;
    if (mag >= 0x0f800000u) /* exponent all ones: infinity or NaN */
        return sae_bits_float(sign | mag | 0x7f800000u);
    return sae_bits_float(sign | sae_float_bits(sae_bits_float(mag) * 0x1p112f));
}

static inline uint16_t sae_float_f16(float f)
{
    uint32_t u = sae_float_bits(f), sign = u >> 16 & 0x8000u, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u | (mag >> 13 & 0x3ffu));
    if (mag >= 0x477ff000u) /* 65520 and above round to infinity */
        return (uint16_t)(sign | 0x7c00u);
    if (mag < 0x38800000u) { /* below 2^-14: the unit is 2^-24, float addition does the rounding */
        uint32_t r = sae_float_bits(sae_bits_float(mag) + 0.5f);
        return (uint16_t)(sign | (r - 0x3f000000u));
    }
    mag += 0x0fffu + (mag >> 13 & 1u);
    return (uint16_t)(sign | (mag - 0x38000000u) >> 13);
}

#endif
