/* suite/train/stream.c - read, normalise and hand out batches of activations. */
#include "train/stream.h"

#include "core/error.h"
#include "core/memory.h"

#include <inttypes.h>
#include <string.h>

/* Host memory of the buffers, and backend copies where the backend has memory of its own. */
static int open_buffers(sae_stream *s, sae_err *err)
{
    size_t count = 0;
    int gives_grad = (sae_source_gives(s->ds, s->src) & SAE_GIVES_GRAD) != 0;
    SAE_TRY(sae_size_mul(&count, s->B, s->dim.d_in, err));
    int64_t all = (int64_t)count;
    SAE_TRY(sae_new(&s->raw, all, sizeof *s->raw, "stream.raw", err));
    SAE_TRY(sae_new(&s->norm.mean, s->dim.d_in, sizeof *s->norm.mean, "stream.mean", err));
    SAE_TRY(sae_new(&s->tok, s->B, sizeof *s->tok, "stream.tok", err));
    s->x = s->raw;
    if (s->norm.kind != SAE_NORM_NONE)
        SAE_TRY(sae_new(&s->x, all, sizeof *s->x, "stream.x", err));
    if (sae_norm_is_per_row(s->norm.kind))
        SAE_TRY(sae_new(&s->row, s->B, sizeof *s->row, "stream.row", err));
    if (gives_grad)
        SAE_TRY(sae_new(&s->g, all, sizeof *s->g, "stream.g", err));
    s->dev_x = s->x;
    s->dev_g = s->g;
    if (s->e->props.shares_host)
        return SAE_OK;
    s->dev_x = s->e->be->alloc(s->e->dev, count * sizeof *s->dev_x);
    s->dev_g = gives_grad ? s->e->be->alloc(s->e->dev, count * sizeof *s->dev_g) : NULL;
    if (!s->dev_x || (gives_grad && !s->dev_g))
        SAE_FAIL(err, SAE_ENOMEM, "out of memory on %s for batches of %" PRId64 " rows",
                 s->e->be->name, s->B);
    return SAE_OK;
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
    s->norm.kind = norm;
    s->canonical = sae_spec_print(spec, 1);
    if (!s->canonical)
        SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "out of memory for a dataset's name"));
    SAE_GOTO(s->ds->open(&s->src, sae_opts_base(spec->opts), host, &s->dim, err));
    SAE_GOTO(s->ds->hash(s->src, s->hash));
    SAE_GOTO(open_buffers(s, err));
    SAE_GOTO(sae_norm_estimate(&s->norm, s->ds, s->src,
                               (sae_mat){s->raw, B, s->dim.d_in, s->dim.d_in}, err));
    return SAE_OK;
fail:
    SAE_SET(err, rc, "dataset %s: %s", s->ds->name, sae_status_name(rc));
    sae_stream_close(s);
    return rc;
}

void sae_stream_close(sae_stream *s)
{
    if (s->e && !s->e->props.shares_host) {
        s->e->be->release(s->e->dev, s->dev_x);
        s->e->be->release(s->e->dev, s->dev_g);
    }
    if (s->x != s->raw)
        sae_free(s->x);
    sae_free(s->raw);
    sae_free(s->g);
    sae_free(s->row);
    sae_free(s->tok);
    sae_free(s->norm.mean);
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
                   (gives & SAE_GIVES_TRUTH ? SAE_NEED_TRUTH : 0) | SAE_NEED_BASE;
    return need & ~has;
}

static int upload(const sae_stream *s, sae_real *dst, const sae_real *src, int64_t B, sae_err *err)
{
    size_t bytes = (size_t)(B * s->dim.d_in) * sizeof *src;
    if (dst == src)
        return SAE_OK;
    int rc = s->e->be->copy(s->e->dev, dst, src, bytes, SAE_COPY_H2D);
    if (rc < 0)
        SAE_FAIL(err, rc, "a batch of %zu bytes cannot be copied to %s", bytes, s->e->be->name);
    return SAE_OK;
}

int sae_stream_fill(sae_stream *s, enum sae_split split, uint64_t row0, int64_t B, uint64_t need,
                    sae_batch *out, sae_err *err)
{
    int64_t d = s->dim.d_in;
    int grad = (need & SAE_NEED_GRAD) != 0, tokens = (need & SAE_NEED_TOKENS) != 0;
    if (B < 1 || B > s->B)
        SAE_FAIL(err, SAE_EINVAL, "a batch of %" PRId64 " rows from a stream of %" PRId64, B, s->B);
    if (sae_stream_lacks(s, need))
        SAE_FAIL(err, SAE_ENEEDS, "dataset %s cannot supply inputs 0x%" PRIx64, s->ds->name,
                 sae_stream_lacks(s, need));
    sae_fill want = {.x = s->raw, .g = grad ? s->g : NULL, .tok = tokens ? s->tok : NULL};
    SAE_TRY(s->ds->fill(s->src, split, row0, B, &want, err));
    if (s->x != s->raw)
        sae_norm_apply(&s->norm, (sae_cmat){s->raw, B, d, d}, (sae_mat){s->x, B, d, d}, s->row);
    SAE_TRY(upload(s, s->dev_x, s->x, B, err));
    if (grad) {
        if (s->norm.kind != SAE_NORM_NONE)
            sae_norm_gradient(&s->norm, s->row, (sae_mat){s->g, B, d, d});
        SAE_TRY(upload(s, s->dev_g, s->g, B, err));
    }
    *out = (sae_batch){.B = B,
                       .x = s->dev_x,
                       .y = s->dev_x,
                       .g = grad ? s->dev_g : NULL,
                       .tok = want.tok,
                       .row0 = row0};
    return SAE_OK;
}

void sae_stream_denorm(const sae_stream *s, sae_mat xhat)
{
    if (s->norm.kind != SAE_NORM_NONE)
        sae_norm_undo(&s->norm, s->row, xhat);
}
