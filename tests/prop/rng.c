/* tests/prop/rng.c - published answers of Philox4x32-10, the keyed permutation, bits and moments of
 * normals. */
#include "support/support.h"

#include <math.h>
#include <sae/rng.h>
#include <stdlib.h>
#include <string.h>

/* Random123, tests/kat_vectors, philox 4x32 10. Our counter words are (row low, row high, i,
 * stream), our key the two halves of the seed. */
START_TEST(known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], out[4];
    } kat[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int t = 0; t < 3; t++) {
        uint64_t row = kat[t].counter[0] | (uint64_t)kat[t].counter[1] << 32;
        uint64_t seed = kat[t].key[0] | (uint64_t)kat[t].key[1] << 32;
        sae_u4 u = sae_philox(seed, kat[t].counter[3], row, kat[t].counter[2]);
        for (int w = 0; w < 4; w++)
            ck_assert_msg(u.v[w] == kat[t].out[w], "vector %d word %d: %08x, expected %08x", t, w,
                          u.v[w], kat[t].out[w]);
    }
}
END_TEST

START_TEST(uniform_ends)
{
    ck_assert(sae_u01(0) == 0x1p-24f);
    ck_assert(sae_u01(~0u) == 1 - 0x1p-24f);
    ck_assert(sae_u01_wide(0, 0) == 0x1p-53);
    ck_assert(sae_u01_wide(~0u, ~0u) == 1 - 0x1p-53);
}
END_TEST

START_TEST(permutation)
{
    static const uint64_t sizes[] = {1,  2,  3,  4,   5,   7,   8,   15,   16,   17,   31,   63,
                                     64, 65, 99, 255, 256, 257, 999, 1023, 1024, 1025, 4097, 65537};
    unsigned char *seen = malloc(65537);
    ck_assert_ptr_nonnull(seen);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        uint64_t moved = 0;
        for (uint64_t epoch = 0; epoch < 2; epoch++) {
            memset(seen, 0, sizes[s]);
            for (uint64_t i = 0; i < sizes[s]; i++) {
                uint64_t j = sae_permute(7 + s, epoch, sizes[s], i);
                ck_assert_msg(j < sizes[s] && !seen[j], "%llu of %llu hit twice or outside",
                              (unsigned long long)j, (unsigned long long)sizes[s]);
                seen[j] = 1;
                moved += epoch == 1 && j != sae_permute(7 + s, 0, sizes[s], i);
            }
        }
        /* Independent permutations agree on about one row; two epochs are not the same one. */
        ck_assert(sizes[s] < 999 || moved > sizes[s] / 2);
    }
    free(seen);
    /* Sizes too large to enumerate: distinct rows stay distinct and inside. */
    for (uint64_t rows = UINT64_C(1) << 33; rows <= UINT64_C(1) << 40; rows *= 8)
        for (uint64_t i = 0; i < 64; i++)
            ck_assert(sae_permute(1, 0, rows - 3, i) < rows - 3 &&
                      sae_permute(1, 0, rows - 3, i) != sae_permute(1, 0, rows - 3, i + 64));
}
END_TEST

/* Computed by a program in another language, operation by operation: the same bits everywhere.
 * Words of the vectors above, and both ends. */
