/* tests/fault/ahead.c - whatever allocation, copy or upload of a run that loads ahead fails: an
 * error with a message, every thread ended, no leak. */
#include "train/apart.h"

enum { B = 16, N = 20, STEPS = 4, MOST = 500 };

typedef struct scene {
    rig r;
    sae_learner l;
    sae_learner *list[1];
    sae_trainer t;
} scene;

static int open_and_run(scene *s, void (*fail_at)(int64_t), int64_t i)
{
    sae_spec spec;
    sae_train_config c = rig_config(STEPS, B);
    apart_open(&s->r, NULL, SAE_NORM_ROW_STD, B);
    rig_spec(&s->r, &spec, sae_all_variants(s->r.reg)[0], N);
    rig_learner(&s->r, &s->l, &spec, &c);
    s->list[0] = &s->l;
    s->t = (sae_trainer){.stream = &s->r.s, .learner = s->list, .count = 1, .steps = STEPS};
    fail_at(i);
    int rc = sae_trainer_run(&s->t, &s->r.err);
    fail_at(0);
    return rc;
}

/* *when: the last call whose failure mattered. */
static void each_fault(void (*fail_at)(int64_t), int64_t *when)
{
    static scene s;
    size_t live = sae_alloc_live();
    *when = 0;
    for (int64_t i = 1, last = 0; i < last + 20; i++) { /* some failures do no harm */
        ck_assert_int_lt(i, MOST);
        int rc = open_and_run(&s, fail_at, i);
        ck_assert_msg(rc == SAE_OK || (s.r.err.code == rc && s.r.err.msg[0]), "fault %d: %d, %s",
                      (int)i, rc, s.r.err.msg);
        ck_assert_int_eq(apart.inside, 0);
        sae_learner_close(&s.l);
        rig_close(&s.r);
        ck_assert_msg(sae_alloc_live() == live && apart.live == 0, "fault %d (%s): a leak", (int)i,
                      s.r.err.msg);
        if (rc < 0)
            *when = last = i;
    }
}

static void alloc_fails(int64_t i)
{
    sae_alloc_fail_at((uint64_t)i);
}

static void backend_fails(int64_t i)
{
    apart.calls = 0;
    apart.fail_at = i;
}

START_TEST(any_allocation)
{
    int64_t when;
    each_fault(alloc_fails, &when);
    ck_assert_int_ge(when, 4); /* tokens, scales of x and of y, the thread */
}
END_TEST

START_TEST(any_call_of_the_backend)
{
    int64_t when;
    each_fault(backend_fails, &when);
    ck_assert_int_ge(when, 8 + STEPS); /* memory of a batch, copies and uploads */
}
END_TEST

Suite *suite_ahead(void);
Suite *suite_ahead(void)
{
    Suite *s = suite_create("ahead");
    TCase *t = tcase_create("ahead");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, any_allocation);
    tcase_add_test(t, any_call_of_the_backend);
    suite_add_tcase(s, t);
    return s;
}
