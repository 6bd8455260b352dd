/* suite/eval/runner.c - measure many SAEs in one pass over the evaluation split. */
#include "eval/runner.h"

#include "core/arena.h"
#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "eval/cell.h"
#include "eval/splice.h"
#include "eval/effort.h"

#include <math.h>
#include <string.h>

enum { DEFAULT_ROWS = 65536 };
enum { OF_A_MODEL = SAE_MNEED_LM | SAE_MNEED_ZERO_ALL | SAE_MNEED_INSERT };

typedef struct runner {
    const sae_evaluation *ev;
    sae_err *err;
    int target;                  /* the SAEs of this pass reconstruct a separate target */
    const sae_subject **subject; /* [count] */
    int64_t count;
    int64_t d_in, d;   /* widths of what they read and of what they reconstruct */
    int64_t B, rows;   /* most rows of a batch, rows to measure */
    uint32_t needs;    /* union of SAE_MNEED_* that the metrics that run need or want and get */
    sae_spec **metric; /* [metrics] that run */
    int64_t metrics;
    sae_lane *lane;         /* [count] */
    sae_cell *cell;         /* [cells] those of a lane stand together, pairs after all of them */
    int64_t cells, singles; /* singles: of one SAE, the same number for each */
    sae_real *x, *y, *g;    /* [B x d_in]; [B x d], x itself without targets; [B x d_in] */
    sae_token *tok;         /* [B] */
    int32_t *label;         /* [B x labels] or NULL */
    const sae_label *labels_of;
    int64_t labels;
    sae_arena memory; /* of x, y, g, tok, label */
    sae_truth truth;
    sae_lm_view lm;
    sae_splicer splice;
    sae_effort effort;
    int64_t reach; /* rows of the pass before: a further one is likely to end there, too */
} runner;

sae_subject sae_subject_of(const sae_loaded *s)
{
    return (sae_subject){.model = &s->model,
                         .opt = s->opt,
                         .stats = s->stats.view.tokens ? &s->stats.view : NULL,
                         .norm = &s->norm,
                         .target = &s->target,
                         .spec = s->canonical,
                         .seed = s->seed};
}

/* ---- what the dataset can give --------------------------------------------------------------- */

static uint32_t supplied(const runner *q)
{
    const sae_dataset *ds = q->ev->stream->ds;
    uint64_t gives = sae_source_gives(ds, q->ev->stream->src);
    uint32_t have = SAE_MNEED_CODE | SAE_MNEED_XHAT | SAE_MNEED_PEER;
    have |= gives & SAE_GIVES_LM && ds->lm ? OF_A_MODEL : 0u;
    have |= gives & SAE_GIVES_LABELS && ds->labels ? SAE_MNEED_LABELS : 0u;
    if (q->target) /* the truth and the gradients of a source are those of x */
        return have;
    have |= gives & SAE_GIVES_TRUTH && ds->truth ? SAE_MNEED_TRUTH : 0u;
    have |= gives & SAE_GIVES_GRAD ? SAE_MNEED_GRAD : 0u;
    return have;
}

/* Passes over a language model give no truth: a metric that needs to splice decides against the
 * truth, one that needs the truth against those that only want to splice. */
static uint32_t usable(const runner *q)
{
    const sae_evaluation *ev = q->ev;
    uint32_t have = supplied(q), needs = 0;
    for (int64_t i = 0; i < ev->metrics; i++)
        needs |= ev->metric[i]->metric->needs;
    if (needs & have & OF_A_MODEL)
        have &= ~(uint32_t)SAE_MNEED_TRUTH;
    else if (needs & have & SAE_MNEED_TRUTH)
        have &= ~(uint32_t)OF_A_MODEL;
    return have;
}

