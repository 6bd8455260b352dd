/* metrics/error_scaling.c - does an SAE fail on the rows where a smaller one fails?
 *
 * Of a pair of the same recipe: the length of the larger SAE's error on every row is predicted from
 * the smaller one's, then also from the smaller one's nonlinear error. First pass: sums for its
 * linear error; second pass: lengths.
 */
#include <sae/error_rows.h>
#include <sae/fail.h>
#include <sae/linear_fit.h>

typedef struct options {
    int64_t rows, skip_first, min_rows;
} options;

static const sae_option option_table[] = {SAE_ES_ROW_OPTIONS(options), {0}};

/* Sums of a half of the documents: rows, lengths of the larger SAE's error (t), of the smaller's
 * (u), of its nonlinear error (v), and products. */
enum { N, T, U, V, TT, UU, VV, TU, TV, UV, HALF };
/* Where those of a half are; statistic 0: rows of both. */
enum { TRAIN = 1 + SAE_ES_TRAIN * HALF, TEST = 1 + SAE_ES_TEST * HALF };
enum { STATS = 1 + SAE_ES_HALVES * HALF };

typedef struct state {
    int64_t pass, skip;
    double sums[(SAE_GROUPS + 2) * STATS];
    double memory[]; /* what view describes */
} state;

typedef struct view {
    const options *o;
    int64_t d, sets, set_size;
    double *first, *tested; /* [sets x set_size] training sums; [sets] test rows */
    double *at, *mean;      /* [d] as in metrics/darkmatter.c */
    sae_real *w;            /* [d x d] */
} view;

/* Only sizes are meaningful when s is NULL. */
static view look(const sae_measure *r, state *s, int64_t *doubles)
{
    int64_t d = r->m->dim.d_out;
    view v = {.o = r->opt, .d = d, .set_size = sae_fit_doubles(d, d, 0)};
    v.sets = v.o->skip_first == SAE_ES_AUTO ? 2 : 1;
    *doubles = v.sets * (v.set_size + 1) + 2 * d + (d * d * (int64_t)sizeof(sae_real) + 7) / 8;
    if (!s)
        return v;
    v.first = s->memory;
    v.tested = v.first + v.sets * v.set_size;
    v.at = v.tested + v.sets;
    v.mean = v.at + d;
    v.w = (sae_real *)(void *)(v.mean + d);
    return v;
}

static size_t state_size(const sae_measure *r)
{
    int64_t doubles;
    look(r, NULL, &doubles);
    return sizeof(state) + (size_t)doubles * sizeof(double);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

static int pair(const sae_measure *r)
{
    return r->seed == r->peer->seed && r->m->dim.n < r->peer->m->dim.n &&
           sae_es_same_but_n(r->spec, r->peer->spec);
}

/* ---- passes ---------------------------------------------------------------------------------- */

static int gather(const sae_measure *r, const view *v, const sae_eval *e)
{
    const options *o = v->o;
    size_t wide = (size_t)(e->B * v->d) * sizeof(sae_real);
    sae_real *x = malloc(wide + 1), *y = malloc(wide + 1);
    int rc = x && y ? SAE_OK : SAE_ENOMEM;
    for (int set = 0; rc >= 0 && set < v->sets; set++) {
        sae_fit f = sae_fit_at(v->first + set * v->set_size, v->d, v->d, 0);
        int train = 2 * set + SAE_ES_TRAIN, test = 2 * set + SAE_ES_TEST;
        rc = sae_fit_add(r->c, &f, x, y, sae_es_gather(o->rows, o->skip_first, e, train, x, y));
        for (int64_t i = 0; i < e->B; i++)
            v->tested[set] += sae_es_place(o->rows, o->skip_first, e, i) == test;
    }
    free(x);
    free(y);
    return rc;
}

static void add_lengths(double *s, double t, double u, double v)
{
    const double term[HALF] = {1, t, u, v, t * t, u * u, v * v, t * u, t * v, u * v};
    for (int k = 0; k < HALF; k++)
        s[k] += term[k];
}

static int judge(const sae_measure *r, state *st, const view *v, const sae_eval *e)
{
    int64_t d = v->d;
    sae_real *y = malloc((size_t)(e->B * d) * sizeof *y + 1);
    int rc = y ? sae_fit_apply(r->c, d, d, v->at, v->w, e->x, e->B, y) : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < e->B; i++) {
        int half = sae_es_place(v->o->rows, st->skip, e, i);
        double tt = 0, uu = 0, vv = 0;
        if (half < 0)
            continue;
        for (int64_t j = 0; j < d; j++) {
            int64_t at = i * d + j;
            double err = (double)sae_es_error_at(e, at);
            double rest = err - v->mean[j] - (double)y[at];
            double other = (double)e->x[at] - (double)e->peer->xhat[at];
            tt += other * other;
            uu += err * err;
            vv += rest * rest;
        }
        double *s = sae_groups_row(st->sums, STATS, e->tok[i].doc);
        s[0] += 1;
        add_lengths(s + (half == SAE_ES_TEST ? TEST : TRAIN), sqrt(tt), sqrt(uu), sqrt(vv));
    }
    free(y);
    return rc;
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    int64_t doubles;
    view v = look(r, s, &doubles);
    if (v.o->rows > 0 && (int64_t)e->row0 >= v.o->rows)
        return SAE_DONE;
    return s->pass == 0 ? gather(r, &v, e) : judge(r, s, &v, e);
}

