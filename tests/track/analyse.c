/* tests/track/analyse.c - change points and alerts from night to night. */
#include "track/analyse.h"

#include "core/memory.h"
#include "track/alert.h"
#include "track/nights.h"

#include <math.h>
#include <stdlib.h>

static sae_analysis analyse(sae_store *s, int64_t now)
{
    sae_analysis n;
    sae_err err = {0};
    ck_assert_ok(sae_analyse(s, "main", now, &n, &err), err);
    return n;
}

static double wobble(int i)
{
    return 0.2 * ((i * 7) % 11 - 5) / 5.0;
}

/* 100 until night `at`, then `then`, with a little noise. */
static void add_step(sae_store *s, const char *host, const char *bench, int from, int to, int at,
                     double then)
{
    for (int i = from; i < to; i++) {
        night_value v = {bench, "real_time", 0, (i < at ? 100 : then) + wobble(i)};
        add_night(s, host, i, &v, 1, NULL);
    }
}

static const char live[] =
    "SELECT e.bench||' '||b.git_sha||' '||c.algo FROM changepoint c JOIN series e"
    " ON e.id=c.series_id JOIN run r ON r.id=c.run_id JOIN build b ON b.id=r.build_id"
    " WHERE c.retired_at IS NULL ORDER BY 1";

START_TEST(a_slow_commit)
{
    sae_store *s = store_in_memory();
    add_step(s, "h", "f/1", 0, 40, 30, 106);
    add_step(s, "h", "f/2", 0, 40, 30, 108);
    add_step(s, "h", "g", 0, 40, 99, 0);
    sae_analysis n = analyse(s, 5000);
    ck_assert_int_eq(n.series, 3);
    ck_assert_int_eq(n.alerts, 1); /* one family, one range of commits: one alert */
    ck_assert_str_eq(sql_text(s, live), "f/1 abc001e edivisive|f/2 abc001e edivisive");
    ck_assert_str_eq(sql_text(s, "SELECT kind||' '||state||' '||title FROM alert"),
                     "regression detected f/1:real_time +6 % (worse) at abc001e");
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM alert_item"), 2);
    ck_assert_int_eq(sql_int(s, "SELECT seq_hi-seq_lo FROM alert"), A_DAY);
    /* Nothing new: nothing changes. */
    n = analyse(s, 6000);
    ck_assert_int_eq(n.alerts, 0);
    ck_assert_int_eq(n.retired, 0);
    ck_assert_int_eq(sql_int(s, "SELECT max(detected_at) FROM changepoint"), 5000);
    sae_store_close(&s);
}
END_TEST

/* The order of imports is not in the answer, nor is the machine's name or another machine. */
START_TEST(any_order)
{
    char first[4096];
    for (int k = 0; k < 3; k++) {
        sae_store *s = store_in_memory();
        for (int j = 0; j < 40; j++) {
            int i = k == 0 ? j : k == 1 ? 39 - j : (j * 17) % 40;
            night_value v = {"f", "real_time", 0, (i < 30 ? 100 : 107) + wobble(i)};
            add_night(s, "h", i, &v, 1, NULL);
            v.value = 50 - 10 * (i > 20) + wobble(i);
            add_night(s, "other", i, &v, 1, NULL);
        }
        analyse(s, 5000);
        const char *text = sql_text(s, "SELECT m.hostname||b.git_sha||c.p_value||c.median_right||"
                                       "ifnull(a.uuid,'') FROM changepoint c JOIN run r ON"
                                       " r.id=c.run_id JOIN build b ON b.id=r.build_id JOIN machine"
                                       " m ON m.id=r.machine_id LEFT JOIN alert_item i ON"
                                       " i.changepoint_id=c.id LEFT JOIN alert a ON"
                                       " a.id=i.alert_id ORDER BY 1");
        if (k == 0)
            snprintf(first, sizeof first, "%s", text);
        ck_assert_str_eq(text, first);
        ck_assert_ptr_nonnull(strstr(first, "habc001e"));
        ck_assert_ptr_nonnull(strstr(first, "otherabc0015"));
        sae_store_close(&s);
    }
}
END_TEST