/* Keep the metrics whose needs are met. */
static int choose_metrics(runner *q)
{
    const sae_evaluation *ev = q->ev;
    uint32_t have = usable(q);
    SAE_TRY(sae_new(&q->metric, ev->metrics, sizeof *q->metric, "metrics", q->err));
    for (int64_t i = 0; i < ev->metrics; i++) {
        uint32_t missing = ev->metric[i]->metric->needs & ~have;
        if (missing) {
            sae_log(SAE_LOG_INFO, "eval", "metric %s skipped: dataset %s gives no %s",
                    ev->metric[i]->name, ev->stream->ds->name,
                    missing & OF_A_MODEL        ? "language model"
                    : missing & SAE_MNEED_TRUTH ? "ground truth"
                    : missing & SAE_MNEED_GRAD  ? "gradients"
                                                : "labels");
            continue;
        }
        q->needs |=
            sae_metric_reads(ev->metric[i]->metric, sae_opts_base(ev->metric[i]->opts)) & have;
        q->metric[q->metrics++] = ev->metric[i];
    }
    return SAE_OK;
}

static int count_rows(runner *q)
{
    const sae_evaluation *ev = q->ev;
    int64_t all = ev->stream->ds->rows(ev->stream->src, SAE_SPLIT_EVAL);
    q->rows = ev->rows > 0 ? ev->rows : all >= 0 ? all : DEFAULT_ROWS;
    if (all >= 0 && q->rows > all) {
        sae_log(SAE_LOG_WARN, "eval", "%lld rows asked for, the evaluation split has %lld",
                (long long)q->rows, (long long)all);
        q->rows = all;
    }
    if (q->rows == 0)
        SAE_FAIL(q->err, SAE_EINVAL, "dataset %s has no evaluation rows", ev->stream->ds->name);
    return SAE_OK;
}

/* Atoms of the source; valid until the dataset is asked again. */
static int load_truth(runner *q, uint64_t row0, int64_t B)
{
    const sae_stream *s = q->ev->stream;
    if (!(q->needs & SAE_MNEED_TRUTH))
        return SAE_OK;
    return s->ds->truth(s->src, SAE_SPLIT_EVAL, row0, B, &q->truth, q->err);
}

/* ---- set-up ---------------------------------------------------------------------------------- */

static int check_subjects(const runner *q)
{
    const sae_stream *s = q->ev->stream;
    for (int64_t i = 0; i < q->count; i++) {
        const sae_dims *dim = &q->subject[i]->model->dim;
        if (q->target && !s->target.mean)
            SAE_FAIL(
                q->err, SAE_ENEEDS,
                "%s needs a separate target for evaluation, which the dataset %s does not give",
                q->subject[i]->spec, s->ds->name);
        if (dim->d_in != q->d_in || dim->d_out != q->d)
            SAE_FAIL(q->err, SAE_EINVAL,
                     "%s reads width %lld and writes %lld, the dataset has %lld and %lld",
                     q->subject[i]->spec, (long long)dim->d_in, (long long)dim->d_out,
                     (long long)q->d_in, (long long)q->d);
    }
    return SAE_OK;
}

static int open_labels(runner *q)
{
    const sae_stream *s = q->ev->stream;
    return q->needs & SAE_MNEED_LABELS ? s->ds->labels(s->src, &q->labels_of, &q->labels) : SAE_OK;
}

static int open_splicer(runner *q)
{
    sae_stream *s = q->ev->stream;
    SAE_TRY(s->ds->lm(s->src, &q->lm));
    if (!q->target)
        q->lm.target = NULL;
    if (q->lm.docs->labels != q->labels && q->needs & SAE_MNEED_LABELS)
        SAE_FAIL(q->err, SAE_EINVAL, "dataset %s: its documents have no labels", s->ds->name);
    if (q->needs & SAE_MNEED_LM) /* mean ablation */
        SAE_TRY(sae_stream_constants(s, q->err));
    const double *mean = q->target ? s->target.mean : s->norm.mean;
    sae_splicer_shape shape = {.d_in = q->d_in,
                               .d = q->d,
                               .budget = q->B,
                               .zero_all = (q->needs & SAE_MNEED_ZERO_ALL) != 0,
                               .inserts = (q->needs & SAE_MNEED_INSERT) != 0};
    SAE_TRY(sae_splicer_open(&q->splice, &q->lm, mean, &shape, q->err));
    q->B = q->splice.cap;
    return SAE_OK;
}

