/* tests/bench/flags.c - the command line and the environment, and what a run answers. */
#include "rig.h"

static int lines(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

START_TEST(names)
{
    ck_assert_int_eq(run("%s --benchmark_list_tests", program("twin")), 0);
    static const char *const expected[] = {
        "plain\n", "copy/n:8\n", "copy/custom/64\n", "batch/a:1/-2/iterations:100\n",
        "paused/iterations:50/repeats:2/process_time\n",
        "manual/min_time:0.250/repeats:3/manual_time\n",
        "wait_10_ms/iterations:5/real_time/threads:4\n", "broken/twice/repeats:2/threads:2\n",
        "threads/threads:2\n", "product/8/-2/repeats:2\nproduct/1/-1/repeats:2\n",
        "both/process_time/real_time/threads:4\n",
    };
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
        ck_assert_msg(has(out, expected[i]), "%s", expected[i]);
    ck_assert(!has(out, "DISABLED"));
    ck_assert_str_eq(err, "");
    ck_assert_int_eq(run("%s --benchmark_list_tests=1 --benchmark_filter='^(plain|empty)$' "
                         "--benchmark_format=json", program("twin")), 0);
    ck_assert_str_eq(out,
                     "{\n  \"benchmarks\": [\n    {\n      \"name\": \"empty\"\n    },\n    {\n"
                     "      \"name\": \"plain\"\n    }\n  ]\n}\n");
    ck_assert_int_eq(run("%s --benchmark_list_tests=1 --benchmark_filter=plain "
                         "--benchmark_format=csv", program("twin")), 0);
    ck_assert_str_eq(out, "name\n\"plain\"\n");
}
END_TEST

START_TEST(filters)
{
    const char *twin = program("twin");
    run("%s --benchmark_list_tests", twin);
    int all = lines(out);
    run("%s --benchmark_list_tests --benchmark_filter=all", twin);
    ck_assert_int_eq(lines(out), all);
    run("%s --benchmark_list_tests --benchmark_filter='repeats:[23]'", twin);
    int some = lines(out);
    ck_assert(some > 0 && some < all);
    run("%s --benchmark_list_tests --benchmark_filter='-repeats:[23]'", twin);
    ck_assert_int_eq(lines(out), all - some);
    ck_assert_int_eq(run("%s --benchmark_filter='('", twin), 0);
    ck_assert_str_eq(out, "");
    ck_assert(has(err, "Could not compile benchmark re: "));
    ck_assert_int_eq(run("%s --benchmark_filter=nothing_of_it", twin), 0);
    ck_assert_str_eq(err, "Failed to match any benchmarks against regex: nothing_of_it\n");
    ck_assert_int_eq(run("%s --benchmark_filter=nothing_of_it --benchmark_fail_on_empty", twin), 3);
    ck_assert_int_eq(run("%s --benchmark_filter=x --benchmark_out=%s", twin, in_dir("empty")), 0);
    holds_text(in_dir("empty"), "");
}
END_TEST

START_TEST(bad_flags)
{
    static const struct {
        const char *flag, *says;
    } bad[] = {
        {"--benchmark_fliter=x", "error: unrecognized command-line flag: --benchmark_fliter=x\n"},
        {"plain", "error: unrecognized command-line flag: plain\n"},
        {"--benchmark_filter", "error: unrecognized command-line flag: --benchmark_filter\n"},
        {"--benchmark_repetitions=two", "The value of flag --benchmark_repetitions is expected to "
                                        "be a 32-bit integer, but actually has value \"two\".\n"},
        {"--benchmark_repetitions=9999999999", "which overflows"},
        {"--benchmark_min_warmup_time=x", "is expected to be a double, but actually has value "
                                          "\"x\".\n"},
        {"--benchmark_repetitions=0", "a number above 0"},
        {"--benchmark_format=xml", "--benchmark_format=xml: expected console, json or csv"},
        {"--benchmark_out_format=xml", "--benchmark_out_format=xml: expected"},
        {"--benchmark_time_unit=h", "--benchmark_time_unit=h: expected ns, us, ms or s"},
        {"--benchmark_color=", "--benchmark_color=: expected auto, true or false"},
        {"--benchmark_min_time=5sx", "expected <integer>x"},
        {"--benchmark_min_time=0x", "above 0"},
        {"--benchmark_min_time=abc", "expected <integer>x or <float>s"},
        {"--benchmark_min_time=-1s", "expected <integer>x or <float>s"},
        {"--benchmark_min_time=", "expected <integer>x or <float>s"},
        {"--benchmark_seed=x", "--benchmark_seed=x: expected a number"},
        {"--benchmark_context=a=b,c", "expected <key>=<value>"},
        {"--benchmark_context=a=b=c", "expected <key>=<value>"},
        {"--benchmark_out=/nowhere/x.json", "invalid file name: '/nowhere/x.json'\n"},
        {"--benchmark_ci_out=/nowhere/x.json", "invalid file name: '/nowhere/x.json'\n"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int rc = run("%s --benchmark_list_tests '%s'", program("clockwork"), bad[i].flag);
        ck_assert_msg(rc == 1, "%s: %d", bad[i].flag, rc);
        ck_assert_msg(has(err, bad[i].says), "%s: %s", bad[i].flag, err);
    }
}
END_TEST

START_TEST(old_and_new_spellings)
{
    const char *clock = program("clockwork");
    static const char *const ten[] = {"--benchmark_min_time=0.004", "--benchmark_min_time=0.004s"};
    for (int i = 0; i < 2; i++) { /* 1 iteration of 0.5 ms, then 11 */
        ck_assert_int_eq(run("%s --benchmark_filter=^long %s", clock, ten[i]), 0);
        ck_assert_msg(has(out, " 11\n"), "%s", out);
        ck_assert_int_eq(has(err, "should have a suffix"), i == 0);
    }
    run("%s --benchmark_filter=^long --benchmark_min_time=7x", clock);
    ck_assert(has(out, " 7\n"));
    run("%s --benchmark_filter=pauses --benchmark_min_time=7x", clock);
    ck_assert(has(out, " 8\n")); /* its own number of iterations wins */
}
END_TEST

START_TEST(environment)
{
    const char *clock = program("clockwork");
    ck_assert_int_eq(run("BENCHMARK_FILTER=^long BENCHMARK_MIN_TIME=3x BENCHMARK_REPETITIONS=2 "
                         "BENCHMARK_FORMAT=csv %s", clock), 0);
    ck_assert(has(out, "\"long\",3,1e+06,500000,ns,,,,,\n"));
    ck_assert(has(out, "\"long_mean\",2,"));
    ck_assert_int_eq(run("BENCHMARK_FILTER=^long BENCHMARK_MIN_TIME=3x %s --benchmark_min_time=4x "
                         "--benchmark_format=csv", clock), 0);
    ck_assert(has(out, "\"long\",4,")); /* the command line wins */
    ck_assert_int_eq(run("BENCHMARK_REPETITIONS=x BENCHMARK_LIST_TESTS=yes %s", clock), 0);
    ck_assert(has(err, "Environment variable BENCHMARK_REPETITIONS is expected to be a 32-bit "
                       "integer, but actually has value \"x\".\n"));
    ck_assert(has(out, "long\n"));
    ck_assert_int_eq(run("V=3 %s --benchmark_filter=^long --benchmark_min_time=0.004s", clock), 0);
    ck_assert(has(err, "-- LOG(3): next long: 11 iterations"));
}
END_TEST

START_TEST(contexts)
{
    const char *clock = program("clockwork");
    ck_assert_int_eq(run("%s --benchmark_filter=^long --benchmark_dry_run --benchmark_out=%s "
                         "--benchmark_context=b=2,a=1,b=3", clock, in_dir("c.json")), 0);
    ck_assert(has(err, "a: 1\nb: 2\ndry_run: true\n"));
    ck_assert(has(err, "Failed to add custom context \"b\" as it already exists with value \"2\""));
    ck_assert(has(out, " 1\n"));
    json_t *report = parse(in_dir("c.json")), *context = json_object_get(report, "context");
    static const char *const keys[] = {
        "date", "host_name", "executable", "num_cpus", "mhz_per_cpu", "cpu_scaling_enabled",
        "aslr_enabled", "caches", "load_avg", "library_version", "library_build_type",
        "json_schema_version", "a", "b", "dry_run",
    };
    size_t i = 0;
    const char *key;
    json_t *value;
    json_object_foreach(context, key, value)
        ck_assert_str_eq(key, keys[i++]);
    ck_assert_uint_eq(i, sizeof keys / sizeof keys[0]);
    ck_assert_int_eq(json_integer_value(json_object_get(context, "json_schema_version")), 1);
    ck_assert(json_is_array(json_object_get(context, "caches")));
    ck_assert_str_eq(json_string_value(json_object_get(context, "executable")), clock);
    const char *date = json_string_value(json_object_get(context, "date"));
    ck_assert_msg(strlen(date) == 25 && date[10] == 'T' && date[22] == ':', "%s", date);
    json_decref(report);
}
END_TEST

START_TEST(help)
{
    ck_assert_int_eq(run("%s --help", program("twin")), 0);
    ck_assert(has(out, "usage: ") && has(out, "--benchmark_filter=<regex>"));
    ck_assert(has(out, "--benchmark_ci_out=<file>"));
}
END_TEST

START_TEST(colors)
{
    const char *clock = program("clockwork");
    run("TERM=xterm %s --benchmark_filter=^long", clock);
    ck_assert(!has(out, "\033")); /* no terminal */
    run("%s --benchmark_filter=^long --benchmark_color=yes", clock);
    ck_assert(has(out, "\033[0;32mlong "));
    ck_assert(has(out, "\033[0;33m"));
    ck_assert(has(out, "\033[0;36m      1400\033[m"));
    run("%s --benchmark_filter=^long --benchmark_color=no", clock);
    ck_assert(!has(out, "\033"));
}
END_TEST

START_TEST(misuse)
{
    static const char *const says[] = {
        "two words: a name has", "wrong: every tuple of arguments",
        "wrong: a minimum time is above 0 and excludes", "wrong: real and manual time exclude",
        "wrong: names of arguments, but no arguments\n", "wrong: a range goes from",
        "wrong: a number of threads is above 0\n",
    };
    for (int i = 0; i < 7; i++) {
        ck_assert_int_eq(run("CLOCKWORK_MISUSE=%d %s", i + 1, program("clockwork")), 1);
        ck_assert_msg(has(err, says[i]), "%s", err);
        ck_assert_str_eq(out, "");
    }
}
END_TEST

/* A counter of hardware where libpfm and the kernel allow it. */
START_TEST(perf_counters)
{
    const char *twin = program("twin");
    ck_assert_int_eq(run("%s --benchmark_filter=^plain$ --benchmark_min_time=100x "
                         "--benchmark_perf_counters=NO_SUCH_COUNTER", twin), 0);
    ck_assert(has(err, "Unknown performance counter name: NO_SUCH_COUNTER\n") ||
              has(err, "Performance counters not supported.\n") ||
              has(err, "libpfm does not know"));
    ck_assert(has(out, "plain "));
    ck_assert_int_eq(run("%s --benchmark_filter=^plain$ --benchmark_min_time=1000x "
                         "--benchmark_perf_counters=PERF_COUNT_SW_PAGE_FAULTS,"
                         "PERF_COUNT_HW_INSTRUCTIONS --benchmark_out=%s",
                         twin, in_dir("p.json")),
                     0);
    json_t *report = parse(in_dir("p.json")), *row = row_of(report, "plain");
    json_t *faults = json_object_get(row, "PERF_COUNT_SW_PAGE_FAULTS");
    json_t *instructions = json_object_get(row, "PERF_COUNT_HW_INSTRUCTIONS");
    if (!faults)
        test_skip("no performance counters here: %s",
                  strstr(err, "***") ? strstr(err, "***") : err);
    else
        ck_assert_double_lt(json_number_value(faults), 10); /* of each iteration */
    if (faults && !instructions)
        test_skip("no hardware counters here, only those of the kernel");
    if (instructions) /* 100 steps of at least an addition, a product, a branch */
        ck_assert_double_gt(json_number_value(instructions), 300);
    json_decref(report);
}
END_TEST

Suite *suite_flags(void)
{
    Suite *s = suite_create("flags");
    TCase *c = add_case(s, "flags", 60);
    tcase_add_test(c, names);
    tcase_add_test(c, filters);
    tcase_add_test(c, bad_flags);
    tcase_add_test(c, old_and_new_spellings);
    tcase_add_test(c, environment);
    tcase_add_test(c, contexts);
    tcase_add_test(c, help);
    tcase_add_test(c, colors);
    tcase_add_test(c, misuse);
    tcase_add_test(c, perf_counters);
    return s;
}