/* Night by night: suspected at once, certain later, one alert all the way. */
START_TEST(night_by_night)
{
    sae_store *s = store_in_memory();
    int64_t alerts = 0;
    add_step(s, "h", "f", 0, 29, 99, 0);
    for (int i = 29; i < 45; i++) {
        add_step(s, "h", "f", i, i + 1, 30, 110);
        alerts += analyse(s, 5000 + i).alerts;
        if (i == 30)
            ck_assert_str_eq(sql_text(s, live), "f abc001e night");
        ck_assert_int_eq(alerts, i >= 30);
    }
    ck_assert_str_eq(sql_text(s, live), "f abc001e edivisive");
    ck_assert_str_eq(sql_text(s, "SELECT state FROM alert"), "detected");
    sae_store_close(&s);
}
END_TEST

/* One bad night is forgotten, and its point is marked. */
START_TEST(one_bad_night)
{
    sae_store *s = store_in_memory();
    add_step(s, "h", "f", 0, 30, 99, 0);
    night_value v = {"f", "real_time", 0, 130};
    add_night(s, "h", 30, &v, 1, NULL);
    ck_assert_int_eq(analyse(s, 1).alerts, 1);
    for (int i = 31; i < 36; i++) {
        add_step(s, "h", "f", i, i + 1, 99, 0);
        analyse(s, i);
    }
    ck_assert_str_eq(sql_text(s, live), "");
    ck_assert_str_eq(sql_text(s, "SELECT state FROM alert"), "expired");
    ck_assert_int_eq(sql_int(s, "SELECT sum(hampel) FROM point"), 1);
    sae_store_close(&s);
}
END_TEST

START_TEST(better_is_not_worse)
{
    sae_store *s = store_in_memory();
    sae_err err = {0};
    add_step(s, "h", "f", 0, 40, 30, 80);
    analyse(s, 5000);
    ck_assert_str_eq(sql_text(s, "SELECT kind FROM alert"), "improvement");
    /* Nor is a metric that nobody gates an alert. */
    for (int i = 0; i < 40; i++) {
        night_value v = {"k", "cpu_time", 0, (i < 30 ? 100 : 150) + wobble(i)};
        add_night(s, "h", i, &v, 1, NULL);
    }
    ck_assert_int_eq(analyse(s, 6000).alerts, 0);
    ck_assert_str_eq(sql_text(s, live), "f abc001e edivisive|k abc001e edivisive");
    ck_assert_ok(sae_store_check(s, &err), err);
    sae_store_close(&s);
}
END_TEST

/* When the canary moves, the machine did: no alert about the product. */
START_TEST(canary)
{
    sae_store *s = store_in_memory();
    for (int i = 0; i < 40; i++) {
        double level = i < 30 ? 100 : 107;
        night_value v[] = {{"calibration/integer", "real_time", 0, level + wobble(i)},
                           {"f", "real_time", 0, level + wobble(i)},
                           {"g", "real_time", 0, 100 + wobble(i)}};
        add_night(s, "h", i, v, 3, NULL);
    }
    ck_assert_int_eq(analyse(s, 5000).alerts, 1);
    ck_assert_str_eq(sql_text(s, "SELECT kind FROM alert"), "infra");
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM alert_item"), 2);
    sae_store_close(&s);
}
END_TEST