static int wants_gradients(const runner *q)
{
    int grad = (q->needs & SAE_MNEED_GRAD) != 0;
    for (int64_t i = 0; i < q->count; i++) {
        const sae_model *m = q->subject[i]->model;
        grad |= (m->v->needs(m->opt, SAE_EVAL) & SAE_NEED_GRAD) != 0;
    }
    return grad && sae_source_gives(q->ev->stream->ds, q->ev->stream->src) & SAE_GIVES_GRAD;
}

static void lay_out_rows(sae_arena *a, void *arg)
{
    runner *q = arg;
    size_t row = (size_t)q->d_in * sizeof *q->x;
    q->x = sae_arena_take(a, q->B, row);
    q->y = q->target ? sae_arena_take(a, q->B, (size_t)q->d * sizeof *q->y) : q->x;
    q->tok = sae_arena_take(a, q->B, sizeof *q->tok);
    if (q->needs & SAE_MNEED_LABELS)
        q->label = sae_arena_take(a, q->B, (size_t)q->labels * sizeof *q->label);
    if (wants_gradients(q))
        q->g = sae_arena_take(a, q->B, row);
}

static int open_lanes(runner *q)
{
    const sae_evaluation *ev = q->ev;
    uint64_t have = SAE_NEED_TOKENS | SAE_NEED_BASE | SAE_NEED_TARGET;
    have |= supplied(q) & SAE_MNEED_TRUTH ? SAE_NEED_TRUTH : 0u;
    have |= q->g ? SAE_NEED_GRAD : 0u;
    have |= q->lm.lm ? SAE_NEED_LM : 0u;
    SAE_TRY(sae_new(&q->lane, q->count, sizeof *q->lane, "subjects", q->err));
    for (int64_t i = 0; i < q->count; i++)
        SAE_TRY(sae_lane_open(&q->lane[i], ev, q->subject[i], q->B, have, q->lm.lm, q->err));
    return SAE_OK;
}

/* The cells of pairs: counted, and made where they stay unless out is NULL. */
static int64_t pair_cells(const runner *q, const sae_cell_view *v, sae_cell *out)
{
    int64_t pairs = 0;
    for (int64_t k = 0; k < q->metrics; k++)
        for (int64_t i = 0; q->metric[k]->metric->needs & SAE_MNEED_PEER && i < q->count; i++)
            for (int64_t j = 0; j < q->count; j++) {
                sae_cell c;
                if (i == j)
                    continue;
                sae_cell_init(&c, q->ev, q->metric[k], &q->lane[i], &q->lane[j], v);
                if (!sae_cell_wanted(&c))
                    continue;
                if (out)
                    sae_cell_init(&out[pairs], q->ev, q->metric[k], &q->lane[i], &q->lane[j], v);
                pairs++;
            }
    return pairs;
}

static int open_cells(runner *q)
{
    sae_cell_view v = {q->needs, &q->truth, q->labels_of, q->labels, q->target};
    SAE_TRY(load_truth(q, 0, 1));
    for (int64_t k = 0; k < q->metrics; k++)
        q->singles += !(q->metric[k]->metric->needs & SAE_MNEED_PEER);
    q->cells = q->count * q->singles + pair_cells(q, &v, NULL);
    SAE_TRY(sae_new(&q->cell, q->cells, sizeof *q->cell, "measurements", q->err));
    sae_cell *c = q->cell;
    for (int64_t i = 0; i < q->count; i++)
        for (int64_t k = 0; k < q->metrics; k++)
            if (!(q->metric[k]->metric->needs & SAE_MNEED_PEER))
                sae_cell_init(c++, q->ev, q->metric[k], &q->lane[i], NULL, &v);
    pair_cells(q, &v, c);
    for (int64_t i = 0; i < q->cells; i++)
        SAE_TRY(sae_cell_open(&q->cell[i], q->err));
    return SAE_OK;
}

static void close_all(runner *q)
{
    for (int64_t i = 0; q->cell && i < q->cells; i++)
        sae_cell_close(&q->cell[i]);
    for (int64_t i = 0; q->lane && i < q->count; i++)
        sae_lane_close(&q->lane[i]);
    if (q->splice.v.lm)
        sae_splicer_close(&q->splice);
    sae_free(q->cell);
    sae_free(q->lane);
    sae_free(q->metric);
    sae_free(q->subject);
    sae_arena_close(&q->memory);
}

