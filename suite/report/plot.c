/* suite/report/plot.c - the figures of a run: metrics against each other here, series in series.c.
 */
#include "report/plot.h"

#include "core/error.h"
#include "core/memory.h"
#include "report/breakdown.h"
#include "report/interval.h"
#include "report/series.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LABEL_MAX = 40 };

/* ---- a metric against L0 --------------------------------------------------------------------- */

typedef struct spot { /* where a spec lies */
    int64_t config;
    double x[3], y[3]; /* value, low, high */
} spot;

static int64_t find_spots(const sae_report_data *d, const char *value, const char *across,
                          spot *out)
{
    int64_t count = 0;
    for (int64_t i = 0; i < d->configs; i++) {
        const sae_cell *x = sae_report_cell(d, i, across), *y = sae_report_cell(d, i, value);
        if (!x || !y)
            continue;
        spot *s = &out[count++];
        s->config = i;
        sae_bar_of(d, x, s->x);
        sae_bar_of(d, y, s->y);
    }
    return count;
}

static int by_x(const void *a, const void *b)
{
    const spot *p = a, *q = b;
    return (p->x[0] > q->x[0]) - (p->x[0] < q->x[0]);
}

static void draw_spot(sae_canvas *c, const spot *s)
{
    double x[2] = {s->x[1], s->x[2]}, y[2] = {s->y[1], s->y[2]};
    if (c->xlog && x[0] <= 0) /* a bar to minus infinity is not drawn */
        x[0] = s->x[0];
    if (c->ylog && y[0] <= 0)
        y[0] = s->y[0];
    sae_canvas_extend(c->x, x[0], x[1]);
    sae_canvas_extend(c->y, y[0], y[1]);
    fprintf(c->dat.f, "%.9g\t%.9g\t%.9g\t%.9g\t%.9g\t%.9g\n", s->x[0], x[0], x[1], s->y[0], y[0],
            y[1]);
}

/* 1 if all values are positive and span more than `ratio`. */
static int spans(const spot *s, int64_t count, int axis, double ratio)
{
    double lo = INFINITY, hi = 0;
    for (int64_t i = 0; i < count; i++) {
        double v = axis ? s[i].y[0] : s[i].x[0];
        lo = v < lo ? v : lo;
        hi = v > hi ? v : hi;
    }
    return lo > 0 && hi > ratio * lo;
}

/* The spots of the line of a variant and dictionary size, of which `first` is one spec. */
static void draw_line(sae_canvas *c, const spot *s, int64_t count, const sae_config *first)
{
    char title[LABEL_MAX];
    int begun = 0;
    snprintf(title, sizeof title, c->d->sizes > 1 ? "%s, n = %s" : "%s", first->variant, first->n);
    for (int64_t i = 0; i < count; i++) {
        const sae_config *config = &c->d->config[s[i].config];
        if (config->variant_no != first->variant_no || config->size_no != first->size_no)
            continue;
        if (!begun++ && !sae_canvas_begin(c, first->variant_no, first->size_no, title))
            return;
        draw_spot(c, &s[i]);
    }
    if (begun)
        sae_canvas_end(c);
}

/* The spots of other folders, in that order. */
static int64_t find_beside(const sae_canvas *c, const sae_section_figure *t, const char *across,
                           spot *out, int64_t *counts)
{
    int64_t count = 0;
    for (int64_t i = 0; i < c->d->besides; i++) {
        const sae_report_data *b = &c->d->beside[i];
        int other = t->published && sae_report_metric(b, t->published) >= 0;
        const char *x = other && t->published_across ? t->published_across : across;
        counts[i] = find_spots(b, other ? t->published : t->value, x, out + count);
        count += counts[i];
    }
    return count;
}

