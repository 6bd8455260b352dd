/* metrics/saebench06.c - the fields of SAEBench 0.6.0's core evaluation as that program computes
 * them, faults included; metrics/saebench06.md says where they differ from the strict families.
 *
 * Some of its fields depend on how rows are cut into batches. A batch here is `batch_rows`
 * consecutive rows of the evaluated stream, counted from its beginning, however the runner cuts it.
 * A state covers consecutive rows [lo, hi) and keeps the rows of the batches that it has only a
 * part of: at its beginning (head) and at its end (tail). Merging joins neighbours.
 */
#include <sae/cosine.h>
#include <sae/fail.h>
#include <sae/groups.h>
#include <string.h>

typedef struct options {
    int64_t batch_rows, features, details;
} options;

static const sae_option option_table[] = {
    {"batch_rows", SAE_OPT_INT, 0, offsetof(options, batch_rows), 2048, 2, 1 << 20, NULL, NULL,
     "rows", "rows of a batch: 16 prompts of 128 tokens"},
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 4096, 1, 1 << 24, NULL, NULL,
     "features",
     "average_max_*_cosine_sim over this many features, in evenly spaced blocks of 256"},
    {"details", SAE_OPT_BOOL, 0, offsetof(options, details), 0, 0, 1, NULL, NULL, "1",
     "fields of every feature in features.csv"},
    {0}};

/* Sufficient statistics of a group of documents. From BATCHED to MEAN_SQUARE only rows of whole
 * batches count, and from WEIGHT on each for 1 / rows of its batch. */
enum { ROWS, NORM_IN, NORM_OUT, RATIO, COSSIM, L0, L1, BATCHED, LEGACY, WEIGHT, SSE, SQUARES,
       MEAN_SQUARE, TOKENS, CE_CLEAN, CE_SAE, CE_ABLATION, POSITIONS, KL_SAE, KL_ABLATION, STATS };

typedef struct slot { /* a row of a batch that is not whole */
    double ee, xx, hh, xh;
    uint64_t doc;
} slot;

typedef struct feature {
    uint64_t fired, prompts; /* rows with a positive value, documents with such rows */
    uint64_t last;           /* number within the state of the last such document, from 1 */
    uint64_t first;          /* the state's first document is one */
} feature;

typedef struct edge {
    int64_t from, to; /* its rows are slots [from, to) of the batch */
} edge;

enum { HEAD, TAIL };

typedef struct state { /* behind feature[n]: the mean row [d], slots and rows of both edges */
    double sums[(SAE_GROUPS + 2) * STATS];
    double bias; /* sum over batches */
    int64_t batches;
    int64_t all_positions; /* of the language model's contexts, BOS too */
    uint64_t lo, hi;       /* rows seen */
    uint64_t docs, first_doc, last_doc;
    edge edge[2];
    feature feature[];
} state;

static int64_t batch_rows(const sae_measure *r)
{
    return ((const options *)r->opt)->batch_rows;
}

static double *mean_row(const sae_measure *r, state *s)
{
    return (double *)(void *)(s->feature + r->m->dim.n);
}
static slot *slots(const sae_measure *r, state *s, int which)
{
    return (slot *)(void *)(mean_row(r, s) + r->m->dim.d_out) + which * batch_rows(r);
}
static sae_real *rows_of(const sae_measure *r, state *s, int which)
{
    sae_real *x = (sae_real *)(void *)(slots(r, s, 0) + 2 * batch_rows(r));
    return x + which * batch_rows(r) * r->m->dim.d_out;
}

static size_t state_size(const sae_measure *r)
{
    size_t d = (size_t)r->m->dim.d_out, rows = 2 * (size_t)batch_rows(r);
    return sizeof(state) + (size_t)r->m->dim.n * sizeof(feature) + d * sizeof(double) +
           rows * (sizeof(slot) + d * sizeof(sae_real));
}

/* ---- batches --------------------------------------------------------------------------------- */

