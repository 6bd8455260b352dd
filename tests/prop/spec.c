/* tests/prop/spec.c - spec strings: canonical form, fixpoint, sweeps, messages. */
#include "core/memory.h"
#include "core/spec.h"
#include "support/probe.h"
#include "support/support.h"

#include <sae/rng.h>
#include <stdio.h>
#include <string.h>

static sae_registry *reg;

static void open_registry(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_registry_add(reg, &probe_plugin, &err), err);
}

static void close_registry(void)
{
    sae_registry_close(&reg);
    ck_assert_uint_eq(sae_alloc_live(), 0);
}

/* Parse and print; the caller frees. */
static char *printed(const char *text, int canonical, int64_t d)
{
    sae_err err = {0};
    sae_spec s;
    ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_VARIANT, text, &err), err);
    if (d)
        ck_assert_ok(sae_spec_resolve(&s, d, &err), err);
    char *out = sae_spec_print(&s, canonical);
    ck_assert_ptr_nonnull(out);
    sae_spec_free(&s);
    return out;
}

static void expect(const char *text, int canonical, int64_t d, const char *want)
{
    char *got = printed(text, canonical, d);
    ck_assert_str_eq(got, want);
    sae_free(got);
}

START_TEST(canonical)
{
    expect("probe", 1, 0, "probe:fast=1,k=32,l1=0,label=\"\",lr=3e-4,mode=row,n=8d");
    expect("probe", 1, 768, "probe:fast=1,k=32,l1=0,label=\"\",lr=3e-4,mode=row,n=6144");
    expect("probe", 0, 768, "probe:n=6144");
    expect("probe:n=8d", 0, 0, "probe:n=8d");
    expect("probe:n=16d", 0, 0, "probe:n=16d");
    expect("probe:n=16d", 0, 64, "probe:n=1024");
    expect("probe:n=6144", 0, 768, "probe:n=6144");
    expect("probe:n=1e4,k=8", 0, 0, "probe:k=8,n=10000");
    expect("probe:k=8,l1=lin(0,0.05,0,2000),fast=off", 0, 0,
           "probe:fast=0,k=8,l1=lin(0,0.05,0,2e3),n=8d");
    expect("probe:train.warmup=20,train.lr=0.0010,k=8,lr=0.5", 0, 0,
           "probe:k=8,lr=0.5,n=8d,train.lr=1e-3,train.warmup=20");
    expect("probe:train.decay=0", 1, 0,
           "probe:fast=1,k=32,l1=0,label=\"\",lr=3e-4,mode=row,n=8d,train.decay=0");
}
END_TEST

START_TEST(golden)
{
    expect("probe:mode=batch,k=64,lr=0.0003,l1=cos(1,0.10,5%,95.0%)", 1, 0,
           "probe:fast=1,k=64,l1=cos(1,0.1,5%,95%),label=\"\",lr=3e-4,mode=batch,n=8d");
    expect("probe:label=\"a,b=\\\"{c}\\\\\"", 0, 0, "probe:label=\"a,b=\\\"{c}\\\\\",n=8d");
    expect("probe:label=\"plain\"", 0, 0, "probe:label=plain,n=8d");
    expect("probe:label=a(b,c)d", 0, 0, "probe:label=\"a(b,c)d\",n=8d");
    char id[17];
    sae_spec_id("probe", id);
    ck_assert_uint_eq(strspn(id, "0123456789abcdef"), 16);
    char other[17];
    sae_spec_id("probe:n=16d", other);
    ck_assert_str_ne(id, other);
}
END_TEST

/* One random value of every kind, written in one of its forms. */
static void random_pair(char *out, size_t room, int64_t option, uint64_t row)
{
    sae_u4 u = sae_philox(21, SAE_STREAM_PROBE, row, (uint32_t)option);
    static const char *const form[] = {"lin", "cos", "exp"};
    double a = (1 + u.v[1] % 1000) / 128.0, b = (1 + u.v[2] % 4096) / 7.0;
    unsigned t0 = u.v[3] % 50, t1 = t0 + u.v[1] % 50;
    char c = (char)(' ' + u.v[1] % 95), d = (char)(' ' + u.v[2] % 95);
    switch (option) {
    case 0:
        snprintf(out, room, "k=%u", u.v[1] % 65537);
        break;
    case 1:
        snprintf(out, room, "lr=%.*e", (int)(u.v[1] % 17), 1e-9 + u.v[2] / 4294967296.0 * 0.9);
        break;
    case 2:
        if (u.v[0] % 4 == 0)
            snprintf(out, room, "l1=step(%g,%.17g,%u)", a, b, t0);
        else
            snprintf(out, room, "l1=%s(%g,%.17g,%u%s,%u%s)", form[u.v[0] % 3], a, b, t0,
                     u.v[1] % 2 ? "%" : "", t1, u.v[1] % 2 ? "%" : "");
        break;
    case 3:
        snprintf(out, room, "fast=%s", u.v[1] % 2 ? "true" : "off");
        break;
    case 4:
        snprintf(out, room, "mode=%s", probe_modes[u.v[1] % 3]);
        break;
    case 5:
        snprintf(out, room, "label=\"x%s%c%s%c\"", c == '"' || c == '\\' ? "\\" : "", c,
                 d == '"' || d == '\\' ? "\\" : "", d);
        break;
    default:
        snprintf(out, room, "n=%u%s", 1 + u.v[1] % 1000, u.v[2] % 2 ? "d" : "");
        break;
    }
}

