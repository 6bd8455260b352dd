/* tests/fault/checkpoint.c - whatever write or allocation fails, the checkpoint before stays
 * usable, nothing leaks and nothing half-written stays. */
#include "train/rig.h"

#include "core/file.h"

enum { B = 32, N = 20, MOST = 2000 };

typedef struct scene {
    rig r;
    sae_learner l, resumed;
    sae_learner *list[1];
    char dir[512];
} scene;

static void open_scene(scene *s)
{
    sae_train_config c = rig_config(20, B);
    sae_spec spec;
    rig_open(&s->r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    const sae_variant *v = sae_all_variants(s->r.reg)[0];
    rig_spec(&s->r, &spec, v, N);
    rig_learner(&s->r, &s->l, &spec, &c);
    rig_spec(&s->r, &spec, v, N);
    rig_learner(&s->r, &s->resumed, &spec, &c);
    snprintf(s->dir, sizeof s->dir, "%s/run", test_dir());
    s->list[0] = &s->l;
    rig_train(&s->r, &s->l, 1);
    ck_assert_ok(sae_checkpoints_save(s->dir, 1, s->list, 1, &s->r.s, &s->r.err), s->r.err);
}

static void close_scene(scene *s)
{
    sae_learner_close(&s->l);
    sae_learner_close(&s->resumed);
    rig_close(&s->r);
}

/* The newest complete checkpoint loads and is the one of `step`; nothing else is there. */
static void newest_is(scene *s, int64_t step)
{
    sae_learner *list[] = {&s->resumed};
    char **names = NULL, want[32];
    int64_t found = 0;
    sae_err err = {0};
    ck_assert_ok(sae_checkpoints_load(s->dir, &found, list, 1, &s->r.s, &err), err);
    ck_assert_int_eq(found, step);
    ck_assert_int_eq(s->resumed.step, step);
    snprintf(want, sizeof want, "step-%08d", (int)step);
    ck_assert_ok(sae_dir_list(s->dir, &names, &err), err);
    ck_assert_str_eq(names[0], want);
    ck_assert_ptr_null(names[1]);
    sae_names_free(&names);
}

/* A fault after the new checkpoint is complete does not fail the save; it may leave the old one,
 * which the next save removes. Put the scene back to step 1 then. */
static int old_one_left(scene *s)
{
    char old[600], new[600];
    sae_err err = {0};
    snprintf(old, sizeof old, "%s/step-00000001", s->dir);
    snprintf(new, sizeof new, "%s/step-00000002", s->dir);
    if (!sae_file_exists(old))
        return 0;
    ck_assert(sae_file_exists(new));
    ck_assert_ok(sae_dir_remove(s->dir, &err), err);
    s->l.step = 1;
    ck_assert_ok(sae_checkpoints_save(s->dir, 1, s->list, 1, &s->r.s, &err), err);
    return 1;
}

/* Fail the i-th call of one kind for i = 1, 2, ... until a save gets through. */
static void each_fault(void (*fail_at)(uint64_t), int code)
{
    static scene s;
    open_scene(&s);
    uint64_t i = 1;
    for (; i < MOST; i++) {
        size_t live = sae_alloc_live();
        sae_err err = {0};
        s.l.step = 2;
        fail_at(i);
        int rc = sae_checkpoints_save(s.dir, 2, s.list, 1, &s.r.s, &err);
        fail_at(0);
        ck_assert_uint_eq(sae_alloc_live(), live);
        if (rc == SAE_OK && old_one_left(&s))
            continue;
        if (rc == SAE_OK)
            break;
        ck_assert_msg(rc == code && err.code == rc && err.msg[0], "fault %d: status %d: %s", (int)i,
                      rc, err.msg);
        newest_is(&s, 1);
    }
    ck_assert_uint_gt(i, 2); /* there was something to fail */
    ck_assert_uint_lt(i, MOST);
    /* The last fault may have hit the removal of the old one, which the next save repeats. */
    ck_assert_ok(sae_checkpoints_save(s.dir, 2, s.list, 1, &s.r.s, &s.r.err), s.r.err);
    newest_is(&s, 2);
    rig_same(&s.l, &s.resumed);
    close_scene(&s);
}

START_TEST(every_write)
{
    each_fault(sae_io_fail_at, SAE_EIO);
}
END_TEST

START_TEST(every_allocation)
{
    each_fault(sae_alloc_fail_at, SAE_ENOMEM);
}
END_TEST

/* The same for an export: the directory of the earlier one stays. */
START_TEST(export_is_all_or_nothing)
{
    static scene s;
    static void (*const fault[])(uint64_t) = {sae_io_fail_at, sae_alloc_fail_at};
    char dir[600];
    open_scene(&s);
    snprintf(dir, sizeof dir, "%s/sae", test_dir());
    ck_assert_ok(sae_file_export(dir, &s.l, &s.r.s, &s.r.err), s.r.err);
    for (int kind = 0; kind < 2; kind++)
        for (uint64_t i = 1; i < MOST; i++) {
            size_t live = sae_alloc_live();
            sae_err err = {0};
            sae_loaded loaded;
            fault[kind](i);
            int rc = sae_file_export(dir, &s.l, &s.r.s, &err);
            fault[kind](0);
            ck_assert_uint_eq(sae_alloc_live(), live);
            ck_assert_ok(sae_file_import(&loaded, dir, NULL, s.r.reg, &s.r.e, &s.r.err), s.r.err);
            sae_loaded_close(&loaded, &s.r.e);
            if (rc == SAE_OK)
                break;
            ck_assert_msg(err.code == rc && err.msg[0], "fault %d: status %d", (int)i, rc);
            ck_assert_uint_lt(i, MOST - 1);
        }
    close_scene(&s);
}
END_TEST

/* A learner that cannot be opened leaves nothing behind, whichever allocation failed. */
START_TEST(opening_a_learner)
{
    static rig r;
    sae_train_config c = rig_config(20, B);
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    for (uint64_t i = 1;; i++) {
        sae_spec spec;
        sae_learner l;
        sae_err err = {0};
        size_t live = sae_alloc_live();
        rig_spec(&r, &spec, sae_all_variants(r.reg)[0], N);
        sae_alloc_fail_at(i);
        int rc = sae_learner_open(&l, &spec, 1, &c, &r.s.dim, &r.e, &err);
        sae_alloc_fail_at(0);
        if (rc == SAE_OK)
            sae_learner_close(&l);
        else
            ck_assert_msg(rc == SAE_ENOMEM && err.msg[0], "%d: %s", rc, err.msg);
        sae_spec_free(&spec);
        ck_assert_uint_eq(sae_alloc_live(), live);
        if (rc == SAE_OK)
            break;
    }
    rig_close(&r);
}
END_TEST

Suite *suite_checkpoint(void)
{
    Suite *s = suite_create("checkpoint");
    TCase *t = tcase_create("checkpoint");
    tcase_set_timeout(t, 120);
    tcase_add_test(t, every_write);
    tcase_add_test(t, every_allocation);
    tcase_add_test(t, export_is_all_or_nothing);
    tcase_add_test(t, opening_a_learner);
    suite_add_tcase(s, t);
    return s;
}
