/* tests/models/lm_train.c - training runs: that they learn, that nothing but their settings decides
 * their bits, and that a run that was stopped goes on as if it had not been. */
#include "lm_rig.h"

#include "models/lm_state.h"

#include <omp.h>
#include <sys/wait.h>
#include <unistd.h>

/* The chain is deterministic behind its first token: the loss goes towards 0 from ln 41 = 3.7. */
START_TEST(learns)
{
    rig r;
    size_t bytes;
    open_rig(&r, "run", 0);
    train(&r);
    ck_assert_msg(r.done.ce < 0.2, "cross-entropy %g", r.done.ce);
    ck_assert_double_eq(r.done.nats, 0);
    ck_assert_int_eq(r.done.scored, 40 * (T - 1));
    ck_assert_int_eq(r.done.step, 120);
    ck_assert_int_eq(r.done.tokens, 120 * 16 * T);
    char *csv = bytes_of(&r, "train.csv", &bytes);
    int rows = 0;
    for (size_t i = 0; i < bytes; i++)
        rows += csv[i] == '\n';
    ck_assert_int_eq(rows, 1 + 12);
    ck_assert(exists(&r, "model.safetensors") && !exists(&r, "state.safetensors"));
    free(csv);
    close_rig(&r);
}
END_TEST

START_TEST(threads_decide_nothing)
{
    rig r[2];
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i ? 3 : 1);
        open_rig(&r[i], i ? "three" : "one", i ? 3 : 1);
        r[i].t.steps = 30;
        train(&r[i]);
    }
    same_file(&r[0], &r[1], "model.safetensors");
    same_file(&r[0], &r[1], "train.csv");
    close_rig(&r[0]);
    close_rig(&r[1]);
}
END_TEST

/* Stopped in the middle, 11 batches behind the last state; the rows of the log behind that state
 * are written again, not twice. */
START_TEST(resumed_is_the_same)
{
    rig whole, stopped, again;
    open_rig(&whole, "whole", 0);
    train(&whole);
    open_rig(&stopped, "stopped", 0);
    stopped.data.stop_at = 61;
    ck_assert_int_eq(sae_lm_train(&stopped.t, &stopped.done, &stopped.f.err), SAE_EIO);
    ck_assert_int_eq(stopped.done.step, 61);
    ck_assert(!exists(&stopped, "model.safetensors") && exists(&stopped, "state.safetensors"));
    open_rig(&again, "stopped", 0);
    again.t.resume = 1;
    train(&again);
    ck_assert_int_eq(again.data.calls, 120 - 50);
    same_file(&whole, &again, "model.safetensors");
    same_file(&whole, &again, "train.csv");
    ck_assert_double_eq(whole.done.ce, again.done.ce);
    ck_assert_int_eq(whole.done.tokens, again.done.tokens);
    close_rig(&whole);
    close_rig(&stopped);
    close_rig(&again);
}
END_TEST

/* Ctrl-C during the first evaluation, behind step 40, or the last, behind step 120: nothing is
 * lost. In a process of its own, because an interruption cannot be taken back. Without checkpoints
 * the only state is the interruption's. */
