/* tests/train/resume.c - a run that stops and goes on ends where an uninterrupted one does. */
#include "train/rig.h"

#include "core/file.h"
#include "core/log.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { N = 40, B = 96 };

static char *in_dir(const char *name)
{
    static char path[8][512];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", test_dir(), name);
    return p;
}

/* 20 steps, save, 20 more; load, 20 more: the same bits, for every registered variant. */
START_TEST(checkpoint_of_every_variant)
{
    rig r;
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    sae_train_config c = rig_config(40, B);
    for (const sae_variant *const *v = sae_all_variants(r.reg); *v; v++) {
        sae_spec spec;
        sae_learner whole, resumed;
        sae_map first, second;
        rig_spec(&r, &spec, *v, N);
        rig_learner(&r, &whole, &spec, &c);
        rig_spec(&r, &spec, *v, N);
        rig_learner(&r, &resumed, &spec, &c);
        rig_train(&r, &whole, 20);
        ck_assert_ok(sae_checkpoint_save(in_dir("a"), &whole, &r.s, &r.err), r.err);
        ck_assert_ok(sae_checkpoint_load(in_dir("a"), &resumed, &r.s, &r.err), r.err);
        rig_same(&whole, &resumed);
        ck_assert_ok(sae_checkpoint_save(in_dir("b"), &resumed, &r.s, &r.err), r.err);
        ck_assert_ok(sae_map_open(&first, in_dir("a"), &r.err), r.err);
        ck_assert_ok(sae_map_open(&second, in_dir("b"), &r.err), r.err);
        ck_assert_uint_eq(first.bytes, second.bytes);
        ck_assert_msg(memcmp(first.p, second.p, first.bytes) == 0, "%s: saved again, other bytes",
                      (*v)->name);
        sae_map_close(&first);
        sae_map_close(&second);
        rig_train(&r, &whole, 40);
        rig_train(&r, &resumed, 40);
        rig_same(&whole, &resumed);
        sae_learner_close(&whole);
        sae_learner_close(&resumed);
    }
    rig_close(&r);
}
END_TEST

/* Each field of the identity that differs is named. */
START_TEST(other_run_is_refused)
{
    rig r;
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    sae_train_config c = rig_config(40, B);
    const sae_variant *v = sae_all_variants(r.reg)[0];
    sae_spec spec;
    sae_learner a, b;
    rig_spec(&r, &spec, v, N);
    rig_learner(&r, &a, &spec, &c);
    rig_train(&r, &a, 2);
    ck_assert_ok(sae_checkpoint_save(in_dir("a"), &a, &r.s, &r.err), r.err);
    const char *const fields[] = {"lr", "spec", "dataset_hash", "steps"};
    for (int i = 0; i < 4; i++) {
        sae_train_config other = c;
        other.lr = i == 0 ? 0.125 : c.lr;
        other.steps = i == 3 ? 41 : c.steps;
        rig_spec(&r, &spec, v, i == 1 ? N + 1 : N);
        rig_learner(&r, &b, &spec, &other);
        r.s.hash[0] = i == 2 ? 'f' : '0';
        sae_err err = {0};
        ck_assert_int_eq(sae_checkpoint_load(in_dir("a"), &b, &r.s, &err), SAE_EFORMAT);
        ck_assert_msg(strstr(err.msg, fields[i]) != NULL, "%s: %s", fields[i], err.msg);
        sae_learner_close(&b);
    }
    sae_learner_close(&a);
    rig_close(&r);
}
END_TEST

/* ---- whole runs, in child processes ---------------------------------------------------------- */

enum { STEPS = 120, EVERY = 3 };

typedef struct job {
    rig r;
    sae_learner l[2];
    sae_learner *list[2];
    sae_trainer t;
} job;

static int interrupt_at_10(void *arg, const sae_learner *l, double lr)
{
    (void)arg, (void)lr;
    if (l->step == 10)
        sae_interrupt();
    return SAE_OK;
}

static void open_job(job *j, const char *dir)
{
    sae_train_config c = rig_config(STEPS, B);
    const sae_variant *const *v;
    rig_open(&j->r, 1, SAE_NORM_SQRT_D, RIG_GIVES, B);
    v = sae_all_variants(j->r.reg);
    for (int i = 0; i < 2; i++) {
        sae_spec spec;
        rig_spec(&j->r, &spec, v[i && v[1] ? 1 : 0], N + i);
        rig_learner(&j->r, &j->l[i], &spec, &c);
        j->list[i] = &j->l[i];
    }
    j->t = (sae_trainer){.stream = &j->r.s,
                         .learner = j->list,
                         .count = 2,
                         .steps = STEPS,
                         .log_every = 1,
                         .checkpoint_every = EVERY,
                         .dir = dir};
}

