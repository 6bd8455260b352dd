/* suite/core/shards_writer.c - the writer of activation shards.
 *
 * Rows are converted on arrival and kept until a shard is full, because a shard's header states its
 * row count. Mean and mean square are accumulated in double, in row order.
 */
#include "core/shards.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct sae_shards_writer {
    char *dir, *tmp;     /* final and temporary name */
    json_t *root, *list; /* the manifest and its shards */
    int64_t d, per_shard, rows;
    enum sae_st_dtype dtype, grads_dtype;
    double *sum, sum_sq;  /* [d] */
    int64_t held;         /* rows in the buffers */
    unsigned char *acts;  /* [per_shard x d] of dtype */
    unsigned char *grads; /* [per_shard x d] of grads_dtype, NULL: none are written */
    uint64_t *doc;
    int32_t *tokens;
    uint32_t *pos;
};

static int check_target(const char *dir, sae_err *err)
{
    if (!sae_file_exists(dir))
        return SAE_OK;
    char **names;
    SAE_TRY(sae_dir_list(dir, &names, err));
    int empty = !names[0];
    sae_names_free(&names);
    if (!empty)
        SAE_FAIL(err, SAE_EINVAL, "%s: expected a new or empty directory, it has files", dir);
    return SAE_OK;
}

static int check_dtype(const sae_shards_writer *w, enum sae_st_dtype t, sae_err *err)
{
    if (t != SAE_ST_F32 && t != SAE_ST_F16 && t != SAE_ST_BF16)
        SAE_FAIL(err, SAE_EINVAL, "%s: expected dtype F32, F16 or BF16, found %s", w->dir,
                 sae_st_dtype_name(t));
    return SAE_OK;
}

static int take_info(sae_shards_writer *w, const sae_shards_info *i, sae_err *err)
{
    w->d = i->d;
    w->per_shard = i->rows_per_shard;
    w->dtype = i->dtype;
    w->grads_dtype = i->grads_dtype;
    if (w->d < 1 || w->per_shard < 1)
        SAE_FAIL(err, SAE_EINVAL, "%s: expected positive width and rows per shard", w->dir);
    SAE_TRY(check_dtype(w, w->dtype, err));
    if (i->grads)
        SAE_TRY(check_dtype(w, w->grads_dtype, err));
    w->list = json_array();
    w->root = json_pack("{s:s s:i s:s s:s s:s s:s s:s s:s s:I s:s}", "format", "saemark-shards",
                        "version", 1, "model", i->model, "weights_hash", i->weights_hash, "hook",
                        i->hook, "tokenizer_hash", i->tokenizer_hash, "text", i->text, "text_hash",
                        i->text_hash, "d", (json_int_t)w->d, "dtype", sae_st_dtype_name(w->dtype));
    if (!w->root || !w->list)
        SAE_FAIL(err, SAE_EINVAL, "%s: expected UTF-8 names of model, hook and text", w->dir);
    if (i->grads &&
        json_object_set_new(w->root, "grads", json_string(sae_st_dtype_name(w->grads_dtype))))
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", w->dir);
    return SAE_OK;
}

static int take_memory(sae_shards_writer *w, int grads, sae_err *err)
{
    int64_t R = w->per_shard;
    size_t row, grad = 0, all;
    SAE_TRY(sae_size_mul(&row, w->d, (int64_t)sae_st_dtype_size(w->dtype), err));
    if (grads)
        SAE_TRY(sae_size_mul(&grad, w->d, (int64_t)sae_st_dtype_size(w->grads_dtype), err));
    SAE_TRY(sae_size_add(&all, row, grad, err));
    SAE_TRY(sae_size_add(&all, all, 16, err)); /* doc, tokens, pos */
    SAE_TRY(sae_size_mul(&all, R, (int64_t)all, err));
    SAE_TRY(sae_memory_check(all, "one shard", err));
    SAE_TRY(sae_new(&w->acts, R, row, "shards.acts", err));
    if (grads)
        SAE_TRY(sae_new(&w->grads, R, grad, "shards.grads", err));
    SAE_TRY(sae_new(&w->doc, R, sizeof *w->doc, "shards.doc", err));
    SAE_TRY(sae_new(&w->tokens, R, sizeof *w->tokens, "shards.tokens", err));
    SAE_TRY(sae_new(&w->pos, R, sizeof *w->pos, "shards.pos", err));
    return sae_new(&w->sum, w->d, sizeof *w->sum, "shards.mean", err);
}

