/* suite/run/facts.c - run.json: everything needed to repeat the run and to read its numbers. */
#include "run/facts.h"
#include "run/session.h"

#include "core/build.h"
#include "core/divide.h"
#include "core/error.h"
#include "core/memory.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

json_t *sae_facts_build(void)
{
    const sae_build_facts *f = sae_build();
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "version", f->version, "git", f->git,
                     "config", f->config, "compiler", f->compiler, "flags", f->flags, "target",
                     f->target);
}

json_t *sae_facts_machine(const sae_engine *e)
{
    char host[128] = "";
    gethostname(host, sizeof host - 1);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:i, s:I}", "host", host, "backend", e->be->name,
                          "processor", e->props.name, "library", e->props.library, "threads",
                          e->props.threads, "peak_rss_bytes", (json_int_t)sae_memory_peak_rss());
    if (j && e->peers)
        json_object_set_new(j, "divided", json_integer(sae_engine_devices(e)));
    return j;
}

static json_t *dataset_json(const char *spec, const sae_stream *st)
{
    json_t *o = json_pack("{s:s, s:s, s:I, s:I}", "spec", spec, "hash", st->hash, "d",
                          (json_int_t)st->dim.d_in, "d_out", (json_int_t)st->dim.d_out);
    const sae_label *label;
    int64_t count;
    if (!o || !(sae_source_gives(st->ds, st->src) & SAE_GIVES_LABELS) || !st->ds->labels ||
        st->ds->labels(st->src, &label, &count) < 0)
        return o;
    json_t *names = json_array();
    for (int64_t i = 0; i < count; i++)
        json_array_append_new(names, json_string(label[i].name));
    json_object_set_new(o, "labels", names);
    return o;
}

static json_t *norm_json(const sae_session *s)
{
    const sae_norm_const *n = &s->train.norm;
    return json_pack("{s:s, s:f, s:I}", "kind", s->plan->norm, "scale", n->scale, "rows",
                     (json_int_t)n->rows);
}

static json_t *jobs_json(const sae_session *s)
{
    json_t *all = json_array();
    for (int64_t i = 0; i < s->grid.count; i++) {
        const sae_job *j = &s->grid.job[i];
        json_t *o = json_pack("{s:s, s:I, s:I}", "spec", j->spec, "seed", (json_int_t)j->seed,
                              "learner_bytes", (json_int_t)j->bytes);
        if (s->seconds[i] > 0)
            json_object_set_new(o, "train_seconds", json_real(s->seconds[i]));
        json_array_append_new(all, o);
    }
    return all;
}

static json_t *metrics_json(const sae_session *s)
{
    json_t *all = json_array();
    for (int64_t i = 0; i < s->metrics; i++) {
        char *text = sae_spec_print(&s->metric[i], 1);
        int lost = json_array_append_new(all, json_string(text));
        sae_free(text);
        if (lost) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

int sae_facts_write(const sae_session *s, const char *identity, sae_err *err)
{
    char id[17];
    sae_spec_id(identity, id);
    const sae_plan *p = s->plan;
    char when[32];
    time_t now = time(NULL);
    struct tm tm;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
    json_t *j = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:o, s:o, s:o, s:o, s:o, s:o}", "identity",
        id, "plan", p->name, "title", p->title ? p->title : p->name, "command",
        s->o->command ? s->o->command : "", "finished", when, "steps", (json_int_t)p->steps,
        "batch", (json_int_t)p->batch, "eval_rows", (json_int_t)p->eval_rows, "determinism",
        s->e->props.shares_host ? "D1" : "D2",
        "dataset", dataset_json(s->train_text, &s->train), "norm", norm_json(s), "saes",
        jobs_json(s), "metrics", metrics_json(s), "build", sae_facts_build(), "machine",
        sae_facts_machine(s->e));
    if (j && s->devices > 1)
        json_object_set_new(json_object_get(j, "machine"), "devices", json_integer(s->devices));
    if (j && p->eval_dataset)
        json_object_set_new(j, "eval_dataset", dataset_json(s->eval_text, &s->eval));
    if (j && s->hook[0])
        json_object_set_new(j, "hook", json_string(s->hook));
    if (j && s->target_hook[0])
        json_object_set_new(j, "target_hook", json_string(s->target_hook));
    char *text = j ? json_dumps(j, JSON_INDENT(2)) : NULL;
    json_decref(j);
    char *path = sae_path_join(s->dir, "run.json");
    int rc = SAE_ENOMEM;
    if (text && path)
        rc = sae_file_write(path, text, strlen(text), err);
    else
        sae_fail(err, rc, __FILE__, __LINE__, "out of memory writing run.json");
    free(text);
    sae_free(path);
    return rc;
}

int sae_facts_find(const sae_session *s, const char *identity, sae_err *err)
{
    char id[17];
    json_error_t e;
    char *path = sae_path_join(s->dir, "run.json");
    if (!path)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a path");
    int rc = SAE_OK;
    if (sae_file_exists(path)) {
        json_t *j = json_load_file(path, 0, &e);
        const char *found = json_string_value(json_object_get(j, "identity"));
        sae_spec_id(identity, id);
        if (!j)
            rc = SAE_SET(err, SAE_EFORMAT, "%s: line %d: %s", path, e.line, e.text);
        else if (!found || strcmp(found, id))
            rc = SAE_SET(err, SAE_EINVAL, "--resume: %s belongs to another run (give its "
                         "--set options, see \"command\" in run.json, or another --out): it has "
                         "identity %s, this plan %s", s->dir, found ? found : "(none)", id);
        else
            rc = SAE_DONE;
        json_decref(j);
    }
    sae_free(path);
    return rc;
}
