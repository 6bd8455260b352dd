/* suite/train/sae_file.c - write a trained SAE. */
#include "train/sae_file.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "train/part.h"
#include "train/sae_cfg.h"

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- exact ----------------------------------------------------------------------------------- */

static int write_meta(sae_st_writer *w, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    char seed[24], scale[40], count[6][24];
    const sae_dims *d = &l->model.dim;
    const int64_t counts[] = {d->d_in, d->d_out, d->n, l->cfg.steps,
                              (int64_t)l->stats.view.tokens, s->norm.rows};
    snprintf(seed, sizeof seed, "%" PRIu64, l->seed);
    snprintf(scale, sizeof scale, "%.17g", s->norm.scale);
    for (int i = 0; i < 6; i++)
        snprintf(count[i], sizeof count[i], "%" PRId64, counts[i]);
    const char *const meta[][2] = {
        {"format", "saemark-sae-1"}, {"spec", l->canonical},  {"seed", seed},
        {"dataset", s->canonical},   {"dataset_hash", s->hash},
        {"norm", sae_norm_names[s->norm.kind]},
        {"norm_scale", scale},       {"d_in", count[0]},      {"d_out", count[1]},
        {"n", count[2]},             {"steps", count[3]},     {"tokens", count[4]},
        {"norm_rows", count[5]},
    };
    for (size_t i = 0; i < sizeof meta / sizeof meta[0]; i++)
        SAE_TRY(sae_st_writer_meta(w, meta[i][0], meta[i][1], err));
    return SAE_OK;
}

static int has_target(const sae_learner *l)
{
    return (l->needs & SAE_NEED_TARGET) != 0;
}

static int write_target_meta(sae_st_writer *w, const sae_norm_const *n, sae_err *err)
{
    char scale[40], rows[24];
    snprintf(scale, sizeof scale, "%.17g", n->scale);
    snprintf(rows, sizeof rows, "%" PRId64, n->rows);
    SAE_TRY(sae_st_writer_meta(w, "target_scale", scale, err));
    return sae_st_writer_meta(w, "target_rows", rows, err);
}

static int write_exact(const char *path, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    int rc = SAE_OK, count = 0;
    sae_st_writer *w = NULL;
    sae_part parts[SAE_MAX_PART];
    for (; count < l->model.nt; count++)
        parts[count] = sae_part_tensor("", &l->model.t[count], l->model.t[count].w);
    sae_part_stats(parts + count, &l->stats, l->model.dim.n);
    count += 2;
    parts[count++] = (sae_part){"norm_mean", SAE_ST_F64, s->dim.d_in, -1, s->norm.mean, 1};
    if (has_target(l))
        parts[count++] = (sae_part){"target_mean", SAE_ST_F64, s->dim.d_out, -1, s->target.mean, 1};
    SAE_TRY(sae_st_writer_open(&w, path, err));
    SAE_GOTO(write_meta(w, l, s, err));
    if (has_target(l))
        SAE_GOTO(write_target_meta(w, &s->target, err));
    SAE_GOTO(sae_parts_write(w, l->e, parts, count, err));
    return sae_st_writer_commit(&w, err);
fail:
    sae_st_writer_abandon(&w);
    return rc;
}

/* ---- SAELens' layout ------------------------------------------------------------------------- */

static int expressible(const sae_learner *l)
{
    const sae_model *m = &l->model;
    return m->v->saelens && m->dim.d_in == m->dim.d_out && sae_model_tensor(m, "W_enc") &&
           sae_model_tensor(m, "W_dec");
}

/* What the weights are multiplied with on the way out: x in units of the file / x in model
 * units. */
static double fold_scale(const sae_stream *s)
{
    return s->norm.kind == SAE_NORM_UNIT_ROW ? sqrt((double)s->dim.d_in) : s->norm.scale;
}

/* Values of a tensor in host memory, times `by`; a tensor the variant lacks is zero. */
static int fetch(const sae_learner *l, const char *name, double by, int64_t count, float *out,
                 sae_err *err)
{
    const sae_tensor *t = sae_model_tensor(&l->model, name);
    memset(out, 0, (size_t)count * sizeof *out);
    if (!t)
        return SAE_OK;
    int rc = l->e->be->copy(l->e->dev, out, t->w, (size_t)count * sizeof *out, SAE_COPY_D2H);
    if (rc < 0)
        SAE_FAIL(err, rc, "%s cannot be copied from %s", name, l->e->be->name);
    for (int64_t i = 0; i < count; i++)
        out[i] = (float)((double)out[i] * by);
    return SAE_OK;
}

