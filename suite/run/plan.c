/* suite/run/plan.c - reading, overriding and checking plans.
 *
 * A plan is texts first (plan_schema.h). --set and the variables change texts; then numbers are
 * read and checked.
 */
#include "run/plan.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/yaml.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/options.h"
#include "core/text.h"
#include "run/plan_schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST (INT64_C(1) << 40)

/* ---- fields ---------------------------------------------------------------------------------- */

/* Every key with one value. */
static const struct {
    const char *key;
    size_t off; /* in sae_plan_text */
} scalars[] = {
    {"name", offsetof(sae_plan_text, name)},
    {"title", offsetof(sae_plan_text, title)},
    {"dataset", offsetof(sae_plan_text, dataset)},
    {"eval_dataset", offsetof(sae_plan_text, eval_dataset)},
    {"norm", offsetof(sae_plan_text, norm)},
    {"steps", offsetof(sae_plan_text, steps)},
    {"batch", offsetof(sae_plan_text, batch)},
    {"eval_rows", offsetof(sae_plan_text, eval_rows)},
    {"log_every", offsetof(sae_plan_text, log_every)},
    {"checkpoint_every", offsetof(sae_plan_text, checkpoint_every)},
    {"data_seed", offsetof(sae_plan_text, data_seed)},
};
enum { SCALARS = sizeof scalars / sizeof scalars[0] };

/* Whole numbers of a plan; 0 where it has none. */
static const struct {
    const char *key;
    size_t text, value; /* in sae_plan_text, sae_plan */
    int64_t lo, hi;
} wholes[] = {
    {"steps", offsetof(sae_plan_text, steps), offsetof(sae_plan, steps), 1, MOST},
    {"batch", offsetof(sae_plan_text, batch), offsetof(sae_plan, batch), 1, 1 << 24},
    {"eval_rows", offsetof(sae_plan_text, eval_rows), offsetof(sae_plan, eval_rows), 0, MOST},
    {"log_every", offsetof(sae_plan_text, log_every), offsetof(sae_plan, log_every), 0, MOST},
    {"checkpoint_every", offsetof(sae_plan_text, checkpoint_every),
     offsetof(sae_plan, checkpoint_every), 0, MOST},
    {"data_seed", offsetof(sae_plan_text, data_seed), offsetof(sae_plan, data_seed), 0, INT64_MAX},
};
enum { WHOLES = sizeof wholes / sizeof wholes[0] };

/* Settings of an entry; the variant's own where it has none. */
static const struct {
    const char *key;
    size_t text, value; /* in sae_plan_entry, sae_train_config */
    double lo, hi;
} settings[] = {
    {"lr", offsetof(sae_plan_entry, lr), offsetof(sae_train_config, lr), 1e-12, 1e3},
    {"beta1", offsetof(sae_plan_entry, beta1), offsetof(sae_train_config, beta1), 0, 0.999999},
    {"beta2", offsetof(sae_plan_entry, beta2), offsetof(sae_train_config, beta2), 0, 0.9999999},
    {"eps", offsetof(sae_plan_entry, eps), offsetof(sae_train_config, eps), 1e-20, 1},
    {"clip_norm", offsetof(sae_plan_entry, clip_norm), offsetof(sae_train_config, clip_norm), 0,
     1e12},
    {"weight_decay", offsetof(sae_plan_entry, weight_decay),
     offsetof(sae_train_config, weight_decay), 0, 1e3},
    {"decay", offsetof(sae_plan_entry, decay), offsetof(sae_train_config, decay), 0, 1},
};
enum { SETTINGS = sizeof settings / sizeof settings[0] };

static char **text_at(void *base, size_t off)
{
    return (char **)(void *)((char *)base + off);
}

/* ---- numbers --------------------------------------------------------------------------------- */

typedef struct source { /* for messages that name the line; file NULL: the command line */
    const char *file, *text;
    size_t bytes;
} source;

