/* tests/prop/arena.c - arenas: alignment, disjointness, zeroes, overflow. */
#include "support/support.h"

#include "core/arena.h"
#include "core/memory.h"

#include <string.h>

typedef struct three {
    char *a;
    double *b;
    char *none;
    int64_t count_b;
} three;

static void lay_three(sae_arena *a, void *arg)
{
    three *t = arg;
    t->a = sae_arena_take(a, 3, 1);
    t->b = sae_arena_take(a, t->count_b, sizeof *t->b);
    t->none = sae_arena_take(a, 0, 8);
}

START_TEST(arrays_are_apart_aligned_and_zero)
{
    three t = {.count_b = 1000};
    sae_arena a;
    sae_err err = {0};
    size_t before = sae_alloc_live();
    ck_assert_ok(sae_arena_open(&a, lay_three, &t, "three", &err), err);
    ck_assert_uint_eq((uintptr_t)t.a % 64, 0);
    ck_assert_uint_eq((uintptr_t)t.b % 64, 0);
    ck_assert(t.a + 3 <= (char *)t.b && (char *)(t.b + 1000) <= t.none);
    for (int i = 0; i < 1000; i++)
        ck_assert(t.b[i] == 0);
    memset(t.a, 1, 3);
    memset(t.b, 2, 1000 * sizeof *t.b);
    ck_assert_int_eq(t.a[2], 1);
    sae_arena_close(&a);
    ck_assert_uint_eq(sae_alloc_live(), before);
    sae_arena_close(&a);
}
END_TEST

START_TEST(refuses_what_cannot_be)
{
    static const int64_t bad[] = {-1, INT64_MAX, INT64_MAX / 8, INT64_C(1) << 50};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        three t = {.count_b = bad[i]};
        sae_arena a;
        sae_err err = {0};
        ck_assert_int_eq(sae_arena_open(&a, lay_three, &t, "three", &err), SAE_ENOMEM);
        ck_assert_ptr_nonnull(strstr(err.msg, "three"));
        ck_assert_ptr_null(a.base);
        sae_arena_close(&a);
    }
}
END_TEST

Suite *suite_arena(void)
{
    Suite *s = suite_create("arena");
    TCase *t = tcase_create("arena");
    tcase_add_test(t, arrays_are_apart_aligned_and_zero);
    tcase_add_test(t, refuses_what_cannot_be);
    suite_add_tcase(s, t);
    return s;
}