/* ---- batches --------------------------------------------------------------------------------- */

/* The model with an SAE's decoded rows. That of an SAE that diverged leaves downstream values
 * undefined, as its rows leave others; the model is sound, so the other SAEs go on. */
static int splice_lane(runner *q, sae_lane *l)
{
    const sae_splice *p = &q->splice.out;
    SAE_TRY(sae_splicer_splice(&q->splice, l->xhat, q->err));
    for (int64_t t = 0; t < p->T && !l->warned; t++)
        if (!isfinite(p->ce_splice[t])) {
            l->warned = 1;
            sae_log(SAE_LOG_WARN, "eval",
                    "%s: the language model's loss with its decoded rows is "
                    "%g nats at a token; has this SAE diverged?",
                    l->s->spec, p->ce_splice[t]);
        }
    return SAE_OK;
}

/* What the metrics of a lane see of the batch in q->x and q->y. */
static sae_eval view_of(const runner *q, const sae_lane *l, int64_t B, uint64_t row0)
{
    return (sae_eval){.B = B,
                      .d = q->d,
                      .x = q->y,
                      .xhat = l->xhat,
                      .g = q->g,
                      .code = &l->code,
                      .tok = q->tok,
                      .label = q->label,
                      .truth = &q->truth,
                      .splice = &q->splice.out,
                      .row0 = row0,
                      .norm = l->norm,
                      .insert = &q->splice.insert};
}

/* Whether a metric wants the next batch, or is likely to be there after so many further passes. */
static int takes_part(const sae_cell *c, int64_t ahead)
{
    return ahead ? c->passes > ahead : sae_cell_live(c);
}

/* What the metrics that take part read: of one SAE, or of all (NULL). -1: none does. */
static int64_t read_ahead(const runner *q, const sae_lane *l, int64_t ahead)
{
    int64_t reads = -1;
    for (int64_t i = 0; i < q->cells; i++) {
        const sae_cell *c = &q->cell[i];
        if (takes_part(c, ahead) && (!l || c->lane == l || c->peer == l))
            reads = (reads < 0 ? 0 : reads) | c->reads;
    }
    return reads;
}

static int64_t read_by(const runner *q, const sae_lane *l)
{
    return read_ahead(q, l, 0);
}

/* ---- what is left ---------------------------------------------------------------------------- */

/* Passes of the language model that all SAEs share; rows that are only read are one, too. A pass
 * with gradients costs about three. */
static int64_t shared_passes(const runner *q, int64_t reads)
{
    int64_t passes = q->needs & OF_A_MODEL && q->g ? 3 : 1;
    if (reads & SAE_MNEED_LM)
        passes += q->splice.zero_all ? 3 : 2;
    return passes;
}

/* Rows of a pass, the next one or one ahead. */
static void add_pass(runner *q, int64_t ahead, double rows)
{
    double *left = q->effort.left;
    int64_t reads = read_ahead(q, NULL, ahead);
    if (reads >= 0)
        left[SAE_EFFORT_SOURCE] += rows * (double)shared_passes(q, reads);
    for (int64_t i = 0; i < q->count; i++) {
        reads = read_ahead(q, &q->lane[i], ahead);
        left[SAE_EFFORT_SAE] += reads >= 0 ? rows : 0;
        left[SAE_EFFORT_SOURCE] += reads >= 0 && reads & SAE_MNEED_LM ? rows : 0;
    }
    for (int64_t k = q->count * q->singles; k < q->cells; k++)
        left[SAE_EFFORT_PAIR] += takes_part(&q->cell[k], ahead) ? rows : 0;
}

/* After so many further passes another metric is likely to be done; 0: all are. */
static int64_t next_change(const runner *q, int64_t ahead)
{
    int64_t next = 0;
    for (int64_t i = 0; i < q->cells; i++) {
        int64_t passes = q->cell[i].passes;
        if (passes > ahead && (!next || passes < next))
            next = passes;
    }
    return next;
}

