/* tests/train/team.c - several devices train an SAE as one does.
 *
 * Devices are engines of a backend in the program: two of "cpu", three of "ref"; or, where
 * SAEMARK_CUDA names an object, two of its devices. A variant whose rows do not depend on each
 * other, whose losses are means over rows and that has no STATE sees the same gradients up to the
 * order of sums, so its losses are as close to one device's as those of another backend: see
 * devices.c for the bound.
 */
#include "support/backends.h"
#include "train/shares.h"
#include "train/replica.h"
#include "train/rig.h"

#include <float.h>
#include <stdlib.h>

enum { N = 40, B = 48, STEPS = 20, FEW = 6 }; /* FEW where the processor emulates a device */
#define BOUND (STEPS * 1024 * (double)FLT_EPSILON / 2)
static int64_t steps = STEPS;

/* ---- the rig of a team ----------------------------------------------------------------------- */

typedef struct crew {
    rig r; /* its own engine fills batches and trains alone */
    sae_engine e[SAE_MAX_DEVICES];
    int devices;
    sae_team *team;
} crew;

static void crew_open(crew *c, const char *backend, int last)
{
    char name[64];
    snprintf(name, sizeof name, "%s:0-%d", backend, last);
    memset(c, 0, sizeof *c);
    rig_open_on(&c->r, backend, 1, SAE_NORM_UNIT_ROW, RIG_GIVES, B);
    ck_assert_ok(sae_devices_open(c->e, &c->devices, c->r.reg, name, last + 1, &c->r.err),
                 c->r.err);
    ck_assert_int_eq(c->devices, last + 1);
    ck_assert_ok(sae_team_open(&c->team, c->e, c->devices, &c->r.err), c->r.err);
}

static void crew_close(crew *c)
{
    sae_team_close(&c->team);
    sae_devices_close(c->e, c->devices);
    rig_close(&c->r);
}

/* The learner of a variant on the crew's devices. */
static void crew_learner(crew *c, sae_learner *l, const char *variant)
{
    sae_spec spec;
    sae_train_config cfg = rig_config(steps, B);
    rig_spec(&c->r, &spec, sae_find_variant(c->r.reg, variant), N);
    rig_base(&c->r, &spec);
    ck_assert_ok(sae_learner_open_team(l, &spec, 5, &cfg, &c->r.s.dim, c->team, &c->r.err),
                 c->r.err);
    ck_assert_ok(sae_learner_extras(l, c->r.reg, &c->r.s, &c->r.err), c->r.err);
}

static void open_parts(crew *c, const sae_learner *l, sae_shares *p)
{
    ck_assert_ok(sae_shares_open(p, c->team, &c->r.s, B, l->needs, &c->r.err), c->r.err);
}

/* The batch of the next step, with init before the first. */
static void next_batch(crew *c, sae_learner *l, sae_shares *p)
{
    sae_batch b;
    ck_assert_ok(sae_stream_fill(&c->r.s, SAE_SPLIT_TRAIN, (uint64_t)(l->step * B), B, l->needs, &b,
                                 &c->r.err), c->r.err);
    ck_assert_ok(sae_shares_load(p, &c->r.err), c->r.err);
    if (l->step == 0)
        ck_assert_ok(sae_learner_init(l, &b, &c->r.err), c->r.err);
}

static void crew_train(crew *c, sae_learner *l, int64_t to)
{
    sae_shares p;
    open_parts(c, l, &p);
    while (l->step < to && !l->done) {
        next_batch(c, l, &p);
        ck_assert_ok(sae_learner_step(l, p.of, &c->r.err), c->r.err);
    }
    sae_shares_close(&p);
}

/* What a backend has in its memory, in the host's; the caller frees. */
static void *fetch(const sae_engine *e, const void *p, size_t bytes)
{
    void *out = malloc(bytes ? bytes : 1);
    ck_assert_ptr_nonnull(out);
    ck_assert_int_eq(e->be->copy(e->dev, out, p, bytes, SAE_COPY_D2H), SAE_OK);
    return out;
}

static void same_array(const sae_learner *a, const void *pa, const sae_learner *b, const void *pb,
                       size_t bytes, const char *what)
{
    void *x = fetch(a->e, pa, bytes), *y = fetch(b->e, pb, bytes);
    ck_assert_msg(memcmp(x, y, bytes) == 0, "%s, step %lld: %s differs", a->label,
                  (long long)a->step, what);
    free(x);
    free(y);
}

