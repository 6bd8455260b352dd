/* tests/eval/breakdown.c - the power law over widths, and the file that reports write of it. */
#include "core/error.h"
#include "core/memory.h"
#include "report/breakdown.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const double widths[] = {256, 512, 1024, 2048, 4096};
enum { WIDTHS = sizeof widths / sizeof widths[0] };

static const struct {
    double c, a, m;
} laws[] = {{0.1, 2, -0.5}, {0, 3, -1.25}, {0.01, 40, -1.5}, {0.2, 1, -0.2}};

START_TEST(law_is_found)
{
    double y[WIDTHS];
    for (int i = 0; i < WIDTHS; i++)
        y[i] = laws[_i].c + laws[_i].a * pow(widths[i], laws[_i].m);
    sae_power_law f = sae_power_law_fit(widths, y, WIDTHS);
    /* the search ends when residuals are rounding; near the optimum the exponent then still moves
       by the root of that */
    ck_assert_double_eq_tol(f.m, laws[_i].m, 1e-5);
    ck_assert_double_eq_tol(f.c, laws[_i].c, 1e-5);
    ck_assert_double_eq_tol(f.a / laws[_i].a, 1, 1e-3);
    ck_assert_double_lt(f.rms, 1e-7);
}
END_TEST

START_TEST(without_a_law)
{
    const double flat[WIDTHS] = {0.3, 0.3, 0.3, 0.3, 0.3}, up[WIDTHS] = {1, 2, 3, 4, 5};
    sae_power_law f = sae_power_law_fit(widths, flat, WIDTHS);
    ck_assert(f.a >= 0 && f.m < 0);
    ck_assert_double_eq_tol(f.c + f.a * pow(256, f.m), 0.3, 1e-12);
    f = sae_power_law_fit(widths, up, WIDTHS); /* growing: nothing falls */
    ck_assert(f.a == 0 && f.c == 3);
}
END_TEST

/* A run with a recipe of five widths and one of three. */
static void write_run(const char *dir, int recipe_widths)
{
    sae_err err = {0};
    sae_csv *c;
    char *path = sae_path_join(dir, "metrics.csv");
    ck_assert_ok(sae_csv_open(&c, path, SAE_METRICS_COLUMNS, &err), err);
    for (int recipe = 0; recipe < 2; recipe++)
        for (int i = 0; i < (recipe ? 3 : recipe_widths); i++)
            for (int k = 0; k < 2; k++) {
                char spec[64];
                snprintf(spec, sizeof spec, "toy:k=%d,n=%d", recipe, (int)widths[i]);
                sae_csv_text(c, spec);
                sae_csv_text(c, "toy");
                sae_csv_int(c, 0);
                sae_csv_text(c, "data");
                sae_csv_text(c, "hook");
                sae_csv_text(c, k ? "darkmatter.fvu_nonlinear" : "darkmatter.fvu");
                sae_csv_real(c, k ? 0.06 : 0.1 + 2 * pow(widths[i], -0.5));
                sae_csv_real(c, (double)NAN);
                sae_csv_int(c, 10);
                sae_csv_text(c, "1");
                sae_csv_text(c, "0");
                sae_csv_end_row(c);
            }
    ck_assert_ok(sae_csv_close(&c, &err), err);
    sae_free(path);
}

START_TEST(file_of_a_run)
{
    sae_err err = {0};
    sae_report_data d;
    sae_table t;
    char *path = sae_path_join(test_dir(), "breakdown.csv");
    write_run(test_dir(), 3);
    ck_assert_ok(sae_report_data_open(&d, test_dir(), 0, &err), err);
    ck_assert_ok(sae_breakdown_write(&d, test_dir(), &err), err);
    sae_report_data_close(&d);
    ck_assert(!sae_file_exists(path)); /* too few widths */
    write_run(test_dir(), WIDTHS);
    ck_assert_ok(sae_report_data_open(&d, test_dir(), 0, &err), err);
    ck_assert_ok(sae_breakdown_write(&d, test_dir(), &err), err);
    sae_report_data_close(&d);
    ck_assert_ok(sae_table_open(&t, path, &err), err);
    ck_assert_int_eq(t.rows, WIDTHS);
    for (int64_t i = 0; i < WIDTHS; i++) {
        double absent = 2 * pow(widths[i], -0.5);
        ck_assert_double_eq(sae_table_real(&t, i, "n"), widths[i]);
        ck_assert_double_eq_tol(sae_table_real(&t, i, "absent"), absent, 1e-5);
        ck_assert_double_eq_tol(sae_table_real(&t, i, "linear"), 0.04, 1e-5);
        ck_assert_double_eq_tol(sae_table_real(&t, i, "nonlinear"), 0.06, 1e-12);
        ck_assert_double_eq_tol(sae_table_real(&t, i, "fitted"), sae_table_real(&t, i, "fvu"),
                                1e-7);
    }
    sae_table_close(&t);
    sae_free(path);
}
END_TEST

Suite *suite_breakdown(void)
{
    Suite *s = suite_create("breakdown");
    TCase *t = tcase_create("breakdown");
    tcase_add_loop_test(t, law_is_found, 0, sizeof laws / sizeof laws[0]);
    tcase_add_test(t, without_a_law);
    tcase_add_test(t, file_of_a_run);
    suite_add_tcase(s, t);
    return s;
}
