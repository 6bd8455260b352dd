/* suite/cli/cmd_similarity.c - saemark similarity: activations of several models and layers on the
 * same tokens, and the origins of dictionaries trained on them. */
#include "cli/open.h"
#include "core/csv_table.h"
#include "core/error.h"
#include "core/memory.h"
#include "eval/similarity.h"
#include "eval/transfer.h"
#include "report/plot.h"
#include "run/host.h"

#include <math.h>
#include <sae/dataset.h>
#include <sae/rng.h>
#include <stdio.h>
#include <string.h>

enum { ANCHOR_SEED = 42, TRANSFER_BATCH = 2048 };

typedef struct place {
    char *name, *spec; /* MODEL/LAYER; of the dataset */
    sae_place p;
    sae_loaded sae; /* its dictionary, if one is given */
} place;

typedef struct comparison {
    sae_registry *reg;
    sae_engine e;
    place *at;
    sae_origins *origin; /* [places] of the dictionaries' atoms; NULL: none given */
    int64_t places, models, rows, anchors;
    int64_t *model, *layer; /* [places] */
    sae_token *tok;         /* [rows] of the first place */
    int64_t *anchor;        /* [anchors] */
    double *value;          /* [SAE_LIKENESSES x places x places] */
    const char *out;
} comparison;

static double *value_at(const comparison *q, int k, int64_t i, int64_t j)
{
    return &q->value[(k * q->places + i) * q->places + j];
}

/* Values of all pairs, none yet. */
static int open_values(comparison *q, sae_err *err)
{
    int64_t count = SAE_LIKENESSES * q->places * q->places;
    SAE_TRY(sae_new(&q->value, count, sizeof *q->value, "similarity", err));
    for (int64_t i = 0; i < count; i++)
        q->value[i] = (double)NAN;
    return SAE_OK;
}

/* ---- places ---------------------------------------------------------------------------------- */

/* "NAME=SPEC"; alternatives in the spec are the layers of the model. */
static int add_model(comparison *q, const char *word, sae_err *err)
{
    const char *equals = strchr(word, '=');
    size_t before = strcspn(word, "=:,/");
    char **specs = NULL;
    int64_t count = 0;
    if (!equals || equals == word || word + before != equals)
        SAE_FAIL(err, SAE_EINVAL, "%s: expected NAME=DATASET", word);
    for (int64_t i = 0; i < q->places; i++)
        if (q->at[i].name && !strncmp(q->at[i].name, word, before) && q->at[i].name[before] == '/')
            SAE_FAIL(err, SAE_EINVAL, "%s: another model has that name", word);
    SAE_TRY(sae_spec_expand(equals + 1, &specs, err));
    while (specs[count])
        count++;
    place *at = sae_realloc(q->at, (size_t)(q->places + count) * sizeof *at);
    q->at = at ? at : q->at;
    for (int64_t i = 0; at && i < count; i++) {
        q->at[q->places++] = (place){.name = sae_strfmt("%.*s/%lld", (int)before, word,
                                                        (long long)i),
                                     .spec = specs[i]};
        specs[i] = NULL; /* now the place's */
    }
    for (int64_t i = 0; i < count; i++)
        sae_free(specs[i]);
    sae_free(specs);
    q->models++;
    return at ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory for the places");
}