/* rig_same, in the memory of any backend. */
static void same_learners(const sae_learner *a, const sae_learner *b)
{
    size_t counts = (size_t)a->model.dim.n * sizeof(uint64_t);
    ck_assert_int_eq(a->step, b->step);
    ck_assert_uint_eq(a->stats.view.tokens, b->stats.view.tokens);
    for (int i = 0; i < a->model.nt; i++) {
        const sae_tensor *t = &a->model.t[i];
        size_t count = (size_t)(t->rows * t->cols), bytes = count * sizeof(sae_real);
        same_array(a, t->w, b, b->model.t[i].w, count * sae_dtype_size(t->spec->dtype),
                   t->spec->name);
        if (t->spec->role != SAE_PARAM)
            continue;
        same_array(a, a->moment1[i], b, b->moment1[i], bytes, t->spec->name);
        same_array(a, a->moment2[i], b, b->moment2[i], bytes, t->spec->name);
    }
    same_array(a, a->stats.last_fired, b, b->stats.last_fired, counts, "last_fired");
    same_array(a, a->stats.fire_count, b, b->stats.fire_count, counts, "fire_count");
}

static void same_replicas(sae_learner *l)
{
    for (int i = 1; i < l->devices; i++)
        same_learners(l, sae_replica(l, i));
}

/* ---- every variant --------------------------------------------------------------------------- */

/* Losses of the first batch by l as it is, as means over parts of it. */
static void losses_in_parts(rig *r, sae_learner *l, int parts, double out[SAE_MAX_LOSS])
{
    memset(out, 0, SAE_MAX_LOSS * sizeof *out);
    for (int i = 0; i < parts; i++) {
        sae_batch b;
        int64_t rows = B / parts;
        ck_assert_ok(sae_stream_fill(&r->s, SAE_SPLIT_TRAIN, (uint64_t)(i * rows), rows, l->needs,
                                     &b, &r->err), r->err);
        sae_ctx c = {.size = sizeof c,
                     .mode = SAE_TRAIN,
                     .steps = steps,
                     .seed = l->seed,
                     .opt = sae_opts_base(l->spec.opts),
                     .k = &l->e->k,
                     .dev = l->e->dev,
                     .be = l->e->be,
                     .stats = &l->stats.view,
                     .err = &r->err};
        sae_extras_give(l->extras, &c);
        ck_assert_ok(sae_forward(&l->model, &c, &b, &l->tape, l->e), r->err);
        for (int k = 0; l->model.v->losses[k]; k++)
            out[k] += l->tape.loss[k] / parts;
    }
}

static int rows_depend(const sae_learner *l)
{
    return (sae_caps(l->model.v, sae_opts_base(l->spec.opts)) & SAE_CAP_BATCH_TRAIN) != 0;
}

/* Rows do not depend on each other, losses are means over them, adapt learns nothing from them.
 * Asked before and after training: a square of a mean shows where something is active. */
static int divides(rig *r, sae_learner *l, int parts)
{
    double whole[SAE_MAX_LOSS], mean[SAE_MAX_LOSS];
    if (rows_depend(l))
        return 0;
    for (int i = 0; i < l->model.nt; i++)
        if (l->model.t[i].spec->role == SAE_STATE)
            return 0;
    losses_in_parts(r, l, 1, whole);
    losses_in_parts(r, l, parts, mean);
    for (int k = 0; l->model.v->losses[k]; k++)
        if (!(fabs(whole[k] - mean[k]) <= (double)FLT_EPSILON * (1 + fabs(whole[k]))))
            return 0; /* terms of rows are the same bits, so what is left is one rounding */
    return 1;
}

static void close_losses(const sae_learner *one, const sae_learner *all)
{
    for (int k = 0; one->model.v->losses[k]; k++)
        ck_assert_msg(fabs(one->loss[k] - all->loss[k]) <= BOUND * (1 + fabs(one->loss[k])),
                      "%s: %s is %.9g after %lld steps, %.9g on one device", one->label,
                      one->model.v->losses[k], all->loss[k], (long long)one->step, one->loss[k]);
}

