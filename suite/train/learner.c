/* suite/train/learner.c - one SAE in training.
 *
 * The step knows no variant: tensor roles and flags decide what is projected, clipped and moved.
 * Gradients are zero between steps because k->adam_step clears what it has used.
 */
#include "train/learner.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "train/replica.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- configuration --------------------------------------------------------------------------- */

void sae_train_config_default(sae_train_config *c)
{
    *c = (sae_train_config){.steps = 0,
                            .B = 4096,
                            .lr = (double)NAN,
                            .beta1 = (double)NAN,
                            .beta2 = (double)NAN,
                            .eps = (double)NAN,
                            .clip_norm = (double)NAN,
                            .weight_decay = (double)NAN,
                            .decay = (double)NAN,
                            .warmup = -1};
}

static double either(double given, double own)
{
    return isnan(given) ? own : given;
}

static void fill_config(sae_train_config *c, const sae_spec *spec)
{
    const sae_train_defaults *own = sae_spec_train(spec);
    double warmup = c->warmup < 0 ? (double)own->warmup : (double)c->warmup;
    double *const to[SAE_TRAIN_KEYS] = {&c->lr,        &c->beta1,        &c->beta2, &c->eps,
                                        &c->clip_norm, &c->weight_decay, &c->decay, &warmup};
    const double from[SAE_TRAIN_KEYS] = {own->lr,        own->beta1,        own->beta2, own->eps,
                                         own->clip_norm, own->weight_decay, own->decay, 0};
    for (int i = 0; i < SAE_TRAIN_KEYS; i++)
        *to[i] = spec->train_given >> i & 1 ? spec->train[i] : either(*to[i], from[i]);
    c->warmup = fabs(warmup) < 0x1p63 ? (int64_t)warmup : INT64_MAX;
}

static int check_config(const sae_train_config *c, sae_err *err)
{
    const struct {
        const char *name;
        double value, lo, hi;
    } range[] = {
        {"steps", (double)c->steps, 1, 0x1p62}, {"batch", (double)c->B, 1, 0x1p31},
        {"lr", c->lr, 0, 1e6},                  {"beta1", c->beta1, 0, 1 - 0x1p-53},
        {"beta2", c->beta2, 0, 1 - 0x1p-53},    {"eps", c->eps, 0, 1},
        {"clip_norm", c->clip_norm, 0, 1e300},  {"weight_decay", c->weight_decay, 0, 1e6},
        {"decay", c->decay, 0, 1},              {"warmup", (double)c->warmup, 0, 0x1p62},
    };
    for (size_t i = 0; i < sizeof range / sizeof range[0]; i++)
        if (!(range[i].value >= range[i].lo && range[i].value <= range[i].hi))
            SAE_FAIL(err, SAE_EINVAL, "training setting %s=%g is outside [%g, %g]", range[i].name,
                     range[i].value, range[i].lo, range[i].hi);
    return SAE_OK;
}

int sae_learner_config(sae_train_config *c, const sae_spec *spec, sae_err *err)
{
    fill_config(c, spec);
    return check_config(c, err);
}

double sae_learner_lr(const sae_train_config *c, int64_t step)
{
    double warm = 1, left = 1, tail = c->decay * (double)c->steps;
    if (step < c->warmup)
        warm = (double)step / (double)c->warmup;
    if ((double)(c->steps - step) < tail)
        left = (double)(c->steps - step) / tail;
    return c->lr * (warm < left ? warm : left);
}

/* ---- opening --------------------------------------------------------------------------------- */

sae_dims sae_learner_dims(const sae_spec *spec, const sae_dims *dim)
{
    const void *opt = sae_opts_base(spec->opts);
    uint64_t caps = sae_caps(spec->variant, opt), needs = spec->variant->needs(opt, SAE_TRAIN);
    return (sae_dims){.d_in = dim->d_in,
                      .d_out = needs & SAE_NEED_TARGET ? dim->d_out : dim->d_in,
                      .n = caps & SAE_CAP_GROWS ? 0 : spec->n,
                      .n_cap = spec->n};
}

