/* tests/train/sae_file.c - trained SAEs as files: exact, in SAELens' layout, bare. */
#include "train/rig.h"

#include "core/file.h"
#include "core/list.h"
#include "core/safetensors.h"
#include "train/sae_cfg.h"

#include <stdlib.h>

enum { N = 40, B = 64 };

static const char *in_dir(const char *name)
{
    static char path[8][512];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, sizeof path[0], "%s/%s", test_dir(), name);
    return p;
}

/* Train a little, finalize, export to `out`. key: an option to set, or NULL. */
static void train_and_export(rig *r, sae_learner *l, const sae_variant *v, const char *key,
                             const char *value, const char *dir)
{
    sae_spec spec;
    sae_train_config c = rig_config(12, B);
    rig_spec(r, &spec, v, N);
    if (key)
        ck_assert_ok(sae_opts_set(spec.opts, key, value, &r->err), r->err);
    rig_learner(r, l, &spec, &c);
    rig_train(r, l, 12);
    ck_assert_ok(sae_learner_finalize(l, &r->err), r->err);
    ck_assert_ok(sae_file_export(dir, l, &r->s, &r->err), r->err);
}

/* EVAL codes and reconstructions of x [rows x d] in model units. */
static void evaluate(const sae_engine *e, const sae_model *m, const void *opt,
                     const sae_stats *stats, const float *x, int64_t rows, sae_tape *t)
{
    sae_err err = {0};
    sae_batch b = {.B = rows, .x = x, .y = x};
    sae_ctx c = {.size = sizeof c,
                 .mode = SAE_EVAL,
                 .opt = opt,
                 .k = &e->k,
                 .dev = e->dev,
                 .be = e->be,
                 .stats = stats,
                 .err = &err};
    ck_assert_ok(sae_tape_open(t, m->v, opt, &m->dim, rows, SAE_EVAL, e, &err), err);
    ck_assert_ok(sae_forward(m, &c, &b, t, e), err);
    ck_assert_ok(
        m->v->decode(m, &c, &t->code, (sae_mat){t->xhat, rows, m->dim.d_out, m->dim.d_out}), err);
}

/* ---- round trips
 * --------------------------------------------------------------------------------------- */

START_TEST(exact_round_trip)
{
    rig r;
    rig_open(&r, 1, SAE_NORM_MEAN_SQ1, RIG_GIVES, B);
    for (const sae_variant *const *v = sae_all_variants(r.reg); *v; v++) {
        sae_learner l;
        sae_loaded s;
        train_and_export(&r, &l, *v, NULL, NULL, in_dir("sae"));
        ck_assert_ok(sae_file_import(&s, in_dir("sae"), NULL, r.reg, &r.e, &r.err), r.err);
        ck_assert_str_eq(s.canonical, l.canonical);
        ck_assert_str_eq(s.dataset_hash, r.s.hash);
        ck_assert_uint_eq(s.seed, l.seed);
        ck_assert_uint_eq(s.stats.view.tokens, (uint64_t)(l.step * B));
        for (const sae_option *o = (*v)->options; o->name; o++)
            if (o->type != SAE_OPT_STR) /* texts are in the canonical string */
                ck_assert_mem_eq((const char *)s.opt + o->off, (const char *)l.opt_now + o->off, 8);
        ck_assert_int_eq(s.norm.kind, SAE_NORM_MEAN_SQ1);
        ck_assert_double_eq(s.norm.scale, r.s.norm.scale);
        ck_assert_mem_eq(s.norm.mean, r.s.norm.mean, RIG_D * sizeof(double));
        ck_assert_int_eq(s.model.dim.n, l.model.dim.n);
        ck_assert_mem_eq(s.stats.fire_count, l.stats.fire_count,
                         (size_t)l.model.dim.n * sizeof(uint64_t));
        for (int i = 0; i < l.model.nt; i++) {
            const sae_tensor *t = &l.model.t[i];
            size_t bytes = (size_t)(t->rows * t->cols) * sae_dtype_size(t->spec->dtype);
            ck_assert_mem_eq(t->w, s.model.t[i].w, bytes);
        }
        sae_loaded_close(&s, &r.e);
        sae_learner_close(&l);
    }
    rig_close(&r);
}
END_TEST

