/* tests/eval/sections.c - every metric family has its section of the report, and what a section
 * names the family really emits. */
#include "eval/bench.h"
#include "report/section.h"

static sae_sections all;
static sae_registry *reg;

static void setup(void)
{
    sae_err err = {0};
    ck_assert_ok(sae_registry_open(&reg, &err), err);
    ck_assert_ok(sae_sections_open(&all, &err), err);
}

static void teardown(void)
{
    sae_sections_close(&all);
    sae_registry_close(&reg);
}

/* Families are described once, and only registered ones. */
START_TEST(one_per_family)
{
    for (const sae_metric *const *m = sae_all_metrics(reg); *m; m++) {
        int found = 0;
        for (int64_t i = 0; i < all.count; i++)
            found += !strcmp((*m)->name, all.s[i]->family);
        ck_assert_msg(found == 1, "%s has %d sections", (*m)->name, found);
    }
    for (int64_t i = 0; i < all.count; i++)
        ck_assert_ptr_nonnull(sae_find_metric(reg, all.s[i]->family));
}
END_TEST

/* Sections say where they are defined, list a metric once, and share no file of a figure. */
START_TEST(well_formed)
{
    for (int64_t i = 0; i < all.count; i++) {
        const sae_section *c = all.s[i];
        char source[64];
        snprintf(source, sizeof source, "metrics/%s.md", c->family);
        ck_assert_str_eq(c->source, source);
        size_t len = strlen(c->family);
        for (unsigned k = 0; k < c->rows_count; k++) {
            const char *name = c->rows[k].metric;
            ck_assert_msg(!strncmp(name, c->family, len) && name[len] == '.', "%s in section %s",
                          name, c->family);
            ck_assert_msg(sae_section_find(&all, name) == &c->rows[k], "%s is listed twice", name);
        }
        for (unsigned k = 0; k < c->figures_count; k++)
            for (int64_t j = 0; j <= i; j++)
                for (unsigned l = 0; l < (j < i ? all.s[j]->figures_count : k); l++)
                    ck_assert_str_ne(c->figures[k].name, all.s[j]->figures[l].name);
    }
}
END_TEST

/* ---- what is emitted ------------------------------------------------------------------------- */

static void check_row(const results *o, const sae_section_row *row)
{
    static const enum sae_section_better meant[] = {[SAE_HIGHER] = SAE_SECTION_HIGHER,
                                                    [SAE_LOWER] = SAE_SECTION_LOWER,
                                                    [SAE_TARGET_ZERO] = SAE_SECTION_ZERO,
                                                    [SAE_INFO] = SAE_SECTION_NEITHER,
                                                    [SAE_TARGET_ONE] = SAE_SECTION_ONE};
    int at = find_row(o, strchr(row->metric, '.') + 1);
    ck_assert_msg(meant[o->row[at].better] == row->better, "%s: better", row->metric);
}

static void check_series(const results *o, const char *family, const char *name)
{
    size_t len = strlen(family);
    if (!name)
        return;
    for (int i = 0; i < o->points; i++)
        if (!strncmp(name, family, len) && name[len] == '.' &&
            !strcmp(o->point[i].key, name + len + 1))
            return;
    ck_abort_msg("section %s: no series named %s", family, name);
}

/* A metric of another family is in the table of its section. */
static void check_metric(const results *o, const char *family, const char *name)
{
    size_t len = strlen(family);
    if (name && !strncmp(name, family, len) && name[len] == '.')
        find_row(o, name + len + 1);
    else if (name)
        ck_assert_msg(sae_section_find(&all, name) != NULL, "section %s: no %s", family, name);
}

/* Densities that fall with the number of the feature, so that there is a curve to fit. */
static void thin_out(world *w)
{
    for (int r = 0; r < ROWS; r++)
        for (int j = 0; j < N; j++)
            if (r % (j + 1))
                w->z[r * N + j] = 0;
}

START_TEST(all_emitted)
{
    static world w;
    static results o;
    const sae_section *s = all.s[_i];
    world_fill(&w, 11);
    thin_out(&w);
    measure(&w, spec_of(s->family), ROWS, 0, &o);
    for (unsigned k = 0; k < s->rows_count; k++)
        check_row(&o, &s->rows[k]);
    for (unsigned k = 0; k < s->figures_count; k++) {
        const sae_section_figure *f = &s->figures[k];
        if (f->kind == SAE_FIGURE_TRADEOFF || f->kind == SAE_FIGURE_BREAKDOWN) {
            check_metric(&o, s->family, f->value);
            check_metric(&o, s->family, f->across);
        } else {
            check_series(&o, s->family, f->value);
            check_series(&o, s->family, f->across);
            check_series(&o, s->family, f->reference);
        }
    }
}
END_TEST

Suite *suite_sections(void)
{
    Suite *s = suite_create("sections");
    TCase *t = tcase_create("sections");
    int count = sae_sections_open(&all, NULL) < 0 ? 1 : (int)all.count;
    sae_sections_close(&all);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, one_per_family);
    tcase_add_test(t, well_formed);
    tcase_add_loop_test(t, all_emitted, 0, count);
    suite_add_tcase(s, t);
    return s;
}
