/* metrics/darkmatter.c - how much of an SAE's error is a linear function of the activation.
 *
 * First pass: sums of the training documents, from which the linear maps follow, and of the test
 * documents. Second pass: every row's error is split; everything on test documents is summed by
 * group of documents.
 */
#include <sae/error_split.h>
#include <sae/fail.h>
#include <sae/linear_fit.h>
#include <sae/quantile.h>

typedef struct options {
    int64_t rows, skip_first, bias, min_rows, vocab, insert;
} options;

static const sae_option option_table[] = {
    SAE_ES_ROW_OPTIONS(options),
    {"bias", SAE_OPT_BOOL, 0, offsetof(options, bias), 1, 0, 1, NULL, NULL, "1",
     "fits have an intercept; the authors' code has none"},
    {"vocab", SAE_OPT_INT, 0, offsetof(options, vocab), 65536, 1, 1 << 24, NULL, NULL, "tokens",
     "token ids told apart as a predictor; the others count as unseen"},
    {"insert", SAE_OPT_BOOL, 0, offsetof(options, insert), 0, 0, 1, NULL, NULL, "1",
     "with a language model: what each part of the error costs, and loss as a predictor"},
    {0}};

/* Sums of a scalar predictor over training rows: rows, b, b^2, target, b target. */
enum { B_N, B_B, B_BB, B_Q, B_BQ, B_SUMS };

typedef struct state {
    int64_t pass, skip;
    double memory[]; /* what view describes */
} state;

/* Rows of the first pass by position: those kept for certain, and those kept if skip_first turns
 * out to be 0. */
typedef struct set {
    sae_fit fit[SAE_ES_HALVES];
    double *base;  /* [SAE_ES_BASES x B_SUMS] */
    double *token; /* [vocab x 2] rows, sum of |e|^2; training rows */
} set;

typedef struct view {
    const options *o;
    int64_t d, K, set_size, sets, second_size;
    double *first;  /* [sets x set_size] sums of the first pass */
    double *second; /* [second_size] those of the second: groups, then part sums */
    sae_fit part[SAE_ES_HALVES];
    double *at, *mean; /* [d] what x is centred at; mean error there (0 without bias) */
    double *a, *at_q;  /* [SAE_ES_NORMS x d], [SAE_ES_NORMS] */
    double *base;      /* [SAE_ES_BASES x 2] slope, value at 0 */
    sae_real *w;       /* [d x d] */
} view;

/* ---- layout ---------------------------------------------------------------------------------- */

static double *take(double **at, int64_t count)
{
    double *p = *at;
    *at += count;
    return p;
}

/* Only sizes are meaningful when s is NULL. */
static view look(const sae_measure *r, state *s, int64_t *doubles)
{
    const options *o = r->opt;
    int64_t d = r->m->dim.d_out, part = 2 * SAE_ES_PARTS + SAE_ES_PARTS * d;
    view v = {.o = o,
              .d = d,
              .K = SAE_ES_FIXED + SAE_ES_VECTORS * d,
              .sets = o->skip_first == SAE_ES_AUTO ? 2 : 1};
    static double nothing[1];
    double *base = s ? s->memory : nothing, *at = base;
    v.set_size = sae_fit_doubles(d, d, SAE_ES_NORMS) + sae_fit_doubles(d, 0, 0) +
                 SAE_ES_BASES * B_SUMS + 2 * o->vocab;
    v.second_size = (SAE_GROUPS + 2) * v.K + SAE_ES_HALVES * part;
    *doubles = v.sets * v.set_size + v.second_size + 2 * d + SAE_ES_NORMS * (d + 1) +
               2 * SAE_ES_BASES + (d * d * (int64_t)sizeof(sae_real) + 7) / 8;
    if (!s)
        return v;
    v.first = take(&at, v.sets * v.set_size);
    v.second = take(&at, v.second_size);
    v.at = take(&at, d);
    v.mean = take(&at, d);
    v.a = take(&at, SAE_ES_NORMS * d);
    v.at_q = take(&at, SAE_ES_NORMS);
    v.base = take(&at, 2 * SAE_ES_BASES);
    v.w = (sae_real *)(void *)at;
    return v;
}

static set set_at(const view *v, int64_t i)
{
    double *p = v->first + i * v->set_size;
    set s;
    s.fit[SAE_ES_TRAIN] =
        sae_fit_at(take(&p, sae_fit_doubles(v->d, v->d, SAE_ES_NORMS)), v->d, v->d, SAE_ES_NORMS);
    s.fit[SAE_ES_TEST] = sae_fit_at(take(&p, sae_fit_doubles(v->d, 0, 0)), v->d, 0, 0);
    s.base = take(&p, SAE_ES_BASES * B_SUMS);
    s.token = p;
    return s;
}

