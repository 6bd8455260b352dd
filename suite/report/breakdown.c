/* suite/report/breakdown.c - unexplained variance over widths: a power law with a floor. */
#include "report/breakdown.h"

#include "core/error.h"
#include "core/memory.h"
#include "report/interval.h"

#include <math.h>
#include <sae/error_rows.h>
#include <stdlib.h>

/* ---- the law --------------------------------------------------------------------------------- */

/* The best c and a for an exponent; x are relative to the first. */
static sae_power_law at_exponent(const double *x, const double *y, int64_t count, double m)
{
    double n = (double)count, u1 = 0, u2 = 0, y1 = 0, uy = 0, x0 = x[0];
    for (int64_t i = 0; i < count; i++) {
        double u = pow(x[i] / x0, m);
        u1 += u;
        u2 += u * u;
        y1 += y[i];
        uy += u * y[i];
    }
    sae_power_law f = {.m = m, .a = (uy - u1 * y1 / n) / (u2 - u1 * u1 / n)};
    f.c = (y1 - f.a * u1) / n;
    if (f.c < 0) {
        f.c = 0;
        f.a = uy / u2;
    }
    if (!(f.a > 0)) {
        f.a = 0;
        f.c = y1 / n;
    }
    for (int64_t i = 0; i < count; i++) {
        double rest = y[i] - f.c - f.a * pow(x[i] / x0, m);
        f.rms += rest * rest / n;
    }
    f.rms = sqrt(f.rms);
    f.a *= pow(x0, -m);
    return f;
}

sae_power_law sae_power_law_fit(const double *x, const double *y, int64_t count)
{
    enum { STEPS = 400, ROUNDS = 60 };
    const double lowest = -4, step = 0.01, golden = 0.6180339887498949;
    sae_power_law best = at_exponent(x, y, count, lowest);
    for (int i = 1; i < STEPS; i++) {
        sae_power_law f = at_exponent(x, y, count, lowest + i * step);
        best = f.rms < best.rms ? f : best;
    }
    double lo = best.m - step, hi = best.m + step < -step / 10 ? best.m + step : -step / 10;
    for (int i = 0; i < ROUNDS; i++) {
        sae_power_law p = at_exponent(x, y, count, hi - golden * (hi - lo));
        sae_power_law q = at_exponent(x, y, count, lo + golden * (hi - lo));
        if (p.rms < q.rms)
            hi = q.m;
        else
            lo = p.m;
        best = p.rms < best.rms ? p : q.rms < best.rms ? q : best;
    }
    return best;
}

double sae_power_law_at(const sae_power_law *f, double x)
{
    return f->c + f->a * pow(x, f->m);
}

/* ---- recipes of several widths --------------------------------------------------------------- */

typedef struct width {
    int64_t config;
    double n;
    const sae_cell *fvu, *nonlinear;
} width;

typedef struct recipe {
    width *w; /* [count] by n */
    int64_t count;
    sae_power_law law; /* of the FVU */
    double nonlinear;  /* mean over widths */
} recipe;

static int by_size(const void *a, const void *b)
{
    const width *p = a, *q = b;
    return (p->n > q->n) - (p->n < q->n);
}

/* The widths of config `first` and of those after it that differ from it in n only; none when it is
 * not the first of them. */
static int64_t gather(const sae_report_data *d, int64_t first, width *out)
{
    int64_t count = 0;
    for (int64_t i = 0; i < d->configs; i++) {
        const sae_cell *fvu = sae_report_cell(d, i, "darkmatter.fvu");
        const sae_cell *rest = sae_report_cell(d, i, "darkmatter.fvu_nonlinear");
        double n = strtod(d->config[i].n, NULL);
        if (!sae_es_same_but_n(d->config[first].spec, d->config[i].spec))
            continue;
        if (i < first)
            return 0;
        if (fvu && rest && n > 0)
            out[count++] = (width){i, n, fvu, rest};
    }
    qsort(out, (size_t)count, sizeof *out, by_size);
    return count;
}

/* SAE_DONE: config `first` is not the first SAE of a recipe with enough widths. w: [configs]. */
static int find_recipe(const sae_report_data *d, int64_t first, width *w, recipe *out, sae_err *err)
{
    double *xy = NULL;
    *out = (recipe){.w = w, .count = gather(d, first, w)};
    if (out->count < SAE_BREAKDOWN_WIDTHS)
        return SAE_DONE;
    SAE_TRY(sae_new(&xy, 2 * out->count, sizeof *xy, "report.breakdown", err));
    for (int64_t i = 0; i < out->count; i++) {
        xy[i] = w[i].n;
        xy[out->count + i] = w[i].fvu->mean;
        out->nonlinear += w[i].nonlinear->mean / (double)out->count;
    }
    out->law = sae_power_law_fit(xy, xy + out->count, out->count);
    sae_free(xy);
    return SAE_OK;
}

/* ---- breakdown.csv --------------------------------------------------------------------------- */

