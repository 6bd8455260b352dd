/* suite/run/record.c - the CSV files of a run, wave by wave, and their union.
 *
 * A wave's files are complete or absent, so a resumed run redoes a wave's measurement or skips it.
 */
#include "run/session.h"

#include "core/error.h"
#include "core/hash.h"
#include "core/memory.h"
#include "eval/runner.h"
#include "report/data.h"
#include "run/deviations.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { KIND_SAES, KIND_LOSS, KIND_METRICS, KIND_FEATURES, KIND_PAIRS, KINDS };

const char *const sae_record_kinds[] = {"saes", "loss", "metrics", "features", "pairs", NULL};
const char *const sae_record_headers[] = {
    "spec,label,id,variant,seed,d,n,parameters,steps,tokens,lr",
    "spec,variant,seed,step,tokens,lr,grad_norm,total,loss,value",
    SAE_METRICS_COLUMNS ",better,reason",
    "spec,variant,seed,metric,series,index,value,peer,peer_seed",
    SAE_METRICS_COLUMNS ",peer,peer_variant,peer_seed,reason",
    NULL,
};

static int no_memory(const char *kind, sae_err *err)
{
    SAE_FAIL(err, SAE_ENOMEM, "out of memory for the name of %s.csv", kind);
}

char *sae_record_path(const sae_session *s, int64_t wave, const char *kind)
{
    return sae_strfmt("%s/wave-%04lld.%s.csv", s->state, (long long)wave, kind);
}

/* ---- loss ------------------------------------------------------------------------------------ */

/* A killed process may leave half a line at the end: cut it off. No field holds a line break. */
static int drop_torn_line(const char *path, sae_err *err)
{
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    size_t keep = m.bytes;
    while (keep > 0 && m.p[keep - 1] != '\n')
        keep--;
    int torn = keep < m.bytes;
    sae_map_close(&m);
    if (torn && truncate(path, (off_t)keep))
        SAE_FAIL(err, SAE_EIO, "%s: cannot cut off its torn last line: %s", path, strerror(errno));
    return SAE_OK;
}

int sae_record_loss_open(sae_session *s, int64_t wave, int64_t step, sae_csv **c, sae_err *err)
{
    char *path = sae_record_path(s, wave, "loss");
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a path");
    int64_t keep = 0;
    int rc = SAE_OK;
    if (step > 0 && sae_file_exists(path)) {
        sae_table t;
        rc = drop_torn_line(path, err);
        if (rc >= 0)
            rc = sae_table_open(&t, path, err);
        if (rc >= 0) {
            while (keep < t.rows && sae_table_real(&t, keep, "step") <= (double)step)
                keep++;
            sae_table_close(&t);
        }
    }
    if (rc >= 0)
        rc = sae_csv_append(c, path, sae_record_headers[KIND_LOSS], keep, err);
    sae_free(path);
    return rc;
}

static void put_identity(sae_csv *c, const char *spec, const char *variant, uint64_t seed)
{
    sae_csv_text(c, spec);
    sae_csv_text(c, variant);
    sae_csv_int(c, (int64_t)seed);
}

void sae_record_loss(sae_csv *c, const sae_learner *l, double lr)
{
    const char *const *name = l->model.v->losses;
    for (int i = 0; name[i]; i++) {
        put_identity(c, l->canonical, l->model.v->name, l->seed);
        sae_csv_int(c, l->step);
        sae_csv_int(c, l->step * l->cfg.B);
        sae_csv_real(c, lr);
        sae_csv_real(c, l->grad_norm);
        sae_csv_real(c, l->total);
        sae_csv_text(c, name[i]);
        sae_csv_real(c, l->loss[i]);
        sae_csv_end_row(c);
    }
}

/* ---- measurement ----------------------------------------------------------------------------- */

typedef struct sink {
    sae_session *s;
    sae_csv *metrics, *features, *pairs;
    sae_deviations deviations;
    sae_learner *const *learner;
    const sae_subject *subject;
    sae_err *err; /* of the caller; the rows' callbacks have none */
} sink;

