/* tests/eval/report.c - reports from hand-written CSV files. */
#include "eval/report.h"

static void put_step(sae_csv *l, const char *spec, const char *variant, double total)
{
    put_identity(l, spec, variant, 0);
    for (int k = 0; k < 4; k++)
        sae_csv_real(l, 1);
    sae_csv_real(l, total);
    sae_csv_text(l, "mse");
    sae_csv_real(l, total);
    sae_csv_end_row(l);
}

static void keep_warning(void *arg, enum sae_level level, const char *component,
                         const char *message)
{
    (void)level, (void)component;
    snprintf(arg, 256, "%s", message);
}

static void put_full_run(void)
{
    static const char *const specs[] = {"topk:k=4,n=64", "topk:k=8,n=64", "topk:k=4,n=128",
                                        "relu:l1=0.1,n=64"};
    sae_csv *m = table("metrics.csv", METRICS), *l = table("loss.csv", LOSS);
    sae_csv *f = table("features.csv", FEATURES), *s = table("saes.csv", SAES);
    for (int i = 0; i < 4; i++)
        for (int seed = 0; seed < 2; seed++) {
            const char *variant = i < 3 ? "topk" : "relu";
            put_pair(m, specs[i], variant, seed, 4.0 + 4 * (i == 1) + 0.25 * seed, 0.5 / (i + 1));
            put_metric(m, specs[i], variant, seed, "downstream.loss_recovered_zero", 0.9);
            put_metric(m, specs[i], variant, seed, "recovery.matched_cosine", 0.8 + 0.01 * i);
            for (int step = 1; step <= 5; step++) {
                put_identity(l, specs[i], variant, seed);
                for (int k = 0; k < 4; k++)
                    sae_csv_real(l, k == 0 ? step : 1.0);
                sae_csv_real(l, 1.0 / step);
                sae_csv_text(l, "mse");
                sae_csv_real(l, 1.0 / step);
                sae_csv_end_row(l);
            }
            for (int bin = -4; bin <= 0; bin++) {
                put_identity(f, specs[i], variant, seed);
                sae_csv_text(f, "sparsity");
                sae_csv_text(f, "density_log10");
                sae_csv_int(f, bin);
                sae_csv_real(f, 8 - bin * bin / 2.0);
                sae_csv_end_row(f);
            }
            sae_csv_text(s, specs[i]);
            sae_csv_text(s, i == 3 ? "relu:l1=0.1" : specs[i]);
            sae_csv_text(s, "id");
            sae_csv_text(s, variant);
            for (int k = 0; k < 7; k++)
                sae_csv_int(s, k == 2 ? (i == 2 ? 128 : 64) : 1);
            sae_csv_end_row(s);
        }
    close_table(m);
    close_table(l);
    close_table(f);
    close_table(s);
}

