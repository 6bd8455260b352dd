/* sae/stock_vsae.h - the variational family: two encoder heads, noise, a penalty on all means.
 *
 *     mu = xe W_enc^T + b_enc              relu_mu=1: its positive part;   xe = x or x - b_dec
 *     l  = clamp(xe W_var^T + b_var, -6, 2)          var=learned
 *     s  = exp(l / 2), the option sigma, or 0        var=learned, fixed, off
 *     z  = mu + s eps                                eps standard normal
 *     code = the k entries of largest |z| per row (k >= 0), or all of z (STOCK_VSAE_ALL)
 *     kl = (1 / B) sum_r 1/2 sum_j [clip(mu, -10, 10)^2 + s^2 - 1 - ln s^2]
 *
 * without the last three terms when var=off, and over selected j only with masked=1. Noise is on in
 * TRAIN, and in EVAL with sample=1; stream SAE_STREAM_NOISE, row = token row, i = feature.
 *
 * TRAIN keeps pre (tape.pre), the raw l and z as B x n; everything else goes through the batch in
 * slabs of rows. Backward does not need eps: s eps = z - mu on every kept entry. EVAL without noise
 * is one fused kernel.
 *
 * stock_vsae_forward.h and stock_vsae_backward.h have the methods of these names.
 *
 * Losses: "mse", the penalty (0 with coefficient 0 in EVAL), and "auxk" where `auxk` is set. AuxK
 * ranks and decodes the means, not the noisy z; it adds b_dec when the encoder does not subtract
 * it.
 */
#ifndef SAE_STOCK_VSAE_H
#define SAE_STOCK_VSAE_H

#include "stock_auxk.h"
#include "stock_decoder.h"
#include "stock_init.h"
#include "stock_slab.h"

#include <string.h>

enum { STOCK_VSAE_ALL = -1 };   /* as k */
enum { STOCK_VSAE_ROWS = 256 }; /* of a slab */
enum { STOCK_VAR_LEARNED, STOCK_VAR_FIXED, STOCK_VAR_OFF };
static const char *const stock_var_names[] = {"learned", "fixed", "off", NULL};
enum { STOCK_SAMPLE_MEAN, STOCK_SAMPLE_NOISE };
static const char *const stock_sample_names[] = {"mean", "sample", NULL};

/* The second head, after STOCK_TENSORS in the table; not used unless var=learned. */
enum { STOCK_W_VAR = STOCK_TENSOR_COUNT, STOCK_B_VAR };
#define STOCK_VAR_TENSORS                                                                          \
    {"W_var", SAE_PARAM, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_IN},                                      \
    {                                                                                              \
        "b_var", SAE_PARAM, SAE_REAL, SAE_T_NO_DECAY, SAE_DIM_1, SAE_DIM_N                         \
    }

typedef struct stock_vsae_opt {
    double beta, warmup, norm;
    int64_t relu_mu, pre_bias, decoder;
    stock_init_opt init;
} stock_vsae_opt;

typedef struct stock_var_opt {
    double sigma, logvar;
    int64_t var, sample;
} stock_var_opt;

/* Rows of an option table; T is the option struct, m its stock_vsae_opt member; the others are the
 * variant's defaults. */
#define STOCK_VSAE_OPTIONS(T, m, def_beta, def_relu)                                               \
    {"beta", SAE_OPT_REAL, SAE_OPT_SCHED, offsetof(T, m.beta), (def_beta), 0, 1e9, NULL, NULL,     \
     "1", "weight of the penalty on means"},                                                       \
        {"kl_warmup", SAE_OPT_REAL, 0, offsetof(T, m.warmup), 0.1, 0, 1, NULL, NULL, "1",          \
         "share of the steps over which the penalty's weight rises linearly from 0"},              \
        {"relu_mu", SAE_OPT_BOOL, 0, offsetof(T, m.relu_mu), (def_relu), 0, 1, NULL, NULL, "1",    \
         "means are positive parts of the encoder's output"},                                      \
        STOCK_PRE_BIAS_OPTION(T, m.pre_bias, 0),                                                   \
        STOCK_DECODER_OPTION(T, m.decoder, STOCK_DECODER_FREE),                                    \
        {"init_norm", SAE_OPT_REAL, 0, offsetof(T, m.norm), 0.1, 1e-6, 1e3, NULL, NULL, "1",       \
         "first norm of the rows of W_enc, and of W_dec with decoder=free"},                       \
        STOCK_BIAS_OPTION(T, m.init.b_dec, STOCK_BIAS_ZERO)

