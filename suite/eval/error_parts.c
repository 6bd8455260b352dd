/* suite/eval/error_parts.c - reconstructions and errors of a trained SAE as shards. */
#include "eval/error_parts.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/shards.h"
#include "eval/lane.h"

#include <sae/linear_fit.h>
#include <string.h>

const char *const sae_error_part_names[] = {"x", "xhat", "error", "linear", "nonlinear", NULL};

typedef struct writer { /* a run under way */
    const sae_error_parts *p;
    sae_err *err;
    int64_t d, rows;
    sae_lane lane;
    sae_real *x, *out; /* [B x d] rows; the error, then the part */
    sae_token *tok;    /* [B] */
    double *block;     /* of fit; NULL unless a linear part is asked for */
    sae_fit fit;
    double *at, *mean; /* [d] means of x and of the error */
    sae_real *w;       /* [d x d] */
    sae_shards_writer *shards;
    sae_progress progress;
} writer;

static int is_linear(const writer *s)
{
    return s->p->part == SAE_ERROR_LINEAR || s->p->part == SAE_ERROR_NONLINEAR;
}

static int check(writer *s)
{
    const sae_error_parts *p = s->p;
    const sae_stream *t = p->stream;
    const sae_model *m = p->subject->model;
    int64_t all = t->ds->rows(t->src, SAE_SPLIT_TRAIN);
    s->d = t->dim.d_in;
    s->rows = p->rows > 0 ? p->rows : all;
    if (m->v->needs(m->opt, SAE_EVAL) & SAE_NEED_TARGET)
        SAE_FAIL(s->err, SAE_EINVAL, "%s reconstructs other rows than it reads", p->subject->spec);
    if (m->dim.d_in != s->d || m->dim.d_out != s->d)
        SAE_FAIL(s->err, SAE_EINVAL, "%s has width %lld, the dataset %lld", p->subject->spec,
                 (long long)m->dim.d_in, (long long)s->d);
    if (s->rows < 1)
        SAE_FAIL(s->err, SAE_EINVAL, "dataset %s has %s: expected a number of rows", t->ds->name,
                 all < 0 ? "no end" : "no training rows");
    if (all >= 0 && s->rows > all)
        SAE_FAIL(s->err, SAE_EINVAL, "%lld rows asked for, the training split has %lld",
                 (long long)s->rows, (long long)all);
    return SAE_OK;
}

static int take_memory(writer *s)
{
    int64_t B = s->p->stream->B, d = s->d;
    SAE_TRY(sae_new(&s->x, B * d, sizeof *s->x, "parts.rows", s->err));
    SAE_TRY(sae_new(&s->out, B * d, sizeof *s->out, "parts.rows", s->err));
    SAE_TRY(sae_new(&s->tok, B, sizeof *s->tok, "parts.tokens", s->err));
    if (!is_linear(s))
        return SAE_OK;
    SAE_TRY(sae_new(&s->block, sae_fit_doubles(d, d, 0), sizeof *s->block, "parts.fit", s->err));
    SAE_TRY(sae_new(&s->at, 2 * d, sizeof *s->at, "parts.fit", s->err));
    SAE_TRY(sae_new(&s->w, d * d, sizeof *s->w, "parts.fit", s->err));
    s->fit = sae_fit_at(s->block, d, d, 0);
    s->mean = s->at + d;
    return SAE_OK;
}

/* Rows [row0, row0 + B): x, and in out what the SAE leaves of it. */
static int load(writer *s, int64_t row0, int64_t B)
{
    const sae_stream *t = s->p->stream;
    sae_fill f = {.x = s->x, .tok = s->tok};
    for (int64_t i = 0; i < B; i++) /* sources without documents: every row is its own */
        s->tok[i] = (sae_token){(uint64_t)(row0 + i), 0, 0};
    SAE_TRY(t->ds->fill(t->src, SAE_SPLIT_TRAIN, (uint64_t)row0, B, &f, s->err));
    sae_rows rows = {B, s->x, s->x, NULL, s->tok, (uint64_t)row0};
    SAE_TRY(sae_lane_run(&s->lane, &rows));
    for (int64_t i = 0; i < B * s->d; i++)
        s->out[i] = s->x[i] - s->lane.xhat[i];
    if (sae_interrupted())
        SAE_FAIL(s->err, SAE_EINTR, "interrupted after %lld rows", (long long)row0);
    return SAE_OK;
}