typedef struct lens { /* SAELens' forward pass in double, from its documentation */
    float *W_enc, *b_enc, *W_dec, *b_dec, *threshold;
    sae_cfg cfg;
} lens;

static float *lens_tensor(const sae_st *st, const char *name, int rank, int64_t a, int64_t b)
{
    sae_err err = {0};
    const sae_st_tensor *t;
    ck_assert_ok(sae_st_need(st, name, rank, (int64_t[]){a, b}, &t, &err), err);
    float *out = malloc((size_t)t->count * sizeof *out);
    ck_assert_ok(sae_st_floats(st, t, 0, t->count, 1, out, &err), err);
    return out;
}

static void lens_open(lens *s, const char *dir)
{
    char path[600];
    sae_err err = {0};
    sae_st *st;
    sae_map m;
    snprintf(path, sizeof path, "%s/cfg.json", dir);
    ck_assert_ok(sae_map_open(&m, path, &err), err);
    ck_assert_ok(sae_cfg_parse((const char *)m.p, m.bytes, sae_list_variants, &s->cfg, &err), err);
    sae_map_close(&m);
    snprintf(path, sizeof path, "%s/sae_weights.safetensors", dir);
    ck_assert_ok(sae_st_open(&st, path, &err), err);
    s->W_enc = lens_tensor(st, "W_enc", 2, RIG_D, N);
    s->b_enc = lens_tensor(st, "b_enc", 1, N, 0);
    s->W_dec = lens_tensor(st, "W_dec", 2, N, RIG_D);
    s->b_dec = lens_tensor(st, "b_dec", 1, RIG_D, 0);
    s->threshold = sae_st_find(st, "threshold") ? lens_tensor(st, "threshold", 1, N, 0) : NULL;
    sae_st_close(&st);
}

static void lens_close(lens *s)
{
    free(s->W_enc);
    free(s->b_enc);
    free(s->W_dec);
    free(s->b_dec);
    free(s->threshold);
}

/* relu, then the k largest, or those above the threshold. */
static void lens_select(const lens *s, double *pre)
{
    double kept[N] = {0};
    for (int64_t k = 0; k < (s->cfg.k > 0 ? s->cfg.k : N); k++) {
        int best = -1;
        for (int j = 0; j < N; j++)
            if (pre[j] > (s->threshold ? (double)s->threshold[j] : 0) && pre[j] > 0 &&
                (best < 0 || pre[j] > pre[best]))
                best = j;
        if (best < 0)
            break;
        kept[best] = pre[best];
        pre[best] = -1;
    }
    memcpy(pre, kept, sizeof kept);
}

static void lens_forward(const lens *s, const float *raw, double *out)
{
    double pre[N], norm = 0, mean = 0, square = 0, unit = 1;
    for (int i = 0; i < RIG_D; i++) {
        norm += (double)raw[i] * (double)raw[i];
        mean += (double)raw[i] / RIG_D;
    }
    for (int i = 0; i < RIG_D; i++)
        square += ((double)raw[i] - mean) * ((double)raw[i] - mean);
    if (s->cfg.norm == SAE_NORM_UNIT_ROW)
        unit = sqrt(RIG_D) / sqrt(norm);
    if (s->cfg.norm == SAE_NORM_ROW_STD)
        unit = 1 / (sqrt(square / (RIG_D - 1)) + 1e-5);
    else
        mean = 0;
    for (int j = 0; j < N; j++) {
        pre[j] = (double)s->b_enc[j];
        for (int i = 0; i < RIG_D; i++)
            pre[j] += (((double)raw[i] - mean) * unit -
                       (s->cfg.subtract_b_dec ? (double)s->b_dec[i] : 0)) *
                      (double)s->W_enc[i * N + j];
    }
    lens_select(s, pre);
    for (int i = 0; i < RIG_D; i++) {
        out[i] = (double)s->b_dec[i];
        for (int j = 0; j < N; j++)
            out[i] += pre[j] * (double)s->W_dec[j * RIG_D + i];
        out[i] = out[i] / unit + mean;
    }
}