/* counts += on how many rows of a code each feature is active. */
static void count_active(const sae_learner *l, uint64_t *counts)
{
    const sae_code *z = &l->tape.code;
    int64_t entries = z->dense ? z->B * z->n : z->nnz;
    sae_real *val = fetch(l->e, z->val, (size_t)entries * sizeof *val);
    int32_t *idx = z->dense ? NULL : fetch(l->e, z->idx, (size_t)entries * sizeof *idx);
    for (int64_t i = 0; i < entries; i++)
        counts[idx ? idx[i] : (int32_t)(i % z->n)] += val[i] != 0;
    free(val);
    free(idx);
}

/* Step by step on all devices: replicas are equal, counts those of all rows. first [N]: of the
 * first step. */
static void train_watched(crew *c, sae_learner *l, uint64_t *first)
{
    sae_shares p;
    uint64_t counts[N] = {0};
    open_parts(c, l, &p);
    for (int64_t step = 0; step < steps; step++) {
        next_batch(c, l, &p);
        ck_assert_ok(sae_learner_step(l, p.of, &c->r.err), c->r.err);
        ck_assert_uint_eq(l->stats.view.tokens, (uint64_t)((step + 1) * B));
        same_replicas(l);
        for (int i = 0; i < l->devices; i++)
            count_active(sae_replica(l, i), counts);
        uint64_t *got = fetch(l->e, l->stats.fire_count, (size_t)l->model.dim.n * sizeof *got);
        ck_assert_msg(memcmp(got, counts, (size_t)l->model.dim.n * sizeof *got) == 0,
                      "%s, step %lld: other counts than those of the replicas' codes", l->label,
                      (long long)step);
        free(got);
        if (step == 0)
            memcpy(first, counts, sizeof counts);
    }
    sae_shares_close(&p);
}

/* To the end of `end` once more: with another learner, and from its checkpoint with a third. */
static void train_again(crew *c, const sae_learner *end, const char *variant)
{
    sae_learner half, rest;
    char path[512];
    snprintf(path, sizeof path, "%s/team", test_dir());
    crew_learner(c, &half, variant);
    crew_learner(c, &rest, variant);
    crew_train(c, &half, steps / 2);
    ck_assert_ok(sae_checkpoint_save(path, &half, &c->r.s, &c->r.err), c->r.err);
    ck_assert_ok(sae_checkpoint_load(path, &rest, &c->r.s, &c->r.err), c->r.err);
    same_learners(&half, &rest);
    same_replicas(&rest);
    crew_train(c, &rest, steps);
    same_learners(end, &rest);
    sae_learner_close(&half);
    sae_learner_close(&rest);
}

/* Against one device. 1: the losses could be compared. */
static int compare(crew *c, sae_learner *one, const sae_learner *all, const uint64_t *first)
{
    sae_batch b;
    ck_assert_ok(sae_stream_fill(&c->r.s, SAE_SPLIT_TRAIN, 0, B, one->needs, &b, &c->r.err),
                 c->r.err);
    ck_assert_ok(sae_learner_init(one, &b, &c->r.err), c->r.err);
    int comparable = divides(&c->r, one, all->devices);
    rig_train(&c->r, one, 1);
    if (!rows_depend(one)) { /* the same rows under the same parameters: the same bits */
        uint64_t *got = fetch(one->e, one->stats.fire_count, N * sizeof *got);
        ck_assert_mem_eq(got, first, N * sizeof *got);
        free(got);
    }
    rig_train(&c->r, one, steps);
    if (!comparable || !divides(&c->r, one, all->devices))
        return 0;
    close_losses(one, all);
    return 1;
}

/* 1: it trains on several devices; 2: and its losses are compared. */
static int check_variant(crew *c, const char *variant)
{
    sae_learner one, all;
    sae_spec spec;
    uint64_t first[N];
    int depth = 0;
    sae_train_config cfg = rig_config(steps, B);
    rig_spec(&c->r, &spec, sae_find_variant(c->r.reg, variant), N);
    rig_learner(&c->r, &one, &spec, &cfg);
    crew_learner(c, &all, variant);
    if (all.devices > 1) {
        train_watched(c, &all, first);
        train_again(c, &all, variant);
        depth = 1 + compare(c, &one, &all, first);
    } else {
        rig_train(&c->r, &one, steps);
        rig_train(&c->r, &all, steps);
        same_learners(&one, &all);
    }
    sae_learner_close(&one);
    sae_learner_close(&all);
    return depth;
}

