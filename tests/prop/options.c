/* tests/prop/options.c - numbers, option values, schedules, messages. */
#include "core/memory.h"
#include "core/options.h"
#include "support/probe.h"
#include "support/support.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <sae/rng.h>
#include <string.h>

static void expect_print(double v, const char *text)
{
    char *got = sae_real_print(v);
    ck_assert_str_eq(got, text);
    sae_free(got);
}

START_TEST(print_golden)
{
    expect_print(0, "0");
    expect_print(-0.0, "-0");
    expect_print(1, "1");
    expect_print(30, "30");
    expect_print(100, "100");
    expect_print(1000, "1e3");
    expect_print(16384, "16384");
    expect_print(0.1, "0.1");
    expect_print(0.05, "0.05");
    expect_print(3e-4, "3e-4");
    expect_print(0.001, "1e-3");
    expect_print(0.999, "0.999");
    expect_print(-2.5, "-2.5");
    expect_print(1e300, "1e300");
    expect_print(1.0 / 3, "0.3333333333333333");
    expect_print(0.1 + 0.2, "0.30000000000000004");
    expect_print(DBL_MAX, "1.7976931348623157e308");
    expect_print(5e-324, "5e-324");
    expect_print((double)INFINITY, "inf");
    expect_print(-(double)INFINITY, "-inf");
    expect_print((double)NAN, "nan");
}
END_TEST

static void round_trip(double v)
{
    double back = 0;
    char *text = sae_real_print(v);
    ck_assert_msg(sae_real_parse(text, &back) == SAE_OK && memcmp(&v, &back, sizeof v) == 0,
                  "%a prints as %s, which reads as %a", v, text, back);
    sae_free(text);
}

START_TEST(print_round_trip)
{
    static const char *const locales[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8"};
    for (size_t l = 0; l < 3; l++) {
        if (!setlocale(LC_ALL, locales[l]))
            continue; /* not installed; "C" always is */
        for (uint64_t i = 0; i < 20000; i++) {
            sae_u4 u = sae_philox(5, SAE_STREAM_PROBE, i, 0);
            uint64_t bits = (uint64_t)u.v[0] << 32 | u.v[1];
            double any = 0;
            memcpy(&any, &bits, sizeof any);
            if (isfinite(any))
                round_trip(any);
            round_trip((double)u.v[2] / 1000);
            round_trip(ldexp((double)u.v[3], -40));
        }
    }
}
END_TEST

START_TEST(parse_numbers)
{
    static const char *const bad[] = {"",     " 1",  "1 ",  "0x10", "1e",   "--1", "1.2.3",
                                      "NAN",  "Inf", "1e999", "+inf", "1,5", "e5",  "-"};
    double v = 0;
    int64_t n = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(sae_real_parse(bad[i], &v) == SAE_EINVAL, "real \"%s\"", bad[i]);
        ck_assert_msg(sae_int_parse(bad[i], &n) == SAE_EINVAL, "int \"%s\"", bad[i]);
    }
    ck_assert_int_eq(sae_int_parse("1e6", &n), SAE_OK);
    ck_assert_int_eq(n, 1000000);
    ck_assert_int_eq(sae_int_parse("9223372036854775807", &n), SAE_OK);
    ck_assert_int_eq(n, INT64_MAX);
    ck_assert_int_eq(sae_int_parse("-9223372036854775808", &n), SAE_OK);
    ck_assert_int_eq(n, INT64_MIN);
    ck_assert_int_eq(sae_int_parse("9223372036854775808", &n), SAE_EINVAL);
    ck_assert_int_eq(sae_int_parse("1.5", &n), SAE_EINVAL);
    ck_assert_int_eq(sae_int_parse("1e17", &n), SAE_EINVAL);
    ck_assert_int_eq(sae_int_parse("inf", &n), SAE_EINVAL);
}
END_TEST

static sae_opts *open_probe(void)
{
    sae_err err = {0};
    sae_opts *o = NULL;
    ck_assert_ok(sae_opts_open(&o, probe_options, sizeof(probe_opt), &err), err);
    return o;
}

static void expect_options(const sae_opts *o, int canonical, const char *text)
{
    char *got = sae_opts_print(o, canonical);
    ck_assert_str_eq(got, text);
    sae_free(got);
}

