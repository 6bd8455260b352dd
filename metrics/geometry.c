/* metrics/geometry.c - maps of the atoms that fire, their frequencies, how independent they are. */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/stock_zipf.h>
#include <sae/tsne.h>
#include <string.h>

typedef struct options {
    int64_t atoms, correlated, iterations;
    double perplexity;
} options;

static const sae_option option_table[] = {
    {"atoms", SAE_OPT_INT, 0, offsetof(options, atoms), 192, 0, 4096, NULL, NULL, "features",
     "the maps show up to this many features that fire"},
    {"correlated", SAE_OPT_INT, 0, offsetof(options, correlated), 64, 0, 4096, NULL, NULL,
     "features", "correlations of the codes of this many features, evenly spaced"},
    {"iterations", SAE_OPT_INT, 0, offsetof(options, iterations), 300, 0, 100000, NULL, NULL,
     "steps", "of t-SNE"},
    {"perplexity", SAE_OPT_REAL, 0, offsetof(options, perplexity), 30, 1, 4096, NULL, NULL, "1",
     "of t-SNE; at most a third of the features shown"},
    {0}};

/* State, in doubles: rows; [n] rows on which a feature fired; [c] sums and [c x c] sums of products
 * of the correlated features' codes. */
static int64_t correlated(const sae_measure *r)
{
    const options *o = r->opt;
    return o->correlated < r->m->dim.n ? o->correlated : r->m->dim.n;
}

static size_t state_size(const sae_measure *r)
{
    int64_t c = correlated(r);
    return (size_t)(1 + r->m->dim.n + c + c * c) * sizeof(double);
}

/* Feature number k of the correlated ones. */
static int64_t feature_of(int64_t k, int64_t c, int64_t n)
{
    return k * n / c;
}

/* The number of a feature among them, or -1. */
static int64_t place_of(int64_t feature, int64_t c, int64_t n)
{
    int64_t k = c > 0 ? (feature * c + n - 1) / n : 0;
    return k < c && feature_of(k, c, n) == feature ? k : -1;
}

static int batch(const sae_measure *r, void *state, const sae_eval *e)
{
    int64_t n = r->m->dim.n, c = correlated(r), place[4096];
    double *rows = state, *fired = rows + 1, *sum = fired + n, *product = sum + c, value[4096];
    const sae_code *z = e->code;
    for (int64_t i = 0; i < e->B; i++) {
        int64_t listed = 0;
        *rows += 1;
        for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
            int64_t j = sae_code_feature(z, i, p), k = place_of(j, c, n);
            fired[j] += z->val[p] != 0;
            if (k < 0 || z->val[p] == 0)
                continue;
            place[listed] = k;
            value[listed++] = (double)z->val[p];
        }
        for (int64_t a = 0; a < listed; a++) {
            sum[place[a]] += value[a];
            for (int64_t b = 0; b <= a; b++)
                product[place[a] * c + place[b]] += value[a] * value[b];
        }
    }
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into_, const void *from_)
{
    double *into = into_;
    const double *from = from_;
    for (size_t i = 0; i < state_size(r) / sizeof *into; i++)
        into[i] += from[i];
    return SAE_OK;
}

/* ---- frequencies ----------------------------------------------------------------------------- */

static int descending(const void *a_, const void *b_)
{
    double a = *(const double *)a_, b = *(const double *)b_;
    return (a < b) - (a > b);
}

enum { CURVE = 64 }; /* ranks of the plot, at equal distances of their logarithm */

static int plot_zipf(const sae_measure *r, const double *density, int64_t alive,
                     const stock_curve *f)
{
    int64_t last = 0;
    for (int i = 0; i < CURVE && alive > 0; i++) {
        int64_t rank = (int64_t)floor(pow((double)alive, (double)i / (CURVE - 1)) + 0.5);
        if (rank == last)
            continue;
        last = rank;
        SAE_TRY(sae_emit_point(r, "zipf_density", rank, density[rank - 1]));
        if (isfinite(f->c))
            SAE_TRY(sae_emit_point(r, "zipf_fit", rank, stock_curve_at(f, rank)));
    }
    return SAE_OK;
}

