/* tests/track/store.c - the store: imports, twice, in any order, merged; bad input; two writers. */
#include "core/file.h"
#include "core/memory.h"
#include "track/nights.h"

#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

static const char sample[] =
    "{\"context\": {\"date\": \"2026-11-20T22:46:22+01:00\", \"host_name\": \"h\", \"num_cpus\": "
    "2,\n"
    "  \"caches\": [], \"json_schema_version\": 1, \"library_version\": \"v1.9.5\",\n"
    "  \"git\": \"v1.0-3-g0123456789abcdef-dirty\", \"saemark\": \"0.1.0\"},\n"
    " \"benchmarks\": [\n"
    "  {\"name\": \"f/8\", \"run_name\": \"f/8\", \"run_type\": \"iteration\", \"repetitions\": "
    "2,\n"
    "   \"repetition_index\": 0, \"threads\": 1, \"iterations\": 10, \"real_time\": 2.0,\n"
    "   \"cpu_time\": 1.5, \"time_unit\": \"us\", \"allocs_per_iter\": 3, \"other\": NaN},\n"
    "  {\"name\": \"f/8\", \"run_name\": \"f/8\", \"run_type\": \"iteration\", \"threads\": 1,\n"
    "   \"iterations\": 10, \"real_time\": 4.0, \"cpu_time\": -Infinity, \"time_unit\": \"us\"},\n"
    "  {\"name\": \"f/8_mean\", \"run_name\": \"f/8\", \"run_type\": \"aggregate\",\n"
    "   \"real_time\": 3.0, \"cpu_time\": 1.5, \"time_unit\": \"us\"},\n"
    "  {\"name\": \"f_BigO\", \"run_name\": \"f\", \"run_type\": \"aggregate\", \"big_o\": "
    "\"N\"},\n"
    "  {\"name\": \"say \\\"NaN\\\"\", \"real_time\": 1e-3, \"time_unit\": \"s\"},\n"
    "  {\"name\": \"g\", \"run_type\": \"iteration\", \"error_occurred\": true,\n"
    "   \"error_message\": \"bad\", \"real_time\": 0.0, \"cpu_time\": 0.0, \"time_unit\": "
    "\"ns\"},\n"
    "  {\"name\": \"t/threads:4\", \"threads\": 4, \"real_time\": 8, \"time_unit\": \"ms\"}]}\n";

static sae_readings read_json(const char *text)
{
    sae_readings b = {0};
    sae_err err = {0};
    ck_assert_ok(sae_readings_gbench(&b, "x.json", text, strlen(text), 0, &err), err);
    return b;
}

static double value_of(const sae_readings *b, const char *bench, const char *metric, int64_t rep)
{
    for (int64_t i = 0; i < b->sample_count; i++) {
        const sae_readings_series *e = &b->series[b->sample[i].series];
        if (!strcmp(e->bench, bench) && !strcmp(e->metric, metric) && b->sample[i].rep == rep)
            return b->sample[i].status == SAE_SAMPLE_OK ? b->sample[i].value
                                                        : 1000.0 * b->sample[i].status;
    }
    return -1;
}