static int refuse(const source *s, const char *key, int64_t nth, const char *expected,
                  const char *found, sae_err *err)
{
    char where[32] = ""; /* keys inside {} are not looked for */
    if (!s->file)
        SAE_FAIL(err, SAE_EINVAL, "--set %s=%s: expected %s", key, found, expected);
    int line = sae_yaml_line_of(s->text, s->bytes, key, nth);
    if (line > 0)
        snprintf(where, sizeof where, " line %d:", line);
    SAE_FAIL(err, SAE_EINVAL, "%s:%s %s: expected %s, found %s", s->file, where, key, expected,
             found);
}

/* The value of the nth `key` of the plan. */
static int read_whole(const source *s, const char *key, int64_t nth, const char *text, int64_t lo,
                      int64_t hi, int64_t *out, sae_err *err)
{
    char expected[80];
    if (sae_int_parse(text, out) == SAE_OK && *out >= lo && *out <= hi)
        return SAE_OK;
    snprintf(expected, sizeof expected, "a whole number from %" PRId64 " to %" PRId64, lo, hi);
    return refuse(s, key, nth, expected, text, err);
}

static int read_real(const source *s, const char *key, int64_t nth, const char *text, double lo,
                     double hi, double *out, sae_err *err)
{
    char expected[80];
    if (sae_real_parse(text, out) == SAE_OK && *out >= lo && *out <= hi)
        return SAE_OK;
    snprintf(expected, sizeof expected, "a number from %g to %g", lo, hi);
    return refuse(s, key, nth, expected, text, err);
}

static int read_seed(const source *s, const char *text, int64_t *out, sae_err *err)
{
    return read_whole(s, "seeds", 0, text, 0, INT64_MAX, out, err);
}

/* ---- --set key=value ------------------------------------------------------------------------- */

static const source command_line = {0};

/* libcyaml frees texts with free(), so replacements come from malloc too. */
static int replace_text(char **slot, const char *value, sae_err *err)
{
    char *copy = strdup(value);
    if (!copy)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory copying a plan value");
    free(*slot);
    *slot = copy;
    return SAE_OK;
}

static int append_text(char ***list, unsigned *count, const char *text, size_t len, sae_err *err)
{
    char **more = realloc(*list, (*count + 1) * sizeof *more);
    if (more)
        *list = more;
    if (!more || !(more[*count] = strndup(text, len)))
        SAE_FAIL(err, SAE_ENOMEM, "out of memory copying a plan value");
    ++*count;
    return SAE_OK;
}

/* "1,2,3" */
static int set_seeds(sae_plan_text *t, const char *value, sae_err *err)
{
    int64_t v;
    for (unsigned i = 0; i < t->seeds_count; i++)
        free(t->seeds[i]);
    t->seeds_count = 0;
    for (const char *at = value; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        SAE_TRY(append_text(&t->seeds, &t->seeds_count, at, strcspn(at, ","), err));
        SAE_TRY(read_seed(&command_line, t->seeds[t->seeds_count - 1], &v, err));
    }
    return SAE_OK;
}

/* --set saes=SPEC keeps the training settings of the plan's first entry. */
static int set_saes(sae_plan_text *t, const char *value, sae_err *err)
{
    SAE_TRY(replace_text(&t->saes[0].spec, value, err));
    sae_plan_drop_saes(t, 1);
    return SAE_OK;
}

static int set_scalar(sae_plan_text *t, size_t i, const char *value, sae_err *err)
{
    int64_t v;
    for (size_t k = 0; k < WHOLES; k++)
        if (!strcmp(wholes[k].key, scalars[i].key))
            SAE_TRY(read_whole(&command_line, wholes[k].key, 0, value, wholes[k].lo, wholes[k].hi,
                               &v, err));
    return replace_text(text_at(t, scalars[i].off), value, err);
}

enum { KEYS = SCALARS + 2 };

static const char *key_name(size_t i)
{
    return i < SCALARS ? scalars[i].key : i == SCALARS ? "seeds" : "saes";
}

static const char *nearest_key(const sae_plan_text *t, const char *set)
{
    const char *list[KEYS + 33] = {NULL};
    char word[64];
    unsigned n = 0;
    for (unsigned i = 0; i < t->vars_count && n < 32; i++)
        list[n++] = t->vars[i].name;
    for (size_t i = 0; i < KEYS; i++)
        list[n++] = key_name(i);
    snprintf(word, sizeof word, "%.*s", (int)strcspn(set, "="), set);
    return sae_nearest(word, list);
}

