/* tests/bench/reports.c - what a run prints, on a clock of its own: every figure exactly. */
#include "rig.h"

#include <math.h>

static json_t *clockwork(const char *filter, const char *flags)
{
    ck_assert_int_eq(run("%s --benchmark_filter='%s' --benchmark_out=%s %s", program("clockwork"),
                         filter, in_dir("r.json"), flags), 0);
    return parse(in_dir("r.json"));
}

START_TEST(console)
{
    static const char *const expected =
        "--------------------------------------------------------------------------------------\n"
        "Benchmark                                            Time             CPU   Iterations\n"
        "--------------------------------------------------------------------------------------\n"
        "tick/1/iterations:10/real_time                 1000000 ns       500000 ns           10\n"
        "tick/2/iterations:10/real_time                 2000000 ns      1000000 ns           10\n"
        "tick/3/iterations:10/real_time                 3000000 ns      1500000 ns           10\n"
        "tick/iterations:10/real_time_BigO           1000000.00 N     500000.00 N    \n"
        "tick/iterations:10/real_time_RMS                     0 %             0 %    \n"
        "known/iterations:1/repeats:4/manual_time_mean     5.06 ns         2.53 ns            4 "
        "bytes_per_second=188.528Ti/s figure=5.0625 items_per_second=197.686G/s\n"
        "known/iterations:1/repeats:4/manual_time_median   5.02 ns         2.51 ns            4 "
        "bytes_per_second=190.169Ti/s figure=5.015 items_per_second=199.407G/s\n"
        "known/iterations:1/repeats:4/manual_time_stddev  0.166 ns        0.083 ns            4 "
        "bytes_per_second=6.03158Ti/s figure=0.165806 items_per_second=6.32457G/s\n"
        "known/iterations:1/repeats:4/manual_time_cv       3.28 %          3.28 %             4 "
        "bytes_per_second=3.20% figure=3.28% items_per_second=3.20%\n"
        "failing/repeats:2                           ERROR OCCURRED: 'bad \"thing\"'\n"
        "failing/repeats:2                           ERROR OCCURRED: 'bad \"thing\"'\n"
        "skipped                                     SKIPPED: 'not here'\n";
    json_decref(clockwork("tick|known|failing|skipped", "--benchmark_report_aggregates_only"));
    char *a = out;
    const char *b = expected;
    while (*a && *b) { /* runs of blanks and dashes count as one */
        ck_assert_msg(*a == *b, "%.60s\nis not\n%.60s", a, b);
        char c = *a;
        do
            a++;
        while (*a == c && (c == ' ' || c == '-'));
        do
            b++;
        while (*b == c && (c == ' ' || c == '-'));
    }
    ck_assert_msg(!*a && !*b, "%s|%s", a, b);
}
END_TEST

START_TEST(columns)
{
    static const char *const expected =
        "------------------------------------------------------\n"
        "Benchmark            Time             CPU   Iterations\n"
        "------------------------------------------------------\n"
        "long           1000000 ns       500000 ns           10\n"
        "never_loops ERROR OCCURRED: 'The benchmark didn't run, nor was it explicitly skipped. "
        "Please call 'SkipWithXXX` in your benchmark as appropriate.'\n";
    json_decref(clockwork("^long|never", "--benchmark_min_time=10x"));
    ck_assert_str_eq(out, expected);
    json_decref(clockwork("^long", "--benchmark_min_time=10x --benchmark_time_unit=s"));
    ck_assert_msg(has(out, "\nlong            0.001 s         0.001 s            10\n"), "%s", out);
}
END_TEST

START_TEST(tabular)
{
    json_decref(clockwork("^long|known", "--benchmark_min_time=10x --benchmark_counters_tabular "
                                         "--benchmark_repetitions=1"));
    ck_assert_msg(has(out, " Iterations\n"), "%s", out);
    ck_assert_msg(has(out, " Iterations bytes_per_second     figure items_per_second\n"), "%s",
                  out);
    ck_assert_msg(has(out, "            1      193.836Ti/s       4.92       203.252G/s\n"), "%s",
                  out);
}
END_TEST

