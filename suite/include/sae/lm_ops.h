/* sae/lm_ops.h - what the passes of a language model compute besides matrix products.
 *
 * One table per kind of memory that a model can lie in: the suite's own for host memory, and that
 * of a backend with memory of its own (sae_backend.lm). The passes themselves (suite/models) are
 * the same for all of them.
 *
 * Rules for every entry
 *   - Arrays are backend memory, rows follow each other without gaps; the structs are host's.
 *   - Outputs do not overlap inputs unless the entry says so. Sizes may be 0.
 *   - A row's result depends on that row only, bitwise; that of attention on its context and the
 *     place in it, and values that are not finite may reach rows that do not see them. Neither
 *     depends on threads. Every output element has one writer.
 *   - Status: SAE_OK, SAE_ENOMEM, SAE_EBACKEND, SAE_EINVAL.
 */
#ifndef SAE_LM_OPS_H
#define SAE_LM_OPS_H

#include "kernels.h"

enum sae_lm_norm {
    SAE_LM_NORM_NONE, /* x                                                     */
    SAE_LM_NORM_RMS,  /* x / sqrt(mean(x^2) + eps) * w                          */
    SAE_LM_NORM_UNIT, /* x / max(|x|, 1e-12) / sqrt(width), without a weight    */
    SAE_LM_NORM_LAYER /* (x - mean(x)) / sqrt(var(x) + eps) * w + b             */
};

/* The MLP's nonlinearity f; gated: f(gate) * up, otherwise f(up). */
enum sae_lm_act {
    SAE_LM_SILU,      /* x / (1 + e^-x)                                         */
    SAE_LM_GELU_TANH, /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))          */
    SAE_LM_GELU,      /* x Phi(x)                                               */
    SAE_LM_RELU
};

/* A norm of rows of n; its sums run in double. */
typedef struct sae_lm_normer {
    enum sae_lm_norm kind;
    double eps;
    int64_t n;
    const sae_real *w, *b; /* [n], NULL: none */
} sae_lm_normer;

/* Contexts that lie one after another. */
typedef struct sae_lm_rows {
    int64_t N, rows, longest; /* contexts, all their rows, those of the longest */
    const int64_t *start;     /* [N + 1] first row of each; start[0] == 0 */
    const int32_t *tok, *pos; /* [rows] token, and position in the context */
} sae_lm_rows;

/* What a row of the stream begins as: scale * embed[tok] + position[pos]. */
typedef struct sae_lm_tables {
    int64_t d;
    double scale;
    const sae_real *embed;    /* [vocab x d] */
    const sae_real *position; /* [ctx x d], NULL: none */
} sae_lm_tables;

/* Attention of a layer. A row holds `heads` queries, kv_heads keys, kv_heads values, each `head`
 * wide; heads / kv_heads consecutive queries read one key and value. */
typedef struct sae_lm_heads {
    int64_t heads, kv_heads, head;
    int64_t rotary;                  /* components of a head that turn; 0: none */
    const sae_real *rope;            /* [longest x rotary] cosines of the rotary / 2 angles of a
                                        position, then sines */
    const sae_real *q_norm, *k_norm; /* [head] weights of RMS norms of queries and keys, or NULL */
    double eps;                      /* of these norms */
    int64_t window;                  /* keys a query sees, its own included; ctx or more: all */
    double scale, cap;               /* factor on scores; then cap tanh(s / cap), 0: none */
} sae_lm_heads;

/* Keys and values of the n positions in front of a context, with room for `padded` positions, a
 * multiple of 16 that leaves 16 beside the longest. Component c of the key of position j lies at
 *     k[((kv * padded / 8 + j / 8) * head + c) * 8 + j % 8],
 * of its value, with `wide` = head up to a multiple of 8, at
 *     v[((kv * wide / 8 + c / 8) * padded + j) * 8 + c % 8].
 * What lies behind the end may be anything. */
typedef struct sae_lm_past {
    int64_t n, padded;
    sae_real *k, *v; /* [kv_heads x padded x head], [kv_heads x padded x wide] */
} sae_lm_past;