/* Differences of two evaluations of one SAE in raw units: folding rounds each weight once (2^-24
 * relative) and sums have d = 16 and n = 40 terms, so errors are below 100 x 2^-24 of the sum of
 * absolute values, which is below 8 |x| here. */
static void close_rows(const float *a, const double *b, const float *raw, const char *what)
{
    double norm = 0;
    for (int i = 0; i < RIG_D; i++)
        norm += (double)raw[i] * (double)raw[i];
    for (int i = 0; i < RIG_D; i++)
        ck_assert_msg(fabs((double)a[i] - b[i]) <= 800 * 0x1p-24 * sqrt(norm), "%s: %g, not %g",
                      what, (double)a[i], b[i]);
}

/* What SAELens computes from the exported directory on raw activations is what we compute, and so
 * is what we make of the directory as a SAE of `back`; NULL: of what cfg.json says. */
static void check_lens(rig *r, const sae_variant *v, const char *key, const char *value,
                       const char *back)
{
    sae_learner l;
    sae_loaded s;
    sae_tape t, u;
    sae_batch b;
    lens peer;
    train_and_export(r, &l, v, key, value, in_dir("sae"));
    lens_open(&peer, in_dir("sae"));
    ck_assert_str_eq(peer.cfg.architecture, v->saelens->architecture);
    ck_assert_ok(sae_file_remove(in_dir("sae/saemark.safetensors"), &r->err), r->err);
    ck_assert_ok(sae_file_import(&s, in_dir("sae"), back, r->reg, &r->e, &r->err), r->err);
    ck_assert_ok(sae_stream_fill(&r->s, SAE_SPLIT_EVAL, 0, B, 0, &b, &r->err), r->err);
    evaluate(&r->e, &l.model, l.opt_now, &l.stats.view, b.x, B, &t);
    sae_norm_undo(&r->s.norm, r->s.now.in.row, (sae_mat){t.xhat, B, RIG_D, RIG_D});
    sae_norm_row scale[B];
    float x[B * RIG_D];
    sae_norm_apply(&s.norm, (sae_cmat){r->s.now.raw, B, RIG_D, RIG_D},
                   (sae_mat){x, B, RIG_D, RIG_D}, scale);
    evaluate(&r->e, &s.model, s.opt, &s.stats.view, x, B, &u);
    sae_norm_undo(&s.norm, scale, (sae_mat){u.xhat, B, RIG_D, RIG_D});
    for (int64_t row = 0; row < B; row++) {
        const float *raw = r->s.now.raw + row * RIG_D;
        double want[RIG_D];
        lens_forward(&peer, raw, want);
        close_rows(t.xhat + row * RIG_D, want, raw, v->name);
        close_rows(u.xhat + row * RIG_D, want, raw, s.canonical);
    }
    lens_close(&peer);
    sae_tape_close(&t, &r->e);
    sae_tape_close(&u, &r->e);
    sae_loaded_close(&s, &r->e);
    sae_learner_close(&l);
}

/* Training state that SAELens' files leave out: such a variant is read back as another one. */
static int has_state(const sae_variant *v)
{
    int found = 0;
    for (const sae_tensor_spec *t = v->tensors; t->name; t++)
        found |= t->role == SAE_STATE &&
                 !(v->saelens->threshold && strcmp(t->name, v->saelens->threshold) == 0);
    return found;
}

START_TEST(saelens_reads_the_same)
{
    int tried = 0;
    for (int kind = 0; sae_norm_names[kind]; kind++) {
        rig r;
        rig_open(&r, 1, (enum sae_norm)kind, RIG_GIVES, B);
        for (const sae_variant *const *v = sae_all_variants(r.reg); *v; v++)
            if ((*v)->saelens) {
                tried++;
                check_lens(&r, *v, NULL, NULL, has_state(*v) ? NULL : (*v)->name);
            }
        rig_close(&r);
    }
    ck_assert_int_gt(tried, 0);
}
END_TEST

