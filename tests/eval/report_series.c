/* tests/eval/report_series.c - figures of series, of hand-written CSV files. */
#include "eval/report.h"

static void put_series(sae_csv *f, const char *variant, const char *metric, const char *series,
                       const double *index, const double *value, int count)
{
    char spec[32];
    snprintf(spec, sizeof spec, "%s:n=8", variant);
    for (int i = 0; i < count; i++) {
        put_identity(f, spec, variant, 0);
        sae_csv_text(f, metric);
        sae_csv_text(f, series);
        sae_csv_real(f, index[i]);
        sae_csv_real(f, value[i]);
        sae_csv_end_row(f);
    }
}

static void check_data(const char *figure, const char *expected)
{
    char path[128];
    snprintf(path, sizeof path, "plots/data/%s.dat", figure);
    char *dat = read_text(path);
    ck_assert_str_eq(dat, expected);
    free(dat);
}

/* Kinds of figures that a section asks for: quantiles, a path and labels of both variants in one, a
 * map of each. */
START_TEST(kinds)
{
    if (!have_gnuplot())
        return;
    static const char *const variants[] = {"topk", "relu"};
    static const double features[] = {0, 1, 2, 3}, cosine[] = {0.5, 0.125, 0.25, 1};
    static const double labels[] = {1, 4}, auc[] = {0.75, 0.5};
    static const double more_labels[] = {1, 2, 4, 5}, means[] = {1, 0.875, 0.625, 0.75};
    static const double steps[] = {0, 1, 2}, fvu[] = {0.25, 0.5, 1}, bits[] = {8, 4, 0.5};
    sae_err err = {0};
    begin_run();
    sae_csv *m = table("metrics.csv", METRICS), *f = table("features.csv", FEATURES);
    for (int i = 0; i < 2; i++) {
        char spec[32];
        snprintf(spec, sizeof spec, "%s:n=8", variants[i]);
        put_pair(m, spec, variants[i], 0, 4 + i, 0.5);
        put_series(f, variants[i], "dictionary", "max_decoder_cosine", features, cosine, 4);
        put_series(f, variants[i], "bidirectionality", "latent_auc", labels, auc, 2);
        put_series(f, variants[i], "bidirectionality", "dim_auc", more_labels, means, 4);
        put_series(f, variants[i], "mdl", "curve_fvu", steps, fvu, 3);
        put_series(f, variants[i], "mdl", "curve_bits", steps, bits, 3);
        put_series(f, variants[i], "attribution", "attributed", features, cosine, 4);
        put_series(f, variants[i], "attribution", "removed", features, features, 4);
    }
    close_table(m);
    close_table(f);
    save("run.json", "{\"dataset\": {\"labels\": [\"a\", \"b\\t\\\"c\"]}}");
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    check_data("nearest_atom", "\"topk\"\n0.125\t0.125\t0.125\t0.125\n0.375\t0.25\t0.25\t0.25\n"
                               "0.625\t0.5\t0.5\t0.5\n0.875\t1\t1\t1\n\n\n"
                               "\"relu\"\n0.125\t0.125\t0.125\t0.125\n0.375\t0.25\t0.25\t0.25\n"
                               "0.625\t0.5\t0.5\t0.5\n0.875\t1\t1\t1\n\n\n");
    check_data("pole_auc", "\"topk\"\n0\t0.75\t0.75\t0.75\n1\t0.5\t0.5\t0.5\n\n\n"
                           "\"relu\"\n0\t0.75\t0.75\t0.75\n1\t0.5\t0.5\t0.5\n\n\n"
                           "\"topk\"\n0\t1\t1\t1\n1\t0.625\t0.625\t0.625\n\n\n"
                           "\"relu\"\n0\t1\t1\t1\n1\t0.625\t0.625\t0.625\n\n\n"
                           "0\t0.5\tb  c\n1\t0.5\t4\n"); /* names, or the label's number */
    check_data("rate_distortion", "\"topk\"\n0.25\t8\t8\t8\n0.5\t4\t4\t4\n1\t0.5\t0.5\t0.5\n\n\n"
                                  "\"relu\"\n0.25\t8\t8\t8\n0.5\t4\t4\t4\n1\t0.5\t0.5\t0.5\n\n\n");
    static const char *const drawn[] = {"nearest_atom", "pole_auc", "rate_distortion",
                                        "attributed_topk", "attributed_relu"};
    for (size_t i = 0; i < sizeof drawn / sizeof drawn[0]; i++)
        check_figure(drawn[i], 1);
    char *svg = read_text("plots/pole_auc.svg"), *html = read_page();
    ck_assert_ptr_nonnull(strstr(svg, "b  c"));
    ck_assert_int_eq(occurrences(html, "<figure class=\"wide\">"), 1);
    ck_assert_ptr_nonnull(strstr(html, "<a href=\"#dictionary\">"));
    ck_assert_ptr_null(strstr(html, "<a href=\"#probing\">"));
    free(svg);
    free(html);
}
END_TEST

