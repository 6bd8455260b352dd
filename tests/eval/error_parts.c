/* tests/eval/error_parts.c - reconstructions and errors as shards: the parts add up, and the linear
 * one is linear. */
#include "core/shards.h"
#include "eval/error_parts.h"
#include "eval/rig.h"

#include <sae/rng.h>

enum { D = 5, ROWS = 300, PARTS = 5 };

static float rows[ROWS * D], part[PARTS][ROWS * D];
static rig g;
static const sae_norm_const none = {.kind = SAE_NORM_NONE, .scale = 1};

/* A linear error of half of x, and one that is |x|. */
static int run_half(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    int rc = probe_run(m, c, b, t, 1);
    for (int64_t i = 0; i < b->B * D; i++)
        t->xhat[i] = b->x[i] / 2 - (sae_real)fabs((double)b->x[i]);
    return rc;
}

static void setup(void)
{
    for (uint32_t i = 0; i < ROWS * D; i++) /* sign and size are independent */
        rows[i] = (float)sae_normal(4, SAE_STREAM_SYNTHETIC, 0, i);
    rig_open(&g, rows, ROWS, D, "ref");
    g.stream.canonical = (char *)"memory";
    rig_probe(&g, "half", run_half, NULL, none);
}

static void teardown(void)
{
    rig_close(&g);
}

static int write_part(const char *dir, enum sae_error_part which, int64_t count, int64_t *written)
{
    sae_error_parts p = {.stream = &g.stream, .e = &g.e, .reg = g.reg, .subject = g.subject,
                         .part = which, .rows = count, .dir = dir, .dtype = SAE_ST_F32,
                         .rows_per_shard = 128};
    memset(&g.err, 0, sizeof g.err);
    return sae_error_parts_write(&p, written, &g.err);
}

static void read_part(const char *dir, float *out, int64_t count)
{
    sae_shards *s;
    int64_t at = 0;
    ck_assert_ok(sae_shards_open(dir, &s, &g.err), g.err);
    ck_assert_int_eq(s->rows, count);
    for (int64_t i = 0; i < s->count; i++) {
        memcpy(out + at * D, s->shard[i].acts, (size_t)(s->shard[i].rows * D) * sizeof *out);
        for (int64_t r = 0; r < s->shard[i].rows; r++)
            ck_assert_uint_eq(s->shard[i].doc[r], (uint64_t)(at + r));
        at += s->shard[i].rows;
    }
    sae_shards_close(&s);
}

START_TEST(parts_add_up)
{
    int64_t written;
    for (int i = 0; i < PARTS; i++) {
        char *dir = sae_path_join(test_dir(), sae_error_part_names[i]);
        ck_assert_ok(write_part(dir, (enum sae_error_part)i, 0, &written), g.err);
        ck_assert_int_eq(written, ROWS);
        read_part(dir, part[i], ROWS);
        sae_free(dir);
    }
    double slope = 0, xx = 0, common = 0;
    for (int64_t i = 0; i < ROWS * D; i++) {
        double x = (double)rows[i], linear = (double)part[SAE_ERROR_LINEAR][i];
        double rest = (double)part[SAE_ERROR_NONLINEAR][i], e = (double)part[SAE_ERROR_ALL][i];
        ck_assert(part[SAE_ERROR_X][i] == rows[i]);
        ck_assert_double_eq_tol((double)part[SAE_ERROR_XHAT][i] + e, x, 4 * 0x1p-23);
        ck_assert_double_eq_tol(linear + rest, e, 8 * 0x1p-23);
        slope += x * linear;
        common += x * rest;
        xx += x * x;
    }
    /* e = x / 2 + |x|: x and |x| are uncorrelated, D slopes of ROWS rows each are off by 0.04 */
    ck_assert_double_eq_tol(slope / xx, 0.5, 0.12);
    /* what is left is orthogonal to x; roundings of ROWS D terms of size 1 */
    ck_assert_double_eq_tol(common / xx, 0, 1e-6);
}
END_TEST

START_TEST(rows_asked_for)
{
    int64_t written;
    char *dir = sae_path_join(test_dir(), "some");
    ck_assert_ok(write_part(dir, SAE_ERROR_LINEAR, 130, &written), g.err);
    read_part(dir, part[0], 130);
    ck_assert_int_eq(write_part(dir, SAE_ERROR_LINEAR, 130, &written), SAE_EINVAL); /* not empty */
    sae_free(dir);
    dir = sae_path_join(test_dir(), "many");
    ck_assert_int_eq(write_part(dir, SAE_ERROR_ALL, ROWS + 1, &written), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(g.err.msg, "training split has 300"));
    sae_free(dir);
}
END_TEST

/* Whichever allocation fails, everything is given back and nothing is left behind. */
START_TEST(allocations)
{
    int64_t written;
    char *first = sae_path_join(test_dir(), "first"), *dir = sae_path_join(test_dir(), "again");
    ck_assert_ok(write_part(first, SAE_ERROR_NONLINEAR, 70, &written), g.err);
    sae_free(first);
    size_t live = sae_alloc_live();
    for (uint64_t i = 1;; i++) {
        sae_alloc_fail_at(i);
        int rc = write_part(dir, SAE_ERROR_NONLINEAR, 70, &written);
        sae_alloc_fail_at(0);
        ck_assert_uint_eq(sae_alloc_live(), live);
        if (rc == SAE_OK)
            break;
        ck_assert_int_eq(rc, SAE_ENOMEM);
    }
    sae_free(dir);
}
END_TEST

Suite *suite_error_parts(void)
{
    Suite *s = suite_create("error_parts");
    TCase *t = tcase_create("error_parts");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, parts_add_up);
    tcase_add_test(t, rows_asked_for);
    tcase_add_test(t, allocations);
    suite_add_tcase(s, t);
    return s;
}
