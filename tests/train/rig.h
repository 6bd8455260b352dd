/* tests/train/rig.h - a registry, an engine and a small synthetic stream for tests of training.
 */
#ifndef SAE_TESTS_RIG_H
#define SAE_TESTS_RIG_H

#include "core/device.h"
#include "core/error.h"
#include "core/memory.h"
#include "support/support.h"
#include "train/rig_source.h"
#include "train/sae_file.h"
#include "train/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the rig --------------------------------------------------------------------------------- */

typedef struct rig {
    sae_registry *reg;
    sae_engine e;
    sae_dataset ds;
    sae_stream s;
    sae_err err;
} rig;

/* The stream of r->ds on r->e. */
static inline void rig_stream(rig *r, enum sae_norm norm, int64_t B)
{
    sae_spec spec = {.name = "rig", .dataset = &r->ds};
    ck_assert_ok(sae_opts_open(&spec.opts, r->ds.options, r->ds.opt_size, &r->err), r->err);
    ck_assert_ok(sae_stream_open(&r->s, &spec, NULL, &r->e, norm, B, &r->err), r->err);
    ck_assert_ok(sae_stream_constants(&r->s, &r->err), r->err);
    sae_spec_free(&spec);
}

/* On r->e, which is open, as is r->reg; batches of B rows. */
static inline void rig_begin(rig *r, enum sae_norm norm, uint64_t gives, int64_t B)
{
    sae_dataset ds = rig_dataset(gives);
    rig_gives = gives;
    ck_assert_ok(sae_admit_dataset(&ds, &r->ds, &r->err), r->err);
    rig_stream(r, norm, B);
}

/* A backend (NULL: the best of this machine) with `threads` threads. */
static inline void rig_open_on(rig *r, const char *backend, int threads, enum sae_norm norm,
                               uint64_t gives, int64_t B)
{
    memset(r, 0, sizeof *r);
    ck_assert_ok(sae_registry_open(&r->reg, &r->err), r->err);
    ck_assert_ok(sae_device_open(&r->e, r->reg, backend, threads, &r->err), r->err);
    rig_begin(r, norm, gives, B);
}

static inline void rig_open(rig *r, int threads, enum sae_norm norm, uint64_t gives, int64_t B)
{
    rig_open_on(r, NULL, threads, norm, gives, B);
}

static inline void rig_close(rig *r)
{
    sae_stream_close(&r->s);
    sae_engine_close(&r->e);
    sae_registry_close(&r->reg);
}

enum {
    RIG_GIVES = SAE_GIVES_TOKENS | SAE_GIVES_GRAD | SAE_GIVES_TRUTH | SAE_GIVES_TARGET
};

static inline sae_train_config rig_config(int64_t steps, int64_t B)
{
    sae_train_config c;
    sae_train_config_default(&c);
    c.steps = steps;
    c.B = B;
    c.warmup = 2;
    return c;
}

static inline uint64_t rig_needs(const sae_spec *spec)
{
    const void *opt = sae_opts_base(spec->opts);
    return spec->variant->needs(opt, SAE_TRAIN) | spec->variant->needs(opt, SAE_EVAL);
}

/* What the rig's rows are made of, for variants that have the option: 3 atoms per row, all equally
 * frequent. */
static const char *const rig_facts[][2] = {{"k", "3"}, {"budget", "uniform"}};

/* A registered variant with n features that knows these facts. One that reads the true dictionary
 * has as many features as that. */
static inline void rig_spec(const rig *r, sae_spec *spec, const sae_variant *v, int64_t n)
{
    sae_err err = {0};
    ck_assert_ok(sae_spec_parse(spec, r->reg, SAE_KIND_VARIANT, v->name, &err), err);
    for (const sae_option *o = v->options; o->name; o++)
        for (int i = 0; i < 2; i++)
            if (strcmp(o->name, rig_facts[i][0]) == 0)
                ck_assert_ok(sae_opts_set(spec->opts, rig_facts[i][0], rig_facts[i][1], &err), err);
    spec->n = rig_needs(spec) & SAE_NEED_TRUTH ? RIG_ATOMS : n;
    spec->n_per_d = 0;
}