START_TEST(csv)
{
    static const char *const expected =
        "name,iterations,real_time,cpu_time,time_unit,bytes_per_second,items_per_second,label,"
        "error_occurred,error_message\n"
        "\"tick/1/iterations:10/real_time\",10,1e+06,500000,ns,,,,,\n"
        "\"tick/2/iterations:10/real_time\",10,2e+06,1e+06,ns,,,,,\n"
        "\"tick/3/iterations:10/real_time\",10,3e+06,1.5e+06,ns,,,,,\n"
        "\"tick/4/iterations:10/real_time\",10,4e+06,2e+06,ns,,,,,\n"
        "\"tick/iterations:10/real_time_BigO\",,1e+06,500000,N,,,,,\n";
    json_decref(clockwork("tick|failing|skipped", "--benchmark_format=csv"));
    ck_assert_msg(!strncmp(out, expected, strlen(expected)), "%s", out);
    ck_assert(has(out, "\n\"failing/repeats:2\",,,,,,,,true,\"bad \"\"thing\"\"\"\n"));
    ck_assert(has(out, "\n\"skipped\",,,,,,,,false,\"not here\"\n"));
    json_decref(clockwork("known|order/0", "--benchmark_format=csv"));
    ck_assert(has(out, ",error_message,\"figure\"\n"));
    ck_assert(has(out, "\"known/iterations:1/repeats:4/manual_time_median\",4,5.015,2.5075,ns,"));
    ck_assert(has(err, "counter \"turn\" has no column: it was not in the first report\n"));
}
END_TEST

START_TEST(statistics)
{
    json_t *r = clockwork("known", ""), *row;
    static const struct {
        const char *name;
        double value;
        const char *unit;
    } expected[] = {{"mean", 5.0625, "time"}, {"median", 5.015, "time"},
                    {"stddev", 0.165806111668619340, "time"},
                    {"cv", 0.03275182452713468456, "percentage"}};
    ck_assert_uint_eq(json_array_size(rows_of(r)), 8);
    for (int i = 0; i < 4; i++) {
        char name[80];
        snprintf(name, sizeof name, "known/iterations:1/repeats:4/manual_time_%s",
                 expected[i].name);
        row = row_of(r, name);
        ck_assert_msg(row != NULL, "%s", name);
        /* a few roundings of sums of four numbers */
        ck_assert_double_eq_tol(number(row, "real_time"), expected[i].value, 1e-13);
        ck_assert_double_eq_tol(number(row, "figure"), expected[i].value, 1e-13);
        ck_assert_str_eq(json_string_value(json_object_get(row, "aggregate_unit")),
                         expected[i].unit);
        ck_assert_int_eq((int)number(row, "iterations"), 4);
        ck_assert_ptr_null(json_object_get(row, "repetition_index"));
    }
    json_decref(r);
}
END_TEST

START_TEST(complexity)
{
    json_t *r = clockwork("tick", "--benchmark_time_unit=ms");
    json_t *o = row_of(r, "tick/iterations:10/real_time_BigO");
    json_t *rms = row_of(r, "tick/iterations:10/real_time_RMS");
    ck_assert(o && rms);
    ck_assert_str_eq(json_string_value(json_object_get(o, "big_o")), "N");
    ck_assert_str_eq(json_string_value(json_object_get(o, "time_unit")), "ns");
    ck_assert_double_eq_tol(number(o, "real_coefficient"), 1e6, 1e-6);
    ck_assert_double_eq_tol(number(o, "cpu_coefficient"), 5e5, 1e-6);
    ck_assert_double_le(number(rms, "rms"), 1e-12);
    ck_assert_ptr_null(json_object_get(o, "real_time"));
    ck_assert_ptr_null(json_object_get(rms, "time_unit"));
    json_decref(r);
}
END_TEST

/* Every attempt, every repetition and the warm-up are set up: 1, 10, 100, 840 iterations of half a
 * millisecond for 0.3 s; 1, 11 before for the warm-up. */
START_TEST(trials)
{
    json_t *r = clockwork("counted|warm", "--benchmark_min_time=0.3s"),
           *first = json_array_get(rows_of(r), 0);
    ck_assert_int_eq((int)number(first, "iterations"), 840);
    ck_assert_int_eq((int)number(first, "setups"), 4);
    ck_assert_int_eq((int)number(json_array_get(rows_of(r), 1), "setups"), 5);
    json_t *warm = row_of(r, "warm/min_warmup_time:0.004");
    ck_assert_int_eq((int)number(warm, "setups"), 5 + 2 + 4);
    ck_assert_int_eq((int)number(warm, "teardowns"), 5 + 2 + 4 - 1); /* the last is to come */
    json_decref(r);
}
END_TEST

START_TEST(loops)
{
    json_t *r = clockwork("pauses|batches", ""), *row = row_of(r, "pauses/iterations:8");
    ck_assert_double_eq_tol(number(row, "real_time"), 1e6, 1e-6);
    row = row_of(r, "batches/iterations:100"); /* four batches of 30 */
    ck_assert_int_eq((int)number(row, "iterations"), 120);
    ck_assert_double_eq_tol(number(row, "real_time"), 1e6, 1e-6);
    json_decref(r);
}
END_TEST

static const char *text_of(json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "(absent)";
}