static double distance2(const sae_real *x, const double *mean, int64_t d)
{
    double dev = 0;
    for (int64_t c = 0; c < d; c++)
        dev += ((double)x[c] - mean[c]) * ((double)x[c] - mean[c]);
    return dev;
}

/* What the rows of an edge add as one batch. */
static void close_batch(const sae_measure *r, state *s, int which)
{
    edge *e = &s->edge[which];
    int64_t d = r->m->dim.d_out;
    double *mean = mean_row(r, s), n = (double)(e->to - e->from), hh = 0, xh = 0;
    const sae_real *x = rows_of(r, s, which);
    if (e->to == e->from)
        return;
    memset(mean, 0, (size_t)d * sizeof *mean);
    for (int64_t i = e->from; i < e->to; i++)
        for (int64_t c = 0; c < d; c++)
            mean[c] += (double)x[i * d + c];
    for (int64_t c = 0; c < d; c++)
        mean[c] /= n;
    for (int64_t i = e->from; i < e->to; i++) {
        const slot *row = slots(r, s, which) + i;
        double *sum = sae_groups_row(s->sums, STATS, row->doc);
        sum[BATCHED] += 1;
        sum[LEGACY] += 1.0 - row->ee / distance2(x + i * d, mean, d);
        sum[WEIGHT] += 1 / n;
        sum[SSE] += row->ee / n;
        sum[SQUARES] += row->xx / n;
        sum[MEAN_SQUARE] += row->xx / (double)d / n;
        hh += row->hh;
        xh += row->xh;
    }
    s->bias += hh / xh;
    s->batches++;
    *e = (edge){0, 0};
}

