/* tests/train/ahead.c - batches that another thread loads while the last one is in use: the same
 * bits, rows and errors as without; on memory apart from the host's. */
#include "eval/snapshot.h"
#include "run/session.h"
#include "support/backends.h"
#include "train/apart.h"

#include "core/file.h"
#include "core/log.h"

enum { N = 24, B = 32, STEPS = 20, KINDS = 6 };

static const char *backend(int i)
{
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    const char *name = test_backend(reg, i)->name;
    sae_registry_close(&reg);
    return name;
}

/* ---- whole runs ------------------------------------------------------------------------------ */

typedef struct job {
    rig r;
    sae_learner l[KINDS];
    sae_learner *list[KINDS];
    sae_trainer t;
} job;

/* The first variants of every kind of needs that the source supplies, in one run, but one alone on
 * a device, which may be emulated. The source has the rows of the run and no more. */
static void open_job(job *j, int on, enum sae_norm norm)
{
    uint64_t met[KINDS];
    sae_train_config c = rig_config(STEPS, B);
    memset(j, 0, sizeof *j);
    apart_open(&j->r, backend(on), norm, B);
    ck_assert(j->r.s.overlaps);
    j->t = (sae_trainer){.stream = &j->r.s, .learner = j->list, .steps = STEPS};
    for (const sae_variant *const *v = sae_all_variants(j->r.reg); *v; v++) {
        sae_spec spec;
        int64_t i = 0, last = j->t.count;
        rig_spec(&j->r, &spec, *v, N);
        met[last] = rig_needs(&spec);
        while (met[i] != met[last])
            i++;
        if (i < last || met[i] & SAE_NEED_BASE || (last && j->r.e.be != &apart.be)) {
            sae_spec_free(&spec);
            continue;
        }
        ck_assert_int_lt(last, KINDS - 1);
        rig_learner(&j->r, &j->l[last], &spec, &c);
        j->list[last] = &j->l[last];
        j->t.count++;
    }
    ck_assert_int_gt(j->t.count, j->r.e.be == &apart.be ? 2 : 0);
    apart.calls = apart.here = apart.beside = 0;
    apart.rows = STEPS * B;
}

static void close_job(job *j)
{
    for (int64_t i = 0; i < j->t.count; i++)
        sae_learner_close(&j->l[i]);
    rig_close(&j->r);
    ck_assert_int_eq(apart.live, 0);
}

static void train(int on, enum sae_norm norm, int overlaps, sae_snapshot *end)
{
    static job j;
    open_job(&j, on, norm);
    j.r.s.overlaps = overlaps;
    ck_assert_ok(sae_trainer_run(&j.t, &j.r.err), j.r.err);
    ck_assert_int_eq(apart.beside, overlaps ? STEPS - 1 : 0);
    ck_assert_int_eq(apart.here + apart.beside, STEPS);
    for (int64_t i = 0; i < j.t.count; i++)
        ck_assert_ok(sae_snap_tensors(end, &j.r.e, &j.l[i].model, &j.r.err), j.r.err);
    close_job(&j);
}

START_TEST(the_same_bits)
{
    static const enum sae_norm norms[] = {SAE_NORM_NONE, SAE_NORM_MEAN_SQ1, SAE_NORM_ROW_STD};
    sae_snapshot alone = {0}, ahead = {0};
    train(_i / 3, norms[_i % 3], 0, &alone);
    train(_i / 3, norms[_i % 3], 1, &ahead);
    ck_assert(sae_snap_equal(&alone, &ahead));
    sae_snap_free(&alone);
    sae_snap_free(&ahead);
}
END_TEST

/* At the step that needs the row, in the words of the source, and the steps before are taken. */
START_TEST(a_row_that_cannot_be_read)
{
    static job j;
    for (int overlaps = 0; overlaps < 2; overlaps++) {
        open_job(&j, _i, SAE_NORM_UNIT_ROW);
        j.r.s.overlaps = overlaps;
        apart.bad_row = 7 * B + 3;
        ck_assert_int_eq(sae_trainer_run(&j.t, &j.r.err), SAE_EFORMAT);
        ck_assert_str_eq(j.r.err.msg, "row 227 cannot be read");
        for (int64_t i = 0; i < j.t.count; i++)
            ck_assert(j.l[i].step == 7 || j.l[i].done);
        ck_assert_int_eq(apart.beside, overlaps ? 7 : 0);
        close_job(&j);
    }
}
END_TEST