START_TEST(values)
{
    sae_err err = {0};
    sae_opts *o = open_probe();
    const probe_opt *b = sae_opts_base(o);
    ck_assert_int_eq(b->k, 32);
    ck_assert_double_eq(b->lr, 3e-4);
    ck_assert_str_eq(b->label, "");
    expect_options(o, 1, "fast=1,k=32,l1=0,label=\"\",lr=3e-4,mode=row");
    expect_options(o, 0, "");
    ck_assert_int_eq(sae_opts_given(o, "k"), 0);
    ck_assert_int_eq(sae_opts_given(o, "q"), -1);
    static const char *const set[][2] = {{"k", "1e3"},        {"lr", "0.01"}, {"fast", "off"},
                                         {"mode", "flat-2"}, {"l1", "2"},    {"label", "a \"b\\"}};
    for (int i = 0; i < 6; i++)
        ck_assert_ok(sae_opts_set(o, set[i][0], set[i][1], &err), err);
    ck_assert_int_eq(b->k, 1000);
    ck_assert_int_eq(b->fast, 0);
    ck_assert_int_eq(b->mode, 2);
    ck_assert_str_eq(b->label, "a \"b\\");
    ck_assert_int_eq(sae_opts_given(o, "k"), 1);
    const char *all = "fast=0,k=1000,l1=2,label=\"a \\\"b\\\\\",lr=0.01,mode=flat-2";
    expect_options(o, 1, all);
    expect_options(o, 0, all);
    char *label = sae_opts_get(o, "label");
    ck_assert_str_eq(label, "a \"b\\");
    sae_free(label);
    ck_assert_ptr_null(sae_opts_get(o, "absent"));
    char *with = sae_opts_print_with(o, 0, "n", "8d");
    ck_assert_str_eq(with, "fast=0,k=1000,l1=2,label=\"a \\\"b\\\\\",lr=0.01,mode=flat-2,n=8d");
    sae_free(with);
    sae_opts_close(&o);
    ck_assert_uint_eq(sae_alloc_live(), 0);
}
END_TEST

static double at(sae_opts *o, int64_t step, int64_t steps)
{
    probe_opt now;
    sae_opts_at(o, step, steps, &now);
    return now.l1;
}

START_TEST(schedules)
{
    sae_err err = {0};
    sae_opts *o = open_probe();
    const probe_opt *b = sae_opts_base(o);
    ck_assert_ok(sae_opts_set(o, "l1", "lin(1,3,10,20)", &err), err);
    ck_assert_double_eq(b->l1, 1);
    ck_assert_double_eq(at(o, 0, 100), 1);
    ck_assert_double_eq(at(o, 10, 100), 1);
    ck_assert_double_eq(at(o, 15, 100), 2);
    ck_assert_double_eq(at(o, 20, 100), 3);
    ck_assert_double_eq(at(o, 1000, 100), 3);
    ck_assert_ok(sae_opts_set(o, "l1", "cos(0,2,0,50%)", &err), err);
    ck_assert_double_eq(at(o, 0, 200), 0);
    ck_assert_double_eq_tol(at(o, 50, 200), 1, 4 * DBL_EPSILON);
    ck_assert_double_eq(at(o, 100, 200), 2);
    ck_assert_ok(sae_opts_set(o, "l1", "exp(1,100,0,10)", &err), err);
    ck_assert_double_eq_tol(at(o, 5, 10), 10, 40 * DBL_EPSILON);
    ck_assert_double_eq(at(o, 10, 10), 100);
    ck_assert_ok(sae_opts_set(o, "l1", "step(0.5,7,3)", &err), err);
    ck_assert_double_eq(at(o, 2, 10), 0.5);
    ck_assert_double_eq(at(o, 3, 10), 7);
    /* An empty ramp is a step, and a step at 0 starts at its end. */
    ck_assert_ok(sae_opts_set(o, "l1", "lin(1,2,5,5)", &err), err);
    ck_assert_double_eq(at(o, 4, 10), 1);
    ck_assert_double_eq(at(o, 5, 10), 2);
    ck_assert_ok(sae_opts_set(o, "l1", "step(1,2,0)", &err), err);
    ck_assert_double_eq(b->l1, 2);
    ck_assert_ok(sae_opts_set(o, "l1", "lin(0,1,0%,2.5%)", &err), err);
    expect_options(o, 0, "l1=lin(0,1,0%,2.5%)");
    ck_assert_double_eq(at(o, 1, 40), 1);
    ck_assert_double_eq(at(o, 0, 40), 0);
    /* Between a and b nothing leaves [a, b], whatever the rounding. */
    ck_assert_ok(sae_opts_set(o, "l1", "exp(0.1,0.3,0,997)", &err), err);
    for (int64_t s = 0; s < 1000; s++)
        ck_assert(at(o, s, 1000) >= 0.1 && at(o, s, 1000) <= 0.3 &&
                  (s == 0 || at(o, s, 1000) >= at(o, s - 1, 1000)));
    sae_opts_close(&o);
}
END_TEST

