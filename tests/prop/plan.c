/* tests/prop/plan.c - plans: what is read, what is refused, and how the refusal reads. */
#include "support/support.h"

#include "core/registry.h"
#include "run/grid.h"
#include "run/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define HEAD "name: x\ndataset: synthetic:d=16\nsteps: 10\nbatch: 8\nseeds: [0, 5]\n"
#define SAES "saes:\n  - spec: topk:k={1,2},n={32,64}\n    lr: 2e-3\n    warmup: 7\n"

static int parse(sae_plan **p, const char *text, const char *const *sets, sae_err *err)
{
    memset(err, 0, sizeof *err);
    return sae_plan_parse(p, "test.yaml", text, strlen(text), sets, err);
}

START_TEST(reads_every_field)
{
    sae_plan *p;
    sae_err err;
    const char *more = HEAD SAES "norm: sqrt_d\neval_rows: 99\nmetrics: [sparsity]\n";
    ck_assert_ok(parse(&p, more, NULL, &err), err);
    ck_assert_str_eq(p->name, "x");
    ck_assert_str_eq(p->norm, "sqrt_d");
    ck_assert_int_eq(p->steps, 10);
    ck_assert_int_eq(p->eval_rows, 99);
    ck_assert_int_eq(p->seeds_count, 2);
    ck_assert_uint_eq(p->seeds[1], 5);
    ck_assert_int_eq(p->metrics_count, 1);
    sae_train_config c;
    sae_plan_config(p, &p->saes[0], &c);
    ck_assert(c.lr == 2e-3);
    ck_assert_int_eq(c.warmup, 7);
    ck_assert(isnan(c.beta1) || c.beta1 < 0);
    sae_plan_free(&p);
    ck_assert_ptr_null(p);
}
END_TEST

START_TEST(overrides_and_variables)
{
    static const char text[] = "name: v\ndataset: lm:model=\"${dir}\",hook=${hook}\nsteps: 1\n"
                               "batch: 1\nseeds: [0]\nsaes: [{spec: \"topk:k=1\"}]\n"
                               "vars: [{name: dir, help: a folder}, "
                               "{name: hook, value: resid_pre.0}]\n";
    sae_plan *p;
    sae_err err;
    ck_assert_int_eq(parse(&p, text, NULL, &err), SAE_EINVAL);
    ck_assert_ptr_nonnull(strstr(err.msg, "--set dir=VALUE (a folder)"));
    const char *const sets[] = {"dir=/a b/c", "steps=77", "seeds=4,2,9", "saes=relu:l1=0.5", NULL};
    ck_assert_ok(parse(&p, text, sets, &err), err);
    ck_assert_str_eq(p->dataset, "lm:model=\"/a b/c\",hook=resid_pre.0");
    ck_assert_int_eq(p->steps, 77);
    ck_assert_int_eq(p->seeds_count, 3);
    ck_assert_uint_eq(p->seeds[2], 9);
    ck_assert_str_eq(p->saes[0].spec, "relu:l1=0.5");
    sae_plan_free(&p);
}
END_TEST

static const struct {
    const char *text, *needle[3]; /* all of them in the message */
} refused[] = {
    {HEAD SAES "speed: 9\n", {"test.yaml", "10", "speed"}},
    {"name: x\nsteps: many\n", {"test.yaml", "2", "steps"}},
    {HEAD, {"test.yaml", "saes", NULL}},
    {HEAD "saes: []\n", {"test.yaml", "saes", NULL}},
    {HEAD SAES "norm: big\n", {"line 10", "norm", "sqrt_d"}},
    {HEAD SAES "eval_rows: -1\n", {"line 10", "eval_rows", "-1"}},
    {HEAD "saes:\n  - spec: topk:k=1\n    lr: -1\n", {"line 8", "lr", "-1"}},
    {"name: x\ndataset: y\nsteps: 0\nbatch: 8\nseeds: [0]\n" SAES, {"line 3", "steps", "found 0"}},
    {"name: x\ndataset: y\nsteps: 1\nbatch: 8\nseeds: [3, 3]\n" SAES, {"line 5", "seeds", "twice"}},
    {"name: x\ndataset: ${nix}\nsteps: 1\nbatch: 8\nseeds: [3]\n" SAES, {"dataset", "nix", NULL}},
    {HEAD SAES "data_seed: 9223372036854775808\n", {"line 10", "data_seed", "expected 0 to"}},
    {"name: x\ndataset: y\nsteps: 1\nbatch: 8\nseeds: [9223372036854775808]\n" SAES,
     {"line 5", "seeds", "expected 0 to"}},
    {"", {"test.yaml", NULL, NULL}},
    {"name: [", {"test.yaml", NULL, NULL}},
    {"\tname: x\n", {"test.yaml", NULL, NULL}},
};

