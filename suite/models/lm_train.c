/* suite/models/lm_train.c - steps, evaluation, log and end of a training run. */
#include "models/lm_train.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"
#include "models/lm_eval.h"
#include "models/lm_state.h"
#include "models/lm_tape.h"

#include <math.h>
#include <stdio.h>

typedef struct trainer {
    const sae_lm_training *t;
    sae_lm_state s; /* first: clock and optimiser */
    sae_real *grad; /* [w.count] in the model's place */
    double *ce;     /* [ce_cap] */
    int64_t ce_cap;
    sae_out csv;
    double t0; /* on the clock; less by what earlier processes took */
} trainer;

/* ---- evaluation ------------------------------------------------------------------------------ */

static int held_out(const sae_lm_training *t, sae_docs *d, sae_err *err)
{
    const sae_lm_corpus *corpus = t->corpus;
    int64_t N = t->eval_docs;
    if (corpus->eval >= 0 && N > corpus->eval)
        N = corpus->eval;
    int rc = corpus->docs(corpus->self, SAE_SPLIT_EVAL, 0, N, d, err);
    if (rc >= 0)
        rc = sae_lm_check_contexts(t->m, &d->c, err);
    return rc < 0 ? sae_fail_prefix(err, rc, "evaluation documents") : rc;
}

static int score_held_out(const sae_lm_training *t, sae_lm_trained *out, sae_err *err)
{
    sae_docs d;
    sae_lm_score s;
    SAE_TRY(held_out(t, &d, err));
    SAE_TRY(sae_lm_score_docs(&t->m->api, &d, NULL, NULL, &s, err));
    out->ce = s.all.ce;
    out->nats = s.all.surprisal;
    out->scored = s.all.tokens;
    return SAE_OK;
}

/* ---- one step -------------------------------------------------------------------------------- */

static double learning_rate(const sae_lm_training *t, int64_t step)
{
    if (step < t->warmup)
        return t->lr * (double)(step + 1) / (double)t->warmup;
    double done = (double)(step - t->warmup) / (double)(t->steps - t->warmup);
    return t->min_lr + (t->lr - t->min_lr) * (1 + cos(3.14159265358979323846 * done)) / 2;
}

/* Mean loss of the scored rows into k->s.loss; their number. */
static int64_t mean_loss(trainer *k, const sae_contexts *c)
{
    int64_t scored = 0;
    double sum = 0;
    for (int64_t i = 0; i < c->N; i++)
        for (int64_t r = c->start[i]; r + 1 < c->start[i + 1]; r++, scored++)
            sum += k->ce[r];
    k->s.loss = scored > 0 ? sum / (double)scored : 0;
    return scored;
}

static int update(trainer *k, double lr, int64_t scored, sae_err *err)
{
    const sae_lm_training *t = k->t;
    sae_lm_model *m = t->m;
    sae_mat all = {k->grad, m->w.count / 16, 16, 16};
    double norm2 = 0, mean = scored > 0 ? 1 / (double)scored : 0;
    int rc = m->at.k->project_rows(m->at.dev, (sae_cmat){0}, all, &norm2);
    k->s.norm = sqrt(norm2) * mean;
    sae_adam a = {.lr = lr, .beta1 = t->beta1, .beta2 = t->beta2, .eps = t->eps,
                  .grad_scale =
                      t->clip > 0 && k->s.norm > t->clip ? mean * t->clip / k->s.norm : mean,
                  .t = k->s.step + 1};
    sae_lm_weights_thaw(&m->w, &m->at);
    for (int64_t i = 0; rc >= 0 && i < m->w.slots; i++) {
        const sae_lm_slot *s = &m->w.slot[i];
        sae_mat w = {m->w.base + s->at, s->rows, s->cols, s->cols};
        a.weight_decay = sae_lm_part_is_vector(s->part) ? 0 : t->weight_decay;
        rc = m->at.k->adam_step(m->at.dev, &a, w, k->grad + s->at, k->s.m + s->at, k->s.v + s->at);
    }
    SAE_TRY(sae_lm_done(&m->at, rc, "a step of the optimiser", err));
    return sae_lm_weights_freeze(&m->w, &m->at, err);
}