/* One series of points for each variant of another folder. */
static void draw_beside(sae_canvas *c, const sae_report_data *b, const spot *s, int64_t count)
{
    char title[LABEL_MAX];
    for (int64_t k = 0; k < b->configs; k++) {
        const sae_config *first = &b->config[k];
        int begun = 0;
        snprintf(title, sizeof title, "%.22s, %.14s", first->variant, b->name);
        for (int64_t i = 0; first->size_no == 0 && first->rank == 0 && i < count; i++) {
            if (b->config[s[i].config].variant_no != first->variant_no)
                continue;
            if (!begun && !sae_canvas_begin(c, c->others, 0, title))
                break;
            begun = 1;
            draw_spot(c, &s[i]);
            c->fig->beside++;
        }
        if (begun)
            sae_canvas_end(c);
        c->others += begun;
    }
}

static int64_t most_spots(const sae_report_data *d)
{
    int64_t count = d->configs;
    for (int64_t i = 0; i < d->besides; i++)
        count += d->beside[i].configs;
    return count;
}

static int draw_tradeoff(sae_canvas *c, const sae_section_figure *t)
{
    spot *s = NULL;
    int64_t *counts = NULL, own, beside;
    const char *across = t->across ? t->across : "sparsity.l0";
    sae_canvas_name name = {t, t->name, t->heading, sae_bar_caption(c->d)};
    int rc;
    SAE_GOTO(sae_new(&s, most_spots(c->d), sizeof *s, "report.spots", c->err));
    SAE_GOTO(sae_new(&counts, c->d->besides, sizeof *counts, "report.spots", c->err));
    own = find_spots(c->d, t->value, across, s);
    beside = find_beside(c, t, across, s + own, counts);
    int64_t count = own + beside;
    rc = own > 0 && (beside > 0 || !t->beside) ? sae_canvas_open(c, &name) : SAE_DONE;
    if (rc == SAE_OK) {
        qsort(s, (size_t)own, sizeof *s, by_x);
        c->xlabel = t->xlabel ? t->xlabel : "L0 (active features per row)";
        c->ylabel = t->ylabel;
        c->template = "reports/tradeoff.gp";
        c->xlog = (t->log_x || !t->xlabel) && spans(s, count, 0, 3) ? (t->xlabel ? 10 : 2) : 0;
        c->ylog = t->log_y && spans(s, count, 1, 5) ? 10 : 0;
        for (int64_t i = 0; i < c->d->configs; i++)
            if (c->d->config[i].rank == 0)
                draw_line(c, s, own, &c->d->config[i]);
        for (int64_t i = 0, at = own; i < c->d->besides; at += counts[i++])
            draw_beside(c, &c->d->beside[i], s + at, counts[i]);
        c->width = c->fig->beside ? SAE_FIGURE_WIDE : SAE_FIGURE_WIDTH; /* their names are long */
        rc = sae_canvas_close(c);
    }
fail:
    sae_free(s);
    sae_free(counts);
    return rc;
}

/* ---- all of a run ---------------------------------------------------------------------------- */

int sae_figures_write(const sae_report_data *d, const sae_sections *sections, const char *dir,
                      sae_figures *out, sae_err *err)
{
    sae_canvas c = {.d = d, .dir = dir, .figs = out, .err = err};
    *out = (sae_figures){.count = 0};
    char *data = sae_strfmt("%s/plots/data", dir);
    if (!data)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory");
    int rc = sae_dir_make(data, err);
    sae_free(data);
    SAE_TRY(rc);
    for (int64_t i = 0; i < sections->count; i++)
        for (unsigned k = 0; k < sections->s[i]->figures_count; k++) {
            const sae_section_figure *f = &sections->s[i]->figures[k];
            c.section = sections->s[i];
            rc = f->kind == SAE_FIGURE_TRADEOFF    ? draw_tradeoff(&c, f)
                 : f->kind == SAE_FIGURE_BREAKDOWN ? sae_breakdown_draw(&c, f)
                                                   : sae_series_draw(&c, f);
            SAE_TRY(rc);
        }
    c.section = NULL;
    return sae_loss_draw(&c);
}
