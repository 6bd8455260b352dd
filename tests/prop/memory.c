/* tests/prop/memory.c - sizes, blocks, counters. */
#include "core/memory.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

START_TEST(sizes)
{
    sae_err err = {0};
    size_t v = 0;
    ck_assert_ok(sae_size_mul(&v, 1 << 20, 1 << 20, &err), err);
    ck_assert_uint_eq(v, UINT64_C(1) << 40);
    ck_assert_ok(sae_size_mul(&v, 0, INT64_MAX, &err), err);
    ck_assert_uint_eq(v, 0);
    static const int64_t bad[][2] = {
        {-1, 1}, {1, -1}, {INT64_MAX, 2}, {INT64_C(1) << 32, INT64_C(1) << 31}, {INT64_MAX, 3}};
    for (int i = 0; i < 5; i++) {
        err = (sae_err){0};
        ck_assert_int_eq(sae_size_mul(&v, bad[i][0], bad[i][1], &err), SAE_ENOMEM);
        char number[32];
        snprintf(number, sizeof number, "%lld", (long long)bad[i][0]);
        ck_assert_ptr_nonnull(strstr(err.msg, number));
    }
    ck_assert_int_eq(sae_size_add(&v, PTRDIFF_MAX, 1, NULL), SAE_ENOMEM);
    ck_assert_int_eq(sae_size_add(&v, SIZE_MAX, 1, NULL), SAE_ENOMEM);
    ck_assert_int_eq(sae_size_add(&v, PTRDIFF_MAX - 1, 1, NULL), SAE_OK);
}
END_TEST

START_TEST(blocks)
{
    size_t before = sae_alloc_live();
    for (size_t bytes = 0; bytes < 5000; bytes = bytes * 2 + 1) {
        unsigned char *p = sae_alloc(bytes);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 64, 0);
        ck_assert_uint_eq(sae_alloc_live(), before + bytes);
        for (size_t i = 0; i < bytes; i++)
            ck_assert_uint_eq(p[i], 0);
        memset(p, 0xAA, bytes);
        p = sae_realloc(p, 3 * bytes + 7);
        ck_assert_ptr_nonnull(p);
        for (size_t i = 0; i < 3 * bytes + 7; i++)
            ck_assert_uint_eq(p[i], i < bytes ? 0xAA : 0);
        p = sae_realloc(p, bytes / 2);
        for (size_t i = 0; i < bytes / 2; i++)
            ck_assert_uint_eq(p[i], 0xAA);
        sae_free(p);
        ck_assert_uint_eq(sae_alloc_live(), before);
    }
    ck_assert_uint_ge(sae_alloc_peak(), before + 3 * 4095 + 7);
    ck_assert_ptr_null(sae_alloc(SIZE_MAX));
    ck_assert_ptr_null(sae_alloc(PTRDIFF_MAX));
    sae_free(NULL);
    char *s = sae_strfmt("%s-%d", "abc", 42);
    ck_assert_str_eq(s, "abc-42");
    char *t = sae_strdup(s);
    ck_assert_str_eq(t, s);
    sae_free(s);
    sae_free(t);
}
END_TEST

START_TEST(failing)
{
    sae_err err = {0};
    void *p = NULL;
    uint64_t calls = sae_alloc_calls();
    sae_alloc_fail_at(2);
    ck_assert_ok(sae_new(&p, 10, 8, "first", &err), err);
    void *q = NULL;
    ck_assert_int_eq(sae_new(&q, 10, 8, "second", &err), SAE_ENOMEM);
    ck_assert_ptr_null(q);
    ck_assert_ptr_nonnull(strstr(err.msg, "second"));
    ck_assert_ptr_nonnull(strstr(err.msg, "80"));
    err = (sae_err){0};
    ck_assert_ok(sae_new(&q, 10, 8, "third", &err), err);
    ck_assert_uint_eq(sae_alloc_calls(), calls + 3);
    sae_alloc_fail_at(1);
    ck_assert_ptr_null(sae_realloc(p, 100));
    memset(p, 1, 80); /* still ours */
    sae_alloc_fail_at(1);
    sae_alloc_fail_at(0);
    p = sae_realloc(p, 100);
    ck_assert_ptr_nonnull(p);
    sae_free(p);
    sae_free(q);
    ck_assert_int_eq(sae_new(&p, -1, 8, "negative", NULL), SAE_ENOMEM);
}
END_TEST

START_TEST(system_memory)
{
    sae_err err = {0};
    size_t available = sae_memory_available();
    ck_assert_uint_gt(available, 1 << 20);
    ck_assert_uint_lt(available, PTRDIFF_MAX);
    ck_assert_ok(sae_memory_check(1, "a test", &err), err);
    ck_assert_int_eq(sae_memory_check(PTRDIFF_MAX, "a test", &err), SAE_ENOMEM);
    ck_assert_ptr_nonnull(strstr(err.msg, "a test"));
    ck_assert_uint_gt(sae_memory_peak_rss(), 100000);
    /* A block costs memory when it is touched, not when it is taken. */
    size_t rss = sae_memory_peak_rss();
    void *p = sae_alloc((size_t)1 << 30);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_lt(sae_memory_peak_rss(), rss + ((size_t)1 << 29));
    sae_free(p);
}
END_TEST

Suite *suite_memory(void)
{
    Suite *s = suite_create("memory");
    TCase *c = tcase_create("memory");
    tcase_add_test(c, sizes);
    tcase_add_test(c, blocks);
    tcase_add_test(c, failing);
    tcase_add_test(c, system_memory);
    suite_add_tcase(s, c);
    return s;
}