static int reserve_losses(trainer *k, int64_t rows, sae_err *err)
{
    if (rows <= k->ce_cap)
        return SAE_OK;
    sae_free(k->ce);
    k->ce_cap = 0;
    SAE_TRY(sae_new(&k->ce, rows, sizeof *k->ce, "lm.train", err));
    k->ce_cap = rows;
    return SAE_OK;
}

static int take_step(trainer *k, sae_err *err)
{
    const sae_lm_training *t = k->t;
    sae_docs d;
    uint64_t doc0 = (uint64_t)k->s.step * (uint64_t)t->batch;
    SAE_TRY(t->corpus->docs(t->corpus->self, SAE_SPLIT_TRAIN, doc0, t->batch, &d, err));
    SAE_TRY(reserve_losses(k, d.c.start[d.c.N], err));
    SAE_TRY(sae_lm_loss_grad(t->m, &d.c, k->grad, k->ce, err));
    int64_t scored = mean_loss(k, &d.c);
    SAE_TRY(update(k, learning_rate(t, k->s.step), scored, err));
    if (!isfinite(k->s.loss) || !isfinite(k->s.norm))
        SAE_FAIL(err, SAE_ENONFINITE, "step %lld: loss %g, gradient norm %g; a smaller learning "
                 "rate may help", (long long)k->s.step, k->s.loss, k->s.norm);
    k->s.step++;
    k->s.due = 1;
    k->s.tokens += d.c.start[d.c.N];
    return SAE_OK;
}

/* ---- log ------------------------------------------------------------------------------------- */

static int every(const sae_lm_training *t, int64_t step, int64_t n)
{
    return step == t->steps || (n > 0 && step % n == 0);
}

/* One row of train.csv for what is due after this step; nothing of it when the evaluation fails. */
static int report(trainer *k, sae_lm_trained *out, sae_progress *p, sae_err *err)
{
    const sae_lm_training *t = k->t;
    const sae_lm_state *s = &k->s;
    int evaluate = every(t, s->step, t->eval_every);
    if (evaluate)
        SAE_TRY(score_held_out(t, out, err));
    k->s.due = 0;
    if (!evaluate && !every(t, s->step, t->log_every))
        return SAE_OK;
    fprintf(k->csv.f, "%lld,%lld,%.9g,%.9g,%.9g,", (long long)s->step, (long long)s->tokens,
            s->loss, learning_rate(t, s->step - 1), s->norm);
    snprintf(p->note, sizeof p->note, "loss %.4f", s->loss);
    if (evaluate) {
        fprintf(k->csv.f, "%.9g", out->ce);
        snprintf(p->note, sizeof p->note, "loss %.4f, evaluation %.4f", s->loss, out->ce);
    }
    fprintf(k->csv.f, ",");
    if (evaluate && isfinite(out->nats))
        fprintf(k->csv.f, "%.9g", out->nats);
    fprintf(k->csv.f, "\n");
    return sae_out_flush(&k->csv, err); /* to be watched */
}

/* train.csv as it was at the state's step. */
static int open_log(trainer *k, sae_err *err)
{
    static const char head[] = "step,tokens,loss,lr,grad_norm,eval_ce,eval_nats\n";
    char *path = sae_path_join(k->t->dir, "train.csv");
    int rc = path ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc >= 0 && k->s.step == 0)
        rc = sae_file_write(path, head, sizeof head - 1, err);
    if (rc >= 0 && k->s.step == 0)
        k->s.log_bytes = sizeof head - 1;
    if (rc >= 0)
        rc = sae_out_append(&k->csv, path, k->s.log_bytes, err);
    sae_free(path);
    return rc;
}

