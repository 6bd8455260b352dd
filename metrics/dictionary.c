/* metrics/dictionary.c - geometry of the learned weights; reads no activations. */
#include <sae/cosine.h>

typedef struct options {
    int64_t features;
} options;

static const sae_option option_table[] = {
    {"features", SAE_OPT_INT, 0, offsetof(options, features), 2048, 1, 1 << 24, NULL, NULL,
     "features", "nearest neighbours of this many features, in evenly spaced blocks of 256"},
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

static int emit_neighbours(const sae_measure *r, const sae_cosines *s)
{
    static const char key[] = "max_decoder_cosine";
    const options *o = r->opt;
    double mean;
    int64_t count;
    int rc =
        sae_cosines_neighbours(s, o->features, sae_model_signed(r->m), key, &mean, &count);
    return rc < 0 ? rc : emit_mean(r, key, mean, count, "1", SAE_LOWER);
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
        rc = emit_neighbours(r, &s);
    sae_cosines_close(&s);
    return rc;
}

const sae_metric sae_metric_dictionary = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "dictionary",
    .summary = "norms of the atoms and how close each is to its nearest neighbour",
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
