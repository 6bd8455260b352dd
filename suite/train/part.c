/* suite/train/part.c - arrays of a learner as tensors of a safetensors file. */
#include "train/part.h"

#include "core/error.h"
#include "core/memory.h"

#include <stdio.h>
#include <string.h>

enum { STAGE = 1 << 20 }; /* bytes on the way from backend memory to the file */

static int rank_of(const sae_part *p)
{
    return p->cols < 0 ? 1 : 2;
}

sae_part sae_part_tensor(const char *prefix, const sae_tensor *t, void *p)
{
    static const enum sae_st_dtype stored[] = {[SAE_REAL] = SAE_ST_F32,
                                               [SAE_F64] = SAE_ST_F64,
                                               [SAE_I64] = SAE_ST_I64,
                                               [SAE_U64] = SAE_ST_U64};
    sae_part out = {.dtype = stored[t->spec->dtype], .rows = t->rows, .cols = t->cols, .p = p};
    snprintf(out.name, sizeof out.name, "%s%s", prefix, t->spec->name);
    return out;
}

void sae_part_stats(sae_part out[2], const sae_stats_store *s, int64_t n)
{
    out[0] = (sae_part){"last_fired", SAE_ST_U64, n, -1, s->last_fired, 0};
    out[1] = (sae_part){"fire_count", SAE_ST_U64, n, -1, s->fire_count, 0};
}

static int write_one(sae_st_writer *w, const sae_engine *e, const sae_part *p,
                     unsigned char *stage, sae_err *err)
{
    const unsigned char *src = p->p;
    size_t bytes = (size_t)(p->rows * (p->cols < 0 ? 1 : p->cols)) * sae_st_dtype_size(p->dtype);
    if (p->host)
        return sae_st_writer_data(w, src, bytes, err);
    for (size_t at = 0; at < bytes; at += STAGE) {
        size_t now = bytes - at < STAGE ? bytes - at : STAGE;
        int rc = e->be->copy(e->dev, stage, src + at, now, SAE_COPY_D2H);
        if (rc < 0)
            SAE_FAIL(err, rc, "%s cannot be copied from %s", p->name, e->be->name);
        SAE_TRY(sae_st_writer_data(w, stage, now, err));
    }
    return SAE_OK;
}

int sae_parts_write(sae_st_writer *w, const sae_engine *e, const sae_part *parts, int count,
                    sae_err *err)
{
    int rc = SAE_OK;
    unsigned char *stage = NULL;
    for (int i = 0; i < count; i++)
        SAE_TRY(sae_st_writer_add(w, parts[i].name, parts[i].dtype, rank_of(&parts[i]),
                                  (int64_t[]){parts[i].rows, parts[i].cols}, err));
    SAE_TRY(sae_st_writer_begin(w, err));
    SAE_TRY(sae_new(&stage, STAGE, 1, "part.stage", err));
    for (int i = 0; i < count && rc >= 0; i++)
        rc = write_one(w, e, &parts[i], stage, err);
    sae_free(stage);
    return rc;
}

static int read_one(const sae_engine *e, const sae_part *p, const sae_st_tensor *t, sae_err *err)
{
    if (t->bytes == 0)
        return SAE_OK;
    if (p->host) {
        memcpy(p->p, t->data, t->bytes);
        return SAE_OK;
    }
    int rc = e->be->copy(e->dev, p->p, t->data, t->bytes, SAE_COPY_H2D);
    if (rc < 0)
        SAE_FAIL(err, rc, "%s cannot be copied to %s", p->name, e->be->name);
    return SAE_OK;
}

int sae_parts_read(const sae_st *st, const sae_engine *e, const sae_part *parts, int count,
                   sae_err *err)
{
    for (int i = 0; i < count; i++) {
        const sae_part *p = &parts[i];
        const sae_st_tensor *t;
        SAE_TRY(sae_st_need(st, p->name, rank_of(p), (int64_t[]){p->rows, p->cols}, &t, err));
        if (t->dtype != p->dtype)
            SAE_FAIL(err, SAE_EFORMAT, "%s: tensor \"%s\": expected %s, found %s", sae_st_path(st),
                     p->name, sae_st_dtype_name(p->dtype), sae_st_dtype_name(t->dtype));
        SAE_TRY(read_one(e, p, t, err));
    }
    return SAE_OK;
}

int sae_part_count(const sae_st *st, const char *key, int64_t *out, sae_err *err)
{
    const char *text = sae_st_meta(st, key);
    if (!text || sae_int_parse(text, out) < 0 || *out < 0)
        SAE_FAIL(err, SAE_EFORMAT, "%s: metadata \"%s\": expected a count, found %.40s",
                 sae_st_path(st), key, text ? text : "nothing");
    return SAE_OK;
}