/* Everything a measured value takes from one SAE; caller frees. */
static char *inputs_of(const sink *k, const sae_subject *subject)
{
    const sae_learner *l = k->learner[subject - k->subject];
    const sae_train_config *c = &l->cfg;
    return sae_strfmt("%s|%llu|%lld|%lld|%.17g|%.17g|%.17g|%.17g|%.17g|%.17g|%.17g|%lld",
                      l->canonical, (unsigned long long)l->seed, (long long)c->steps,
                      (long long)c->B, c->lr, c->beta1, c->beta2, c->eps, c->clip_norm,
                      c->weight_decay, c->decay, (long long)c->warmup);
}

/* Everything a row's value depends on, as 16 hexadecimal digits. */
static int input_hash(const sink *k, const sae_result *r, char out[17], sae_err *err)
{
    sae_session *s = k->s;
    char *own = inputs_of(k, r->subject), *peer = r->peer ? inputs_of(k, r->peer) : NULL;
    char *text = !own || (r->peer && !peer)
                     ? NULL
                     : sae_strfmt("%s|%s|%s|%s|%lld|%s%s%s", own, s->plan->norm, s->train.hash,
                                  sae_session_eval_stream(s)->hash, (long long)s->plan->eval_rows,
                                  r->metric, peer ? "|" : "", peer ? peer : "");
    if (text)
        sae_spec_id(text, out);
    sae_free(own);
    sae_free(peer);
    sae_free(text);
    if (!text)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory hashing the inputs of %s", r->metric);
    return SAE_OK;
}

static int on_row(void *arg, const sae_result *r)
{
    static const char *const better[] = {[SAE_HIGHER] = "higher",
                                         [SAE_LOWER] = "lower",
                                         [SAE_TARGET_ZERO] = "zero",
                                         [SAE_INFO] = "",
                                         [SAE_TARGET_ONE] = "one"};
    sink *k = arg;
    const sae_subject *peer = r->peer;
    uint64_t needs = r->subject->model->v->needs(r->subject->model->opt, SAE_EVAL);
    char hash[17];
    SAE_TRY(input_hash(k, r, hash, k->err));
    sae_csv *c = peer ? k->pairs : k->metrics;
    put_identity(c, r->subject->spec, r->subject->model->v->name, r->subject->seed);
    sae_csv_text(c, k->s->eval_text ? k->s->eval_text : k->s->train_text);
    sae_csv_text(c, needs & SAE_NEED_TARGET ? k->s->target_hook : k->s->hook);
    sae_csv_text(c, r->metric);
    sae_csv_real(c, r->row->value);
    sae_csv_real(c, r->row->se);
    sae_csv_int(c, r->row->count);
    sae_csv_text(c, r->row->unit);
    sae_csv_text(c, hash);
    if (peer)
        put_identity(c, peer->spec, peer->model->v->name, peer->seed);
    else
        sae_csv_text(c, better[r->row->better]);
    sae_csv_text(c, r->reason);
    sae_csv_end_row(c);
    return peer ? SAE_OK : sae_deviations_next(&k->deviations, k->err);
}

static int on_deviations(void *arg, const sae_result_deviations *d)
{
    sink *k = arg;
    if (!d->peer)
        sae_deviations_set(&k->deviations, d->deviation);
    return SAE_OK;
}

static int on_point(void *arg, const sae_result_point *p)
{
    sink *k = arg;
    sae_csv *c = k->features;
    put_identity(c, p->subject->spec, p->subject->model->v->name, p->subject->seed);
    sae_csv_text(c, p->metric);
    sae_csv_text(c, p->point->key);
    sae_csv_int(c, p->point->index);
    sae_csv_real(c, p->point->value);
    sae_csv_text(c, p->peer ? p->peer->spec : NULL);
    if (p->peer)
        sae_csv_int(c, (int64_t)p->peer->seed);
    else
        sae_csv_text(c, NULL);
    sae_csv_end_row(c);
    return SAE_OK;
}