/* Sums of the pass that both are in. */
static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_, *from = (state *)from_; /* read only; look serves both */
    int64_t doubles;
    view a = look(r, into, &doubles), b = look(r, from, &doubles);
    for (int64_t i = 0; into->pass == 0 && i < a.sets * (a.set_size + 1); i++)
        a.first[i] += b.first[i];
    sae_groups_merge(into->sums, from->sums, STATS);
    return SAE_OK;
}

/* ---- figures --------------------------------------------------------------------------------- */

static double about(const double *s, int ab, int a, int b)
{
    return s[ab] - s[a] * s[b] / s[N];
}

/* Share of the variance of t on test rows that a line in u, and in v unless `basic`, explains. */
static double explained(const double *sum, int basic)
{
    const double *s = sum + TRAIN, *q = sum + TEST;
    double uu = about(s, UU, U, U), vv = about(s, VV, V, V), uv = about(s, UV, U, V);
    double tu = about(s, TU, T, U), tv = about(s, TV, T, V), det = uu * vv - uv * uv;
    double b = uu > s[UU] * 0x1p-40 ? tu / uu : 0, c = 0;
    if (!basic && det > uu * vv * 0x1p-40) {
        b = (tu * vv - tv * uv) / det;
        c = (tv * uu - tu * uv) / det;
    }
    /* bias of the line on test rows, from the means of the training rows */
    double bias = (s[T] - b * s[U] - c * s[V]) / s[N] - (q[T] - b * q[U] - c * q[V]) / q[N];
    double tss = about(q, TT, T, T);
    double rss = tss - 2 * b * about(q, TU, T, U) - 2 * c * about(q, TV, T, V) +
                 b * b * about(q, UU, U, U) + c * c * about(q, VV, V, V) +
                 2 * b * c * about(q, UV, U, V) + q[N] * bias * bias;
    return tss > q[TT] * 0x1p-40 ? 1 - rss / tss : (double)NAN; /* not without rows */
}
static double r2(const double *sum, int64_t K)
{
    (void)K;
    return explained(sum, 1);
}
static double r2_with_nonlinear(const double *sum, int64_t K)
{
    (void)K;
    return explained(sum, 0);
}
static double remaining_explained(const double *sum, int64_t K)
{
    double left = 1 - r2(sum, K);
    return left > 0x1p-40 ? (r2_with_nonlinear(sum, K) - r2(sum, K)) / left : (double)NAN;
}
SAE_RATIO(norm_ratio, TEST + T, TEST + U)

static const sae_estimate table[] = {
    {"r2", r2, TEST + N, "1", SAE_INFO},
    {"r2_with_nonlinear", r2_with_nonlinear, TEST + N, "1", SAE_INFO},
    {"remaining_explained", remaining_explained, TEST + N, "1", SAE_INFO},
    {"norm_ratio", norm_ratio, TEST + N, "1", SAE_INFO},
    {0}};

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    int64_t doubles;
    view v = look(r, s, &doubles);
    if (s->pass == 1)
        return sae_groups_emit(r, s->sums, STATS, table);
    double *n = v.first, *early = v.first + (v.sets - 1) * v.set_size;
    s->skip = sae_es_skip(v.o->skip_first, *n + v.tested[0], *early + v.tested[v.sets - 1]);
    for (int64_t i = 0; v.sets == 2 && s->skip == 0 && i < v.set_size; i++)
        v.first[i] += v.first[v.set_size + i];
    double tested = v.tested[0] + (s->skip == 0 ? v.tested[v.sets - 1] : 0);
    SAE_TRY(sae_emit_value(r, "rows_train", *n, (int64_t)*n, "rows", SAE_INFO));
    if (*n < (double)(v.o->min_rows * v.d) || tested == 0.0)
        return SAE_OK;
    sae_fit f = sae_fit_at(v.first, v.d, v.d, 0);
    SAE_TRY(sae_fit_map(r->c, &f, v.w, v.at, v.mean));
    s->pass = 1;
    return SAE_AGAIN;
}

static int64_t passes_for(const void *opt)
{
    (void)opt;
    return 2;
}

const sae_metric sae_metric_error_scaling = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "error_scaling",
    .summary = "the length of a larger SAE's error on a row, from a smaller one's",
    .source = "metrics/error_scaling.md",
    .needs = SAE_MNEED_XHAT | SAE_MNEED_PEER,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = sae_begin_zero,
    .batch = batch,
    .merge = merge,
    .end = end,
    .pair = pair,
    .passes_for = passes_for,
};