static int set_unknown(const sae_plan_text *t, const char *set, sae_err *err)
{
    char known[256] = "";
    size_t used = 0;
    for (unsigned i = 0; i < t->vars_count && used < sizeof known - 64; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%.48s, ", t->vars[i].name);
    for (size_t i = 0; i < KEYS && used < sizeof known - 64; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", key_name(i),
                                 i + 1 < KEYS ? ", " : "");
    const char *near = nearest_key(t, set);
    SAE_FAIL(err, SAE_EINVAL, "--set %s: plan %s has no such key%s%s%s has %s", set, t->name,
             near ? "; did you mean \"" : "", near ? near : "", near ? "\"? It" : "; it", known);
}

static int is_word(const char *word, const char *text, size_t len)
{
    return strlen(word) == len && !memcmp(word, text, len);
}

static int apply_set(sae_plan_text *t, const char *set, sae_err *err)
{
    const char *eq = strchr(set, '=');
    if (!eq || eq == set)
        SAE_FAIL(err, SAE_EINVAL, "--set %s: expected key=value", set);
    size_t len = (size_t)(eq - set);
    for (unsigned i = 0; i < t->vars_count; i++)
        if (is_word(t->vars[i].name, set, len))
            return replace_text(&t->vars[i].value, eq + 1, err);
    for (size_t i = 0; i < SCALARS; i++)
        if (is_word(scalars[i].key, set, len))
            return set_scalar(t, i, eq + 1, err);
    if (is_word("seeds", set, len))
        return set_seeds(t, eq + 1, err);
    if (is_word("saes", set, len))
        return set_saes(t, eq + 1, err);
    return set_unknown(t, set, err);
}

/* ---- ${variable} ----------------------------------------------------------------------------- */

static const sae_plan_var *find_var(const sae_plan_text *t, const char *name, size_t len)
{
    for (unsigned i = 0; i < t->vars_count; i++)
        if (is_word(t->vars[i].name, name, len))
            return &t->vars[i];
    return NULL;
}

/* Replace every ${name} of *slot, the value of `key`. */
static int substitute(const sae_plan_text *t, const char *key, char **slot, sae_err *err)
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
        const sae_plan_var *v = find_var(t, text + 2, (size_t)len);
        if (!v)
            rc = SAE_SET(err, SAE_EINVAL, "%s: no variable named '%.*s' in plan %s", key, len,
                         text + 2, t->name);
        else if (!v->value)
            rc = SAE_SET(err, SAE_EINVAL, "plan %s needs --set %s=VALUE (%s)", t->name, v->name,
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

static int substitute_all(sae_plan_text *t, sae_err *err)
{
    for (size_t i = 0; i < SCALARS; i++)
        SAE_TRY(substitute(t, scalars[i].key, text_at(t, scalars[i].off), err));
    for (unsigned i = 0; i < t->seeds_count; i++)
        SAE_TRY(substitute(t, "seeds", &t->seeds[i], err));
    for (unsigned i = 0; i < t->metrics_count; i++)
        SAE_TRY(substitute(t, "metrics", &t->metrics[i], err));
    for (unsigned i = 0; i < t->saes_count; i++) {
        sae_plan_entry *e = &t->saes[i];
        SAE_TRY(substitute(t, "saes.spec", &e->spec, err));
        SAE_TRY(substitute(t, "saes.warmup", &e->warmup, err));
        for (size_t k = 0; k < SETTINGS; k++)
            SAE_TRY(substitute(t, settings[k].key, text_at(e, settings[k].text), err));
    }
    return SAE_OK;
}

/* ---- texts to values ------------------------------------------------------------------------- */

static int check_norm(const source *s, const char *norm, sae_err *err)
{
    char known[160] = "one of ";
    size_t used = strlen(known);
    for (int i = 0; sae_norm_names[i]; i++) {
        if (!strcmp(norm, sae_norm_names[i]))
            return SAE_OK;
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "",
                                 sae_norm_names[i]);
    }
    return refuse(s, "norm", 0, known, norm, err);
}

static int read_scalars(const source *s, sae_plan *p, sae_err *err)
{
    sae_plan_text *t = p->text;
    p->name = t->name;
    p->title = t->title;
    p->dataset = t->dataset;
    p->eval_dataset = t->eval_dataset;
    p->norm = t->norm ? t->norm : "mean_sq1";
    for (size_t i = 0; i < WHOLES; i++) {
        const char *text = *text_at(t, wholes[i].text);
        int64_t v = 0;
        if (text)
            SAE_TRY(read_whole(s, wholes[i].key, 0, text, wholes[i].lo, wholes[i].hi, &v, err));
        memcpy((char *)p + wholes[i].value, &v, sizeof v);
    }
    return check_norm(s, p->norm, err);
}

static int read_seeds(const source *s, sae_plan *p, sae_err *err)
{
    const sae_plan_text *t = p->text;
    SAE_TRY(sae_new(&p->seeds, t->seeds_count, sizeof *p->seeds, "plan", err));
    p->seeds_count = t->seeds_count;
    for (unsigned i = 0; i < p->seeds_count; i++) {
        int64_t v;
        SAE_TRY(read_seed(s, t->seeds[i], &v, err));
        p->seeds[i] = (uint64_t)v;
        for (unsigned j = 0; j < i; j++)
            if (p->seeds[i] == p->seeds[j])
                SAE_FAIL(err, SAE_EINVAL, "%s: line %d: seeds: %lld is listed twice", s->file,
                         sae_yaml_line_of(s->text, s->bytes, "seeds", 0), (long long)v);
    }
    return SAE_OK;
}

/* How many entries before the i-th have a text at `off`. */
static int64_t count_before(const sae_plan_text *t, unsigned i, size_t off)
{
    int64_t n = 0;
    while (i-- > 0)
        n += *text_at(&t->saes[i], off) != NULL;
    return n;
}

static int read_entry(const source *s, sae_plan *p, unsigned i, sae_err *err)
{
    sae_plan_text *t = p->text;
    sae_plan_entry *e = &t->saes[i];
    sae_train_config *c = &p->saes[i].train;
    p->saes[i].spec = e->spec;
    sae_train_config_default(c);
    c->steps = p->steps;
    c->B = p->batch;
    for (size_t k = 0; k < SETTINGS; k++) {
        const char *text = *text_at(e, settings[k].text);
        double v;
        if (!text)
            continue;
        SAE_TRY(read_real(s, settings[k].key, count_before(t, i, settings[k].text), text,
                          settings[k].lo, settings[k].hi, &v, err));
        memcpy((char *)c + settings[k].value, &v, sizeof v);
    }
    if (!e->warmup)
        return SAE_OK;
    return read_whole(s, "warmup", count_before(t, i, offsetof(sae_plan_entry, warmup)), e->warmup,
                      0, MOST, &c->warmup, err);
}

static int read_plan(const source *s, sae_plan *p, sae_err *err)
{
    SAE_TRY(read_scalars(s, p, err));
    SAE_TRY(read_seeds(s, p, err));
    SAE_TRY(sae_new(&p->saes, p->text->saes_count, sizeof *p->saes, "plan", err));
    p->saes_count = p->text->saes_count;
    for (unsigned i = 0; i < p->saes_count; i++)
        SAE_TRY(read_entry(s, p, i, err));
    p->metrics = p->text->metrics;
    p->metrics_count = p->text->metrics_count;
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
    SAE_TRY(sae_new(&p, 1, sizeof *p, "plan", err));
    SAE_GOTO(sae_plan_from_yaml(&p->text, name, text, bytes, err));
    for (int i = 0; sets && sets[i]; i++)
        SAE_GOTO(apply_set(p->text, sets[i], err));
    SAE_GOTO(substitute_all(p->text, err));
    SAE_GOTO(read_plan(&s, p, err));
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

void sae_plan_free(sae_plan **p)
{
    if (!*p)
        return;
    sae_plan_text_free(&(*p)->text);
    sae_free((*p)->seeds);
    sae_free((*p)->saes);
    sae_free(*p);
    *p = NULL;
}