static int measure(sink *k, int64_t count, sae_err *err)
{
    sae_session *s = k->s;
    sae_subject *subject = NULL;
    SAE_TRY(sae_new(&subject, count, sizeof *subject, "run.subjects", err));
    for (int64_t i = 0; i < count; i++) {
        const sae_learner *l = k->learner[i];
        subject[i] = (sae_subject){.model = &l->model,
                                   .opt = l->opt_now,
                                   .stats = &l->stats.view,
                                   .norm = &s->train.norm,
                                   .target = &s->train.target,
                                   .spec = l->canonical,
                                   .seed = l->seed};
    }
    k->subject = subject;
    sae_evaluation ev = {.stream = sae_session_eval_stream(s),
                         .e = s->e,
                         .reg = s->reg,
                         .subject = subject,
                         .count = count,
                         .metric = s->metric_at,
                         .metrics = s->metrics,
                         .rows = s->plan->eval_rows,
                         .on_row = on_row,
                         .on_point = on_point,
                         .on_deviations = on_deviations,
                         .arg = k};
    int rc = sae_evaluate(&ev, err);
    sae_free(subject);
    return rc;
}

static int open_kind(sae_csv **c, const sae_session *s, int64_t wave, int kind, sae_err *err)
{
    char *path = sae_record_path(s, wave, sae_record_kinds[kind]);
    int rc = path ? sae_csv_open(c, path, sae_record_headers[kind], err)
                  : no_memory(sae_record_kinds[kind], err);
    sae_free(path);
    return rc;
}

static int64_t parameters(const sae_model *m)
{
    int64_t sum = 0;
    for (int i = 0; i < m->nt; i++)
        if (m->t[i].spec->role == SAE_PARAM)
            sum += m->t[i].rows * m->t[i].cols;
    return sum;
}

/* The plan's own words name a SAE best: its spec as written, alternatives expanded. */
static const char *label_of(const sae_session *s, int64_t wave, int64_t i)
{
    int64_t first = 0;
    while (s->grid.job[first].wave != wave)
        first++;
    return s->grid.job[first + i].spec;
}

static int record_saes(sae_session *s, int64_t wave, sae_learner *const *l, int64_t count,
                       sae_err *err)
{
    sae_csv *c = NULL;
    SAE_TRY(open_kind(&c, s, wave, KIND_SAES, err));
    for (int64_t i = 0; i < count; i++) {
        sae_csv_text(c, l[i]->canonical);
        sae_csv_text(c, label_of(s, wave, i));
        sae_csv_text(c, l[i]->id);
        sae_csv_text(c, l[i]->model.v->name);
        sae_csv_int(c, (int64_t)l[i]->seed);
        sae_csv_int(c, l[i]->model.dim.d_in);
        sae_csv_int(c, l[i]->model.dim.n);
        sae_csv_int(c, parameters(&l[i]->model));
        sae_csv_int(c, l[i]->step);
        sae_csv_int(c, l[i]->step * l[i]->cfg.B);
        sae_csv_real(c, l[i]->cfg.lr);
        sae_csv_end_row(c);
    }
    return sae_csv_close(&c, err);
}

/* The path of a wave's deviations: STATE/wave-0003.deviations; caller frees. */
static char *deviations_path(const sae_session *s, int64_t wave)
{
    return sae_strfmt("%s/wave-%04lld.deviations", s->state, (long long)wave);
}