/* Squared norms of the two parts of the error, on the rows of the first set. */
static sae_fit part_at(const view *v, int half)
{
    int64_t size = 2 * SAE_ES_PARTS + SAE_ES_PARTS * v->d;
    double *p = v->second + (SAE_GROUPS + 2) * v->K + half * size;
    sae_fit f = set_at(v, 0).fit[half];
    f.m = 0;
    f.s = SAE_ES_PARTS;
    f.q = take(&p, SAE_ES_PARTS);
    f.qq = take(&p, SAE_ES_PARTS);
    f.xq = p;
    return f;
}

static size_t state_size(const sae_measure *r)
{
    int64_t doubles;
    look(r, NULL, &doubles);
    return sizeof(state) + (size_t)doubles * sizeof(double);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* The half that row i of the batch is in, or -1, once the first pass is over. */
static int half_of(const view *v, const state *s, const sae_eval *e, int64_t i)
{
    return sae_es_place(v->o->rows, s->skip, e, i);
}

/* What is known of a row before any fit. */
typedef struct facts {
    double q[SAE_ES_NORMS], base[SAE_ES_BASES];
} facts;

static double l0_of(const sae_code *z, int64_t i)
{
    double count = 0;
    for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++)
        count += z->val[p] != 0;
    return count;
}

static facts facts_of(const sae_eval *e, int64_t i, const double *loss)
{
    facts f = {{0}, {0}};
    for (int64_t j = i * e->d; j < (i + 1) * e->d; j++) {
        double x = (double)e->x[j], h = (double)e->xhat[j], err = (double)sae_es_error_at(e, j);
        f.q[SAE_ES_Q_ERROR] += err * err;
        f.q[SAE_ES_Q_X] += x * x;
        f.q[SAE_ES_Q_XHAT] += h * h;
    }
    f.base[SAE_ES_BY_L0] = l0_of(e->code, i);
    f.base[SAE_ES_BY_NORM] = sqrt(f.q[SAE_ES_Q_X]);
    f.base[SAE_ES_BY_LOSS] = loss ? loss[i] : (double)NAN;
    return f;
}

/* Memory of one call of batch. */
typedef struct work {
    sae_real *x, *y; /* [B x d] */
    double *loss;    /* [B] at the row's position, NaN where there is none; NULL without insert */
    double *ce;      /* [3 x T] */
} work;

static void work_close(work *k)
{
    free(k->x);
    free(k->y);
    free(k->loss);
    free(k->ce);
}

static int work_open(work *k, const view *v, const sae_eval *e)
{
    size_t wide = (size_t)(e->B * e->d) * sizeof *k->x + 1;
    int insert = v->o->insert && e->insert;
    *k = (work){.x = malloc(wide), .y = malloc(wide)};
    if (insert) {
        k->loss = malloc((size_t)e->B * sizeof *k->loss + 1);
        k->ce = malloc((size_t)(3 * e->splice->T) * sizeof *k->ce + 1);
    }
    if (!k->x || !k->y || (insert && (!k->loss || !k->ce))) {
        work_close(k);
        return SAE_ENOMEM;
    }
    for (int64_t i = 0; insert && i < e->B; i++)
        k->loss[i] = (double)NAN;
    for (int64_t t = 0; insert && t < e->splice->T; t++)
        if (e->insert->row[t] >= 0)
            k->loss[e->insert->row[t]] = e->splice->ce_clean[t];
    return SAE_OK;
}

/* ---- first pass ------------------------------------------------------------------------------ */

static void add_facts(const view *v, const set *s, const sae_eval *e, int64_t i, const facts *f)
{
    sae_fit_add_scalars(&s->fit[SAE_ES_TRAIN], e->x + i * e->d, f->q);
    for (int b = 0; b < SAE_ES_BASES; b++) {
        double *sum = s->base + b * B_SUMS, value = f->base[b];
        if (isnan(value))
            continue;
        sum[B_N] += 1;
        sum[B_B] += value;
        sum[B_BB] += value * value;
        sum[B_Q] += f->q[SAE_ES_Q_ERROR];
        sum[B_BQ] += value * f->q[SAE_ES_Q_ERROR];
    }
    if (e->tok[i].id < (uint64_t)v->o->vocab) {
        s->token[2 * (int64_t)e->tok[i].id] += 1;
        s->token[2 * (int64_t)e->tok[i].id + 1] += f->q[SAE_ES_Q_ERROR];
    }
}