/* The last rank whose density is at least half of the curve's. A nearly flat curve has an exponent
 * so large that its constant overflows: it has no such rank, and no points. */
static double drop_off(const double *density, int64_t alive, const stock_curve *f)
{
    while (alive > 0 && density[alive - 1] < 0.5 * stock_curve_at(f, alive))
        alive--;
    return isfinite(f->c) ? (double)alive : (double)NAN;
}

static int emit_curve(const sae_measure *r, const double *density, int64_t alive)
{
    stock_curve f = {(double)NAN, (double)NAN, (double)NAN, (double)NAN};
    stock_curve_fit(density, r->m->dim.n, &f);
    SAE_TRY(sae_emit_value(r, "zipf_alpha", f.alpha, alive, "1", SAE_INFO));
    SAE_TRY(sae_emit_value(r, "zipf_beta", f.beta, alive, "ranks", SAE_INFO));
    SAE_TRY(sae_emit_value(r, "zipf_r2", f.r2, alive, "1", SAE_INFO));
    SAE_TRY(sae_emit_value(r, "zipf_drop_off", drop_off(density, alive, &f), alive, "ranks",
                           SAE_INFO));
    return plot_zipf(r, density, alive, &f);
}

static int emit_zipf(const sae_measure *r, const double *state)
{
    int64_t n = r->m->dim.n, alive = 0;
    double *density = malloc((size_t)n * sizeof *density + 1);
    if (!density)
        return SAE_ENOMEM;
    for (int64_t j = 0; j < n; j++) {
        alive += state[1 + j] > 0.0;
        density[j] = state[0] > 0.0 ? state[1 + j] / state[0] : 0.0;
    }
    qsort(density, (size_t)n, sizeof *density, descending);
    int rc = emit_curve(r, density, alive);
    free(density);
    return rc;
}

/* ---- independence ---------------------------------------------------------------------------- */

/* Mean |correlation| over pairs of features whose codes vary. */
static int emit_correlation(const sae_measure *r, const double *state)
{
    int64_t n = r->m->dim.n, c = correlated(r), pairs = 0;
    const double *sum = state + 1 + n, *product = sum + c;
    double rows = state[0], total = 0;
    for (int64_t a = 0; a < c; a++) {
        double va = product[a * c + a] - sum[a] * sum[a] / rows;
        for (int64_t b = 0; b < a; b++) {
            double vb = product[b * c + b] - sum[b] * sum[b] / rows;
            double cov = product[a * c + b] - sum[a] * sum[b] / rows;
            if (!(va > product[a * c + a] * 0x1p-40) || !(vb > product[b * c + b] * 0x1p-40))
                continue;
            total += fabs(cov) / sqrt(va * vb);
            pairs++;
        }
    }
    double mean = pairs ? total / (double)pairs : (double)NAN;
    return sae_emit_value(r, "code_correlation", mean, pairs, "1", SAE_LOWER);
}

/* ---- maps ------------------------------------------------------------------------------------ */

/* A sample of features that fire: unit atoms, and symmetric tables of them. */
typedef struct map {
    const sae_measure *r;
    int64_t m, d, *feature;  /* [m] */
    double *atom;            /* [m x d] */
    double *gram, *centred;  /* [m x m] */
    double *vector, *lambda; /* [m x m], [m] */
    double *y;               /* [m x 2] */
} map;

/* Evenly spaced among the features that fire. Returns how many. */
static int64_t choose_atoms(const options *o, const double *fired, int64_t n, int64_t *feature)
{
    int64_t alive = 0, m, seen = 0, taken = 0;
    for (int64_t j = 0; j < n; j++)
        alive += fired[j] > 0.0;
    m = alive < o->atoms ? alive : o->atoms;
    for (int64_t j = 0; j < n && taken < m; j++) {
        if (!(fired[j] > 0.0))
            continue;
        if (seen == taken * alive / m)
            feature[taken++] = j;
        seen++;
    }
    return m;
}

