/* suite/run/grid.c - expanding a plan into jobs and waves. */
#include "run/grid.h"

#include "core/error.h"
#include "core/memory.h"
#include "core/spec.h"

#include <string.h>

/* What the spec of a job says about it. */
static int read_job(sae_job *j, const sae_plan *p, const sae_registry *reg, const sae_dims *dim,
                    sae_err *err)
{
    sae_spec s;
    sae_train_config c = j->entry->train;
    SAE_TRY(sae_spec_parse(&s, reg, SAE_KIND_VARIANT, j->spec, err));
    int rc = sae_spec_resolve(&s, dim->d_in, err);
    if (rc >= 0)
        rc = sae_learner_config(&c, &s, err);
    if (rc >= 0) {
        sae_dims full = sae_learner_dims(&s, dim);
        full.n = full.n_cap;
        rc = s.variant->check(sae_opts_base(s.opts), &full, err);
        j->bytes = sae_learner_bytes(&s, &full, p->batch);
        j->canonical = sae_spec_print(&s, 1);
    }
    if (rc >= 0 && !j->canonical)
        rc = SAE_SET(err, SAE_ENOMEM, "out of memory for a spec");
    sae_spec_free(&s);
    return rc < 0 ? sae_fail_prefix(err, rc, "%s", j->spec) : SAE_OK;
}

/* One job per expanded spec and seed; seeds are the inner loop. */
static int add_entry(sae_grid *g, const sae_plan *p, const sae_plan_sae *e, char **specs,
                     sae_err *err)
{
    for (int64_t i = 0; specs[i]; i++) {
        for (unsigned s = 0; s < p->seeds_count; s++) {
            sae_job *more = sae_realloc(g->job, (size_t)(g->count + 1) * sizeof *more);
            if (!more)
                SAE_FAIL(err, SAE_ENOMEM, "out of memory for the %lld-th SAE of the plan",
                         (long long)g->count + 1);
            g->job = more;
            g->job[g->count] = (sae_job){.entry = e, .seed = p->seeds[s]};
            g->job[g->count].spec = sae_strdup(specs[i]);
            if (!g->job[g->count++].spec)
                SAE_FAIL(err, SAE_ENOMEM, "out of memory for spec %s", specs[i]);
        }
    }
    return SAE_OK;
}

/* In the tables a SAE is its spec and its seed. */
static int refuse_twins(const sae_grid *g, sae_err *err)
{
    for (int64_t i = 0; i < g->count; i++)
        for (int64_t j = 0; j < i; j++)
            if (g->job[i].seed == g->job[j].seed &&
                !strcmp(g->job[i].canonical, g->job[j].canonical))
                SAE_FAIL(err, SAE_EINVAL,
                         "the plan lists %s with seed %llu twice (if only its training differs, "
                         "say so in the spec: train.lr=1e-3)",
                         g->job[i].spec, (unsigned long long)g->job[i].seed);
    return SAE_OK;
}

int sae_grid_open(sae_grid *g, const sae_plan *p, const sae_registry *reg, const sae_dims *dim,
                  sae_err *err)
{
    int rc = SAE_OK;
    *g = (sae_grid){0};
    for (unsigned i = 0; i < p->saes_count; i++) {
        char **specs = NULL;
        rc = sae_spec_expand(p->saes[i].spec, &specs, err);
        if (rc < 0)
            sae_fail_prefix(err, rc, "%s", p->saes[i].spec);
        else
            rc = add_entry(g, p, &p->saes[i], specs, err);
        sae_spec_list_free(&specs);
        if (rc < 0)
            goto fail;
    }
    for (int64_t i = 0; i < g->count; i++)
        SAE_GOTO(read_job(&g->job[i], p, reg, dim, err));
    SAE_GOTO(refuse_twins(g, err));
    return SAE_OK;
fail:
    sae_grid_close(g);
    return rc;
}

void sae_grid_close(sae_grid *g)
{
    for (int64_t i = 0; i < g->count; i++) {
        sae_free(g->job[i].spec);
        sae_free(g->job[i].canonical);
    }
    sae_free(g->job);
    *g = (sae_grid){0};
}

int sae_grid_waves(sae_grid *g, size_t bytes, sae_err *err)
{
    size_t used = 0;
    g->waves = g->count > 0;
    for (int64_t i = 0; i < g->count; i++) {
        sae_job *j = &g->job[i];
        if (j->bytes > bytes)
            SAE_FAIL(err, SAE_ENOMEM, "%s needs %zu MiB to train, %zu MiB are available", j->spec,
                     j->bytes >> 20, bytes >> 20);
        if (used > 0 && used + j->bytes > bytes) {
            used = 0;
            g->waves++;
        }
        used += j->bytes;
        j->wave = g->waves - 1;
    }
    return SAE_OK;
}
