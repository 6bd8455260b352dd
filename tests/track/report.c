/* tests/track/report.c - the report of odd stores: strangers' names, short series, no gnuplot. */
#include "track/report.h"

#include "core/file.h"
#include "core/memory.h"
#include "track/analyse.h"
#include "track/nights.h"

#include <math.h>

static void analyse(sae_store *s)
{
    sae_analysis n;
    sae_err err = {0};
    ck_assert_ok(sae_analyse(s, "main", 5000, &n, &err), err);
}

/* The report's directory; its text summary in *text (free it). */
static const char *report(sae_store *s, const char *gnuplot, int expected, char **text)
{
    static char dir[512];
    sae_standings a;
    sae_err err = {0};
    snprintf(dir, sizeof dir, "%s/site", test_dir());
    ck_assert_ok(sae_standings_open(&a, s, "main", &err), err);
    int rc = sae_track_report(&a, s, "main", dir, gnuplot, &err);
    ck_assert_msg(rc == expected, "status %d: %s", rc, err.msg);
    *text = sae_track_text(&a);
    ck_assert_ptr_nonnull(*text);
    sae_standings_close(&a);
    return dir;
}

static int contains(const char *dir, const char *name, const char *what)
{
    char path[600];
    sae_map m;
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ck_assert_ok(sae_map_open(&m, path, &err), err);
    size_t len = strlen(what);
    int found = 0;
    for (size_t i = 0; i + len <= m.bytes && !found; i++)
        found = !memcmp(m.p + i, what, len);
    sae_map_close(&m);
    return found;
}

START_TEST(names_of_strangers)
{
    sae_store *s = store_in_memory();
    char *text;
    night_value v = {"<script>\"x\" & 'y'</script>/1", "real_time", 0, 1};
    for (int i = 0; i < 9; i++)
        add_night(s, "<h>", i, &v, 1, NULL);
    analyse(s);
    const char *dir = report(s, "true", SAE_OK, &text);
    sae_free(text);
    ck_assert_int_eq(contains(dir, "index.html", "<script>"), 0);
    ck_assert_int_eq(contains(dir, "index.html", "&lt;script&gt;&quot;x&quot; &amp; &#39;y"), 1);
    ck_assert_int_eq(contains(dir, "plots/data/series_1.gp", "script"), 0);
    ck_assert_int_eq(contains(dir, "plots/data/series_1.gp", "heading = \"series 1\""), 1);
    ck_assert_int_eq(contains(dir, "report.csv", "\"<script>\"\"x\"\" & 'y'</script>/1\""), 1);
    sae_store_close(&s);
}
END_TEST

/* Series of 1 to 10 nights, constant, zero, negative, hashes; and nothing at all. */
START_TEST(short_series)
{
    char *text;
    for (int n = 0; n <= 10; n++) {
        sae_store *s = store_in_memory();
        for (int i = 0; i < n; i++) {
            night_value v[] = {{"constant", "real_time", 0, 5},
                               {"zero", "real_time", 0, 0},
                               {"negative", "net_heap_growth", 0, -3},
                               {"hash", "weights.sha256", 0, 7},
                               {"nan", "real_time", 0, (double)NAN},
                               {"inf", "real_time", 0, HUGE_VAL}};
            add_night(s, "h", i, v, 6, NULL);
        }
        analyse(s);
        const char *dir = report(s, "true", SAE_OK, &text);
        char expected[96];
        snprintf(expected, sizeof expected, "%d steady, %d young\n", n < 8 ? 0 : 4,
                 n < 8 && n > 0 ? 4 : 0);
        ck_assert_msg(strstr(text, expected), "%d nights: expected '%s' in: %s", n, expected, text);
        ck_assert_int_eq(contains(dir, "report.json", "\"series\""), 1);
        sae_free(text);
        sae_store_close(&s);
    }
}
END_TEST

/* A figure is headed by its series; a night far off stands at the frame, [100, 100.4] and 8 %. */
START_TEST(figure)
{
    sae_store *s = store_in_memory();
    char *text;
    night_value v = {"topk:auxk=0.03125,auxk_detach=1,auxk_norm=residual,auxk_scale=0,bias=1,k=3,"
                     "n=32",
                     "real_time", 0, 0};
    for (int i = 0; i < 30; i++) {
        v.value = i == 12 ? 150 : 100 + 0.1 * (i % 5);
        add_night(s, "h", i, &v, 1, NULL);
    }
    analyse(s);
    const char *dir = report(s, "true", SAE_OK, &text);
    sae_free(text);
    ck_assert_int_eq(contains(dir, "plots/data/series_1.gp",
                              "heading = \"topk:auxk=0.03125,auxk_detach=1,auxk..."
                              "al,auxk_scale=0,bias=1,k=3,n=32:real_time\""),
                     1);
    ck_assert_int_eq(contains(dir, "plots/data/series_1.gp", "set yrange [99.968:100.432]"), 1);
    ck_assert_int_eq(contains(dir, "plots/data/series_1.dat", "\n12\t100.432\n"), 1);
    sae_store_close(&s);
}
END_TEST

/* Many regressions: at most 40 lines of text and as many figures as there may be. */
START_TEST(much_to_say)
{
    sae_store *s = store_in_memory();
    char name[SAE_FIGURES_MAX + 16][24], *text;
    enum { MANY = SAE_FIGURES_MAX + 16 };
    night_value v[MANY];
    int lines = 0;
    for (int i = 0; i < 30; i++) {
        for (int k = 0; k < MANY; k++) {
            snprintf(name[k], sizeof name[0], "f%d/%d", k % 7, k);
            v[k] = (night_value){name[k], "real_time", 0, (i < 20 ? 100 : 110) + 0.01 * (i % 5)};
        }
        add_night(s, "h", i, v, MANY, NULL);
    }
    analyse(s);
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM alert"), 7);
    const char *dir = report(s, "true", SAE_OK, &text);
    for (const char *p = text; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    ck_assert_int_eq(lines, SAE_TEXT_LINES);
    char all[32];
    snprintf(all, sizeof all, "%d regression", MANY);
    ck_assert_ptr_nonnull(strstr(text, all));
    ck_assert_int_eq(contains(dir, "index.html", "16 more series have no figure"), 1);
    sae_free(text);
    sae_store_close(&s);
}
END_TEST

START_TEST(no_gnuplot)
{
    sae_store *s = store_in_memory();
    char *text;
    night_value v = {"f", "real_time", 0, 1};
    add_night(s, "h", 0, &v, 1, NULL);
    const char *dir = report(s, "/no/such/gnuplot", SAE_DONE, &text);
    sae_free(text);
    ck_assert_int_eq(contains(dir, "index.html", "No plots: plots need gnuplot"), 1);
    sae_store_close(&s);
}
END_TEST

Suite *suite_report(void);
Suite *suite_report(void)
{
    Suite *s = suite_create("report");
    TCase *c = tcase_create("report");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, names_of_strangers);
    tcase_add_test(c, short_series);
    tcase_add_test(c, figure);
    tcase_add_test(c, much_to_say);
    tcase_add_test(c, no_gnuplot);
    suite_add_tcase(s, c);
    return s;
}
