/* suite/train/stream.c - read, normalise and hand out batches of activations. */
#include "train/stream.h"

#include "core/error.h"
#include "core/memory.h"

#include <inttypes.h>
#include <string.h>

/* ---- one kind of rows ------------------------------------------------------------------------ */

/* [B x d] on a device; NULL where memory is shared. */
static int device_rows(const sae_engine *e, int64_t B, int64_t d, sae_real **out, sae_err *err)
{
    *out = NULL;
    if (e->props.shares_host)
        return SAE_OK;
    *out = e->be->alloc(e->dev, (size_t)(B * d) * sizeof **out);
    if (!*out)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory on %s for batches of %" PRId64 " rows",
                 e->be->name, B);
    return SAE_OK;
}

static void release(const sae_engine *e, sae_real *p)
{
    if (p)
        e->be->release(e->dev, p);
}

/* Copy to the device where there is one; *shown = where the rows now are for its kernels. */
static int upload(const sae_engine *e, sae_real *dev, const sae_real *src, int64_t count,
                  const sae_real **shown, sae_err *err)
{
    size_t bytes = (size_t)count * sizeof *src;
    *shown = dev ? dev : src;
    int rc = dev ? e->be->copy(e->dev, dev, src, bytes, SAE_COPY_H2D) : SAE_OK;
    if (rc < 0)
        SAE_FAIL(err, rc, "a batch of %zu bytes cannot be copied to %s", bytes, e->be->name);
    return SAE_OK;
}

int sae_side_open(sae_side *s, const sae_norm_const *norm, int64_t d, int64_t B,
                  const sae_engine *e, sae_err *err)
{
    size_t count = 0;
    *s = (sae_side){.d = d, .norm = norm, .e = e};
    SAE_TRY(sae_size_mul(&count, B, d, err));
    if (norm->kind != SAE_NORM_NONE)
        SAE_TRY(sae_new(&s->x, (int64_t)count, sizeof *s->x, "normalised rows", err));
    if (sae_norm_is_per_row(norm->kind))
        SAE_TRY(sae_new(&s->row, B, sizeof *s->row, "scales of rows", err));
    return device_rows(e, B, d, &s->dev, err);
}

void sae_side_close(sae_side *s)
{
    release(s->e, s->dev);
    sae_free(s->x);
    sae_free(s->row);
    *s = (sae_side){0};
}

int sae_side_load(sae_side *s, const sae_real *raw, int64_t B, const sae_real **out, sae_err *err)
{
    int64_t d = s->d;
    if (s->x)
        sae_norm_apply(s->norm, (sae_cmat){raw, B, d, d}, (sae_mat){s->x, B, d, d}, s->row);
    return upload(s->e, s->dev, s->x ? s->x : raw, B * d, out, err);
}

/* ---- the stream ------------------------------------------------------------------------------ */

/* Raw rows of one kind, the way they go on, and their constants. */
static int open_side(sae_stream *s, sae_side *side, sae_real **raw, int64_t d, sae_err *err)
{
    size_t count = 0;
    int target = side == &s->out;
    sae_norm_const *n = target ? &s->target : &s->norm;
    SAE_TRY(sae_size_mul(&count, s->B, d, err));
    SAE_TRY(sae_new(raw, (int64_t)count, sizeof **raw, "stream.raw", err));
    SAE_TRY(sae_new(&n->mean, d, sizeof *n->mean, "stream.mean", err));
    return sae_side_open(side, n, d, s->B, s->e, err);
}

static int open_rows(sae_stream *s, sae_err *err)
{
    uint64_t gives = sae_source_gives(s->ds, s->src);
    SAE_TRY(sae_new(&s->tok, s->B, sizeof *s->tok, "stream.tok", err));
    SAE_TRY(open_side(s, &s->in, &s->raw, s->dim.d_in, err));
    if (gives & SAE_GIVES_TARGET)
        SAE_TRY(open_side(s, &s->out, &s->raw_y, s->dim.d_out, err));
    if (!(gives & SAE_GIVES_GRAD))
        return SAE_OK;
    SAE_TRY(sae_new(&s->g, s->B * s->dim.d_in, sizeof *s->g, "stream.g", err));
    return device_rows(s->e, s->B, s->dim.d_in, &s->dev_g, err);
}