int sae_shards_writer_open(sae_shards_writer **out, const char *dir, const sae_shards_info *info,
                           sae_err *err)
{
    sae_shards_writer *w = NULL;
    int rc;
    *out = NULL;
    SAE_GOTO(check_target(dir, err));
    SAE_GOTO(sae_new(&w, 1, sizeof *w, "shards.writer", err));
    size_t len = strlen(dir);
    while (len > 1 && dir[len - 1] == '/')
        len--;
    w->dir = sae_strfmt("%.*s", (int)len, dir);
    w->tmp = sae_strfmt("%.*s.tmp.%ld", (int)len, dir, (long)getpid());
    if (!w->dir || !w->tmp) {
        rc = SAE_SET(err, SAE_ENOMEM, "%s: out of memory", dir);
        goto fail;
    }
    SAE_GOTO(take_info(w, info, err));
    SAE_GOTO(take_memory(w, info->grads, err));
    SAE_GOTO(sae_dir_remove(w->tmp, err));
    SAE_GOTO(sae_dir_make(w->tmp, err));
    *out = w;
    return SAE_OK;
fail:
    sae_shards_writer_abandon(&w);
    return rc;
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The smallest magnitude that does not round to a finite value of the dtype. */
static float too_large(enum sae_st_dtype t)
{
    return t == SAE_ST_F16 ? 65520.0f : t == SAE_ST_BF16 ? 0x1.ffp127f : INFINITY;
}

static int check_row(const sae_shards_writer *w, const char *what, enum sae_st_dtype t,
                     const float *x, sae_err *err)
{
    float limit = too_large(t);
    for (int64_t j = 0; j < w->d; j++)
        if (!(fabsf(x[j]) < limit))
            SAE_FAIL(err, SAE_ENONFINITE,
                     "%s: row %lld, %s %lld: expected a value of %s, "
                     "found %g",
                     w->dir, (long long)w->rows, what, (long long)j, sae_st_dtype_name(t),
                     (double)x[j]);
    return SAE_OK;
}

static void count_row(sae_shards_writer *w, const float *x)
{
    double sq = 0.0;
    for (int64_t j = 0; j < w->d; j++) {
        w->sum[j] += (double)x[j];
        sq += (double)x[j] * (double)x[j];
    }
    w->sum_sq += sq;
}

static int write_tensors(const sae_shards_writer *w, sae_st_writer *f, sae_err *err)
{
    const int64_t shape[] = {w->held, w->d};
    size_t rows = (size_t)w->held, values = rows * (size_t)w->d;
    SAE_TRY(sae_st_writer_add(f, "doc", SAE_ST_U64, 1, shape, err));
    SAE_TRY(sae_st_writer_add(f, "tokens", SAE_ST_I32, 1, shape, err));
    SAE_TRY(sae_st_writer_add(f, "pos", SAE_ST_U32, 1, shape, err));
    SAE_TRY(sae_st_writer_add(f, "acts", w->dtype, 2, shape, err));
    if (w->grads)
        SAE_TRY(sae_st_writer_add(f, "grads", w->grads_dtype, 2, shape, err));
    SAE_TRY(sae_st_writer_begin(f, err));
    SAE_TRY(sae_st_writer_data(f, w->doc, rows * sizeof *w->doc, err));
    SAE_TRY(sae_st_writer_data(f, w->tokens, rows * sizeof *w->tokens, err));
    SAE_TRY(sae_st_writer_data(f, w->pos, rows * sizeof *w->pos, err));
    SAE_TRY(sae_st_writer_data(f, w->acts, values * sae_st_dtype_size(w->dtype), err));
    if (w->grads)
        SAE_TRY(sae_st_writer_data(f, w->grads, values * sae_st_dtype_size(w->grads_dtype), err));
    return SAE_OK;
}

/* Write the held rows as the next shard and list it. */
static int write_shard(sae_shards_writer *w, sae_err *err)
{
    char name[40], hash[36];
    snprintf(name, sizeof name, "acts-%05zu.safetensors", json_array_size(w->list));
    char *path = sae_path_join(w->tmp, name);
    sae_st_writer *f = NULL;
    int rc = SAE_OK;
    if (!path) {
        rc = SAE_SET(err, SAE_ENOMEM, "%s: out of memory", w->dir);
        goto fail;
    }
    SAE_GOTO(sae_st_writer_open(&f, path, err));
    SAE_GOTO(write_tensors(w, f, err));
    SAE_GOTO(sae_st_writer_commit(&f, err));
    SAE_GOTO(sae_hash_file(path, hash, err));
    json_t *e =
        json_pack("{s:s s:I s:s}", "file", name, "rows", (json_int_t)w->held, "xxh128", hash);
    if (json_array_append_new(w->list, e))
        rc = SAE_SET(err, SAE_ENOMEM, "%s: out of memory", w->dir);
    w->held = 0;
fail:
    sae_st_writer_abandon(&f);
    sae_free(path);
    return rc;
}

/* Convert row `held` into a buffer of the shard. */
static void keep_row(const sae_shards_writer *w, enum sae_st_dtype t, const float *x,
                     unsigned char *buffer)
{
    sae_st_from_f32(t, x, w->d, buffer + (size_t)(w->held * w->d) * sae_st_dtype_size(t));
}

int sae_shards_writer_add(sae_shards_writer *w, int64_t rows, const float *acts, const float *grads,
                          const sae_token *tok, sae_err *err)
{
    for (int64_t r = 0; r < rows; r++, w->rows++) {
        const float *x = acts + r * w->d;
        SAE_TRY(check_row(w, "element", w->dtype, x, err));
        if (w->grads)
            SAE_TRY(check_row(w, "gradient", w->grads_dtype, grads + r * w->d, err));
        count_row(w, x);
        keep_row(w, w->dtype, x, w->acts);
        if (w->grads)
            keep_row(w, w->grads_dtype, grads + r * w->d, w->grads);
        w->doc[w->held] = tok[r].doc;
        w->tokens[w->held] = (int32_t)tok[r].id;
        w->pos[w->held] = tok[r].pos;
        if (++w->held == w->per_shard)
            SAE_TRY(write_shard(w, err));
    }
    return SAE_OK;
}

/* ---- end ------------------------------------------------------------------------------------- */

static int write_manifest(sae_shards_writer *w, sae_err *err)
{
    double n = w->rows ? (double)w->rows : 1.0;
    json_t *mean = json_array();
    for (int64_t j = 0; j < w->d; j++)
        json_array_append_new(mean, json_real(w->sum[j] / n));
    json_t *norm = json_pack("{s:I s:f s:o}", "rows", (json_int_t)w->rows, "mean_sq", w->sum_sq / n,
                             "mean", mean);
    json_object_set_new(w->root, "rows", json_integer(w->rows));
    json_object_set_new(w->root, "norm", norm);
    json_object_set(w->root, "shards", w->list);
    char *text = json_dumps(w->root, JSON_INDENT(1) | JSON_REAL_PRECISION(17));
    char *path = sae_path_join(w->tmp, "manifest.json");
    int rc = text && path ? sae_file_write(path, text, strlen(text), err)
                          : SAE_SET(err, SAE_ENOMEM, "%s: out of memory", w->dir);
    free(text);
    sae_free(path);
    return rc;
}

int sae_shards_writer_commit(sae_shards_writer **w, sae_err *err)
{
    int rc;
    if ((*w)->held)
        SAE_GOTO(write_shard(*w, err));
    SAE_GOTO(write_manifest(*w, err));
    SAE_GOTO(sae_dir_rename((*w)->tmp, (*w)->dir, err));
fail:
    sae_shards_writer_abandon(w);
    return rc;
}

void sae_shards_writer_abandon(sae_shards_writer **out)
{
    sae_shards_writer *w = *out;
    if (!w)
        return;
    if (w->tmp)
        (void)sae_dir_remove(w->tmp, NULL);
    json_decref(w->root);
    json_decref(w->list);
    sae_free(w->acts);
    sae_free(w->grads);
    sae_free(w->doc);
    sae_free(w->tokens);
    sae_free(w->pos);
    sae_free(w->sum);
    sae_free(w->dir);
    sae_free(w->tmp);
    sae_free(w);
    *out = NULL;
}
