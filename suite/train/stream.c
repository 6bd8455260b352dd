/* suite/train/stream.c - read, normalise and hand out batches of activations.
 *
 * Loading ahead: `next` is filled by a thread of its own while `now` is in use; the two change
 * places when the batch is asked for. The thread meets the learners nowhere: the source, `next` and
 * sae_backend.upload are its own meanwhile.
 */
#include "train/stream.h"

#include "core/error.h"
#include "core/memory.h"

#include <inttypes.h>
#include <string.h>

/* ---- memory ---------------------------------------------------------------------------------- */

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

/* [B x d] of the host, where the device reads at full speed. */
static int host_rows(const sae_engine *e, int64_t B, int64_t d, sae_real **out, sae_err *err)
{
    size_t count = 0, bytes = 0;
    SAE_TRY(sae_size_mul(&count, B, d, err));
    if (!e->be->alloc_host)
        return sae_new(out, (int64_t)count, sizeof **out, "rows of a batch", err);
    SAE_TRY(sae_size_mul(&bytes, (int64_t)count, sizeof **out, err));
    *out = e->be->alloc_host(e->dev, bytes);
    if (!*out)
        SAE_FAIL(err, SAE_ENOMEM, "out of host memory for %s: %zu bytes for rows of a batch",
                 e->be->name, bytes);
    return SAE_OK;
}

static void release_host(const sae_engine *e, sae_real *p)
{
    if (p && e->be->alloc_host)
        e->be->release_host(e->dev, p);
    else
        sae_free(p);
}

/* Copy to the device where there is one; *shown = where the rows now are for its kernels. `beside`:
 * from another thread than its own, to memory that nothing it has queued uses. */
static int carry(const sae_engine *e, int beside, sae_real *dev, const sae_real *src,
                 int64_t count, const sae_real **shown, sae_err *err)
{
    size_t bytes = (size_t)count * sizeof *src;
    *shown = dev ? dev : src;
    if (!dev)
        return SAE_OK;
    int rc = beside ? e->be->upload(e->dev, dev, src, bytes)
                    : e->be->copy(e->dev, dev, src, bytes, SAE_COPY_H2D);
    if (rc < 0)
        SAE_FAIL(err, rc, "a batch of %zu bytes cannot be copied to %s", bytes, e->be->name);
    return SAE_OK;
}

/* ---- one kind of rows ------------------------------------------------------------------------ */

int sae_side_open(sae_side *s, const sae_norm_const *norm, int64_t d, int64_t B,
                  const sae_engine *e, sae_err *err)
{
    *s = (sae_side){.d = d, .norm = norm, .e = e};
    if (norm->kind != SAE_NORM_NONE)
        SAE_TRY(host_rows(e, B, d, &s->x, err));
    if (sae_norm_is_per_row(norm->kind))
        SAE_TRY(sae_new(&s->row, B, sizeof *s->row, "scales of rows", err));
    return device_rows(e, B, d, &s->dev, err);
}

void sae_side_close(sae_side *s)
{
    release(s->e, s->dev);
    release_host(s->e, s->x);
    sae_free(s->row);
    *s = (sae_side){0};
}

/* Raw rows as variants see them, in host memory. */
static const sae_real *normalised(const sae_side *s, const sae_real *raw, int64_t B)
{
    int64_t d = s->d;
    if (!s->x)
        return raw;
    sae_norm_apply(s->norm, (sae_cmat){raw, B, d, d}, (sae_mat){s->x, B, d, d}, s->row);
    return s->x;
}

int sae_side_load(sae_side *s, const sae_real *raw, int64_t B, const sae_real **out, sae_err *err)
{
    return carry(s->e, 0, s->dev, normalised(s, raw, B), B * s->d, out, err);
}

/* ---- one batch ------------------------------------------------------------------------------- */

static void close_buffers(const sae_engine *e, sae_buffers *q)
{
    sae_side_close(&q->in);
    sae_side_close(&q->out);
    release(e, q->dev_g);
    release_host(e, q->raw);
    release_host(e, q->raw_y);
    release_host(e, q->g);
    sae_free(q->tok);
    memset(q, 0, sizeof *q);
}

