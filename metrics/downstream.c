/* metrics/downstream.c - what the language model loses when it reads decoded activations. */
#include <sae/groups.h>

typedef struct options {
    char none;
} options;

static const sae_option option_table[] = {{0}};

enum { TOKENS, CE_CLEAN, CE_SPLICED, CE_ZERO, CE_MEAN, KL_SPLICED, KL_ZERO, STATS };

static size_t state_size(const sae_measure *r)
{
    (void)r;
    return sae_groups_bytes(STATS);
}

static int begin(const sae_measure *r, void *state)
{
    (void)r, (void)state;
    return SAE_OK;
}

static int batch(const sae_measure *r, void *state, const sae_eval *e)
{
    (void)r;
    const sae_splice *p = e->splice;
    for (int64_t t = 0; t < p->T; t++) {
        double *s = sae_groups_row(state, STATS, p->tok[t].doc);
        s[TOKENS] += 1;
        s[CE_CLEAN] += p->ce_clean[t];
        s[CE_SPLICED] += p->ce_splice[t];
        s[CE_ZERO] += p->ce_zero[t];
        s[CE_MEAN] += p->ce_mean[t];
        s[KL_SPLICED] += p->kl_splice[t];
        s[KL_ZERO] += p->kl_zero[t];
    }
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into, const void *from)
{
    (void)r;
    sae_groups_merge(into, from, STATS);
    return SAE_OK;
}

SAE_RATIO(ce_clean, CE_CLEAN, TOKENS)
SAE_RATIO(ce_spliced, CE_SPLICED, TOKENS)
SAE_RATIO(ce_zero, CE_ZERO, TOKENS)
SAE_RATIO(ce_mean, CE_MEAN, TOKENS)
SAE_RATIO(kl_spliced, KL_SPLICED, TOKENS)
SAE_RATIO(kl_zero, KL_ZERO, TOKENS)

static double ce_increase(const double *s, int64_t K)
{
    (void)K;
    return s[TOKENS] > 0.0 ? (s[CE_SPLICED] - s[CE_CLEAN]) / s[TOKENS] : (double)NAN;
}

/* Share of the loss caused by an ablation that the SAE gives back; undefined when the ablation
 * changes nothing. */
static double recovered(const double *s, int ablated, int spliced, double clean)
{
    double lost = s[ablated] - clean;
    return lost != 0.0 ? (s[ablated] - s[spliced]) / lost : (double)NAN;
}
static double loss_recovered_zero(const double *s, int64_t K)
{
    (void)K;
    return recovered(s, CE_ZERO, CE_SPLICED, s[CE_CLEAN]);
}
static double loss_recovered_mean(const double *s, int64_t K)
{
    (void)K;
    return recovered(s, CE_MEAN, CE_SPLICED, s[CE_CLEAN]);
}
static double kl_recovered(const double *s, int64_t K)
{
    (void)K;
    return recovered(s, KL_ZERO, KL_SPLICED, 0.0);
}

static const sae_estimate table[] = {
    {"ce_clean", ce_clean, TOKENS, "nats", SAE_INFO},
    {"ce_spliced", ce_spliced, TOKENS, "nats", SAE_LOWER},
    {"ce_zero", ce_zero, TOKENS, "nats", SAE_INFO},
    {"ce_mean", ce_mean, TOKENS, "nats", SAE_INFO},
    {"ce_increase", ce_increase, TOKENS, "nats", SAE_LOWER},
    {"loss_recovered_zero", loss_recovered_zero, TOKENS, "1", SAE_HIGHER},
    {"loss_recovered_mean", loss_recovered_mean, TOKENS, "1", SAE_HIGHER},
    {"kl_spliced", kl_spliced, TOKENS, "nats", SAE_LOWER},
    {"kl_zero", kl_zero, TOKENS, "nats", SAE_INFO},
    {"kl_recovered", kl_recovered, TOKENS, "1", SAE_HIGHER},
    {0}};

static int end(const sae_measure *r, void *state)
{
    return sae_groups_emit(r, state, STATS, table);
}

const sae_metric sae_metric_downstream = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "downstream",
    .summary = "cross-entropy and KL of the language model with decoded activations spliced in",
    .source = "metrics/downstream.md",
    .needs = SAE_MNEED_LM,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = begin,
    .batch = batch,
    .merge = merge,
    .end = end,
};