static int add_models(comparison *q, const cli_args *a, sae_err *err)
{
    int64_t before = 0;
    for (int i = 0; i < a->count; i++)
        SAE_TRY(add_model(q, a->word[i], err));
    SAE_TRY(sae_new(&q->model, q->places, sizeof *q->model, "similarity", err));
    SAE_TRY(sae_new(&q->layer, q->places, sizeof *q->layer, "similarity", err));
    for (int64_t i = 0, model = -1; i < q->places; i++) {
        if (!q->at[i].name)
            SAE_FAIL(err, SAE_ENOMEM, "out of memory for the places");
        const char *slash = strrchr(q->at[i].name, '/');
        before = strcmp(slash, "/0") == 0 ? i : before;
        model += before == i;
        q->model[i] = model;
        q->layer[i] = i - before;
    }
    return SAE_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int choose_anchors(comparison *q, sae_err *err)
{
    q->anchors = q->anchors < q->rows ? q->anchors : q->rows;
    SAE_TRY(sae_new(&q->anchor, q->anchors, sizeof *q->anchor, "similarity", err));
    for (int64_t k = 0; k < q->anchors; k++)
        q->anchor[k] = (int64_t)sae_permute(ANCHOR_SEED, 0, (uint64_t)q->rows, (uint64_t)k);
    return SAE_OK;
}

static int same_tokens(const comparison *q, const place *p, const sae_token *tok, sae_err *err)
{
    for (int64_t r = 0; r < q->rows; r++) {
        const sae_token *a = &q->tok[r], *b = &tok[r];
        if (a->doc != b->doc || a->pos != b->pos || a->id != b->id)
            SAE_FAIL(err, SAE_EINVAL,
                     "row %lld of %s is token %u at position %u of document %llu, of %s token %u "
                     "at %u of %llu: the same text, tokenizer, exclude and eval are needed",
                     (long long)r, q->at[0].name, a->id, a->pos, (unsigned long long)a->doc,
                     p->name, b->id, b->pos, (unsigned long long)b->doc);
    }
    return SAE_OK;
}

/* The first place decides how many rows there are. */
static int count_rows(comparison *q, const sae_spec *spec, const sae_source *src, sae_err *err)
{
    int64_t all = spec->dataset->rows(src, SAE_SPLIT_EVAL);
    q->rows = all >= 0 && all < q->rows ? all : q->rows;
    if (!(sae_source_gives(spec->dataset, src) & SAE_GIVES_TOKENS))
        SAE_FAIL(err, SAE_ENEEDS, "%s gives no tokens to compare rows by", spec->name);
    if (q->rows < 2)
        SAE_FAIL(err, SAE_EINVAL, "%s has %lld evaluation rows, expected at least 2", spec->name,
                 (long long)q->rows);
    SAE_TRY(sae_new(&q->tok, q->rows, sizeof *q->tok, "similarity", err));
    return choose_anchors(q, err);
}

static int load_rows(comparison *q, place *p, const sae_spec *spec, sae_source *src, int64_t d,
                     sae_err *err)
{
    sae_real *x = NULL;
    sae_token *tok = NULL;
    int64_t all = spec->dataset->rows(src, SAE_SPLIT_EVAL);
    if (all >= 0 && all < q->rows)
        SAE_FAIL(err, SAE_EINVAL, "%s has %lld evaluation rows, %s has %lld or more", p->name,
                 (long long)all, q->at[0].name, (long long)q->rows);
    int rc = sae_new(&x, q->rows * d, sizeof *x, "similarity.rows", err);
    if (rc >= 0)
        rc = sae_new(&tok, q->rows, sizeof *tok, "similarity.tokens", err);
    sae_fill f = {.x = x, .tok = tok};
    if (rc >= 0)
        rc = spec->dataset->fill(src, SAE_SPLIT_EVAL, 0, q->rows, &f, err);
    if (rc >= 0 && p == q->at)
        memcpy(q->tok, tok, (size_t)q->rows * sizeof *tok);
    if (rc >= 0)
        rc = same_tokens(q, p, tok, err);
    sae_cmat rows = {x, q->rows, d, d};
    if (rc >= 0)
        rc = sae_place_open(&p->p, &q->e, rows, q->anchor, q->anchors, err);
    sae_free(x);
    sae_free(tok);
    return rc;
}

static int open_place(comparison *q, place *p, sae_err *err)
{
    sae_host host = sae_host_make(&q->e, 0);
    sae_spec spec = {0};
    sae_source *src = NULL;
    sae_dims dim;
    SAE_TRY(sae_spec_parse(&spec, q->reg, SAE_KIND_DATASET, p->spec, err));
    int rc = spec.dataset->open(&src, sae_opts_base(spec.opts), &host, &dim, err);
    if (rc >= 0 && p == q->at)
        rc = count_rows(q, &spec, src, err);
    if (rc >= 0)
        rc = load_rows(q, p, &spec, src, dim.d_in, err);
    spec.dataset->close(&src);
    sae_spec_free(&spec);
    return rc;
}

/* ---- dictionaries ---------------------------------------------------------------------------- */

static int open_dictionary(comparison *q, int64_t i, const char *dir, sae_err *err)
{
    sae_loaded *s = &q->at[i].sae;
    sae_origins *o = &q->origin[i];
    SAE_TRY(sae_file_import(s, dir, NULL, q->reg, &q->e, err));
    const sae_tensor *t = sae_model_tensor(&s->model, "atom");
    if (!t || t->spec->dtype != SAE_U64 || t->cols != 3)
        SAE_FAIL(err, SAE_EINVAL, "%s: its atoms have no origins (tensor atom [n x 3])", dir);
    o->seen = (int64_t)s->stats.view.tokens;
    SAE_TRY(sae_new(&o->at, t->rows, sizeof *o->at, "similarity.origins", err));
    uint64_t one[3];
    for (; o->count < t->rows; o->count++) {
        SAE_TRY(q->e.be->copy(q->e.dev, one, (const uint64_t *)t->w + 3 * o->count, sizeof one,
                              SAE_COPY_D2H));
        o->at[o->count] = (sae_token){one[0], (uint32_t)one[1], (uint32_t)one[2]};
    }
    return SAE_OK;
}

static int open_dictionaries(comparison *q, const cli_args *a, sae_err *err)
{
    const char **dir = cli_all(a, "atoms");
    int64_t count = 0;
    int rc = dir ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory for the dictionaries");
    while (dir && dir[count])
        count++;
    if (rc >= 0 && count > 0 && count != q->places)
        rc = SAE_SET(err, SAE_EINVAL, "%lld dictionaries for %lld places, expected one for each",
                     (long long)count, (long long)q->places);
    if (rc >= 0 && count == 0 && cli_has(a, "transfer"))
        rc = SAE_SET(err, SAE_EINVAL, "--transfer: expected --atoms with it");
    if (rc >= 0 && count > 0)
        rc = sae_new(&q->origin, count, sizeof *q->origin, "similarity.origins", err);
    for (int64_t i = 0; rc >= 0 && i < count; i++)
        rc = open_dictionary(q, i, dir[i], err);
    sae_free(dir);
    return rc;
}

/* What the dictionary of place i errs when its atoms are taken where the others took theirs. */
static int transfer_to(comparison *q, int64_t i, double *error, sae_err *err)
{
    sae_host host = sae_host_make(&q->e, 0);
    sae_spec spec = {0};
    sae_stream s = {0};
    sae_transfer t = {.stream = &s,
                      .e = &q->e,
                      .reg = q->reg,
                      .sae = &q->at[i].sae,
                      .origins = q->origin,
                      .count = q->places,
                      .rows = q->rows};
    SAE_TRY(sae_spec_parse(&spec, q->reg, SAE_KIND_DATASET, q->at[i].spec, err));
    int rc = sae_stream_open(&s, &spec, &host, &q->e, SAE_NORM_NONE, TRANSFER_BATCH, err);
    if (rc >= 0)
        rc = sae_transfer_measure(&t, error, err);
    sae_stream_close(&s);
    sae_spec_free(&spec);
    return rc < 0 ? sae_fail_prefix(err, rc, "%s", q->at[i].name) : rc;
}

static int transfer(comparison *q, sae_err *err)
{
    int64_t n = q->places;
    double *error = NULL;
    int rc = sae_new(&error, n + 1, sizeof *error, "similarity.transfer", err);
    for (int64_t i = 0; rc >= 0 && i < n; i++) {
        rc = transfer_to(q, i, error, err);
        for (int64_t j = 0; j < n; j++)
            *value_at(q, SAE_LIKE_TRANSFER, i, j) =
                error[0] > 0 ? error[1 + j] / error[0] : (double)NAN;
    }
    sae_free(error);
    return rc;
}

/* ---- comparing ------------------------------------------------------------------------------- */

/* out[0]: the share beyond chance, NaN when it is not known how many rows there were; out[1]: the
 * share. The lists are sorted. */
static void compare_origins(const sae_origins *a, const sae_origins *b, double out[2])
{
    int64_t seen = a->seen > b->seen ? a->seen : b->seen;
    out[1] = sae_jaccard(a->at, a->count, b->at, b->count);
    out[0] = (double)NAN;
    if (seen > 0)
        out[0] = out[1] - sae_jaccard_chance((double)a->count, (double)b->count, (double)seen);
}

static int compare(comparison *q, sae_err *err)
{
    int64_t n = q->places;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double out[SAE_LIKE_ORDERED] = {0};
            SAE_TRY(sae_place_compare(&q->e, &q->at[i].p, &q->at[j].p, out, err));
            if (q->origin)
                compare_origins(&q->origin[i], &q->origin[j], out + SAE_LIKE_JACCARD);
            for (int k = 0; k < (q->origin ? SAE_LIKE_ORDERED : SAE_LIKE_ACTIVATIONS); k++)
                *value_at(q, k, i, j) = out[k];
        }
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

/* A measure that has no value anywhere is left out of files and figures. */
static int present(const comparison *q, int k)
{
    const double *v = value_at(q, k, 0, 0);
    int any = 0;
    for (int64_t i = 0; i < q->places * q->places; i++)
        any |= isfinite(v[i]);
    return any;
}

/* The origins of all layers of each model, each once. */
static int unite_layers(const comparison *q, sae_origins *out, sae_err *err)
{
    for (int64_t i = 0; i < q->places; i++)
        out[q->model[i]].count += q->origin[i].count;
    for (int64_t m = 0; m < q->models; m++) {
        SAE_TRY(sae_new(&out[m].at, out[m].count, sizeof *out->at, "similarity.unions", err));
        out[m].count = 0;
    }
    for (int64_t i = 0; i < q->places; i++) {
        sae_origins *o = &out[q->model[i]];
        for (int64_t k = 0; k < q->origin[i].count; k++)
            o->at[o->count++] = q->origin[i].at[k];
        o->seen = o->seen > q->origin[i].seen ? o->seen : q->origin[i].seen;
    }
    for (int64_t m = 0; m < q->models; m++)
        out[m].count = sae_origins_unique(out[m].at, out[m].count);
    return SAE_OK;
}

static void put_model(const comparison *q, sae_csv *c, int64_t model)
{
    char name[64];
    int64_t i = 0;
    while (q->model[i] != model)
        i++;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(q->at[i].name, "/"), q->at[i].name);
    sae_csv_text(c, name);
}