START_TEST(full_run)
{
    if (!have_gnuplot())
        return;
    sae_err err = {0};
    begin_run();
    put_full_run();
    save("run.json", "{\"title\": \"A title\", \"dataset\": {\"spec\": \"synthetic:d=8\"}, "
                     "\"steps\": 5, \"norm\": {\"scale\": 0.5}}");
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    static const char *const drawn[] = {"frontier", "recovered_zero", "truth_atoms", "loss_topk",
                                        "loss_relu", "density_topk", "density_relu"};
    for (size_t i = 0; i < sizeof drawn / sizeof drawn[0]; i++)
        check_figure(drawn[i], 1);
    check_figure("recovered_mean", 0); /* no such metric */
    check_figure("truth_support", 0);
    char *html = read_page(), *svg = read_text("plots/frontier.svg");
    ck_assert_ptr_nonnull(strstr(html, "<h1>A title</h1>"));
    ck_assert_ptr_nonnull(strstr(html, "<code>relu:l1=0.1</code>"));
    ck_assert_ptr_nonnull(strstr(html, "src=\"plots/frontier.svg\""));
    ck_assert_ptr_nonnull(strstr(html, "<dt>Steps</dt><dd><code>5</code>"));
    /* relu has the lowest error, 0.5 / 4 for both seeds: what is left is 0.01 over documents */
    ck_assert_ptr_nonnull(strstr(html, "<td class=\"best\">0.125 <span class=\"err\">&plusmn;&nbsp;"
                                       "0.020</span></td>"));
    /* L0 is 4 and 4.25: mean 4.125, s^2 / S = 0.125^2 with one degree of freedom, and 0.01^2: half
     * width 12.3 * 0.1254 */
    ck_assert_ptr_nonnull(strstr(html, "<td>4.1 <span class=\"err\">&plusmn;&nbsp;1.5</span>"));
    /* the other one: relu's atoms; both in the summary and in their section */
    ck_assert_int_eq(occurrences(html, "class=\"best\""), 4);
    ck_assert_ptr_nonnull(strstr(html, "<h2 id=\"recovery\">"));
    ck_assert_ptr_null(strstr(html, "<h2 id=\"probing\">")); /* not measured */
    ck_assert_int_eq(occurrences(html, "band spans the seeds"), 2);
    ck_assert_ptr_nonnull(strstr(svg, "topk, n = 128"));
    char *dat = read_text("plots/data/loss_topk.dat"); /* what differs within the variant */
    ck_assert_int_eq(strncmp(dat, "\"k=4, n=64\"\n1\t1\t1\t1\n2\t0.5\t0.5\t0.5\n", 34), 0);
    free(dat);
    free(svg);
    free(html);
}
END_TEST

/* The data of a figure: mean, and the range over seeds. */
START_TEST(figure_data)
{
    if (!have_gnuplot())
        return;
    sae_err err = {0};
    begin_run();
    sae_csv *m = table("metrics.csv", METRICS);
    put_pair(m, "topk:k=8,n=64", "topk", 0, 8, 0.25);
    put_pair(m, "topk:k=8,n=64", "topk", 1, 8, 0.75);
    put_pair(m, "topk:k=4,n=64", "topk", 0, 4, 0.875);
    close_table(m);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    char *dat = read_text("plots/data/frontier.dat");
    /* ordered by L0; one seed: 1.96 x 0.01 on both sides */
    ck_assert_str_eq(dat, "\"topk\"\n4\t3.98030689\t4.01969311\t0.875\t0.855306894\t0.894693106\n"
                          "8\t8\t8\t0.5\t0.25\t0.75\n\n\n");
    free(dat);
}
END_TEST

/* Parentheses and quotes keep their commas; a title never fills the figure. */
START_TEST(long_labels)
{
    if (!have_gnuplot())
        return;
    sae_err err = {0};
    begin_run();
    const char *const specs[] = {"v:a=lin(0,1,0,5),b=\"x,\\\"y\",c=1", "v:a=lin(0,1,0,9),b=z,c=1",
                                 "v:a=0,b=0123456789012345678901234567890123456789,c=1"};
    sae_csv *m = table("metrics.csv", METRICS), *l = table("loss.csv", LOSS);
    for (int i = 0; i < 3; i++) {
        put_pair(m, specs[i], "v", 0, 4 + i, 0.5);
        put_step(l, specs[i], "v", 1);
    }
    close_table(m);
    close_table(l);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    char *dat = read_text("plots/data/loss_v.dat");
    ck_assert_ptr_nonnull(strstr(dat, "\"a=lin(0,1,0,5), b= x,\\ y \"\n"));
    ck_assert_ptr_nonnull(strstr(dat, "\"a=lin(0,1,0,9), b=z\"\n"));
    ck_assert_ptr_nonnull(strstr(dat, "\"a=0, b=01234567890123456789012345678...\"\n"));
    free(dat);
}
END_TEST