/* Every refusal names the key and what was expected, and leaves the value alone. */
START_TEST(refusals)
{
    static const struct {
        const char *key, *value, *says;
    } bad[] = {
        {"k", "-1", "[0, 65536]"},         {"k", "70000", "active codes"},
        {"k", "2.5", "not an integer"},    {"k", "", "not an integer"},
        {"lr", "0", "[1e-09, 1]"},         {"lr", "nan", "not a number"},
        {"lr", "inf", "not a number"},     {"lr", "lin(0.1,1,0,1)", "not a schedule"},
        {"l1", "x", "schedule"},           {"l1", "sin(0,1,0,1)", "lin, cos, exp or step"},
        {"l1", "lin(0,1,0)", "FORM("},     {"l1", "lin(0,1,0,1,2)", "FORM("},
        {"l1", "step(0,1)", "step("},      {"l1", "lin(0,1,0,1", "FORM("},
        {"l1", "lin(0,1,0,1)x", "FORM("},  {"l1", "lin(0,,0,1)", "FORM("},
        {"l1", "lin(0,2000,0,1)", "[0, 1000]"}, {"l1", "lin(0,1,9,3)", "before it begins"},
        {"l1", "lin(0,1,0,101%)", "101"},  {"l1", "lin(0,1,-1,5)", "neither a step"},
        {"l1", "exp(0,1,0,1)", "positive"}, {"fast", "yes", "off/on"},
        {"mode", "rows", "row, batch, flat-2"}, {"label", "a\nb", "control character"},
        {"kk", "1", "did you mean \"k\""}, {"lables", "1", "did you mean \"label\""},
        {"xyzzy", "1", "known: k, lr, l1, fast, mode, label"},
    };
    sae_opts *o = open_probe();
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sae_err err = {0};
        ck_assert_msg(sae_opts_set(o, bad[i].key, bad[i].value, &err) == SAE_EINVAL, "%s=%s",
                      bad[i].key, bad[i].value);
        ck_assert_msg(strstr(err.msg, bad[i].key) && strstr(err.msg, bad[i].says),
                      "%s=%s: \"%s\" does not say \"%s\"", bad[i].key, bad[i].value, err.msg,
                      bad[i].says);
    }
    expect_options(o, 0, "");
    sae_opts_close(&o);
}
END_TEST

START_TEST(required)
{
    sae_err err = {0};
    sae_opts *o = NULL;
    ck_assert_ok(sae_opts_open(&o, probe_required, sizeof(probe_opt), &err), err);
    ck_assert_int_eq(sae_opts_complete(o, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "path"));
    expect_options(o, 1, "");
    err = (sae_err){0};
    ck_assert_ok(sae_opts_set(o, "path", "", &err), err);
    ck_assert_ok(sae_opts_complete(o, &err), err);
    expect_options(o, 1, "path=\"\"");
    sae_opts_close(&o);
}
END_TEST

START_TEST(nearest)
{
    static const char *const list[] = {"topk", "batchtopk", "relu", "k", NULL};
    ck_assert_str_eq(sae_nearest("tpok", list), "topk"); /* neighbours swapped are one mistake */
    ck_assert_ptr_null(sae_nearest("tkpo", (const char *const[]){"topk", NULL}));
    ck_assert_str_eq(sae_nearest("topkk", list), "topk");
    ck_assert_str_eq(sae_nearest("batch_topk", list), "batchtopk");
    ck_assert_str_eq(sae_nearest("rellu", list), "relu");
    ck_assert_ptr_null(sae_nearest("q", list));
    ck_assert_ptr_null(sae_nearest("", list));
    ck_assert_ptr_null(sae_nearest("gated", list));
    char longest[200];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    ck_assert_ptr_null(sae_nearest(longest, list));
}
END_TEST

Suite *suite_options(void)
{
    Suite *s = suite_create("options");
    TCase *c = tcase_create("options");
    tcase_set_timeout(c, 20);
    tcase_add_test(c, print_golden);
    tcase_add_test(c, print_round_trip);
    tcase_add_test(c, parse_numbers);
    tcase_add_test(c, values);
    tcase_add_test(c, schedules);
    tcase_add_test(c, refusals);
    tcase_add_test(c, required);
    tcase_add_test(c, nearest);
    suite_add_tcase(s, c);
    return s;
}
