/* tests/bench/original.c - beside the C++ library: the same registrations give the same names,
 * keys, types and values in the same order, and its own tools read our reports. */
#include "rig.h"

#include <ctype.h>

static const char compare_py[] = "/usr/share/benchmark/compare.py";

/* The C++ twin is built where libbenchmark-dev is installed. */
static const char *original(void)
{
    const char *p = program("twin-cxx");
    if (!access(p, X_OK))
        return p;
    test_skip("no C++ Google Benchmark here (libbenchmark-dev)");
    return NULL;
}

static json_t *report_of(const char *path, const char *flags)
{
    const char *file = in_dir("report.json");
    ck_assert_int_eq(run("%s --benchmark_min_time=0.001 --benchmark_out=%s %s", path, file, flags),
                     0);
    return parse(file);
}

/* Times and rates differ from run to run, and so do their statistics and the iterations done. */
static int comparable(const char *key, json_t *row)
{
    static const char *const exact[] = {"value", "inverted", "threads_avg", "kibi"};
    int fixed = has(json_string_value(json_object_get(row, "name")), "iterations:");
    if (!strcmp(key, "iterations"))
        return fixed || !strcmp(json_string_value(json_object_get(row, "run_type")), "aggregate");
    if (!json_is_real(json_object_get(row, key)))
        return strcmp(key, "big_o") != 0; /* which curve fits best is a matter of times */
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        if (!strcmp(key, exact[i]))
            return 1;
    return 0;
}

static void check_row(json_t *ours, json_t *theirs)
{
    const char *name = json_string_value(json_object_get(theirs, "name")), *key;
    json_t *x;
    void *at = json_object_iter(theirs);
    json_object_foreach(ours, key, x) {
        ck_assert_msg(at && !strcmp(json_object_iter_key(at), key), "%s: %s", name, key);
        json_t *y = json_object_iter_value(at);
        ck_assert_msg(json_typeof(x) == json_typeof(y), "%s: type of %s", name, key);
        ck_assert_msg(!comparable(key, ours) || json_equal(x, y), "%s: %s", name, key);
        at = json_object_iter_next(theirs, at);
    }
    ck_assert_msg(!at, "%s: %s", name, json_object_iter_key(at));
}

START_TEST(same_json)
{
    const char *cxx = original();
    if (!cxx)
        return;
    json_t *ours = report_of(program("twin"), "--benchmark_context=a=b");
    json_t *theirs = report_of(cxx, "--benchmark_context=a=b");
    ck_assert_uint_gt(json_array_size(rows_of(theirs)), 70);
    ck_assert_uint_eq(json_array_size(rows_of(ours)), json_array_size(rows_of(theirs)));
    for (size_t i = 0; i < json_array_size(rows_of(ours)); i++)
        check_row(json_array_get(rows_of(ours), i), json_array_get(rows_of(theirs), i));
    const char *key;
    json_t *value, *context = json_object_get(ours, "context");
    json_object_foreach(json_object_get(theirs, "context"), key, value)
        ck_assert_msg(json_typeof(value) == json_typeof(json_object_get(context, key)), "%s", key);
    json_decref(ours);
    json_decref(theirs);
}
END_TEST

/* Figures become #, runs of blanks one: what is left is the form. */
static void mask(char *text)
{
    char *to = text;
    for (const char *c = text; *c;) {
        if (isdigit((unsigned char)*c)) {
            c += strspn(c, "0123456789.e+");
            c += strspn(c, "kKMGTPmunpf");
            c += *c == 'i';
            to -= to > text && to[-1] == '-';
            *to++ = '#';
        } else if (*c == ' ' || *c == '-') {
            char blank = *c;
            c += strspn(c, blank == ' ' ? " " : "-");
            *to++ = blank;
        } else {
            *to++ = *c++;
        }
    }
    *to = 0;
}