static int gather(const sae_measure *r, const view *v, const sae_eval *e, work *k)
{
    const options *o = v->o;
    for (int place = 0; place < SAE_ES_HALVES * v->sets; place++) {
        set s = set_at(v, place / SAE_ES_HALVES);
        int half = place % SAE_ES_HALVES;
        int64_t rows = sae_es_gather(o->rows, o->skip_first, e, place, k->x, k->y);
        SAE_TRY(sae_fit_add(r->c, &s.fit[half], k->x, k->y, rows));
        for (int64_t i = 0; half == SAE_ES_TRAIN && i < e->B; i++) {
            if (sae_es_place(o->rows, o->skip_first, e, i) != place)
                continue;
            facts f = facts_of(e, i, k->loss);
            add_facts(v, &s, e, i, &f);
        }
    }
    return SAE_OK;
}

/* ---- second pass ----------------------------------------------------------------------------- */

static void add_predictions(const view *v, const sae_eval *e, int64_t i, const facts *f, double *s)
{
    const sae_real *x = e->x + i * v->d;
    set all = set_at(v, 0);
    double *p = s + SAE_ES_PRED,
           token = all.fit[SAE_ES_TRAIN].q[SAE_ES_Q_ERROR] / *all.fit[SAE_ES_TRAIN].n;
    for (int t = 0; t < SAE_ES_NORMS; t++) {
        double guess = v->at_q[t];
        for (int64_t j = 0; j < v->d; j++)
            guess += v->a[t * v->d + j] * ((double)x[j] - v->at[j]);
        sae_es_add_prediction(p + t * SAE_ES_P_SUMS, f->q[t], guess);
    }
    if (e->tok[i].id < (uint64_t)v->o->vocab && all.token[2 * (int64_t)e->tok[i].id] > 0)
        token = all.token[2 * (int64_t)e->tok[i].id + 1] / all.token[2 * (int64_t)e->tok[i].id];
    sae_es_add_prediction(p + SAE_ES_P_TOKEN * SAE_ES_P_SUMS, f->q[SAE_ES_Q_ERROR], token);
    for (int b = 0; b < SAE_ES_BASES; b++)
        sae_es_add_prediction(p + (SAE_ES_P_BASE + b) * SAE_ES_P_SUMS, f->q[SAE_ES_Q_ERROR],
                              v->base[2 * b] * f->base[b] + v->base[2 * b + 1]);
}

/* Linear errors of all rows of the batch into y. */
static int split(const sae_measure *r, const view *v, const sae_eval *e, sae_real *y)
{
    SAE_TRY(sae_fit_apply(r->c, v->d, v->d, v->at, v->w, e->x, e->B, y));
    for (int64_t i = 0; i < e->B * v->d; i++)
        y[i] = (sae_real)((double)y[i] + v->mean[i % v->d]);
    return SAE_OK;
}

/* Cross-entropy with the decoded rows, and with one part of the error or the other added to them;
 * skipped positions keep x. */
static int insert_parts(const view *v, const state *st, const sae_eval *e, work *k)
{
    int64_t d = v->d, T = e->splice->T;
    for (int part = -1; part < SAE_ES_PARTS; part++) {
        sae_insert_out out = {.ce = k->ce + (part + 1) * T};
        for (int64_t i = 0; i < e->B; i++)
            for (int64_t j = i * d; j < (i + 1) * d; j++) {
                double lin = (double)k->y[j];
                k->x[j] = e->tok[i].pos < st->skip ? e->x[j]
                          : part < 0               ? e->xhat[j]
                          : part == SAE_ES_LINEAR  ? (sae_real)((double)e->xhat[j] + lin)
                                                   : (sae_real)((double)e->x[j] - lin);
            }
        SAE_TRY(e->insert->run(e->insert->self, k->x, &out));
    }
    for (int64_t t = 0; t < T; t++) {
        int64_t i = e->insert->row[t];
        if (i < 0 || half_of(v, st, e, i) != SAE_ES_TEST)
            continue;
        double *s = sae_groups_row(v->second, v->K, e->tok[i].doc);
        s[SAE_ES_TOKENS] += 1;
        s[SAE_ES_CE_CLEAN] += e->splice->ce_clean[t];
        s[SAE_ES_CE_SAE] += k->ce[t];
        s[SAE_ES_CE_LINEAR] += k->ce[T + t];
        s[SAE_ES_CE_NONLINEAR] += k->ce[2 * T + t];
    }
    return SAE_OK;
}

