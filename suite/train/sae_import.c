/* suite/train/sae_import.c - read a trained SAE: ours bit for bit, SAELens' directories, bare
 * files. */
#include "train/sae_file.h"

#include "core/checksum.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "train/part.h"
#include "train/sae_cfg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- common ---------------------------------------------------------------------------------- */

/* The empty model of s->spec with widths d and n features. */
static int open_model(sae_loaded *s, const sae_dims *dim, int64_t steps, const sae_engine *e,
                      sae_err *err)
{
    size_t opt_size = s->spec.variant->opt_size;
    s->canonical = sae_spec_print(&s->spec, 1);
    if (!s->canonical)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a SAE's name");
    SAE_TRY(sae_new(&s->opt, 1, opt_size, "options", err));
    SAE_TRY(sae_new(&s->norm.mean, dim->d_in, sizeof *s->norm.mean, "import.mean", err));
    sae_opts_at(s->spec.opts, steps, steps, s->opt);
    const void *opt = sae_opts_base(s->spec.opts);
    SAE_TRY(sae_model_open(&s->model, s->spec.variant, opt, dim, e, 0, err));
    SAE_TRY(sae_stats_open(&s->stats, dim->n, e, err));
    return SAE_OK;
}

void sae_loaded_close(sae_loaded *s, const sae_engine *e)
{
    sae_stats_close(&s->stats, e);
    sae_model_close(&s->model, e);
    sae_spec_free(&s->spec);
    sae_free(s->opt);
    sae_free(s->norm.mean);
    sae_free(s->target.mean);
    sae_free(s->canonical);
    sae_free(s->dataset);
    memset(s, 0, sizeof *s);
}