static int load_atoms(map *q)
{
    sae_cmat dec = sae_tensor_matrix(q->r->m, "W_dec");
    for (int64_t i = 0; i < q->m; i++) {
        double norm = 0, *atom = q->atom + i * q->d;
        SAE_TRY(sae_host_row(q->r, dec, q->feature[i], atom));
        for (int64_t k = 0; k < q->d; k++)
            norm += atom[k] * atom[k];
        for (int64_t k = 0; k < q->d; k++)
            atom[k] = norm > 0.0 ? atom[k] / sqrt(norm) : 0.0;
    }
    return SAE_OK;
}

static void fill_gram(map *q)
{
    for (int64_t i = 0; i < q->m; i++)
        for (int64_t j = 0; j <= i; j++) {
            double s = 0;
            for (int64_t k = 0; k < q->d; k++)
                s += q->atom[i * q->d + k] * q->atom[j * q->d + k];
            q->gram[i * q->m + j] = q->gram[j * q->m + i] = s;
        }
}

/* vector, lambda = eigenvectors and values of the table. */
static int decompose(map *q, const double *table)
{
    const sae_ctx *c = q->r->c;
    size_t square = (size_t)(q->m * q->m) * sizeof(double), line = (size_t)q->m * sizeof(double);
    double *a = c->be->alloc(c->dev, square), *w = c->be->alloc(c->dev, line);
    int rc = a && w ? c->be->copy(c->dev, a, table, square, SAE_COPY_H2D) : SAE_ENOMEM;
    if (rc >= 0)
        rc = c->k->eigh(c->dev, q->m, a, w);
    if (rc >= 0)
        rc = c->be->copy(c->dev, q->vector, a, square, SAE_COPY_D2H);
    if (rc >= 0)
        rc = c->be->copy(c->dev, q->lambda, w, line, SAE_COPY_D2H);
    sae_device_release(q->r->c, a);
    sae_device_release(q->r->c, w);
    return rc;
}

/* Atoms of signed codes have no sign of their own: each is turned to the side of the direction that
 * most of them share. */
static int orient(map *q)
{
    if (!sae_model_signed(q->r->m))
        return SAE_OK;
    SAE_TRY(decompose(q, q->gram));
    for (int64_t i = 0; i < q->m; i++)
        for (int64_t j = 0; j < q->m; j++)
            if ((q->vector[i] < 0.0) != (q->vector[j] < 0.0))
                q->gram[i * q->m + j] = -q->gram[i * q->m + j];
    return SAE_OK;
}

/* Coordinates along the two directions of largest variance, and their share of it. */
static int pca(map *q, double *share, double *dimension)
{
    double trace = 0, square = 0, all = 0;
    int64_t m = q->m;
    double *mean = q->lambda; /* until it holds eigenvalues */
    for (int64_t i = 0; i < m; i++) {
        mean[i] = 0;
        for (int64_t j = 0; j < m; j++)
            mean[i] += q->gram[i * m + j] / (double)m;
        all += mean[i] / (double)m;
    }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < m; j++) {
            double g = q->gram[i * m + j] - mean[i] - mean[j] + all;
            q->centred[i * m + j] = g;
            square += g * g;
            trace += i == j ? g : 0.0;
        }
    SAE_TRY(decompose(q, q->centred));
    *share = trace > 0.0 ? (q->lambda[0] + q->lambda[1]) / trace : (double)NAN;
    *dimension = square > 0.0 ? trace * trace / square : (double)NAN;
    for (int64_t i = 0; i < m; i++)
        for (int64_t k = 0; k < 2; k++)
            q->y[2 * i + k] = q->vector[k * m + i] * sqrt(fmax(q->lambda[k], 0));
    return SAE_OK;
}