/* [n] thresholds from a tensor of n values or one, of either floating type. */
static int fetch_threshold(const sae_learner *l, int logs, float *out, sae_err *err)
{
    const sae_saelens *how = l->model.v->saelens;
    const sae_tensor *t = sae_model_tensor(&l->model, how->threshold);
    int64_t n = l->model.dim.n, count = t ? t->rows * t->cols : 0;
    void *raw = NULL;
    if (count != n && count != 1)
        SAE_FAIL(err, SAE_EINVAL, "%s: the tensor %s does not hold thresholds", l->model.v->name,
                 how->threshold);
    size_t size = sae_dtype_size(t->spec->dtype);
    SAE_TRY(sae_new(&raw, count, size, "export.threshold", err));
    int rc = l->e->be->copy(l->e->dev, raw, t->w, (size_t)count * size, SAE_COPY_D2H);
    for (int64_t j = 0; j < n; j++) {
        int64_t i = count == 1 ? 0 : j;
        double v = size == sizeof(double) ? ((double *)raw)[i] : (double)((float *)raw)[i];
        out[j] = (float)(logs ? exp(v) : v);
    }
    sae_free(raw);
    if (rc < 0)
        SAE_FAIL(err, rc, "%s cannot be copied from %s", how->threshold, l->e->be->name);
    return SAE_OK;
}

/* out [cols x rows] = in [rows x cols] transposed, in blocks that stay in cache. */
static void transpose(const float *in, int64_t rows, int64_t cols, float *out)
{
    enum { BLOCK = 32 };
    for (int64_t r0 = 0; r0 < rows; r0 += BLOCK)
        for (int64_t c0 = 0; c0 < cols; c0 += BLOCK)
            for (int64_t r = r0; r < rows && r < r0 + BLOCK; r++)
                for (int64_t c = c0; c < cols && c < c0 + BLOCK; c++)
                    out[c * rows + r] = in[r * cols + c];
}

static int put(sae_st_writer *w, const float *p, int64_t count, sae_err *err)
{
    return sae_st_writer_data(w, p, (size_t)count * sizeof *p, err);
}

/* a and b are room for n x d floats. */
static int write_tensors(sae_st_writer *w, const sae_learner *l, double scale, float *a, float *b,
                         sae_err *err)
{
    int64_t n = l->model.dim.n, d = l->model.dim.d_in;
    sae_cfg_form form;
    SAE_TRY(sae_cfg_form_of(l->model.v->saelens, l->spec.opts, &form, err));
    SAE_TRY(fetch(l, "W_enc", 1 / scale, n * d, a, err));
    transpose(a, n, d, b);
    SAE_TRY(put(w, b, n * d, err));
    SAE_TRY(fetch(l, "b_enc", 1, n, a, err));
    for (int64_t j = 0; j < n; j++)
        a[j] = (float)((double)a[j] - form.shrink);
    SAE_TRY(put(w, a, n, err));
    SAE_TRY(fetch(l, "W_dec", scale, n * d, a, err));
    SAE_TRY(put(w, a, n * d, err));
    SAE_TRY(fetch(l, "b_dec", scale, d, a, err));
    SAE_TRY(put(w, a, d, err));
    if (!l->model.v->saelens->threshold)
        return SAE_OK;
    SAE_TRY(fetch_threshold(l, form.log_threshold, a, err));
    return put(w, a, n, err);
}

static int write_weights(const char *path, const sae_learner *l, double scale, sae_err *err)
{
    int rc = SAE_OK;
    int64_t n = l->model.dim.n, d = l->model.dim.d_in, room = (n > 1 ? n : 1) * (d > 1 ? d : 1);
    float *a = NULL, *b = NULL;
    sae_st_writer *w = NULL;
    SAE_GOTO(sae_new(&a, room, sizeof *a, "export.a", err));
    SAE_GOTO(sae_new(&b, room, sizeof *b, "export.b", err));
    SAE_GOTO(sae_st_writer_open(&w, path, err));
    SAE_GOTO(sae_st_writer_add(w, "W_enc", SAE_ST_F32, 2, (int64_t[]){d, n}, err));
    SAE_GOTO(sae_st_writer_add(w, "b_enc", SAE_ST_F32, 1, &n, err));
    SAE_GOTO(sae_st_writer_add(w, "W_dec", SAE_ST_F32, 2, (int64_t[]){n, d}, err));
    SAE_GOTO(sae_st_writer_add(w, "b_dec", SAE_ST_F32, 1, &d, err));
    if (l->model.v->saelens->threshold)
        SAE_GOTO(sae_st_writer_add(w, "threshold", SAE_ST_F32, 1, &n, err));
    SAE_GOTO(sae_st_writer_begin(w, err));
    SAE_GOTO(write_tensors(w, l, scale, a, b, err));
    SAE_GOTO(sae_st_writer_commit(&w, err));
fail:
    sae_st_writer_abandon(&w);
    sae_free(a);
    sae_free(b);
    return rc;
}