START_TEST(special_characters)
{
    if (!have_gnuplot())
        return;
    sae_err err = {0};
    begin_run();
    const char *spec = "x\"'`<script>alert(1)</script>&:f=\"a,b\",n=1";
    sae_csv *m = table("metrics.csv", METRICS);
    put_pair(m, spec, "../../<b>'`\"$(id)\n\t\\", 0, 4, 0.5);
    put_pair(m, spec, "../../<b>'`\"$(id)\n\t\\", 1, 5, 0.25);
    put_metric(m, spec, "v", 0, "odd.<metric>&", 1.0);
    close_table(m);
    save("run.json", "{\"title\": \"<i>&amp; \\\"quoted\\\" @CSS@\", \"command\": \"a 'b' <c>\"}");
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    check_figure("frontier", 1);
    char *html = read_text("index.html");
    check_nesting(html);
    ck_assert_ptr_null(strstr(html, "<script>"));
    ck_assert_ptr_null(strstr(html, "<metric>"));
    ck_assert_ptr_nonnull(strstr(html, "&lt;i&gt;&amp;amp; &quot;quoted&quot; @CSS@</h1>"));
    ck_assert_ptr_nonnull(strstr(html, "&lt;script&gt;alert(1)&lt;/script&gt;&amp;:f=&quot;a,b"));
    free(html);
}
END_TEST

/* Only SAEs within 10 % of each other's L0 compete; numbers of at most five digits; one seed has no
 * band. */
START_TEST(one_seed)
{
#define PM " <span class=\"err\">&plusmn;&nbsp;" /* 1.9693 errors of 0.01 */
    static const struct {
        const char *spec, *cells; /* L0 and fvu */
        double l0, fvu;
    } row[] = {
        {"topk:k=8", "8.000" PM "0.020</span></td><td>0.500" PM, 7.9999, 0.5},
        {"relu:l1=1", "8.700" PM "0.020</span></td><td class=\"best\">0.400" PM, 8.7, 0.4},
        {"relu:l1=2", "9.500" PM "0.020</span></td><td>0.410" PM, 9.5, 0.41},
        {"relu:l1=3", "123.46" PM "0.02</span></td><td>0.300" PM, 123.456, 0.3},
        {"relu:l1=4", "12346</td><td>0.100" PM, 12345.6, 0.1},
    };
#undef PM
    if (!have_gnuplot())
        return;
    sae_err err = {0};
    begin_run();
    sae_csv *m = table("metrics.csv", METRICS), *l = table("loss.csv", LOSS);
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++) {
        put_pair(m, row[i].spec, i ? "relu" : "topk", 0, row[i].l0, row[i].fvu);
        put_step(l, row[i].spec, i ? "relu" : "topk", 1);
    }
    close_table(m);
    close_table(l);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    char *html = read_page();
    for (size_t i = 0; i < sizeof row / sizeof row[0]; i++)
        ck_assert_msg(strstr(html, row[i].cells) != NULL, "%s: no %s", row[i].spec, row[i].cells);
    ck_assert_int_eq(occurrences(html, "class=\"best\""), 2); /* summary and section */
    check_figure("loss_relu", 1);
    ck_assert_ptr_null(strstr(html, "band spans"));
    ck_assert_ptr_nonnull(strstr(html, "95 % intervals over documents."));
    free(html);
}
END_TEST

START_TEST(few_values)
{
    if (!have_gnuplot())
        return;
    sae_err err = {0};
    begin_run();
    sae_csv *m = table("metrics.csv", METRICS);
    close_table(m);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err); /* a header and no row */
    char *html = read_page();
    ck_assert_ptr_nonnull(strstr(html, "nothing was measured"));
    free(html);
    begin_run();
    m = table("metrics.csv", METRICS);
    put_pair(m, "topk:k=4", "topk", 0, 4, 0.5); /* one SAE only */
    put_metric(m, "topk:k=4", "topk", 0, "downstream.kl_spliced", (double)NAN);
    close_table(m);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    check_figure("frontier", 1);
    html = read_page();
    ck_assert_ptr_null(strstr(html, "class=\"best\"")); /* nothing to compare with */
    ck_assert_ptr_null(strstr(html, "kl_spliced"));
    free(html);
    begin_run();
    m = table("metrics.csv", METRICS);
    put_pair(m, "a:n=1", "a", 0, 0, 0); /* zero has no logarithm */
    put_pair(m, "b:n=1", "b", 0, 8, -0.5);
    put_pair(m, "c:n=1", "c", 0, 8, (double)NAN);
    put_pair(m, "d:n=1", "d", 0, 1e30, 1e-30);
    close_table(m);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    check_figure("frontier", 1);
    html = read_page();
    ck_assert_ptr_nonnull(strstr(html, "&ndash;"));
    free(html);
}
END_TEST