START_TEST(normal_bits)
{
    static const struct {
        uint32_t a, b;
        double z[2];
    } known[] = {
        {0x00000000, 0x00000000, {0x1.7128ac8de72edp+2, 0x1.21efcc23f5be9p-19}},
        {0xffffffff, 0xffffffff, {0x1.6a09e6c2761aap-12, -0x1.1c5831f507946p-33}},
        {0x6627e8d5, 0xe169c58d, {0x1.fb765f032eebap-1, -0x1.d96d6662e6c50p-1}},
        {0xbc57ac4c, 0x9b00dbd8, {-0x1.3c374109bf305p-1, -0x1.eda35327c04a2p-2}},
        {0x408f276d, 0x41c83b0e, {-0x1.294a71173feb7p-4, 0x1.a8859eb304845p+0}},
        {0xa20bc7c6, 0x6d5451fd, {-0x1.b7218d19a1019p-1, 0x1.b137a7bee03bep-2}},
        {0x80000000, 0x1fffffff, {0x1.aa44a12575332p-1, 0x1.aa448c38d12d0p-1}},
        {0xb504f334, 0x20000000, {0x1.2d6ab75bafcd9p-1, 0x1.2d6ac6276774cp-1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        double z[2];
        sae_normal_pair(known[i].a, known[i].b, z);
        for (int k = 0; k < 2; k++)
            ck_assert_msg(z[k] == known[i].z[k], "pair %zu number %d: %a, expected %a", i, k, z[k],
                          known[i].z[k]);
    }
}
END_TEST

/* The same of 4000 numbers: fused operations change some of them. */
START_TEST(normals_of_a_row)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < 4000; i++) {
        double z[4], one = sae_normal(11, SAE_STREAM_NOISE, 5, i);
        sae_normal4(11, SAE_STREAM_NOISE, 5, i / 4, z);
        ck_assert(z[i % 4] == one);
        hash = hash * 31 + sae_double_bits(one);
    }
    ck_assert_msg(hash == UINT64_C(0x3d5b6f9ed0ca93b4), "hash %llx", (unsigned long long)hash);
}
END_TEST

/* 2 units of 2^-53 for ours, 2 for the one ulp of libm. */
static int is_near(double got, double want)
{
    return fabs(got - want) <= 0x1p-51 * fabs(want);
}

/* Of all 2^23 arguments every 16th. */
START_TEST(functions)
{
    int wrong = 0;
    for (uint32_t k = 0; k <= UINT32_MAX >> 9; k += k % 4 ? 1 : 46) {
        double u = (double)sae_u01(k << 9), t = 6.283185307179586476925 * u, sine, cosine;
        sae_rng_sin_cos(t, &sine, &cosine);
        wrong += !is_near(sae_rng_log(u), log(u)) || !is_near(sae_rng_log(1 - u), log(1 - u)) ||
                 !is_near(sine, sin(t)) || !is_near(cosine, cos(t));
    }
    ck_assert_int_eq(wrong, 0);
}
END_TEST

/* Sample moments of N independent standard normals have standard errors sqrt(1/N), sqrt(2/N),
 * sqrt(15/N), sqrt(96/N) around 0, 1, 0, 3; five of them are allowed. */
START_TEST(normal_moments)
{
    enum { ROWS = 1000, COLS = 200 };
    double m[4] = {0}, lag = 0, before = 0;
    const double n = (double)ROWS * COLS;
    for (uint64_t r = 0; r < ROWS; r++) {
        for (uint32_t i = 0; i < COLS; i++) {
            double z = sae_normal(11, SAE_STREAM_NOISE, r, i);
            ck_assert(isfinite(z));
            for (int p = 0; p < 4; p++)
                m[p] += pow(z, p + 1) / n;
            lag += z * before / n; /* products of neighbours: mean 0, variance 1 */
            before = z;
        }
    }
    ck_assert_double_eq_tol(m[0], 0, 5 * sqrt(1 / n));
    ck_assert_double_eq_tol(m[1], 1, 5 * sqrt(2 / n));
    ck_assert_double_eq_tol(m[2], 0, 5 * sqrt(15 / n));
    ck_assert_double_eq_tol(m[3], 3, 5 * sqrt(96 / n));
    ck_assert_double_eq_tol(lag, 0, 5 * sqrt(1 / n));
}
END_TEST

Suite *suite_rng(void)
{
    Suite *s = suite_create("rng");
    TCase *c = tcase_create("rng");
    tcase_add_test(c, known_answers);
    tcase_add_test(c, uniform_ends);
    tcase_add_test(c, permutation);
    tcase_add_test(c, normal_bits);
    tcase_add_test(c, normals_of_a_row);
    tcase_add_test(c, functions);
    tcase_add_test(c, normal_moments);
    suite_add_tcase(s, c);
    return s;
}
