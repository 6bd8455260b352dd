/* suite/cli/cmd_list.c - saemark list: components with their options, and plans. */
#include "cli/open.h"
#include "core/assets.h"
#include "core/error.h"
#include "core/json.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What list prints of a component of any kind. */
typedef struct entry {
    const char *name, *summary, *source;
    const char *here;        /* of a backend, else NULL */
    const sae_option *options;
    const sae_option *own;   /* one more that the host reads, or NULL */
    const sae_preset *presets; /* of a variant, or NULL */
} entry;

/* The key of every variant that the host reads (core/spec.h). */
static const sae_option dictionary = {
    .name = "n", .type = SAE_OPT_STR, .sdef = "8d", .unit = "features",
    .help = "dictionary size, a number or a multiple of the activation width like 8d"};

static void default_text(const sae_option *o, char *out, size_t room)
{
    if (o->type == SAE_OPT_STR)
        snprintf(out, room, "%s", o->sdef ? (o->sdef[0] ? o->sdef : "\"\"") : "required");
    else if (o->type == SAE_OPT_ENUM)
        snprintf(out, room, "%s", o->enums[(int)o->def]);
    else
        snprintf(out, room, "%.10g", o->def);
}

/* "key  default  help (unit) range"; the unit 1 says nothing. */
static void print_option(const sae_option *o)
{
    char def[64], range[96] = "";
    int pure = !strcmp(o->unit, "1");
    default_text(o, def, sizeof def);
    if (o->type == SAE_OPT_INT || o->type == SAE_OPT_REAL)
        snprintf(range, sizeof range, " [%.10g, %.10g]", o->lo, o->hi);
    else if (o->type == SAE_OPT_BOOL)
        snprintf(range, sizeof range, " [0|1]");
    for (int i = 0; o->type == SAE_OPT_ENUM && o->enums[i]; i++) {
        size_t used = strlen(range);
        snprintf(range + used, sizeof range - used, "%s%s%s", i ? "|" : " [", o->enums[i],
                 o->enums[i + 1] ? "" : "]");
    }
    printf("    %-14s %-13s %s%s%s%s%s%s\n", o->name, def, o->help, pure ? "" : " (",
           pure ? "" : o->unit, pure ? "" : ")", range,
           o->flags & SAE_OPT_SCHED ? ", may follow a schedule" : "");
}

static void print_entry(const entry *e)
{
    printf("%s - %s\n", e->name, e->summary);
    if (e->source)
        printf("    source: %s\n", e->source);
    if (e->here)
        printf("    here: %s\n", e->here);
    if (e->own)
        print_option(e->own);
    for (const sae_option *o = e->options; o && o->name; o++)
        print_option(o);
    for (const sae_preset *p = e->presets; p && p->name; p++)
        printf("    preset=%s\n        %s (%s)\n", p->name,
               *p->options ? p->options : "the defaults", p->source);
}

static json_t *option_json(const sae_option *o)
{
    static const char *const types[] = {"int", "real", "bool", "enum", "string"};
    char def[64];
    default_text(o, def, sizeof def);
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:b}", "name", o->name, "type", types[o->type],
                          "default", def, "unit", o->unit, "help", o->help, "schedule",
                          (int)(o->flags & SAE_OPT_SCHED));
    if (o->type == SAE_OPT_INT || o->type == SAE_OPT_REAL) {
        json_object_set_new(j, "min", sae_json_real(o->lo));
        json_object_set_new(j, "max", sae_json_real(o->hi));
    }
    for (int i = 0; o->type == SAE_OPT_ENUM && o->enums[i]; i++) {
        if (i == 0)
            json_object_set_new(j, "values", json_array());
        json_array_append_new(json_object_get(j, "values"), json_string(o->enums[i]));
    }
    return j;
}

static json_t *entry_json(const entry *e)
{
    json_t *options = json_array();
    if (e->own)
        json_array_append_new(options, option_json(e->own));
    for (const sae_option *o = e->options; o && o->name; o++)
        json_array_append_new(options, option_json(o));
    json_t *presets = e->presets ? json_array() : NULL;
    for (const sae_preset *p = e->presets; p && p->name; p++)
        json_array_append_new(presets, json_pack("{s:s, s:s, s:s}", "name", p->name, "options",
                                                 p->options, "source", p->source));
    return json_pack("{s:s, s:s, s:s*, s:s*, s:o, s:o*}", "name", e->name, "summary", e->summary,
                     "source", e->source, "here", e->here, "options", options, "presets", presets);
}