int sae_record_wave(sae_session *s, int64_t wave, sae_learner *const *l, int64_t count,
                    sae_err *err)
{
    sink k = {.s = s, .learner = l, .err = err};
    char *path = deviations_path(s, wave);
    int rc = path ? SAE_OK : no_memory("deviations", err);
    if (rc < 0)
        goto fail;
    SAE_GOTO(sae_deviations_open(&k.deviations, path, err));
    SAE_GOTO(open_kind(&k.metrics, s, wave, KIND_METRICS, err));
    SAE_GOTO(open_kind(&k.features, s, wave, KIND_FEATURES, err));
    SAE_GOTO(open_kind(&k.pairs, s, wave, KIND_PAIRS, err));
    SAE_GOTO(measure(&k, count, err));
    SAE_GOTO(record_saes(s, wave, l, count, err));
    SAE_GOTO(sae_csv_close(&k.features, err));
    SAE_GOTO(sae_csv_close(&k.pairs, err));
    SAE_GOTO(sae_deviations_commit(&k.deviations, err));
    rc = sae_csv_close(&k.metrics, err); /* last: its presence says that the wave is done */
fail:
    sae_csv_abandon(&k.metrics);
    sae_csv_abandon(&k.features);
    sae_csv_abandon(&k.pairs);
    sae_deviations_abandon(&k.deviations);
    sae_free(path);
    return rc;
}

int sae_record_done(const sae_session *s, int64_t wave)
{
    char *path = sae_record_path(s, wave, "metrics");
    int there = path && sae_file_exists(path);
    sae_free(path);
    return there;
}

/* ---- union ----------------------------------------------------------------------------------- */

static int append_file(sae_out *out, const char *path, size_t skip_lines, sae_err *err)
{
    sae_map m;
    SAE_TRY(sae_map_open(&m, path, err));
    size_t at = 0;
    for (; skip_lines > 0 && at < m.bytes; at++)
        skip_lines -= m.p[at] == '\n';
    int rc = sae_out_write(out, m.p + at, m.bytes - at, err);
    sae_map_close(&m);
    return rc;
}

static int join_kind(const sae_session *s, int kind, sae_err *err)
{
    sae_out out = {0};
    char *path = sae_strfmt("%s/%s.csv", s->dir, sae_record_kinds[kind]);
    int rc = path ? sae_out_open(&out, path, err) : no_memory(sae_record_kinds[kind], err);
    sae_free(path);
    SAE_TRY(rc);
    for (int64_t w = 0; w < s->grid.waves; w++) {
        path = sae_record_path(s, w, sae_record_kinds[kind]);
        rc = path ? append_file(&out, path, w > 0, err) : no_memory(sae_record_kinds[kind], err);
        sae_free(path);
        if (rc < 0)
            goto fail;
    }
    rc = sae_out_commit(&out, err);
fail:
    sae_out_abandon(&out);
    return rc;
}

/* Rows of all waves' deviations. */
static int deviation_rows(const sae_session *s, int64_t *rows, sae_err *err)
{
    int64_t bytes = 0;
    for (int64_t w = 0; w < s->grid.waves; w++) {
        char *path = deviations_path(s, w);
        if (!path)
            return no_memory("deviations", err);
        int64_t size = sae_file_size(path);
        if (size < 0)
            SAE_SET(err, SAE_EIO, "%s: missing", path);
        sae_free(path);
        if (size < 0)
            return SAE_EIO;
        bytes += size;
    }
    *rows = bytes / (int64_t)(SAE_GROUPS * sizeof(float));
    return SAE_OK;
}

static int join_deviations(const sae_session *s, sae_err *err)
{
    sae_out out = {0};
    int64_t rows = 0;
    SAE_TRY(deviation_rows(s, &rows, err));
    char *path = sae_strfmt("%s/deviations.npy", s->dir);
    int rc = path ? sae_out_open(&out, path, err) : no_memory("deviations", err);
    sae_free(path);
    SAE_TRY(rc);
    SAE_GOTO(sae_deviations_header(&out, rows, err));
    for (int64_t w = 0; w < s->grid.waves; w++) {
        path = deviations_path(s, w);
        rc = path ? append_file(&out, path, 0, err) : no_memory("deviations", err);
        sae_free(path);
        if (rc < 0)
            goto fail;
    }
    rc = sae_out_commit(&out, err);
fail:
    sae_out_abandon(&out);
    return rc;
}

int sae_record_join(const sae_session *s, sae_err *err)
{
    for (int kind = 0; kind < KINDS; kind++)
        SAE_TRY(join_kind(s, kind, err));
    return join_deviations(s, err);
}