static void check_text(const char *flags)
{
    const char *cxx = original();
    if (!cxx)
        return;
    ck_assert_int_eq(run("%s --benchmark_min_time=0.001 %s", program("twin"), flags), 0);
    char *ours = strdup(out);
    ck_assert_int_eq(run("%s --benchmark_min_time=0.001 %s", cxx, flags), 0);
    mask(ours);
    mask(out);
    size_t same = 0;
    while (ours[same] && ours[same] == out[same])
        same++;
    ck_assert_msg(ours[same] == out[same], "%s: \"%.80s\" is not \"%.80s\"", flags, ours + same,
                  out + same);
    free(ours);
}

START_TEST(same_console)
{
    check_text("--benchmark_filter='-^copy'"); /* fits may choose another curve */
    check_text("--benchmark_filter='plain|batch' --benchmark_repetitions=3 --benchmark_color=yes");
    check_text("--benchmark_filter='plain|counters' --benchmark_counters_tabular");
    check_text("--benchmark_list_tests");
}
END_TEST

/* Version 1.7.1 gives ratios a unit of time in CSV, later ones do not. */
START_TEST(same_csv)
{
    check_text("--benchmark_filter='plain|broken' --benchmark_format=csv");
    check_text("--benchmark_filter='^counters' --benchmark_format=csv");
}
END_TEST

/* What is said of bad input; of a bad expression the reason is the C library's or the other's. */
START_TEST(same_complaints)
{
    static const char *const flags[] = {"--benchmark_filter=nothing_of_it", "--benchmark_fliter=x",
                                        "--benchmark_repetitions=two", "plain"};
    const char *cxx = original();
    if (!cxx)
        return;
    ck_assert_int_eq(run("cd %s && mkdir ours theirs && ln -s %s ours/twin && ln -s %s theirs/twin",
                         test_dir(), program("twin"), cxx), 0);
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        int rc = run("cd %s && ./twin %s", in_dir("ours"), flags[i]);
        char *ours = strdup(err);
        ck_assert_int_eq(run("cd %s && ./twin %s", in_dir("theirs"), flags[i]), rc);
        ck_assert_str_eq(ours, err);
        free(ours);
    }
}
END_TEST

/* ---- compare.py ------------------------------------------------------------------------------ */

/* A Python that has what the tool imports; NULL: none, skipped. */
static const char *python(void)
{
    static const char *const candidates[] = {"python3", "/usr/bin/python3"};
    if (access(compare_py, R_OK)) {
        test_skip("no compare.py here (libbenchmark-tools)");
        return NULL;
    }
    for (int i = 0; i < 2; i++)
        if (run("%s -c 'import numpy, scipy.stats'", candidates[i]) == 0)
            return candidates[i];
    test_skip("no Python with scipy here (python3-scipy)");
    return NULL;
}

static int compare(const char *python3, const char *arguments)
{
    return run("%s %s --no-color %s", python3, compare_py, arguments);
}

static const char ten[] = "--benchmark_repetitions=10 --benchmark_filter='^(plain|counters)$'";

static void write_report(const char *program_path, const char *file)
{
    ck_assert_int_eq(run("%s --benchmark_min_time=0.001 --benchmark_out=%s %s", program_path, file,
                         ten), 0);
}

static void check_compared(const char *row)
{
    char pvalue[80];
    snprintf(pvalue, sizeof pvalue, "%s_pvalue", row);
    ck_assert_msg(has(out, pvalue), "%s%s", out, err);
    ck_assert_msg(has(out, "U Test, Repetitions: 10 vs 10\n"), "%s", out);
    ck_assert_msg(has(out, "OVERALL_GEOMEAN"), "%s", out);
    ck_assert_msg(!has(err, "Traceback"), "%s", err);
}

