/* suite/train/trainer.c - the one control flow that trains every SAE. */
#include "train/trainer.h"

#include "core/error.h"
#include "core/log.h"
#include "train/shares.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- before the first step ------------------------------------------------------------------- */

static const char *const need_names[] = {"activation gradients", "token provenance",
                                         "a separate target", "the language model",
                                         "the true dictionary"};

/* Required inputs are negotiated here: nobody meets a NULL at step 40,000. */
static int check_needs(const sae_trainer *t, const sae_learner *l, sae_err *err)
{
    uint64_t lacks = sae_stream_lacks(t->stream, l->needs);
    for (size_t i = 0; i < sizeof need_names / sizeof need_names[0]; i++)
        if (lacks >> i & 1)
            SAE_FAIL(err, SAE_ENEEDS, "%s needs %s, which the dataset %s does not supply", l->label,
                     need_names[i], t->stream->ds->name);
    if (lacks)
        SAE_FAIL(err, SAE_ENEEDS, "%s needs inputs 0x%" PRIx64 ", which this program does not know",
                 l->label, lacks);
    return SAE_OK;
}

static int check_learner(const sae_trainer *t, const sae_learner *l, int64_t step, sae_err *err)
{
    const sae_dims *a = &l->model.dim, b = sae_learner_dims(&l->spec, &t->stream->dim);
    if (l->cfg.steps != t->steps || l->cfg.B != t->learner[0]->cfg.B || l->cfg.B > t->stream->B)
        SAE_FAIL(err, SAE_EINVAL,
                 "%s is set up for %" PRId64 " steps of %" PRId64 " rows, the run for %" PRId64
                 " of %" PRId64,
                 l->label, l->cfg.steps, l->cfg.B, t->steps, t->learner[0]->cfg.B);
    if (a->d_in != b.d_in || a->d_out != b.d_out)
        SAE_FAIL(err, SAE_EINVAL,
                 "%s maps width %" PRId64 " to %" PRId64 ", the activations have %" PRId64
                 " and %" PRId64,
                 l->label, a->d_in, a->d_out, b.d_in, b.d_out);
    if (!l->done && l->step != step)
        SAE_FAIL(err, SAE_EINVAL, "%s is at step %" PRId64 ", others at %" PRId64, l->label,
                 l->step, step);
    return check_needs(t, l, err);
}

/* *step: where the learners stand; *need: the union of what they read. */
static int prepare(const sae_trainer *t, int64_t *step, uint64_t *need, sae_err *err)
{
    *step = 0;
    *need = 0;
    for (int64_t i = 0; i < t->count; i++) {
        *need |= t->learner[i]->needs;
        if (t->learner[i]->step > *step)
            *step = t->learner[i]->step;
    }
    for (int64_t i = 0; i < t->count; i++) {
        SAE_TRY(check_learner(t, t->learner[i], *step, err));
        SAE_TRY(sae_learner_extras(t->learner[i], t->reg, t->stream, err));
        for (int64_t j = 0; j < i; j++)
            if (strcmp(t->learner[i]->id, t->learner[j]->id) == 0)
                SAE_FAIL(err, SAE_EINVAL, "%s is listed twice with the same training settings",
                         t->learner[i]->label);
    }
    return SAE_OK;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static int all_done(const sae_trainer *t)
{
    for (int64_t i = 0; i < t->count; i++)
        if (!t->learner[i]->done)
            return 0;
    return 1;
}

static int log_due(const sae_trainer *t, int64_t step)
{
    int64_t every = t->log_every > 0 ? t->log_every : t->steps / 200;
    return every < 2 || step % every == 0 || step + 1 == t->steps;
}

/* The team of learners that use one, NULL: none does. */
static sae_team *team_of(const sae_trainer *t)
{
    for (int64_t i = 0; i < t->count; i++)
        if (t->learner[i]->devices > 1)
            return t->learner[i]->team;
    return NULL;
}

static int run_step(sae_trainer *t, int64_t step, uint64_t need, sae_shares *shares, sae_err *err)
{
    sae_batch b;
    int64_t B = t->learner[0]->cfg.B, row0 = step * B;
    SAE_TRY(sae_stream_fill(t->stream, SAE_SPLIT_TRAIN, (uint64_t)row0, B, need, &b, err));
    if (step + 1 < t->steps)
        SAE_TRY(sae_stream_ahead(t->stream, (uint64_t)(row0 + B), B, need, err));
    if (shares->team)
        SAE_TRY(sae_shares_load(shares, err));
    for (int64_t i = 0; i < t->count; i++) {
        sae_learner *l = t->learner[i];
        if (l->done)
            continue;
        if (step == 0)
            SAE_TRY(sae_learner_init(l, &b, err));
        SAE_TRY(sae_learner_step(l, l->devices > 1 ? shares->of : &b, err));
        if (t->on_loss && (log_due(t, step) || l->done))
            SAE_TRY(t->on_loss(t->arg, l, sae_learner_lr(&l->cfg, step)));
    }
    return SAE_OK;
}

static int checkpoint(const sae_trainer *t, int64_t step, sae_err *err)
{
    if (!t->dir || step == 0)
        return SAE_OK;
    if (t->on_checkpoint)
        SAE_TRY(t->on_checkpoint(t->arg, step));
    return sae_checkpoints_save(t->dir, step, t->learner, t->count, t->stream, err);
}

static int run_steps(sae_trainer *t, int64_t step, uint64_t need, sae_shares *shares,
                     sae_progress *p, sae_err *err)
{
    const sae_learner *first = t->learner[0];
    for (; step < t->steps && !all_done(t); step++) {
        int due = t->checkpoint_every > 0 && step % t->checkpoint_every == 0;
        if (due || sae_interrupted())
            SAE_TRY(checkpoint(t, step, err));
        if (sae_interrupted())
            SAE_FAIL(err, SAE_EINTR, "interrupted after step %" PRId64 " of %" PRId64, step,
                     t->steps);
        SAE_TRY(run_step(t, step, need, shares, err));
        snprintf(p->note, sizeof p->note, "loss %.4g", first->total);
        sae_progress_at(p, (double)(step + 1) * (double)first->cfg.B);
    }
    return checkpoint(t, step, err);
}

int sae_trainer_run(sae_trainer *t, sae_err *err)
{
    int64_t step = 0;
    uint64_t need = 0;
    sae_progress p;
    sae_shares shares = {0};
    if (t->count < 1)
        SAE_FAIL(err, SAE_EINVAL, "nothing to train");
    SAE_TRY(prepare(t, &step, &need, err));
    sae_team *team = team_of(t);
    if (team)
        SAE_TRY(sae_shares_open(&shares, team, t->stream, t->learner[0]->cfg.B, need, err));
    sae_progress_open(&p, "train", "tokens", (double)t->steps * (double)t->learner[0]->cfg.B);
    int rc = run_steps(t, step, need, &shares, &p, err);
    sae_stream_settle(t->stream);
    sae_progress_close(&p);
    sae_shares_close(&shares);
    SAE_TRY(rc);
    for (int64_t i = 0; i < t->count; i++)
        SAE_TRY(sae_learner_finalize(t->learner[i], err));
    return SAE_OK;
}

int sae_trainer_resume(sae_trainer *t, int64_t *step, sae_err *err)
{
    *step = 0;
    return t->dir ? sae_checkpoints_load(t->dir, step, t->learner, t->count, t->stream, err)
                  : SAE_OK;
}
