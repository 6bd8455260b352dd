/* suite/run/plan.c - reading, overriding and checking plans. */
#include "run/plan.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/options.h"
#include "core/text.h"
#include "run/plan_schema.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- --set key=value ------------------------------------------------------------------------- */

enum set_type { SET_TEXT, SET_INT, SET_SEEDS, SET_SAES };

static const struct {
    const char *key;
    enum set_type type;
    size_t off;
} settable[] = {
    {"title", SET_TEXT, offsetof(sae_plan, title)},
    {"dataset", SET_TEXT, offsetof(sae_plan, dataset)},
    {"eval_dataset", SET_TEXT, offsetof(sae_plan, eval_dataset)},
    {"norm", SET_TEXT, offsetof(sae_plan, norm)},
    {"steps", SET_INT, offsetof(sae_plan, steps)},
    {"batch", SET_INT, offsetof(sae_plan, batch)},
    {"eval_rows", SET_INT, offsetof(sae_plan, eval_rows)},
    {"log_every", SET_INT, offsetof(sae_plan, log_every)},
    {"checkpoint_every", SET_INT, offsetof(sae_plan, checkpoint_every)},
    {"data_seed", SET_INT, offsetof(sae_plan, data_seed)},
    {"seeds", SET_SEEDS, 0},
    {"saes", SET_SAES, 0},
};
enum { SETTABLE = sizeof settable / sizeof settable[0] };

/* libcyaml frees plan strings with free(), so replacements come from malloc too. */
static int replace_text(char **slot, const char *value, sae_err *err)
{
    char *copy = strdup(value);
    if (!copy)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory copying a plan value");
    free(*slot);
    *slot = copy;
    return SAE_OK;
}

static int set_seeds(sae_plan *p, const char *value, sae_err *err)
{
    unsigned count = 1;
    for (const char *s = value; *s; s++)
        count += *s == ',';
    uint64_t *seeds = malloc(count * sizeof *seeds);
    if (!seeds)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for %u seeds", count);
    const char *at = value;
    for (unsigned i = 0; i < count; i++) {
        char *end;
        errno = 0;
        seeds[i] = strtoull(at, &end, 10);
        if (end == at || errno || (*end != ',' && *end != '\0') || *at == '-') {
            free(seeds);
            SAE_FAIL(err, SAE_EINVAL, "--set seeds=%s: expected numbers separated by commas",
                     value);
        }
        at = end + 1;
    }
    free(p->seeds);
    p->seeds = seeds;
    p->seeds_count = count;
    return SAE_OK;
}

/* --set saes=SPEC keeps the training settings of the plan's first entry. */
static int set_saes(sae_plan *p, const char *value, sae_err *err)
{
    SAE_TRY(replace_text(&p->saes[0].spec, value, err));
    sae_plan_drop_saes(p, 1);
    return SAE_OK;
}

static int set_key(sae_plan *p, size_t i, const char *value, sae_err *err)
{
    char *base = (char *)p;
    int64_t v;
    switch (settable[i].type) {
    case SET_TEXT:
        return replace_text((char **)(void *)(base + settable[i].off), value, err);
    case SET_INT:
        if (sae_int_parse(value, &v))
            SAE_FAIL(err, SAE_EINVAL, "--set %s=%s: expected a whole number", settable[i].key,
                     value);
        memcpy(base + settable[i].off, &v, sizeof v);
        return SAE_OK;
    case SET_SEEDS:
        return set_seeds(p, value, err);
    case SET_SAES:
        return set_saes(p, value, err);
    }
    return SAE_OK;
}

static const char *nearest_key(const sae_plan *p, const char *set)
{
    const char *list[SETTABLE + 33] = {NULL};
    char word[64];
    unsigned n = 0;
    for (unsigned i = 0; i < p->vars_count && n < 32; i++)
        list[n++] = p->vars[i].name;
    for (size_t i = 0; i < SETTABLE; i++)
        list[n++] = settable[i].key;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(set, "="), set);
    return sae_nearest(word, list);
}

