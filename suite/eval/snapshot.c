/* suite/eval/snapshot.c - host copies of what a variant wrote. */
#include "eval/snapshot.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>

static int make_room(sae_snapshot *s, size_t bytes, sae_err *err)
{
    if (s->bytes + bytes <= s->cap)
        return SAE_OK;
    size_t cap = 2 * (s->bytes + bytes);
    unsigned char *p = sae_realloc(s->p, cap);
    if (!p)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory: %zu bytes for a snapshot", cap);
    s->p = p;
    s->cap = cap;
    return SAE_OK;
}

int sae_snap_bytes(sae_snapshot *s, const sae_engine *e, const void *src, int64_t count,
                   size_t size, sae_err *err)
{
    size_t bytes = (size_t)count * size;
    SAE_TRY(make_room(s, bytes, err));
    if (bytes > 0)
        SAE_TRY(e->be->copy(e->dev, s->p + s->bytes, src, bytes, SAE_COPY_D2H));
    s->bytes += bytes;
    return SAE_OK;
}

static int snap_host(sae_snapshot *s, const void *src, size_t bytes, sae_err *err)
{
    SAE_TRY(make_room(s, bytes, err));
    memcpy(s->p + s->bytes, src, bytes);
    s->bytes += bytes;
    return SAE_OK;
}

/* Where row r of the code starts and how many entries it lists. */
static int row_extent(const sae_engine *e, const sae_code *z, int64_t r, int64_t *first,
                      int64_t *count)
{
    int64_t ends[2] = {r * z->n, (r + 1) * z->n};
    if (!z->dense)
        SAE_TRY(e->be->copy(e->dev, ends, z->rowptr + r, sizeof ends, SAE_COPY_D2H));
    *first = ends[0];
    *count = ends[1] - ends[0];
    return SAE_OK;
}

int sae_snap_rows(sae_snapshot *s, const sae_engine *e, const sae_tape *t, int64_t d, int64_t r0,
                  int64_t rows, sae_err *err)
{
    const sae_code *z = &t->code;
    for (int64_t r = r0; r < r0 + rows; r++) {
        int64_t first, count;
        SAE_TRY(row_extent(e, z, r, &first, &count));
        SAE_TRY(snap_host(s, &count, sizeof count, err));
        if (!z->dense)
            SAE_TRY(sae_snap_bytes(s, e, z->idx + first, count, sizeof *z->idx, err));
        SAE_TRY(sae_snap_bytes(s, e, z->val + first, count, sizeof *z->val, err));
        SAE_TRY(sae_snap_bytes(s, e, t->xhat + r * d, d, sizeof *t->xhat, err));
    }
    return SAE_OK;
}

int sae_snap_tape(sae_snapshot *s, const sae_engine *e, const sae_tape *t, int64_t d, sae_err *err)
{
    SAE_TRY(sae_snap_rows(s, e, t, d, 0, t->B, err));
    SAE_TRY(sae_snap_bytes(s, e, t->resid, t->B * d, sizeof *t->resid, err));
    SAE_TRY(snap_host(s, t->loss, sizeof t->loss, err));
    return snap_host(s, t->coef, sizeof t->coef, err);
}

int sae_snap_tensors(sae_snapshot *s, const sae_engine *e, const sae_model *m, sae_err *err)
{
    for (int i = 0; i < m->nt; i++)
        SAE_TRY(sae_snap_bytes(s, e, m->t[i].w, m->t[i].rows * m->t[i].cols,
                               sae_dtype_size(m->t[i].spec->dtype), err));
    return SAE_OK;
}

int sae_snap_equal(const sae_snapshot *a, const sae_snapshot *b)
{
    return a->bytes == b->bytes && (a->bytes == 0 || memcmp(a->p, b->p, a->bytes) == 0);
}

void sae_snap_free(sae_snapshot *s)
{
    sae_free(s->p);
    memset(s, 0, sizeof *s);
}