START_TEST(errors)
{
    json_t *r = clockwork("failing|skipped|never|breaks|wrong|taken", "");
    json_t *row = row_of(r, "failing/repeats:2");
    static const char *const keys[] = {
        "name", "family_index", "per_family_instance_index", "run_name", "run_type", "repetitions",
        "repetition_index", "threads", "error_occurred", "error_message", "iterations", "real_time",
        "cpu_time", "time_unit",
    };
    size_t i = 0;
    const char *key;
    json_t *value;
    json_object_foreach(row, key, value)
        ck_assert_str_eq(key, keys[i++]);
    ck_assert_uint_eq(i, sizeof keys / sizeof keys[0]);
    ck_assert_str_eq(text_of(row, "error_message"), "bad \"thing\"");
    ck_assert_int_eq((int)number(row, "iterations"), 1);
    ck_assert_double_eq(number(row, "real_time"), 0);
    ck_assert_uint_eq(json_array_size(rows_of(r)), 7); /* and no aggregates */
    row = row_of(r, "skipped");
    ck_assert(json_is_true(json_object_get(row, "skipped")));
    ck_assert_str_eq(text_of(row, "skip_message"), "not here");
    ck_assert_ptr_null(json_object_get(row, "error_occurred"));
    row = row_of(r, "never_loops");
    ck_assert(has(text_of(row, "error_message"), "The benchmark didn't run"));
    ck_assert_int_eq((int)number(row, "iterations"), 0);
    ck_assert(has(text_of(row_of(r, "breaks"), "error_message"), "The benchmark didn't run"));
    ck_assert(has(text_of(row_of(r, "wrong_pause"), "error_message"), "clocks are not running"));
    ck_assert(has(text_of(row_of(r, "taken_name"), "error_message"), "name of a field"));
    json_decref(r);
    ck_assert_int_eq(run("%s --benchmark_filter=failing --benchmark_fail_on_error",
                         program("clockwork")), 3);
    ck_assert_int_eq(run("%s --benchmark_filter=skipped --benchmark_fail_on_error",
                         program("clockwork")), 0);
}
END_TEST

START_TEST(memory)
{
    ck_assert_int_eq(run("CLOCKWORK_MEMORY=1 %s --benchmark_filter=^long --benchmark_min_time=64x "
                         "--benchmark_repetitions=2 --benchmark_out=%s", program("clockwork"),
                         in_dir("m.json")), 0);
    json_t *r = parse(in_dir("m.json"));
    for (size_t i = 0; i < 2; i++) { /* every repetition has a run of 16 iterations of its own */
        json_t *row = json_array_get(rows_of(r), i);
        ck_assert_double_eq(number(row, "allocs_per_iter"), 2);
        ck_assert_int_eq((int)number(row, "max_bytes_used"), 1000 * (int)(i + 1));
        ck_assert_int_eq((int)number(row, "total_allocated_bytes"), 4096);
        ck_assert_ptr_null(json_object_get(row, "net_heap_growth"));
    }
    json_decref(r);
}
END_TEST

START_TEST(interleaving)
{
    double turn[2][15];
    for (int k = 0; k < 2; k++) {
        json_t *r = clockwork("order", "--benchmark_enable_random_interleaving "
                                       "--benchmark_seed=7"), *row;
        size_t i;
        int n = 0, moved = 0;
        json_array_foreach(rows_of(r), i, row)
            if (!strcmp(text_of(row, "run_type"), "iteration"))
                turn[k][n++] = number(row, "turn");
        ck_assert_int_eq(n, 15);
        for (int j = 0; j < 15; j++)
            moved += turn[k][j] != j;
        ck_assert_int_gt(moved, 5);
        ck_assert_str_eq(text_of(json_object_get(r, "context"), "benchmark_seed"), "7");
        json_decref(r);
    }
    ck_assert_mem_eq(turn[0], turn[1], sizeof turn[0]); /* the seed decides */
}
END_TEST

/* The reports of a run that was stopped have every repetition that ended. */
START_TEST(stopped)
{
    static const char *const flags[] = {"", "--benchmark_enable_random_interleaving"};
    for (int k = 0; k < 2; k++) {
        ck_assert_int_eq(run("CLOCKWORK_STOP=4 %s --benchmark_filter=order --benchmark_out=%s %s",
                             program("clockwork"), in_dir("s.json"), flags[k]),
                         130);
        json_t *r = parse(in_dir("s.json")), *row;
        size_t i;
        int n = 0;
        json_array_foreach(rows_of(r), i, row) n += !strcmp(text_of(row, "run_type"), "iteration");
        ck_assert_int_eq(n, 5);
        json_decref(r);
    }
}
END_TEST

