/* metrics/downstream.c - what the language model loses when it reads decoded activations. */
#include <sae/fail.h>
#include <sae/groups.h>

typedef struct options {
    int64_t positions;
} options;

static const sae_option option_table[] = {
    {"positions", SAE_OPT_INT, 0, offsetof(options, positions), 1024, 1, 1 << 24, NULL, NULL,
     "positions", "ce_increase_by_position up to this position of a context"},
    {0}};

/* Sums over the scored tokens of a group of documents; SEEN: of those whose row SAEs see. */
enum { TOKENS, CE_CLEAN, CE_SPLICED, CE_ZERO, CE_MEAN, KL_SPLICED, KL_ZERO, CE_ZERO_ALL,
       KL_ZERO_ALL, SEEN, SEEN_CLEAN, SEEN_SPLICED, SEEN_KL, SEEN_AGREE, STATS };

typedef struct position {
    double tokens, ce_clean, ce_spliced;
} position;

typedef struct state {
    double sums[(SAE_GROUPS + 2) * STATS];
    position at[]; /* [positions] */
} state;

static size_t state_size(const sae_measure *r)
{
    const options *o = r->opt;
    return sizeof(state) + (size_t)o->positions * sizeof(position);
}

static void add_seen(double *s, const sae_splice *p, int64_t t)
{
    s[SEEN] += 1;
    s[SEEN_CLEAN] += p->ce_clean[t];
    s[SEEN_SPLICED] += p->ce_splice[t];
    s[SEEN_KL] += p->kl_splice[t];
    s[SEEN_AGREE] += p->top_clean[t] == p->top_splice[t];
}

static void add_position(position *at, const sae_splice *p, int64_t t)
{
    at->tokens += 1;
    at->ce_clean += p->ce_clean[t];
    at->ce_spliced += p->ce_splice[t];
}

static int batch(const sae_measure *r, void *state_, const sae_eval *e)
{
    state *all = state_;
    const options *o = r->opt;
    const sae_splice *p = e->splice;
    for (int64_t t = 0; t < p->T; t++) {
        double *s = sae_groups_row(all->sums, STATS, p->tok[t].doc);
        s[TOKENS] += 1;
        s[CE_CLEAN] += p->ce_clean[t];
        s[CE_SPLICED] += p->ce_splice[t];
        s[CE_ZERO] += p->ce_zero[t];
        s[CE_MEAN] += p->ce_mean[t];
        s[KL_SPLICED] += p->kl_splice[t];
        s[KL_ZERO] += p->kl_zero[t];
        s[CE_ZERO_ALL] += p->ce_zero_all[t];
        s[KL_ZERO_ALL] += p->kl_zero_all[t];
        if (p->kept[t])
            add_seen(s, p, t);
        if (p->tok[t].pos < o->positions)
            add_position(&all->at[p->tok[t].pos], p, t);
    }
    return SAE_OK;
}

static int merge(const sae_measure *r, void *into_, const void *from_)
{
    const options *o = r->opt;
    state *into = into_;
    const state *from = from_;
    sae_groups_merge(into->sums, from->sums, STATS);
    for (int64_t i = 0; i < o->positions; i++) {
        into->at[i].tokens += from->at[i].tokens;
        into->at[i].ce_clean += from->at[i].ce_clean;
        into->at[i].ce_spliced += from->at[i].ce_spliced;
    }
    return SAE_OK;
}

SAE_RATIO(ce_clean, CE_CLEAN, TOKENS)
SAE_RATIO(ce_spliced, CE_SPLICED, TOKENS)
SAE_RATIO(ce_zero, CE_ZERO, TOKENS)
SAE_RATIO(ce_mean, CE_MEAN, TOKENS)
SAE_RATIO(kl_spliced, KL_SPLICED, TOKENS)
SAE_RATIO(kl_zero, KL_ZERO, TOKENS)
SAE_RATIO(ce_zero_with_bos, CE_ZERO_ALL, TOKENS)
SAE_RATIO(kl_zero_with_bos, KL_ZERO_ALL, TOKENS)
SAE_RATIO(ce_clean_without_bos, SEEN_CLEAN, SEEN)
SAE_RATIO(ce_spliced_without_bos, SEEN_SPLICED, SEEN)
SAE_RATIO(kl_spliced_without_bos, SEEN_KL, SEEN)
SAE_RATIO(top_agreement, SEEN_AGREE, SEEN)

static double ce_increase(const double *s, int64_t K)
{
    (void)K;
    return s[TOKENS] > 0.0 ? (s[CE_SPLICED] - s[CE_CLEAN]) / s[TOKENS] : (double)NAN;
}

static double ce_increase_without_bos(const double *s, int64_t K)
{
    (void)K;
    return s[SEEN] > 0.0 ? (s[SEEN_SPLICED] - s[SEEN_CLEAN]) / s[SEEN] : (double)NAN;
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
static double loss_recovered_zero_with_bos(const double *s, int64_t K)
{
    (void)K;
    return recovered(s, CE_ZERO_ALL, CE_SPLICED, s[CE_CLEAN]);
}
static double kl_recovered_with_bos(const double *s, int64_t K)
{
    (void)K;
    return recovered(s, KL_ZERO_ALL, KL_SPLICED, 0.0);
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
    {"ce_zero_with_bos", ce_zero_with_bos, TOKENS, "nats", SAE_INFO},
    {"loss_recovered_zero_with_bos", loss_recovered_zero_with_bos, TOKENS, "1", SAE_HIGHER},
    {"kl_zero_with_bos", kl_zero_with_bos, TOKENS, "nats", SAE_INFO},
    {"kl_recovered_with_bos", kl_recovered_with_bos, TOKENS, "1", SAE_HIGHER},
    {"ce_clean_without_bos", ce_clean_without_bos, SEEN, "nats", SAE_INFO},
    {"ce_spliced_without_bos", ce_spliced_without_bos, SEEN, "nats", SAE_LOWER},
    {"ce_increase_without_bos", ce_increase_without_bos, SEEN, "nats", SAE_LOWER},
    {"kl_spliced_without_bos", kl_spliced_without_bos, SEEN, "nats", SAE_LOWER},
    {"top_agreement", top_agreement, SEEN, "1", SAE_HIGHER},
    {0}};

static int end(const sae_measure *r, void *state_)
{
    const options *o = r->opt;
    state *s = state_;
    SAE_TRY(sae_groups_emit(r, s->sums, STATS, table));
    for (int64_t i = 0; i < o->positions; i++) {
        const position *at = &s->at[i];
        if (at->tokens > 0.0)
            SAE_TRY(sae_emit_point(r, "ce_increase_by_position", i,
                                   (at->ce_spliced - at->ce_clean) / at->tokens));
    }
    return SAE_OK;
}

const sae_metric sae_metric_downstream = {
    .abi = SAE_METRIC_ABI,
    .size = sizeof(sae_metric),
    .name = "downstream",
    .summary = "cross-entropy and KL of the language model with decoded activations spliced in",
    .source = "metrics/downstream.md",
    .needs = SAE_MNEED_LM | SAE_MNEED_ZERO_ALL,
    .opt_size = sizeof(options),
    .options = option_table,
    .state_size = state_size,
    .begin = sae_begin_zero,
    .batch = batch,
    .merge = merge,
    .end = end,
};
