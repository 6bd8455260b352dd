/* suite/train/extras.c - the true dictionary of a source, and a trained SAE as a variant's base. */
#include "train/extras.h"

#include "core/error.h"
#include "core/memory.h"
#include "train/sae_file.h"

#include <math.h>
#include <string.h>

struct sae_extras {
    sae_base base; /* first: sae_base.encode finds the rest from it */
    uint64_t needs;
    sae_truth truth;
    const sae_engine *e;
    sae_loaded loaded;
    sae_tape tape;
};

static int encode(const sae_base *base, const sae_batch *b, const sae_tape **t, sae_err *err)
{
    sae_extras *x = (sae_extras *)(uintptr_t)base;
    sae_ctx c = {.size = sizeof c,
                 .mode = SAE_EVAL,
                 .seed = x->loaded.seed,
                 .opt = x->loaded.opt,
                 .k = &x->e->k,
                 .dev = x->e->dev,
                 .be = x->e->be,
                 .stats = &x->loaded.stats.view,
                 .err = err};
    sae_batch own = {.B = b->B, .x = b->x, .y = b->x, .row0 = b->row0};
    *t = &x->tape;
    return sae_forward(&x->loaded.model, &c, &own, &x->tape, x->e);
}

static const char *base_path(const sae_variant *v, const void *opt)
{
    for (const sae_option *o = v->options; o->name; o++)
        if (o->type == SAE_OPT_STR && strcmp(o->name, "base") == 0)
            return *(const char *const *)((const char *)opt + o->off);
    return NULL;
}

/* The base reads the rows of this run, so it must have been trained on rows in the same units. */
static int check_norm(const sae_loaded *s, const sae_norm_const *norm, const char *path,
                      sae_err *err)
{
    if (s->norm.kind != norm->kind)
        SAE_FAIL(err, SAE_EINVAL, "base %s was trained with norm=%s, this SAE reads norm=%s", path,
                 sae_norm_names[s->norm.kind], sae_norm_names[norm->kind]);
    if (fabs(s->norm.scale - norm->scale) > 1e-6 * norm->scale)
        SAE_FAIL(err, SAE_EINVAL,
                 "base %s was trained on activations divided by %g, this SAE reads them divided by "
                 "%g: use the same dataset", path, s->norm.scale, norm->scale);
    return SAE_OK;
}

static int open_base(sae_extras *x, const char *path, const sae_registry *reg,
                     const sae_norm_const *norm, int64_t d, int64_t B, sae_err *err)
{
    if (!path || !*path)
        SAE_FAIL(err, SAE_EINVAL, "option base: the directory of a trained SAE is required");
    if (!reg)
        SAE_FAIL(err, SAE_ENEEDS, "a base SAE cannot be opened here");
    SAE_TRY(sae_file_import(&x->loaded, path, NULL, reg, x->e, err));
    const sae_model *m = &x->loaded.model;
    if (m->v->needs(m->opt, SAE_EVAL))
        SAE_FAIL(err, SAE_ENEEDS, "base %s: a %s reads more than activations", path, m->v->name);
    if (m->dim.d_in != d)
        SAE_FAIL(err, SAE_EINVAL, "base %s is %lld wide, the activations are %lld", path,
                 (long long)m->dim.d_in, (long long)d);
    SAE_TRY(check_norm(&x->loaded, norm, path, err));
    x->base.m = m;
    x->base.encode = encode;
    return sae_tape_open(&x->tape, m->v, x->loaded.opt, &m->dim, B, SAE_EVAL, x->e, err);
}

static int open_parts(sae_extras *x, const sae_model *m, const sae_registry *reg,
                      const sae_stream *s, const sae_norm_const *norm, int64_t B, sae_err *err)
{
    if (x->needs & SAE_NEED_TRUTH) {
        SAE_TRY(s->ds->truth(s->src, SAE_SPLIT_TRAIN, 0, 1, &x->truth, err));
        x->truth.code = NULL;
    }
    return x->needs & SAE_NEED_BASE
               ? open_base(x, base_path(m->v, m->opt), reg, norm, s->dim.d_in, B, err)
               : SAE_OK;
}

int sae_extras_open(sae_extras **x, const sae_model *m, uint64_t needs, const sae_registry *reg,
                    const sae_stream *s, const sae_norm_const *norm, int64_t B,
                    const sae_engine *e, sae_err *err)
{
    *x = NULL;
    needs &= SAE_NEED_TRUTH | SAE_NEED_BASE;
    if (!needs)
        return SAE_OK;
    SAE_TRY(sae_new(x, 1, sizeof **x, "extras", err));
    (*x)->needs = needs;
    (*x)->e = e;
    int rc = open_parts(*x, m, reg, s, norm, B, err);
    if (rc < 0)
        sae_extras_close(x);
    return rc;
}

void sae_extras_close(sae_extras **x)
{
    if (!*x)
        return;
    sae_tape_close(&(*x)->tape, (*x)->e);
    sae_loaded_close(&(*x)->loaded, (*x)->e);
    sae_free(*x);
    *x = NULL;
}

void sae_extras_give(const sae_extras *x, sae_ctx *c)
{
    c->truth = x && x->needs & SAE_NEED_TRUTH ? &x->truth : NULL;
    c->base = x && x->needs & SAE_NEED_BASE ? &x->base : NULL;
}