START_TEST(compare_files)
{
    char line[2048];
    const char *py = python();
    if (!py)
        return;
    write_report(program("twin"), in_dir("a.json"));
    write_report(program("twin"), in_dir("b.json"));
    snprintf(line, sizeof line, "-d %s benchmarks %s %s", in_dir("d.json"), in_dir("a.json"),
             in_dir("b.json"));
    ck_assert_int_eq(compare(py, line), 0);
    check_compared("plain");
    check_compared("counters");
    json_t *diff = parse(in_dir("d.json")), *row;
    size_t i, tested = 0;
    json_array_foreach(diff, i, row)
        tested += json_object_get(row, "utest") && json_object_get(row, "measurements");
    ck_assert_uint_ge(tested, 2);
    json_decref(diff);
    snprintf(line, sizeof line, "-a benchmarks %s %s", in_dir("a.json"), in_dir("b.json"));
    ck_assert_int_eq(compare(py, line), 0);
    ck_assert(has(out, "plain_mean") && has(out, "plain_median") && has(out, "plain_stddev") &&
              has(out, "plain_cv"));
    ck_assert(!has(out, "plain  "));
}
END_TEST

/* Ours against the C++ library's: joined by name, both ways. */
START_TEST(compare_mixed)
{
    char line[2048];
    const char *py = python(), *cxx = py ? original() : NULL;
    if (!cxx)
        return;
    write_report(program("twin"), in_dir("ours.json"));
    write_report(cxx, in_dir("theirs.json"));
    for (int i = 0; i < 2; i++) {
        snprintf(line, sizeof line, "benchmarks %s %s", in_dir(i ? "ours.json" : "theirs.json"),
                 in_dir(i ? "theirs.json" : "ours.json"));
        ck_assert_int_eq(compare(py, line), 0);
        check_compared("plain");
        check_compared("counters");
    }
    snprintf(line, sizeof line, "benchmarks %s %s --benchmark_min_time=0.001 %s", program("twin"),
             cxx, ten);
    ck_assert_int_eq(compare(py, line), 0);
    check_compared("plain");
}
END_TEST

START_TEST(compare_filters)
{
    char line[2048];
    const char *py = python();
    if (!py)
        return;
    snprintf(line, sizeof line, "filters %s '^plain$' '^counters$' --benchmark_min_time=0.001 "
                                "--benchmark_repetitions=10", program("twin"));
    ck_assert_int_eq(compare(py, line), 0);
    check_compared("[^plain$ vs. ^counters$]");
    snprintf(line, sizeof line, "benchmarksfiltered %s '^plain$' %s '^counters$' "
                                "--benchmark_min_time=0.001 --benchmark_repetitions=10",
             program("twin"), program("twin"));
    ck_assert_int_eq(compare(py, line), 0);
    check_compared("[^plain$ vs. ^counters$]");
}
END_TEST

/* Four threads that wait 10 ms each: the time of an iteration as a thread sees it, the rate of all.
 * Waking up may be late on a busy machine, never early. */
START_TEST(threads)
{
    json_t *r = report_of(program("twin"), "--benchmark_filter=wait");
    json_t *row = row_of(r, "wait_10_ms/iterations:5/real_time/threads:4");
    double ms = number(row, "real_time");
    ck_assert_msg(ms >= 10 && ms < 40, "%g ms", ms);
    ck_assert_double_eq_tol(number(row, "rate"), 4000 / ms, 1e-6);
    ck_assert_int_eq((int)number(row, "iterations"), 20);
    json_decref(r);
}
END_TEST

Suite *suite_original(void)
{
    Suite *s = suite_create("original");
    TCase *c = add_case(s, "C++ library", 120);
    tcase_add_test(c, same_json);
    tcase_add_test(c, same_console);
    tcase_add_test(c, same_csv);
    tcase_add_test(c, same_complaints);
    c = add_case(s, "compare.py", 120);
    tcase_add_test(c, compare_files);
    tcase_add_test(c, compare_mixed);
    tcase_add_test(c, compare_filters);
    c = add_case(s, "threads", 30);
    tcase_add_test(c, threads);
    return s;
}