START_TEST(google_benchmark_json)
{
    sae_readings b = read_json(sample);
    ck_assert_int_eq(b.sample_count, 2 * 2 + 1 + 1 + 1 + 1);
    ck_assert_double_eq(value_of(&b, "f/8", "real_time", 0), 2000);
    ck_assert_double_eq(value_of(&b, "f/8", "real_time", 1), 4000);
    ck_assert_double_eq(value_of(&b, "f/8", "cpu_time", 0), 1500);
    ck_assert_double_eq(value_of(&b, "f/8", "cpu_time", 1), 1000 * SAE_SAMPLE_INF);
    ck_assert_double_eq(value_of(&b, "f/8", "allocs_per_iter", 0), 3);
    ck_assert_double_eq(value_of(&b, "say \"NaN\"", "real_time", 0), 1e6);
    ck_assert_double_eq(value_of(&b, "g", "real_time", 0), 1000 * SAE_SAMPLE_ERROR);
    ck_assert_double_eq(value_of(&b, "t/threads:4", "real_time", 0), 8e6);
    ck_assert_int_eq(b.when, 1795211182); /* date -d 2026-11-20T21:46:22Z +%s */
    ck_assert_str_eq(b.series[b.series_count - 1].params, "{\"threads\":4}");
    sae_readings_free(&b);
    /* Without a version the times of threads are per thread: another series. */
    b = read_json("{\"benchmarks\": [{\"name\": \"t\", \"threads\": 2, \"real_time\": 1, "
                  "\"time_unit\": \"ns\"}]}");
    ck_assert_str_eq(b.series[0].params, "{\"threads\":2,\"time_per_thread\":true}");
    sae_readings_free(&b);
}
END_TEST

static void refused(const char *text, const char *expected)
{
    sae_readings b = {0};
    sae_err err = {0};
    int rc = sae_readings_gbench(&b, "x.json", text, strlen(text), 0, &err);
    ck_assert_int_eq(rc, SAE_EFORMAT);
    ck_assert_msg(strstr(err.msg, expected), "expected '%s' in: %s", expected, err.msg);
    sae_readings_free(&b);
}

START_TEST(bad_json)
{
    refused("", "x.json: empty: no benchmark ran");
    refused("{\"benchmarks\": [", "x.json: line 1");
    refused("[1, 2]", "expected Google Benchmark JSON");
    refused("{\"results\": []}", "expected Google Benchmark JSON");
    refused("{\"context\": {\"json_schema_version\": 2}, \"benchmarks\": []}",
            "json_schema_version: expected 1, found 2");
    refused("{\"benchmarks\": [3]}", "benchmarks[0]: expected an object");
    refused("{\"benchmarks\": [{\"real_time\": 1}]}", "benchmarks[0]: name: expected text");
    refused("{\"benchmarks\": [{\"name\": \"f\", \"real_time\": 1, \"time_unit\": \"min\"}]}",
            "time_unit: expected ns, us, ms or s, found \"min\"");
    refused("{\"benchmarks\": [{\"name\": \"f\", \"real_time\": \"soon\", \"time_unit\": \"s\"}]}",
            "real_time: expected a number");
    refused("{\"benchmarks\": [{\"name\": \"f\", \"real_time\": 1e999, \"time_unit\": \"s\"}]}",
            "line 1");
}
END_TEST

START_TEST(other_builds_are_other_runs)
{
    sae_readings b = read_json(sample);
    sae_err err = {0};
    static const char other[] = "{\"context\": {\"host_name\": \"h\", \"git\": \"fff\"},"
                                " \"benchmarks\": []}";
    int rc = sae_readings_gbench(&b, "y.json", other, sizeof other - 1, 1, &err);
    ck_assert_int_eq(rc, SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "y.json: git \"fff\""));
    sae_readings_free(&b);
}
END_TEST

/* ---- import ---------------------------------------------------------------------------------- */

static void import_text(sae_store *s, const char *dir, const char *text, int *status)
{
    char path[512];
    sae_err err = {0};
    sae_readings b = {0};
    sae_import how = {0};
    int64_t run;
    snprintf(path, sizeof path, "%s/in.json", dir);
    ck_assert_ok(sae_file_write(path, text, strlen(text), &err), err);
    ck_assert_ok(sae_readings_read(&b, path, 0, &err), err);
    *status = sae_import_readings(s, &b, &how, &run, &err);
    ck_assert_ok(*status, err);
    sae_readings_free(&b);
}