static entry entry_at(const sae_registry *reg, const char *kind, int i)
{
    const entry none = {.name = NULL};
    if (!strcmp(kind, "variants")) {
        const sae_variant *v = sae_all_variants(reg)[i];
        return v ? (entry){v->name, v->summary, v->source, NULL,
                           v->options, &dictionary, v->presets}
                 : none;
    }
    if (!strcmp(kind, "metrics")) {
        const sae_metric *m = sae_all_metrics(reg)[i];
        return m ? (entry){m->name, m->summary, m->source, NULL, m->options, NULL, NULL} : none;
    }
    if (!strcmp(kind, "datasets")) {
        const sae_dataset *d = sae_all_datasets(reg)[i];
        return d ? (entry){d->name, d->summary, d->source, NULL, d->options, NULL, NULL} : none;
    }
    const sae_backend *b = sae_all_backends(reg)[i];
    return b ? (entry){.name = b->name, .summary = b->summary,
                       .here = b->score() > 0 ? "usable" : "not usable"}
             : none;
}

/* Name of the i-th built-in plan, and the comment that opens its file. */
static int plan_at(int i, char name[64], char summary[256])
{
    static const char dir[] = "suite/plans/";
    for (const sae_asset *a = sae_assets; a->name; a++) {
        if (strncmp(a->name, dir, sizeof dir - 1) || i-- > 0)
            continue;
        const char *base = a->name + sizeof dir - 1;
        snprintf(name, 64, "%.*s", (int)strcspn(base, "."), base);
        const char *text = (const char *)a->data;
        text += strspn(text, "# ");
        snprintf(summary, 256, "%.*s", (int)strcspn(text, ".\n"), text);
        return 1;
    }
    return 0;
}

/* What the listing of a kind ends with; releases `all`. */
static int finish(const char *kind, const char *only, int found, int as_json, json_t *all,
                  sae_err *err)
{
    if (as_json && (!only || found))
        return cli_print_json(all, err);
    json_decref(all);
    if (only && !found)
        SAE_FAIL(err, SAE_EINVAL, "list %s: there is no %s (see saemark list %s)", kind, only,
                 kind);
    return SAE_OK;
}

static int list_plans(const char *only, int as_json, sae_err *err)
{
    json_t *all = json_array();
    int found = 0;
    char name[64], summary[256];
    for (int i = 0; plan_at(i, name, summary); i++) {
        if (only && strcmp(only, name))
            continue;
        found++;
        if (as_json)
            json_array_append_new(all, json_pack("{s:s, s:s}", "name", name, "summary", summary));
        else
            printf("%-12s %s\n", name, summary);
    }
    return finish("plans", only, found, as_json, all, err);
}

static int list_components(const sae_registry *reg, const char *kind, const char *only, int as_json,
                           sae_err *err)
{
    json_t *all = json_array();
    int found = 0;
    for (int i = 0; entry_at(reg, kind, i).name; i++) {
        entry e = entry_at(reg, kind, i);
        if (only && strcmp(only, e.name))
            continue;
        found++;
        if (as_json)
            json_array_append_new(all, entry_json(&e));
        else
            print_entry(&e);
    }
    return finish(kind, only, found, as_json, all, err);
}

static int run(const cli_args *a, sae_err *err)
{
    static const char *const kinds[] = {"variants", "metrics", "datasets", "backends", NULL};
    if (!strcmp(a->word[0], "plans"))
        return list_plans(a->word[1], cli_has(a, "json"), err);
    int known = 0;
    for (int i = 0; kinds[i]; i++)
        known |= !strcmp(kinds[i], a->word[0]);
    if (!known)
        SAE_FAIL(err, SAE_EINVAL,
                 "list %s: expected variants, metrics, datasets, backends or plans", a->word[0]);
    sae_registry *reg = NULL;
    SAE_TRY(cli_open_registry(a, &reg, err));
    int rc = list_components(reg, a->word[0], a->word[1], cli_has(a, "json"), err);
    sae_registry_close(&reg);
    return rc;
}

static const cli_option options[] = {CLI_JSON, CLI_PLUGIN, {NULL, NULL, NULL}};

const cli_command cli_list = {
    .name = "list",
    .usage = "variants|metrics|datasets|backends|plans [NAME] [--json]",
    .summary = "List components with their options, or the built-in plans",
    .options = options,
    .min_words = 1,
    .max_words = 2,
    .run = run,
};