static int open_buffers(const sae_stream *s, sae_buffers *q, sae_err *err)
{
    int rc = SAE_OK;
    int64_t B = s->B, d = s->dim.d_in;
    uint64_t gives = sae_source_gives(s->ds, s->src);
    SAE_GOTO(sae_new(&q->tok, B, sizeof *q->tok, "stream.tok", err));
    SAE_GOTO(host_rows(s->e, B, d, &q->raw, err));
    SAE_GOTO(sae_side_open(&q->in, &s->norm, d, B, s->e, err));
    if (gives & SAE_GIVES_TARGET) {
        SAE_GOTO(host_rows(s->e, B, s->dim.d_out, &q->raw_y, err));
        SAE_GOTO(sae_side_open(&q->out, &s->target, s->dim.d_out, B, s->e, err));
    }
    if (gives & SAE_GIVES_GRAD) {
        SAE_GOTO(host_rows(s->e, B, d, &q->g, err));
        SAE_GOTO(device_rows(s->e, B, d, &q->dev_g, err));
    }
    return SAE_OK;
fail:
    close_buffers(s->e, q);
    return rc;
}

/* q->shown: what lies in q->host, where the engine computes. */
static int show(const sae_stream *s, sae_buffers *q, int beside, sae_err *err)
{
    const sae_batch *h = &q->host;
    q->shown = *h;
    SAE_TRY(carry(s->e, beside, q->in.dev, h->x, h->B * q->in.d, &q->shown.x, err));
    q->shown.y = q->shown.x;
    if (h->y != h->x)
        SAE_TRY(carry(s->e, beside, q->out.dev, h->y, h->B * q->out.d, &q->shown.y, err));
    if (!h->g)
        return SAE_OK;
    return carry(s->e, beside, q->dev_g, h->g, h->B * q->in.d, &q->shown.g, err);
}

static int load(const sae_stream *s, sae_buffers *q, const sae_request *r, int beside, sae_err *err)
{
    int64_t d = q->in.d;
    sae_fill want = {.x = q->raw,
                     .y = r->need & SAE_NEED_TARGET ? q->raw_y : NULL,
                     .g = r->need & SAE_NEED_GRAD ? q->g : NULL,
                     .tok = r->need & SAE_NEED_TOKENS ? q->tok : NULL};
    SAE_TRY(s->ds->fill(s->src, r->split, r->row0, r->B, &want, err));
    q->host = (sae_batch){.B = r->B, .g = want.g, .tok = want.tok, .row0 = r->row0};
    q->host.x = q->host.y = normalised(&q->in, q->raw, r->B);
    if (want.y)
        q->host.y = normalised(&q->out, q->raw_y, r->B);
    if (want.g && s->norm.kind != SAE_NORM_NONE)
        sae_norm_gradient(&s->norm, q->in.row, (sae_mat){q->g, r->B, d, d});
    return show(s, q, beside, err);
}

/* ---- the stream ------------------------------------------------------------------------------ */

static int open_means(sae_stream *s, sae_err *err)
{
    SAE_TRY(sae_new(&s->norm.mean, s->dim.d_in, sizeof *s->norm.mean, "stream.mean", err));
    if (!(sae_source_gives(s->ds, s->src) & SAE_GIVES_TARGET))
        return SAE_OK;
    return sae_new(&s->target.mean, s->dim.d_out, sizeof *s->target.mean, "stream.mean", err);
}

/* A language model on a device computes through the handle it was opened with, which takes one call
 * at a time; what else sources compute with, the host's kernels and loops, learners on a device do
 * not use. */
static int can_load_ahead(const sae_stream *s, const sae_host *host)
{
    int model = (sae_source_gives(s->ds, s->src) & SAE_GIVES_LM) != 0;
    return !s->e->props.shares_host && s->e->be->upload &&
           !(model && host && host->engine == s->e);
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
    SAE_GOTO(open_means(s, err));
    SAE_GOTO(open_buffers(s, &s->now, err));
    s->overlaps = can_load_ahead(s, host);
    return SAE_OK;
fail:
    SAE_SET(err, rc, "dataset %s: %s", s->ds->name, sae_status_name(rc));
    sae_stream_close(s);
    return rc;
}