/* The crew of loop test i: of a backend of the processor, or of the one that tests are about. 0:
 * there are not enough of its devices here. */
static int open_crew_of(crew *c, int i)
{
    sae_engine last;
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    const sae_backend *be = test_backend(reg, i);
    int more = strcmp(be->name, "ref") == 0 ? 2 : 1, there = 1;
    char name[32];
    snprintf(name, sizeof name, "%s", be->name);
    if (sae_engine_open(&last, be, more, 1, &err) < 0)
        there = 0;
    else
        sae_engine_close(&last);
    sae_registry_close(&reg);
    if (!there) {
        test_skip("%s trains on one device only: %s", name, err.msg);
        return 0;
    }
    crew_open(c, name, more);
    steps = strstr(c->e[0].props.name, "emulated") ? FEW : STEPS;
    return 1;
}

START_TEST(every_variant)
{
    static crew c;
    int count[3] = {0};
    if (!open_crew_of(&c, _i))
        return;
    for (const sae_variant *const *v = sae_all_variants(c.r.reg); *v; v++)
        count[check_variant(&c, (*v)->name)]++;
    ck_assert_int_ge(count[0], 3); /* there are baselines without gradients */
    ck_assert_int_ge(count[1], 3);
    ck_assert_int_ge(count[2], 5);
    crew_close(&c);
}
END_TEST

/* ---- what must not go on --------------------------------------------------------------------- */

static int fail_here(sae_device *dev, const sae_code *z, uint64_t now, uint64_t *last_fired,
                     uint64_t *fire_count)
{
    (void)dev, (void)z, (void)now, (void)last_fired, (void)fire_count;
    return SAE_EBACKEND;
}

static int fail_adam(sae_device *dev, const sae_adam *a, sae_mat w, sae_real *grad, sae_real *m1,
                     sae_real *m2)
{
    (void)dev, (void)a, (void)w, (void)grad, (void)m1, (void)m2;
    return SAE_ENOMEM;
}

/* A variant that every program has: what is tested depends on none. */
static const char *any_variant(const crew *c)
{
    for (const sae_variant *const *v = sae_all_variants(c->r.reg);; v++) {
        ck_assert_ptr_nonnull(*v);
        sae_spec spec;
        rig_spec(&c->r, &spec, *v, N);
        int plain = !rig_needs(&spec) && !(*v)->caps && (*v)->tensors[0].role == SAE_PARAM;
        plain |= !rig_needs(&spec) && (*v)->caps == SAE_CAP_LINEAR_DEC;
        sae_spec_free(&spec);
        if (plain)
            return (*v)->name;
    }
}

/* A step that fails ends with the failure of the first device that has one, and the threads are
 * there for the next. */
START_TEST(failures)
{
    static crew c;
    sae_learner l;
    sae_shares p;
    crew_open(&c, "ref", 2);
    crew_learner(&c, &l, any_variant(&c));
    ck_assert_int_eq(l.devices, 3);
    open_parts(&c, &l, &p);
    next_batch(&c, &l, &p);
    const sae_kernels good = c.e[2].k;
    for (int turn = 0; turn < 3; turn++) {
        sae_err err = {0};
        int adam = turn == 1, rc = SAE_EBACKEND;
        sae_real *row = (sae_real *)(uintptr_t)p.of[1].x, was = row[5];
        if (turn == 0)
            c.e[2].k.fire_update = fail_here;
        if (adam)
            c.e[1].k.adam_step = c.e[2].k.adam_step = fail_adam;
        if (turn == 2)
            row[5] = (sae_real)NAN;
        rc = sae_learner_step(&l, p.of, &err);
        ck_assert_int_eq(rc, turn == 0 ? SAE_EBACKEND : adam ? SAE_ENOMEM : SAE_ENONFINITE);
        ck_assert_msg(strstr(err.msg, turn == 0 ? "ref:2: " : "ref:1: ") != NULL, "%s", err.msg);
        ck_assert_msg(strstr(err.msg, "step 0: ") != NULL, "%s", err.msg);
        ck_assert_int_eq(l.step, 0);
        c.e[1].k = c.e[2].k = good;
        row[5] = was;
    }
    ck_assert_ok(sae_learner_step(&l, p.of, &c.r.err), c.r.err);
    sae_shares_close(&p);
    sae_learner_close(&l);
    crew_close(&c);
}
END_TEST