static int interrupt_at_10(void *arg, const sae_learner *l, double lr)
{
    (void)arg, (void)lr;
    if (l->step == 10)
        sae_interrupt();
    return SAE_OK;
}

/* Behind a run that ends early nobody reads. */
START_TEST(interrupted)
{
    static job j;
    open_job(&j, _i, SAE_NORM_UNIT_ROW);
    j.t.on_loss = interrupt_at_10;
    j.t.log_every = 1;
    apart.slow = 1;
    ck_assert_int_eq(sae_trainer_run(&j.t, &j.r.err), SAE_EINTR);
    ck_assert_int_eq(j.l[0].step, 10);
    ck_assert_int_eq(apart.beside, 10);
    ck_assert_int_eq(apart.inside, 0);
    ck_assert_int_eq(j.r.s.asked.B, 0);
    close_job(&j);
}
END_TEST

/* ---- the stream ------------------------------------------------------------------------------ */

enum { ALL = SAE_NEED_GRAD | SAE_NEED_TOKENS | SAE_NEED_TARGET };

static void fill(rig *r, enum sae_split split, uint64_t row0, sae_batch *b)
{
    ck_assert_ok(sae_stream_fill(&r->s, split, row0, B, ALL, b, &r->err), r->err);
    ck_assert_uint_eq(b->row0, row0);
}

static void ahead(rig *r, uint64_t row0)
{
    ck_assert_ok(sae_stream_ahead(&r->s, row0, B, ALL, &r->err), r->err);
}

/* All rows of a batch, those of the host and those shown, are the same and of this split. */
static void check_rows(rig *r, enum sae_split split, const sae_batch *b)
{
    const sae_batch *h = &r->s.now.host;
    sae_real x[B * RIG_D];
    uint64_t base = split == SAE_SPLIT_EVAL ? UINT64_C(1) << 40 : 0;
    for (int64_t i = 0; i < B; i++)
        rig_row(base + b->row0 + (uint64_t)i, x + i * RIG_D);
    ck_assert_mem_eq(h->x, x, sizeof x);
    ck_assert_uint_eq(h->tok[B - 1].doc, (base + b->row0 + B - 1) / 64);
    const sae_real *const shown[] = {b->x, b->g, b->y}, *const host[] = {h->x, h->g, h->y};
    for (int i = 0; i < 3; i++) {
        size_t bytes = sizeof(sae_real) * B * (i < 2 ? RIG_D : RIG_OUT);
        ck_assert_ok(r->e.be->copy(r->e.dev, x, shown[i], bytes, SAE_COPY_D2H), r->err);
        ck_assert_mem_eq(x, host[i], bytes);
    }
}

START_TEST(what_was_not_asked_for)
{
    rig r;
    sae_batch b;
    sae_err err = {0};
    apart_open(&r, backend(_i), SAE_NORM_NONE, B);
    fill(&r, SAE_SPLIT_TRAIN, 0, &b);
    check_rows(&r, SAE_SPLIT_TRAIN, &b);
    ahead(&r, 100);
    fill(&r, SAE_SPLIT_EVAL, 100, &b); /* another split: both are read */
    check_rows(&r, SAE_SPLIT_EVAL, &b);
    ck_assert(apart.here == 2 && apart.beside == 1);
    fill(&r, SAE_SPLIT_TRAIN, 100, &b); /* it is forgotten */
    check_rows(&r, SAE_SPLIT_TRAIN, &b);
    ck_assert(apart.here == 3 && apart.beside == 1);
    ahead(&r, 200);
    ahead(&r, 300);
    fill(&r, SAE_SPLIT_TRAIN, 300, &b);
    check_rows(&r, SAE_SPLIT_TRAIN, &b);
    ck_assert(apart.here == 3 && apart.beside == 3);
    apart.bad_row = 410; /* not what the next fill needs */
    ahead(&r, 400);
    fill(&r, SAE_SPLIT_TRAIN, 500, &b);
    check_rows(&r, SAE_SPLIT_TRAIN, &b);
    ck_assert_ok(sae_stream_ahead(&r.s, 600, B, SAE_NEED_LM, &err), err); /* the fill tells */
    ck_assert_ok(sae_stream_ahead(&r.s, 600, B + 1, 0, &err), err);
    ck_assert_int_eq(apart.beside, 4);
    ck_assert_int_eq(sae_stream_fill(&r.s, SAE_SPLIT_TRAIN, 600, B, SAE_NEED_LM, &b, &err),
                     SAE_ENEEDS);
    apart.slow = 1;
    ahead(&r, 700);
    rig_close(&r); /* in the middle of it */
    ck_assert(apart.inside == 0 && apart.beside == 5 && apart.live == 0);
}
END_TEST