START_TEST(import_once)
{
    sae_store *s = store_in_memory();
    int status;
    import_text(s, test_dir(), sample, &status);
    ck_assert_int_eq(status, SAE_OK);
    int64_t changes = sqlite3_total_changes(s->db);
    import_text(s, test_dir(), sample, &status);
    ck_assert_int_eq(status, SAE_DONE);
    /* Only the lookups by fingerprint may have tried to write. */
    ck_assert_int_eq(sqlite3_total_changes(s->db), changes);
    ck_assert_str_eq(sql_text(s, "SELECT git_sha||git_dirty FROM build"), "0123456789ab1");
    ck_assert_str_eq(sql_text(s, "SELECT suite_version FROM series LIMIT 1"), "0.1.0");
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM sample"), 8);
    /* f/8: three points; its infinite repetition and the failed benchmark count for none. */
    ck_assert_str_eq(sql_text(s, "SELECT e.bench||e.metric||p.median||p.n_sample FROM point p JOIN"
                                 " series e ON e.id=p.series_id ORDER BY 1"),
                     "f/8allocs_per_iter3.01|f/8cpu_time1500.01|f/8real_time3000.02|"
                     "say \"NaN\"real_time1000000.01|t/threads:4real_time8000000.01");
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM blob"), 1);
    sae_store_close(&s);
}
END_TEST

START_TEST(points)
{
    sae_store *s = store_in_memory();
    night_value v[8];
    for (int i = 0; i < 8; i++)
        v[i] = (night_value){"f", "real_time", i, 10 + i};
    add_night(s, "h", 1, v, 8, NULL);
    ck_assert_double_eq(sql_real(s, "SELECT median FROM point"), 13.5);
    ck_assert_double_eq(sql_real(s, "SELECT mad FROM point"), 2);
    ck_assert_double_eq(sql_real(s, "SELECT p25 FROM point"), 11.75);
    /* Sign test at 8: P(X <= 0) = 1/256 < 0.025 < P(X <= 1) = 9/256: from the least to the most. */
    ck_assert_double_eq(sql_real(s, "SELECT ci_lo FROM point"), 10);
    ck_assert_double_eq(sql_real(s, "SELECT ci_hi FROM point"), 17);
    for (int i = 0; i < 2; i++)
        v[i] = (night_value){"topk:k=1", "reconstruction.fvu", i, i ? 0.5 : 0.1};
    add_night(s, "h", 2, v, 2, NULL);
    ck_assert_double_eq_tol(sql_real(s, "SELECT median FROM point WHERE n_process=2"), 0.3, 1e-15);
    ck_assert_double_eq_tol(sql_real(s, "SELECT ci_hi FROM point WHERE n_process=2"),
                            0.3 + 1.96 * 0.2, 1e-15);
    sae_store_close(&s);
}
END_TEST

START_TEST(nobody_knows_the_commit)
{
    sae_store *s = store_in_memory();
    sae_readings b = read_json("{\"context\": {\"host_name\": \"h\"}, \"benchmarks\": []}");
    sae_err err = {0};
    int64_t run;
    sae_import how = {0};
    ck_assert_int_eq(sae_import_readings(s, &b, &how, &run, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "--git SHA"));
    sae_readings_free(&b);
    sae_store_close(&s);
}
END_TEST