static int plot_map(const map *q, const char *x, const char *y)
{
    for (int64_t i = 0; i < q->m; i++) {
        SAE_TRY(sae_emit_point(q->r, x, q->feature[i], q->y[2 * i]));
        SAE_TRY(sae_emit_point(q->r, y, q->feature[i], q->y[2 * i + 1]));
    }
    return SAE_OK;
}

/* t-SNE of squared distances 2 - 2 cos, from the PCA map made small. */
static int tsne(map *q, double *cost)
{
    const options *o = q->r->opt;
    double spread = 0;
    int64_t m = q->m;
    int without_sign = sae_model_signed(q->r->m);
    for (int64_t i = 0; i < m; i++)
        spread += q->y[2 * i] * q->y[2 * i] / (double)m;
    for (int64_t i = 0; i < 2 * m; i++)
        q->y[i] *= spread > 0.0 ? 1e-4 / sqrt(spread) : 0.0;
    for (int64_t i = 0; i < m * m; i++) {
        double g = without_sign ? fabs(q->gram[i]) : q->gram[i];
        q->centred[i] = fmax(2 - 2 * g, 0);
    }
    return sae_tsne(q->centred, m, o->perplexity, o->iterations, q->y, cost);
}

static int make_maps(map *q)
{
    double share, dimension, cost;
    fill_gram(q);
    SAE_TRY(orient(q));
    SAE_TRY(pca(q, &share, &dimension));
    SAE_TRY(sae_emit_value(q->r, "pca2_share", share, q->m, "1", SAE_INFO));
    SAE_TRY(sae_emit_value(q->r, "effective_dimension", dimension, q->m, "dimensions", SAE_HIGHER));
    SAE_TRY(plot_map(q, "pca_x", "pca_y"));
    SAE_TRY(tsne(q, &cost));
    SAE_TRY(sae_emit_value(q->r, "tsne_cost", cost, q->m, "nats", SAE_INFO));
    return plot_map(q, "tsne_x", "tsne_y");
}

enum { FEWEST = 3 }; /* features of a map */

static int emit_maps(const sae_measure *r, const double *fired)
{
    const options *o = r->opt;
    sae_cmat dec = sae_tensor_matrix(r->m, "W_dec");
    int64_t *feature = malloc((size_t)o->atoms * sizeof *feature + 1);
    if (!feature)
        return SAE_ENOMEM;
    int64_t m = choose_atoms(o, fired, r->m->dim.n, feature);
    if (!dec.p || m < FEWEST) {
        free(feature);
        return SAE_OK;
    }
    double *memory = malloc((size_t)(m * dec.cols + 3 * m * m + 3 * m) * sizeof *memory);
    map q = {.r = r, .m = m, .d = dec.cols, .feature = feature, .atom = memory};
    int rc = memory ? SAE_OK : SAE_ENOMEM;
    if (rc >= 0) {
        q.gram = q.atom + m * q.d;
        q.centred = q.gram + m * m;
        q.vector = q.centred + m * m;
        q.lambda = q.vector + m * m;
        q.y = q.lambda + m;
        rc = load_atoms(&q);
    }
    if (rc >= 0)
        rc = make_maps(&q);
    free(memory);
    free(feature);
    return rc;
}

static int end(const sae_measure *r, void *state_)
{
    const double *state = state_;
    SAE_TRY(emit_zipf(r, state));
    SAE_TRY(emit_correlation(r, state));
    return emit_maps(r, state + 1);
}

const sae_metric sae_metric_geometry = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "geometry",
    .summary = "Zipf curve of densities, correlation of codes, PCA and t-SNE maps of atoms",
    .source = "metrics/geometry.md",
    .needs = SAE_MNEED_CODE,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = sae_begin_zero,
    .batch = batch,
    .merge = merge,
    .end = end,
};