static void put_union(const comparison *q, sae_csv *c, const sae_origins *o, int64_t i, int64_t j)
{
    double shared[2];
    compare_origins(&o[i], &o[j], shared);
    for (int form = 0; form < 2; form++) {
        sae_csv_text(c, "jaccard_union");
        sae_csv_text(c, sae_likeness_names[SAE_LIKE_JACCARD + form].form);
        put_model(q, c, i);
        put_model(q, c, j);
        sae_csv_int(c, o[i].count);
        sae_csv_real(c, shared[form]);
        sae_csv_end_row(c);
    }
}

/* Models by the origins of all their layers. */
static int write_unions(const comparison *q, sae_csv *c, sae_err *err)
{
    sae_origins *o = NULL;
    int rc = sae_new(&o, q->models, sizeof *o, "similarity.unions", err);
    if (rc >= 0)
        rc = unite_layers(q, o, err);
    for (int64_t i = 0; rc >= 0 && i < q->models; i++)
        for (int64_t j = 0; j < q->models; j++)
            put_union(q, c, o, i, j);
    for (int64_t m = 0; o && m < q->models; m++)
        sae_free(o[m].at);
    sae_free(o);
    return rc;
}

static int write_values(const comparison *q, sae_err *err)
{
    sae_csv *c = NULL;
    char *path = sae_path_join(q->out, "similarity.csv");
    int rc = path ? sae_csv_open(&c, path, "measure,form,a,b,rows,value", err)
                  : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
    sae_free(path);
    for (int k = 0; rc >= 0 && k < SAE_LIKENESSES; k++)
        for (int64_t i = 0; present(q, k) && i < q->places; i++)
            for (int64_t j = 0; j < q->places; j++) {
                sae_csv_text(c, sae_likeness_names[k].measure);
                sae_csv_text(c, sae_likeness_names[k].form);
                sae_csv_text(c, q->at[i].name);
                sae_csv_text(c, q->at[j].name);
                int of_atoms = k >= SAE_LIKE_ACTIVATIONS && k < SAE_LIKE_ORDERED;
                sae_csv_int(c, of_atoms ? q->origin[i].count : q->rows);
                sae_csv_real(c, *value_at(q, k, i, j));
                sae_csv_end_row(c);
            }
    if (rc >= 0 && q->origin)
        rc = write_unions(q, c, err);
    if (rc >= 0)
        rc = sae_csv_close(&c, err);
    sae_csv_abandon(&c);
    return rc;
}

