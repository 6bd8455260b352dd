/* tests/eval/rig.h - what tests of the evaluation runner share: rows from memory as a dataset,
 * probe variants, and a recorder of everything the runner reports. */
#ifndef SAE_TESTS_EVAL_RIG_H
#define SAE_TESTS_EVAL_RIG_H

#include "core/log.h"
#include "core/memory.h"
#include "eval/probes.h"
#include "eval/runner.h"
#include "support/support.h"
#include "train/sae_file.h"

#include <math.h>
#include <sae/groups.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- a dataset over rows in memory ----------------------------------------------------------- */

struct sae_source {
    int64_t rows, d;
    const float *x;
    const float *g;          /* with SAE_GIVES_GRAD */
    const float *y;          /* [rows x d_out] with SAE_GIVES_TARGET */
    int64_t d_out;
    const sae_token *tok;    /* NULL: no documents */
    sae_truth truth;         /* with SAE_GIVES_TRUTH; code dense over all rows */
    sae_code window;
    sae_lm_view view;        /* with SAE_GIVES_LM */
};

static inline int64_t rig_rows(const sae_source *s, enum sae_split split)
{
    (void)split;
    return s->rows;
}

static inline int rig_fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B,
                           const sae_fill *out, sae_err *err)
{
    (void)split, (void)err;
    size_t bytes = (size_t)(B * s->d) * sizeof(float);
    ck_assert_int_le((int64_t)row0 + B, s->rows);
    memcpy(out->x, s->x + (int64_t)row0 * s->d, bytes);
    if (out->y && s->y)
        memcpy(out->y, s->y + (int64_t)row0 * s->d_out,
               (size_t)(B * s->d_out) * sizeof *out->y);
    if (out->g && s->g)
        memcpy(out->g, s->g + (int64_t)row0 * s->d, bytes);
    if (out->tok && s->tok)
        memcpy(out->tok, s->tok + row0, (size_t)B * sizeof *s->tok);
    return SAE_OK;
}

static inline int rig_truth(sae_source *s, enum sae_split split, uint64_t row0, int64_t B,
                            sae_truth *t, sae_err *err)
{
    (void)split, (void)err;
    *t = s->truth;
    s->window = *s->truth.code;
    s->window.B = B;
    s->window.nnz = B * s->window.n;
    s->window.val += (int64_t)row0 * s->window.n;
    t->code = &s->window;
    return SAE_OK;
}

static inline int rig_lm(const sae_source *s, sae_lm_view *out)
{
    *out = s->view;
    return SAE_OK;
}

/* ---- the rig --------------------------------------------------------------------------------- */

enum { RIG_SUBJECTS = 4, RIG_RESULTS = 512, RIG_POINTS = 8192 };

typedef struct rig_result {
    int subject, peer; /* peer: -1 unless of a pair */
    char key[64];
    double value, se;
    double spread; /* standard error as the deviations say */
    int64_t count;
} rig_result;

typedef struct rig {
    sae_registry *reg;
    sae_engine e;
    sae_err err;
    sae_dataset ds;
    sae_source src;
    sae_stream stream;
    double mean[256];
    sae_norm_const norm[RIG_SUBJECTS], target;
    sae_variant variant[RIG_SUBJECTS];
    sae_model model[RIG_SUBJECTS];
    sae_subject subject[RIG_SUBJECTS];
    int64_t subjects;
    sae_spec spec[8], *metric[8];
    int64_t metrics;
    int results, points;
    rig_result result[RIG_RESULTS];
    struct {
        int subject;
        char key[64];
        int64_t index;
        double value;
    } point[RIG_POINTS];
} rig;

static inline int rig_has(const char *backend)
{
    sae_registry *reg;
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    int found = sae_find_backend(reg, backend) != NULL;
    sae_registry_close(&reg);
    return found;
}

static inline void rig_open(rig *g, const float *x, int64_t rows, int64_t d, const char *backend)
{
    memset(g, 0, sizeof *g);
    ck_assert_ok(sae_registry_open(&g->reg, &g->err), g->err);
    ck_assert_ok(sae_engine_open(&g->e, sae_find_backend(g->reg, backend), 0, 1, &g->err), g->err);
    g->ds = (sae_dataset){.name = "memory", .rows = rig_rows, .fill = rig_fill,
                          .truth = rig_truth, .lm = rig_lm};
    g->src = (sae_source){.rows = rows, .d = d, .x = x};
    ck_assert_int_le(d, 256);
    g->stream = (sae_stream){.ds = &g->ds, .src = &g->src, .dim = {d, d, 0, 0}, .e = &g->e,
                             .norm = {.scale = 1, .rows = 1, .mean = g->mean}, .B = 64};
}

static inline void rig_close(rig *g)
{
    for (int64_t i = 0; i < g->subjects; i++)
        if (g->model[i].nt)
            sae_model_close(&g->model[i], &g->e);
    for (int64_t i = 0; i < g->metrics; i++)
        sae_spec_free(&g->spec[i]);
    sae_engine_close(&g->e);
    sae_registry_close(&g->reg);
}

static inline void rig_metric(rig *g, const char *spec)
{
    sae_spec *s = &g->spec[g->metrics];
    ck_assert_ok(sae_spec_parse(s, g->reg, SAE_KIND_METRIC, spec, &g->err), g->err);
    g->metric[g->metrics++] = s;
}

