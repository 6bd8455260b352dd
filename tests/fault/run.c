/* tests/fault/run.c - a small run from plan to exported SAEs, whatever allocation or write fails:
 * an error with a message, no leak, no temporary file, nothing half-written under a final name; and
 * --resume then ends with the bytes of a run that was not disturbed. */
#include "run/run.h"

#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "support/support.h"

#include <stdio.h>
#include <string.h>

enum { MOST = 20000 };

/* Few rows: the norm reads up to 2^15. */
static const char plan[] = "name: fault\n"
                           "dataset: synthetic:d=8,features=12,l0=2,rows=64\n"
                           "eval_dataset: synthetic:d=8,features=12,l0=2,rows=64\n"
                           "norm: mean_sq1\n"
                           "steps: 3\n"
                           "batch: 16\n"
                           "eval_rows: 32\n"
                           "log_every: 1\n"
                           "checkpoint_every: 2\n"
                           "seeds: [0]\n"
                           "metrics: [reconstruction, sparsity, dictionary]\n"
                           "saes: [{spec: \"topk:k=2,n=16\"}]\n";
static const char *const csv[] = {"saes.csv",     "loss.csv",  "metrics.csv",
                                  "features.csv", "pairs.csv", "deviations.npy", NULL};

typedef struct scene {
    sae_registry *reg;
    char plan[600], good[600], out[600];
} scene;

static int run(const scene *s, const char *out, int resume, sae_err *err)
{
    sae_run_options o = {.plan = s->plan,
                         .out = out,
                         .device = "ref",
                         .threads = 1,
                         .resume = resume,
                         .no_report = 1,
                         .command = "run"};
    char *dir = NULL;
    int rc = sae_run(&o, s->reg, &dir, err);
    sae_free(dir);
    return rc;
}

static void open_scene(scene *s)
{
    sae_err err = {0};
    snprintf(s->plan, sizeof s->plan, "%s/plan.yaml", test_dir());
    snprintf(s->good, sizeof s->good, "%s/good", test_dir());
    snprintf(s->out, sizeof s->out, "%s/out", test_dir());
    ck_assert_ok(sae_file_write(s->plan, plan, strlen(plan), &err), err);
    ck_assert_ok(sae_registry_open(&s->reg, &err), err);
    ck_assert_ok(run(s, s->good, 0, &err), err);
}

static void no_temporary_files(const char *dir)
{
    char **names = NULL;
    if (sae_dir_list(dir, &names, NULL) < 0)
        return; /* not there, or a file */
    for (int i = 0; names[i]; i++) {
        char *path = sae_path_join(dir, names[i]);
        ck_assert_msg(!strstr(names[i], ".tmp"), "%s is left", path);
        no_temporary_files(path);
        sae_free(path);
    }
    sae_names_free(&names);
}

/* `name` of the disturbed run, when it is there, has the bytes of the undisturbed one. */
static void same_file(const scene *s, const char *name, int must_exist)
{
    char path[2][800];
    sae_map m[2];
    sae_err err = {0};
    snprintf(path[0], sizeof path[0], "%s/%s", s->good, name);
    snprintf(path[1], sizeof path[1], "%s/%s", s->out, name);
    if (!must_exist && !sae_file_exists(path[1]))
        return;
    for (int i = 0; i < 2; i++)
        ck_assert_ok(sae_map_open(&m[i], path[i], &err), err);
    ck_assert_msg(m[0].bytes == m[1].bytes && !memcmp(m[0].p, m[1].p, m[0].bytes), "%s differs",
                  path[1]);
    for (int i = 0; i < 2; i++)
        sae_map_close(&m[i]);
}

static void same_files(const scene *s, int must_exist)
{
    char path[700], name[700];
    char **names = NULL;
    sae_err err = {0};
    for (int i = 0; csv[i]; i++)
        same_file(s, csv[i], must_exist);
    snprintf(path, sizeof path, "%s/saes", s->good);
    ck_assert_ok(sae_dir_list(path, &names, &err), err);
    ck_assert_ptr_nonnull(names[0]);
    for (int i = 0; names[i]; i++) {
        snprintf(name, sizeof name, "saes/%s/cfg.json", names[i]);
        same_file(s, name, must_exist);
        snprintf(name, sizeof name, "saes/%s/sae_weights.safetensors", names[i]);
        same_file(s, name, must_exist);
    }
    sae_names_free(&names);
    snprintf(path, sizeof path, "%s/state", s->out);
    ck_assert(!must_exist || !sae_file_exists(path));
}

/* Fail the i-th call for i = 1, 2, ... until no fault is left to hit; a failed run is resumed for
 * every `resume_every`-th of them. */
static void each_fault(void (*fail_at)(uint64_t), int code, int resume_every)
{
    scene s;
    open_scene(&s);
    size_t live = sae_alloc_live();
    int failures = 0, successes = 0; /* a fault may be harmless; ten in a row: none was hit */
    for (uint64_t i = 1; successes < 10; i++) {
        sae_err err = {0};
        ck_assert_uint_lt(i, MOST);
        fail_at(i);
        int rc = run(&s, s.out, 0, &err);
        fail_at(0);
        ck_assert_msg(sae_alloc_live() == live, "fault %d (%s): %zu bytes leaked", (int)i, err.msg,
                      sae_alloc_live() - live);
        no_temporary_files(s.out);
        same_files(&s, rc == SAE_OK);
        ck_assert_msg(rc == SAE_OK || (rc == code && err.code == rc && err.msg[0]),
                      "fault %d: status %d, recorded %d: %s", (int)i, rc, err.code, err.msg);
        successes = rc == SAE_OK ? successes + 1 : 0;
        failures += rc != SAE_OK;
        if (rc != SAE_OK && i % (uint64_t)resume_every == 0) {
            err = (sae_err){0};
            ck_assert_ok(run(&s, s.out, 1, &err), err);
            same_files(&s, 1);
        }
        ck_assert_ok(sae_dir_remove(s.out, &err), err);
    }
    ck_assert_int_gt(failures, 20);
    sae_registry_close(&s.reg);
}

START_TEST(every_write)
{
    each_fault(sae_io_fail_at, SAE_EIO, 1);
}
END_TEST

START_TEST(every_allocation)
{
    each_fault(sae_alloc_fail_at, SAE_ENOMEM, 25);
}
END_TEST

Suite *suite_run(void)
{
    Suite *s = suite_create("run");
    TCase *t = tcase_create("run");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, every_write);
    tcase_add_test(t, every_allocation);
    suite_add_tcase(s, t);
    return s;
}