/* What to make of rows of logits. NULL results are not computed. */
typedef struct sae_lm_results {
    int64_t vocab;
    double cap;          /* the logits' cap, for `back` */
    const int32_t *next; /* [rows] the token that a row predicts; -1: none */
    double *ce;          /* [rows] -log softmax(z)[next]; NaN where there is none */
    double *kl;          /* [rows] sum of exp(ref) (ref - log softmax(z)), log softmax(z) rounded
                            as in logprob: the divergence of a pass from itself is 0 */
    const sae_real *ref; /* [rows x vocab] log-probabilities; for kl */
    sae_real *logprob;   /* [rows x vocab] log softmax(z) */
    int32_t *top;        /* [rows] lowest id of the largest logit; -1 where a logit is NaN */
    int back;            /* 1: z becomes d(ce)/d(z before the cap), 0 in rows without next */
} sae_lm_results;

/* Every entry once: X(name). Order is the order of the table. */
#define SAE_LM_OPS_LIST(X)                                                                         \
    X(embed) X(embed_back) X(norm) X(norm_back) X(mix) X(mix_back) X(add) X(cap) X(position)       \
    X(position_back) X(attention_room) X(attention) X(attention_back) X(results)

typedef struct sae_lm_ops {
    uint32_t abi, size;  /* SAE_LM_OPS_ABI, sizeof(sae_lm_ops) */
    int64_t widest_head; /* components of a head that attention can take; 0: any number */
    int (*embed)(sae_device *dev, const sae_lm_tables *t, const sae_lm_rows *g, sae_real *x);
    /* dembed [vocab x d], dposition [ctx x d] += the gradients of the tables from that of x, rows
     * in ascending order; dposition NULL: there is no such table. */
    int (*embed_back)(sae_device *dev, const sae_lm_tables *t, const sae_lm_rows *g,
                      const sae_real *dx, sae_real *dembed, sae_real *dposition);
    /* out[r,:] = norm(x[r,:]); out may be x. */
    int (*norm)(sae_device *dev, const sae_lm_normer *k, int64_t rows, const sae_real *x,
                sae_real *out);
    /* dx (+)= the gradient of x from that of the norm's output, dy; `add`: 0 to overwrite. hat,
     * when not NULL, becomes dy * x-hat: its column sums are the gradient of w. dx may be dy when
     * it is overwritten. */
    int (*norm_back)(sae_device *dev, const sae_lm_normer *k, int64_t rows, const sae_real *x,
                     const sae_real *dy, int add, sae_real *dx, sae_real *hat);
    /* out [rows x n] = f(wide [rows x n]), or gated from [rows x 2 n]: gate, then up. */
    int (*mix)(sae_device *dev, enum sae_lm_act act, int gated, int64_t rows, int64_t n,
               const sae_real *wide, sae_real *out);
    /* wide becomes the gradient of itself from that of the output. */
    int (*mix_back)(sae_device *dev, enum sae_lm_act act, int gated, int64_t rows, int64_t n,
                    const sae_real *dout, sae_real *wide);
    /* x[i] += delta[i] */
    int (*add)(sae_device *dev, int64_t n, const sae_real *delta, sae_real *x);
    /* z[i] = cap tanh(z[i] / cap) */
    int (*cap)(sae_device *dev, int64_t n, double cap, sae_real *z);
    /* Queries and keys normalised and turned to their positions; values are copied. out may be
     * in. */
    int (*position)(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                    const sae_real *in, sae_real *out);
    /* d: the gradient of `in` from that of the output, in place. hat_q, hat_k [rows x head], where
     * there is a norm, become the sums over heads of the gradient times the normalised head. */
    int (*position_back)(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                         const sae_real *in, sae_real *d, sae_real *hat_q, sae_real *hat_k);
    /* Elements of scratch that attention, or its backward, needs for these rows (their number and
     * `longest` count, and what lies in front of them). */
    int64_t (*attention_room)(const sae_lm_heads *h, int64_t rows, int64_t longest, int back);
    /* out [rows x heads head] = causal attention inside each context. past, when not NULL: what
     * comes in front of the one context, whose keys and values join it behind past->n, which does
     * not change. */
    int (*attention)(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                     const sae_lm_past *past, const sae_real *qkv, sae_real *out, sae_real *room);
    /* dqkv from dout; out as computed without a past. */
    int (*attention_back)(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                          const sae_real *qkv, const sae_real *out, const sae_real *dout,
                          sae_real *dqkv, sae_real *room);
    /* Everything asked for of rows of logits z [rows x vocab]. */
    int (*results)(sae_device *dev, const sae_lm_results *q, int64_t rows, sae_real *z);
} sae_lm_ops;

enum { SAE_LM_OPS_ABI = 1 };

#endif