static void close_job(job *j)
{
    sae_learner_close(&j->l[0]);
    sae_learner_close(&j->l[1]);
    rig_close(&j->r);
}

/* Resume and run to the end; the exit status is 0, or 1 with the message on standard error. */
static _Noreturn void child(const char *dir, int interrupt)
{
    static job j;
    int64_t step = 0;
    open_job(&j, dir);
    j.t.on_loss = interrupt ? interrupt_at_10 : NULL;
    int rc = sae_trainer_resume(&j.t, &step, &j.r.err);
    if (rc >= 0)
        rc = sae_trainer_run(&j.t, &j.r.err);
    if (rc < 0 && rc != SAE_EINTR)
        fprintf(stderr, "child: %s\n", j.r.err.msg);
    _exit(rc == SAE_EINTR ? 2 : rc < 0);
}

static pid_t start(const char *dir, int interrupt)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(dir, interrupt);
    ck_assert_int_gt(pid, 0);
    return pid;
}

static int finish(pid_t pid)
{
    int status = 0;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

/* The final states of two runs hold the same bits. */
static void same_end(const char *a, const char *b)
{
    static job x, y;
    int64_t step = 0;
    open_job(&x, a);
    open_job(&y, b);
    ck_assert_ok(sae_trainer_resume(&x.t, &step, &x.r.err), x.r.err);
    ck_assert_int_eq(step, STEPS);
    ck_assert_ok(sae_trainer_resume(&y.t, &step, &y.r.err), y.r.err);
    ck_assert_int_eq(step, STEPS);
    rig_same(&x.l[0], &y.l[0]);
    rig_same(&x.l[1], &y.l[1]);
    close_job(&x);
    close_job(&y);
}

/* Exactly one complete checkpoint and nothing half-written is left. */
static void only_newest(const char *dir)
{
    char **names = NULL, want[32];
    sae_err err = {0};
    snprintf(want, sizeof want, "step-%08d", STEPS);
    ck_assert_ok(sae_dir_list(dir, &names, &err), err);
    ck_assert_ptr_nonnull(names[0]);
    ck_assert_str_eq(names[0], want);
    ck_assert_ptr_null(names[1]);
    sae_names_free(&names);
}

/* kill -9 at random moments, resume, until a run gets through. */
START_TEST(killed_run_ends_equal)
{
    const char *whole = in_dir("whole"), *broken = in_dir("broken");
    struct timespec t0, t1;
    int status = 0, kills = 0;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    ck_assert_int_eq(finish(start(whole, 0)), 0);
    clock_gettime(CLOCK_MONOTONIC, &t1);
    double whole_ns = (double)(t1.tv_sec - t0.tv_sec) * 1e9 + (double)(t1.tv_nsec - t0.tv_nsec);
    for (uint32_t i = 0; i < 40; i++) {
        double share = i < 39 ? 0.15 + 0.35 * (double)sae_u01(sae_philox(9, 1, i, 0).v[0]) : 0;
        pid_t pid = start(broken, 0);
        int64_t ns = (int64_t)(share * whole_ns);
        if (i < 39) {
            nanosleep(&(struct timespec){ns / 1000000000, (long)(ns % 1000000000)}, NULL);
            kill(pid, SIGKILL);
        }
        status = finish(pid);
        if (!WIFSIGNALED(status))
            break;
        kills++;
    }
    ck_assert_int_eq(status, 0);
    ck_assert_int_gt(kills, 0);
    only_newest(broken);
    same_end(whole, broken);
}
END_TEST

START_TEST(interrupted_run_ends_equal)
{
    const char *whole = in_dir("whole"), *broken = in_dir("broken");
    ck_assert_int_eq(finish(start(whole, 0)), 0);
    ck_assert_int_eq(WEXITSTATUS(finish(start(broken, 1))), 2);
    ck_assert(sae_file_exists(in_dir("broken/step-00000010")));
    ck_assert_int_eq(finish(start(broken, 0)), 0);
    same_end(whole, broken);
}
END_TEST

Suite *suite_resume(void)
{
    Suite *s = suite_create("resume");
    TCase *t = tcase_create("resume");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, checkpoint_of_every_variant);
    tcase_add_test(t, other_run_is_refused);
    tcase_add_test(t, killed_run_ends_equal);
    tcase_add_test(t, interrupted_run_ends_equal);
    suite_add_tcase(s, t);
    return s;
}
