/* suite/eval/cell.c - one metric at work on one SAE or a pair. */
#include "eval/cell.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- results --------------------------------------------------------------------------------- */

enum { NAME = 128 };

static int full_name(const sae_cell *c, const char *key, char name[NAME])
{
    size_t a = strlen(c->metric->name), b = strlen(key);
    if (a + b + 2 > NAME)
        return SAE_EINVAL;
    memcpy(name, c->metric->name, a);
    name[a] = '.';
    memcpy(name + a + 1, key, b + 1);
    return SAE_OK;
}

static const sae_subject *peer_of(const sae_cell *c)
{
    return c->peer ? c->peer->s : NULL;
}

static int emit(void *sink, const sae_row *row)
{
    const sae_cell *c = sink;
    char name[NAME];
    SAE_TRY(full_name(c, row->key, name));
    char reason[NAME];
    snprintf(reason, sizeof reason, "%s on these rows (metrics/%s.md)",
             isnan(row->value) ? "undefined" : "infinite", c->metric->name);
    if (!isfinite(row->value))
        sae_log(SAE_LOG_WARN, "eval", "%s: %s is %s", c->lane->s->spec, name, reason);
    sae_result out = {c->lane->s, peer_of(c), name, row, isfinite(row->value) ? NULL : reason};
    return c->ev->on_row(c->ev->arg, &out);
}

static int point(void *sink, const sae_series *p)
{
    const sae_cell *c = sink;
    sae_result_point out = {c->lane->s, peer_of(c), c->metric->name, p};
    return c->ev->on_point ? c->ev->on_point(c->ev->arg, &out) : SAE_OK;
}

static int deviations(void *sink, const char *key, const double *deviation)
{
    const sae_cell *c = sink;
    char name[NAME];
    SAE_TRY(full_name(c, key, name));
    sae_result_deviations out = {c->lane->s, peer_of(c), name, deviation};
    return c->ev->on_deviations ? c->ev->on_deviations(c->ev->arg, &out) : SAE_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static double scale_of(const sae_lane *l, int target)
{
    return target ? l->s->target->scale : l->s->norm->scale;
}

void sae_cell_init(sae_cell *c, const sae_evaluation *ev, const sae_spec *metric,
                   const sae_lane *lane, const sae_lane *peer, const sae_cell_view *v)
{
    const sae_metric *m = metric->metric;
    uint32_t reads = sae_metric_reads(m, sae_opts_base(metric->opts)) & (m->needs | v->have);
    *c = (sae_cell){.ev = ev, .metric = m, .lane = lane, .peer = peer, .reads = reads, .active = 1};
    c->passes = sae_metric_passes(m, sae_opts_base(metric->opts));
    if (peer)
        c->other = (sae_peer){peer->s->model, &peer->host, peer->s->spec, peer->s->seed,
                              scale_of(peer, v->target)};
    c->r = (sae_measure){.size = sizeof c->r,
                         .m = lane->s->model,
                         .c = &lane->host,
                         .spec = lane->s->spec,
                         .seed = lane->s->seed,
                         .peer = peer ? &c->other : NULL,
                         .opt = sae_opts_base(metric->opts),
                         .truth = reads & SAE_MNEED_TRUTH ? v->truth : NULL,
                         .label = reads & SAE_MNEED_LABELS ? v->label : NULL,
                         .labels = reads & SAE_MNEED_LABELS ? v->labels : 0,
                         .scale = scale_of(lane, v->target),
                         .emit = emit,
                         .point = point,
                         .deviations = deviations,
                         .sink = c};
}

int sae_cell_wanted(const sae_cell *c)
{
    return !c->peer || c->metric->pair(&c->r);
}

static int fail(const sae_cell *c, int rc, sae_err *err)
{
    if (!err->code)
        SAE_SET(err, rc, "metric %s of %s failed", c->metric->name, c->lane->s->spec);
    return rc;
}

int sae_cell_open(sae_cell *c, sae_err *err)
{
    size_t bytes = c->metric->state_size(&c->r);
    SAE_TRY(sae_new(&c->state, (int64_t)bytes, 1, "metric state", err));
    int rc = c->metric->begin(&c->r, c->state);
    return rc < 0 ? fail(c, rc, err) : SAE_OK;
}

void sae_cell_close(sae_cell *c)
{
    sae_free(c->state);
    c->state = NULL;
}

int sae_cell_live(const sae_cell *c)
{
    return c->active && !c->idle;
}

int sae_cell_show(sae_cell *c, const sae_eval *all, sae_err *err)
{
    uint32_t reads = c->reads;
    sae_eval e = *all;
    sae_eval_peer peer = {0};
    const sae_splice *p = all->splice;
    sae_splice clean = {.T = p->T,
                        .tok = p->tok,
                        .ce_clean = p->ce_clean,
                        .P = p->P,
                        .kept = p->kept,
                        .top_clean = p->top_clean};
    if (!sae_cell_live(c))
        return SAE_OK;
    if (c->peer) {
        peer.xhat = reads & SAE_MNEED_XHAT ? c->peer->xhat : NULL;
        peer.code = reads & SAE_MNEED_CODE ? &c->peer->code : NULL;
        e.peer = &peer;
    }
    if (!(reads & SAE_MNEED_XHAT))
        e.xhat = NULL;
    if (!(reads & SAE_MNEED_CODE))
        e.code = NULL;
    if (!(reads & SAE_MNEED_GRAD))
        e.g = NULL;
    if (!(reads & SAE_MNEED_LABELS))
        e.label = NULL;
    if (!(reads & SAE_MNEED_TRUTH))
        e.truth = NULL;
    if (!(reads & SAE_MNEED_LM))
        e.splice = reads & SAE_MNEED_INSERT ? &clean : NULL;
    if (!(reads & SAE_MNEED_INSERT))
        e.insert = NULL;
    int rc = c->metric->batch(&c->r, c->state, &e);
    c->idle = rc == SAE_DONE;
    return rc < 0 ? fail(c, rc, err) : SAE_OK;
}

int sae_cell_end(sae_cell *c, sae_err *err)
{
    if (!c->active)
        return SAE_OK;
    int rc = c->metric->end(&c->r, c->state);
    c->active = rc == SAE_AGAIN;
    c->passes = !c->active ? 0 : c->passes > 1 ? c->passes - 1 : 1;
    c->idle = 0;
    return rc < 0 ? fail(c, rc, err) : SAE_OK;
}
