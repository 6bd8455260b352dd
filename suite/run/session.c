/* suite/run/session.c - opening and closing everything a run needs. */
#include "run/session.h"

#include "core/device.h"
#include "core/error.h"
#include "core/memory.h"
#include "run/host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum sae_norm norm_of(const sae_plan *p)
{
    for (int i = 0; sae_norm_names[i]; i++)
        if (!strcmp(sae_norm_names[i], p->norm))
            return (enum sae_norm)i;
    return SAE_NORM_NONE;
}

static int dataset_spec(const sae_session *s, const char *text, sae_spec *spec, char **canonical,
                        sae_err *err)
{
    SAE_TRY(sae_spec_parse(spec, s->reg, SAE_KIND_DATASET, text, err));
    *canonical = sae_spec_print(spec, 1);
    if (!*canonical)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a dataset spec");
    return SAE_OK;
}

static int check_eval(const sae_stream *train, const sae_stream *eval, sae_err *err)
{
    if (eval->dim.d_in != train->dim.d_in)
        SAE_FAIL(err, SAE_EINVAL,
                 "eval_dataset has activations of width %lld, dataset of width %lld",
                 (long long)eval->dim.d_in, (long long)train->dim.d_in);
    if (!eval->target.mean != !train->target.mean)
        SAE_FAIL(err, SAE_EINVAL, "one of dataset and eval_dataset has targets, the other has not");
    if (eval->dim.d_out != train->dim.d_out)
        SAE_FAIL(err, SAE_EINVAL, "eval_dataset has targets of width %lld, dataset of width %lld",
                 (long long)eval->dim.d_out, (long long)train->dim.d_out);
    return SAE_OK;
}

/* A language model on a device works for the next batch while SAEs train on the last one: through a
 * handle of its own, since one takes one call at a time. */
static int open_host(sae_session *s, sae_err *err)
{
    const sae_engine *e = s->e;
    if (!e->props.shares_host && s->train_spec.dataset->gives & SAE_GIVES_LM) {
        SAE_TRY(sae_engine_like(&s->data, e, s->o->threads, err));
        e = &s->data;
    }
    s->host = sae_host_make(e, (uint64_t)s->plan->data_seed);
    return SAE_OK;
}

static int open_data(sae_session *s, sae_err *err)
{
    const sae_plan *p = s->plan;
    SAE_TRY(dataset_spec(s, p->dataset, &s->train_spec, &s->train_text, err));
    SAE_TRY(open_host(s, err));
    SAE_TRY(sae_stream_open(&s->train, &s->train_spec, &s->host, s->e, norm_of(p), p->batch, err));
    if (p->eval_dataset) {
        SAE_TRY(dataset_spec(s, p->eval_dataset, &s->eval_spec, &s->eval_text, err));
        SAE_TRY(sae_stream_open(&s->eval, &s->eval_spec, &s->host, s->e, SAE_NORM_NONE, p->batch,
                                err));
        SAE_TRY(check_eval(&s->train, &s->eval, err));
    }
    sae_stream *ev = sae_session_eval_stream(s);
    sae_lm_view view = {0};
    if (ev->ds->lm(ev->src, &view) != SAE_OK)
        view = (sae_lm_view){0};
    s->hook = sae_strdup(view.hook ? view.hook : "");
    s->target_hook = sae_strdup(view.target ? view.target : "");
    if (!s->hook || !s->target_hook)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for the hook's name");
    return SAE_OK;
}

static int open_metrics(sae_session *s, sae_err *err)
{
    const sae_plan *p = s->plan;
    const sae_metric *const *all = sae_all_metrics(s->reg);
    int64_t count = p->metrics_count;
    if (!count)
        while (all[count])
            count++;
    SAE_TRY(sae_new(&s->metric, count, sizeof *s->metric, "run.metrics", err));
    SAE_TRY(sae_new(&s->metric_at, count, sizeof *s->metric_at, "run.metrics", err));
    for (int64_t i = 0; i < count; i++) {
        const char *text = p->metrics_count ? p->metrics[i] : all[i]->name;
        SAE_TRY(sae_spec_parse(&s->metric[i], s->reg, SAE_KIND_METRIC, text, err));
        s->metric_at[i] = &s->metric[i];
        s->metrics = i + 1;
    }
    return SAE_OK;
}

static void override_seed(sae_session *s)
{
    if (!s->o->has_seed)
        return;
    s->plan->seeds[0] = s->o->seed; /* a plan has at least one */
    s->plan->seeds_count = 1;
}