START_TEST(many_lines)
{
    if (!have_gnuplot())
        return;
    sae_err err = {0};
    begin_run();
    sae_csv *m = table("metrics.csv", METRICS), *l = table("loss.csv", LOSS);
    for (int i = 0; i < 50; i++) {
        char spec[32];
        snprintf(spec, sizeof spec, "v:k=%d", i);
        put_pair(m, spec, "v", 0, 1 + i, 1.0 / (1 + i));
        put_step(l, spec, "v", 1 + i);
    }
    close_table(m);
    close_table(l);
    ck_assert_ok(sae_report_write(dir, NULL, &err), err);
    check_figure("loss_v", 1);
    char *html = read_page();
    ck_assert_ptr_nonnull(strstr(html, "2 more lines do not fit in."));
    free(html);
}
END_TEST

START_TEST(without_gnuplot)
{
    sae_err err = {0};
    sae_report_options o = {.gnuplot = "no-such-gnuplot"};
    begin_run();
    put_full_run();
    char warning[256] = "";
    sae_log_to(keep_warning, warning, SAE_LOG_WARN);
    ck_assert_ok(sae_report_write(dir, &o, &err), err);
    ck_assert_ptr_nonnull(strstr(warning, "plots need gnuplot, but 'no-such-gnuplot'"));
    ck_assert_ptr_null(strchr(warning, '\n'));
    char *html = read_page();
    ck_assert_ptr_nonnull(strstr(html, "No plots: plots need gnuplot"));
    ck_assert_ptr_null(strstr(html, "<img"));
    ck_assert_ptr_nonnull(strstr(html, "<code>relu:l1=0.1</code>"));
    free(html);
    err = (sae_err){0};
    o.gnuplot = "false"; /* ends with failure and says nothing */
    ck_assert_int_eq(sae_report_write(dir, &o, &err), SAE_EBACKEND);
}
END_TEST

START_TEST(refusals)
{
    sae_err err = {0};
    begin_run();
    ck_assert_int_eq(sae_report_write(dir, NULL, &err), SAE_EIO); /* no metrics.csv */
    save("metrics.csv", "spec,variant,seed\n");
    err = (sae_err){0};
    ck_assert_int_eq(sae_report_write(dir, NULL, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "metrics.csv: no column 'dataset'"));
    save("metrics.csv", METRICS "\na,a,0,x,,m,1,,1,1,h\na,a,0,y,,m,1,,1,1,h\n");
    err = (sae_err){0};
    ck_assert_int_eq(sae_report_write(dir, NULL, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "row 2: one dataset and hook"));
    save("metrics.csv", METRICS "\na,a,0,x,,m,1,,1,1,h\n");
    save("run.json", "{");
    err = (sae_err){0};
    ck_assert_int_eq(sae_report_write(dir, NULL, &err), SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "run.json: line 1"));
}
END_TEST

Suite *suite_report(void);
Suite *suite_report(void)
{
    Suite *s = suite_create("report");
    TCase *c = tcase_create("report");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, full_run);
    tcase_add_test(c, figure_data);
    tcase_add_test(c, long_labels);
    tcase_add_test(c, special_characters);
    tcase_add_test(c, one_seed);
    tcase_add_test(c, few_values);
    tcase_add_test(c, many_lines);
    tcase_add_test(c, without_gnuplot);
    tcase_add_test(c, refusals);
    suite_add_tcase(s, c);
    return s;
}