/* parse -> print -> parse -> print is a fixpoint, in both forms and any order of keys. */
START_TEST(fixpoint)
{
    for (uint64_t row = 0; row < 5000; row++) {
        char text[600] = "probe", pair[160];
        sae_u4 u = sae_philox(22, SAE_STREAM_PROBE, row, 0);
        const char *join = ":";
        for (uint64_t i = 0; i < 7; i++) {
            int64_t option = (int64_t)sae_permute(u.v[0], 0, 7, i);
            if (!(u.v[1] >> option & 1))
                continue;
            random_pair(pair, sizeof pair, option, row);
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", join, pair);
            join = ",";
        }
        char *full = printed(text, 1, 0), *brief = printed(text, 0, 0);
        expect(full, 1, 0, full);
        expect(brief, 0, 0, brief);
        expect(brief, 1, 0, full); /* leaving defaults out loses nothing */
        sae_free(full);
        sae_free(brief);
    }
}
END_TEST

START_TEST(components)
{
    sae_err err = {0};
    for (const sae_variant *const *v = sae_all_variants(reg); *v; v++) {
        char *full = printed((*v)->name, 1, 0), brief[160];
        snprintf(brief, sizeof brief, "%s:n=8d", (*v)->name);
        expect(full, 1, 0, full);
        expect(full, 0, 0, brief);
        sae_free(full);
    }
    for (const sae_metric *const *m = sae_all_metrics(reg); *m; m++) {
        sae_spec s;
        ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_METRIC, (*m)->name, &err), err);
        ck_assert_ptr_eq(s.metric, *m);
        sae_spec_free(&s);
    }
    sae_spec s;
    ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_DATASET, "well:path=x/y-1.txt", &err), err);
    char *text = sae_spec_print(&s, 1);
    ck_assert_str_eq(text, "well:path=x/y-1.txt");
    sae_free(text);
    sae_spec_free(&s);
}
END_TEST

START_TEST(refusals)
{
    static const struct {
        const char *text;
        int code;
        const char *says;
    } bad[] = {
        {"", SAE_EINVAL, "unknown variant"},
        {"prob", SAE_EINVAL, "did you mean \"probe\""},
        {"nothing_like_it", SAE_EINVAL, "known: "},
        {"probe:", SAE_EFORMAT, "key=value"},
        {"probe:k", SAE_EFORMAT, "key=value"},
        {"probe:k=1,", SAE_EFORMAT, "key=value"},
        {"probe:=1", SAE_EFORMAT, "key=value"},
        {"probe:k=", SAE_EFORMAT, "empty value"},
        {"probe:k=1,k=2", SAE_EINVAL, "\"k\" is given twice"},
        {"probe:n=1,n=2", SAE_EINVAL, "\"n\" is given twice"},
        {"probe:n=0", SAE_EINVAL, "[1, 2147483647]"},
        {"probe:n=d", SAE_EINVAL, "8d"},
        {"probe:n=0d", SAE_EINVAL, "8d"},
        {"probe:n=3000000000", SAE_EINVAL, "[1, 2147483647]"},
        {"probe:n=111111111111111111111111111111", SAE_EINVAL, "[1, 2147483647]"},
        {"probe:nn=1", SAE_EINVAL, "did you mean \"n\""},
        {"probe:q=1", SAE_EINVAL, "known: k, lr, l1, fast, mode, label, n"},
        {"probe:k=1000000", SAE_EINVAL, "[0, 65536]"},
        {"probe:train.l=1", SAE_EINVAL, "known: lr, beta1"},
        {"probe:train.lr=high", SAE_EINVAL, "\"high\" is not a number"},
        {"probe:train.lr=nan", SAE_EINVAL, "not a number"},
        {"probe:train.warmup=1.5", SAE_EINVAL, "not a whole number"},
        {"probe:train.lr=1,train.lr=2", SAE_EINVAL, "\"train.lr\" is given twice"},
        {"probe:warmup=3", SAE_EINVAL, "it is train.warmup=3"},
        {"probe:l1=lin(0,1,0,1", SAE_EFORMAT, "missing \")\""},
        {"probe:l1=lin)0,1,0,1", SAE_EFORMAT, "unexpected \")\""},
        {"probe:label=\"a", SAE_EFORMAT, "closing quote"},
        {"probe:label=\"a\"b", SAE_EFORMAT, "after the quoted"},
        {"probe:label=\"a\\n\"", SAE_EFORMAT, "escape"},
        {"probe:label=\"a\\", SAE_EFORMAT, "at \""},
        {"probe:label=a\"b", SAE_EFORMAT, "unexpected"},
        {"probe:k={1,2}", SAE_EFORMAT, "unexpected \"{\""},
        {"probe:preset=none", SAE_EINVAL, "there is no preset \"none\"; known: fast, wide"},
        {"probe:preset=fast,preset=wide", SAE_EINVAL, "\"preset\" is given twice"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sae_err err = {0};
        sae_spec s;
        int rc = sae_spec_parse(&s, reg, SAE_KIND_VARIANT, bad[i].text, &err);
        ck_assert_msg(rc == bad[i].code, "\"%s\": status %d", bad[i].text, rc);
        ck_assert_msg(strstr(err.msg, bad[i].says) && strstr(err.msg, bad[i].text),
                      "\"%s\": \"%s\" does not say \"%s\"", bad[i].text, err.msg, bad[i].says);
        ck_assert_ptr_null(s.opts);
    }
    sae_err err = {0};
    sae_spec s;
    ck_assert_int_eq(sae_spec_parse(&s, reg, SAE_KIND_DATASET, "well", &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "\"path\" is required"));
    err = (sae_err){0};
    ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_VARIANT, "probe:n=100000d", &err), err);
    ck_assert_int_eq(sae_spec_resolve(&s, 100000, &err), SAE_EINVAL);
    ck_assert_int_eq(s.n, 0);
    sae_spec_free(&s);
}
END_TEST