static int open_devices(sae_session *s, sae_err *err)
{
    SAE_TRY(sae_devices_open(s->e, &s->devices, s->reg, s->o->device, s->o->threads, err));
    if (s->plan->batch % s->devices)
        SAE_FAIL(err, SAE_EINVAL, "--device %s: %d devices cannot divide batches of %lld rows",
                 s->o->device, s->devices, (long long)s->plan->batch);
    return sae_team_open(&s->team, s->e, s->devices, err);
}

/* Every device holds what a job takes: at most this where they share the host's memory. */
static void count_replicas(sae_session *s)
{
    size_t count = s->e->props.shares_host ? (size_t)s->devices : 1;
    for (int64_t i = 0; i < s->grid.count; i++) {
        size_t *bytes = &s->grid.job[i].bytes;
        *bytes = *bytes > SIZE_MAX / count ? SIZE_MAX : *bytes * count;
    }
}

static int open_all(sae_session *s, sae_err *err)
{
    SAE_TRY(sae_plan_load(&s->plan, s->o->plan, s->o->sets, err));
    override_seed(s);
    SAE_TRY(open_devices(s, err));
    SAE_TRY(open_metrics(s, err));
    SAE_TRY(open_data(s, err));
    SAE_TRY(sae_grid_open(&s->grid, s->plan, s->reg, &s->train.dim, err));
    count_replicas(s);
    SAE_TRY(sae_new(&s->seconds, s->grid.count, sizeof *s->seconds, "run.seconds", err));
    s->dir = s->o->out ? sae_strdup(s->o->out) : sae_strfmt("runs/%s", s->plan->name);
    s->state = s->dir ? sae_strfmt("%s/state", s->dir) : NULL;
    if (!s->state)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for the run's path");
    return SAE_OK;
}

int sae_session_open(sae_session *s, const sae_run_options *o, const sae_registry *reg,
                     sae_err *err)
{
    memset(s, 0, sizeof *s);
    s->o = o;
    s->reg = reg;
    int rc = open_all(s, err);
    if (rc < 0)
        sae_session_close(s);
    return rc;
}

void sae_session_close(sae_session *s)
{
    sae_grid_close(&s->grid);
    sae_stream_close(&s->eval);
    sae_stream_close(&s->train);
    for (int64_t i = 0; i < s->metrics; i++)
        sae_spec_free(&s->metric[i]);
    sae_free(s->metric);
    sae_free(s->metric_at);
    sae_spec_free(&s->train_spec);
    sae_spec_free(&s->eval_spec);
    sae_free(s->train_text);
    sae_free(s->eval_text);
    sae_free(s->hook);
    sae_free(s->target_hook);
    sae_free(s->seconds);
    sae_free(s->dir);
    sae_free(s->state);
    sae_team_close(&s->team);
    sae_engine_close(&s->data);
    sae_devices_close(s->e, s->devices);
    sae_plan_free(&s->plan);
    memset(s, 0, sizeof *s);
}

sae_stream *sae_session_eval_stream(sae_session *s)
{
    return s->plan->eval_dataset ? &s->eval : &s->train;
}

char *sae_session_identity(const sae_session *s)
{
    const sae_plan *p = s->plan;
    char backend[SAE_ENGINE_NAME], many[16] = "";
    if (s->devices > 1) /* sums over rows are made in another order */
        snprintf(many, sizeof many, " x%d", s->devices);
    char *text = sae_strfmt(
        "backend: %s%s\ndataset: %s\ndataset hash: %s\neval dataset: %s\neval hash: %s\n"
        "norm: %s\nsteps: %lld\nbatch: %lld\neval rows: %lld\n",
        sae_engine_name(s->e, backend), many, s->train_text, s->train.hash,
        s->eval_text ? s->eval_text : "", p->eval_dataset ? s->eval.hash : "", p->norm,
        (long long)p->steps, (long long)p->batch, (long long)p->eval_rows);
    for (int64_t i = 0; text && i < s->metrics; i++) {
        char *spec = sae_spec_print(&s->metric[i], 1);
        char *more = spec ? sae_strfmt("%smetric: %s\n", text, spec) : NULL;
        sae_free(spec);
        sae_free(text);
        text = more;
    }
    for (int64_t i = 0; text && i < s->grid.count; i++) {
        const sae_job *j = &s->grid.job[i];
        const sae_train_config *c = &j->entry->train;
        char *more = sae_strfmt(
            "%ssae: %s seed %llu lr %.17g betas %.17g %.17g eps %.17g clip %.17g decay %.17g "
            "warmup %lld cooldown %.17g\n",
            text, j->spec, (unsigned long long)j->seed, c->lr, c->beta1, c->beta2, c->eps,
            c->clip_norm, c->weight_decay, (long long)c->warmup, c->decay);
        sae_free(text);
        text = more;
    }
    return text;
}