START_TEST(interrupted_evaluation_loses_nothing)
{
    const int64_t step = _i ? 120 : 40;
    rig whole, stopped, again;
    int status;
    char dir[sizeof stopped.dir]; /* the child's test_dir() is another */
    snprintf(dir, sizeof dir, "%s/stopped", test_dir());
    ck_assert_int_eq(sae_dir_make(dir, NULL), SAE_OK);
    pid_t pid = fork();
    if (pid == 0) {
        open_rig(&stopped, "stopped", 1);
        memcpy(stopped.dir, dir, sizeof dir);
        stopped.t.checkpoint_every = 0;
        stopped.data.interrupt_at = _i ? 3 : 1; /* 0 is the look at them before the first step */
        int rc = sae_lm_train(&stopped.t, &stopped.done, &stopped.f.err);
        _exit(rc == SAE_EINTR && stopped.done.step == step &&
                      strstr(stopped.f.err.msg, "--resume") && exists(&stopped, "state.safetensors")
                  ? 0
                  : 1);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    open_rig(&whole, "whole", 0);
    whole.t.checkpoint_every = 0;
    train(&whole);
    open_rig(&again, "stopped", 0);
    again.t.checkpoint_every = 0;
    again.t.resume = 1;
    train(&again);
    ck_assert_int_eq(again.data.calls, 120 - step);
    same_file(&whole, &again, "model.safetensors");
    same_file(&whole, &again, "train.csv");
    ck_assert_double_eq(whole.done.ce, again.done.ce);
    close_rig(&whole);
    close_rig(&again);
}
END_TEST

/* The time of a run is that of all its processes. */
START_TEST(seconds_add_up)
{
    rig r;
    sae_lm_state s;
    open_rig(&r, "run", 0);
    r.data.stop_at = 30;
    ck_assert_int_eq(sae_lm_train(&r.t, &r.done, &r.f.err), SAE_EIO);
    ck_assert_ok(sae_lm_state_open(&s, &r.m->w, &r.m->at, &r.f.err), r.f.err);
    ck_assert_ok(sae_lm_state_load(&s, &r.m->w, r.dir, "a=1 b=2", &r.f.err), r.f.err);
    ck_assert_double_gt(s.seconds, 0);
    ck_assert_double_le(s.seconds, r.done.seconds);
    s.seconds = 1000;
    ck_assert_ok(sae_lm_state_save(&s, &r.m->w, r.dir, "a=1 b=2", &r.f.err), r.f.err);
    sae_lm_state_close(&s);
    r.data.stop_at = -1;
    r.t.resume = 1;
    train(&r);
    ck_assert_double_gt(r.done.seconds, 1000);
    ck_assert_double_lt(r.done.seconds, 1000 + 120);
    close_rig(&r);
}
END_TEST

START_TEST(another_run_is_refused)
{
    rig r;
    open_rig(&r, "run", 0);
    r.data.stop_at = 30;
    ck_assert_int_eq(sae_lm_train(&r.t, &r.done, &r.f.err), SAE_EIO);
    sae_err err = {0};
    r.t.resume = 1;
    r.t.identity = "a=1 b=3";
    ck_assert_int_eq(sae_lm_train(&r.t, &r.done, &err), SAE_EFORMAT);
    ck_assert_msg(strstr(err.msg, "expected \"b=3\", found \"b=2\"") != NULL, "%s", err.msg);
    close_rig(&r);
}
END_TEST

/* Known before the first step, not at the first evaluation. */
START_TEST(evaluation_that_cannot_be)
{
    rig r;
    open_rig(&r, "run", 0);
    r.m->cfg.ctx = T - 1;
    ck_assert_int_eq(sae_lm_train(&r.t, &r.done, &r.f.err), SAE_EINVAL);
    ck_assert_msg(strstr(r.f.err.msg, "evaluation documents: context 0: ") != NULL, "%s",
                  r.f.err.msg);
    ck_assert_int_eq(r.data.calls, 0);
    close_rig(&r);
}
END_TEST

/* A learning rate that throws the weights out of float's range. */
START_TEST(divergence_is_an_error)
{
    rig r;
    open_rig(&r, "run", 0);
    r.t.lr = r.t.min_lr = 1e30;
    r.t.clip = 0;
    ck_assert_int_eq(sae_lm_train(&r.t, &r.done, &r.f.err), SAE_ENONFINITE);
    ck_assert_msg(strstr(r.f.err.msg, "step ") != NULL, "%s", r.f.err.msg);
    close_rig(&r);
}
END_TEST

/* ---- text ------------------------------------------------------------------------------------ */

/* Contexts 0..N-1, context i being the tokens i, i, ... of length 1 + i mod 5. */
START_TEST(text_as_a_corpus)
{
    enum { N = 50, WALK = 90 };
    int64_t start[N + 1] = {0};
    int32_t tok[5 * N];
    uint64_t doc[N];
    sae_err err = {0};
    for (int i = 0; i < N; i++) {
        start[i + 1] = start[i] + 1 + i % 5;
        doc[i] = (uint64_t)i / 2;
        for (int64_t r = start[i]; r < start[i + 1]; r++)
            tok[r] = i;
    }
    sae_docs all = {.c = {N, start, tok}, .doc = doc}, d;
    sae_lm_text *t = NULL;
    ck_assert_ok(sae_lm_text_open(&t, &all, 7, 0.2, &err), err);
    int64_t held = sae_lm_text_eval(t), rest = N - held;
    ck_assert_int_gt(held, 2);
    ck_assert_int_gt(rest, 20);
    int seen[N] = {0};
    ck_assert_ok(sae_lm_text_docs(t, SAE_SPLIT_EVAL, 0, held, &d, &err), err);
    for (int64_t i = 0; i < held; i++)
        seen[d.c.tok[d.c.start[i]]] += 100;
    int32_t order[WALK];
    for (int64_t i = 0; i < WALK; i++) { /* one at a time */
        ck_assert_ok(sae_lm_text_docs(t, SAE_SPLIT_TRAIN, (uint64_t)i, 1, &d, &err), err);
        order[i] = d.c.tok[0];
        ck_assert_int_eq(d.c.start[1], 1 + order[i] % 5);
        ck_assert_uint_eq(d.doc[0], (uint64_t)order[i] / 2);
        seen[order[i]] += i < rest;
    }
    for (int i = 0; i < N; i++) /* an epoch shows every context of its split once */
        ck_assert_msg(seen[i] == 1 || seen[i] == 100, "context %d: %d", i, seen[i]);
    ck_assert_ok(sae_lm_text_docs(t, SAE_SPLIT_TRAIN, 0, WALK, &d, &err), err);
    for (int64_t i = 0; i < WALK; i++)
        ck_assert_int_eq(d.c.tok[d.c.start[i]], order[i]);
    ck_assert(memcmp(order, order + rest, sizeof order[0] * (size_t)(WALK - rest)) != 0);
    ck_assert_int_eq(sae_lm_text_docs(t, SAE_SPLIT_EVAL, 1, held, &d, &err), SAE_EINVAL);
    sae_lm_text_close(&t);
    sae_err none = {0};
    ck_assert_int_eq(sae_lm_text_open(&t, &all, 7, 0, &none), SAE_EINVAL);
    ck_assert_ptr_null(t);
}
END_TEST

Suite *suite_lm_train(void)
{
    Suite *s = suite_create("lm_train");
    TCase *t = tcase_create("lm_train");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, learns);
    tcase_add_test(t, threads_decide_nothing);
    tcase_add_test(t, resumed_is_the_same);
    tcase_add_loop_test(t, interrupted_evaluation_loses_nothing, 0, 2);
    tcase_add_test(t, seconds_add_up);
    tcase_add_test(t, another_run_is_refused);
    tcase_add_test(t, evaluation_that_cannot_be);
    tcase_add_test(t, divergence_is_an_error);
    tcase_add_test(t, text_as_a_corpus);
    suite_add_tcase(s, t);
    return s;
}