static int index_of(const char *const *names, const char *name)
{
    for (int i = 0; name && names[i]; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    return -1;
}

/* ---- exact ----------------------------------------------------------------------------------- */

static int read_meta(sae_loaded *s, const sae_st *st, sae_dims *dim, int64_t *steps, sae_err *err)
{
    const char *seed = sae_st_meta(st, "seed"), *scale = sae_st_meta(st, "norm_scale");
    const char *hash = sae_st_meta(st, "dataset_hash");
    int kind = index_of(sae_norm_names, sae_st_meta(st, "norm"));
    SAE_TRY(sae_part_count(st, "d_in", &dim->d_in, err));
    SAE_TRY(sae_part_count(st, "d_out", &dim->d_out, err));
    SAE_TRY(sae_part_count(st, "n", &dim->n, err));
    SAE_TRY(sae_part_count(st, "steps", steps, err));
    SAE_TRY(sae_part_count(st, "norm_rows", &s->norm.rows, err));
    if (kind < 0 || !scale || sae_real_parse(scale, &s->norm.scale) < 0 || !(s->norm.scale > 0) ||
        !seed || !hash || strlen(hash) >= sizeof s->dataset_hash)
        SAE_FAIL(err, SAE_EFORMAT, "%s: metadata norm, norm_scale, seed or dataset_hash is missing "
                 "or malformed", sae_st_path(st));
    s->norm.kind = (enum sae_norm)kind;
    s->seed = strtoull(seed, NULL, 10);
    memcpy(s->dataset_hash, hash, strlen(hash) + 1);
    dim->n_cap = dim->n;
    return SAE_OK;
}

/* The constants of the target, of a variant that has one. */
static int read_target(sae_loaded *s, const sae_st *st, const sae_dims *dim, sae_err *err)
{
    const char *scale = sae_st_meta(st, "target_scale");
    if (!(s->spec.variant->needs(sae_opts_base(s->spec.opts), SAE_EVAL) & SAE_NEED_TARGET))
        return SAE_OK;
    if (!scale || sae_real_parse(scale, &s->target.scale) < 0 || !(s->target.scale > 0))
        SAE_FAIL(err, SAE_EFORMAT, "%s: metadata target_scale is missing or malformed",
                 sae_st_path(st));
    s->target.kind = s->norm.kind;
    SAE_TRY(sae_part_count(st, "target_rows", &s->target.rows, err));
    return sae_new(&s->target.mean, dim->d_out, sizeof *s->target.mean, "import.mean", err);
}

/* Weights of a model that ran into NaN train and save without complaint; they end here. */
static int check_finite(const sae_st *st, const sae_tensor *t, sae_err *err)
{
    const sae_st_tensor *f = sae_st_find(st, t->spec->name);
    float buf[1024];
    if (t->spec->dtype != SAE_REAL)
        return SAE_OK;
    for (int64_t i = 0; i < f->count; i += 1024)
        SAE_TRY(sae_st_floats(st, f, i, f->count - i < 1024 ? f->count - i : 1024, 1, buf, err));
    return SAE_OK;
}

static int import_exact(sae_loaded *s, const sae_st *st, const sae_registry *reg,
                        const sae_engine *e, sae_err *err)
{
    sae_dims dim = {0};
    sae_part parts[SAE_MAX_PART];
    int64_t steps = 0, tokens = 0;
    int count = 0;
    const char *spec = sae_st_meta(st, "spec"), *dataset = sae_st_meta(st, "dataset");
    SAE_TRY(read_meta(s, st, &dim, &steps, err));
    if (dataset && !(s->dataset = sae_strdup(dataset)))
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for the name of a dataset");
    SAE_TRY(sae_part_count(st, "tokens", &tokens, err));
    if (!spec)
        SAE_FAIL(err, SAE_EFORMAT, "%s: metadata \"spec\" is missing", sae_st_path(st));
    SAE_TRY(sae_spec_parse(&s->spec, reg, SAE_KIND_VARIANT, spec, err));
    SAE_TRY(sae_spec_resolve(&s->spec, dim.d_in, err));
    SAE_TRY(open_model(s, &dim, steps, e, err));
    SAE_TRY(read_target(s, st, &dim, err));
    s->stats.view.tokens = (uint64_t)tokens;
    for (; count < s->model.nt; count++)
        parts[count] = sae_part_tensor("", &s->model.t[count], s->model.t[count].w);
    sae_part_stats(parts + count, &s->stats, dim.n);
    count += 2;
    parts[count++] = (sae_part){"norm_mean", SAE_ST_F64, dim.d_in, -1, s->norm.mean, 1};
    if (s->target.mean)
        parts[count++] = (sae_part){"target_mean", SAE_ST_F64, dim.d_out, -1, s->target.mean, 1};
    SAE_TRY(sae_parts_read(st, e, parts, count, err));
    for (int i = 0; i < s->model.nt; i++)
        SAE_TRY(check_finite(st, &s->model.t[i], err));
    return SAE_OK;
}

/* ---- other tools' weights -------------------------------------------------------------------- */

typedef struct weights { /* in our layout */
    int64_t d, n;
    float *W_enc, *W_dec;    /* [n x d] */
    float *b_enc, *b_dec;    /* [n], [d] */
    float *threshold;        /* [n] or NULL */
} weights;

static void free_weights(weights *w)
{
    sae_free(w->W_enc);
    sae_free(w->W_dec);
    sae_free(w->b_enc);
    sae_free(w->b_dec);
    sae_free(w->threshold);
}

/* What the file calls a tensor: our name, or that of dictionary_learning and sparsify, whose
 * encoder and decoder are linear layers of PyTorch; NULL when it has neither. */
static const sae_st_tensor *find_weight(const sae_st *st, const char *name)
{
    static const char *const other[][2] = {{"W_enc", "encoder.weight"},
                                           {"W_dec", "decoder.weight"},
                                           {"b_enc", "encoder.bias"},
                                           {"b_dec", "bias"}};
    const sae_st_tensor *t = sae_st_find(st, name);
    for (size_t i = 0; !t && i < sizeof other / sizeof other[0]; i++)
        if (strcmp(name, other[i][0]) == 0)
            t = sae_st_find(st, other[i][1]);
    return t;
}

/* The extents from the biases: they alone tell n from d in a file without cfg.json. */
static int measure(weights *w, const sae_st *st, sae_err *err)
{
    const sae_st_tensor *enc = find_weight(st, "b_enc"), *dec = find_weight(st, "b_dec");
    const sae_st_tensor *W = find_weight(st, "W_dec");
    if (!W || W->rank != 2 || W->count == 0)
        SAE_FAIL(err, SAE_EFORMAT,
                 "%s: expected a matrix W_dec or decoder.weight, found %" PRId64 " tensors%s%s",
                 sae_st_path(st), sae_st_count(st), sae_st_count(st) ? ", the first " : "",
                 sae_st_count(st) ? sae_st_at(st, 0)->name : "");
    if (!enc && !dec)
        SAE_FAIL(err, SAE_EFORMAT, "%s: without b_enc, b_dec and cfg.json the dictionary size "
                 "cannot be told from the width", sae_st_path(st));
    w->n = enc ? enc->count : W->shape[W->shape[0] == dec->count];
    w->d = dec ? dec->count : W->shape[W->shape[0] == enc->count];
    if (w->n == w->d)
        SAE_FAIL(err, SAE_EFORMAT, "%s: W_dec is square, so its orientation is known from cfg.json "
                 "only", sae_st_path(st));
    return SAE_OK;
}

/* A matrix into [n x d]; by_rows: 1 stored [n, d], 0 stored [d, n], -1 either. */
static int read_matrix(const weights *w, const sae_st *st, const char *name, int by_rows,
                       float **out, sae_err *err)
{
    const sae_st_tensor *t = find_weight(st, name);
    int64_t shape[2] = {w->n, w->d};
    if (t && t->rank == 2 && (by_rows == 0 || (by_rows < 0 && t->shape[0] == w->d)))
        shape[0] = w->d, shape[1] = w->n;
    SAE_TRY(sae_st_need(st, t ? t->name : name, 2, shape, &t, err));
    SAE_TRY(sae_new(out, t->count, sizeof(float), "import.matrix", err));
    if (shape[0] == w->n && by_rows != 0)
        return sae_st_floats(st, t, 0, t->count, 1, *out, err);
    float *column = NULL; /* of our layout: a row of theirs */
    int rc = sae_new(&column, w->n, sizeof *column, "import.column", err);
    for (int64_t i = 0; i < w->d && rc >= 0; i++) {
        rc = sae_st_floats(st, t, i * w->n, w->n, 1, column, err);
        for (int64_t j = 0; j < w->n; j++)
            (*out)[j * w->d + i] = column[j];
    }
    sae_free(column);
    return rc;
}

/* A vector, zero when the file has none; a single number stands for all. */
static int read_vector(const sae_st *st, const char *name, int64_t count, float **out, sae_err *err)
{
    const sae_st_tensor *t = find_weight(st, name);
    SAE_TRY(sae_new(out, count, sizeof(float), "import.vector", err));
    if (!t)
        return SAE_OK;
    if (t->rank != 0)
        SAE_TRY(sae_st_need(st, t->name, 1, &count, &t, err));
    SAE_TRY(sae_st_floats(st, t, 0, t->count, 1, *out, err));
    for (int64_t i = t->count; i < count; i++)
        (*out)[i] = **out;
    return SAE_OK;
}

/* cfg NULL: a bare file. */
static int read_weights(weights *w, const sae_st *st, const sae_cfg *cfg, sae_err *err)
{
    if (cfg) {
        w->n = cfg->d_sae;
        w->d = cfg->d_in;
    } else {
        SAE_TRY(measure(w, st, err));
    }
    SAE_TRY(read_matrix(w, st, "W_enc", cfg ? 0 : -1, &w->W_enc, err));
    SAE_TRY(read_matrix(w, st, "W_dec", cfg ? 1 : -1, &w->W_dec, err));
    SAE_TRY(read_vector(st, "b_enc", w->n, &w->b_enc, err));
    SAE_TRY(read_vector(st, "b_dec", w->d, &w->b_dec, err));
    return sae_st_find(st, "threshold") ? read_vector(st, "threshold", w->n, &w->threshold, err)
                                        : SAE_OK;
}

/* Rewrite the weights so that they mean in our convention (x - b_dec goes in unless `form` says
 * otherwise, plain codes, model units) what cfg says. */
static void normalise(weights *w, const sae_cfg *c, const sae_cfg_form *form)
{
    double unit = c->norm == SAE_NORM_UNIT_ROW ? sqrt((double)w->d) : 1;
    for (int64_t j = 0; j < w->n; j++) {
        float *enc = w->W_enc + j * w->d, *dec = w->W_dec + j * w->d;
        double shift = 0, norm = 0, by = 1;
        for (int64_t i = 0; i < w->d; i++) {
            shift += (double)enc[i] * (double)w->b_dec[i];
            norm += (double)dec[i] * (double)dec[i];
        }
        if (form->centre != c->subtract_b_dec)
            w->b_enc[j] = (float)((double)w->b_enc[j] + (form->centre ? shift : -shift));
        if (c->rank_by_norm && norm > 0)
            by = sqrt(norm);
        for (int64_t i = 0; i < w->d && (by != 1 || unit != 1); i++) {
            enc[i] = (float)((double)enc[i] * by * unit);
            dec[i] = (float)((double)dec[i] / by / unit);
        }
        /* a threshold is met after scaling */
        w->b_enc[j] = (float)((double)w->b_enc[j] * by + form->shrink);
    }
    for (int64_t i = 0; i < w->d; i++)
        w->b_dec[i] = (float)((double)w->b_dec[i] / unit);
}

static int upload(const sae_engine *e, const sae_tensor *t, const void *src, int64_t count,
                  sae_err *err)
{
    size_t bytes = (size_t)count * sae_dtype_size(t->spec->dtype);
    int rc = t->rows * t->cols == count ? e->be->copy(e->dev, t->w, src, bytes, SAE_COPY_H2D)
                                        : SAE_EFORMAT;
    if (rc < 0)
        SAE_FAIL(err, rc, "tensor %s cannot be filled from the file", t->spec->name);
    return SAE_OK;
}

/* Thresholds of the file into the variant's tensor, of n values or one, of either type. */
static int fill_threshold(const sae_loaded *s, const weights *w, double *wide, float *narrow,
                          sae_err *err)
{
    sae_cfg_form form;
    SAE_TRY(sae_cfg_form_of(s->model.v->saelens, s->spec.opts, &form, err));
    for (int64_t j = 0; j < w->n; j++) {
        double v = (double)w->threshold[j];
        wide[j] = form.log_threshold ? log(v) : v;
        narrow[j] = (float)wide[j];
        if (!isfinite(wide[j]))
            SAE_FAIL(err, SAE_EFORMAT, "threshold[%" PRId64 "]: %s expects positive values, found "
                     "%g", j, s->spec.name, v);
    }
    return SAE_OK;
}

static int upload_threshold(const sae_loaded *s, const sae_tensor *t, const weights *w,
                            const sae_engine *e, sae_err *err)
{
    int64_t count = t->rows * t->cols;
    double *wide = NULL;
    float *narrow = NULL;
    for (int64_t j = 1; j < w->n && count == 1; j++)
        if (memcmp(&w->threshold[j], &w->threshold[0], sizeof(float)) != 0)
            SAE_FAIL(err, SAE_EFORMAT, "%s has one threshold for all features, the file different "
                     "ones", s->spec.name);
    int rc = sae_new(&wide, w->n, sizeof *wide, "import.threshold", err);
    if (rc >= 0)
        rc = sae_new(&narrow, w->n, sizeof *narrow, "import.threshold", err);
    if (rc >= 0)
        rc = fill_threshold(s, w, wide, narrow, err);
    if (rc >= 0)
        rc = upload(e, t, t->spec->dtype == SAE_REAL ? (void *)narrow : (void *)wide, count, err);
    sae_free(wide);
    sae_free(narrow);
    return rc;
}

/* Every tensor of the variant must come from the file: a threshold silently left at 0 would change
 * the codes. */
static int fill_model(const sae_loaded *s, const weights *w, const sae_engine *e, sae_err *err)
{
    const sae_saelens *how = s->model.v->saelens;
    const struct {
        const char *name;
        const float *p;
        int64_t count;
    } have[] = {{"W_enc", w->W_enc, w->n * w->d},
                {"W_dec", w->W_dec, w->n * w->d},
                {"b_enc", w->b_enc, w->n},
                {"b_dec", w->b_dec, w->d}};
    for (int i = 0; i < s->model.nt; i++) {
        const sae_tensor *t = &s->model.t[i];
        size_t at = 0;
        while (at < 4 && strcmp(t->spec->name, have[at].name) != 0)
            at++;
        if (at < 4)
            SAE_TRY(upload(e, t, have[at].p, have[at].count, err));
        else if (how && how->threshold && strcmp(t->spec->name, how->threshold) == 0 &&
                 w->threshold)
            SAE_TRY(upload_threshold(s, t, w, e, err));
        else
            SAE_FAIL(err, SAE_EFORMAT, "the file has nothing for tensor %s of %s", t->spec->name,
                     s->spec.name);
    }
    return SAE_OK;
}

static int is_per_feature(const sae_variant *v, const char *tensor)
{
    for (const sae_tensor_spec *t = v->tensors; t->name; t++)
        if (strcmp(t->name, tensor) == 0)
            return t->rows == SAE_DIM_N || t->cols == SAE_DIM_N;
    return 0;
}

/* A file of the layout fills every tensor of the variant. */
static int is_filled(const sae_variant *v)
{
    static const char *const have[] = {"W_enc", "W_dec", "b_enc", "b_dec", NULL};
    for (const sae_tensor_spec *t = v->tensors; t->name; t++)
        if (index_of(have, t->name) < 0 &&
            !(v->saelens->threshold && strcmp(t->name, v->saelens->threshold) == 0))
            return 0;
    return 1;
}

/* The variant that is native to an architecture: exports that merge many thresholds into one or
 * leave tensors out are not read back. */
static const char *native_variant(const sae_cfg *cfg, const sae_registry *reg)
{
    for (const sae_variant *const *v = sae_all_variants(reg); *v; v++) {
        const sae_saelens *how = (*v)->saelens;
        if (how && strcmp(how->architecture, cfg->architecture) == 0 && is_filled(*v) &&
            (!how->threshold || is_per_feature(*v, how->threshold)))
            return (*v)->name;
    }
    return NULL;
}

/* The variant named by the caller or by cfg.json; k from cfg.json unless the caller gave it. */
static int parse_spec(sae_loaded *s, const char *variant, const sae_cfg *cfg,
                      const sae_registry *reg, sae_err *err)
{
    char k[24];
    if (!variant && !cfg)
        SAE_FAIL(err, SAE_EINVAL, "bare weights do not say what kind of SAE they are: name the "
                 "variant (--as SPEC)");
    if (!variant && !(variant = native_variant(cfg, reg)))
        SAE_FAIL(err, SAE_EFORMAT, "cfg.json: no variant reads architecture \"%s\"; name one that "
                 "does (--as SPEC)", cfg->architecture);
    SAE_TRY(sae_spec_parse(&s->spec, reg, SAE_KIND_VARIANT, variant, err));
    if (!cfg || cfg->k < 0 || sae_opts_given(s->spec.opts, "k") != 0)
        return SAE_OK;
    snprintf(k, sizeof k, "%" PRId64, cfg->k);
    return sae_opts_set(s->spec.opts, "k", k, err);
}

/* cfg NULL: a bare file. */
static int import_foreign(sae_loaded *s, const sae_st *st, const sae_cfg *cfg, const char *variant,
                          const sae_registry *reg, const sae_engine *e, sae_err *err)
{
    int rc = SAE_OK;
    weights w = {0};
    sae_cfg_form form;
    SAE_GOTO(parse_spec(s, variant, cfg, reg, err));
    SAE_GOTO(read_weights(&w, st, cfg, err));
    s->spec.n = w.n;
    s->spec.n_per_d = 0;
    s->norm.kind = cfg ? cfg->norm : SAE_NORM_NONE;
    s->norm.scale = 1;
    if (cfg)
        memcpy(s->hook, cfg->hook, sizeof s->hook);
    SAE_GOTO(open_model(s, &(sae_dims){w.d, w.d, w.n, w.n}, 1, e, err));
    SAE_GOTO(sae_cfg_form_of(s->spec.variant->saelens, s->spec.opts, &form, err));
    if (cfg)
        normalise(&w, cfg, &form);
    SAE_GOTO(fill_model(s, &w, e, err));
fail:
    free_weights(&w);
    return rc;
}

/* ---- which of them --------------------------------------------------------------------------- */

static int read_cfg(const char *path, const sae_registry *reg, sae_cfg *cfg, sae_err *err)
{
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    int rc = sae_cfg_parse((const char *)m.p, m.bytes, sae_all_variants(reg), cfg, err);
    sae_map_close(&m);
    return rc < 0 ? sae_fail_prefix(err, rc, "%s", path) : SAE_OK;
}

static int import_file(sae_loaded *s, const char *path, const sae_cfg *cfg, const char *variant,
                       const sae_registry *reg, const sae_engine *e, sae_err *err)
{
    sae_st *st = NULL;
    SAE_TRY(sae_st_open(&st, path, err));
    const char *format = sae_st_meta(st, "format");
    int rc = format && strcmp(format, "saemark-sae-1") == 0
                 ? import_exact(s, st, reg, e, err)
                 : import_foreign(s, st, cfg, variant, reg, e, err);
    sae_st_close(&st);
    return rc < 0 ? sae_fail_prefix(err, rc, "%s", path) : rc;
}

int sae_file_import(sae_loaded *s, const char *path, const char *variant, const sae_registry *reg,
                    const sae_engine *e, sae_err *err)
{
    int rc = SAE_OK;
    struct stat st;
    sae_cfg cfg;
    memset(s, 0, sizeof *s);
    char *exact = sae_path_join(path, "saemark.safetensors");
    char *folded = sae_path_join(path, "sae_weights.safetensors");
    char *json = sae_path_join(path, "cfg.json");
    if (!exact || !folded || !json)
        SAE_GOTO(SAE_SET(err, SAE_ENOMEM, "%s: out of memory", path));
    SAE_GOTO(sae_sums_check(path, err));
    if (sae_file_exists(exact)) {
        SAE_GOTO(import_file(s, exact, NULL, variant, reg, e, err));
    } else if (sae_file_exists(json) && sae_file_exists(folded)) {
        SAE_GOTO(read_cfg(json, reg, &cfg, err));
        SAE_GOTO(import_file(s, folded, &cfg, variant, reg, e, err));
    } else if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        SAE_GOTO(SAE_SET(err, SAE_EFORMAT,
                         "%s: expected saemark.safetensors, or cfg.json beside "
                         "sae_weights.safetensors; a run has its SAEs in saes/ID, of other tools "
                         "name the safetensors file itself",
                         path));
    } else {
        SAE_GOTO(import_file(s, path, NULL, variant, reg, e, err));
    }
fail:
    if (rc < 0)
        sae_loaded_close(s, e);
    sae_free(exact);
    sae_free(folded);
    sae_free(json);
    return rc;
}