static int write_matching(const comparison *q, sae_err *err)
{
    sae_csv *c = NULL;
    char *path = sae_path_join(q->out, "layer_matching.csv");
    int rc = path ? sae_csv_open(&c, path, "measure,form,pairs,layers,accuracy", err)
                  : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
    sae_free(path);
    printf("%-12s %-10s %-6s %7s %9s\n", "measure", "form", "pairs", "layers", "accuracy");
    for (int k = 0; rc >= 0 && k < SAE_LIKE_ORDERED; k++)
        for (int cross = 0; present(q, k) && cross < 2; cross++) {
            const sae_likeness_name *name = &sae_likeness_names[k];
            sae_layer_match m = sae_match_layers(value_at(q, k, 0, 0), q->places, q->model,
                                                 q->layer, cross);
            if (m.layers == 0)
                continue;
            double accuracy = (double)m.hits / (double)m.layers;
            printf("%-12s %-10s %-6s %7lld %9.4f\n", name->measure, name->form,
                   cross ? "cross" : "all", (long long)m.layers, accuracy);
            sae_csv_text(c, name->measure);
            sae_csv_text(c, name->form);
            sae_csv_text(c, cross ? "cross" : "all");
            sae_csv_int(c, m.layers);
            sae_csv_real(c, accuracy);
            sae_csv_end_row(c);
        }
    return rc < 0 ? rc : sae_csv_close(&c, err);
}