int sae_stream_constants(sae_stream *s, sae_err *err)
{
    sae_mat x = {s->now.raw, s->B, s->dim.d_in, s->dim.d_in};
    sae_mat y = {s->now.raw_y, s->B, s->dim.d_out, s->dim.d_out};
    if (s->norm.rows > 0)
        return SAE_OK;
    sae_stream_settle(s);
    if (y.p)
        SAE_TRY(sae_norm_estimate(&s->target, s->ds, s->src, 1, y, err));
    return sae_norm_estimate(&s->norm, s->ds, s->src, 0, x, err);
}

void sae_stream_close(sae_stream *s)
{
    sae_helper_close(&s->ahead);
    close_buffers(s->e, &s->next);
    close_buffers(s->e, &s->now);
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

static int check(const sae_stream *s, const sae_request *r, sae_err *err)
{
    uint64_t lacks = sae_stream_lacks(s, r->need);
    if (r->B < 1 || r->B > s->B)
        SAE_FAIL(err, SAE_EINVAL, "a batch of %" PRId64 " rows from a stream of %" PRId64, r->B,
                 s->B);
    if (lacks)
        SAE_FAIL(err, SAE_ENEEDS, "dataset %s cannot supply inputs 0x%" PRIx64, s->ds->name, lacks);
    return SAE_OK;
}

int sae_stream_fill(sae_stream *s, enum sae_split split, uint64_t row0, int64_t B, uint64_t need,
                    sae_batch *out, sae_err *err)
{
    const sae_request r = {split, row0, B, need}, *a = &s->asked;
    SAE_TRY(check(s, &r, err));
    if (s->norm.kind != SAE_NORM_NONE)
        SAE_TRY(sae_stream_constants(s, err));
    if (a->B == B && a->split == split && a->row0 == row0 && a->need == need) {
        int rc = sae_helper_wait(s->ahead, err);
        s->asked.B = 0; /* the thread read it */
        SAE_TRY(rc);
        sae_buffers last = s->now;
        s->now = s->next;
        s->next = last;
    } else {
        sae_stream_settle(s);
        SAE_TRY(load(s, &s->now, &r, 0, err));
    }
    *out = s->now.shown;
    return SAE_OK;
}

/* ---- ahead ----------------------------------------------------------------------------------- */

static int load_asked(void *arg, sae_err *err)
{
    sae_stream *s = arg;
    return load(s, &s->next, &s->asked, 1, err);
}

static int open_ahead(sae_stream *s, sae_err *err)
{
    if (s->ahead)
        return SAE_OK;
    SAE_TRY(open_buffers(s, &s->next, err));
    int rc = sae_helper_open(&s->ahead, load_asked, s, err);
    if (rc < 0)
        close_buffers(s->e, &s->next);
    return rc;
}

int sae_stream_ahead(sae_stream *s, uint64_t row0, int64_t B, uint64_t need, sae_err *err)
{
    const sae_request r = {SAE_SPLIT_TRAIN, row0, B, need};
    if (!s->overlaps || check(s, &r, NULL) < 0) /* of what is wrong the fill will tell */
        return SAE_OK;
    sae_stream_settle(s);
    SAE_TRY(open_ahead(s, err));
    /* What is still queued may read the batch before the last, whose place is written now; and
     * fresh memory is zeroed in the queue. It is the end of a step that is waited for. */
    int rc = s->e->be->sync(s->e->dev);
    if (rc < 0)
        SAE_FAIL(err, rc, "%s failed before a batch was loaded", s->e->be->name);
    s->asked = r;
    sae_helper_start(s->ahead);
    return SAE_OK;
}

void sae_stream_settle(sae_stream *s)
{
    if (s->asked.B)
        sae_helper_wait(s->ahead, NULL);
    s->asked.B = 0;
}