static int judge(const sae_measure *r, const view *v, const state *st, const sae_eval *e, work *k)
{
    const sae_fit part[SAE_ES_HALVES] = {part_at(v, SAE_ES_TRAIN), part_at(v, SAE_ES_TEST)};
    SAE_TRY(split(r, v, e, k->y));
    for (int64_t i = 0; i < e->B; i++) {
        int half = half_of(v, st, e, i);
        double *s = sae_groups_row(v->second, v->K, e->tok[i].doc), q[SAE_ES_PARTS];
        if (half < 0)
            continue;
        sae_es_add_row(half, e, i, k->y + i * v->d, s, q);
        sae_fit_add_scalars(&part[half], e->x + i * v->d, q);
        if (half == SAE_ES_TEST) {
            facts f = facts_of(e, i, k->loss);
            add_predictions(v, e, i, &f, s);
        }
    }
    return k->ce ? insert_parts(v, st, e, k) : SAE_OK;
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    int64_t doubles;
    view v = look(r, s, &doubles);
    work k;
    if (v.o->rows > 0 && (int64_t)e->row0 >= v.o->rows)
        return SAE_DONE;
    SAE_TRY(work_open(&k, &v, e));
    int rc = s->pass == 0 ? gather(r, &v, e, &k) : judge(r, &v, s, e, &k);
    work_close(&k);
    return rc;
}

/* Sums of the pass that both are in. */
static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_, *from = (state *)from_; /* read only; look serves both */
    int64_t doubles;
    view a = look(r, into, &doubles), b = look(r, from, &doubles);
    int first = into->pass == 0;
    double *to = first ? a.first : a.second;
    const double *more = first ? b.first : b.second;
    for (int64_t i = 0; i < (first ? a.sets * a.set_size : a.second_size); i++)
        to[i] += more[i];
    return SAE_OK;
}

/* ---- end of the first pass ------------------------------------------------------------------- */

/* Settle skip_first; sums of the rows that count end up in the first set. */
static void settle(const view *v, state *s)
{
    set kept = set_at(v, 0), early = set_at(v, v->sets - 1);
    s->skip = sae_es_skip(v->o->skip_first, *kept.fit[SAE_ES_TRAIN].n + *kept.fit[SAE_ES_TEST].n,
                          *early.fit[SAE_ES_TRAIN].n + *early.fit[SAE_ES_TEST].n);
    for (int64_t i = 0; v->sets == 2 && s->skip == 0 && i < v->set_size; i++)
        v->first[i] += v->first[v->set_size + i];
}

/* Slope and value at 0 of |e|^2 over each simple predictor. */
static void fit_bases(const view *v, const set *s)
{
    for (int b = 0; b < SAE_ES_BASES; b++) {
        const double *sum = s->base + b * B_SUMS;
        double n = v->o->bias ? sum[B_N] : 0, *out = v->base + 2 * b;
        double spread = sae_centred(sum[B_BB], sum[B_B], sum[B_B], n);
        double both = sae_centred(sum[B_BQ], sum[B_B], sum[B_Q], n);
        out[0] = spread > sum[B_BB] * 0x1p-40 ? both / spread : 0;
        out[1] = n > 0 ? (sum[B_Q] - out[0] * sum[B_B]) / n : 0;
    }
}

static int fit_all(const sae_measure *r, const view *v)
{
    set s = set_at(v, 0);
    int64_t d = v->d, cols = d + SAE_ES_NORMS;
    double n = *s.fit[SAE_ES_TRAIN].n, *w = malloc((size_t)(d * cols) * sizeof *w + 1);
    int rc = w ? sae_fit_solve(r->c, &s.fit[SAE_ES_TRAIN], (int)v->o->bias, w) : SAE_ENOMEM;
    for (int64_t i = 0; rc >= 0 && i < d; i++) {
        for (int64_t j = 0; j < d; j++)
            v->w[i * d + j] = (sae_real)w[i * cols + j];
        for (int t = 0; t < SAE_ES_NORMS; t++)
            v->a[t * d + i] = w[i * cols + d + t];
        v->at[i] = v->o->bias ? s.fit[SAE_ES_TRAIN].x[i] / n : 0;
        v->mean[i] = v->o->bias ? s.fit[SAE_ES_TRAIN].y[i] / n : 0;
    }
    for (int t = 0; t < SAE_ES_NORMS; t++)
        v->at_q[t] = v->o->bias ? s.fit[SAE_ES_TRAIN].q[t] / n : 0;
    fit_bases(v, &s);
    free(w);
    return rc;
}