START_TEST(commits)
{
    /* The last one was made earlier than its parent, as after a rebase. */
    static const char log[] = "aaaaaaaaaaaaaaaaaaaa 1700000000\n"
                              "bbbbbbbbbbbbbbbbbbbb aaaaaaaaaaaaaaaaaaaa 1700000500\n"
                              "cccccccccccccccccccc bbbbbbbbbbbbbbbbbbbb 1690000000\n";
    sae_store *s = store_in_memory();
    sae_err err = {0};
    int64_t added, seq;
    ck_assert_ok(sae_import_commits(s, "main", log, sizeof log - 1, &added, &err), err);
    ck_assert_int_eq(added, 3);
    ck_assert_ok(sae_import_commits(s, "main", log, sizeof log - 1, &added, &err), err);
    ck_assert_int_eq(added, 0);
    ck_assert_str_eq(sql_text(s, "SELECT git_sha FROM commit_order ORDER BY seq"),
                     "aaaaaaaaaaaa|bbbbbbbbbbbb|cccccccccccc");
    /* An import of the same commit finds it; one of another takes the next free place. */
    ck_assert_ok(sae_import_commit(s, "main", "bbbbbbbbbbbb", NULL, 5, &seq, &err), err);
    ck_assert_int_eq(seq, 1700000500);
    ck_assert_ok(sae_import_commit(s, "main", "dddddddddddd", NULL, 1700000500, &seq, &err), err);
    ck_assert_int_eq(seq, 1700000502);
    static const char *const wrong[] = {"zz 1700000000\n", "abc\n", "abc def\n",
                                        "bbbbbbbbbbbb 1700000500\naaaaaaaaaaaa 1700000600\n"};
    for (int i = 0; i < 4; i++) {
        err = (sae_err){0};
        ck_assert_int_eq(sae_import_commits(s, "main", wrong[i], strlen(wrong[i]), &added, &err),
                         SAE_EFORMAT);
    }
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM commit_order"), 4);
    sae_store_close(&s);
}
END_TEST

START_TEST(names_of_commits)
{
    static const char log[] = "abc0 1\nabc1 2\nabc10 3\nabcdefabcdef 4\nabd 5\n";
    static const struct {
        const char *name;
        int64_t seq; /* 0: refused */
        const char *said;
    } cases[] = {
        {"abd", 5, ""},
        {"abc10", 3, ""},
        {"abc1", 2, ""}, /* a whole name, though another one begins so */
        {"abcd", 4, ""},
        {"abcdefabcdef0123456789", 4, ""},
        {"abc", 0, "several commits abc...: abc0, abc1, abc10, abcdefabcdef"},
        {"a", 0, "several commits a...: abc0, abc1, abc10, abcdefabcdef, abd"},
        {"abx", 0, "has no commit abx"},
        {"ab%", 0, "has no commit ab%"},
        {"ABD", 0, "has no commit ABD"},
    };
    sae_store *s = store_in_memory();
    sae_err err = {0};
    int64_t n;
    ck_assert_ok(sae_import_commits(s, "main", log, sizeof log - 1, &n, &err), err);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t seq = 0;
        err = (sae_err){0};
        int rc = sae_commit_find(s, "main", cases[i].name, &seq, &err);
        ck_assert_int_eq(rc, cases[i].seq ? SAE_OK : SAE_EINVAL);
        ck_assert_msg(rc < 0 || seq == cases[i].seq, "%s: place %lld", cases[i].name,
                      (long long)seq);
        ck_assert_msg(strstr(err.msg, cases[i].said), "expected '%s' in: %s", cases[i].said,
                      err.msg);
    }
    ck_assert_int_eq(sae_commit_find(s, "other", "abd", &n, &err), SAE_EINVAL);
    sae_store_close(&s);
}
END_TEST

/* Two machines' stores into one: the same as if all had been imported there. */
START_TEST(merge)
{
    char path[2][512];
    sae_store *all = store_in_memory(), *s;
    sae_err err = {0};
    int64_t runs;
    night_value v = {"f", "real_time", 0, 1};
    for (int k = 0; k < 2; k++) {
        snprintf(path[k], sizeof path[k], "%s/%d.db", test_dir(), k);
        ck_assert_ok(sae_store_open(&s, path[k], 1, &err), err);
        for (int i = 0; i < 3; i++) {
            v.value = 10 * k + i;
            add_night(s, k ? "one" : "two", i, &v, 1, NULL);
            v.value = 10 * k + 1 - i;
            if (i < 2) /* known already, with other ids */
                add_night(all, k ? "one" : "two", 1 - i, &v, 1, NULL);
        }
        sae_store_close(&s);
    }
    for (int k = 0; k < 2; k++) {
        ck_assert_ok(sae_import_store(all, path[k], &runs, &err), err);
        ck_assert_int_eq(runs, 1);
        ck_assert_ok(sae_import_store(all, path[k], &runs, &err), err);
        ck_assert_int_eq(runs, 0);
    }
    ck_assert_ok(sae_store_check(all, &err), err);
    ck_assert_str_eq(sql_text(all, "SELECT m.hostname||b.git_sha||p.median FROM point p JOIN run r"
                                   " ON r.id=p.run_id JOIN machine m ON m.id=r.machine_id JOIN"
                                   " build b ON b.id=r.build_id ORDER BY 1"),
                     "oneabc000010.0|oneabc000111.0|oneabc000212.0|"
                     "twoabc00000.0|twoabc00011.0|twoabc00022.0");
    ck_assert_int_eq(sql_int(all, "SELECT count(*) FROM series"), 2);
    sae_store_close(&all);
}
END_TEST