/* Options that change what the tensors mean, on the way out and back. */
START_TEST(saelens_follows_options)
{
    static const char *const cases[][4] = {
        {"jumprelu", "param", "log", "jumprelu"},
        {"jumprelu", "param", "log", "jumprelu:param=log"},
        {"jumprelu", "pre_bias", "0", "jumprelu"},
        {"jumprelu", "pre_bias", "0", "jumprelu:pre_bias=0"},
        {"jumprelu", "pre_bias", "1", "jumprelu:pre_bias=0"},
        {"relu", "shrink", "0.25", "relu"},
        {"relu", "shrink", "0", "relu:shrink=0.25"},
        {"relu", "decoder", "free", "relu"},
    };
    for (int kind = SAE_NORM_NONE; kind <= SAE_NORM_MEAN_SQ1; kind++) {
        rig r;
        rig_open(&r, 1, (enum sae_norm)kind, RIG_GIVES, B);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
            check_lens(&r, sae_find_variant(r.reg, cases[i][0]), cases[i][1], cases[i][2],
                       cases[i][3]);
        rig_close(&r);
    }
}
END_TEST

/* Without a variant's name the architecture decides, and k comes from cfg.json. */
START_TEST(architecture_chooses_the_variant)
{
    rig r;
    sae_learner l;
    sae_loaded s;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    train_and_export(&r, &l, sae_find_variant(r.reg, "topk"), NULL, NULL, in_dir("sae"));
    ck_assert_ok(sae_file_remove(in_dir("sae/saemark.safetensors"), &r.err), r.err);
    ck_assert_ok(sae_file_import(&s, in_dir("sae"), NULL, r.reg, &r.e, &r.err), r.err);
    ck_assert_str_eq(s.spec.name, "topk");
    char *k = sae_opts_get(s.spec.opts, "k");
    ck_assert_str_eq(k, "3");
    sae_free(k);
    ck_assert_int_eq(s.model.dim.n, N);
    ck_assert_double_eq(s.norm.scale, 1);
    sae_loaded_close(&s, &r.e);
    sae_learner_close(&l);
    rig_close(&r);
}
END_TEST

/* ---- a published SAE
 * ------------------------------------------------------------------------------------ */

/* Figures of the collection's SOURCE.md: L0 above 1e-6 and mean |x - xhat| over 8192 rows. */
START_TEST(published_figures)
{
    enum { ROWS = 8192, D = 32 };
    const char *path = test_data("routing-toy-sae/sae.f32.safetensors");
    const char *acts = path ? test_data("routing-toy-sae/acts_8192x32.f32") : NULL;
    rig r;
    sae_loaded s;
    sae_map m;
    sae_tape t;
    double err_sum = 0, sse = 0, var = 0, mean[D] = {0};
    int64_t active = 0;
    if (!acts)
        return;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    ck_assert_ok(sae_file_import(&s, path, "relu", r.reg, &r.e, &r.err), r.err);
    ck_assert_int_eq(s.model.dim.n, 64);
    ck_assert_int_eq(s.model.dim.d_in, D);
    ck_assert_ok(sae_map_open(&m, acts, &r.err), r.err);
    float *x = malloc(m.bytes);
    memcpy(x, m.p, m.bytes);
    evaluate(&r.e, &s.model, s.opt, &s.stats.view, x, ROWS, &t);
    for (int64_t i = 0; i < t.code.nnz; i++)
        active += t.code.val[i] > 1e-6F;
    for (int64_t i = 0; i < ROWS * D; i++)
        mean[i % D] += (double)x[i] / ROWS;
    for (int64_t row = 0; row < ROWS; row++) {
        double row_sse = 0;
        for (int64_t i = row * D; i < (row + 1) * D; i++) {
            double e = (double)x[i] - (double)t.xhat[i], c = (double)x[i] - mean[i % D];
            row_sse += e * e;
            var += c * c;
        }
        sse += row_sse;
        err_sum += sqrt(row_sse);
    }
    ck_assert_double_eq_tol((double)active / ROWS, 49.675293, 1e-6);
    ck_assert_double_eq_tol(err_sum / ROWS, 0.11762853, 1e-6);
    ck_assert_double_eq_tol(sse / var, 0.00059100005, 1e-8);
    free(x);
    sae_map_close(&m);
    sae_tape_close(&t, &r.e);
    sae_loaded_close(&s, &r.e);
    rig_close(&r);
}
END_TEST

