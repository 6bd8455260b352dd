/* tests/fault/team.c - whatever allocation of a run on several devices fails: an error with a
 * message, every thread ended, no leak. */
#include "train/rig.h"

enum { DEVICES = 3, B = 12, N = 20, STEPS = 2, MOST = 1000 };

typedef struct scene {
    rig r;
    sae_engine e[SAE_MAX_DEVICES];
    int devices;
    sae_team *team;
    sae_learner l;
} scene;

static int run(scene *s, sae_err *err)
{
    sae_spec spec;
    sae_learner *list[] = {&s->l};
    sae_train_config c = rig_config(STEPS, B);
    sae_trainer t = {.stream = &s->r.s, .learner = list, .count = 1, .steps = STEPS};
    SAE_TRY(sae_team_open(&s->team, s->e, s->devices, err));
    SAE_TRY(sae_spec_parse(&spec, s->r.reg, SAE_KIND_VARIANT, sae_all_variants(s->r.reg)[0]->name,
                           err));
    spec.n = N;
    spec.n_per_d = 0;
    int rc = sae_learner_open_team(&s->l, &spec, 1, &c, &s->r.s.dim, s->team, err);
    sae_spec_free(&spec); /* empty where it was taken over */
    return rc < 0 ? rc : sae_trainer_run(&t, err);
}

START_TEST(any_allocation)
{
    static scene s;
    int64_t last = 0;
    for (int64_t i = 1; i < last + 20; i++) { /* some failures do no harm */
        sae_err err = {0};
        ck_assert_int_lt(i, MOST);
        memset(&s, 0, sizeof s);
        rig_open_on(&s.r, "ref", 1, SAE_NORM_NONE, RIG_GIVES, B);
        ck_assert_ok(sae_devices_open(s.e, &s.devices, s.r.reg, "ref:0-2", DEVICES, &err), err);
        size_t live = sae_alloc_live();
        sae_alloc_fail_at((uint64_t)i);
        int rc = run(&s, &err);
        sae_alloc_fail_at(0);
        ck_assert_msg(rc == SAE_OK ? s.l.devices == DEVICES && s.l.step == STEPS
                                   : err.code == rc && err.msg[0],
                      "fault %d: %d, %s", (int)i, rc, err.msg);
        sae_learner_close(&s.l);
        sae_team_close(&s.team);
        ck_assert_msg(sae_alloc_live() == live, "fault %d (%s): a leak", (int)i, err.msg);
        sae_devices_close(s.e, s.devices);
        rig_close(&s.r);
        if (rc < 0)
            last = i;
    }
    /* The team; on each device weights, gradients, moments, statistics and options at least. */
    ck_assert_int_ge(last, 4 + 7 * DEVICES);
}
END_TEST

Suite *suite_team(void);
Suite *suite_team(void)
{
    Suite *s = suite_create("team");
    TCase *t = tcase_create("team");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, any_allocation);
    suite_add_tcase(s, t);
    return s;
}
