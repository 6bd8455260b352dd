/* suite/report/breakdown.c - unexplained variance over widths: a power law with a floor. */
#include "report/breakdown.h"

#include "core/error.h"
#include "core/memory.h"

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

/* ---- recipes of several widths --------------------------------------------------------------- */

typedef struct width {
    int64_t config;
    double n, fvu, nonlinear;
} width;

static int by_size(const void *a, const void *b)
{
    const width *p = a, *q = b;
    return (p->n > q->n) - (p->n < q->n);
}

/* The widths of config `first` and of those after it that differ from it in n only. */
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
            return 0; /* counted with that one */
        if (fvu && rest && n > 0)
            out[count++] = (width){i, n, fvu->mean, rest->mean};
    }
    qsort(out, (size_t)count, sizeof *out, by_size);
    return count;
}

static void put(sae_csv *c, const sae_report_data *d, const width *w, const sae_power_law *f,
                double nonlinear)
{
    double fitted = f->c + f->a * pow(w->n, f->m);
    sae_csv_text(c, d->config[w->config].spec);
    const double value[] = {
        w->n,      w->fvu, w->nonlinear, fitted, fitted - f->c, f->c - nonlinear,
        nonlinear, f->c,   f->a,         f->m,   f->rms};
    for (size_t i = 0; i < sizeof value / sizeof value[0]; i++)
        sae_csv_real(c, value[i]);
    sae_csv_end_row(c);
}

/* Rows of one recipe into *c, which the first of them opens. */
static int put_recipe(sae_csv **c, const char *path, const sae_report_data *d, const width *w,
                      int64_t count, sae_err *err)
{
    static const char head[] = "spec,n,fvu,fvu_nonlinear,fitted,absent,linear,nonlinear,c,a,m,rms";
    double *xy = NULL, nonlinear = 0;
    SAE_TRY(sae_new(&xy, 2 * count, sizeof *xy, "report.breakdown", err));
    for (int64_t i = 0; i < count; i++) {
        xy[i] = w[i].n;
        xy[count + i] = w[i].fvu;
        nonlinear += w[i].nonlinear / (double)count;
    }
    sae_power_law f = sae_power_law_fit(xy, xy + count, count);
    sae_free(xy);
    if (!*c)
        SAE_TRY(sae_csv_open(c, path, head, err));
    for (int64_t i = 0; i < count; i++)
        put(*c, d, &w[i], &f, nonlinear);
    return SAE_OK;
}

int sae_breakdown_write(const sae_report_data *d, const char *run_dir, sae_err *err)
{
    sae_csv *c = NULL;
    width *w = NULL;
    char *path = sae_path_join(run_dir, "breakdown.csv");
    int rc = path ? SAE_OK : SAE_SET(err, SAE_ENOMEM, "out of memory");
    if (rc >= 0)
        rc = sae_new(&w, d->configs, sizeof *w, "report.breakdown", err);
    for (int64_t i = 0; rc >= 0 && i < d->configs; i++) {
        int64_t count = gather(d, i, w);
        if (count >= SAE_BREAKDOWN_WIDTHS)
            rc = put_recipe(&c, path, d, w, count, err);
    }
    if (rc >= 0 && c)
        rc = sae_csv_close(&c, err);
    sae_csv_abandon(&c);
    sae_free(w);
    sae_free(path);
    return rc;
}