/* Numbers that are none and bytes that are no text. */
START_TEST(odd_values)
{
    ck_assert_int_eq(
        run("%s --benchmark_filter=odd --benchmark_min_time=2x --benchmark_format=json",
            program("clockwork")),
        0);
    ck_assert(has(out, "      \"fine\": 1.0000000000000001e-01,\n      \"less\": -Infinity,\n"
                       "      \"nan\": NaN,\n"));
    ck_assert(has(out, "\"label\": \"tab\\t bell\\u0007 quote\\\" back\\\\ \xc3\xa9 \\ufffd.\"\n"));
}
END_TEST

/* One row per benchmark, every number finite, no name twice: the strict parser takes it. */
START_TEST(strict_export)
{
    ck_assert_int_eq(run("%s --benchmark_ci_out=%s --benchmark_time_unit=s --benchmark_min_time=2x",
                         program("clockwork"), in_dir("ci.json")), 0);
    json_t *r = parse(in_dir("ci.json")), *row, *drop;
    int odd = 0, twice = 0, failing = 0;
    size_t i;
    ck_assert(json_is_array(json_object_get(json_object_get(r, "context"), "caches")));
    json_array_foreach(rows_of(r), i, row) {
        ck_assert_str_eq(text_of(row, "run_type"), "iteration");
        ck_assert_str_eq(text_of(row, "time_unit"), "ns");
        ck_assert(row_of(r, text_of(row, "name")) == row);
        ck_assert(number(row, "real_time") >= 0 && number(row, "cpu_time") >= 0);
    }
    row = row_of(r, "known/iterations:1/repeats:4/manual_time");
    ck_assert_double_eq_tol(number(row, "real_time"), 5.015, 1e-12);
    ck_assert_double_eq_tol(number(row, "figure"), 5.015, 1e-12);
    ck_assert_int_eq((int)number(row, "n_repetition"), 4);
    json_array_foreach(json_object_get(r, "dropped"), i, drop) {
        odd += !strcmp(text_of(drop, "name"), "odd_numbers") && json_object_get(drop, "counter");
        twice += has(text_of(drop, "reason"), "same name");
        failing += has(text_of(drop, "reason"), "bad \"thing\"");
    }
    ck_assert_int_eq(odd, 2);
    ck_assert_int_eq(twice, 1);
    ck_assert_int_eq(failing, 1);
    ck_assert_ptr_null(row_of(r, "failing/repeats:2"));
    json_decref(r);
}
END_TEST

/* Aggregates only: on the display, in the file, or both. */
START_TEST(which_rows)
{
    json_t *r = clockwork("known", "--benchmark_display_aggregates_only");
    ck_assert(!has(out, "manual_time  ") && has(out, "manual_time_mean"));
    ck_assert_uint_eq(json_array_size(rows_of(r)), 8);
    json_decref(r);
    r = clockwork("known", "--benchmark_report_aggregates_only");
    ck_assert_uint_eq(json_array_size(rows_of(r)), 4);
    json_decref(r);
    r = clockwork("^long", "--benchmark_report_aggregates_only --benchmark_min_time=2x");
    ck_assert_uint_eq(json_array_size(rows_of(r)), 1); /* one repetition: no aggregates to show */
    json_decref(r);
}
END_TEST

/* The file appears when it is whole; a full disk is an error and leaves the old file. */
START_TEST(files)
{
    const char *clock = program("clockwork");
    ck_assert_int_eq(run("%s --benchmark_filter=^long --benchmark_min_time=2x "
                         "--benchmark_out=/dev/full", clock), 1);
    ck_assert_msg(has(err, "/dev/full: "), "%s", err);
    ck_assert_int_eq(run("echo old > %s; ulimit -f 1; trap '' XFSZ; %s --benchmark_filter=order "
                         "--benchmark_out=%s", in_dir("o.json"), clock, in_dir("o.json")), 1);
    holds_text(in_dir("o.json"), "old\n");
    ck_assert_int_eq(access(in_dir("o.json.partial"), R_OK), 0);
}
END_TEST

Suite *suite_reports(void)
{
    Suite *s = suite_create("reports");
    TCase *c = add_case(s, "reports", 60);
    tcase_add_test(c, console);
    tcase_add_test(c, columns);
    tcase_add_test(c, tabular);
    tcase_add_test(c, csv);
    tcase_add_test(c, statistics);
    tcase_add_test(c, complexity);
    tcase_add_test(c, trials);
    tcase_add_test(c, loops);
    tcase_add_test(c, errors);
    tcase_add_test(c, memory);
    tcase_add_test(c, interleaving);
    tcase_add_test(c, stopped);
    tcase_add_test(c, odd_values);
    tcase_add_test(c, strict_export);
    tcase_add_test(c, which_rows);
    tcase_add_test(c, files);
    return s;
}