/* A variant of the test; *admitted must outlive the spec. */
static inline void rig_own_spec(sae_spec *spec, const sae_variant *v, sae_variant *admitted,
                                int64_t n)
{
    sae_err err = {0};
    ck_assert_ok(sae_admit_variant(v, admitted, &err), err);
    *spec = (sae_spec){.name = admitted->name, .variant = admitted, .n = n};
    ck_assert_ok(sae_opts_open(&spec->opts, admitted->options, admitted->opt_size, &err), err);
}

/* Steps [l->step, to), with init before the first. */
static inline void rig_train(rig *r, sae_learner *l, int64_t to)
{
    while (l->step < to && !l->done) {
        sae_batch b;
        ck_assert_ok(sae_stream_fill(&r->s, SAE_SPLIT_TRAIN, (uint64_t)(l->step * l->cfg.B),
                                     l->cfg.B, l->needs, &b, &r->err), r->err);
        if (l->step == 0)
            ck_assert_ok(sae_learner_init(l, &b, &r->err), r->err);
        ck_assert_ok(sae_learner_step(l, &b, &r->err), r->err);
    }
}

/* Option "base" of a variant that needs one: a SAE of the same n after a step of training, of the
 * first variant that reads rows alone. */
static inline void rig_base(rig *r, sae_spec *spec)
{
    char path[512];
    sae_spec own;
    sae_learner l;
    sae_train_config c = rig_config(1, 8);
    if (!(rig_needs(spec) & SAE_NEED_BASE))
        return;
    for (const sae_variant *const *v = sae_all_variants(r->reg);; v++) {
        ck_assert_ptr_nonnull(*v);
        rig_spec(r, &own, *v, spec->n);
        if (!rig_needs(&own) && (*v)->caps & SAE_CAP_LINEAR_DEC && !((*v)->caps & SAE_CAP_GROWS))
            break;
        sae_spec_free(&own);
    }
    snprintf(path, sizeof path, "%s/base", test_dir());
    ck_assert_ok(sae_learner_open(&l, &own, 5, &c, &r->s.dim, &r->e, &r->err), r->err);
    rig_train(r, &l, 1);
    ck_assert_ok(sae_file_export(path, &l, &r->s, &r->err), r->err);
    sae_learner_close(&l);
    ck_assert_ok(sae_opts_set(spec->opts, "base", path, &r->err), r->err);
}

/* Opens the learner of a spec and what it reads beside rows. */
static inline void rig_learner(rig *r, sae_learner *l, sae_spec *spec, const sae_train_config *c)
{
    rig_base(r, spec);
    ck_assert_ok(sae_learner_open(l, spec, 5, c, &r->s.dim, &r->e, &r->err), r->err);
    ck_assert_ok(sae_learner_extras(l, r->reg, &r->s, &r->err), r->err);
}

static inline int rig_trains_atoms(const sae_model *m)
{
    const sae_tensor *w = sae_model_tensor(m, "W_dec");
    return w && w->spec->role == SAE_PARAM && w->cols == RIG_D; /* not of targets */
}

/* Every tensor, moment and counter of two learners, bit for bit. */
static inline void rig_same(const sae_learner *a, const sae_learner *b)
{
    ck_assert_int_eq(a->model.dim.n, b->model.dim.n);
    ck_assert_int_eq(a->step, b->step);
    ck_assert_uint_eq(a->stats.view.tokens, b->stats.view.tokens);
    for (int i = 0; i < a->model.nt; i++) {
        const sae_tensor *t = &a->model.t[i];
        size_t count = (size_t)(t->rows * t->cols), bytes = count * sae_dtype_size(t->spec->dtype);
        ck_assert_msg(memcmp(t->w, b->model.t[i].w, bytes) == 0, "%s: %s differs", a->label,
                      t->spec->name);
        if (t->spec->role != SAE_PARAM)
            continue;
        bytes = count * sizeof(sae_real);
        ck_assert_msg(memcmp(a->moment1[i], b->moment1[i], bytes) == 0 &&
                          memcmp(a->moment2[i], b->moment2[i], bytes) == 0,
                      "%s: moments of %s differ", a->label, t->spec->name);
    }
    size_t bytes = (size_t)a->model.dim.n * sizeof(uint64_t);
    ck_assert_mem_eq(a->stats.last_fired, b->stats.last_fired, bytes);
    ck_assert_mem_eq(a->stats.fire_count, b->stats.fire_count, bytes);
}

#endif
