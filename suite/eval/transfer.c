/* suite/eval/transfer.c - dictionaries rebuilt at the origins of other dictionaries' atoms. */
#include "eval/transfer.h"

#include "core/error.h"
#include "core/memory.h"
#include "eval/runner.h"
#include "eval/similarity.h"

#include <math.h>
#include <sae/dataset.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows at origins ------------------------------------------------------------------------- */

typedef struct found {
    sae_token *at;       /* [count] different origins, in order */
    sae_real *x;         /* [count x d] their rows, raw */
    unsigned char *have; /* [count] */
    int64_t count, missing;
} found;

static int64_t place_of(const found *f, const sae_token *t)
{
    const sae_token *at =
        f->count ? bsearch(t, f->at, (size_t)f->count, sizeof *t, sae_origin_order) : NULL;
    return at ? at - f->at : -1;
}

static int list_origins(const sae_transfer *t, found *f, sae_err *err)
{
    int64_t all = 0;
    for (int64_t j = 0; j < t->count; j++)
        all += t->origins[j].count;
    SAE_TRY(sae_new(&f->at, all, sizeof *f->at, "transfer.origins", err));
    all = 0;
    for (int64_t j = 0; j < t->count; all += t->origins[j++].count)
        for (int64_t i = 0; i < t->origins[j].count; i++)
            f->at[all + i] = t->origins[j].at[i];
    f->count = f->missing = sae_origins_unique(f->at, all);
    SAE_TRY(sae_new(&f->have, f->count, 1, "transfer.origins", err));
    return sae_new(&f->x, f->count * t->stream->dim.d_in, sizeof *f->x, "transfer.rows", err);
}

static int search_rows(const sae_transfer *t, found *f, sae_real *x, sae_token *tok, sae_err *err)
{
    const sae_stream *s = t->stream;
    int64_t d = s->dim.d_in, last = s->ds->rows(s->src, SAE_SPLIT_TRAIN);
    for (int64_t j = 0, endless = last < 0; endless && j < t->count; j++)
        last = t->origins[j].seen > last ? t->origins[j].seen : last;
    sae_fill out = {.x = x, .tok = tok};
    for (int64_t row = 0, B; f->missing > 0 && row < last; row += B) {
        B = last - row < s->B ? last - row : s->B;
        SAE_TRY(s->ds->fill(s->src, SAE_SPLIT_TRAIN, (uint64_t)row, B, &out, err));
        for (int64_t r = 0; r < B; r++) {
            int64_t i = place_of(f, &tok[r]);
            if (i < 0 || f->have[i])
                continue;
            memcpy(f->x + i * d, x + r * d, (size_t)d * sizeof *x);
            f->have[i] = 1;
            f->missing--;
        }
    }
    for (int64_t i = 0; i < f->count; i++)
        if (!f->have[i])
            SAE_FAIL(err, SAE_EINVAL,
                     "position %u of document %llu, where an atom comes from, is not among the "
                     "%lld training rows of %s",
                     f->at[i].pos, (unsigned long long)f->at[i].doc, (long long)last, s->canonical);
    return SAE_OK;
}

static int find_rows(const sae_transfer *t, found *f, sae_err *err)
{
    sae_real *x = NULL;
    sae_token *tok = NULL;
    SAE_TRY(list_origins(t, f, err));
    int rc = sae_new(&x, t->stream->B * t->stream->dim.d_in, sizeof *x, "transfer.batch", err);
    if (rc >= 0)
        rc = sae_new(&tok, t->stream->B, sizeof *tok, "transfer.batch", err);
    if (rc >= 0)
        rc = search_rows(t, f, x, tok, err);
    sae_free(x);
    sae_free(tok);
    return rc;
}

/* ---- dictionaries ---------------------------------------------------------------------------- */

/* The rows of a list of origins, normalised as in training, [count x d]. */
static int gather_rows(const sae_transfer *t, const found *f, const sae_origins *o, sae_real **out,
                       sae_err *err)
{
    int64_t d = t->stream->dim.d_in;
    sae_norm_row *row = NULL;
    SAE_TRY(sae_new(out, o->count * d, sizeof **out, "transfer.atoms", err));
    SAE_TRY(sae_new(&row, o->count, sizeof *row, "transfer.atoms", err));
    for (int64_t i = 0; i < o->count; i++)
        memcpy(*out + i * d, f->x + place_of(f, &o->at[i]) * d, (size_t)d * sizeof **out);
    sae_norm_apply(&t->sae->norm, (sae_cmat){*out, o->count, d, d}, (sae_mat){*out, o->count, d, d},
                   row);
    sae_free(row);
    return SAE_OK;
}