START_TEST(exact_and_quality)
{
    sae_store *s = store_in_memory();
    for (int i = 0; i < 12; i++) {
        night_value v[] = {{"topk", "weights.sha256", 0, i < 5 ? 77 : 78},
                           {"topk", "reconstruction.fvu", 0, i < 8 ? 0.1 : 0.102},
                           {"topk", "reconstruction.fvu", 1, i < 8 ? 0.3 : 0.3045},
                           /* 0.3 % a night: noticed when 0.5 % have come together */
                           {"topk", "reconstruction.cosine", 0, 0.9 * (1 - 0.003 * i)}};
        add_night(s, "h", i, v, 4, NULL);
        night_value c = {"f", "allocs_per_iter", 0, i < 6 ? 3 : 4};
        add_night(s, "h", i, &c, 1, NULL);
    }
    analyse(s, 5000);
    ck_assert_str_eq(sql_text(s, "SELECT e.metric||c.run_id||' '||round(c.rel_change,4) FROM"
                                 " changepoint c JOIN series e ON e.id=c.series_id"
                                 " WHERE e.metric<>'reconstruction.cosine' ORDER BY 1"),
                     "allocs_per_iter14 0.3333|reconstruction.fvu17 0.0175|weights.sha25611 0.0");
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM changepoint c JOIN series e ON"
                                " e.id=c.series_id WHERE e.metric='reconstruction.cosine'"), 5);
    ck_assert_str_eq(sql_text(s, "SELECT DISTINCT kind FROM alert ORDER BY 1"),
                     "hash|quality|regression");
    sae_store_close(&s);
}
END_TEST

START_TEST(missing)
{
    sae_store *s = store_in_memory();
    night_value v[] = {{"f", "real_time", 0, 1}, {"g", "real_time", 0, 1}};
    for (int i = 0; i < 3; i++)
        add_night(s, "h", i, v, 2, NULL);
    night_value q = {"topk", "reconstruction.fvu", 0, 1}; /* another kind of night */
    add_night(s, "h", 3, &q, 1, NULL);
    ck_assert_int_eq(analyse(s, 1).alerts, 0);
    add_night(s, "h", 4, v, 1, NULL);
    ck_assert_int_eq(analyse(s, 2).alerts, 1);
    ck_assert_int_eq(analyse(s, 3).alerts, 0);
    ck_assert_str_eq(sql_text(s, "SELECT kind||title FROM alert"),
                     "missingg is missing or failed");
    sae_store_close(&s);
}
END_TEST

/* ---- life of an alert ------------------------------------------------------------------------ */

static int move(sae_store *s, const char *to, const char *note)
{
    sae_err err = {0};
    int rc = sae_alert_move(s, 1, to, "me", note, 7000, &err);
    ck_assert(rc >= 0 || err.msg[0]);
    return rc;
}

START_TEST(steps_of_an_alert)
{
    sae_store *s = store_in_memory();
    ck_assert_int_eq(move(s, "confirmed", ""), SAE_EINVAL); /* there is none */
    add_step(s, "h", "f", 0, 40, 30, 110);
    analyse(s, 5000);
    ck_assert_int_eq(move(s, "verified", ""), SAE_EINVAL);
    ck_assert_int_eq(move(s, "invalid", ""), SAE_EINVAL); /* why? */
    ck_assert_int_eq(move(s, "confirmed", ""), SAE_OK);
    ck_assert_int_eq(move(s, "fixed", "reverted"), SAE_OK);
    /* The next nights decide: not back, then back. */
    int64_t at = NIGHT_ONE + 39 * (int64_t)A_DAY;
    sae_err err = {0};
    ck_assert_ok(
        sae_sql_run(s, &err, "UPDATE alert_event SET at=? WHERE to_state='fixed'", "i", at), err);
    add_step(s, "h", "f", 40, 43, 0, 110);
    analyse(s, 8000);
    ck_assert_str_eq(sql_text(s, "SELECT state FROM alert"), "confirmed");
    ck_assert_int_eq(move(s, "fixed", "reverted, really"), SAE_OK);
    ck_assert_ok(sae_sql_run(s, &err, "UPDATE alert_event SET at=? WHERE id=(SELECT max(id) FROM"
                             " alert_event)", "i", at + 3 * (int64_t)A_DAY), err);
    add_step(s, "h", "f", 43, 46, 99, 0);
    analyse(s, 9000);
    ck_assert_str_eq(sql_text(s, "SELECT state FROM alert WHERE id=1"), "verified");
    ck_assert_str_eq(sql_text(s, "SELECT ifnull(from_state,'')||'>'||to_state FROM alert_event"
                                 " WHERE alert_id=1 ORDER BY id"),
                     ">detected|detected>confirmed|confirmed>fixed|fixed>confirmed|"
                     "confirmed>fixed|fixed>verified");
    sae_store_close(&s);
}
END_TEST

