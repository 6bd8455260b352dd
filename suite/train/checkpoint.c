/* suite/train/checkpoint.c - the exact state of learners on disk. */
#include "train/checkpoint.h"

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/safetensors.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- identity: what must agree for a state to be this learner's ----------------------------------- */

typedef struct field {
    const char *key, *text; /* text NULL: the value is in number */
    char number[40];
} field;

enum { FIELDS = 18 };

static field text_field(const char *key, const char *text)
{
    return (field){.key = key, .text = text};
}

static field int_field(const char *key, int64_t v)
{
    field f = {.key = key};
    snprintf(f.number, sizeof f.number, "%" PRId64, v);
    return f;
}

static field real_field(const char *key, double v)
{
    field f = {.key = key};
    snprintf(f.number, sizeof f.number, "%.17g", v);
    return f;
}

static const char *value_of(const field *f)
{
    return f->text ? f->text : f->number;
}

static void identify(field *f, const sae_learner *l, const sae_stream *s)
{
    const sae_train_config *c = &l->cfg;
    *f++ = text_field("format", "saemark-checkpoint-1");
    *f++ = text_field("spec", l->canonical);
    *f++ = text_field("dataset", s->canonical);
    *f++ = text_field("dataset_hash", s->hash);
    *f++ = text_field("norm", sae_norm_names[s->norm.kind]);
    *f++ = real_field("norm_scale", s->norm.scale);
    *f++ = int_field("norm_rows", s->norm.rows);
    *f = (field){.key = "seed"};
    snprintf(f->number, sizeof f->number, "%" PRIu64, l->seed);
    f++;
    *f++ = int_field("steps", c->steps);
    *f++ = int_field("batch", c->B);
    *f++ = int_field("warmup", c->warmup);
    *f++ = real_field("lr", c->lr);
    *f++ = real_field("beta1", c->beta1);
    *f++ = real_field("beta2", c->beta2);
    *f++ = real_field("eps", c->eps);
    *f++ = real_field("clip_norm", c->clip_norm);
    *f++ = real_field("weight_decay", c->weight_decay);
    *f = real_field("decay", c->decay);
}

/* ---- one learner: save ---------------------------------------------------------------------------- */

/* An array of the state, in the order of the file. Rank 2, or 1 when cols is -1. */
typedef struct part {
    char name[96];
    enum sae_st_dtype dtype;
    int64_t rows, cols;
    void *p; /* backend memory */
} part;

enum { PARTS = 3 * SAE_MAX_TENSOR + 2 };

static size_t part_bytes(const part *p)
{
    return (size_t)(p->rows * (p->cols < 0 ? 1 : p->cols)) * sae_st_dtype_size(p->dtype);
}

static enum sae_st_dtype stored_as(enum sae_dtype t)
{
    static const enum sae_st_dtype map[] = {
        [SAE_REAL] = SAE_ST_F32, [SAE_F64] = SAE_ST_F64, [SAE_I64] = SAE_ST_I64,
        [SAE_U64] = SAE_ST_U64};
    return map[t];
}

static part tensor_part(const char *prefix, const sae_tensor *t, void *p)
{
    part out = {.dtype = stored_as(t->spec->dtype), .rows = t->rows, .cols = t->cols, .p = p};
    snprintf(out.name, sizeof out.name, "%s%s", prefix, t->spec->name);
    return out;
}

static int list_parts(part *out, const sae_learner *l)
{
    int count = 0;
    for (int i = 0; i < l->model.nt; i++) {
        const sae_tensor *t = &l->model.t[i];
        out[count++] = tensor_part("", t, t->w);
        if (t->spec->role != SAE_PARAM)
            continue;
        out[count++] = tensor_part("adam_m.", t, l->moment1[i]);
        out[count++] = tensor_part("adam_v.", t, l->moment2[i]);
    }
    out[count++] = (part){"last_fired", SAE_ST_U64, l->model.dim.n, -1, l->stats.last_fired};
    out[count++] = (part){"fire_count", SAE_ST_U64, l->model.dim.n, -1, l->stats.fire_count};
    return count;
}

static int write_header(sae_st_writer *w, const sae_learner *l, const sae_stream *s,
                        const part *parts, int count, sae_err *err)
{
    field f[FIELDS];
    identify(f, l, s);
    const field clock[] = {int_field("step", l->step),
                           int_field("tokens", (int64_t)l->stats.view.tokens),
                           int_field("done", l->done), int_field("n", l->model.dim.n),
                           real_field("seconds", l->seconds)};
    for (int i = 0; i < FIELDS; i++)
        SAE_TRY(sae_st_writer_meta(w, f[i].key, value_of(&f[i]), err));
    for (size_t i = 0; i < sizeof clock / sizeof clock[0]; i++)
        SAE_TRY(sae_st_writer_meta(w, clock[i].key, clock[i].number, err));
    for (int i = 0; i < count; i++) {
        int64_t shape[] = {parts[i].rows, parts[i].cols};
        SAE_TRY(sae_st_writer_add(w, parts[i].name, parts[i].dtype, parts[i].cols < 0 ? 1 : 2,
                                  shape, err));
    }
    return sae_st_writer_begin(w, err);
}