/* A preset's options and n count where the text gives none, in either order; its training settings
 * replace the variant's. */
START_TEST(presets)
{
    static const struct {
        const char *text, *same;
    } pair[] = {
        {"probe:preset=fast", "probe:fast=0,k=3"},
        {"probe:preset=fast,k=7", "probe:fast=0,k=7"},
        {"probe:k=7,preset=fast", "probe:fast=0,k=7"},
        {"probe:preset=wide", "probe:n=16d"},
        {"probe:n=5,preset=wide", "probe:n=5"},
    };
    for (size_t i = 0; i < sizeof pair / sizeof pair[0]; i++) {
        sae_err err = {0};
        sae_spec a, b;
        ck_assert_ok(sae_spec_parse(&a, reg, SAE_KIND_VARIANT, pair[i].text, &err), err);
        ck_assert_ok(sae_spec_parse(&b, reg, SAE_KIND_VARIANT, pair[i].same, &err), err);
        char *x = sae_spec_print(&a, 1), *y = sae_spec_print(&b, 1);
        ck_assert_str_eq(x, y);
        ck_assert(sae_spec_train(&b) == &b.variant->train);
        ck_assert(sae_spec_train(&a) ==
                  (a.preset->train ? a.preset->train : &a.variant->train));
        sae_free(x);
        sae_free(y);
        sae_spec_free(&a);
        sae_spec_free(&b);
    }
}
END_TEST

static void expect_sweep(const char *text, const char *joined)
{
    sae_err err = {0};
    char **list = NULL, all[1000] = "";
    ck_assert_ok(sae_spec_expand(text, &list, &err), err);
    for (char **s = list; *s; s++)
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", s == list ? "" : " ", *s);
    ck_assert_str_eq(all, joined);
    sae_spec_list_free(&list);
    ck_assert_ptr_null(list);
}

START_TEST(sweeps)
{
    expect_sweep("topk", "topk");
    expect_sweep("topk:k={8}", "topk:k=8");
    expect_sweep("topk:k={8,16},n={8d,16d}",
                 "topk:k=8,n=8d topk:k=8,n=16d topk:k=16,n=8d topk:k=16,n=16d");
    expect_sweep("{a,b}:x", "a:x b:x");
    expect_sweep("p:l1={lin(0,1,0,5),2}", "p:l1=lin(0,1,0,5) p:l1=2");
    expect_sweep("p:f={\"a,}b\",\"\\\"\"}", "p:f=\"a,}b\" p:f=\"\\\"\"");
    expect_sweep("p:f=\"{a,b}\"", "p:f=\"{a,b}\"");
    static const char *const bad[] = {"p:k={1,2",  "p:k=1}",    "p:k={}",    "p:k={1,}",
                                      "p:k={{1}}", "p:f={\"a}", "p:f=\"{a}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sae_err err = {0};
        char **list = NULL;
        ck_assert_msg(sae_spec_expand(bad[i], &list, &err) == SAE_EFORMAT, "%s", bad[i]);
        ck_assert_ptr_null(list);
    }
    char many[400] = "p:";
    for (int i = 0; i < 6; i++)
        snprintf(many + strlen(many), sizeof many - strlen(many), "{0,1,2,3,4,5,6,7,8,9}");
    sae_err err = {0};
    char **list = NULL;
    ck_assert_int_eq(sae_spec_expand(many, &list, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "100000"));
}
END_TEST

Suite *suite_spec(void)
{
    Suite *s = suite_create("spec");
    TCase *c = tcase_create("spec");
    tcase_add_checked_fixture(c, open_registry, close_registry);
    tcase_set_timeout(c, 20);
    tcase_add_test(c, canonical);
    tcase_add_test(c, golden);
    tcase_add_test(c, fixpoint);
    tcase_add_test(c, components);
    tcase_add_test(c, refusals);
    tcase_add_test(c, presets);
    tcase_add_test(c, sweeps);
    suite_add_tcase(s, c);
    return s;
}