START_TEST(batch_that_does_not_divide)
{
    static crew c;
    sae_learner l;
    sae_spec spec;
    sae_err err = {0};
    sae_train_config cfg = rig_config(steps, B - 1);
    crew_open(&c, "ref", 1);
    rig_spec(&c.r, &spec, sae_find_variant(c.r.reg, any_variant(&c)), N);
    ck_assert_int_eq(sae_learner_open_team(&l, &spec, 5, &cfg, &c.r.s.dim, c.team, &err),
                     SAE_EINVAL);
    ck_assert_msg(strstr(err.msg, "47 rows cannot be divided by 2 devices") != NULL, "%s", err.msg);
    sae_spec_free(&spec); /* still ours */
    crew_close(&c);
}
END_TEST

static int drift(sae_model *m, const sae_ctx *c, const sae_batch *b, const sae_tape *t)
{
    (void)c, (void)t;
    *(sae_real *)m->t[0].w += (sae_real)(b->row0 % 7); /* memory of "ref" is the host's */
    return SAE_OK;
}

START_TEST(adapt_that_moves_parameters)
{
    static crew c;
    sae_learner l;
    sae_spec spec;
    sae_err err = {0};
    sae_train_config cfg = rig_config(steps, B);
    crew_open(&c, "ref", 1);
    rig_spec(&c.r, &spec, sae_find_variant(c.r.reg, any_variant(&c)), N);
    sae_variant own = *spec.variant;
    own.adapt = drift;
    spec.variant = &own;
    ck_assert_ok(sae_learner_open_team(&l, &spec, 5, &cfg, &c.r.s.dim, c.team, &err), err);
    crew_train(&c, &l, 2);
    ck_assert_int_eq(sae_learner_finalize(&l, &err), SAE_EINVAL);
    ck_assert_msg(strstr(err.msg, own.tensors[0].name) != NULL, "%s", err.msg);
    ck_assert_msg(strstr(err.msg, "not the same on all devices") != NULL, "%s", err.msg);
    sae_learner_close(&l);
    crew_close(&c);
}
END_TEST

/* ---- the trainer ----------------------------------------------------------------------------- */

/* A variant that the first device trains alone and one that all train share a stream: each ends as
 * it does without the other. */
START_TEST(alone_beside_shared)
{
    static crew c;
    sae_learner both[2], single;
    const sae_variant *const *alone;
    crew_open(&c, "cpu", 1);
    for (alone = sae_all_variants(c.r.reg);; alone++) {
        ck_assert_ptr_nonnull(*alone);
        crew_learner(&c, &both[0], (*alone)->name);
        if (both[0].devices == 1 && !both[0].needs)
            break;
        sae_learner_close(&both[0]);
    }
    crew_learner(&c, &both[1], any_variant(&c));
    sae_learner *list[] = {&both[0], &both[1]};
    sae_trainer t = {
        .stream = &c.r.s, .reg = c.r.reg, .learner = list, .count = 2, .steps = steps};
    ck_assert_ok(sae_trainer_run(&t, &c.r.err), c.r.err);
    for (int i = 0; i < 2; i++) {
        crew_learner(&c, &single, i ? any_variant(&c) : (*alone)->name);
        if (i)
            crew_train(&c, &single, steps);
        else
            rig_train(&c.r, &single, steps);
        ck_assert_ok(sae_learner_finalize(&single, &c.r.err), c.r.err);
        same_learners(&single, &both[i]);
        sae_learner_close(&single);
    }
    sae_learner_close(&both[0]);
    sae_learner_close(&both[1]);
    crew_close(&c);
}
END_TEST

/* ---- devices and reductions ------------------------------------------------------------------ */