enum { STAGE = 1 << 20 }; /* bytes on the way from backend memory to the file */

static int write_part(sae_st_writer *w, const sae_engine *e, const part *p, unsigned char *stage,
                      sae_err *err)
{
    const unsigned char *src = p->p;
    size_t bytes = part_bytes(p);
    for (size_t at = 0; at < bytes; at += STAGE) {
        size_t now = bytes - at < STAGE ? bytes - at : STAGE;
        int rc = e->be->copy(e->dev, stage, src + at, now, SAE_COPY_D2H);
        if (rc < 0)
            SAE_FAIL(err, rc, "%s cannot be copied from %s", p->name, e->be->name);
        SAE_TRY(sae_st_writer_data(w, stage, now, err));
    }
    return SAE_OK;
}

int sae_checkpoint_save(const char *path, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    int rc = SAE_OK;
    sae_st_writer *w = NULL;
    unsigned char *stage = NULL;
    part parts[PARTS];
    int count = list_parts(parts, l);
    SAE_GOTO(sae_new(&stage, STAGE, 1, "checkpoint.stage", err));
    SAE_GOTO(sae_st_writer_open(&w, path, err));
    SAE_GOTO(write_header(w, l, s, parts, count, err));
    for (int i = 0; i < count; i++)
        SAE_GOTO(write_part(w, l->e, &parts[i], stage, err));
    SAE_GOTO(sae_st_writer_commit(&w, err));
fail:
    sae_st_writer_abandon(&w);
    sae_free(stage);
    return rc;
}

/* ---- one learner: load ---------------------------------------------------------------------------- */

static int check_identity(const sae_st *st, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    field f[FIELDS];
    identify(f, l, s);
    for (int i = 0; i < FIELDS; i++) {
        const char *found = sae_st_meta(st, f[i].key), *expected = value_of(&f[i]);
        if (!found || strcmp(found, expected) != 0)
            SAE_FAIL(err, SAE_EFORMAT, "the checkpoint is of another run: %s is %s, expected %s",
                     f[i].key, found ? found : "absent", expected);
    }
    return SAE_OK;
}

static int read_int(const sae_st *st, const char *key, int64_t *out, sae_err *err)
{
    const char *text = sae_st_meta(st, key);
    if (!text || sae_int_parse(text, out) < 0 || *out < 0)
        SAE_FAIL(err, SAE_EFORMAT, "metadata \"%s\" is %s, expected a count", key,
                 text ? text : "absent");
    return SAE_OK;
}

static int read_clock(const sae_st *st, sae_learner *l, sae_err *err)
{
    int64_t tokens = 0, done = 0, n = 0;
    const char *seconds = sae_st_meta(st, "seconds");
    SAE_TRY(read_int(st, "step", &l->step, err));
    SAE_TRY(read_int(st, "tokens", &tokens, err));
    SAE_TRY(read_int(st, "done", &done, err));
    SAE_TRY(read_int(st, "n", &n, err));
    if (!seconds || sae_real_parse(seconds, &l->seconds) < 0)
        SAE_FAIL(err, SAE_EFORMAT, "metadata \"seconds\" is %s, expected a number",
                 seconds ? seconds : "absent");
    l->stats.view.tokens = (uint64_t)tokens;
    l->done = done != 0;
    return sae_learner_grow(l, n, err);
}

static int read_part(const sae_st *st, const sae_engine *e, const part *p, sae_err *err)
{
    const sae_st_tensor *t;
    int64_t shape[] = {p->rows, p->cols};
    SAE_TRY(sae_st_need(st, p->name, p->cols < 0 ? 1 : 2, shape, &t, err));
    if (t->dtype != p->dtype)
        SAE_FAIL(err, SAE_EFORMAT, "%s is %s, expected %s", p->name, sae_st_dtype_name(t->dtype),
                 sae_st_dtype_name(p->dtype));
    int rc = t->bytes ? e->be->copy(e->dev, p->p, t->data, t->bytes, SAE_COPY_H2D) : SAE_OK;
    if (rc < 0)
        SAE_FAIL(err, rc, "%s cannot be copied to %s", p->name, e->be->name);
    return SAE_OK;
}