static int fit(writer *s)
{
    int rc = SAE_OK;
    for (int64_t row0 = 0, B; row0 < s->rows; row0 += B) {
        B = s->rows - row0 < s->p->stream->B ? s->rows - row0 : s->p->stream->B;
        SAE_TRY(load(s, row0, B));
        rc = sae_fit_add(&s->lane.ctx, &s->fit, s->x, s->out, B);
        if (rc < 0)
            break;
        sae_progress_at(&s->progress, (double)(row0 + B));
    }
    if (rc >= 0)
        rc = sae_fit_map(&s->lane.ctx, &s->fit, s->w, s->at, s->mean);
    if (rc < 0)
        SAE_FAIL(s->err, rc, "the linear part of the error, of width %lld, cannot be fitted",
                 (long long)s->d);
    return SAE_OK;
}

/* out, which holds the error, becomes the part. */
static int choose(writer *s, int64_t B)
{
    int64_t d = s->d;
    const sae_real *whole = s->p->part == SAE_ERROR_X      ? s->x
                            : s->p->part == SAE_ERROR_XHAT ? s->lane.xhat
                                                           : NULL;
    if (whole)
        memcpy(s->out, whole, (size_t)(B * d) * sizeof *s->out);
    if (!is_linear(s))
        return SAE_OK;
    SAE_TRY(sae_fit_apply(&s->lane.ctx, d, d, s->at, s->w, s->x, B, s->x));
    for (int64_t i = 0; i < B * d; i++) {
        double linear = (double)s->x[i] + s->mean[i % d];
        s->out[i] =
            (sae_real)(s->p->part == SAE_ERROR_LINEAR ? linear : (double)s->out[i] - linear);
    }
    return SAE_OK;
}

static int open_shards(writer *s)
{
    const sae_error_parts *p = s->p;
    char hash[36];
    sae_hash_bytes(p->subject->spec, strlen(p->subject->spec), hash);
    sae_shards_info info = {.model = p->stream->canonical,
                            .weights_hash = p->stream->hash,
                            .hook = sae_error_part_names[p->part],
                            .tokenizer_hash = "",
                            .text = p->subject->spec,
                            .text_hash = hash,
                            .d = s->d,
                            .dtype = p->dtype,
                            .rows_per_shard = p->rows_per_shard};
    return sae_shards_writer_open(&s->shards, p->dir, &info, s->err);
}

static int write_rows(writer *s)
{
    double before = is_linear(s) ? (double)s->rows : 0;
    for (int64_t row0 = 0, B; row0 < s->rows; row0 += B) {
        B = s->rows - row0 < s->p->stream->B ? s->rows - row0 : s->p->stream->B;
        SAE_TRY(load(s, row0, B));
        SAE_TRY(choose(s, B));
        SAE_TRY(sae_shards_writer_add(s->shards, B, s->out, NULL, s->tok, s->err));
        sae_progress_at(&s->progress, before + (double)(row0 + B));
    }
    return SAE_OK;
}

int sae_error_parts_write(const sae_error_parts *p, int64_t *rows, sae_err *err)
{
    writer s = {.p = p, .err = err};
    sae_evaluation ev = {.stream = p->stream, .e = p->e, .reg = p->reg};
    int rc;
    SAE_TRY(check(&s));
    sae_progress_open(&s.progress, "capture", "rows", (double)(s.rows * (1 + is_linear(&s))));
    sae_progress_at(&s.progress, 0);
    SAE_GOTO(take_memory(&s));
    SAE_GOTO(sae_lane_open(&s.lane, &ev, p->subject, p->stream->B, SAE_NEED_TOKENS | SAE_NEED_BASE,
                           NULL, err));
    SAE_GOTO(open_shards(&s));
    if (is_linear(&s))
        SAE_GOTO(fit(&s));
    SAE_GOTO(write_rows(&s));
    SAE_GOTO(sae_shards_writer_commit(&s.shards, err));
    *rows = s.rows;
fail:
    sae_progress_close(&s.progress);
    sae_shards_writer_abandon(&s.shards);
    sae_lane_close(&s.lane);
    sae_free(s.x);
    sae_free(s.out);
    sae_free(s.tok);
    sae_free(s.block);
    sae_free(s.at);
    sae_free(s.w);
    return rc;
}
