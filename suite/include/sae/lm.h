/* sae/lm.h - what the suite needs from a language model.
 *
 * Contexts are ragged: the tokens of N contexts lie one after another, so that no position is ever
 * padded. A "row" is one position of one context; matrices over rows are [rows x d] with
 * rows == start[N].
 *
 * Hooks are places of block L in [0, layers), under our names and those of TransformerLens:
 *   resid_pre.L   blocks.L.hook_resid_pre   the stream entering the block
 *   resid_mid.L   blocks.L.hook_resid_mid   the stream between attention and MLP; not in models
 *                                           that compute them side by side (GPT-NeoX)
 *   resid_post.L  blocks.L.hook_resid_post  the stream leaving the block
 *   attn_out.L    blocks.L.hook_attn_out    what attention adds to the stream
 *   mlp_out.L     blocks.L.hook_mlp_out     what the MLP adds
 *   attn_z.L      blocks.L.attn.hook_z      what goes into attention's output matrix, all heads
 *   mlp_act.L     blocks.L.mlp.hook_post    what goes into the MLP's output matrix
 * Their width d_hook is d, except for attn_z and mlp_act.
 */
#ifndef SAE_LM_H
#define SAE_LM_H

#include "base.h"

enum { SAE_LM_ABI = 1 };

/* The hooks, for help texts. */
#define SAE_LM_HOOKS                                                                               \
    "resid_pre.L, resid_mid.L, resid_post.L, attn_out.L, mlp_out.L, attn_z.L or mlp_act.L"

typedef struct sae_contexts {
    int64_t N;
    const int64_t *start; /* [N + 1] row of the first token of each context; start[0] == 0 */
    const int32_t *tok;   /* [start[N]] vocabulary ids; the first of a context is BOS */
} sae_contexts;

typedef struct sae_lm_pass sae_lm_pass; /* a forward pass halted at a hook; opaque */

/* What finishing a pass produces. Every result may be NULL: then it is not computed.
 * Row r predicts the token at row r + 1 of the same context; at the last row of a context there is
 * nothing to predict and per-token results are NaN. */
typedef struct sae_lm_out {
    double *ce;          /* [rows] cross-entropy, nats: -log softmax(logits)[next token] */
    sae_real *logprob;   /* [rows x vocab] log-softmax of the logits, nats */
    const sae_real *ref; /* [rows x vocab] log-probabilities of a reference pass, for kl */
    double *kl;          /* [rows] KL(reference || this pass), nats; needs ref */
    sae_real *grad;      /* [rows x d_hook] d(sum of ce)/d(hook activation), at the activations
                            that finish() was given */
    sae_real *logits;    /* [rows x vocab] raw logits */
    int32_t *top;        /* [rows] the most likely token, the lowest id among equals; -1 where a
                            logit is NaN */
    const int32_t *expect; /* in: [rows] tokens that ce and grad are about in place of the next
                              ones; -1: none, ce is NaN and grad is without the row */
} sae_lm_out;

/* A loaded model. Owned by the host; methods return enum sae_status. One pass at a time per model
 * unless stated; results do not depend on the number of threads nor on which other contexts share
 * the call (bitwise). */
typedef struct sae_lm {
    uint32_t abi, size;
    void *self;
    const char *arch;   /* "llama", ... */
    int64_t d, layers, vocab, ctx;
    int32_t bos, eos;   /* vocabulary ids; -1 when the model has none */
    uint64_t params;    /* number of weights */
    char weights_hash[36]; /* xxh128 of the weight file(s), hexadecimal */
    char tokenizer_hash[36]; /* xxh128 of the tokenizer file, or "" without one */
    /* Width of the activations at a hook. SAE_EINVAL names the hooks that exist. */
    int (*hook)(void *self, const char *name, int64_t *d_hook, sae_err *err);
    /* Run to the hook and halt. The pass copies what it needs of c. hook NULL: halt where the
     * first block begins, for what needs no activations: acts is NULL until advance. */
    int (*begin)(void *self, const char *hook, const sae_contexts *c, sae_lm_pass **pass,
                 sae_err *err);
    /* Activations at the hook, [rows x d_hook]; valid until end. */
    const sae_real *(*acts)(const sae_lm_pass *pass);
    /* Go on from the hook with x [rows x d_hook] in place of the activations (NULL: unchanged).
     * May be called any number of times; each call starts from the halted state. */
    int (*finish)(sae_lm_pass *pass, const sae_real *x, const sae_lm_out *out, sae_err *err);
    /* Go on unchanged to a later hook and halt there; acts and finish are then of that hook.
     * SAE_EINVAL, and nothing changes, if it is not behind the present one. */
    int (*advance)(sae_lm_pass *pass, const char *hook, sae_err *err);
    void (*end)(sae_lm_pass **pass); /* NULL-safe; sets *pass to NULL */
    /* Vocabulary ids of UTF-8 text, BOS first if the model has one; *count is the full number even
     * when it exceeds cap (then SAE_ECAPACITY). SAE_EFORMAT on invalid UTF-8. */
    int (*tokenize)(void *self, const char *text, size_t bytes, int32_t *ids, int64_t cap,
                    int64_t *count, sae_err *err);
    /* Bytes of a token as text, for reports; *len bytes, owned by the model. */
    const char *(*piece)(void *self, int32_t id, size_t *len);
} sae_lm;

#endif
