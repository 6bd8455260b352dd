/* suite/report/section.c - what the page says of a metric family. */
#include "report/section.h"

#include "core/assets.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/yaml.h"

#include <stdlib.h>
#include <string.h>

#define TEXT(type, key, flags)                                                                     \
    CYAML_FIELD_STRING_PTR(#key, CYAML_FLAG_POINTER | (flags), type, key, 0, CYAML_UNLIMITED)
#define OPTIONAL CYAML_FLAG_OPTIONAL

static const cyaml_strval_t better_words[] = {{"neither", SAE_SECTION_NEITHER},
                                              {"higher", SAE_SECTION_HIGHER},
                                              {"lower", SAE_SECTION_LOWER},
                                              {"zero", SAE_SECTION_ZERO},
                                              {"one", SAE_SECTION_ONE}};
static const cyaml_schema_field_t row_fields[] = {
    TEXT(sae_section_row, metric, 0),
    TEXT(sae_section_row, head, 0),
    TEXT(sae_section_row, unit, OPTIONAL),
    TEXT(sae_section_row, meaning, 0),
    CYAML_FIELD_ENUM("better", OPTIONAL, sae_section_row, better, better_words, 5),
    CYAML_FIELD_BOOL("summary", OPTIONAL, sae_section_row, summary),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t row_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, sae_section_row, row_fields),
};

static const cyaml_strval_t kind_words[] = {{"tradeoff", SAE_FIGURE_TRADEOFF},
                                            {"curve", SAE_FIGURE_CURVE},
                                            {"histogram", SAE_FIGURE_HISTOGRAM},
                                            {"quantiles", SAE_FIGURE_QUANTILES},
                                            {"map", SAE_FIGURE_MAP},
                                            {"path", SAE_FIGURE_PATH},
                                            {"labels", SAE_FIGURE_LABELS},
                                            {"breakdown", SAE_FIGURE_BREAKDOWN}};
static const cyaml_schema_value_t slope_value = {CYAML_VALUE_FLOAT(CYAML_FLAG_DEFAULT, double)};
static const cyaml_schema_field_t figure_fields[] = {
    TEXT(sae_section_figure, name, 0),
    CYAML_FIELD_ENUM("kind", 0, sae_section_figure, kind, kind_words,
                     sizeof kind_words / sizeof kind_words[0]),
    TEXT(sae_section_figure, value, 0),
    TEXT(sae_section_figure, across, OPTIONAL),
    TEXT(sae_section_figure, published, OPTIONAL),
    TEXT(sae_section_figure, published_across, OPTIONAL),
    CYAML_FIELD_BOOL("beside", OPTIONAL, sae_section_figure, beside),
    CYAML_FIELD_BOOL("together", OPTIONAL, sae_section_figure, together),
    TEXT(sae_section_figure, reference, OPTIONAL),
    CYAML_FIELD_FLOAT_PTR("blank", CYAML_FLAG_POINTER | OPTIONAL, sae_section_figure, blank),
    CYAML_FIELD_SEQUENCE_COUNT("slopes", CYAML_FLAG_POINTER | OPTIONAL, sae_section_figure, slopes,
                               slopes_count, &slope_value, 0, CYAML_UNLIMITED),
    TEXT(sae_section_figure, heading, 0),
    TEXT(sae_section_figure, xlabel, OPTIONAL),
    TEXT(sae_section_figure, ylabel, 0),
    TEXT(sae_section_figure, note, 0),
    CYAML_FIELD_BOOL("log_x", OPTIONAL, sae_section_figure, log_x),
    CYAML_FIELD_BOOL("log_y", OPTIONAL, sae_section_figure, log_y),
    CYAML_FIELD_FLOAT("scale", OPTIONAL, sae_section_figure, scale),
    CYAML_FIELD_FLOAT("shift", OPTIONAL, sae_section_figure, shift),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t figure_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, sae_section_figure, figure_fields),
};

static const cyaml_schema_field_t section_fields[] = {
    TEXT(sae_section, family, 0),
    TEXT(sae_section, title, 0),
    TEXT(sae_section, about, 0),
    TEXT(sae_section, source, 0),
    CYAML_FIELD_INT("order", 0, sae_section, order),
    CYAML_FIELD_BOOL("pairs", OPTIONAL, sae_section, pairs),
    CYAML_FIELD_SEQUENCE_COUNT("rows", CYAML_FLAG_POINTER, sae_section, rows, rows_count,
                               &row_value, 0, CYAML_UNLIMITED),
    CYAML_FIELD_SEQUENCE_COUNT("figures", CYAML_FLAG_POINTER | OPTIONAL, sae_section, figures,
                               figures_count, &figure_value, 0, CYAML_UNLIMITED),
    CYAML_FIELD_END,
};
static const cyaml_schema_value_t section_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, sae_section, section_fields),
};

static int by_order(const void *a, const void *b)
{
    const sae_section *p = *(sae_section *const *)a, *q = *(sae_section *const *)b;
    return p->order != q->order ? (p->order > q->order) - (p->order < q->order)
                                : strcmp(p->title, q->title);
}

static int is_section(const sae_asset *a)
{
    static const char folder[] = "reports/sections/";
    return !strncmp(a->name, folder, sizeof folder - 1);
}

int sae_sections_open(sae_sections *out, sae_err *err)
{
    int64_t count = 0;
    int rc = SAE_OK;
    *out = (sae_sections){0};
    for (const sae_asset *a = sae_assets; a->name; a++)
        count += is_section(a);
    SAE_TRY(sae_new(&out->s, count, sizeof *out->s, "report.sections", err));
    for (const sae_asset *a = sae_assets; rc >= 0 && a->name; a++) {
        void *section = NULL;
        if (!is_section(a))
            continue;
        rc = sae_yaml_load(&section, a->name, (const char *)a->data, (size_t)(a->end - a->data),
                           &section_value, err);
        if (rc >= 0)
            out->s[out->count++] = section;
    }
    if (rc < 0)
        sae_sections_close(out);
    else if (out->count)
        qsort(out->s, (size_t)out->count, sizeof *out->s, by_order);
    return rc;
}

void sae_sections_close(sae_sections *s)
{
    for (int64_t i = 0; i < s->count; i++)
        sae_yaml_free(s->s[i], &section_value);
    sae_free(s->s);
    *s = (sae_sections){0};
}

const sae_section_row *sae_section_find(const sae_sections *s, const char *metric)
{
    for (int64_t i = 0; i < s->count; i++)
        for (unsigned k = 0; k < s->s[i]->rows_count; k++)
            if (!strcmp(s->s[i]->rows[k].metric, metric))
                return &s->s[i]->rows[k];
    return NULL;
}