/* ---- what is refused
 * ------------------------------------------------------------------------------------- */

static const float zeros[256];

/* A bare file of tensors given as name, rank, shape; `bad` is put into the first value of W_dec. */
typedef struct shape {
    const char *name;
    int rank;
    int64_t a, b;
} shape;

static void write_bare(const char *path, const shape *list, float bad)
{
    sae_err err = {0};
    sae_st_writer *w;
    ck_assert_ok(sae_st_writer_open(&w, path, &err), err);
    for (const shape *t = list; t->name; t++)
        ck_assert_ok(sae_st_writer_add(w, t->name, SAE_ST_F32, t->rank, &t->a, &err), err);
    ck_assert_ok(sae_st_writer_begin(w, &err), err);
    for (const shape *t = list; t->name; t++) {
        float buf[256] = {0};
        int64_t count = t->a * (t->rank > 1 ? t->b : 1);
        buf[0] = strcmp(t->name, "W_dec") == 0 ? bad : 0;
        ck_assert_ok(sae_st_writer_data(w, buf, (size_t)count * sizeof *buf, &err), err);
    }
    ck_assert_ok(sae_st_writer_commit(&w, &err), err);
}

static void refused(const char *path, const char *variant, int code, const char *says)
{
    rig r;
    sae_loaded s;
    sae_err err = {0};
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    size_t live = sae_alloc_live();
    ck_assert_int_eq(sae_file_import(&s, path, variant, r.reg, &r.e, &err), code);
    ck_assert_msg(strstr(err.msg, says) != NULL, "%s (expected %s)", err.msg, says);
    ck_assert_ptr_null(strchr(err.msg, '\n'));
    ck_assert_uint_eq(sae_alloc_live(), live);
    rig_close(&r);
}

START_TEST(broken_weights_are_one_clear_line)
{
    const char *path = in_dir("bare.safetensors");
    const shape good[] = {
        {"W_enc", 2, 6, 4}, {"b_enc", 1, 6, 0}, {"W_dec", 2, 6, 4}, {"b_dec", 1, 4, 0}, {0}};
    const shape mixed[] = {
        {"W_enc", 2, 6, 4}, {"b_enc", 1, 6, 0}, {"W_dec", 2, 5, 4}, {"b_dec", 1, 4, 0}, {0}};
    const shape no_bias[] = {{"W_enc", 2, 6, 4}, {"W_dec", 2, 6, 4}, {0}};
    const shape square[] = {{"W_enc", 2, 4, 4}, {"b_enc", 1, 4, 0}, {"W_dec", 2, 4, 4}, {0}};
    const shape no_enc[] = {{"b_enc", 1, 6, 0}, {"W_dec", 2, 6, 4}, {0}};
    write_bare(path, good, 0);
    refused(path, NULL, SAE_EINVAL, "name the variant");
    refused(path, "nothing", SAE_EINVAL, "nothing");
    refused(path, "batchtopk", SAE_EFORMAT, "theta");
    write_bare(path, good, NAN);
    refused(path, "relu", SAE_EFORMAT, "W_dec");
    write_bare(path, mixed, 0);
    refused(path, "relu", SAE_EFORMAT, "W_dec");
    write_bare(path, no_bias, 0);
    refused(path, "relu", SAE_EFORMAT, "cannot be told");
    write_bare(path, square, 0);
    refused(path, "relu", SAE_EFORMAT, "square");
    write_bare(path, no_enc, 0);
    refused(path, "relu", SAE_EFORMAT, "W_enc");
    ck_assert_ok(sae_file_write(path, zeros, 100, &(sae_err){0}), (sae_err){0});
    refused(path, "relu", SAE_EFORMAT, "bare.safetensors");
    refused(in_dir("absent"), "relu", SAE_EIO, "absent");
    refused(in_dir("."), "relu", SAE_EFORMAT, "cfg.json beside sae_weights.safetensors");
    ck_assert_ok(sae_file_write(path, "PK\3\4and more", 12, &(sae_err){0}), (sae_err){0});
    refused(path, "relu", SAE_EFORMAT, "torch.save");
}
END_TEST

