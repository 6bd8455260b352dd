/* tests/models/lm_train_place.c - training in memory out of the host's reach: the files of a run,
 * stopped and resumed, have the bits of one in host memory; whatever allocation or copy fails is
 * told, without a leak and without a model.
 */
#include "lm_elsewhere.h"
#include "lm_rig.h"

/* Tied, with thirds and mixtures of tensors, with norms less one. */
static const struct {
    int config;
    const char *arch;
} models[] = {{0, "llama"}, {3, "gpt2"}, {4, "gpt_neox"}, {6, "gemma2"}};
enum { MODELS = sizeof models / sizeof models[0] };

static void begin_rig(rig *r, const char *name)
{
    memset(r, 0, sizeof *r);
    lm_engine(&r->f, 2);
    describe_rig(r, name);
    r->t.steps = 12;
    r->t.warmup = 2;
    r->t.batch = 4;
    r->t.log_every = 1;
    r->t.eval_every = r->t.checkpoint_every = 5;
    r->t.eval_docs = 8;
}

static void open_here(rig *r, const char *name, int i)
{
    begin_rig(r, name);
    ck_assert_ok(
        open_rig_model(r, models[i].config, models[i].arch, sae_lm_place_host(&r->f.e), &r->f.err),
        r->f.err);
}

static void open_there(rig *r, const char *name, int i)
{
    begin_rig(r, name);
    ck_assert_ok(
        open_rig_model(r, models[i].config, models[i].arch, elsewhere_of(&r->f.e), &r->f.err),
        r->f.err);
}

START_TEST(the_same_files)
{
    static rig here, stopped, again;
    calls = fail_at = live = 0;
    open_here(&here, "here", _i);
    train(&here);
    open_there(&stopped, "there", _i);
    stopped.data.stop_at = 8;
    ck_assert_int_eq(sae_lm_train(&stopped.t, &stopped.done, &stopped.f.err), SAE_EIO);
    ck_assert(exists(&stopped, "state.safetensors"));
    close_rig(&stopped);
    open_there(&again, "there", _i);
    again.t.resume = 1;
    train(&again);
    ck_assert_int_eq(again.data.calls, 12 - 5);
    same_file(&here, &again, "model.safetensors");
    same_file(&here, &again, "train.csv");
    close_rig(&again);
    close_rig(&here);
    ck_assert(calls > 0 && live == 0);
}
END_TEST

/* A state is where it was made or elsewhere the same. */
START_TEST(states_travel)
{
    static rig here, there;
    calls = fail_at = live = 0;
    open_here(&here, "run", _i);
    here.data.stop_at = 8;
    ck_assert_int_eq(sae_lm_train(&here.t, &here.done, &here.f.err), SAE_EIO);
    open_there(&there, "run", _i);
    there.t.resume = 1;
    train(&there);
    close_rig(&here);
    open_here(&here, "whole", _i);
    train(&here);
    same_file(&here, &there, "model.safetensors");
    close_rig(&there);
    close_rig(&here);
}
END_TEST

/* Two steps, stopped behind the state of the first and resumed. */
static int stop_and_resume(sae_err *err)
{
    static rig r;
    int rc = SAE_OK;
    for (int part = 0; part < 2 && rc >= 0; part++) {
        begin_rig(&r, "run");
        r.t.steps = 2;
        r.t.warmup = 0;
        r.t.checkpoint_every = 1;
        r.data.stop_at = part ? -1 : 1;
        r.t.resume = part;
        rc = open_rig_model(&r, 3, "gpt2", elsewhere_of(&r.f.e), err);
        if (rc >= 0)
            rc = sae_lm_train(&r.t, &r.done, err);
        ck_assert_int_eq(exists(&r, "model.safetensors"), part && rc >= 0);
        if (!part && rc == SAE_EIO) {
            *err = (sae_err){0};
            rc = SAE_OK;
        }
        close_rig(&r);
        ck_assert_int_eq(live, 0);
    }
    return rc;
}

START_TEST(every_failure_is_told)
{
    enum { SOME = 80, MOST = 2000 };
    int rc = SAE_EINVAL;
    live = 0;
    for (fail_at = 1; rc < 0; fail_at++) {
        sae_err err = {0};
        calls = 0;
        rc = stop_and_resume(&err);
        ck_assert_msg(rc >= 0 || strstr(err.msg, "it was to fail"), "call %lld: %s",
                      (long long)fail_at, err.msg);
        ck_assert_int_lt(fail_at, MOST);
    }
    ck_assert_int_gt(fail_at, SOME); /* it has failed before it succeeded */
}
END_TEST

Suite *suite_lm_train_place(void);
Suite *suite_lm_train_place(void)
{
    Suite *s = suite_create("lm_train_place");
    TCase *t = tcase_create("lm_train_place");
    tcase_set_timeout(t, 60);
    tcase_add_loop_test(t, the_same_files, 0, MODELS);
    tcase_add_loop_test(t, states_travel, 0, MODELS);
    tcase_add_test(t, every_failure_is_told);
    suite_add_tcase(s, t);
    return s;
}