/* ---- cfg.json -------------------------------------------------------------------------------- */

static json_t *our_keys(const sae_learner *l, const sae_stream *s)
{
    char seed[24];
    snprintf(seed, sizeof seed, "%" PRIu64, l->seed);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:f, s:I, s:I}", "spec", l->canonical, "seed",
                     seed, "dataset", s->canonical, "dataset_hash", s->hash, "norm",
                     sae_norm_names[s->norm.kind], "norm_scale", s->norm.scale, "steps",
                     (json_int_t)l->cfg.steps, "batch", (json_int_t)l->cfg.B);
}

static int add_k(json_t *root, const sae_learner *l, const char *option)
{
    int64_t k = 0;
    char *text = sae_opts_get(l->spec.opts, option);
    int rc = !text || sae_int_parse(text, &k) < 0 ||
             json_object_set_new(root, "k", json_integer(k)) ||
             json_object_set_new(root, "rescale_acts_by_decoder_norm", json_false());
    sae_free(text);
    return rc ? SAE_ENOMEM : SAE_OK;
}

static json_t *make_cfg(const sae_learner *l, const sae_stream *s)
{
    const sae_saelens *how = expressible(l) ? l->model.v->saelens : NULL;
    static const char *const norms[] = {[SAE_NORM_UNIT_ROW] = "constant_norm_rescale",
                                        [SAE_NORM_ROW_STD] = "layer_norm"};
    const char *norm = sae_norm_is_per_row(s->norm.kind) ? norms[s->norm.kind] : "none";
    sae_cfg_form form;
    if (sae_cfg_form_of(how, l->spec.opts, &form, NULL) < 0)
        return NULL;
    json_t *root = json_pack(
        "{s:s, s:I, s:I, s:s, s:s, s:b, s:s, s:s, s:{}, s:o}", "architecture",
        how ? how->architecture : l->model.v->name, "d_in", (json_int_t)l->model.dim.d_in,
        "d_sae", (json_int_t)l->model.dim.n, "dtype", "float32", "device", "cpu",
        "apply_b_dec_to_input", form.centre, "normalize_activations", norm,
        "reshape_activations", "none", "metadata", "saemark", our_keys(l, s));
    if (root && how && how->k && add_k(root, l, how->k) < 0) {
        json_decref(root);
        return NULL;
    }
    return root;
}

static int write_cfg(const char *path, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    json_t *root = make_cfg(l, s);
    char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", path);
    int rc = sae_file_write(path, text, strlen(text), err);
    free(text);
    return rc;
}

static int write_dir(const char *dir, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    int rc = SAE_OK;
    char *exact = sae_path_join(dir, "saemark.safetensors");
    char *weights = sae_path_join(dir, "sae_weights.safetensors");
    char *cfg = sae_path_join(dir, "cfg.json");
    if (!exact || !weights || !cfg)
        SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "%s: out of memory", dir));
    SAE_GOTO(sae_dir_remove(dir, err));
    SAE_GOTO(sae_dir_make(dir, err));
    SAE_GOTO(write_exact(exact, l, s, err));
    if (expressible(l))
        SAE_GOTO(write_weights(weights, l, fold_scale(s), err));
    SAE_GOTO(write_cfg(cfg, l, s, err));
    SAE_GOTO(sae_sums_write(dir, err));
fail:
    sae_free(exact);
    sae_free(weights);
    sae_free(cfg);
    return rc;
}

int sae_file_export(const char *dir, const sae_learner *l, const sae_stream *s, sae_err *err)
{
    char *tmp = sae_strfmt("%s.tmp", dir);
    if (!tmp)
        SAE_FAIL(err, SAE_ENOMEM, "%s: out of memory", dir);
    int rc = write_dir(tmp, l, s, err);
    if (rc >= 0)
        rc = sae_dir_rename(tmp, dir, err);
    if (rc < 0)
        sae_dir_remove(tmp, NULL);
    sae_free(tmp);
    return rc;
}