/* Every cut of an exported file is refused, with the file's name. */
START_TEST(truncated_file)
{
    rig r;
    sae_learner l;
    sae_map m;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    train_and_export(&r, &l, sae_all_variants(r.reg)[0], NULL, NULL, in_dir("sae"));
    sae_learner_close(&l);
    rig_close(&r);
    ck_assert_ok(sae_map_open(&m, in_dir("sae/saemark.safetensors"), &r.err), r.err);
    char *copy = malloc(m.bytes);
    size_t bytes = m.bytes;
    memcpy(copy, m.p, bytes);
    sae_map_close(&m);
    for (size_t cut = 0; cut < bytes; cut += 1 + bytes / 13) {
        ck_assert_ok(sae_file_write(in_dir("sae/saemark.safetensors"), copy, cut, &r.err), r.err);
        refused(in_dir("sae"), NULL, SAE_EFORMAT, "saemark.safetensors");
    }
    free(copy);
}
END_TEST

START_TEST(cfg_versions_and_hazards)
{
    static const struct {
        const char *text, *says; /* says NULL: accepted */
    } cases[] = {
        {"{\"d_in\":4,\"d_sae\":8,\"architecture\":\"topk\",\"k\":3}", NULL},
        {"{\"d_in\":4,\"d_sae\":8,\"activation_fn_str\":\"topk\","
         "\"activation_fn_kwargs\":{\"k\":3}}",
         NULL},
        {"{\"d_in\":4,\"d_sae\":8}", NULL},
        {"{\"d_in\":4,\"d_sae\":8,\"normalize_activations\":null}", NULL},
        {"{\"d_in\":4,\"d_sae\":8,\"architecture\":\"topk\"}", "\"k\""},
        {"{\"d_in\":0,\"d_sae\":8}", "d_in"},
        {"{\"d_in\":4}", "d_sae"},
        {"{\"d_in\":4.5,\"d_sae\":8}", "4.5"},
        {"{\"d_in\":4,\"d_in\":5,\"d_sae\":8}", "duplicate"},
        {"{\"d_in\":4,\"d_sae\":8,\"normalize_activations\":\"batch_norm\"}", "batch_norm"},
        {"{\"d_in\":4,\"d_sae\":8,\"normalize_activations\":\"layer_norm\"}", NULL},
        {"{\"d_in\":4,\"d_sae\":8,\"normalize_activations\":true}", "fold"},
        {"{\"d_in\":4,\"d_sae\":8,\"activation_fn\":\"tanh-relu\"}", "tanh-relu"},
        {"{\"d_in\":4,\"d_sae\":8,\"finetuning_scaling_factor\":true}", "finetuning"},
        {"{\"d_in\":4,\"d_sae\":8,\"apply_b_dec_to_input\":1}", "apply_b_dec_to_input"},
        {"{\"d_in\":4,\"d_sae\":8,\"architecture\":\"\"}", "architecture"},
        {"[]", "object"},
        {"{", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sae_cfg c;
        sae_err err = {0};
        int rc = sae_cfg_parse(cases[i].text, strlen(cases[i].text), sae_list_variants, &c, &err);
        ck_assert_msg((rc == SAE_OK) == !cases[i].says, "%s: %s", cases[i].text, err.msg);
        if (cases[i].says)
            ck_assert_msg(rc == SAE_EFORMAT && strstr(err.msg, cases[i].says), "%s: %s",
                          cases[i].text, err.msg);
        else
            ck_assert_str_eq(c.architecture, i < 2 ? "topk" : "standard");
    }
}
END_TEST

/* Both places where a file says what it was trained on. */
START_TEST(cfg_hook)
{
    static const char *const texts[] = {
        "{\"d_in\":4,\"d_sae\":8,\"metadata\":{\"hook_name\":\"blocks.3.hook_mlp_out\"}}",
        "{\"d_in\":4,\"d_sae\":8,\"hook_name\":\"blocks.3.hook_mlp_out\"}",
        "{\"d_in\":4,\"d_sae\":8,\"metadata\":{},\"hook_name\":7}"};
    for (int i = 0; i < 3; i++) {
        sae_cfg c;
        sae_err err = {0};
        ck_assert_ok(sae_cfg_parse(texts[i], strlen(texts[i]), sae_list_variants, &c, &err), err);
        ck_assert_str_eq(c.hook, i < 2 ? "blocks.3.hook_mlp_out" : "");
    }
}
END_TEST

/* apply_b_dec_to_input = false and rescale_acts_by_decoder_norm = true are rewritten into our
 * convention: d = 1, two features, by hand. */
START_TEST(conventions_are_rewritten)
{
    static const struct {
        const char *extra;
        double b_enc, W_enc, W_dec;
    } cases[] = {{"", 0.5, 2, 4},
                 {",\"apply_b_dec_to_input\":false", 0.5 + 2 * 3, 2, 4},
                 {",\"rescale_acts_by_decoder_norm\":true", 0.5 * 4, 2 * 4, 1}};
    const shape list[] = {
        {"W_enc", 2, 1, 2}, {"b_enc", 1, 2, 0}, {"W_dec", 2, 2, 1}, {"b_dec", 1, 1, 0}, {0}};
    const float values[] = {2, 2, 0.5F, 0.5F, 4, 4, 3};
    rig r;
    rig_open(&r, 1, SAE_NORM_NONE, RIG_GIVES, B);
    ck_assert_ok(sae_dir_make(in_dir("peer"), &r.err), r.err);
    for (int i = 0; i < 3; i++) {
        char cfg[256];
        sae_st_writer *w;
        sae_loaded s;
        int len = snprintf(cfg, sizeof cfg,
                           "{\"d_in\":1,\"d_sae\":2,\"architecture\":\"topk\","
                           "\"k\":1%s}",
                           cases[i].extra);
        ck_assert_ok(sae_file_write(in_dir("peer/cfg.json"), cfg, (size_t)len, &r.err), r.err);
        ck_assert_ok(sae_st_writer_open(&w, in_dir("peer/sae_weights.safetensors"), &r.err), r.err);
        for (const shape *t = list; t->name; t++)
            ck_assert_ok(sae_st_writer_add(w, t->name, SAE_ST_F32, t->rank, &t->a, &r.err), r.err);
        ck_assert_ok(sae_st_writer_begin(w, &r.err), r.err);
        ck_assert_ok(sae_st_writer_data(w, values, sizeof values, &r.err), r.err);
        ck_assert_ok(sae_st_writer_commit(&w, &r.err), r.err);
        ck_assert_ok(sae_file_import(&s, in_dir("peer"), NULL, r.reg, &r.e, &r.err), r.err);
        ck_assert_double_eq((double)((float *)sae_model_tensor(&s.model, "b_enc")->w)[1],
                            cases[i].b_enc);
        ck_assert_double_eq((double)((float *)sae_model_tensor(&s.model, "W_enc")->w)[1],
                            cases[i].W_enc);
        ck_assert_double_eq((double)((float *)sae_model_tensor(&s.model, "W_dec")->w)[1],
                            cases[i].W_dec);
        ck_assert_double_eq((double)((float *)sae_model_tensor(&s.model, "b_dec")->w)[0], 3);
        sae_loaded_close(&s, &r.e);
    }
    rig_close(&r);
}
END_TEST

Suite *suite_sae_file(void)
{
    Suite *s = suite_create("sae_file");
    TCase *t = tcase_create("sae_file");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, exact_round_trip);
    tcase_add_test(t, saelens_reads_the_same);
    tcase_add_test(t, saelens_follows_options);
    tcase_add_test(t, architecture_chooses_the_variant);
    tcase_add_test(t, published_figures);
    tcase_add_test(t, broken_weights_are_one_clear_line);
    tcase_add_test(t, truncated_file);
    tcase_add_test(t, cfg_versions_and_hazards);
    tcase_add_test(t, cfg_hook);
    tcase_add_test(t, conventions_are_rewritten);
    suite_add_tcase(s, t);
    return s;
}