/* A subject of the given forward function with two features. */
static inline void rig_probe(rig *g, const char *name,
                             int (*forward)(const sae_model *, const sae_ctx *, const sae_batch *,
                                            sae_tape *),
                             uint64_t (*needs)(const void *, enum sae_mode), sae_norm_const norm)
{
    int64_t i = g->subjects++;
    sae_variant v = {.abi = SAE_VARIANT_ABI, .size = sizeof v, .name = name, .summary = "probe",
                     .source = "test", .opt_size = 1, .options = no_options,
                     .tensors = probe_tensor, .losses = probe_loss, .workspace = probe_size,
                     .init = probe_start, .forward = forward, .decode = probe_decode,
                     .needs = needs};
    sae_dims dim = {g->src.d, needs == target_needs ? g->src.d_out : g->src.d, 2, 2};
    ck_assert_ok(sae_admit_variant(&v, &g->variant[i], &g->err), g->err);
    ck_assert_ok(sae_model_open(&g->model[i], &g->variant[i], "", &dim, &g->e, 0, &g->err), g->err);
    g->norm[i] = norm;
    g->subject[i] = (sae_subject){.model = &g->model[i], .norm = &g->norm[i],
                                      .target = &g->target, .spec = name};
}

static inline int rig_row(void *arg, const sae_result *r)
{
    rig *g = arg;
    ck_assert_int_lt(g->results, RIG_RESULTS);
    rig_result *o = &g->result[g->results++];
    o->subject = (int)(r->subject - g->subject);
    o->peer = r->peer ? (int)(r->peer - g->subject) : -1;
    snprintf(o->key, sizeof o->key, "%s", r->metric);
    o->value = r->row->value;
    o->se = r->row->se;
    o->count = r->row->count;
    return SAE_OK;
}

static inline int rig_deviations(void *arg, const sae_result_deviations *d)
{
    rig *g = arg;
    ck_assert_str_eq(g->result[g->results - 1].key, d->metric); /* those of the row before */
    double sum = 0;
    int m = 0;
    for (int i = 0; i < SAE_GROUPS; i++)
        if (!isnan(d->deviation[i])) {
            sum += d->deviation[i] * d->deviation[i];
            m++;
        }
    g->result[g->results - 1].spread = m > 1 ? sqrt((m - 1.0) / m * sum) : (double)NAN;
    return SAE_OK;
}

static inline int rig_point(void *arg, const sae_result_point *p)
{
    rig *g = arg;
    ck_assert_int_lt(g->points, RIG_POINTS);
    g->point[g->points].subject = (int)(p->subject - g->subject);
    snprintf(g->point[g->points].key, 64, "%s.%s", p->metric, p->point->key);
    g->point[g->points].index = p->point->index;
    g->point[g->points++].value = p->point->value;
    return SAE_OK;
}

static inline int rig_run(rig *g, int64_t rows)
{
    g->results = g->points = 0;
    memset(g->result, 0, sizeof g->result);
    memset(g->point, 0, sizeof g->point);
    memset(&g->err, 0, sizeof g->err);
    sae_evaluation ev = {.stream = &g->stream, .e = &g->e, .subject = g->subject,
                         .count = g->subjects, .metric = g->metric, .metrics = g->metrics,
                         .rows = rows, .on_row = rig_row, .on_point = rig_point,
                         .on_deviations = rig_deviations, .arg = g};
    return sae_evaluate(&ev, &g->err);
}

/* The lines of progress of an evaluation of all rows. */
static inline void rig_lines(rig *g, char *out, size_t room)
{
    int fd[2];
    ck_assert_int_eq(pipe(fd), 0);
    sae_progress_to(fd[1]);
    ck_assert_ok(rig_run(g, 0), g->err);
    sae_progress_to(-1);
    close(fd[1]);
    ssize_t n = read(fd[0], out, room - 1);
    ck_assert_int_ge(n, 0);
    out[n] = '\0';
    close(fd[0]);
}

/* Every allocation that the suite makes in the evaluation fails once: an error with a message, and
 * everything is given back. */
static inline void rig_fail_each(rig *g, int64_t rows)
{
    size_t live = sae_alloc_live();
    uint64_t calls = sae_alloc_calls();
    ck_assert_ok(rig_run(g, rows), g->err);
    calls = sae_alloc_calls() - calls;
    for (uint64_t i = 1; i <= calls; i++) {
        sae_alloc_fail_at(i);
        int rc = rig_run(g, rows);
        sae_alloc_fail_at(0);
        ck_assert_int_eq(rc, SAE_ENOMEM);
        ck_assert(g->err.code == rc && g->err.msg[0]);
        ck_assert_uint_eq(sae_alloc_live(), live);
    }
}

static inline const rig_result *rig_find(const rig *g, int subject, const char *key)
{
    for (int i = 0; i < g->results; i++)
        if (g->result[i].subject == subject && !strcmp(g->result[i].key, key))
            return &g->result[i];
    ck_abort_msg("subject %d has no %s", subject, key);
    return NULL;
}
static inline double rig_value(const rig *g, int subject, const char *key)
{
    return rig_find(g, subject, key)->value;
}

#endif