/* A line that is 0 throughout says nothing of signs: it is left out, and the page says whose. */
START_TEST(left_out)
{
    if (!have_gnuplot())
        return;
    static const double features[] = {0, 1, 2}, value[] = {0.5, 0, 0.25}, zeros[] = {0, 0, 0};
    static const char *const variants[] = {"one", "two", "three"};
    sae_err err = {0};
    for (int two_sided = 0; two_sided < 2; two_sided++) {
        begin_run();
        sae_csv *m = table("metrics.csv", METRICS), *f = table("features.csv", FEATURES);
        for (int i = 0; i < 3; i++) {
            char spec[32];
            snprintf(spec, sizeof spec, "%s:n=8", variants[i]);
            put_pair(m, spec, variants[i], 0, 4 + i, 0.5);
            put_metric(m, spec, variants[i], 0, "bidirectionality.balance", 0);
            put_series(f, variants[i], "bidirectionality", "balance", features,
                       two_sided && i == 1 ? value : zeros, 3);
            put_series(f, variants[i], "dictionary", "max_decoder_cosine", features, zeros, 3);
        }
        close_table(m);
        close_table(f);
        ck_assert_ok(sae_report_write(dir, NULL, &err), err);
        check_figure("balance", two_sided);
        check_figure("nearest_atom", 1); /* zeros say something there */
        char *html = read_page();
        ck_assert_int_eq(occurrences(html, "not drawn for one, three, where every value is 0."),
                         two_sided);
        ck_assert_int_eq(
            occurrences(html, "not drawn for one, two, three, where every value is 0."),
            !two_sided);
        free(html);
    }
    check_data("balance", "\"two\"\n0.166666667\t0\t0\t0\n0.5\t0.25\t0.25\t0.25\n"
                          "0.833333333\t0.5\t0.5\t0.5\n\n\n");
}
END_TEST

/* Recipes with enough widths: areas and points of each. */
START_TEST(breakdown)
{
    if (!have_gnuplot())
        return;
    static const int widths[] = {256, 512, 1024, 2048};
    sae_err err = {0};
    begin_run();
    sae_csv *m = table("metrics.csv", METRICS);
    for (int k = 1; k <= 3; k++)
        for (int i = 0; i < (k == 3 ? 3 : 4); i++) {
            char spec[32];
            snprintf(spec, sizeof spec, "toy:k=%d,n=%d", k, widths[i]);
            put_metric(m, spec, "toy", 0, "darkmatter.fvu", 0.125 * k + 2 / sqrt(widths[i]));
            put_metric(m, spec, "toy", 0, "darkmatter.fvu_nonlinear", 0.0625);
        }
    close_table(m);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    check_figure("breakdown_toy", 1);
    check_figure("breakdown_toy_2", 1);
    check_figure("breakdown_toy_3", 0);
    char *dat = read_text("plots/data/breakdown_toy_2.dat"), *html = read_page();
    ck_assert_ptr_nonnull(strstr(dat, "\"nonlinear error\"\n256\t0\t0.0625\n"));
    ck_assert_ptr_nonnull(strstr(dat, "\n2048\t0\t0.0625\n\n\n"));
    /* 0.25 + 2 / 16; 1.9693 errors of 0.01 on either side */
    ck_assert_ptr_nonnull(strstr(dat, "\"FVU, k=2\"\n256\t0.375\t0.355306894\t0.394693106\n"));
    ck_assert_ptr_nonnull(strstr(dat, "\"nonlinear FVU\"\n256\t0.0625\t"));
    ck_assert_int_eq(occurrences(dat, "\n\n\n"), 5);
    ck_assert_int_eq(occurrences(html, "<figure class=\"wide\">"), 2);
    ck_assert_ptr_nonnull(strstr(html, "alt=\"What larger dictionaries leave over: toy (2)\""));
    free(dat);
    free(html);
}
END_TEST

/* Many figures of one kind are folded away; with as many variants no figure shows all. */
START_TEST(folded)
{
    if (!have_gnuplot())
        return;
    static const double features[] = {0, 1, 2}, value[] = {0.5, 0.125, 0.25};
    sae_err err = {0};
    begin_run();
    sae_csv *m = table("metrics.csv", METRICS), *f = table("features.csv", FEATURES);
    for (int i = 0; i < 7; i++) {
        char variant[16], spec[32];
        snprintf(variant, sizeof variant, "v%d", i);
        snprintf(spec, sizeof spec, "%s:n=8", variant);
        put_pair(m, spec, variant, 0, 4 + i, 0.5);
        put_series(f, variant, "dictionary", "max_decoder_cosine", features, value, 3);
        if (i < 6)
            put_series(f, variant, "bidirectionality", "balance", features, value, 3);
    }
    close_table(m);
    close_table(f);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    check_figure("nearest_atom", 0);
    check_figure("nearest_atom_v6", 1);
    char *html = read_page();
    ck_assert_int_eq(occurrences(html, "<details class=\"all\">"), 1);
    ck_assert_ptr_nonnull(strstr(html, "How near the nearest atom is: 7 figures</summary>"));
    ck_assert_int_eq(occurrences(html, "src=\"plots/balance_v"), 6);
    free(html);
}
END_TEST

Suite *suite_report_series(void)
{
    Suite *s = suite_create("report_series");
    TCase *c = tcase_create("report_series");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, kinds);
    tcase_add_test(c, left_out);
    tcase_add_test(c, breakdown);
    tcase_add_test(c, folded);
    suite_add_tcase(s, c);
    return s;
}
