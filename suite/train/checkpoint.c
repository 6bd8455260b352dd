/* suite/train/checkpoint.c - the exact state of learners on disk. */
#include "train/checkpoint.h"

#include "core/error.h"
#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "train/part.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- identity: what must agree for a state to be this learner's ------------------------------ */

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

/* ---- one learner ----------------------------------------------------------------------------- */

static int list_parts(sae_part *out, const sae_learner *l)
{
    int count = 0;
    for (int i = 0; i < l->model.nt; i++) {
        const sae_tensor *t = &l->model.t[i];
        out[count++] = sae_part_tensor("", t, t->w);
        if (t->spec->role != SAE_PARAM)
            continue;
        out[count++] = sae_part_tensor("adam_m.", t, l->moment1[i]);
        out[count++] = sae_part_tensor("adam_v.", t, l->moment2[i]);
    }
    sae_part_stats(out + count, &l->stats, l->model.dim.n);
    return count + 2;
}

static int write_meta(sae_st_writer *w, const sae_learner *l, const sae_stream *s, sae_err *err)
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
    return SAE_OK;
}

int sae_checkpoint_save(const char *path, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    int rc = SAE_OK;
    sae_st_writer *w = NULL;
    sae_part parts[SAE_MAX_PART];
    int count = list_parts(parts, l);
    SAE_TRY(sae_st_writer_open(&w, path, err));
    SAE_GOTO(write_meta(w, l, s, err));
    SAE_GOTO(sae_parts_write(w, l->e, parts, count, err));
    return sae_st_writer_commit(&w, err);
fail:
    sae_st_writer_abandon(&w);
    return rc;
}

static int check_identity(const sae_st *st, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    field f[FIELDS];
    identify(f, l, s);
    for (int i = 0; i < FIELDS; i++) {
        const char *found = sae_st_meta(st, f[i].key), *expected = value_of(&f[i]);
        if (!found || strcmp(found, expected) != 0)
            SAE_FAIL(err, SAE_EFORMAT, "%s is of another run: expected %s %s, found %s",
                     sae_st_path(st), f[i].key, expected, found ? found : "none");
    }
    return SAE_OK;
}

static int read_clock(const sae_st *st, sae_learner *l, sae_err *err)
{
    int64_t tokens = 0, done = 0, n = 0;
    const char *seconds = sae_st_meta(st, "seconds");
    SAE_TRY(sae_part_count(st, "step", &l->step, err));
    SAE_TRY(sae_part_count(st, "tokens", &tokens, err));
    SAE_TRY(sae_part_count(st, "done", &done, err));
    SAE_TRY(sae_part_count(st, "n", &n, err));
    if (!seconds || sae_real_parse(seconds, &l->seconds) < 0)
        SAE_FAIL(err, SAE_EFORMAT, "%s: metadata \"seconds\": expected a number, found %.40s",
                 sae_st_path(st), seconds ? seconds : "nothing");
    l->stats.view.tokens = (uint64_t)tokens;
    l->done = done != 0;
    return sae_learner_grow(l, n, err);
}

int sae_checkpoint_load(const char *path, sae_learner *l, const sae_stream *s, sae_err *err)
{
    int rc = SAE_OK;
    sae_st *st = NULL;
    sae_part parts[SAE_MAX_PART];
    SAE_TRY(sae_st_open(&st, path, err));
    SAE_GOTO(check_identity(st, l, s, err));
    SAE_GOTO(read_clock(st, l, err));
    SAE_GOTO(sae_parts_read(st, l->e, parts, list_parts(parts, l), err));
    SAE_GOTO(sae_learner_spread(l, err));
fail:
    sae_st_close(&st);
    return rc;
}

/* ---- checkpoints of a run -------------------------------------------------------------------- */

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