/* Data and script of one heat map. */
static int write_figure(const comparison *q, int k, const char *name, sae_err *err)
{
    char *data = sae_strfmt("%s/plots/data/%s.dat", q->out, name);
    char *script = sae_strfmt("%s/plots/data/%s.gp", q->out, name);
    sae_out o = {0};
    int rc = data && script ? sae_out_open(&o, data, err)
                            : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
    if (rc >= 0) {
        fprintf(o.f, "-");
        for (int64_t i = 0; i < q->places; i++)
            fprintf(o.f, "\t%s", q->at[i].name);
        for (int64_t i = 0; i < q->places; i++) {
            fprintf(o.f, "\n%s", q->at[i].name);
            for (int64_t j = 0; j < q->places; j++)
                fprintf(o.f, "\t%.6g", *value_at(q, k, i, j));
        }
        fprintf(o.f, "\n");
        rc = sae_out_commit(&o, err);
    }
    if (rc >= 0)
        rc = sae_out_open(&o, script, err);
    if (rc >= 0) {
        fprintf(o.f,
                "set title '%s (%s)'\n"
                "set palette defined (0 '#440154', 1 '#3b528b', 2 '#21918c', 3 '#5ec962', 4 "
                "'#fde725')\nset xtics rotate by 60 right\n"
                "set xrange [-0.5:%lld.5]\nset yrange [%lld.5:-0.5]\nset size square\n"
                "unset key\nset tics out\n"
                "set terminal svg noenhanced size 640,600 font 'sans,11' background 'white'\n"
                "set output '../%s.svg'\n"
                "plot '%s.dat' matrix rowheaders columnheaders with image pixels\n"
                "set terminal png noenhanced size 960,900 font 'sans,12'\n"
                "set output '../%s.png'\nreplot\n",
                sae_likeness_names[k].measure, sae_likeness_names[k].form,
                (long long)q->places - 1, (long long)q->places - 1, name, name, name);
        rc = sae_out_commit(&o, err);
    }
    sae_free(data);
    sae_free(script);
    return rc;
}

