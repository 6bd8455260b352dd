/* metrics/dictionary.c - geometry of the learned weights; reads no activations. */
#include <sae/cosine.h>

typedef struct options {
    int64_t features;
    double antipodal;
} options;

static const sae_option option_table[] = {
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 2048, 1, 1 << 24, NULL, NULL,
     "features", "cosines of this many features with all, in evenly spaced blocks of 256"},
    {"antipodal", SAE_OPT_REAL, 0, offsetof(options, antipodal), 0.8, 0, 1, NULL, NULL, "1",
     "two atoms are antipodal when their cosine is at most its negative"},
    {0}};

static size_t state_size(const sae_measure *r)
{
    (void)r;
    return 1;
}

static int begin(const sae_measure *r, void *state)
{
    (void)r, (void)state;
    return SAE_OK;
}

static int batch(const sae_measure *r, void *state, const sae_eval *e)
{
    (void)r, (void)state, (void)e;
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into, const void *from)
{
    (void)r, (void)into, (void)from;
    return SAE_OK;
}

/* Mean of per-feature values; their spread over features is not a sampling error. */
static int emit_mean(const sae_measure *r, const char *key, double mean, int64_t count,
                     const char *unit, enum sae_better better)
{
    sae_row row = {key, mean, (double)NAN, count, unit, better};
    return r->emit(r->sink, &row);
}

enum { BINS = 50 }; /* of the histogram over [-1, 1] */

/* Over pairs of a sampled feature and any other one. */
typedef struct pairs {
    const sae_measure *r;
    int64_t antipodal, with_antipode, bin[BINS];
    double nearest, absolute;
} pairs;

static int add_feature(void *arg, const sae_real *cosine, int64_t n, int64_t self)
{
    pairs *t = arg;
    const sae_measure *r = t->r;
    const options *o = r->opt;
    int64_t antipodes = 0, near = -1;
    for (int64_t j = 0; j < n; j++) {
        double c = (double)cosine[j], place = floor((c + 1) * BINS / 2);
        if (j == self)
            continue;
        t->bin[place < 0 ? 0 : place < BINS ? (int64_t)place : BINS - 1]++;
        t->absolute += fabs(c);
        antipodes += c <= -o->antipodal;
    }
    sae_series nearest = {"max_decoder_cosine", self,
                          sae_cosine_nearest(cosine, n, self, sae_model_signed(r->m), &near)};
    sae_series which = {"nearest", self, (double)near};
    t->nearest += nearest.value;
    t->antipodal += antipodes;
    t->with_antipode += antipodes > 0;
    int rc = r->point(r->sink, &nearest);
    return rc < 0 ? rc : r->point(r->sink, &which);
}

static int emit_cosines(const sae_measure *r, const sae_cosines *s)
{
    const options *o = r->opt;
    pairs t = {.r = r};
    int64_t count = 0, n = s->a.rows;
    int rc = sae_cosines_walk(s, o->features, add_feature, &t, &count);
    double of = (double)count;
    if (rc >= 0)
        rc = emit_mean(r, "max_decoder_cosine", t.nearest / of, count, "1", SAE_LOWER);
    if (rc >= 0)
        rc = emit_mean(r, "mean_abs_cosine", t.absolute / of / (double)(n - 1), count, "1",
                       SAE_LOWER);
    if (rc >= 0)
        rc = emit_mean(r, "antipodal_share", (double)t.with_antipode / of, count, "1", SAE_LOWER);
    if (rc >= 0)
        rc = emit_mean(r, "antipodal_pairs", (double)t.antipodal / 2 * (double)n / of, count,
                       "pairs", SAE_LOWER);
    for (int64_t b = 0; rc >= 0 && b < BINS; b++) {
        sae_series p = {"cosine_histogram", b - BINS / 2, (double)t.bin[b]};
        rc = r->point(r->sink, &p);
    }
    return rc;
}

static int end(const sae_measure *r, void *state)
{
    (void)state;
    sae_cmat dec = sae_tensor_matrix(r->m, "W_dec");
    sae_cosines s;
    if (!dec.p || dec.rows < 2)
        return SAE_OK;
    int rc = sae_cosines_open(&s, r, dec, dec);
    if (rc < 0)
        return rc;
    double norms = 0;
    for (int64_t j = 0; rc >= 0 && j < dec.rows; j++) {
        sae_series p = {"decoder_norm", j, s.na[j] > 0.0 ? 1.0 / s.na[j] : 0.0};
        norms += p.value;
        rc = r->point(r->sink, &p);
    }
    if (rc >= 0)
        rc = emit_mean(r, "decoder_norm", norms / (double)dec.rows, dec.rows, "x/z", SAE_INFO);
    if (rc >= 0)
        rc = emit_cosines(r, &s);
    sae_cosines_close(&s);
    return rc;
}

const sae_metric sae_metric_dictionary = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "dictionary",
    .summary = "norms of the atoms, their cosines, nearest neighbours and antipodes",
    .source = "metrics/dictionary.md",
    .needs = 0,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
