/* suite/core/safetensors_convert.c - floating-point storage formats to float and back. */
#include "core/safetensors.h"

#include "core/error.h"

#include <sae/half.h>
#include <string.h>

static uint16_t load16(const unsigned char *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

static void store16(unsigned char *p, uint16_t h)
{
    memcpy(p, &h, sizeof h);
}

void sae_st_to_f32(enum sae_st_dtype t, const void *src, int64_t count, float *dst)
{
    const unsigned char *s = src;
    switch (t) {
    case SAE_ST_F32:
        if (count > 0)
            memcpy(dst, src, (size_t)count * sizeof *dst);
        break;
    case SAE_ST_F64:
        for (int64_t i = 0; i < count; i++) {
            double v;
            memcpy(&v, s + 8 * i, sizeof v);
            dst[i] = (float)v;
        }
        break;
    case SAE_ST_F16:
        for (int64_t i = 0; i < count; i++)
            dst[i] = sae_f16_float(load16(s + 2 * i));
        break;
    case SAE_ST_BF16:
        for (int64_t i = 0; i < count; i++)
            dst[i] = sae_bf16_float(load16(s + 2 * i));
        break;
    default:
        sae_assert_fail("a floating-point dtype", __FILE__, __LINE__);
    }
}

void sae_st_from_f32(enum sae_st_dtype t, const float *src, int64_t count, void *dst)
{
    unsigned char *d = dst;
    switch (t) {
    case SAE_ST_F32:
        if (count > 0)
            memcpy(dst, src, (size_t)count * sizeof *src);
        break;
    case SAE_ST_F64:
        for (int64_t i = 0; i < count; i++) {
            double v = (double)src[i];
            memcpy(d + 8 * i, &v, sizeof v);
        }
        break;
    case SAE_ST_F16:
        for (int64_t i = 0; i < count; i++)
            store16(d + 2 * i, sae_float_f16(src[i]));
        break;
    case SAE_ST_BF16:
        for (int64_t i = 0; i < count; i++)
            store16(d + 2 * i, sae_float_bf16(src[i]));
        break;
    default:
        sae_assert_fail("a floating-point dtype", __FILE__, __LINE__);
    }
}