size_t sae_learner_bytes(const sae_spec *spec, const sae_dims *dim, int64_t B)
{
    const sae_variant *v = spec->variant;
    sae_dims full = sae_learner_dims(spec, dim);
    size_t bare = sae_model_bytes(v, &full, 0), total = sae_model_bytes(v, &full, 1);
    size_t tape = sae_tape_bytes(v, sae_opts_base(spec->opts), &full, B, SAE_TRAIN), stats = 0;
    if (bare == SIZE_MAX || total == SIZE_MAX || tape == SIZE_MAX ||
        sae_size_mul(&stats, full.n_cap, 2 * (int64_t)sizeof(uint64_t), NULL))
        return SIZE_MAX;
    size_t moment = total - bare; /* each as large as the gradients */
    if (sae_size_add(&total, total, moment, NULL) || sae_size_add(&total, total, moment, NULL) ||
        sae_size_add(&total, total, tape, NULL) || sae_size_add(&total, total, stats, NULL))
        return SIZE_MAX;
    return total;
}

/* Moments of every PARAM tensor, as large as it can grow. */
static int open_moments(sae_learner *l, sae_err *err)
{
    sae_model full = l->model;
    SAE_TRY(sae_model_grow(&full, full.dim.n_cap, err));
    for (int i = 0; i < full.nt; i++) {
        const sae_tensor *t = &full.t[i];
        if (t->spec->role != SAE_PARAM)
            continue;
        size_t bytes = (size_t)(t->rows * t->cols) * sizeof(sae_real);
        l->moment1[i] = l->e->be->alloc(l->e->dev, bytes);
        l->moment2[i] = l->e->be->alloc(l->e->dev, bytes);
        if (!l->moment1[i] || !l->moment2[i])
            SAE_FAIL(err, SAE_ENOMEM, "out of memory on %s: %zu bytes for the moments of %s",
                     l->e->be->name, bytes, t->spec->name);
    }
    return SAE_OK;
}

/* label, canonical and id: everything that names this learner. */
static int name_learner(sae_learner *l, const sae_spec *spec, sae_err *err)
{
    const sae_train_config *c = &l->cfg;
    char *display = sae_spec_print(spec, 0), *all = NULL;
    l->canonical = sae_spec_print(spec, 1);
    if (display)
        l->label = sae_strfmt("%s (seed %" PRIu64 ")", display, l->seed);
    if (l->canonical)
        all = sae_strfmt("%s %" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64
                         " %.17g %.17g %.17g %.17g %.17g %.17g %.17g",
                         l->canonical, l->seed, c->steps, c->B, c->warmup, c->lr, c->beta1,
                         c->beta2, c->eps, c->clip_norm, c->weight_decay, c->decay);
    if (all)
        sae_spec_id(all, l->id);
    int rc = all && l->label ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory for a SAE's name");
    sae_free(display);
    sae_free(all);
    return rc;
}

/* Rows of a batch on each device. */
static int64_t rows_of(const sae_learner *l)
{
    return l->cfg.B / l->devices;
}

static int open_parts(sae_learner *l, const sae_dims *dim, sae_err *err)
{
    const sae_variant *v = l->spec.variant;
    const void *opt = sae_opts_base(l->spec.opts);
    sae_dims start = sae_learner_dims(&l->spec, dim);
    size_t bytes = sae_learner_bytes(&l->spec, dim, rows_of(l));
    if (l->e->props.shares_host) /* a device's own memory is checked piece by piece */
        SAE_TRY(sae_memory_check(bytes, l->label, err));
    l->needs = v->needs(opt, SAE_TRAIN);
    SAE_TRY(sae_model_open(&l->model, v, opt, &start, l->e, 1, err));
    SAE_TRY(sae_tape_open(&l->tape, v, opt, &start, rows_of(l), SAE_TRAIN, l->e, err));
    SAE_TRY(sae_stats_open(&l->stats, start.n_cap, l->e, err));
    l->stats.view.n = start.n;
    SAE_TRY(open_moments(l, err));
    return sae_new(&l->opt_now, 1, v->opt_size, "options", err);
}

/* Replicas have the names and the spec of the first. */
static int open_replicas(sae_learner *l, const sae_dims *dim, sae_err *err)
{
    if (l->devices == 1)
        return SAE_OK;
    SAE_TRY(sae_new(&l->replica, l->devices - 1, sizeof *l->replica, "replicas", err));
    for (int i = 1; i < l->devices; i++) {
        sae_learner *r = sae_replica(l, i);
        *r = (sae_learner){.spec = l->spec,
                           .label = l->label,
                           .seed = l->seed,
                           .cfg = l->cfg,
                           .e = sae_team_engine(l->team, i),
                           .devices = l->devices};
        SAE_TRY(open_parts(r, dim, err));
        size_t bytes = (size_t)r->model.dim.n_cap * sizeof *r->zeros;
        r->zeros = r->e->be->alloc(r->e->dev, bytes);
        if (!r->zeros)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory on %s: %zu bytes for statistics",
                     r->e->be->name, bytes);
    }
    return SAE_OK;
}