START_TEST(refuses_with_line_and_key)
{
    sae_plan *p;
    sae_err err;
    int rc = parse(&p, refused[_i].text, NULL, &err);
    ck_assert_msg(rc == SAE_EINVAL || rc == SAE_EFORMAT, "status %d for: %s", rc, refused[_i].text);
    ck_assert_ptr_null(p);
    for (int i = 0; i < 3 && refused[_i].needle[i]; i++)
        ck_assert_msg(strstr(err.msg, refused[_i].needle[i]) != NULL, "'%s' is not in: %s",
                      refused[_i].needle[i], err.msg);
    ck_assert_ptr_null(strchr(err.msg, '\n'));
}
END_TEST

/* A reference may be shorter than "${a}": room for the result is counted, not guessed. */
START_TEST(variable_without_a_name)
{
    sae_plan *p;
    sae_err err = {0};
    ck_assert_ok(parse(&p, "name: x\ndataset: \"${}${}${}\"\nsteps: 1\nbatch: 8\nseeds: [0]\n"
                           "vars: [{name: \"\", value: 0123456789012345678901234567890123456789}]\n"
                           SAES, NULL, &err), err);
    ck_assert_uint_eq(strlen(p->dataset), 120);
    sae_plan_free(&p);
}
END_TEST

START_TEST(bad_overrides)
{
    static const char *const bad[] = {"steps", "=3", "steps=x", "seeds=1,,2", "seeds=-1", "pace=3"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *const sets[] = {bad[i], NULL};
        sae_plan *p;
        sae_err err;
        ck_assert_int_eq(parse(&p, HEAD SAES, sets, &err), SAE_EINVAL);
        ck_assert_msg(strstr(err.msg, "--set") != NULL, "%s", err.msg);
    }
}
END_TEST

START_TEST(grid_expands_and_cuts)
{
    sae_plan *p;
    sae_err err;
    sae_registry *reg;
    sae_grid g;
    ck_assert_ok(parse(&p, HEAD SAES, NULL, &err), err);
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    sae_dims dim = {.d_in = 16, .d_out = 16};
    ck_assert_ok(sae_grid_open(&g, p, reg, &dim, &err), err);
    ck_assert_int_eq(g.count, 8); /* 2 k x 2 n x 2 seeds */
    ck_assert_str_eq(g.job[0].spec, "topk:k=1,n=32");
    ck_assert_str_eq(g.job[7].spec, "topk:k=2,n=64");
    ck_assert_uint_eq(g.job[1].seed, 5);
    size_t largest = 0, all = 0;
    for (int64_t i = 0; i < g.count; i++) {
        all += g.job[i].bytes;
        largest = g.job[i].bytes > largest ? g.job[i].bytes : largest;
    }
    ck_assert_ok(sae_grid_waves(&g, all, &err), err);
    ck_assert_int_eq(g.waves, 1);
    ck_assert_ok(sae_grid_waves(&g, largest, &err), err);
    ck_assert_int_gt(g.waves, 1);
    for (int64_t i = 1; i < g.count; i++)
        ck_assert_int_ge(g.job[i].wave, g.job[i - 1].wave);
    memset(&err, 0, sizeof err);
    ck_assert_int_eq(sae_grid_waves(&g, largest - 1, &err), SAE_ENOMEM);
    ck_assert_ptr_nonnull(strstr(err.msg, "MiB"));
    sae_grid_close(&g);
    sae_registry_close(&reg);
    sae_plan_free(&p);
}
END_TEST

START_TEST(built_in_plans_parse)
{
    static const char *const sets[] = {"model=m", "text=t", NULL};
    sae_plan *p;
    sae_err err = {0};
    ck_assert_ok(sae_plan_load(&p, "quickstart", NULL, &err), err);
    sae_plan_free(&p);
    ck_assert_ok(sae_plan_load(&p, "lm", sets, &err), err);
    sae_plan_free(&p);
}
END_TEST

Suite *suite_plan(void);
Suite *suite_plan(void)
{
    Suite *s = suite_create("plan");
    TCase *t = tcase_create("plan");
    tcase_add_test(t, reads_every_field);
    tcase_add_test(t, overrides_and_variables);
    tcase_add_loop_test(t, refuses_with_line_and_key, 0,
                        (int)(sizeof refused / sizeof refused[0]));
    tcase_add_test(t, variable_without_a_name);
    tcase_add_test(t, bad_overrides);
    tcase_add_test(t, grid_expands_and_cuts);
    tcase_add_test(t, built_in_plans_parse);
    suite_add_tcase(s, t);
    return s;
}