/* Likewise for the variance; m is a stock_var_opt member. */
#define STOCK_VAR_OPTIONS(T, m)                                                                    \
    {"var", SAE_OPT_ENUM, 0, offsetof(T, m.var), STOCK_VAR_LEARNED, 0, STOCK_VAR_OFF,              \
     stock_var_names, NULL, "1", "variance: a learned head, sigma everywhere, or no noise"},       \
        {"sigma", SAE_OPT_REAL, 0, offsetof(T, m.sigma), 1, 1e-6, 1e3, NULL, NULL, "1",            \
         "standard deviation with var=fixed"},                                                     \
        {"init_logvar", SAE_OPT_REAL, 0, offsetof(T, m.logvar), -2, -100, 100, NULL, NULL, "1",    \
         "first b_var"},                                                                           \
    {                                                                                              \
        "eval_sampling", SAE_OPT_ENUM, 0, offsetof(T, m.sample), STOCK_SAMPLE_MEAN, 0,             \
            STOCK_SAMPLE_NOISE, stock_sample_names, NULL, "1",                                     \
            "evaluation codes: z = mu, or with noise"                                              \
    }

typedef struct stock_vsae { /* the rule, from a variant's options */
    const stock_vsae_opt *o;
    const stock_var_opt *v;     /* NULL: no second head, no noise */
    const stock_auxk_opt *auxk; /* NULL: no such loss */
    int64_t k;                  /* entries per row, or STOCK_VSAE_ALL */
    int64_t masked;             /* 1: the penalty covers selected entries only */
} stock_vsae;

typedef struct stock_vsae_mem { /* in the scratch; one without use is NULL */
    stock_work w;
    sae_real *half;                   /* [n] 0.5: constants to scale by and to add */
    sae_real *logvar;                 /* [B x n] raw */
    sae_real *z;                      /* [B x n]; a dense code holds it instead */
    sae_real *mu, *a, *b, *dz, *mask; /* slabs */
    sae_real *sum;                    /* [n] */
    sae_real *dbv;                    /* [n] gradient of b_var in this step */
    stock_links links;
    stock_auxk aux;
} stock_vsae_mem;

static inline int stock_vsae_learned(const stock_vsae *s)
{
    return s->v && s->v->var == STOCK_VAR_LEARNED;
}

static inline int stock_vsae_noise(const stock_vsae *s, enum sae_mode mode)
{
    return s->v && s->v->var != STOCK_VAR_OFF && (mode == SAE_TRAIN || s->v->sample);
}

/* EVAL codes straight from the encoder. */
static inline int stock_vsae_fused(const stock_vsae *s, enum sae_mode mode)
{
    return mode == SAE_EVAL && !stock_vsae_noise(s, mode);
}

/* Whether codes are lists. */
static inline int stock_vsae_sparse(const stock_vsae *s, enum sae_mode mode)
{
    return s->k != STOCK_VSAE_ALL || (stock_vsae_fused(s, mode) && s->o->relu_mu);
}

static inline uint64_t stock_vsae_caps(const stock_vsae *s)
{
    uint64_t noise = stock_vsae_noise(s, SAE_TRAIN) ? SAE_CAP_STOCHASTIC : 0;
    return noise | (noise || !s->o->relu_mu ? SAE_CAP_SIGNED : 0);
}

static inline enum sae_key stock_vsae_key(const stock_vsae *s)
{
    return s->o->relu_mu ? SAE_KEY_RELU : SAE_KEY_ABS;
}

/* Entries of B rows, or -1; a guess for the lists of STOCK_VSAE_ALL. */
static inline int64_t stock_vsae_cap(const stock_vsae *s, const sae_dims *dim, int64_t B)
{
    return stock_most_entries(s->k == STOCK_VSAE_ALL ? (int64_t)STOCK_GUESS : s->k, dim, B);
}