START_TEST(acknowledged)
{
    sae_store *s = store_in_memory();
    add_step(s, "h", "f", 0, 40, 30, 110);
    analyse(s, 5000);
    ck_assert_int_eq(move(s, "acknowledged", "needed for correctness"), SAE_OK);
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM annotation WHERE kind='new_baseline'"), 1);
    sae_analysis n = analyse(s, 6000);
    ck_assert_int_eq(n.found, 0);   /* the level before is not looked at any more */
    ck_assert_int_eq(n.retired, 1); /* the change is the baseline's first night */
    ck_assert_int_eq(n.alerts, 0);
    sae_store_close(&s);
}
END_TEST

START_TEST(ab_answers)
{
    static const struct {
        int confirmed, tries;
        const char *state;
    } cases[] = {{1, 1, "confirmed"}, {0, 1, "invalid"}, {-1, 1, "detected"}, {-1, 3, "expired"}};
    for (size_t i = 0; i < 4; i++) {
        sae_store *s = store_in_memory();
        sae_err err = {0};
        add_step(s, "h", "f", 0, 40, 30, 110);
        analyse(s, 5000);
        for (int k = 0; k < cases[i].tries; k++) {
            const sae_alert_answer a = {"f", "cpu_time", 1.1, 1.08, INFINITY, cases[i].confirmed};
            const sae_alert_answer other = {"f", "total_allocated_bytes", 1, 1, 1, 0};
            ck_assert_ok(sae_alert_measured(s, 1, &a, &err), err);
            ck_assert_ok(sae_alert_measured(s, 1, &other, &err), err);
            ck_assert_ok(sae_alert_judge(s, 1, 7000 + k, &err), err);
        }
        ck_assert_str_eq(sql_text(s, "SELECT state FROM alert"), cases[i].state);
        ck_assert_double_eq(sql_real(s, "SELECT ab_ratio FROM alert_item"), 1.1);
        sae_store_close(&s);
    }
}
END_TEST

/* What a bisection asks and answers. */
START_TEST(narrowed)
{
    enum { LO = NIGHT_ONE + 29 * A_DAY, HI = LO + A_DAY };
    static const struct {
        const char *bench, *metric;
        int yes;
    } has[] = {{"f.x/(1)", "real_time", 1}, {"f.x/(1)", "cpu_time", 1}, {"f.x/(2)", "real_time", 1},
               {"f.x/(1)", "allocs_per_iter", 0}, {"f.x/1", "real_time", 0}};
    sae_store *s = store_in_memory();
    sae_err err = {0};
    char *regex = NULL;
    int64_t seq;
    int yes;
    add_step(s, "h", "f.x/(1)", 0, 40, 30, 110);
    add_step(s, "h", "f.x/(2)", 0, 40, 30, 110);
    analyse(s, 5000);
    ck_assert_ok(sae_alert_filter(s, 1, &regex, &err), err);
    ck_assert_str_eq(regex, "^(f\\.x/\\(1\\)|f\\.x/\\(2\\))$");
    sae_free(regex);
    for (size_t i = 0; i < sizeof has / sizeof has[0]; i++) {
        ck_assert_ok(sae_alert_has(s, 1, has[i].bench, has[i].metric, &yes, &err), err);
        ck_assert_int_eq(yes, has[i].yes);
    }
    ck_assert_ok(sae_import_commit(s, "main", "feed1", NULL, LO + 100, &seq, &err), err);
    ck_assert_ok(sae_import_commit(s, "main", "feed2", NULL, LO + 200, &seq, &err), err);
    ck_assert_ok(sae_alert_narrow(s, 1, LO + 100, LO + 200, "Ann", "me", 6000, &err), err);
    ck_assert_str_eq(sql_text(s, "SELECT actor||':'||note FROM alert_event WHERE to_state IS NULL"),
                     "me:after feed1, up to feed2");
    ck_assert_int_eq(sae_alert_narrow(s, 1, LO, HI, "Bob", "me", 6100, &err), SAE_EINVAL);
    ck_assert_int_eq(sae_alert_narrow(s, 2, LO, HI, "Bob", "me", 6100, &err), SAE_EINVAL);
    analyse(s, 6200); /* keeps it */
    ck_assert_str_eq(sql_text(s, "SELECT (seq_hi-seq_lo)||owner FROM alert"), "100Ann");
    err = (sae_err){0};
    ck_assert_ok(sae_alert_move(s, 1, "acknowledged", "me", "needed", 6300, &err), err);
    ck_assert_int_eq(sql_int(s, "SELECT max(seq) FROM annotation"), LO + 200); /* baseline */
    sae_store_close(&s);
}
END_TEST

