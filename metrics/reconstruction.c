/* metrics/reconstruction.c - how close decoded activations come to the originals. */
#include <sae/quantile.h>

typedef struct options {
    int64_t quantile_rows;
} options;

static const sae_option option_table[] = {
    {"quantile_rows", SAE_OPT_INT, 0, offsetof(options, quantile_rows), 65536, 256, 1 << 24, NULL,
     NULL, "rows", "quantiles are exact up to this many rows and from a uniform sample beyond"},
    {0}};

/* Sufficient statistics of a group; the sum of the rows, [d], follows SUM_X. Ratios to |x| leave
 * rows with x = 0 out. */
enum { ROWS, SSE, SUM_XX, SUM_HH, SUM_XH, COSINE, NORM_X, NORM_H, NORM_E, NONZERO, RATIO_HX,
       RATIO_EX, RATIO_EEXX, SUM_X };

typedef struct state {
    double quantile_scratch[(SAE_GROUPS + 2) * 2];
    double sums[]; /* groups block, then the two samples */
} state;

static int64_t stats(const sae_measure *r)
{
    return SUM_X + r->m->dim.d_out;
}

static sae_sample *sample_of(const sae_measure *r, state *s, int which)
{
    const options *o = r->opt;
    unsigned char *p = (unsigned char *)s->sums + sae_groups_bytes(stats(r));
    return (sae_sample *)(void *)(p + (size_t)which * sae_sample_bytes(o->quantile_rows));
}

static size_t state_size(const sae_measure *r)
{
    const options *o = r->opt;
    return sizeof(state) + sae_groups_bytes(stats(r)) + 2 * sae_sample_bytes(o->quantile_rows);
}

static int begin(const sae_measure *r, void *state_)
{
    const options *o = r->opt;
    for (int i = 0; i < 2; i++)
        sample_of(r, state_, i)->cap = o->quantile_rows;
    return SAE_OK;
}

/* Cosine of two rows from their products; both zero: 1, one zero: 0. */
static double cosine(double xx, double hh, double xh)
{
    if (xx == 0.0 || hh == 0.0)
        return xx == hh ? 1.0 : 0.0;
    return xh / (sqrt(xx) * sqrt(hh));
}

static void add_row(double *s, int64_t d, const sae_real *x, const sae_real *h, double *e_norm,
                    double *x_norm)
{
    double ee = 0, xx = 0, hh = 0, xh = 0;
    for (int64_t i = 0; i < d; i++) {
        double a = (double)x[i], b = (double)h[i], e = b - a;
        ee += e * e;
        xx += a * a;
        hh += b * b;
        xh += a * b;
        s[SUM_X + i] += a;
    }
    double ne = sqrt(ee), nx = sqrt(xx), nh = sqrt(hh);
    s[ROWS] += 1;
    s[SSE] += ee;
    s[SUM_XX] += xx;
    s[SUM_HH] += hh;
    s[SUM_XH] += xh;
    s[COSINE] += cosine(xx, hh, xh);
    s[NORM_X] += nx;
    s[NORM_H] += nh;
    s[NORM_E] += ne;
    if (nx > 0.0) {
        s[NONZERO] += 1;
        s[RATIO_HX] += nh / nx;
        s[RATIO_EX] += ne / nx;
        s[RATIO_EEXX] += ee / xx;
    }
    *e_norm = ne;
    *x_norm = nx;
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    int64_t K = stats(r);
    sae_sample *abs_err = sample_of(r, s, 0), *rel_err = sample_of(r, s, 1);
    for (int64_t i = 0; i < e->B; i++) {
        double ne, nx;
        add_row(sae_groups_row(s->sums, K, e->tok[i].doc), e->d, e->x + i * e->d,
                e->xhat + i * e->d, &ne, &nx);
        sae_sample_add(abs_err, &e->tok[i], ne);
        if (nx > 0.0)
            sae_sample_add(rel_err, &e->tok[i], ne / nx);
    }
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_;
    state *from = (state *)from_; /* read only; sample_of serves both */
    sae_groups_merge(into->sums, from->sums, stats(r));
    for (int i = 0; i < 2; i++)
        sae_sample_merge(sample_of(r, into, i), sample_of(r, from, i));
    return SAE_OK;
}

static double fvu(const double *s, int64_t K)
{
    double dev = sae_about_mean(s[SUM_XX], s + SUM_X, NULL, K - SUM_X, s[ROWS]);
    if (dev > 0.0)
        return s[SSE] / dev;
    return s[ROWS] > 0.0 && s[SSE] == 0.0 ? 0.0 : (double)NAN;
}
static double explained(const double *s, int64_t K)
{
    return 1.0 - fvu(s, K);
}
static double mse_per_element(const double *s, int64_t K)
{
    return s[SSE] / s[ROWS] / (double)(K - SUM_X);
}

SAE_RATIO(mse, SSE, ROWS)
SAE_RATIO(nmse, RATIO_EEXX, NONZERO)
SAE_RATIO(nmse_pooled, SSE, SUM_XX)
SAE_RATIO(mean_cosine, COSINE, ROWS)
SAE_RATIO(l2_ratio, RATIO_HX, NONZERO)
SAE_RATIO(l2_ratio_of_means, NORM_H, NORM_X)
SAE_RATIO(relative_bias, SUM_HH, SUM_XH)
SAE_RATIO(abs_error, NORM_E, ROWS)
SAE_RATIO(rel_error, RATIO_EX, NONZERO)
SAE_RATIO(l2_norm, NORM_X, ROWS)

static const sae_estimate table[] = {
    {"mse", mse, ROWS, "x^2", SAE_LOWER},
    {"mse_per_element", mse_per_element, ROWS, "x^2", SAE_LOWER},
    {"nmse", nmse, NONZERO, "1", SAE_LOWER},
    {"nmse_pooled", nmse_pooled, ROWS, "1", SAE_LOWER},
    {"fvu", fvu, ROWS, "1", SAE_LOWER},
    {"explained_variance", explained, ROWS, "1", SAE_HIGHER},
    {"cosine", mean_cosine, ROWS, "1", SAE_HIGHER},
    {"l2_norm", l2_norm, ROWS, "x", SAE_INFO},
    {"l2_ratio", l2_ratio, NONZERO, "1", SAE_TARGET_ONE},
    {"l2_ratio_of_means", l2_ratio_of_means, ROWS, "1", SAE_TARGET_ONE},
    {"relative_bias", relative_bias, ROWS, "1", SAE_TARGET_ONE},
    {"abs_error", abs_error, ROWS, "x", SAE_LOWER},
    {"rel_error", rel_error, NONZERO, "1", SAE_LOWER},
    {0}};

static int end(const sae_measure *r, void *state_)
{
    static const struct {
        const char *key, *unit;
    } quantile[2] = {{"abs_error_p99", "x"}, {"rel_error_p99", "1"}};
    state *s = state_;
    int rc = sae_groups_emit(r, s->sums, stats(r), table);
    for (int i = 0; i < 2 && rc >= 0; i++) {
        rc = sae_sample_emit(r, sample_of(r, s, i), quantile[i].key, 0.99, s->quantile_scratch,
                             quantile[i].unit, SAE_LOWER);
    }
    return rc;
}

const sae_metric sae_metric_reconstruction = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "reconstruction",
    .summary = "error, explained variance, direction and length of decoded activations",
    .source = "metrics/reconstruction.md",
    .needs = SAE_MNEED_XHAT,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