static const sae_estimate table[] = {
    {"fvu", sae_es_fvu, SAE_ES_TESTED, "1", SAE_LOWER},
    {"fvu_nonlinear", sae_es_fvu_nonlinear, SAE_ES_TESTED, "1", SAE_LOWER},
    {"fvu_linear", sae_es_fvu_linear, SAE_ES_TESTED, "1", SAE_INFO},
    {"fvu_nonlinear_all", sae_es_fvu_nonlinear_all, SAE_ES_ROWS, "1", SAE_LOWER},
    {"linear_fraction", sae_es_linear_fraction, SAE_ES_TESTED, "1", SAE_INFO},
    {"error_r2_macro", sae_es_error_r2_macro, SAE_ES_TESTED, "1", SAE_INFO},
    {"error_r2_pooled", sae_es_error_r2_pooled, SAE_ES_TESTED, "1", SAE_INFO},
    {"norm_r2_error", sae_es_norm_r2_error, SAE_ES_TESTED, "1", SAE_INFO},
    {"norm_r2_x", sae_es_norm_r2_x, SAE_ES_TESTED, "1", SAE_INFO},
    {"norm_r2_xhat", sae_es_norm_r2_xhat, SAE_ES_TESTED, "1", SAE_INFO},
    {"norm_r2_error_by_token", sae_es_norm_r2_by_token, SAE_ES_TESTED, "1", SAE_INFO},
    {"norm_r2_error_by_l0", sae_es_norm_r2_by_l0, SAE_ES_TESTED, "1", SAE_INFO},
    {"norm_r2_error_by_norm", sae_es_norm_r2_by_norm, SAE_ES_TESTED, "1", SAE_INFO},
    {"shrinkage", sae_es_shrinkage, SAE_ES_TESTED, "1", SAE_TARGET_ZERO},
    {"shrinkage_r2", sae_es_shrinkage_r2, SAE_ES_TESTED, "1", SAE_INFO},
    {"norm_error", sae_es_norm_error, SAE_ES_TESTED, "x", SAE_LOWER},
    {"norm_linear", sae_es_norm_linear, SAE_ES_TESTED, "x", SAE_INFO},
    {"norm_nonlinear", sae_es_norm_nonlinear, SAE_ES_TESTED, "x", SAE_INFO},
    {"norm_share_linear", sae_es_norm_share_linear, SAE_ES_TESTED, "1", SAE_INFO},
    {"norm_share_nonlinear", sae_es_norm_share_nonlinear, SAE_ES_TESTED, "1", SAE_INFO},
    {"r2_recovered_linear", sae_es_r2_recovered_linear, SAE_ES_TESTED, "1", SAE_INFO},
    {"r2_recovered_nonlinear", sae_es_r2_recovered_nonlinear, SAE_ES_TESTED, "1", SAE_INFO},
    {0}};

static const sae_estimate inserted[] = {
    {"norm_r2_error_by_loss", sae_es_norm_r2_by_loss, SAE_ES_TOKENS, "1", SAE_INFO},
    {"ce_clean", sae_es_ce_clean, SAE_ES_TOKENS, "nats", SAE_INFO},
    {"ce_sae", sae_es_ce_sae, SAE_ES_TOKENS, "nats", SAE_LOWER},
    {"ce_linear", sae_es_ce_linear, SAE_ES_TOKENS, "nats", SAE_INFO},
    {"ce_nonlinear", sae_es_ce_nonlinear, SAE_ES_TOKENS, "nats", SAE_INFO},
    {"ce_recovered_linear", sae_es_ce_recovered_linear, SAE_ES_TOKENS, "1", SAE_INFO},
    {"ce_recovered_nonlinear", sae_es_ce_recovered_nonlinear, SAE_ES_TOKENS, "1", SAE_INFO},
    {0}};

/* ---- results --------------------------------------------------------------------------------- */

/* (sum of eigenvalues)^2 / sum of their squares, of the covariance of the training rows. */
static double participation(const sae_fit *f)
{
    double trace = 0, squares = 0;
    for (int64_t i = 0; i < f->d; i++)
        for (int64_t j = 0; j < f->d; j++) {
            double c = sae_centred(f->xx[i * f->d + j], f->x[i], f->x[j], *f->n);
            trace += i == j ? c : 0;
            squares += c * c;
        }
    return sae_es_share(trace * trace, squares);
}