int sae_stream_open(sae_stream *s, const sae_spec *spec, const sae_host *host, const sae_engine *e,
                    enum sae_norm norm, int64_t B, sae_err *err)
{
    int rc = SAE_OK;
    memset(s, 0, sizeof *s);
    if (B < 1)
        SAE_FAIL(err, SAE_EINVAL, "a batch has at least one row, not %" PRId64, B);
    s->ds = spec->dataset;
    s->e = e;
    s->B = B;
    s->norm = s->target = (sae_norm_const){.kind = norm, .scale = 1};
    s->canonical = sae_spec_print(spec, 1);
    if (!s->canonical)
        SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "out of memory for a dataset's name"));
    SAE_GOTO(s->ds->open(&s->src, sae_opts_base(spec->opts), host, &s->dim, err));
    SAE_GOTO(s->ds->hash(s->src, s->hash));
    SAE_GOTO(open_rows(s, err));
    return SAE_OK;
fail:
    SAE_SET(err, rc, "dataset %s: %s", s->ds->name, sae_status_name(rc));
    sae_stream_close(s);
    return rc;
}

int sae_stream_constants(sae_stream *s, sae_err *err)
{
    sae_mat x = {s->raw, s->B, s->dim.d_in, s->dim.d_in};
    sae_mat y = {s->raw_y, s->B, s->dim.d_out, s->dim.d_out};
    if (s->norm.rows > 0)
        return SAE_OK;
    if (y.p)
        SAE_TRY(sae_norm_estimate(&s->target, s->ds, s->src, 1, y, err));
    return sae_norm_estimate(&s->norm, s->ds, s->src, 0, x, err);
}

void sae_stream_close(sae_stream *s)
{
    sae_side_close(&s->in);
    sae_side_close(&s->out);
    release(s->e, s->dev_g);
    sae_free(s->raw);
    sae_free(s->raw_y);
    sae_free(s->g);
    sae_free(s->tok);
    sae_free(s->norm.mean);
    sae_free(s->target.mean);
    sae_free(s->canonical);
    if (s->src)
        s->ds->close(&s->src);
    memset(s, 0, sizeof *s);
}

uint64_t sae_stream_lacks(const sae_stream *s, uint64_t need)
{
    uint64_t gives = sae_source_gives(s->ds, s->src);
    uint64_t has = (gives & SAE_GIVES_GRAD ? SAE_NEED_GRAD : 0) |
                   (gives & SAE_GIVES_TOKENS ? SAE_NEED_TOKENS : 0) |
                   (gives & SAE_GIVES_TARGET ? SAE_NEED_TARGET : 0) |
                   (gives & SAE_GIVES_TRUTH ? SAE_NEED_TRUTH : 0) | SAE_NEED_BASE;
    return need & ~has;
}

int sae_stream_fill(sae_stream *s, enum sae_split split, uint64_t row0, int64_t B, uint64_t need,
                    sae_batch *out, sae_err *err)
{
    int64_t d = s->dim.d_in;
    int grad = (need & SAE_NEED_GRAD) != 0, tokens = (need & SAE_NEED_TOKENS) != 0;
    int target = (need & SAE_NEED_TARGET) != 0;
    if (B < 1 || B > s->B)
        SAE_FAIL(err, SAE_EINVAL, "a batch of %" PRId64 " rows from a stream of %" PRId64, B, s->B);
    if (sae_stream_lacks(s, need))
        SAE_FAIL(err, SAE_ENEEDS, "dataset %s cannot supply inputs 0x%" PRIx64, s->ds->name,
                 sae_stream_lacks(s, need));
    if (s->norm.kind != SAE_NORM_NONE)
        SAE_TRY(sae_stream_constants(s, err));
    sae_fill want = {.x = s->raw,
                     .y = target ? s->raw_y : NULL,
                     .g = grad ? s->g : NULL,
                     .tok = tokens ? s->tok : NULL};
    SAE_TRY(s->ds->fill(s->src, split, row0, B, &want, err));
    *out = (sae_batch){.B = B, .tok = want.tok, .row0 = row0};
    SAE_TRY(sae_side_load(&s->in, s->raw, B, &out->x, err));
    out->y = out->x;
    if (target)
        SAE_TRY(sae_side_load(&s->out, s->raw_y, B, &out->y, err));
    if (!grad)
        return SAE_OK;
    if (s->norm.kind != SAE_NORM_NONE)
        sae_norm_gradient(&s->norm, s->in.row, (sae_mat){s->g, B, d, d});
    return upload(s->e, s->dev_g, s->g, B * d, &out->g, err);
}