static double end_rows(const runner *q, int64_t ends)
{
    return (double)q->rows * (double)ends / (double)q->singles;
}

/* All that is left before row0 of this pass. */
static void look_ahead(runner *q, int64_t row0)
{
    double *left = q->effort.left;
    int64_t ends = 0;
    memset(left, 0, sizeof q->effort.left);
    add_pass(q, 0, row0 < q->rows ? (double)(q->rows - row0) : 0);
    for (int64_t at = 1, next; (next = next_change(q, at)) > 0; at = next)
        add_pass(q, at, (double)q->reach * (double)(next - at));
    for (int64_t i = 0; i < q->count * q->singles; i++)
        ends += q->cell[i].passes;
    for (int64_t k = q->count * q->singles; k < q->cells; k++)
        left[SAE_EFFORT_PAIR_END] += (double)q->rows * (double)q->cell[k].passes;
    left[SAE_EFFORT_END] = ends ? end_rows(q, ends) : 0;
    sae_effort_did(&q->effort, SAE_EFFORT_SOURCE, 0); /* the line shows it */
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* Run the SAEs that are still looked at on the batch in q->x and q->y. */
static int run_batch(runner *q, int64_t B, uint64_t row0)
{
    sae_rows rows = {B, q->x, q->y, q->g, q->tok, row0};
    for (int64_t i = 0; i < q->count; i++) {
        sae_lane *l = &q->lane[i];
        int64_t reads = read_by(q, l);
        if (reads < 0)
            continue;
        SAE_TRY(sae_lane_run(l, &rows));
        sae_effort_did(&q->effort, SAE_EFFORT_SAE, 0);
        if (reads & SAE_MNEED_LM) {
            SAE_TRY(splice_lane(q, l));
            sae_effort_did(&q->effort, SAE_EFFORT_SOURCE, (double)B);
        }
        sae_eval e = view_of(q, l, B, row0);
        for (int64_t k = 0; k < q->singles; k++)
            SAE_TRY(sae_cell_show(&q->cell[i * q->singles + k], &e, q->err));
        sae_effort_did(&q->effort, SAE_EFFORT_SAE, (double)B);
    }
    for (int64_t k = q->count * q->singles; k < q->cells; k++) {
        sae_eval e = view_of(q, q->cell[k].lane, B, row0);
        int live = sae_cell_live(&q->cell[k]);
        SAE_TRY(sae_cell_show(&q->cell[k], &e, q->err));
        sae_effort_did(&q->effort, SAE_EFFORT_PAIR, live ? (double)B : 0);
    }
    look_ahead(q, (int64_t)row0 + B);
    if (sae_interrupted())
        SAE_FAIL(q->err, SAE_EINTR, "interrupted after %lld rows", (long long)row0 + (long long)B);
    return SAE_OK;
}

static sae_fill batch_memory(const runner *q)
{
    return (sae_fill){q->x, q->target ? q->y : NULL, q->g, q->tok, q->label};
}

static int pass_over_rows(runner *q)
{
    const sae_stream *s = q->ev->stream;
    int64_t row0 = 0;
    for (; row0 < q->rows && read_by(q, NULL) >= 0; row0 += q->B) {
        int64_t B = q->rows - row0 < q->B ? q->rows - row0 : q->B;
        sae_fill f = batch_memory(q);
        for (int64_t i = 0; i < B; i++) /* sources without documents: every row is its own */
            q->tok[i] = (sae_token){(uint64_t)(row0 + i), 0, 0};
        SAE_TRY(s->ds->fill(s->src, SAE_SPLIT_EVAL, (uint64_t)row0, B, &f, q->err));
        SAE_TRY(load_truth(q, (uint64_t)row0, B));
        sae_effort_did(&q->effort, SAE_EFFORT_SOURCE, (double)B);
        SAE_TRY(run_batch(q, B, (uint64_t)row0));
    }
    q->reach = row0 < q->rows ? row0 : q->rows;
    return SAE_OK;
}

static int pass_over_documents(runner *q)
{
    int64_t row0 = 0;
    q->splice.next = 0;
    for (; row0 < q->rows; row0 += q->splice.kept) {
        sae_fill f = batch_memory(q);
        int64_t reads = read_by(q, NULL);
        if (reads < 0)
            break;
        q->splice.rows_only = !(reads & OF_A_MODEL);
        q->splice.clean_only = !(reads & SAE_MNEED_LM);
        int rc = sae_splicer_next(&q->splice, &f, q->err);
        if (rc < 0)
            return rc;
        if (rc == SAE_DONE)
            break;
        sae_effort_did(&q->effort, SAE_EFFORT_SOURCE,
                     (double)(q->splice.kept * shared_passes(q, reads)));
        SAE_TRY(run_batch(q, q->splice.kept, (uint64_t)row0));
    }
    q->reach = row0;
    return SAE_OK;
}

/* Results of the metrics that have seen enough; *again counts those that want another pass. */
static int end_pass(runner *q, int64_t *again)
{
    const int64_t singles = q->count * q->singles;
    int64_t ends = 0;
    *again = 0;
    SAE_TRY(load_truth(q, 0, 1));
    look_ahead(q, q->rows);
    for (int64_t i = 0; i < q->cells; i++) {
        ends += q->cell[i].active;
        SAE_TRY(sae_cell_end(&q->cell[i], q->err));
        *again += q->cell[i].active;
        if (i < singles && (i + 1) % q->singles)
            continue; /* metrics differ: their ends are counted SAE by SAE */
        if (i < singles)
            sae_effort_did(&q->effort, SAE_EFFORT_END, end_rows(q, ends));
        else
            sae_effort_did(&q->effort, SAE_EFFORT_PAIR_END, (double)q->rows * (double)ends);
        ends = 0;
    }
    look_ahead(q, 0); /* of the next pass, if any */
    return SAE_OK;
}

/* The SAEs with a separate target (1) or without (0). */
static int choose_subjects(runner *q)
{
    const sae_evaluation *ev = q->ev;
    SAE_TRY(sae_new(&q->subject, ev->count, sizeof *q->subject, "subjects", q->err));
    for (int64_t i = 0; i < ev->count; i++) {
        const sae_model *m = ev->subject[i].model;
        if (q->target == ((m->v->needs(m->opt, SAE_EVAL) & SAE_NEED_TARGET) != 0))
            q->subject[q->count++] = &ev->subject[i];
    }
    return SAE_OK;
}

static int evaluate(const sae_evaluation *ev, int target, sae_err *err)
{
    const sae_dims *dim = &ev->stream->dim;
    runner q = {.ev = ev,
                .err = err,
                .target = target,
                .d_in = dim->d_in,
                .d = target ? dim->d_out : dim->d_in,
                .B = ev->stream->B};
    int64_t again = 0;
    int rc = SAE_OK;
    SAE_GOTO(choose_subjects(&q));
    if (q.count == 0)
        goto fail;
    SAE_GOTO(choose_metrics(&q));
    if (q.metrics == 0)
        goto fail;
    SAE_GOTO(count_rows(&q));
    SAE_GOTO(check_subjects(&q));
    SAE_GOTO(open_labels(&q));
    if (q.needs & OF_A_MODEL)
        SAE_GOTO(open_splicer(&q));
    else
        q.B = q.B < q.rows ? q.B : q.rows;
    SAE_GOTO(sae_arena_open(&q.memory, lay_out_rows, &q, "evaluation rows", err));
    SAE_GOTO(open_lanes(&q));
    SAE_GOTO(open_cells(&q));
    q.reach = q.rows;
    sae_effort_open(&q.effort, target ? "evaluate targets" : "evaluate");
    look_ahead(&q, 0);
    do {
        rc = q.needs & OF_A_MODEL ? pass_over_documents(&q) : pass_over_rows(&q);
        if (rc >= 0)
            rc = end_pass(&q, &again);
    } while (rc >= 0 && again > 0);
    sae_effort_close(&q.effort);
fail:
    close_all(&q);
    return rc < 0 ? rc : SAE_OK;
}

int sae_evaluate(const sae_evaluation *ev, sae_err *err)
{
    SAE_TRY(evaluate(ev, 0, err));
    return evaluate(ev, 1, err);
}