/* The median of R^2 over coordinates, and how many have none. */
static int emit_coordinates(const sae_measure *r, const view *v)
{
    const double *s = sae_groups_total(v->second, v->K);
    double *r2 = malloc((size_t)v->d * sizeof *r2), median;
    int64_t count = 0;
    if (!r2)
        return SAE_ENOMEM;
    for (int64_t j = 0; j < v->d; j++) {
        r2[count] = sae_es_error_r2_at(s, v->K, j);
        count += !isnan(r2[count]);
    }
    median = sae_median(r2, count);
    free(r2);
    SAE_TRY(sae_emit_value(r, "error_r2_median", median, count, "1", SAE_INFO));
    return sae_emit_value(r, "excluded", (double)(v->d - count), v->d, "dimensions", SAE_INFO);
}

/* Predict |linear error|^2 and |nonlinear error|^2 from x. */
static int emit_parts(const sae_measure *r, const view *v)
{
    static const char *const key[SAE_ES_PARTS] = {"norm_r2_linear", "norm_r2_nonlinear"};
    sae_fit train = part_at(v, SAE_ES_TRAIN), test = part_at(v, SAE_ES_TEST);
    double *w = malloc((size_t)(v->d * (SAE_ES_PARTS + 1)) * sizeof *w);
    int rc = w ? sae_fit_solve(r->c, &train, (int)v->o->bias, w) : SAE_ENOMEM;
    for (int t = 0; rc >= 0 && t < SAE_ES_PARTS; t++) {
        double *row = w + v->d * SAE_ES_PARTS;
        for (int64_t i = 0; i < v->d; i++)
            row[i] = w[i * SAE_ES_PARTS + t];
        double q = v->o->bias ? train.q[t] / *train.n : 0;
        rc = sae_emit_value(r, key[t], sae_fit_r2(&test, t, row, v->at, q), (int64_t)*test.n, "1",
                            SAE_INFO);
    }
    free(w);
    return rc;
}

static int emit_sizes(const sae_measure *r, const view *v, const state *s)
{
    set all = set_at(v, 0);
    int64_t train = (int64_t)*all.fit[SAE_ES_TRAIN].n, test = (int64_t)*all.fit[SAE_ES_TEST].n;
    SAE_TRY(sae_emit_value(r, "rows_train", (double)train, train, "rows", SAE_INFO));
    SAE_TRY(sae_emit_value(r, "rows_test", (double)test, test, "rows", SAE_INFO));
    SAE_TRY(sae_emit_value(r, "dims_per_row", sae_es_share((double)v->d, (double)train), train,
                           "1", SAE_INFO));
    SAE_TRY(sae_emit_value(r, "skip_first", (double)s->skip, train + test, "positions", SAE_INFO));
    return sae_emit_value(r, "participation_ratio", participation(&all.fit[SAE_ES_TRAIN]), train,
                          "dimensions", SAE_INFO);
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    int64_t doubles;
    view v = look(r, s, &doubles);
    if (s->pass == 0) {
        settle(&v, s);
        set all = set_at(&v, 0);
        SAE_TRY(emit_sizes(r, &v, s));
        if (*all.fit[SAE_ES_TRAIN].n < (double)(v.o->min_rows * v.d) ||
            *all.fit[SAE_ES_TEST].n == 0.0)
            return SAE_OK;
        SAE_TRY(fit_all(r, &v));
        s->pass = 1;
        return SAE_AGAIN;
    }
    SAE_TRY(sae_groups_emit(r, v.second, v.K, table));
    if (sae_groups_total(v.second, v.K)[SAE_ES_TOKENS] > 0)
        SAE_TRY(sae_groups_emit(r, v.second, v.K, inserted));
    SAE_TRY(emit_parts(r, &v));
    return emit_coordinates(r, &v);
}

/* Only insert needs the language model. */
static uint32_t wants_for(const void *opt)
{
    return ((const options *)opt)->insert ? SAE_MNEED_INSERT : 0u;
}

static int64_t passes_for(const void *opt)
{
    (void)opt;
    return 2;
}

const sae_metric sae_metric_darkmatter = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "darkmatter",
    .summary = "the part of the error that is linear in the activation, and the rest",
    .source = "metrics/darkmatter.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_XHAT,
    .wants = SAE_MNEED_INSERT,
    .wants_for = wants_for,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = sae_begin_zero,
    .batch = batch,
    .merge = merge,
    .end = end,
    .passes_for = passes_for,
};