static inline stock_bump stock_vsae_layout(const stock_vsae *s, const sae_dims *dim, int64_t B,
                                           enum sae_mode mode, void *scratch, stock_vsae_mem *mem)
{
    stock_bump at = stock_bump_at(scratch);
    int64_t slab = B < STOCK_VSAE_ROWS ? B : (int64_t)STOCK_VSAE_ROWS, n = dim->n;
    int noise = stock_vsae_noise(s, mode), listed = s->k != STOCK_VSAE_ALL;
    memset(mem, 0, sizeof *mem);
    stock_take_work(&at, dim, B, mode, &mem->w);
    if (stock_vsae_fused(s, mode))
        return at;
    mem->half = stock_take_real(&at, 1, n);
    mem->logvar = stock_vsae_learned(s) ? stock_take_real(&at, B, n) : NULL;
    mem->z = noise && listed ? stock_take_real(&at, B, n) : NULL;
    mem->mu = stock_take_real(&at, slab, n);
    mem->a = stock_take_real(&at, slab, n);
    mem->b = stock_take_real(&at, slab, n);
    if (mode == SAE_EVAL)
        return at;
    mem->dz = stock_take_real(&at, slab, n);
    mem->mask = s->masked ? stock_take_real(&at, slab, n) : NULL;
    mem->sum = stock_take_real(&at, 1, n);
    mem->dbv = stock_take_real(&at, 1, n);
    if (listed)
        stock_take_links(&at, n, stock_vsae_cap(s, dim, B), &mem->links);
    mem->aux.o = s->auxk;
    mem->aux.key = stock_vsae_key(s);
    mem->aux.loss = 2;
    if (s->auxk && s->auxk->alpha > 0)
        stock_take_auxk(&at, dim, B, &mem->aux);
    return at;
}

static inline int stock_vsae_workspace(const stock_vsae *s, const sae_dims *dim, int64_t B,
                                       enum sae_mode mode, sae_workspace *out)
{
    stock_vsae_mem mem;
    stock_bump at = stock_vsae_layout(s, dim, B, mode, NULL, &mem);
    return stock_workspace(at, stock_vsae_cap(s, dim, B), !stock_vsae_sparse(s, mode),
                           !stock_vsae_fused(s, mode), out);
}

/* ---- initialisation -------------------------------------------------------------------------- */

/* W_var uniform in [-u, u] with u^2 = 6 / ((1 + 0.01^2) d), the law of a layer before a leaky ReLU
 * of slope 0.01 (He et al. 2015); b_var = logvar. */
static inline int stock_vsae_init_var(sae_model *m, const sae_ctx *c, double logvar)
{
    sae_real chunk[STOCK_CHUNK];
    sae_mat w = stock_w_out(m, STOCK_W_VAR);
    double bound = sqrt(6 / (1.0001 * (double)m->dim.d_in));
    for (int64_t j = 0; j < w.rows; j++)
        for (int64_t i = 0; i < w.cols; i += STOCK_CHUNK) {
            int64_t some = stock_some(w.cols - i);
            for (int64_t k = 0; k < some; k++) {
                sae_u4 u =
                    sae_philox(c->seed, SAE_STREAM_INIT,
                               ((uint64_t)STOCK_W_VAR << 32) + (uint64_t)j, (uint32_t)(i + k));
                chunk[k] = (sae_real)(bound * (2 * sae_u01_wide(u.v[0], u.v[1]) - 1));
            }
            SAE_TRY(stock_put(c, w.p + j * w.ld + i, chunk, (size_t)some * sizeof *chunk));
        }
    return stock_fill(c, stock_w_out(m, STOCK_B_VAR).p, m->dim.n, (sae_real)logvar);
}

static inline int stock_vsae_init(sae_model *m, const sae_ctx *c, const sae_batch *sample,
                                  const stock_vsae *s)
{
    stock_init_opt init = s->o->init;
    int unit = s->o->decoder == STOCK_DECODER_UNIT;
    init.enc_scale = unit ? s->o->norm : 1;
    if (s->v)
        SAE_TRY(stock_vsae_init_var(m, c, s->v->logvar));
    return stock_init(m, c, sample, &init, unit ? 1 : s->o->norm);
}

#endif