/* Row number `at` of the stream waits for the rest of its batch. */
static void put_row(const sae_measure *r, state *s, uint64_t at, const slot *row, const sae_real *x)
{
    uint64_t R = (uint64_t)batch_rows(r);
    int64_t i = (int64_t)(at % R), d = r->m->dim.d_out;
    int which = s->lo % R && at / R == s->lo / R ? HEAD : TAIL;
    edge *e = &s->edge[which];
    if (e->to == e->from)
        e->from = i;
    e->to = i + 1;
    slots(r, s, which)[i] = *row;
    memcpy(rows_of(r, s, which) + i * d, x, (size_t)d * sizeof *x);
    if (which == TAIL && e->to == (int64_t)R)
        close_batch(r, s, TAIL);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static slot add_row(double *sum, int64_t d, const sae_real *x, const sae_real *h, uint64_t doc)
{
    slot o = {.doc = doc};
    for (int64_t c = 0; c < d; c++) {
        double a = (double)x[c], b = (double)h[c], e = a - b;
        o.ee += e * e;
        o.xx += a * a;
        o.hh += b * b;
        o.xh += a * b;
    }
    double in = sqrt(o.xx), out = sqrt(o.hh);
    sum[ROWS] += 1;
    sum[NORM_IN] += in;
    sum[NORM_OUT] += out;
    sum[RATIO] += out / (in < 1e-4 ? 1.0 : in);
    sum[COSSIM] += o.xh / (in * out); /* NaN for a zero row, as there */
    return o;
}

static void add_code(state *s, const sae_code *z, int64_t i, double *sum)
{
    for (int64_t p = sae_code_row(z, i); p < sae_code_row(z, i + 1); p++) {
        double v = (double)z->val[p];
        sum[L0] += v != 0.0;
        sum[L1] += v;
        if (!(v > 0.0))
            continue;
        feature *f = &s->feature[sae_code_feature(z, i, p)];
        f->fired++;
        f->prompts += f->last != s->docs;
        f->last = s->docs;
        f->first |= s->docs == 1;
    }
}

static void add_losses(state *s, const sae_splice *p)
{
    s->all_positions += p->P;
    for (int64_t t = 0; t < p->P; t++) {
        double *sum = sae_groups_row(s->sums, STATS, p->tok[t].doc);
        if (!p->kept[t])
            continue;
        sum[POSITIONS] += 1;
        sum[KL_SAE] += p->kl_splice[t];
        sum[KL_ABLATION] += p->kl_zero_all[t];
        if (t >= p->T)
            continue;
        sum[TOKENS] += 1;
        sum[CE_CLEAN] += p->ce_clean[t];
        sum[CE_SAE] += p->ce_splice[t];
        sum[CE_ABLATION] += p->ce_zero_all[t];
    }
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *s = state_;
    if (s->hi == s->lo)
        s->lo = s->hi = e->row0;
    for (int64_t i = 0; i < e->B; i++, s->hi++) {
        uint64_t doc = e->tok[i].doc;
        const sae_real *x = e->x + i * e->d;
        double *sum = sae_groups_row(s->sums, STATS, doc);
        if (s->docs == 0)
            s->first_doc = doc;
        s->docs += s->docs == 0 || s->last_doc != doc;
        s->last_doc = doc;
        slot row = add_row(sum, e->d, x, e->xhat + i * e->d, doc);
        add_code(s, e->code, i, sum);
        put_row(r, s, s->hi, &row, x);
    }
    if (e->splice)
        add_losses(s, e->splice);
    return SAE_OK;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* Append the rows of an edge of `from` to an edge of `into`, which it continues or precedes. */
static void join(const sae_measure *r, state *into, int a, state *from, int b)
{
    edge *e = &into->edge[a], *f = &from->edge[b];
    int64_t d = r->m->dim.d_out, rows = f->to - f->from;
    if (rows == 0)
        return;
    memcpy(slots(r, into, a) + f->from, slots(r, from, b) + f->from, (size_t)rows * sizeof(slot));
    memcpy(rows_of(r, into, a) + f->from * d, rows_of(r, from, b) + f->from * d,
           (size_t)(rows * d) * sizeof(sae_real));
    if (e->to == e->from)
        *e = *f;
    e->from = f->from < e->from ? f->from : e->from;
    e->to = f->to > e->to ? f->to : e->to;
}

/* The rows before and after the seam come together in one edge of `into`; what is whole is
 * closed. */
static void merge_edges(const sae_measure *r, state *into, state *from, int into_first)
{
    state *a = into_first ? into : from; /* the earlier one */
    int in_head = a->edge[TAIL].to == a->edge[TAIL].from; /* or there is nothing at the seam */
    if (into_first) {
        join(r, into, in_head ? HEAD : TAIL, from, HEAD);
        if (!in_head && into->edge[TAIL].to == batch_rows(r))
            close_batch(r, into, TAIL);
        join(r, into, TAIL, from, TAIL);
        return;
    }
    if (in_head) {
        join(r, into, HEAD, from, HEAD);
        return;
    }
    join(r, into, HEAD, from, TAIL);
    if (into->edge[HEAD].to == batch_rows(r))
        close_batch(r, into, HEAD);
    join(r, into, TAIL, into, HEAD);
    into->edge[HEAD] = (edge){0, 0};
    join(r, into, HEAD, from, HEAD);
}

/* A document on both sides of the seam is one prompt. */
static void merge_features(const sae_measure *r, state *into, const state *from, int into_first)
{
    const state *a = into_first ? into : from, *b = into_first ? from : into;
    uint64_t docs = a->docs, shared = a->last_doc == b->first_doc;
    for (int64_t j = 0; j < r->m->dim.n; j++) {
        feature p = a->feature[j], q = b->feature[j];
        uint64_t twice = shared && p.last == docs && q.first;
        feature *f = &into->feature[j];
        f->fired = p.fired + q.fired;
        f->prompts = p.prompts + q.prompts - twice;
        f->first = p.first | (docs == 1 && shared && q.first);
        f->last = q.last ? q.last + docs - shared : p.last;
    }
    uint64_t first = a->first_doc, last = b->last_doc;
    into->docs = docs + b->docs - shared;
    into->first_doc = first;
    into->last_doc = last;
}

static int merge(const sae_measure *r, void *into_, const void *from_)
{
    state *into = into_;
    state *from = (state *)from_; /* read only; the places of its parts serve both */
    int into_first = into->hi == from->lo;
    if (from->hi == from->lo)
        return SAE_OK;
    if (into->hi == into->lo) {
        memcpy(into, from, state_size(r));
        return SAE_OK;
    }
    if (!into_first && from->hi != into->lo)
        return SAE_EINVAL;
    sae_groups_merge(into->sums, from->sums, STATS);
    into->bias += from->bias;
    into->batches += from->batches;
    into->all_positions += from->all_positions;
    merge_features(r, into, from, into_first);
    merge_edges(r, into, from, into_first);
    *(into_first ? &into->hi : &into->lo) = into_first ? from->hi : from->lo;
    return SAE_OK;
}

/* ---- results --------------------------------------------------------------------------------- */

SAE_RATIO(l2_norm_in, NORM_IN, ROWS)
SAE_RATIO(l2_norm_out, NORM_OUT, ROWS)
SAE_RATIO(l2_ratio, RATIO, ROWS)
SAE_RATIO(cossim, COSSIM, ROWS)
SAE_RATIO(l0, L0, ROWS)
SAE_RATIO(l1, L1, ROWS)
SAE_RATIO(explained_variance_legacy, LEGACY, BATCHED)
SAE_RATIO(mse, SSE, BATCHED)
SAE_RATIO(ce_clean, CE_CLEAN, TOKENS)
SAE_RATIO(ce_sae, CE_SAE, TOKENS)
SAE_RATIO(ce_ablation, CE_ABLATION, TOKENS)
SAE_RATIO(kl_sae, KL_SAE, POSITIONS)
SAE_RATIO(kl_ablation, KL_ABLATION, POSITIONS)

/* The square of the mean square of an element where the squared norm of the mean belongs. */
static double explained_variance(const double *s, int64_t K)
{
    (void)K;
    double mean_square = s[MEAN_SQUARE] / s[WEIGHT];
    return 1.0 - s[SSE] / s[WEIGHT] / (s[SQUARES] / s[WEIGHT] - mean_square * mean_square);
}
static double ce_score(const double *s, int64_t K)
{
    (void)K;
    return (s[CE_ABLATION] - s[CE_SAE]) / (s[CE_ABLATION] - s[CE_CLEAN]);
}
static double kl_score(const double *s, int64_t K)
{
    (void)K;
    return (s[KL_ABLATION] - s[KL_SAE]) / s[KL_ABLATION];
}

static const sae_estimate row_fields[] = {
    {"explained_variance", explained_variance, BATCHED, "1", SAE_HIGHER},
    {"explained_variance_legacy", explained_variance_legacy, BATCHED, "1", SAE_HIGHER},
    {"mse", mse, BATCHED, "x^2/rows", SAE_LOWER},
    {"cossim", cossim, ROWS, "1", SAE_HIGHER},
    {"l2_norm_in", l2_norm_in, ROWS, "x", SAE_INFO},
    {"l2_norm_out", l2_norm_out, ROWS, "x", SAE_INFO},
    {"l2_ratio", l2_ratio, ROWS, "1", SAE_TARGET_ONE},
    {"l0", l0, ROWS, "features", SAE_INFO},
    {"l1", l1, ROWS, "z", SAE_INFO},
    {0}};

static const sae_estimate model_fields[] = {
    {"kl_div_score", kl_score, POSITIONS, "1", SAE_HIGHER},
    {"kl_div_with_ablation", kl_ablation, POSITIONS, "nats", SAE_INFO},
    {"kl_div_with_sae", kl_sae, POSITIONS, "nats", SAE_LOWER},
    {"ce_loss_score", ce_score, TOKENS, "1", SAE_HIGHER},
    {"ce_loss_with_ablation", ce_ablation, TOKENS, "nats", SAE_INFO},
    {"ce_loss_with_sae", ce_sae, TOKENS, "nats", SAE_LOWER},
    {"ce_loss_without_sae", ce_clean, TOKENS, "nats", SAE_INFO},
    {0}};

static int emit_frequencies(const sae_measure *r, const state *s)
{
    int64_t n = r->m->dim.n;
    double rows = (double)(s->hi - s->lo), alive = 0, total = 0, over[2] = {0}, sum[2] = {0};
    for (int64_t j = 0; j < n; j++) {
        double density = (double)s->feature[j].fired / rows;
        alive += density > 0.0;
        total += density;
        for (int i = 0; i < 2; i++)
            if (density > (i ? 0.1 : 0.01)) {
                over[i] += 1;
                sum[i] += density;
            }
    }
    const struct {
        const char *key;
        double value;
        enum sae_better better;
    } out[] = {{"freq_over_1_percent", over[0] / (double)n, SAE_INFO},
               {"freq_over_10_percent", over[1] / (double)n, SAE_INFO},
               {"normalized_freq_over_1_percent", total > 0.0 ? sum[0] / total : 0.0, SAE_INFO},
               {"normalized_freq_over_10_percent", total > 0.0 ? sum[1] / total : 0.0, SAE_INFO},
               {"frac_alive", alive / (double)n, SAE_HIGHER}};
    for (size_t i = 0; i < sizeof out / sizeof out[0]; i++)
        SAE_TRY(sae_emit_value(r, out[i].key, out[i].value, n, "1", out[i].better));
    return SAE_OK;
}

typedef struct neighbours {
    const sae_measure *r;
    const char *series; /* or NULL */
    double sum;
} neighbours;

static int add_nearest(void *arg, const sae_real *cosine, int64_t n, int64_t self)
{
    neighbours *t = arg;
    double nearest = sae_cosine_nearest(cosine, n, self, 0, NULL);
    t->sum += nearest;
    return t->series ? sae_emit_point(t->r, t->series, self, nearest) : SAE_OK;
}

static int emit_neighbours(const sae_measure *r, const char *tensor, const char *key,
                           const char *series)
{
    const options *o = r->opt;
    sae_cmat w = sae_tensor_matrix(r->m, tensor);
    neighbours t = {r, o->details ? series : NULL, 0};
    sae_cosines c;
    int64_t count;
    if (!w.p || w.rows < 2)
        return SAE_OK;
    SAE_TRY(sae_cosines_open(&c, r, w, w));
    int rc = sae_cosines_walk(&c, o->features, add_nearest, &t, &count);
    sae_cosines_close(&c);
    return rc < 0 ? rc : sae_emit_value(r, key, t.sum / (double)count, count, "1", SAE_LOWER);
}

static int put_firing(const sae_measure *r, const state *s)
{
    double rows = (double)(s->hi - s->lo);
    for (int64_t j = 0; rows > 0.0 && j < r->m->dim.n; j++) {
        double fired = (double)s->feature[j].fired, prompts = (double)s->feature[j].prompts;
        SAE_TRY(sae_emit_point(r, "feature_density", j, fired / rows));
        if (prompts > 0.0)
            SAE_TRY(sae_emit_point(r, "consistent_activation_heuristic", j, fired / prompts));
    }
    return SAE_OK;
}

/* Norms as in SAELens' files, whose encoder reads raw activations. */
static int put_encoder(const sae_measure *r, sae_cmat enc, sae_cmat dec)
{
    double *norm = sae_inverse_norms(r, enc), *dec_norm = sae_inverse_norms(r, dec);
    double *product = enc.cols == dec.cols ? sae_row_products(r, enc, dec) : NULL;
    int rc = norm && dec_norm && (product || enc.cols != dec.cols) ? SAE_OK : SAE_ENOMEM;
    for (int64_t j = 0; rc >= 0 && j < enc.rows; j++) {
        double length = norm[j] > 0.0 ? 1.0 / norm[j] / r->scale : 0.0;
        rc = sae_emit_point(r, "encoder_norm", j, length);
        if (rc >= 0 && product)
            rc = sae_emit_point(r, "encoder_decoder_cosine_sim", j,
                                product[j] * norm[j] * dec_norm[j]);
    }
    free(norm);
    free(dec_norm);
    free(product);
    return rc;
}

static int put_bias(const sae_measure *r)
{
    int64_t n = r->m->dim.n;
    const char *name = sae_tensor_matrix(r->m, "b_mag").p ? "b_mag" : "b_enc";
    sae_cmat b = sae_tensor_matrix(r->m, name);
    sae_real *host = calloc((size_t)n + 1, sizeof *host);
    int rc = host ? SAE_OK : SAE_ENOMEM;
    if (host && b.p && b.rows * b.cols == n)
        rc = r->c->be->copy(r->c->dev, host, b.p, (size_t)n * sizeof *host, SAE_COPY_D2H);
    for (int64_t j = 0; rc >= 0 && j < n; j++)
        rc = sae_emit_point(r, "encoder_bias", j, (double)host[j]);
    free(host);
    return rc;
}

static int put_details(const sae_measure *r, const state *s)
{
    sae_cmat enc = sae_tensor_matrix(r->m, "W_enc"), dec = sae_tensor_matrix(r->m, "W_dec");
    SAE_TRY(put_firing(r, s));
    SAE_TRY(put_bias(r));
    return enc.p && dec.p && enc.rows == dec.rows ? put_encoder(r, enc, dec) : SAE_OK;
}

/* A batch that is not whole counts if there is no whole one. */
static int emit_rows(const sae_measure *r, state *s)
{
    if (s->batches == 0)
        for (int i = HEAD; i <= TAIL; i++)
            close_batch(r, s, i);
    SAE_TRY(sae_groups_emit(r, s->sums, STATS, row_fields));
    SAE_TRY(sae_emit_value(r, "relative_reconstruction_bias", s->bias / (double)s->batches,
                           s->batches, "1", SAE_TARGET_ONE));
    return emit_frequencies(r, s);
}

static int emit_model(const sae_measure *r, state *s)
{
    int64_t all = s->all_positions;
    if (all == 0)
        return SAE_OK;
    SAE_TRY(sae_groups_emit(r, s->sums, STATS, model_fields));
    return sae_emit_value(r, "total_tokens_eval_reconstruction", (double)all, all, "tokens",
                          SAE_INFO);
}

static int end(const sae_measure *r, void *state_)
{
    state *s = state_;
    const options *o = r->opt;
    int64_t all = s->all_positions ? s->all_positions : (int64_t)(s->hi - s->lo);
    SAE_TRY(emit_model(r, s));
    SAE_TRY(emit_rows(r, s));
    SAE_TRY(emit_neighbours(r, "W_enc", "average_max_encoder_cosine_sim",
                            "max_encoder_cosine_sim"));
    SAE_TRY(emit_neighbours(r, "W_dec", "average_max_decoder_cosine_sim",
                            "max_decoder_cosine_sim"));
    SAE_TRY(sae_emit_value(r, "total_tokens_eval_sparsity_variance", (double)all, all, "tokens",
                           SAE_INFO));
    return o->details ? put_details(r, s) : SAE_OK;
}

const sae_metric sae_metric_saebench06 = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "saebench06",
    .summary = "the fields of SAEBench 0.6.0's core evaluation as that program computes them",
    .source = "metrics/saebench06.md",
    .needs = SAE_MNEED_CODE | SAE_MNEED_XHAT,
    .wants = SAE_MNEED_LM | SAE_MNEED_ZERO_ALL,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = sae_begin_zero,
    .batch = batch,
    .merge = merge,
    .end = end,
};