/* Rows of one recipe into *c, which the first of them opens. */
static int put_recipe(sae_csv **c, const char *path, const sae_report_data *d, const recipe *r,
                      sae_err *err)
{
    static const char head[] = "spec,n,fvu,fvu_nonlinear,fitted,absent,linear,nonlinear,c,a,m,rms";
    const sae_power_law *f = &r->law;
    if (!*c)
        SAE_TRY(sae_csv_open(c, path, head, err));
    for (const width *w = r->w; w < r->w + r->count; w++) {
        double fitted = sae_power_law_at(f, w->n);
        const double value[] = {w->n,         w->fvu->mean,  w->nonlinear->mean,
                                fitted,       fitted - f->c, f->c - r->nonlinear,
                                r->nonlinear, f->c,          f->a,
                                f->m,         f->rms};
        sae_csv_text(*c, d->config[w->config].spec);
        for (size_t i = 0; i < sizeof value / sizeof value[0]; i++)
            sae_csv_real(*c, value[i]);
        sae_csv_end_row(*c);
    }
    return SAE_OK;
}

int sae_breakdown_write(const sae_report_data *d, const char *run_dir, sae_err *err)
{
    sae_csv *c = NULL;
    width *w = NULL;
    recipe r;
    char *path = sae_path_join(run_dir, "breakdown.csv");
    int rc = path ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc >= 0)
        rc = sae_new(&w, d->configs, sizeof *w, "report.breakdown", err);
    for (int64_t i = 0; rc >= 0 && i < d->configs; i++) {
        rc = find_recipe(d, i, w, &r, err);
        if (rc == SAE_OK)
            rc = put_recipe(&c, path, d, &r, err);
    }
    if (rc >= 0 && c)
        rc = sae_csv_close(&c, err);
    sae_csv_abandon(&c);
    sae_free(w);
    sae_free(path);
    return rc < 0 ? rc : SAE_OK;
}

/* ---- the figure ------------------------------------------------------------------------------ */

enum { NONLINEAR, LINEAR, ABSENT }; /* colours of areas */
enum { FILLED, HATCHED };

/* From the level low to high, NaN: to the law; from the smallest to the largest width. */
static void draw_area(sae_canvas *c, const recipe *r, int color, const char *title, double low,
                      double high)
{
    int style = low > high ? HATCHED : FILLED;
    enum { STEPS = 64 };
    double first = r->w[0].n, ratio = r->w[r->count - 1].n / first;
    if (!sae_canvas_begin(c, color, style, title))
        return;
    for (int i = 0; i <= STEPS; i++) {
        double n = first * pow(ratio, (double)i / STEPS), top = high;
        if (isnan(high))
            top = sae_power_law_at(&r->law, n);
        sae_canvas_extend(c->x, n, n);
        sae_canvas_extend(c->y, low, top);
        fprintf(c->dat.f, "%.9g\t%.9g\t%.9g\n", n, low, top);
    }
    sae_canvas_end(c);
}

static void draw_measured(sae_canvas *c, const recipe *r, int nonlinear, const char *title)
{
    if (!sae_canvas_begin(c, 0, 0, title))
        return;
    for (const width *w = r->w; w < r->w + r->count; w++) {
        double y[3];
        sae_bar_of(c->d, nonlinear ? w->nonlinear : w->fvu, y);
        sae_canvas_extend(c->y, y[1], y[2]);
        fprintf(c->dat.f, "%.9g\t%.9g\t%.9g\t%.9g\n", w->n, y[0], y[1], y[2]);
    }
    sae_canvas_end(c);
}

static int draw(sae_canvas *c, const sae_section_figure *f, const recipe *r, int number)
{
    const sae_config *config = &c->d->config[r->w[0].config];
    char name[48], heading[96], label[32], title[40];
    sae_canvas_call(f, config, number, name, heading);
    sae_recipe_label(c->d, r->w[0].config, label, sizeof label);
    snprintf(title, sizeof title, "FVU%s%s", *label ? ", " : "", label);
    int rc = sae_canvas_open(c, &(sae_canvas_name){f, name, heading, sae_bar_caption(c->d)});
    if (rc != SAE_OK)
        return rc;
    c->xlabel = f->xlabel ? f->xlabel : "dictionary size";
    c->ylabel = f->ylabel;
    c->template = "reports/breakdown.gp";
    int negative = r->law.c < r->nonlinear; /* then it lies over what is counted twice */
    draw_area(c, r, ABSENT, "absent features", r->law.c, (double)NAN);
    if (!negative)
        draw_area(c, r, LINEAR, "linear error", r->nonlinear, r->law.c);
    draw_area(c, r, NONLINEAR, "nonlinear error", 0, r->nonlinear);
    if (negative)
        draw_area(c, r, LINEAR, "linear error, < 0", r->nonlinear, r->law.c);
    draw_measured(c, r, 0, title);
    draw_measured(c, r, 1, "nonlinear FVU");
    c->xlog = 2;
    c->y_zero = 1;
    c->width = SAE_FIGURE_WIDE;
    return sae_canvas_close(c);
}

int sae_breakdown_draw(sae_canvas *c, const sae_section_figure *f)
{
    width *w = NULL;
    int *drawn = NULL; /* figures of each variant */
    recipe r;
    int rc = sae_new(&w, c->d->configs, sizeof *w, "report.breakdown", c->err);
    if (rc >= 0)
        rc = sae_new(&drawn, c->d->variants, sizeof *drawn, "report.breakdown", c->err);
    for (int64_t i = 0; rc >= 0 && i < c->d->configs; i++) {
        rc = find_recipe(c->d, i, w, &r, c->err);
        if (rc == SAE_OK)
            rc = draw(c, f, &r, drawn[c->d->config[i].variant_no]++);
    }
    sae_free(w);
    sae_free(drawn);
    return rc < 0 ? rc : SAE_OK;
}