static int draw(const comparison *q, sae_err *err)
{
    sae_figures *figs = NULL;
    SAE_TRY(sae_new(&figs, 1, sizeof *figs, "similarity.figures", err));
    int rc = SAE_OK;
    for (int k = 0; rc >= 0 && k < SAE_LIKENESSES; k++) {
        if (!present(q, k))
            continue;
        char *name = figs->f[figs->count++].name;
        snprintf(name, sizeof figs->f[0].name, "%s_%s", sae_likeness_names[k].measure,
                 sae_likeness_names[k].form);
        rc = write_figure(q, k, name, err);
    }
    if (rc >= 0)
        rc = sae_figures_draw(figs, q->out, NULL, err);
    sae_free(figs);
    return rc;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int measure(comparison *q, const cli_args *a, sae_err *err)
{
    char *plots;
    q->out = cli_get(a, "out");
    if (!q->out)
        SAE_FAIL(err, SAE_EINVAL, "similarity: --out DIR is required");
    SAE_TRY(cli_int(a, "rows", 16384, 2, INT64_MAX, &q->rows, err));
    SAE_TRY(cli_int(a, "anchors", 300, 1, INT32_MAX, &q->anchors, err));
    SAE_TRY(cli_open_registry(a, &q->reg, err));
    SAE_TRY(cli_open_engine(a, q->reg, &q->e, err));
    SAE_TRY(add_models(q, a, err));
    for (int64_t i = 0; i < q->places; i++)
        SAE_TRY(open_place(q, &q->at[i], err));
    SAE_TRY(open_dictionaries(q, a, err));
    SAE_TRY(open_values(q, err));
    if (cli_has(a, "transfer")) /* before lists of origins are sorted */
        SAE_TRY(transfer(q, err));
    SAE_TRY(compare(q, err));
    plots = sae_path_join(q->out, "plots/data");
    int rc =
        plots ? sae_dir_make(plots, err) : SAE_SET(err, SAE_ENOMEM, "out of memory for a path");
    sae_free(plots);
    SAE_TRY(rc);
    SAE_TRY(write_values(q, err));
    SAE_TRY(write_matching(q, err));
    return draw(q, err);
}

static int run(const cli_args *a, sae_err *err)
{
    comparison q = {0};
    int rc = measure(&q, a, err);
    for (int64_t i = 0; i < q.places; i++) {
        sae_free(q.at[i].name);
        sae_free(q.at[i].spec);
        if (q.origin)
            sae_free(q.origin[i].at);
        sae_loaded_close(&q.at[i].sae, &q.e);
        sae_place_close(&q.at[i].p, &q.e);
    }
    sae_free(q.origin);
    sae_free(q.at);
    sae_free(q.model);
    sae_free(q.layer);
    sae_free(q.tok);
    sae_free(q.anchor);
    sae_free(q.value);
    sae_engine_close(&q.e);
    sae_registry_close(&q.reg);
    return rc;
}

static const cli_option options[] = {
    {"out", "DIR", "where similarity.csv, layer_matching.csv and plots go (required)"},
    {"rows", "N", "evaluation rows to compare (default: 16384)"},
    {"anchors", "N", "rows that relative representations refer to (default: 300)"},
    {"atoms", "SAE", "dictionary of a place, with origins of its atoms; once per place, in order"},
    {"transfer", NULL, "rebuild every dictionary where every other took its atoms, and measure it"},
    CLI_DEVICE,
    CLI_THREADS,
    CLI_PLUGIN,
    {NULL, NULL, NULL},
};

const cli_command cli_similarity = {
    .name = "similarity",
    .usage = "NAME=DATASET... --out DIR [options]",
    .summary = "Compare activations of models and layers on the same tokens",
    .text = "DATASET with alternatives gives the layers of a model:\n"
            "  a=lm:model=DIR,text=FILE,hook={resid_post.0,resid_post.1}\n"
            "Measures: linear CKA, SVCCA, linear regression, relative representations, and the\n"
            "Jaccard index of the tokens that dictionaries (--atoms) were made of.\n",
    .options = options,
    .min_words = 1,
    .max_words = -1,
    .run = run,
};