/* Tensors that do not grow with the dictionary are the SAE's own. */
static int copy_others(const sae_transfer *t, const sae_model *m)
{
    for (int i = 0; i < m->nt; i++) {
        const sae_tensor *to = &m->t[i], *from = &t->sae->model.t[i];
        size_t bytes = (size_t)(to->rows * to->cols) * sae_dtype_size(to->spec->dtype);
        if (to->spec->rows != SAE_DIM_N && to->spec->cols != SAE_DIM_N)
            SAE_TRY(t->e->be->copy(t->e->dev, to->w, from->w, bytes, SAE_COPY_D2D));
    }
    return SAE_OK;
}

/* m: close it in any case. */
static int rebuild(const sae_transfer *t, const found *f, const sae_origins *o, sae_model *m,
                   sae_err *err)
{
    int64_t d = t->stream->dim.d_in;
    sae_real *x = NULL;
    const sae_dims dim = {d, d, o->count, o->count};
    SAE_TRY(
        sae_model_open(m, t->sae->model.v, sae_opts_base(t->sae->spec.opts), &dim, t->e, 0, err));
    const sae_tensor *w = sae_model_tensor(m, "W_dec");
    int rc = gather_rows(t, f, o, &x, err);
    if (rc >= 0)
        rc = t->e->be->copy(t->e->dev, w->w, x, (size_t)(o->count * d) * sizeof *x, SAE_COPY_H2D);
    if (rc >= 0)
        rc = t->e->k.unit_rows(t->e->dev, (sae_mat){w->w, o->count, d, d});
    if (rc >= 0)
        rc = copy_others(t, m);
    sae_free(x);
    return rc < 0 ? SAE_SET(err, rc, "a dictionary cannot be rebuilt on %s", t->e->be->name) : rc;
}

/* ---- measuring ------------------------------------------------------------------------------- */

typedef struct errors {
    const sae_subject *subject;
    double *of;
} errors;

static int on_row(void *arg, const sae_result *r)
{
    errors *e = arg;
    if (!strcmp(r->metric, "reconstruction.cosine"))
        e->of[r->subject - e->subject] = 1 - r->row->value;
    return SAE_OK;
}

static int measure(const sae_transfer *t, const sae_model *rebuilt, double *error, sae_err *err)
{
    sae_subject *s = NULL;
    sae_spec metric = {0}, *at = &metric;
    SAE_TRY(sae_new(&s, t->count + 1, sizeof *s, "transfer.subjects", err));
    for (int64_t j = 0; j <= t->count; j++) {
        error[j] = (double)NAN;
        s[j] = sae_subject_of(t->sae);
        s[j].stats = NULL; /* they are about its own atoms */
        s[j].model = j ? &rebuilt[j - 1] : s[j].model;
    }
    errors e = {s, error};
    sae_evaluation ev = {.stream = t->stream,
                         .e = t->e,
                         .reg = t->reg,
                         .subject = s,
                         .count = t->count + 1,
                         .metric = &at,
                         .metrics = 1,
                         .rows = t->rows,
                         .on_row = on_row,
                         .arg = &e};
    int rc = sae_spec_parse(&metric, t->reg, SAE_KIND_METRIC, "reconstruction", err);
    if (rc >= 0)
        rc = sae_evaluate(&ev, err);
    sae_spec_free(&metric);
    sae_free(s);
    return rc;
}

int sae_transfer_measure(const sae_transfer *t, double *error, sae_err *err)
{
    found f = {0};
    sae_model *m = NULL;
    const sae_tensor *w = sae_model_tensor(&t->sae->model, "W_dec");
    if (!w || w->spec->dtype != SAE_REAL || w->cols != t->stream->dim.d_in)
        SAE_FAIL(err, SAE_EINVAL, "%s: its atoms are not rows of %s", t->sae->canonical,
                 t->stream->canonical);
    int rc = find_rows(t, &f, err);
    if (rc >= 0)
        rc = sae_new(&m, t->count, sizeof *m, "transfer.models", err);
    for (int64_t j = 0; rc >= 0 && j < t->count; j++)
        rc = rebuild(t, &f, &t->origins[j], &m[j], err);
    if (rc >= 0)
        rc = measure(t, m, error, err);
    for (int64_t j = 0; m && j < t->count; j++)
        sae_model_close(&m[j], t->e);
    sae_free(m);
    sae_free(f.at);
    sae_free(f.x);
    sae_free(f.have);
    return rc;
}
