/* suite/core/probe.c - a small model on synthetic rows. */
#include "core/probe.h"

#include "core/error.h"
#include "core/memory.h"

#include <math.h>
#include <sae/rng.h>
#include <string.h>

enum { STREAM_NOISE = 64, STREAM_X, STREAM_Y, STREAM_G }; /* outside the streams of components */

/* ---- configurations -------------------------------------------------------------------------- */

/* Value number k of option o that differs from its default, as text; NULL past the last one. */
static char *other_value(const sae_option *o, int k)
{
    if (o->type == SAE_OPT_STR)
        return NULL;
    if (o->type == SAE_OPT_ENUM || o->type == SAE_OPT_BOOL) {
        int index = k + (k >= (int)o->def);
        if (index > (int)o->hi)
            return NULL;
        return o->type == SAE_OPT_ENUM ? sae_strdup(o->enums[index]) : sae_strfmt("%d", index);
    }
    const double tries[] = {o->lo, 2};
    for (size_t t = 0; t < sizeof tries / sizeof tries[0]; t++) {
        int repeats = t > 0 && tries[t] == tries[0];
        if (tries[t] != o->def && tries[t] >= o->lo && tries[t] <= o->hi && !repeats && k-- == 0)
            return sae_strfmt("%.17g", tries[t]);
    }
    return NULL;
}

int sae_probe_options(const sae_variant *v, int i, sae_opts **o, char **label, sae_err *err)
{
    int rc = SAE_OK, k = 0;
    const sae_option *row = v->options;
    char *value = NULL;
    *label = NULL;
    SAE_TRY(sae_opts_open(o, row, v->opt_size, err));
    for (int left = i; left > 0; left--, k++) {
        sae_free(value);
        while (row->name && !(value = other_value(row, k))) {
            row++;
            k = 0;
        }
        if (!row->name) {
            sae_opts_close(o);
            return SAE_DONE;
        }
    }
    *label = value ? sae_strfmt("%s=%s", row->name, value) : sae_strdup("");
    if (value)
        rc = sae_opts_set(*o, row->name, value, err);
    sae_free(value);
    if (rc < 0) {
        sae_opts_close(o);
        sae_free(*label);
    }
    return rc;
}

/* ---- data ------------------------------------------------------------------------------------ */

static double normal(uint64_t seed, uint32_t stream, int64_t r, int64_t i)
{
    return sae_normal(seed, stream, (uint64_t)r, (uint32_t)i);
}

/* B x d numbers into backend memory, through the stack. */
static int upload(const sae_probe *p, sae_real *dst, int64_t d, uint32_t stream, uint64_t seed,
                  enum sae_probe_rows what)
{
    sae_real chunk[256];
    int64_t count = p->batch.B * d;
    for (int64_t i = 0; i < count; i += 256) {
        int64_t some = count - i < 256 ? count - i : 256;
        for (int64_t k = 0; k < some; k++) {
            int64_t r = (i + k) / d, c = (i + k) % d;
            double v = normal(seed, stream, what == SAE_ROWS_CONSTANT ? 0 : r, c) +
                       normal(seed, STREAM_NOISE, 1 << 20, c);
            if (what == SAE_ROWS_NAN && i + k == 0)
                v = (double)NAN;
            chunk[k] = what == SAE_ROWS_ZERO ? 0 : (sae_real)v;
        }
        SAE_TRY(p->e->be->copy(p->e->dev, dst + i, chunk, (size_t)some * sizeof *chunk,
                               SAE_COPY_H2D));
    }
    return SAE_OK;
}

int sae_probe_fill(sae_probe *p, enum sae_probe_rows what, uint64_t seed)
{
    const sae_dims *dim = &p->model.dim;
    SAE_TRY(upload(p, p->x, dim->d_in, STREAM_X, seed, what));
    SAE_TRY(upload(p, p->y, dim->d_out, STREAM_Y, seed, what));
    return upload(p, p->g, dim->d_in, STREAM_G, seed, what);
}

/* Noise on every PARAM tensor. */
static int perturb(sae_probe *p, uint64_t seed)
{
    for (int i = 0; i < p->model.nt; i++) {
        const sae_tensor *t = &p->model.t[i];
        int64_t count = t->spec->role == SAE_PARAM ? t->rows * t->cols : 0;
        for (int64_t k = 0; k < count; k++) {
            sae_real v;
            SAE_TRY(p->e->be->copy(p->e->dev, &v, (sae_real *)t->w + k, sizeof v, SAE_COPY_D2H));
            v += (sae_real)(0.1 * normal(seed, STREAM_NOISE, i, k));
            SAE_TRY(p->e->be->copy(p->e->dev, (sae_real *)t->w + k, &v, sizeof v, SAE_COPY_H2D));
        }
    }
    return SAE_OK;
}

/* A long run lies behind: even features fired on the last row, odd ones never. */
static int age_statistics(sae_probe *p)
{
    p->stats.view.tokens = UINT64_C(1) << 50;
    for (int64_t j = 0; j < p->model.dim.n_cap; j += 2)
        SAE_TRY(p->e->be->copy(p->e->dev, p->stats.last_fired + j, &p->stats.view.tokens,
                               sizeof(uint64_t), SAE_COPY_H2D));
    return SAE_OK;
}