/* How many devices train a SAE, and how many rows are theirs. */
static int divide(sae_learner *l, const sae_spec *spec, sae_err *err)
{
    const sae_variant *v = spec->variant;
    int params = 0, grows = (sae_caps(v, sae_opts_base(spec->opts)) & SAE_CAP_GROWS) != 0;
    l->devices = l->team ? sae_team_count(l->team) : 1;
    for (const sae_tensor_spec *t = v->tensors; t->name; t++)
        params += t->role == SAE_PARAM;
    if (l->devices > 1 && (grows || !params)) {
        sae_log(SAE_LOG_INFO, "train", "%s: on the first device alone: %s", l->label,
                grows ? "its dictionary grows" : "it has no gradients to share");
        l->devices = 1;
    }
    if (l->cfg.B % l->devices)
        SAE_FAIL(err, SAE_EINVAL, "a batch of %" PRId64 " rows cannot be divided by %d devices",
                 l->cfg.B, l->devices);
    return SAE_OK;
}

static int open_all(sae_learner *l, sae_spec *spec, const sae_dims *dim, sae_err *err)
{
    SAE_TRY(sae_learner_config(&l->cfg, spec, err));
    SAE_TRY(sae_spec_resolve(spec, dim->d_in, err));
    SAE_TRY(name_learner(l, spec, err));
    SAE_TRY(divide(l, spec, err));
    l->spec = *spec;
    SAE_TRY(open_parts(l, dim, err));
    return open_replicas(l, dim, err);
}

/* Close what is of a device. */
static void close_parts(sae_learner *l)
{
    for (int i = 0; i < l->model.nt; i++) {
        if (l->moment1[i])
            l->e->be->release(l->e->dev, l->moment1[i]);
        if (l->moment2[i])
            l->e->be->release(l->e->dev, l->moment2[i]);
    }
    if (l->zeros)
        l->e->be->release(l->e->dev, l->zeros);
    sae_extras_close(&l->extras);
    sae_stats_close(&l->stats, l->e);
    sae_tape_close(&l->tape, l->e);
    sae_model_close(&l->model, l->e);
    sae_free(l->opt_now);
}

static int open_learner(sae_learner *l, sae_spec *spec, const sae_dims *dim, sae_err *err)
{
    int rc = open_all(l, spec, dim, err);
    if (rc >= 0) {
        memset(spec, 0, sizeof *spec);
        return SAE_OK;
    }
    memset(&l->spec, 0, sizeof l->spec); /* still the caller's */
    sae_learner_close(l);
    return rc;
}

int sae_learner_open(sae_learner *l, sae_spec *spec, uint64_t seed, const sae_train_config *cfg,
                     const sae_dims *dim, const sae_engine *e, sae_err *err)
{
    *l = (sae_learner){.seed = seed, .cfg = *cfg, .e = e};
    return open_learner(l, spec, dim, err);
}

int sae_learner_open_team(sae_learner *l, sae_spec *spec, uint64_t seed,
                          const sae_train_config *cfg, const sae_dims *dim, sae_team *team,
                          sae_err *err)
{
    *l = (sae_learner){
        .seed = seed, .cfg = *cfg, .e = sae_team_engine(team, 0), .team = team};
    return open_learner(l, spec, dim, err);
}

void sae_learner_close(sae_learner *l)
{
    for (int i = 1; l->replica && i < l->devices; i++)
        close_parts(sae_replica(l, i));
    close_parts(l);
    sae_free(l->replica);
    sae_free(l->label);
    sae_free(l->canonical);
    sae_spec_free(&l->spec);
    memset(l, 0, sizeof *l);
}

/* ---- the context of a call ------------------------------------------------------------------- */

int sae_learner_grow(sae_learner *l, int64_t n, sae_err *err)
{
    uint64_t now[256];
    int64_t old = l->model.dim.n;
    SAE_TRY(sae_model_grow(&l->model, n, err));
    for (size_t i = 0; i < 256; i++)
        now[i] = l->stats.view.tokens;
    for (int64_t j = old; j < n; j += 256) {
        size_t bytes = (size_t)(n - j < 256 ? n - j : 256) * sizeof now[0];
        int rc = l->e->be->copy(l->e->dev, l->stats.last_fired + j, now, bytes, SAE_COPY_H2D);
        if (rc < 0)
            SAE_FAIL(err, rc, "statistics cannot be copied to %s", l->e->be->name);
    }
    l->stats.view.n = n;
    return SAE_OK;
}

