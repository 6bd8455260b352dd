/* tests/eval/intervals.c - confidence intervals of reports. */
#include "core/file.h"
#include "core/student.h"
#include "report/compare.h"
#include "report/interval.h"
#include "run/deviations.h"
#include "support/support.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Tables of the t distribution, and its closed forms at 1 and 2 degrees of freedom. */
START_TEST(student)
{
    static const double table[][3] = {
        /* p, df, t */
        {0.975, 1, 12.706205}, {0.975, 2, 4.302653},  {0.975, 10, 2.228139}, {0.975, 255, 1.969311},
        {0.8, 5, 0.919544},    {0.995, 30, 2.749996}, {0.975, 1e9, 1.959964}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        ck_assert_double_eq_tol(sae_student_quantile(table[i][0], table[i][1]), table[i][2], 5e-7);
    for (double t = -20; t <= 20; t += 0.37) {
        ck_assert_double_eq_tol(sae_student_cdf(t, 1), 0.5 + atan(t) / acos(-1), 1e-12);
        ck_assert_double_eq_tol(sae_student_cdf(t, 2), 0.5 + t / (2 * sqrt(2 + t * t)), 1e-12);
    }
    ck_assert_double_eq_tol(sae_student_quantile(0.1, 3.5), -sae_student_quantile(0.9, 3.5), 1e-12);
    for (double df = 0.7; df < 300; df *= 1.7) /* the quantile is the inverse */
        ck_assert_double_eq_tol(sae_student_cdf(sae_student_quantile(0.83, df), df), 0.83, 1e-11);
}
END_TEST

static const char *dir;

static void save(const char *name, const char *text)
{
    char path[512];
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(sae_file_write(path, text, strlen(text), &err), err);
}

/* Two SAEs, two seeds, two metrics: "f.a" with deviations in three groups, "f.b" without. */
static void open_data(sae_report_data *d, const double deviation[4][3])
{
    sae_err err = {0};
    sae_deviations w;
    char path[512];
    dir = test_dir();
    save("metrics.csv", "spec,variant,seed,dataset,hook,metric,value,se,count,unit,better\n"
                        "a,v,0,d,,f.a,1,0.1,9,1,lower\na,v,1,d,,f.a,2,0.1,9,1,lower\n"
                        "b,v,0,d,,f.a,4,0.1,9,1,lower\nb,v,1,d,,f.a,6,0.1,9,1,lower\n"
                        "a,v,0,d,,f.b,1,0.3,9,1,lower\na,v,1,d,,f.b,1,0.4,9,1,lower\n");
    snprintf(path, sizeof path, "%s/deviations.npy", dir);
    sae_out out;
    ck_assert_ok(sae_out_open(&out, path, &err), err);
    ck_assert_ok(sae_deviations_header(&out, 6, &err), err);
    snprintf(path, sizeof path, "%s/rows", dir);
    ck_assert_ok(sae_deviations_open(&w, path, &err), err);
    for (int i = 0; i < 6; i++) {
        double all[SAE_GROUPS];
        for (int g = 0; g < SAE_GROUPS; g++)
            all[g] = g < 3 && i < 4 ? deviation[i][g] : (double)NAN;
        ck_assert_ok(sae_deviations_next(&w, &err), err);
        if (i < 4)
            sae_deviations_set(&w, all);
    }
    ck_assert_ok(sae_deviations_commit(&w, &err), err);
    sae_map m;
    ck_assert_ok(sae_map_open(&m, path, &err), err);
    ck_assert_uint_eq(m.bytes, 6 * SAE_GROUPS * sizeof(float));
    ck_assert_ok(sae_out_write(&out, m.p, m.bytes, &err), err);
    sae_map_close(&m);
    ck_assert_ok(sae_out_commit(&out, &err), err);
    ck_assert_ok(sae_report_data_open(d, dir, 0, &err), err);
}

/* compare.html: every metric of both, the difference, and what it says. */
START_TEST(comparison)
{
    static const double deviation[4][3] = {
        {0.5, -0.25, -0.25}, {0.5, -0.25, -0.25}, {0.5, -0.25, -0.25}, {1, -0.75, -0.25}};
    static const char *const names[] = {"a", "b", NULL};
    static const char *const one[] = {"a", NULL}, *const wrong[] = {"a", "c", NULL};
    sae_report_data d;
    sae_err err = {0};
    char path[512];
    open_data(&d, deviation);
    for (int told = 0; told < 2; told++) {
        if (told) /* seeds that agree: what is left is 0.29 over documents */
            d.cell[0].square = d.cell[d.metric_count].square = 0;
        ck_assert_ok(sae_compare_write(&d, names, dir, &err), err);
        snprintf(path, sizeof path, "%s/compare.html", dir);
        sae_map m;
        ck_assert_ok(sae_map_open(&m, path, &err), err);
        const char *page = (const char *)m.p, *row = strstr(page, "<code>f.a</code></th><td>");
        ck_assert_ptr_nonnull(row);
        const char *says = strstr(row, told ? ">worse<" : ">not separated<");
        ck_assert(says && says < strstr(row, "</tr>"));
        ck_assert_ptr_nonnull(strstr(page, "<td>3.5"));
        ck_assert_ptr_nonnull(strstr(page, "&ndash;")); /* b has no f.b */
        sae_map_close(&m);
    }
    ck_assert_int_eq(sae_compare_write(&d, one, dir, &err), SAE_EINVAL);
    err = (sae_err){0};
    ck_assert_int_eq(sae_compare_write(&d, wrong, dir, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "--compare c: the run has no such SAE"));
    sae_report_data_close(&d);
}
END_TEST

START_TEST(seeds_and_documents)
{
    /* powers of two: exact as float. What documents do is the same to both SAEs, but for 0.25 */
    static const double deviation[4][3] = {
        {0.5, -0.25, -0.25}, {0.5, -0.25, -0.25}, {0.5, -0.25, -0.25}, {1, -0.75, -0.25}};
    sae_report_data d;
    open_data(&d, deviation);
    const sae_cell *a = sae_report_cell(&d, 0, "f.a"), *b = sae_report_cell(&d, 1, "f.a");
    sae_bounds of_a = sae_bounds_of(&d, a);
    double seeds = 0.25, documents = 2.0 / 3 * (0.25 + 0.0625 + 0.0625); /* s^2 / S, jackknife */
    ck_assert_double_eq_tol(of_a.error, sqrt(seeds + documents), 1e-12);
    double df = pow(seeds + documents, 2) / (seeds * seeds + documents * documents / 2);
    ck_assert_double_eq_tol(of_a.df, df, 1e-12);
    ck_assert_double_eq_tol(of_a.half, sae_student_quantile(0.975, df) * of_a.error, 1e-12);
    sae_bounds diff = sae_bounds_of_difference(&d, b, a);
    ck_assert_double_eq(diff.value, 3.5);
    ck_assert(diff.paired);
    /* means of deviations differ by 0.25, -0.25, 0; the seeds' variances 0.25 and 1 add up */
    documents = 2.0 / 3 * (0.0625 + 0.0625);
    ck_assert_double_eq_tol(diff.error, sqrt(1.25 + documents), 1e-12);
    ck_assert_double_eq_tol(
        sae_detectable(&diff),
        (sae_student_quantile(0.975, diff.df) + sae_student_quantile(0.8, diff.df)) * diff.error,
        1e-12);
    /* without deviations: the mean of the squared errors */
    sae_bounds of_b = sae_bounds_of(&d, sae_report_cell(&d, 0, "f.b"));
    ck_assert_double_eq_tol(of_b.error, sqrt((0.09 + 0.16) / 2), 1e-12);
    sae_report_data_close(&d);
    save("deviations.npy", "short");
    sae_err err = {0};
    ck_assert_int_eq(sae_report_data_open(&d, dir, 0, &err), SAE_EFORMAT);
}
END_TEST

Suite *suite_intervals(void)
{
    Suite *s = suite_create("intervals");
    TCase *t = tcase_create("intervals");
    tcase_add_test(t, student);
    tcase_add_test(t, comparison);
    tcase_add_test(t, seeds_and_documents);
    suite_add_tcase(s, t);
    return s;
}