START_TEST(ranges)
{
    static const char *const bad[] = {"cpu:1-0", "cpu:0-", "cpu:-1", "cpu:0-16", "cpu:0-1x"};
    sae_engine e[SAE_MAX_DEVICES];
    sae_registry *reg;
    sae_err err = {0};
    int count = -1;
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_devices_open(e, &count, reg, "cpu:2-3,fp32", 5, &err), err);
    ck_assert_int_eq(count, 2);
    ck_assert_int_eq(e[1].index, 3);
    ck_assert_int_eq(e[1].props.threads, 2);
    ck_assert_str_eq(e[1].precision, "fp32");
    sae_devices_close(e, count);
    ck_assert_ok(sae_devices_open(e, &count, reg, "cpu:0-3", 2, &err), err);
    ck_assert_int_eq(e[3].props.threads, 1);
    sae_devices_close(e, count);
    ck_assert_ok(sae_devices_open(e, &count, reg, "cpu", 2, &err), err);
    ck_assert_int_eq(count, 1);
    ck_assert_int_eq(e[0].props.threads, 2);
    sae_devices_close(e, count);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sae_err own = {0};
        ck_assert_int_eq(sae_devices_open(e, &count, reg, bad[i], 2, &own), SAE_EINVAL);
        ck_assert_int_eq(count, 0);
        ck_assert_msg(strstr(own.msg, bad[i]) != NULL, "%s", own.msg);
    }
    ck_assert_int_eq(sae_device_open(e, reg, "cpu:0-1", 2, &err), SAE_EINVAL);
    ck_assert_msg(strstr(err.msg, "one device") != NULL, "%s", err.msg);
    sae_registry_close(&reg);
}
END_TEST

enum { LONG = (1 << 16) + 3 }; /* more than travels at once */

/* Element i of device d: small integers, whose sums are exact. */
static uint64_t value(int64_t i, int d)
{
    return (uint64_t)(i * 7 + d * d * 5) % 1001;
}

/* What element i of all devices becomes. */
static double expected(int64_t i, int devices, enum sae_reduction how)
{
    uint64_t sum = 0, most = 0;
    for (int d = 0; d < devices; d++) {
        sum += value(i, d);
        most = value(i, d) > most ? value(i, d) : most;
    }
    if (how == SAE_REDUCE_MEAN)
        return (double)(sae_real)((double)sum / devices);
    return (double)(how == SAE_REDUCE_SUM ? sum : how == SAE_REDUCE_MAX ? most : value(i, 0));
}

static void reduce(crew *c, enum sae_reduction how)
{
    static union {
        uint64_t u[LONG];
        sae_real r[LONG];
    } host;
    void *p[3];
    int mean = how == SAE_REDUCE_MEAN;
    size_t bytes = LONG * (mean ? sizeof host.r[0] : sizeof host.u[0]);
    for (int d = 0; d < c->devices; d++) {
        for (int64_t i = 0; i < LONG; i++)
            if (mean)
                host.r[i] = (sae_real)value(i, d);
            else
                host.u[i] = value(i, d);
        p[d] = c->e[d].be->alloc(c->e[d].dev, bytes);
        ck_assert_int_eq(c->e[d].be->copy(c->e[d].dev, p[d], &host, bytes, SAE_COPY_H2D), SAE_OK);
    }
    int64_t n = how == SAE_REDUCE_FIRST ? (int64_t)bytes : LONG;
    ck_assert_ok(sae_team_reduce(c->team, p, n, how, &c->r.err), c->r.err);
    for (int d = 0; d < c->devices; d++) {
        ck_assert_int_eq(c->e[d].be->copy(c->e[d].dev, &host, p[d], bytes, SAE_COPY_D2H), SAE_OK);
        for (int64_t i = 0; i < LONG; i++)
            ck_assert_double_eq(mean ? (double)host.r[i] : (double)host.u[i],
                                expected(i, c->devices, how));
        c->e[d].be->release(c->e[d].dev, p[d]);
    }
}

START_TEST(reductions)
{
    static crew c;
    if (!open_crew_of(&c, _i))
        return;
    for (int how = SAE_REDUCE_MEAN; how <= SAE_REDUCE_FIRST; how++)
        reduce(&c, (enum sae_reduction)how);
    crew_close(&c);
}
END_TEST

Suite *suite_team(void);
Suite *suite_team(void)
{
    Suite *s = suite_create("team");
    TCase *t = tcase_create("team");
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, every_variant, 0, test_backend_count());
    tcase_add_test(t, failures);
    tcase_add_test(t, batch_that_does_not_divide);
    tcase_add_test(t, adapt_that_moves_parameters);
    tcase_add_test(t, alone_beside_shared);
    tcase_add_test(t, ranges);
    tcase_add_loop_test(t, reductions, 0, test_backend_count());
    suite_add_tcase(s, t);
    return s;
}