/* ctx.grow: a model that a learner hands out is a member of that learner. */
static int grow_model(sae_model *m, int64_t n, sae_err *err)
{
    return sae_learner_grow((sae_learner *)((char *)m - offsetof(sae_learner, model)), n, err);
}

static sae_ctx context(sae_learner *l, sae_err *err)
{
    sae_opts_at(l->spec.opts, l->step, l->cfg.steps, l->opt_now);
    sae_ctx c = {.size = sizeof c,
                 .mode = SAE_TRAIN,
                 .step = l->step,
                 .steps = l->cfg.steps,
                 .seed = l->seed,
                 .opt = l->opt_now,
                 .k = &l->e->k,
                 .dev = l->e->dev,
                 .be = l->e->be,
                 .stats = &l->stats.view,
                 .grow = grow_model,
                 .err = err};
    sae_extras_give(l->extras, &c);
    return c;
}

/* Other learners may need more of the stream: nobody sees what it did not declare. */
static sae_batch own_batch(const sae_learner *l, const sae_batch *b)
{
    sae_batch own = *b;
    own.y = l->needs & SAE_NEED_TARGET ? b->y : b->x;
    own.g = l->needs & SAE_NEED_GRAD ? b->g : NULL;
    own.tok = l->needs & SAE_NEED_TOKENS ? b->tok : NULL;
    return own;
}

/* Give every failure a message and say whose it is. */
static int explain(const sae_learner *l, int rc, const char *doing, sae_err *err)
{
    if (rc >= 0)
        return SAE_OK;
    SAE_SET(err, rc, "%s failed with %s", doing, sae_status_name(rc));
    return sae_fail_prefix(err, rc, "%s, step %" PRId64, l->label, l->step);
}

/* ---- the step -------------------------------------------------------------------------------- */

/* total = sum of coef x loss; anything not finite is an error that lists the losses. */
static int read_losses(sae_learner *l, sae_err *err)
{
    const char *const *name = l->model.v->losses;
    char list[256] = "";
    size_t used = 0;
    l->total = 0;
    for (int i = 0; name[i]; i++) {
        l->loss[i] = l->tape.loss[i];
        l->total += l->tape.coef[i] * l->tape.loss[i];
        if (used < sizeof list)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s %g x %g",
                                     i ? ", " : "", name[i], l->tape.coef[i], l->tape.loss[i]);
    }
    if (!isfinite(l->total))
        SAE_FAIL(err, SAE_ENONFINITE, "the loss is %g (%s)", l->total, list);
    return SAE_OK;
}

static sae_mat matrix(const sae_tensor *t, sae_real *p)
{
    return (sae_mat){p, t->rows, t->cols, t->cols};
}

/* Project the gradients of unit rows; *norm = global norm over PARAM of what is left. */
static int project(sae_learner *l, double *norm, sae_err *err)
{
    double sum = 0;
    for (int i = 0; i < l->model.nt; i++) {
        const sae_tensor *t = &l->model.t[i];
        double norm2 = 0;
        if (t->spec->role != SAE_PARAM)
            continue;
        int unit = (t->flags & SAE_T_UNIT_ROWS) != 0;
        sae_cmat w = {unit ? t->w : NULL, t->rows, t->cols, t->cols};
        SAE_TRY(l->e->k.project_rows(l->e->dev, w, matrix(t, t->grad), &norm2));
        if (!isfinite(norm2))
            SAE_FAIL(err, SAE_ENONFINITE, "the gradient of %s is not finite (loss %g)",
                     t->spec->name, l->total);
        sum += norm2;
    }
    *norm = sqrt(sum);
    return SAE_OK;
}

static int optimise(sae_learner *l, sae_err *err)
{
    const sae_train_config *c = &l->cfg;
    SAE_TRY(project(l, &l->grad_norm, err));
    int clip = c->clip_norm > 0 && l->grad_norm > c->clip_norm;
    sae_adam a = {.lr = sae_learner_lr(c, l->step),
                  .beta1 = c->beta1,
                  .beta2 = c->beta2,
                  .eps = c->eps,
                  .grad_scale = clip ? c->clip_norm / l->grad_norm : 1,
                  .t = l->step + 1};
    for (int i = 0; i < l->model.nt; i++) {
        sae_tensor *t = &l->model.t[i];
        if (t->spec->role != SAE_PARAM)
            continue;
        a.weight_decay = t->flags & SAE_T_NO_DECAY ? 0 : c->weight_decay;
        a.unit_rows = (t->flags & SAE_T_UNIT_ROWS) != 0;
        SAE_TRY(l->e->k.adam_step(l->e->dev, &a, matrix(t, t->w), t->grad, l->moment1[i],
                                  l->moment2[i]));
    }
    return SAE_OK;
}