/* ---- much of it ------------------------------------------------------------------------------ */

/* 500 series over two years: the steps that are there, and nothing else. */
START_TEST(two_years)
{
    sae_store *s = store_in_memory();
    sae_err err = {0};
    night_value v[500];
    char name[500][40];
    for (int i = 0; i < 500; i++) {
        snprintf(name[i], sizeof name[0], "family%d/%d", i / 10, i);
        v[i] = (night_value){name[i], "real_time", 0, 100};
    }
    add_night(s, "h", 0, v, 500, NULL);
    ck_assert_ok(sae_sql_run(
        s, &err, "INSERT INTO build(fingerprint,git_sha,git_dirty,tree_sha256,compiler,cflags,blas,"
        "binary_sha256,info_json) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n"
        " WHERE i<729) SELECT 'p'||i,printf('%07x',i),0,'','','','','','{}' FROM n", ""), err);
    ck_assert_ok(sae_sql_run(s, &err, "INSERT INTO commit_order SELECT 'main',git_sha,"
                             "1700000000+86400*id,NULL,1 FROM build WHERE id>1", ""), err);
    ck_assert_ok(sae_sql_run(s, &err, "INSERT INTO run(uuid,machine_id,build_id,branch,kind,"
                             "started_at,status,env_json) SELECT 'u'||id,1,id,'main','nightly',"
                             "1700000000+86400*id,'ok','{}' FROM build WHERE id>1", ""), err);
    ck_assert_ok(sae_sql_run(
        s, &err, "INSERT INTO point SELECT e.id,r.id,1,1,100+5*(e.id%7=0 AND r.id>700)"
        "+((r.id*31+e.id*17)%101)/101.0,0,0,NULL,NULL,NULL,NULL,0 FROM series e,run r"
        " WHERE r.id>1", ""), err);
    sae_analysis n = analyse(s, 5000);
    ck_assert_int_eq(n.series, 500);
    ck_assert_int_eq(sql_int(s, "SELECT count(DISTINCT series_id) FROM changepoint"
                                " WHERE retired_at IS NULL AND algo='edivisive'"), 71);
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM changepoint WHERE retired_at IS NULL"), 71);
    sae_store_close(&s);
}
END_TEST

Suite *suite_analyse(void);
Suite *suite_analyse(void)
{
    Suite *s = suite_create("analyse");
    TCase *c = tcase_create("analyse");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, a_slow_commit);
    tcase_add_test(c, any_order);
    tcase_add_test(c, night_by_night);
    tcase_add_test(c, one_bad_night);
    tcase_add_test(c, better_is_not_worse);
    tcase_add_test(c, canary);
    tcase_add_test(c, exact_and_quality);
    tcase_add_test(c, missing);
    tcase_add_test(c, steps_of_an_alert);
    tcase_add_test(c, acknowledged);
    tcase_add_test(c, ab_answers);
    tcase_add_test(c, narrowed);
    tcase_add_test(c, two_years);
    suite_add_tcase(s, c);
    return s;
}
