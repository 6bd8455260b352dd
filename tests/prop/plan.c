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
    const sae_train_config *c = &p->saes[0].train;
    ck_assert_int_eq(c->steps, 10);
    ck_assert_int_eq(c->B, 8);
    ck_assert(c->lr == 2e-3);
    ck_assert_int_eq(c->warmup, 7);
    ck_assert(isnan(c->beta1));
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

/* One variable in every kind of value, quoted where it stands in brackets. */
START_TEST(variables_in_every_field)
{
    static const char text[] =
        "name: v${a}\ntitle: T${a}\ndataset: synthetic:d=${a}\neval_dataset: synthetic:d=${a}\n"
        "norm: ${norm}\nsteps: 1${a}\nbatch: ${a}\neval_rows: ${a}0\nlog_every: ${a}\n"
        "checkpoint_every: ${a}\ndata_seed: ${a}\nseeds: [\"${a}\", 9]\n"
        "saes:\n  - {spec: \"topk:k=${a}\", lr: \"${a}e-3\", beta1: \"0.${a}\", beta2: \"0.0${a}\","
        " eps: \"0.00${a}\", clip_norm: \"${a}\", weight_decay: \"${a}\", decay: \"0.${a}\","
        " warmup: \"${a}\"}\nmetrics: [\"recovery:threshold=0.${a}\"]\n"
        "vars: [{name: a}, {name: norm, value: none}]\n";
    const char *const sets[] = {"a=4", NULL};
    sae_plan *p;
    sae_err err;
    ck_assert_ok(parse(&p, text, sets, &err), err);
    const sae_train_config *c = &p->saes[0].train;
    const char *const texts[] = {p->name, p->title, p->dataset, p->eval_dataset,
                                 p->norm, p->saes[0].spec, p->metrics[0]};
    const char *const want[] = {"v4", "T4", "synthetic:d=4", "synthetic:d=4",
                                "none", "topk:k=4", "recovery:threshold=0.4"};
    const int64_t whole[] = {p->steps, p->batch, p->eval_rows, p->log_every, p->checkpoint_every,
                             p->data_seed, (int64_t)p->seeds[0], c->warmup, c->steps};
    const int64_t wanted[] = {14, 4, 40, 4, 4, 4, 4, 4, 14};
    const double real[] = {c->lr, c->beta1, c->beta2, c->eps, c->clip_norm, c->weight_decay,
                           c->decay};
    const double reals[] = {4e-3, 0.4, 0.04, 0.004, 4, 4, 0.4};
    for (int i = 0; i < 7; i++)
        ck_assert_str_eq(texts[i], want[i]);
    for (int i = 0; i < 9; i++)
        ck_assert_int_eq(whole[i], wanted[i]);
    for (int i = 0; i < 7; i++)
        ck_assert_msg(real[i] == reals[i], "setting %d is %g", i, real[i]);
    sae_plan_free(&p);
    const char *const bad[] = {"a=4x", NULL};
    ck_assert_int_eq(parse(&p, text, bad, &err), SAE_EINVAL);
    ck_assert_msg(strstr(err.msg, "line 6: steps: expected a whole number from 1 to") != NULL, "%s",
                  err.msg);
    ck_assert_msg(strstr(err.msg, "found 14x") != NULL, "%s", err.msg);
}
END_TEST