/* What is queued may read the batch before the last; the last one stays where it is. */
START_TEST(batches_in_use)
{
    rig r;
    sae_batch b;
    sae_real x[2][B * RIG_D];
    apart_open(&r, backend(_i), SAE_NORM_NONE, B);
    void *kept = r.e.be->alloc(r.e.dev, sizeof x[0]);
    fill(&r, SAE_SPLIT_TRAIN, 0, &b);
    memcpy(x[0], r.s.now.host.x, sizeof x[0]);
    ahead(&r, B);
    apart.lazy = 1;
    ck_assert_ok(r.e.be->copy(r.e.dev, kept, b.x, sizeof x[0], SAE_COPY_D2D), r.err);
    fill(&r, SAE_SPLIT_TRAIN, B, &b);
    ahead(&r, 2 * B);
    sae_helper_wait(r.s.ahead, NULL);
    check_rows(&r, SAE_SPLIT_TRAIN, &b);
    ck_assert_ok(r.e.be->copy(r.e.dev, x[1], kept, sizeof x[1], SAE_COPY_D2H), r.err);
    ck_assert_mem_eq(x[0], x[1], sizeof x[0]);
    r.e.be->release(r.e.dev, kept);
    rig_close(&r);
}
END_TEST

/* A model of the source computes on the learners' device, or on one of its own. */
START_TEST(a_source_that_computes)
{
    rig r;
    sae_engine own;
    apart_open(&r, backend(_i), SAE_NORM_NONE, B);
    r.ds.gives |= SAE_GIVES_LM;
    const sae_host with[] = {{.engine = &r.e}, {.engine = &own}};
    for (int i = 0; i < 2; i++) {
        sae_spec spec = {.name = "rig", .dataset = &r.ds};
        sae_stream_close(&r.s);
        ck_assert_ok(sae_opts_open(&spec.opts, r.ds.options, r.ds.opt_size, &r.err), r.err);
        ck_assert_ok(sae_stream_open(&r.s, &spec, &with[i], &r.e, SAE_NORM_NONE, B, &r.err), r.err);
        ck_assert_int_eq(r.s.overlaps, i);
        sae_spec_free(&spec);
    }
    rig_close(&r);
}
END_TEST

/* A run gives a model of its dataset a handle of its own where models lie on the device. */
START_TEST(a_run_whose_model_computes)
{
    static const char *const plan =
        "{name: x, dataset: \"organism:eval=4,buffer=64,batch=64\", steps: 1, batch: 8, "
        "eval_rows: 8, seeds: [0], metrics: [sparsity], saes: [{spec: \"topk:k=2,n=16\"}]}";
    char path[512];
    sae_registry *reg;
    sae_session s;
    sae_err err = {0};
    snprintf(path, sizeof path, "%s/plan.yaml", test_dir());
    ck_assert_ok(sae_file_write(path, plan, strlen(plan), &err), err);
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    sae_run_options o = {.plan = path, .out = test_dir(), .device = backend(_i), .threads = 1};
    ck_assert_ok(sae_session_open(&s, &o, reg, &err), err);
    int apart_memory = !s.e[0].props.shares_host;
    ck_assert_ptr_eq(s.host.engine, apart_memory ? &s.data : &s.e[0]);
    ck_assert_int_eq(s.train.overlaps, apart_memory);
    sae_session_close(&s);
    sae_registry_close(&reg);
}
END_TEST

Suite *suite_ahead(void);
Suite *suite_ahead(void)
{
    Suite *s = suite_create("ahead");
    TCase *t = tcase_create("ahead");
    int backends = test_backend_count();
    tcase_set_timeout(t, 120);
    tcase_add_loop_test(t, the_same_bits, 0, 3 * backends);
    tcase_add_loop_test(t, a_row_that_cannot_be_read, 0, backends);
    tcase_add_loop_test(t, interrupted, 0, backends);
    tcase_add_loop_test(t, what_was_not_asked_for, 0, backends);
    tcase_add_loop_test(t, batches_in_use, 0, backends);
    tcase_add_loop_test(t, a_source_that_computes, 0, backends);
    tcase_add_loop_test(t, a_run_whose_model_computes, 0, backends);
    suite_add_tcase(s, t);
    return s;
}
