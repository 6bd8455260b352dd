/* sae/rng_math.h - the logarithm, sine and cosine of random numbers: the same bits everywhere.
 *
 * Sums, products, quotients and roots of doubles, each rounded once as IEEE 754 says and in a fixed
 * order: unlike those of libraries, the results do not depend on compiler, instruction set or
 * device. No branches, so that loops over them become vector code.
 */
#ifndef SAE_RNG_MATH_H
#define SAE_RNG_MATH_H

#include <stdint.h>
#include <string.h>

#include "base.h"

static inline SAE_HD double sae_bits_double(uint64_t u)
{
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
}

static inline SAE_HD uint64_t sae_double_bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}

/* a * b, rounded: no compiler makes one operation of it and a sum. gcc would, across statements,
 * where -ffp-contract=fast is in force; clang does so inside expressions, which end here. (nvcc
 * does not know the barrier in the host code of a .cu file.) */
static inline SAE_HD double sae_rng_product(double a, double b)
{
#if defined(__CUDA_ARCH__)
    return __dmul_rn(a, b);
#elif defined(__GNUC__) && __GNUC__ >= 12 && !defined(__clang__) && !defined(__CUDACC__)
    return __builtin_assoc_barrier(a * b);
#else
    return a * b;
#endif
}

/* log(x) of a positive normal number: k ln 2 + log(m), m in [sqrt 1/2, sqrt 2), log(m) by the
 * series of 2 atanh(s), s = (m - 1) / (m + 1); the first term left out is below 3e-17 of it. */
static inline SAE_HD double sae_rng_log(double x)
{
    const uint64_t half_root = UINT64_C(0x3fe6a09e667f3bcd);
    uint64_t over = sae_double_bits(x) - half_root + (UINT64_C(1024) << 52);
    double k = sae_bits_double(over >> 52 | UINT64_C(0x4330000000000000)) - (0x1p52 + 1024);
    double m = sae_bits_double((over & (UINT64_MAX >> 12)) + half_root);
    double s = (m - 1) / (m + 1), t = sae_rng_product(s, s), p = 1.0 / 19;
    p = sae_rng_product(p, t) + 1.0 / 17;
    p = sae_rng_product(p, t) + 1.0 / 15;
    p = sae_rng_product(p, t) + 1.0 / 13;
    p = sae_rng_product(p, t) + 1.0 / 11;
    p = sae_rng_product(p, t) + 1.0 / 9;
    p = sae_rng_product(p, t) + 1.0 / 7;
    p = sae_rng_product(p, t) + 1.0 / 5;
    p = sae_rng_product(p, t) + 1.0 / 3;
    p = sae_rng_product(p, t);
    return sae_rng_product(k, 0x1.62e42fefa39efp-1) + (2 * s + sae_rng_product(2 * s, p));
}

/* sin(t) and cos(t), 0 <= t <= 7, by their Taylor series around the nearest multiple k of pi / 2;
 * the first terms left out are below 7e-17 and 3e-18. k pi / 2 is taken off in two parts, of which
 * the first is exact: pi / 2 as a double ends in three zeros. */
static inline SAE_HD void sae_rng_sin_cos(double t, double *sine, double *cosine)
{
    const double round = 0x1.8p52; /* adding it leaves an integer in the low bits */
    double sum = sae_rng_product(t, 0x1.45f306dc9c883p-1) + round, k = sum - round;
    double r =
        t - sae_rng_product(k, 0x1.921fb54442d18p0) - sae_rng_product(k, 0x1.1a62633145c07p-54);
    double z = sae_rng_product(r, r), s = -1.0 / 1307674368000, c = 1.0 / 20922789888000;
    s = sae_rng_product(s, z) + 1.0 / 6227020800;
    s = sae_rng_product(s, z) - 1.0 / 39916800;
    s = sae_rng_product(s, z) + 1.0 / 362880;
    s = sae_rng_product(s, z) - 1.0 / 5040;
    s = sae_rng_product(s, z) + 1.0 / 120;
    s = sae_rng_product(s, z) - 1.0 / 6;
    s = sae_rng_product(sae_rng_product(s, z), r) + r;
    c = sae_rng_product(c, z) - 1.0 / 87178291200;
    c = sae_rng_product(c, z) + 1.0 / 479001600;
    c = sae_rng_product(c, z) - 1.0 / 3628800;
    c = sae_rng_product(c, z) + 1.0 / 40320;
    c = sae_rng_product(c, z) - 1.0 / 720;
    c = sae_rng_product(c, z) + 1.0 / 24;
    c = sae_rng_product(c, z) - 0.5;
    c = sae_rng_product(c, z) + 1;
    /* Odd quarters of a turn exchange the two; bit 1 of k, of k + 1, is the sign. */
    uint64_t quarter = sae_double_bits(sum), a = sae_double_bits(s), b = sae_double_bits(c);
    uint64_t change = (a ^ b) & (0 - (quarter & 1));
    *sine = sae_bits_double(a ^ change ^ (quarter & 2) << 62);
    *cosine = sae_bits_double(b ^ change ^ ((quarter + 1) & 2) << 62);
}

#endif