/* ---- what is not a store --------------------------------------------------------------------- */

static void not_opened(const char *path, int create, int code, const char *expected)
{
    sae_store *s;
    sae_err err = {0};
    ck_assert_int_eq(sae_store_open(&s, path, create, &err), code);
    ck_assert_ptr_null(s);
    ck_assert_msg(strstr(err.msg, expected), "expected '%s' in: %s", expected, err.msg);
}

static void sql_file(const char *path, const char *sql)
{
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

START_TEST(foreign_files)
{
    char path[512];
    sae_err err = {0};
    sae_store *s;
    snprintf(path, sizeof path, "%s/x.db", test_dir());
    not_opened(path, 0, SAE_EIO, "cannot open the store");
    char *text = sae_alloc(5000);
    memset(text, 'x', 4999);
    ck_assert_ok(sae_file_write(path, text, 4999, &err), err);
    sae_free(text);
    not_opened(path, 1, SAE_EFORMAT, "not a SQLite file");
    ck_assert_ok(sae_file_remove(path, &err), err);
    sql_file(path, "CREATE TABLE t(x)");
    not_opened(path, 1, SAE_EFORMAT, "not a store of saemark");
    ck_assert_ok(sae_file_remove(path, &err), err);
    ck_assert_ok(sae_store_open(&s, path, 1, &err), err);
    sae_store_close(&s);
    sql_file(path, "PRAGMA user_version=7");
    not_opened(path, 1, SAE_EFORMAT, "newer saemark: schema 7, this program knows up to 1");
    ck_assert_ok(sae_file_remove(path, &err), err);
    /* An empty file becomes a store only when one is wanted. */
    ck_assert_ok(sae_file_write(path, "", 0, &err), err);
    not_opened(path, 0, SAE_EFORMAT, "not a store of saemark");
    ck_assert_ok(sae_store_open(&s, path, 1, &err), err);
    sae_store_close(&s);
}
END_TEST

START_TEST(damage_is_noticed)
{
    char path[512], copy[520];
    sae_store *s;
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/x.db", test_dir());
    snprintf(copy, sizeof copy, "%s.copy", path);
    ck_assert_ok(sae_store_open(&s, path, 1, &err), err);
    night_value v = {"f", "real_time", 0, 1};
    for (int i = 0; i < 50; i++)
        add_night(s, "h", i, &v, 1, NULL);
    ck_assert_ok(sae_store_check(s, &err), err);
    ck_assert_ok(sae_store_backup(s, copy, &err), err);
    ck_assert_int_lt(sae_store_backup(s, copy, &err), 0);
    sae_store_close(&s);
    FILE *f = fopen(copy, "r+b");
    for (long page = 20; page < 40; page++) {
        fseek(f, page * 4096 + 8, SEEK_SET);
        fputs("damage damage damage", f);
    }
    fclose(f);
    err = (sae_err){0};
    int rc = sae_store_open(&s, copy, 0, &err);
    rc = rc < 0 ? rc : sae_store_check(s, &err);
    ck_assert_int_eq(rc, SAE_EFORMAT);
    ck_assert_ptr_nonnull(strstr(err.msg, "damaged"));
    sae_store_close(&s);
}
END_TEST

START_TEST(prune)
{
    sae_store *s = store_in_memory();
    sae_err err = {0};
    int64_t deleted;
    night_value v = {"f", "real_time", 0, 1};
    for (int i = 0; i < 60; i++)
        add_night(s, "h", i, &v, 1, NULL);
    ck_assert_ok(sae_sql_run(s, &err, "INSERT INTO changepoint(series_id,algo,algo_version,"
                             "prev_run_id,run_id,n_left,n_right,median_left,median_right,"
                             "rel_change,p_value,detected_at) SELECT 1,'x',1,r.id,r.id,1,1,1,1,1,1,"
                             "1 FROM run r JOIN build b ON b.id=r.build_id WHERE"
                             " b.git_sha='abc001e'", ""), err); /* night 30 */
    ck_assert_ok(sae_store_prune(s, NIGHT_ONE + 50ll * A_DAY, &deleted, &err), err);
    ck_assert_int_eq(deleted, 50 - 21); /* nights 0 to 49 but 20 to 40 */
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM point"), 60);
    sae_store_close(&s);
}
END_TEST

/* ---- two writers ----------------------------------------------------------------------------- */

/* Both add their nights to one file; each waits for the other. */
START_TEST(two_writers)
{
    enum { EACH = 15 };
    char path[512];
    sae_err err = {0};
    sae_store *s;
    snprintf(path, sizeof path, "%s/x.db", test_dir());
    pid_t child = fork();
    ck_assert_ok(sae_store_open(&s, path, 1, &err), err); /* both may create it */
    for (int i = 0; i < EACH; i++) {
        night_value v = {child ? "f" : "g", "real_time", 0, i};
        add_night(s, "h", 2 * i + !child, &v, 1, NULL);
    }
    sae_store_close(&s);
    if (!child)
        _exit(0);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_ok(sae_store_open(&s, path, 0, &err), err);
    ck_assert_ok(sae_store_check(s, &err), err);
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM run"), 2 * EACH);
    ck_assert_int_eq(sql_int(s, "SELECT count(*) FROM point"), 2 * EACH);
    sae_store_close(&s);
}
END_TEST

/* A writer that holds the lock for longer than anybody waits. */
START_TEST(a_writer_that_stays)
{
    char path[512];
    sae_err err = {0};
    sae_store *one, *two;
    snprintf(path, sizeof path, "%s/x.db", test_dir());
    ck_assert_ok(sae_store_open(&one, path, 1, &err), err);
    ck_assert_ok(sae_store_open(&two, path, 1, &err), err);
    sqlite3_busy_timeout(two->db, 10);
    ck_assert_ok(sae_store_begin(one, &err), err);
    ck_assert_int_eq(sae_store_begin(two, &err), SAE_EIO);
    ck_assert_ptr_nonnull(strstr(err.msg, "another program is writing"));
    ck_assert_int_eq(sql_int(two, "SELECT count(*) FROM run"), 0); /* reading goes on */
    sae_store_close(&one);
    sae_store_close(&two);
}
END_TEST

Suite *suite_store(void);
Suite *suite_store(void)
{
    Suite *s = suite_create("store");
    TCase *c = tcase_create("store");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, google_benchmark_json);
    tcase_add_test(c, bad_json);
    tcase_add_test(c, other_builds_are_other_runs);
    tcase_add_test(c, import_once);
    tcase_add_test(c, points);
    tcase_add_test(c, nobody_knows_the_commit);
    tcase_add_test(c, commits);
    tcase_add_test(c, names_of_commits);
    tcase_add_test(c, merge);
    tcase_add_test(c, foreign_files);
    tcase_add_test(c, damage_is_noticed);
    tcase_add_test(c, prune);
    tcase_add_test(c, two_writers);
    tcase_add_test(c, a_writer_that_stays);
    suite_add_tcase(s, c);
    return s;
}