static const struct {
    const char *text, *needle[3]; /* all of them in the message */
} refused[] = {
    {HEAD SAES "speed: 9\n", {"test.yaml", "10", "speed"}},
    {"name: x\ndataset: y\nsteps: many\nbatch: 8\nseeds: [0]\n" SAES,
     {"test.yaml: line 3", "steps", "found many"}},
    {"name: x\nsteps: many\n", {"test.yaml", "Missing", "dataset"}},
    {HEAD, {"test.yaml", "saes", NULL}},
    {HEAD "saes: []\n", {"test.yaml", "saes", NULL}},
    {HEAD SAES "norm: big\n", {"line 10", "norm", "sqrt_d"}},
    {HEAD SAES "eval_rows: -1\n", {"line 10", "eval_rows", "-1"}},
    {HEAD "saes:\n  - spec: topk:k=1\n    lr: -1\n", {"line 8", "lr", "-1"}},
    {HEAD SAES "  - spec: topk:k=1\n  - spec: topk:k=2\n    lr: high\n",
     {"line 12", "lr: expected a number from 1e-12 to 1000", "found high"}},
    {HEAD SAES "  - spec: topk:k=1\n    warmup: 1.5\n", {"line 11", "warmup", "found 1.5"}},
    {HEAD "saes: [{spec: \"topk:k=1\", lr: -1}]\n", {"test.yaml: lr: expected", "found -1", NULL}},
    {HEAD "saes:\n  - spec: topk:k=1\n    lr: [1, 2]\n", {"line 8", "lr", "test.yaml"}},
    {"name: x\ndataset: y\nsteps:\nbatch: 8\nseeds: [0]\n" SAES, {"line 3", "steps", NULL}},
    {"name: x\ndataset: y\nsteps: 0\nbatch: 8\nseeds: [0]\n" SAES, {"line 3", "steps", "found 0"}},
    {"name: x\ndataset: y\nsteps: 1\nbatch: 8\nseeds: [3, 3]\n" SAES, {"line 5", "seeds", "twice"}},
    {"name: x\ndataset: ${nix}\nsteps: 1\nbatch: 8\nseeds: [3]\n" SAES, {"dataset", "nix", NULL}},
    {HEAD SAES "data_seed: 9223372036854775808\n",
     {"line 10", "data_seed", "expected a whole number from 0 to"}},
    {"name: x\ndataset: y\nsteps: 1\nbatch: 8\nseeds: [9223372036854775808]\n" SAES,
     {"line 5", "seeds", "number from 0 to"}},
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
    static const char *const bad[] = {"steps", "=3", "steps=x", "seeds=1,,2", "seeds=-1", "pace=3",
                                      "seeds=", "steps=0"};
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

/* A sweep of the learning rate: every SAE with a name of its own, settings by what gives them: the
 * spec, the entry, the variant. */
START_TEST(grid_sweeps_training_settings)
{
    static const char *const want[] = {"topk:k=1,train.lr=1e-3,train.warmup=3",
                                       "topk:k=1,train.lr=5e-4,train.warmup=3", "topk:k=1"};
    static const double lr[] = {1e-3, 5e-4, 2e-3};
    static const int64_t warmup[] = {3, 3, 7};
    sae_plan *p;
    sae_err err;
    sae_registry *reg;
    sae_grid g;
    const char *text = "name: x\ndataset: synthetic:d=16\nsteps: 10\nbatch: 8\nseeds: [0]\nsaes:\n"
                       "  - spec: topk:k=1,train.lr={1e-3,5e-4},train.warmup=3\n    lr: 2e-3\n"
                       "  - spec: topk:k=1\n    lr: 2e-3\n    warmup: 7\n";
    sae_dims dim = {.d_in = 16, .d_out = 16};
    ck_assert_ok(parse(&p, text, NULL, &err), err);
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_grid_open(&g, p, reg, &dim, &err), err);
    ck_assert_int_eq(g.count, 3);
    for (int i = 0; i < 3; i++) {
        sae_spec s;
        sae_train_config c = g.job[i].entry->train;
        ck_assert_str_eq(g.job[i].spec, want[i]);
        for (int j = 0; j < i; j++)
            ck_assert_str_ne(g.job[i].canonical, g.job[j].canonical);
        ck_assert_ok(sae_spec_parse(&s, reg, SAE_KIND_VARIANT, g.job[i].canonical, &err), err);
        ck_assert_ok(sae_learner_config(&c, &s, &err), err);
        ck_assert_msg(c.lr == lr[i] && c.warmup == warmup[i], "%s: lr %g, warmup %d", want[i], c.lr,
                      (int)c.warmup);
        ck_assert(c.beta2 == s.variant->train.beta2);
        sae_spec_free(&s);
    }
    sae_grid_close(&g);
    sae_registry_close(&reg);
    sae_plan_free(&p);
}
END_TEST

/* In the tables a SAE is its spec and its seed: what they cannot tell apart is refused, before
 * anything is trained. */
START_TEST(grid_refuses)
{
    static const char *const bad[][2] = {
        {"  - spec: topk:k=1\n    lr: 1e-3\n  - spec: topk:k=1\n    lr: 2e-3\n", "train.lr="},
        {"  - spec: topk:k=1,n=128\n  - spec: topk:n=8d,k=1\n", "twice"},
        {"  - spec: topk:k=1,train.lr={1e-3,0.001}\n", "twice"},
        {"  - spec: topk:k=1,train.beta1=1\n", "topk:k=1,train.beta1=1: training setting beta1=1"},
        {"  - spec: topk:k=1,train.warmup=-2\n", "warmup=-2 is outside"},
    };
    sae_err err = {0};
    sae_registry *reg;
    sae_dims dim = {.d_in = 16, .d_out = 16};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[300];
        sae_plan *p;
        sae_grid g;
        snprintf(text, sizeof text, "%s%s%s", HEAD, "saes:\n", bad[i][0]);
        ck_assert_ok(parse(&p, text, NULL, &err), err);
        ck_assert_int_eq(sae_grid_open(&g, p, reg, &dim, &err), SAE_EINVAL);
        ck_assert_msg(strstr(err.msg, bad[i][1]) != NULL, "'%s' is not in: %s", bad[i][1], err.msg);
        ck_assert_int_eq(g.count, 0);
        sae_plan_free(&p);
    }
    sae_registry_close(&reg);
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
    tcase_add_test(t, variables_in_every_field);
    tcase_add_loop_test(t, refuses_with_line_and_key, 0,
                        (int)(sizeof refused / sizeof refused[0]));
    tcase_add_test(t, variable_without_a_name);
    tcase_add_test(t, bad_overrides);
    tcase_add_test(t, grid_expands_and_cuts);
    tcase_add_test(t, grid_sweeps_training_settings);
    tcase_add_test(t, grid_refuses);
    tcase_add_test(t, built_in_plans_parse);
    suite_add_tcase(s, t);
    return s;
}
