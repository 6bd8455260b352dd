/* sae/rng.h - Philox4x32-10: random numbers as a pure function of (seed, stream, row, index).
 *
 * There is no generator state to save or to share between threads. Source: Salmon et al. 2011,
 * "Parallel random numbers: as easy as 1, 2, 3"; known answers in tests/prop/rng.c.
 */
#ifndef SAE_RNG_H
#define SAE_RNG_H

#include <math.h>
#include <stdint.h>

#include "base.h"
#include "rng_math.h"

/* Purpose of a stream: the third word of the counter's identity. Values are fixed for ever. */
enum sae_rng_stream {
    SAE_STREAM_INIT = 1,      /* parameter initialisation; row = tensor row, high bits = tensor */
    SAE_STREAM_SHUFFLE = 2,   /* keyed permutations; row = round input */
    SAE_STREAM_NOISE = 3,     /* forward noise; row = token row, i = feature */
    SAE_STREAM_PREFIX = 4,    /* random dictionary prefixes; row = step */
    SAE_STREAM_PROBE = 5,     /* probes and other training inside metrics */
    SAE_STREAM_SPLIT = 6,     /* train / evaluation membership of documents; row = document */
    SAE_STREAM_SAMPLE = 7,    /* tokens drawn from a language model; row = position, i = sequence */
    SAE_STREAM_SYNTHETIC = 16 /* 16..63 belong to datasets; plug-ins start at 1024 */
};

typedef struct sae_u4 {
    uint32_t v[4];
} sae_u4;

/* Ten rounds of Philox4x32. Key = seed, counter = (row low, row high, i, stream). */
static inline SAE_HD sae_u4 sae_philox(uint64_t seed, uint32_t stream, uint64_t row, uint32_t i)
{
    uint32_t a = (uint32_t)row, b = (uint32_t)(row >> 32), c = i, d = stream;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int r = 0; r < 10; r++) {
        uint64_t p = (uint64_t)0xD2511F53u * a, q = (uint64_t)0xCD9E8D57u * c;
        uint32_t na = (uint32_t)(q >> 32) ^ b ^ k0, nc = (uint32_t)(p >> 32) ^ d ^ k1;
        a = na;
        b = (uint32_t)q;
        c = nc;
        d = (uint32_t)p;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    sae_u4 o = {{a, b, c, d}};
    return o;
}

/* Uniform in the open interval (0, 1): (top 23 bits + 0.5) * 2^-23, exact in float. */
static inline SAE_HD float sae_u01(uint32_t x)
{
    return ((float)(x >> 9) + 0.5f) * 0x1p-23f;
}

/* Uniform in the open interval (0, 1) with 52 bits from two words, exact in double. */
static inline SAE_HD double sae_u01_wide(uint32_t hi, uint32_t lo)
{
    uint64_t u = ((uint64_t)hi << 32) | lo;
    return ((double)(u >> 12) + 0.5) * 0x1p-52;
}

/* Two independent standard normals of two words: Box and Muller, cosine first. Logarithm, sine and
 * cosine err by at most 1.99 * 2^-53 of their value (all 2^23 arguments measured), so a normal by
 * 5.5e-16, and its bits are the same everywhere. */
static inline SAE_HD void sae_normal_pair(uint32_t a, uint32_t b, double out[2])
{
    double r = sqrt(-2.0 * sae_rng_log((double)sae_u01(a))), sine, cosine;
    sae_rng_sin_cos(sae_rng_product(6.283185307179586476925, (double)sae_u01(b)), &sine, &cosine);
    out[0] = sae_rng_product(r, cosine);
    out[1] = sae_rng_product(r, sine);
}

/* Standard normal number i of the row: four normals per Philox call. */
static inline SAE_HD double sae_normal(uint64_t seed, uint32_t stream, uint64_t row, uint32_t i)
{
    sae_u4 u = sae_philox(seed, stream, row, i / 4);
    uint32_t p = i & 2u;
    double z[2];
    sae_normal_pair(u.v[p], u.v[p + 1], z);
    return z[i & 1u];
}

/* Standard normals 4 i .. 4 i + 3 of the row. */
static inline SAE_HD void sae_normal4(uint64_t seed, uint32_t stream, uint64_t row, uint32_t i,
                                      double out[4])
{
    sae_u4 u = sae_philox(seed, stream, row, i);
    sae_normal_pair(u.v[0], u.v[1], out);
    sae_normal_pair(u.v[2], u.v[3], out + 2);
}

/* Keyed permutation of [0, rows): a four-round balanced Feistel network over the smallest even
 * number of bits that covers rows, walking the cycle until the image is in range. A bijection for
 * every (seed, epoch); stateless, so any row of any epoch can be asked for. rows >= 1, i < rows. */
static inline SAE_HD uint64_t sae_permute(uint64_t seed, uint64_t epoch, uint64_t rows, uint64_t i)
{
    uint32_t half = 1;
    while (half < 32 && (UINT64_C(1) << (2 * half)) < rows)
        half++;
    uint64_t mask = (UINT64_C(1) << half) - 1;
    do {
        uint64_t l = i >> half, r = i & mask;
        for (uint32_t k = 0; k < 4; k++) {
            sae_u4 f = sae_philox(seed, SAE_STREAM_SHUFFLE, r | (epoch << 32), k);
            uint64_t t = (l ^ f.v[0]) & mask;
            l = r;
            r = t;
        }
        i = (l << half) | r;
    } while (i >= rows);
    return i;
}

#endif
