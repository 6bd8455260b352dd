/* metrics/dictionary.c - geometry of the learned weights; reads no activations. */
#include <sae/cosine.h>
#include <sae/fail.h>

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
        double c = (double)cosine[j];
        if (j == self)
            continue;
        t->bin[sae_cosine_bin(c, BINS)]++;
        t->absolute += fabs(c);
        antipodes += c <= -o->antipodal;
    }
    double nearest = sae_cosine_nearest(cosine, n, self, sae_model_signed(r->m), &near);
    t->nearest += nearest;
    t->antipodal += antipodes;
    t->with_antipode += antipodes > 0;
    SAE_TRY(sae_emit_point(r, "max_decoder_cosine", self, nearest));
    return sae_emit_point(r, "nearest", self, (double)near);
}

static int emit_cosines(const sae_measure *r, const sae_cosines *s)
{
    const options *o = r->opt;
    pairs t = {.r = r};
    int64_t count = 0, n = s->a.rows;
    SAE_TRY(sae_cosines_walk(s, o->features, add_feature, &t, &count));
    double of = (double)count, antipodal = (double)t.antipodal / 2 * (double)n / of;
    SAE_TRY(sae_emit_value(r, "max_decoder_cosine", t.nearest / of, count, "1", SAE_LOWER));
    SAE_TRY(sae_emit_value(r, "mean_abs_cosine", t.absolute / of / (double)(n - 1), count, "1",
                           SAE_LOWER));
    SAE_TRY(sae_emit_value(r, "antipodal_share", (double)t.with_antipode / of, count, "1",
                           SAE_LOWER));
    SAE_TRY(sae_emit_value(r, "antipodal_pairs", antipodal, count, "pairs", SAE_LOWER));
    for (int64_t b = 0; b < BINS; b++)
        SAE_TRY(sae_emit_point(r, "cosine_histogram", b - BINS / 2, (double)t.bin[b]));
    return SAE_OK;
}

static int emit_norms(const sae_measure *r, const sae_cosines *s)
{
    double sum = 0;
    for (int64_t j = 0; j < s->a.rows; j++) {
        double norm = s->na[j] > 0.0 ? 1.0 / s->na[j] : 0.0;
        sum += norm;
        SAE_TRY(sae_emit_point(r, "decoder_norm", j, norm));
    }
    return sae_emit_value(r, "decoder_norm", sum / (double)s->a.rows, s->a.rows, "x/z", SAE_INFO);
}

static int end(const sae_measure *r, void *state)
{
    (void)state;
    sae_cmat dec = sae_tensor_matrix(r->m, "W_dec");
    sae_cosines s;
    if (!dec.p || dec.rows < 2)
        return SAE_OK;
    SAE_TRY(sae_cosines_open(&s, r, dec, dec));
    int rc = emit_norms(r, &s);
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
    .state_size = sae_no_rows_size,
    .begin = sae_begin_zero,
    .batch = sae_no_rows_batch,
    .merge = sae_no_rows_merge,
    .end = end,
};