int sae_checkpoint_load(const char *path, sae_learner *l, const sae_stream *s, sae_err *err)
{
    int rc = SAE_OK;
    sae_st *st = NULL;
    part parts[PARTS];
    SAE_TRY(sae_st_open(&st, path, err));
    SAE_GOTO(check_identity(st, l, s, err));
    SAE_GOTO(read_clock(st, l, err));
    int count = list_parts(parts, l);
    for (int i = 0; i < count; i++)
        SAE_GOTO(read_part(st, l->e, &parts[i], err));
    sae_st_close(&st);
    return SAE_OK;
fail:
    sae_st_close(&st);
    return sae_fail_prefix(err, rc, "%s", path);
}

/* ---- checkpoints of a run ------------------------------------------------------------------------- */

/* The step of a complete checkpoint's name, -1 for any other name. */
static int64_t step_of(const char *name)
{
    int64_t step = -1;
    if (strncmp(name, "step-", 5) != 0 || strspn(name + 5, "0123456789") != strlen(name + 5) ||
        strlen(name + 5) < 8 || sae_int_parse(name + 5, &step) < 0)
        return -1;
    return step;
}

static int is_leftover(const char *name)
{
    size_t len = strlen(name);
    return strncmp(name, "step-", 5) == 0 && len > 4 && strcmp(name + len - 4, ".tmp") == 0;
}

/* What is superseded goes; failing to remove it costs disk space, not the run. */
static void prune(const char *dir, int64_t step)
{
    char **names = NULL;
    if (sae_dir_list(dir, &names, NULL) < 0)
        return;
    for (char **name = names; *name; name++) {
        int64_t old = step_of(*name);
        if (!(old >= 0 && old < step) && !is_leftover(*name))
            continue;
        char *path = sae_path_join(dir, *name);
        if (!path || sae_dir_remove(path, NULL) < 0)
            sae_log(SAE_LOG_WARN, "train", "cannot remove the old checkpoint %s/%s", dir, *name);
        sae_free(path);
    }
    sae_names_free(&names);
}

static char *learner_path(const char *dir, const sae_learner *l)
{
    return sae_strfmt("%s/%s.safetensors", dir, l->id);
}

static int save_all(const char *dir, sae_learner *const *l, int64_t count, const sae_stream *s,
                    sae_err *err)
{
    SAE_TRY(sae_dir_remove(dir, err));
    SAE_TRY(sae_dir_make(dir, err));
    for (int64_t i = 0; i < count; i++) {
        char *path = learner_path(dir, l[i]);
        int rc = path ? sae_checkpoint_save(path, l[i], s, err) : SAE_ENOMEM;
        sae_free(path);
        if (rc < 0)
            return rc;
    }
    return SAE_OK;
}

int sae_checkpoints_save(const char *dir, int64_t step, sae_learner *const *l, int64_t count,
                         const sae_stream *s, sae_err *err)
{
    int rc = SAE_OK;
    char *path = sae_strfmt("%s/step-%08" PRId64, dir, step);
    char *tmp = path ? sae_strfmt("%s.tmp", path) : NULL;
    if (!tmp)
        SAE_GOTO(SAE_ENOMEM);
    if (!sae_file_exists(path)) {
        SAE_GOTO(save_all(tmp, l, count, s, err));
        SAE_GOTO(sae_dir_rename(tmp, path, err));
    }
    prune(dir, step);
fail:
    if (rc < 0) {
        SAE_SET(err, rc, "%s", sae_status_name(rc));
        if (tmp)
            sae_dir_remove(tmp, NULL);
        sae_fail_prefix(err, rc, "checkpoint of step %" PRId64, step);
    }
    sae_free(tmp);
    sae_free(path);
    return rc;
}

static int newest(const char *dir, int64_t *step, sae_err *err)
{
    char **names = NULL;
    *step = 0;
    if (!sae_file_exists(dir))
        return SAE_OK;
    SAE_TRY(sae_dir_list(dir, &names, err));
    for (char **name = names; *name; name++)
        if (step_of(*name) > *step)
            *step = step_of(*name);
    sae_names_free(&names);
    return SAE_OK;
}

int sae_checkpoints_load(const char *dir, int64_t *step, sae_learner *const *l, int64_t count,
                         const sae_stream *s, sae_err *err)
{
    SAE_TRY(newest(dir, step, err));
    for (int64_t i = 0; *step && i < count; i++) {
        char *path = sae_strfmt("%s/step-%08" PRId64 "/%s.safetensors", dir, *step, l[i]->id);
        int rc = path ? sae_checkpoint_load(path, l[i], s, err)
                      : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
        sae_free(path);
        if (rc < 0)
            return sae_fail_prefix(err, rc, "%s", l[i]->label);
    }
    return SAE_OK;
}