static int save_state(trainer *k, sae_err *err)
{
    SAE_TRY(sae_out_flush(&k->csv, err));
    k->s.log_bytes = ftell(k->csv.f);
    k->s.seconds = sae_clock() - k->t0;
    return sae_lm_state_save(&k->s, &k->t->m->w, k->t->dir, k->t->identity, err);
}

/* ---- the run --------------------------------------------------------------------------------- */

/* What comes after a step. */
static int settle(trainer *k, sae_lm_trained *out, sae_progress *p, sae_err *err)
{
    const sae_lm_training *t = k->t;
    SAE_TRY(report(k, out, p, err));
    sae_progress_at(p, (double)k->s.step);
    int save = t->checkpoint_every > 0 && k->s.step % t->checkpoint_every == 0;
    return save && k->s.step < t->steps ? save_state(k, err) : SAE_OK;
}

/* An evaluation that is interrupted has no result; the resumed run makes it anew. */
static int stop(trainer *k, sae_err *err)
{
    SAE_TRY(save_state(k, err));
    SAE_FAIL(err, SAE_EINTR, "interrupted after step %lld; --resume goes on from there",
             (long long)k->s.step);
}

static int run_steps(trainer *k, sae_lm_trained *out, sae_progress *p, sae_err *err)
{
    while (k->s.step < k->t->steps || k->s.due) {
        sae_err own = {0};
        if (sae_interrupted())
            return stop(k, err);
        int rc = k->s.due ? settle(k, out, p, &own) : take_step(k, &own);
        if (rc == SAE_EINTR)
            return stop(k, err);
        if (rc < 0)
            SAE_FAIL(err, rc, "%s", own.msg);
    }
    return SAE_OK;
}

static void describe(const trainer *k, sae_lm_trained *out)
{
    out->step = k->s.step;
    out->tokens = k->s.tokens;
    out->seconds = sae_clock() - k->t0;
}

static int finish(trainer *k, sae_lm_trained *out, sae_err *err)
{
    const sae_lm_training *t = k->t;
    SAE_TRY(sae_out_commit(&k->csv, err));
    describe(k, out);
    if (t->on_end)
        SAE_TRY(t->on_end(t->arg, out, err));
    char *path = sae_path_join(t->dir, "model.safetensors");
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = sae_lm_weights_save(&t->m->w, &t->m->at, &t->m->cfg, path, t->dtype, err);
    sae_free(path);
    return rc < 0 ? rc : sae_lm_state_remove(t->dir, err);
}

int sae_lm_train(const sae_lm_training *t, sae_lm_trained *out, sae_err *err)
{
    int rc;
    trainer k = {.t = t, .t0 = sae_clock()};
    sae_progress p;
    sae_docs d;
    *out = (sae_lm_trained){0};
    sae_progress_open(&p, "train", "steps", (double)t->steps);
    SAE_GOTO(held_out(t, &d, err)); /* now, not at the first evaluation */
    SAE_GOTO(sae_lm_state_open(&k.s, &t->m->w, &t->m->at, err));
    SAE_GOTO(sae_lm_new(&t->m->at, &k.grad, t->m->w.count, sizeof *k.grad, "lm.gradients", err));
    if (t->resume)
        SAE_GOTO(sae_lm_state_load(&k.s, &t->m->w, t->dir, t->identity, err));
    k.t0 -= k.s.seconds;
    SAE_GOTO(open_log(&k, err));
    SAE_GOTO(run_steps(&k, out, &p, err));
    SAE_GOTO(finish(&k, out, err));
fail:
    sae_progress_close(&p);
    describe(&k, out);
    sae_out_abandon(&k.csv);
    sae_lm_state_close(&k.s);
    sae_lm_free(&t->m->at, k.grad);
    sae_free(k.ce);
    return rc;
}