static int set_unknown(const sae_plan *p, const char *set, sae_err *err)
{
    char known[256] = "";
    size_t used = 0;
    for (unsigned i = 0; i < p->vars_count && used < sizeof known - 64; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%.48s, ", p->vars[i].name);
    for (size_t i = 0; i < SETTABLE && used < sizeof known - 64; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", settable[i].key,
                                 i + 1 < SETTABLE ? ", " : "");
    const char *near = nearest_key(p, set);
    SAE_FAIL(err, SAE_EINVAL, "--set %s: plan %s has no such key%s%s%s has %s", set, p->name,
             near ? "; did you mean \"" : "", near ? near : "", near ? "\"? It" : "; it", known);
}

static int apply_set(sae_plan *p, const char *set, sae_err *err)
{
    const char *eq = strchr(set, '=');
    if (!eq || eq == set)
        SAE_FAIL(err, SAE_EINVAL, "--set %s: expected key=value", set);
    size_t len = (size_t)(eq - set);
    for (unsigned i = 0; i < p->vars_count; i++)
        if (strlen(p->vars[i].name) == len && !memcmp(p->vars[i].name, set, len))
            return replace_text(&p->vars[i].value, eq + 1, err);
    for (size_t i = 0; i < SETTABLE; i++)
        if (strlen(settable[i].key) == len && !memcmp(settable[i].key, set, len))
            return set_key(p, i, eq + 1, err);
    return set_unknown(p, set, err);
}

/* ---- ${variable} ----------------------------------------------------------------------------- */

static const sae_plan_var *find_var(const sae_plan *p, const char *name, size_t len)
{
    for (unsigned i = 0; i < p->vars_count; i++)
        if (strlen(p->vars[i].name) == len && !memcmp(p->vars[i].name, name, len))
            return &p->vars[i];
    return NULL;
}

/* Replace every ${name} of *slot, the value of `key`. */
static int substitute(const sae_plan *p, const char *key, char **slot, sae_err *err)
{
    sae_text out = {0};
    int rc = SAE_OK;
    const char *text = *slot ? *slot : "";
    if (!strstr(text, "${"))
        return SAE_OK;
    while (*text) {
        const char *end = text[0] == '$' && text[1] == '{' ? strchr(text, '}') : NULL;
        if (!end) {
            sae_text_putc(&out, *text++);
            continue;
        }
        int len = (int)(end - text - 2);
        const sae_plan_var *v = find_var(p, text + 2, (size_t)len);
        if (!v)
            rc = SAE_SET(err, SAE_EINVAL, "%s: no variable named '%.*s' in plan %s", key, len,
                         text + 2, p->name);
        else if (!v->value)
            rc = SAE_SET(err, SAE_EINVAL, "plan %s needs --set %s=VALUE (%s)", p->name, v->name,
                         v->help ? v->help : "no description");
        if (rc < 0)
            break;
        sae_text_puts(&out, v->value);
        text = end + 1;
    }
    char *done = sae_text_take(&out);
    if (rc >= 0 && !done)
        rc = SAE_SET(err, SAE_ENOMEM, "out of memory for plan key %s", key);
    if (rc >= 0)
        rc = replace_text(slot, done, err);
    sae_free(done);
    return rc;
}

static int substitute_all(sae_plan *p, sae_err *err)
{
    SAE_TRY(substitute(p, "title", &p->title, err));
    SAE_TRY(substitute(p, "dataset", &p->dataset, err));
    SAE_TRY(substitute(p, "eval_dataset", &p->eval_dataset, err));
    for (unsigned i = 0; i < p->saes_count; i++)
        SAE_TRY(substitute(p, "saes.spec", &p->saes[i].spec, err));
    for (unsigned i = 0; i < p->metrics_count; i++)
        SAE_TRY(substitute(p, "metrics", &p->metrics[i], err));
    return SAE_OK;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

typedef struct source { /* for messages that name the line */
    const char *name, *text;
    size_t bytes;
} source;

static int range_int(const source *s, const char *key, int64_t v, int64_t lo, int64_t hi,
                     sae_err *err)
{
    if (v >= lo && v <= hi)
        return SAE_OK;
    SAE_FAIL(err, SAE_EINVAL, "%s: line %d: %s: expected %lld to %lld, found %lld", s->name,
             sae_plan_line_of(s->text, s->bytes, key, 0), key, (long long)lo, (long long)hi,
             (long long)v);
}

static int range_real(const source *s, const char *key, const double *v, double lo, double hi,
                      sae_err *err)
{
    if (!v || (*v >= lo && *v <= hi))
        return SAE_OK;
    SAE_FAIL(err, SAE_EINVAL, "%s: line %d: %s: expected %g to %g, found %g", s->name,
             sae_plan_line_of(s->text, s->bytes, key, 0), key, lo, hi, *v);
}

/* CSV and JSON hold signed numbers. */
static int range_seed(const source *s, const char *key, uint64_t v, sae_err *err)
{
    if (v <= INT64_MAX)
        return SAE_OK;
    SAE_FAIL(err, SAE_EINVAL, "%s: line %d: %s: expected 0 to %lld, found %llu", s->name,
             sae_plan_line_of(s->text, s->bytes, key, 0), key, (long long)INT64_MAX,
             (unsigned long long)v);
}

static int check_entry(const source *s, const sae_plan_sae *e, sae_err *err)
{
    SAE_TRY(range_real(s, "lr", e->lr, 1e-12, 1e3, err));
    SAE_TRY(range_real(s, "beta1", e->beta1, 0, 0.999999, err));
    SAE_TRY(range_real(s, "beta2", e->beta2, 0, 0.9999999, err));
    SAE_TRY(range_real(s, "eps", e->eps, 1e-20, 1, err));
    SAE_TRY(range_real(s, "clip_norm", e->clip_norm, 0, 1e12, err));
    SAE_TRY(range_real(s, "weight_decay", e->weight_decay, 0, 1e3, err));
    SAE_TRY(range_real(s, "decay", e->decay, 0, 1, err));
    if (e->warmup)
        SAE_TRY(range_int(s, "warmup", *e->warmup, 0, INT64_C(1) << 40, err));
    return SAE_OK;
}

static int check_norm(const source *s, const sae_plan *p, sae_err *err)
{
    char known[160] = "";
    size_t used = 0;
    for (int i = 0; sae_norm_names[i]; i++) {
        if (p->norm && !strcmp(p->norm, sae_norm_names[i]))
            return SAE_OK;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 sae_norm_names[i]);
    }
    SAE_FAIL(err, SAE_EINVAL, "%s: line %d: norm: expected one of %s, found %s", s->name,
             sae_plan_line_of(s->text, s->bytes, "norm", 0), known, p->norm);
}

static int check_plan(const source *s, const sae_plan *p, sae_err *err)
{
    const int64_t many = INT64_C(1) << 40;
    SAE_TRY(range_int(s, "steps", p->steps, 1, many, err));
    SAE_TRY(range_int(s, "batch", p->batch, 1, 1 << 24, err));
    SAE_TRY(range_int(s, "eval_rows", p->eval_rows, 0, many, err));
    SAE_TRY(range_int(s, "log_every", p->log_every, 0, many, err));
    SAE_TRY(range_int(s, "checkpoint_every", p->checkpoint_every, 0, many, err));
    SAE_TRY(range_seed(s, "data_seed", p->data_seed, err));
    SAE_TRY(check_norm(s, p, err));
    for (unsigned i = 0; i < p->saes_count; i++)
        SAE_TRY(check_entry(s, &p->saes[i], err));
    for (unsigned i = 0; i < p->seeds_count; i++) {
        SAE_TRY(range_seed(s, "seeds", p->seeds[i], err));
        for (unsigned j = 0; j < i; j++)
            if (p->seeds[i] == p->seeds[j])
                SAE_FAIL(err, SAE_EINVAL, "%s: line %d: seeds: %llu is listed twice", s->name,
                         sae_plan_line_of(s->text, s->bytes, "seeds", 0),
                         (unsigned long long)p->seeds[i]);
    }
    return SAE_OK;
}

/* ---- public ---------------------------------------------------------------------------------- */

int sae_plan_parse(sae_plan **out, const char *name, const char *text, size_t bytes,
                   const char *const *sets, sae_err *err)
{
    sae_plan *p = NULL;
    int rc;
    source s = {name, text, bytes};
    *out = NULL;
    SAE_TRY(sae_plan_from_yaml(&p, name, text, bytes, err));
    for (int i = 0; sets && sets[i]; i++)
        SAE_GOTO(apply_set(p, sets[i], err));
    if (!p->norm)
        SAE_GOTO(replace_text(&p->norm, "mean_sq1", err));
    SAE_GOTO(substitute_all(p, err));
    SAE_GOTO(check_plan(&s, p, err));
    *out = p;
    return SAE_OK;
fail:
    sae_plan_free(&p);
    return rc;
}

int sae_plan_load(sae_plan **out, const char *name, const char *const *sets, sae_err *err)
{
    char asset[128];
    snprintf(asset, sizeof asset, "suite/plans/%.80s.yaml", name);
    const sae_asset *a = sae_asset_find(asset);
    if (a)
        return sae_plan_parse(out, name, (const char *)a->data, (size_t)(a->end - a->data), sets,
                              err);
    if (!sae_file_exists(name))
        SAE_FAIL(err, SAE_EINVAL,
                 "%s: neither a built-in plan (saemark list plans) nor a readable file", name);
    sae_map m;
    SAE_TRY(sae_map_open(&m, name, err));
    int rc = sae_plan_parse(out, name, m.bytes ? (const char *)m.p : "", m.bytes, sets, err);
    sae_map_close(&m);
    return rc;
}

void sae_plan_config(const sae_plan *p, const sae_plan_sae *s, sae_train_config *out)
{
    sae_train_config_default(out);
    out->steps = p->steps;
    out->B = p->batch;
    const double *const from[] = {s->lr,        s->beta1,        s->beta2, s->eps,
                                  s->clip_norm, s->weight_decay, s->decay};
    double *const to[] = {&out->lr,        &out->beta1,        &out->beta2, &out->eps,
                          &out->clip_norm, &out->weight_decay, &out->decay};
    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++)
        if (from[i])
            *to[i] = *from[i];
    if (s->warmup)
        out->warmup = *s->warmup;
}