/* ---- probe ----------------------------------------------------------------------------------- */

static int open_memory(sae_probe *p, int64_t B, sae_err *err)
{
    int64_t d = p->model.dim.d_in, d_out = p->model.dim.d_out;
    size_t bytes = (size_t)(B * d + 1) * sizeof(sae_real);
    p->x = p->e->be->alloc(p->e->dev, bytes);
    p->y = p->e->be->alloc(p->e->dev, (size_t)(B * d_out + 1) * sizeof(sae_real));
    p->g = p->e->be->alloc(p->e->dev, bytes);
    if (!p->x || !p->y || !p->g)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for %lld rows of width %lld", (long long)B,
                 (long long)d);
    return sae_new(&p->tok, B + 1, sizeof *p->tok, "probe", err);
}

static void set_context(sae_probe *p, const sae_opts *o, int64_t B, uint64_t seed)
{
    const void *opt = sae_opts_base(o);
    uint64_t need = p->v->needs(opt, SAE_TRAIN) | p->v->needs(opt, SAE_EVAL);
    for (int64_t r = 0; r < B; r++)
        p->tok[r] = (sae_token){(uint64_t)r / 4, (uint32_t)(r % 4), (uint32_t)r};
    p->batch = (sae_batch){B, p->x, need & SAE_NEED_TARGET ? p->y : p->x,
                           need & SAE_NEED_GRAD ? p->g : NULL,
                           need & SAE_NEED_TOKENS ? p->tok : NULL, 1000};
    p->ctx = (sae_ctx){.size = sizeof p->ctx, .mode = SAE_TRAIN, .step = 10, .steps = 100,
                       .seed = seed, .opt = opt, .k = &p->e->k, .dev = p->e->dev,
                       .be = p->e->be, .stats = &p->stats.view, .grow = sae_model_grow,
                       .err = &p->err};
}

/* Rounds of forward and adapt without an optimiser in between. */
static int warm(sae_probe *p)
{
    for (int64_t step = 0; step < 3; step++) {
        p->ctx.step = step;
        SAE_TRY(sae_forward(&p->model, &p->ctx, &p->batch, &p->tape, p->e));
        SAE_TRY(p->v->adapt(&p->model, &p->ctx, &p->batch, &p->tape));
    }
    p->ctx.step = 10;
    return SAE_OK;
}

int sae_probe_open(sae_probe *p, const sae_variant *v, const sae_opts *o, sae_probe_shape shape,
                   uint64_t seed, const sae_engine *e, sae_err *err)
{
    int rc = SAE_OK;
    const void *opt = sae_opts_base(o);
    uint64_t need = v->needs(opt, SAE_TRAIN) | v->needs(opt, SAE_EVAL);
    sae_dims dim = {shape.d, need & SAE_NEED_TARGET ? shape.d + 3 : shape.d,
                    v->caps & SAE_CAP_GROWS ? 0 : shape.n, shape.n};
    memset(p, 0, sizeof *p);
    p->v = v;
    p->e = e;
    if (need & SAE_NEED_LM)
        SAE_FAIL(err, SAE_ENEEDS, "%s needs a language model", v->name);
    SAE_GOTO(sae_model_open(&p->model, v, opt, &dim, e, 1, err));
    SAE_GOTO(sae_tape_open(&p->tape, v, opt, &dim, shape.B, SAE_TRAIN, e, err));
    SAE_GOTO(sae_stats_open(&p->stats, shape.n + 1, e, err));
    p->stats.view.n = shape.n;
    SAE_GOTO(open_memory(p, shape.B, err));
    set_context(p, o, shape.B, seed);
    SAE_GOTO(sae_probe_fill(p, SAE_ROWS_NORMAL, seed));
    SAE_GOTO(sae_probe_extras_open(p, need, shape, seed, err));
    SAE_GOTO(v->init(&p->model, &p->ctx, &p->batch));
    SAE_GOTO(perturb(p, seed));
    SAE_GOTO(age_statistics(p));
    SAE_GOTO(warm(p));
    return SAE_OK;
fail:
    if (p->err.code)
        SAE_SET(err, p->err.code, "%s", p->err.msg);
    SAE_SET(err, rc, "%s: a probe of %lld x %lld, n %lld cannot be set up", v->name,
            (long long)shape.B, (long long)shape.d, (long long)shape.n);
    sae_probe_close(p);
    return rc;
}

void sae_probe_close(sae_probe *p)
{
    if (!p->e)
        return;
    sae_probe_extras_close(p);
    sae_model_close(&p->model, p->e);
    sae_tape_close(&p->tape, p->e);
    sae_stats_close(&p->stats, p->e);
    sae_real *own[] = {p->x, p->y, p->g};
    for (int i = 0; i < 3; i++)
        if (own[i])
            p->e->be->release(p->e->dev, own[i]);
    sae_free(p->tok);
    memset(p, 0, sizeof *p);
}

int sae_probe_tape(const sae_probe *p, enum sae_mode mode, sae_tape *t)
{
    return sae_tape_open(t, p->v, p->ctx.opt, &p->model.dim, p->batch.B, mode, p->e, p->ctx.err);
}