static int differentiate(sae_learner *l, const sae_ctx *c, const sae_batch *b, sae_err *err)
{
    SAE_TRY(sae_forward(&l->model, c, b, &l->tape, l->e));
    SAE_TRY(read_losses(l, err));
    return l->model.v->backward(&l->model, c, b, &l->tape);
}

/* A step of a learner on all its devices. */
typedef struct turn {
    sae_learner *l;
    const sae_batch *b; /* [devices] */
} turn;

/* Up to what the devices share: gradients, losses, who fired. A replica counts the rows of its part
 * alone, the first device adds them up. */
static int begin_step(void *arg, int device, sae_err *err)
{
    const turn *t = arg;
    sae_learner *l = sae_replica(t->l, device);
    const sae_engine *e = l->e;
    sae_batch own = own_batch(l, &t->b[device]);
    sae_ctx c = context(l, err);
    SAE_TRY(sae_model_freeze(&l->model, e, err));
    int rc = differentiate(l, &c, &own, err);
    sae_model_thaw(&l->model, e);
    SAE_TRY(rc);
    l->stats.view.tokens += (uint64_t)(own.B * l->devices);
    if (device > 0)
        SAE_TRY(e->be->copy(e->dev, l->stats.fire_count, l->zeros,
                            (size_t)l->model.dim.n * sizeof *l->zeros, SAE_COPY_D2D));
    return e->k.fire_update(e->dev, &l->tape.code, l->stats.view.tokens, l->stats.last_fired,
                            l->stats.fire_count);
}

static int end_step(void *arg, int device, sae_err *err)
{
    const turn *t = arg;
    sae_learner *l = sae_replica(t->l, device);
    sae_batch own = own_batch(l, &t->b[device]);
    sae_ctx c = context(l, err);
    SAE_TRY(optimise(l, err));
    int rc = l->model.v->adapt(&l->model, &c, &own, &l->tape);
    l->done = rc == SAE_DONE;
    return rc;
}

static int on_devices(sae_learner *l, sae_team_work *work, turn *t, sae_err *err)
{
    return l->devices > 1 ? sae_team_each(l->team, work, t, err) : work(t, 0, err);
}

static int take_step(sae_learner *l, const sae_batch *b, sae_err *err)
{
    turn t = {l, b};
    SAE_TRY(on_devices(l, begin_step, &t, err));
    SAE_TRY(sae_replicas_join(l, err));
    SAE_TRY(on_devices(l, end_step, &t, err));
    return sae_replicas_follow(l, err);
}

/* ---- public ---------------------------------------------------------------------------------- */

int sae_learner_extras(sae_learner *l, const sae_registry *reg, const sae_stream *s, sae_err *err)
{
    if (l->extras)
        return SAE_OK;
    for (int i = 0; i < l->devices; i++) {
        sae_learner *r = sae_replica(l, i); /* init shows the first one all rows */
        SAE_TRY(explain(l, sae_extras_open(&r->extras, &r->model, r->needs, reg, s, &s->norm,
                                           i ? rows_of(r) : r->cfg.B, r->e, err),
                        "opening its inputs", err));
    }
    return SAE_OK;
}

int sae_learner_init(sae_learner *l, const sae_batch *sample, sae_err *err)
{
    sae_batch own = own_batch(l, sample);
    sae_ctx c = context(l, err);
    SAE_TRY(explain(l, l->model.v->init(&l->model, &c, &own), "init", err));
    return sae_learner_spread(l, err);
}

int sae_learner_step(sae_learner *l, const sae_batch *b, sae_err *err)
{
    double t0 = sae_clock();
    int rc = take_step(l, b, err);
    l->seconds += sae_clock() - t0;
    SAE_TRY(explain(l, rc, "a kernel or method", err));
    for (int i = 0; i < l->devices; i++)
        sae_replica(l, i)->step++;
    return SAE_OK;
}

int sae_learner_spread(sae_learner *l, sae_err *err)
{
    return explain(l, sae_replicas_spread(l, err), "copying it to all devices", err);
}

int sae_learner_finalize(sae_learner *l, sae_err *err)
{
    sae_ctx c = context(l, err);
    SAE_TRY(explain(l, sae_replicas_agree(l, err), "comparing its replicas", err));
    return explain(l, l->model.v->finalize(&l->model, &c), "finalize", err);
}
