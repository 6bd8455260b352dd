/* suite/models/lm_model.h - inside a language model: description, weights, forward pass.
 *
 * An architecture is a table of extents and choices (sae_lm_config); readers fill it and hand over
 * the weights part by part; there is one forward pass for all of them. A block is two halves of the
 * same shape, attention and MLP, each
 *
 *     delta = W_out norm_mid(mix(W_in norm_in(x)));   x = x + delta
 *
 * so a point of the residual stream is a number p in [0, 2 layers]: the stream before half p.
 */
#ifndef SAE_MODELS_LM_MODEL_H
#define SAE_MODELS_LM_MODEL_H

#include "core/safetensors.h"
#include "models/tokenizer.h"
#include <sae/kernels.h>
#include <sae/lm.h>

/* ---- description ----------------------------------------------------------------------------- */

enum sae_lm_norm {
    SAE_LM_NORM_NONE, /* x                                                     */
    SAE_LM_NORM_RMS,  /* x / sqrt(mean(x^2) + eps) * w                          */
    SAE_LM_NORM_UNIT  /* x / max(|x|, 1e-12) / sqrt(width), without a weight    */
};
/* Which pairs of a head's components rotary positions turn. Readers store what the file has;
 * loading permutes the rows of q and k, so that the forward pass knows half-split only. */
enum sae_lm_rope { SAE_LM_ROPE_ADJACENT, SAE_LM_ROPE_HALVES };

typedef struct sae_lm_config {
    const char *arch; /* static string */
    int64_t d, hidden, layers, vocab, ctx;
    int64_t heads, kv_heads, head; /* query heads, key/value heads, width of a head */
    enum sae_lm_norm norm_in, norm_mid, norm_final;
    enum sae_lm_rope rope;
    double rope_theta, eps;
    int tied; /* the output matrix is the embedding */
    int32_t bos, eos;
} sae_lm_config;

/* Check extents and their relations: SAE_EFORMAT naming the field. Every reader calls it. */
int sae_lm_config_check(const sae_lm_config *c, sae_err *err);
/* The header of a llama2.c version 0 file of `bytes` bytes, checked against that size. */
int sae_lm_config_bin(sae_lm_config *c, const void *p, size_t bytes, sae_err *err);
/* The text of a Hugging Face config.json. */
int sae_lm_config_json(sae_lm_config *c, const char *text, size_t bytes, sae_err *err);
/* The metadata of a safetensors file with llama's own tensor names. Without block norms among the
 * tensors, the input of every matrix is normalised without a weight (bitllama). */
int sae_lm_config_meta(sae_lm_config *c, const sae_st *st, sae_err *err);

/* ---- weights --------------------------------------------------------------------------------- */

enum sae_lm_part {
    SAE_LM_EMBED, /* the first three once per model, the others once per layer */
    SAE_LM_NORM_FINAL,
    SAE_LM_HEAD,
    SAE_LM_NORM_ATTN,
    SAE_LM_Q,
    SAE_LM_K,
    SAE_LM_V,
    SAE_LM_O,
    SAE_LM_NORM_MLP,
    SAE_LM_GATE,
    SAE_LM_UP,
    SAE_LM_DOWN,
    SAE_LM_PARTS
};
static inline int sae_lm_part_in_layer(enum sae_lm_part p)
{
    return p >= SAE_LM_NORM_ATTN;
}
/* Shape of a part, matrices (out, in); 0 x 0 when the architecture has no such part. */
void sae_lm_part_shape(const sae_lm_config *c, enum sae_lm_part p, int64_t *rows, int64_t *cols);

/* Where weights come from: write one part, finite, into out (NULL: only check that it is there in
 * the right shape, which is asked for all parts before any is read). `layer` is 0 for model-wide
 * parts. */
typedef struct sae_lm_source {
    void *self;
    int (*read)(void *self, const sae_lm_config *c, enum sae_lm_part p, int64_t layer, float *out,
                sae_err *err);
} sae_lm_source;

typedef struct sae_lm_bin { /* a mapped llama2.c file */
    const unsigned char *p;
    size_t bytes;
} sae_lm_bin;
int sae_lm_read_bin(void *bin, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                    float *out, sae_err *err);
/* self is a sae_st. Tensor names as in Hugging Face checkpoints, or as in Meta's. */
int sae_lm_read_hf(void *st, const sae_lm_config *c, enum sae_lm_part p, int64_t layer, float *out,
                   sae_err *err);
int sae_lm_read_meta(void *st, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                     float *out, sae_err *err);

/* One half of a block: w_in is q, k, v (or gate, up) stacked. */
typedef struct sae_lm_half {
    const float *norm;  /* [d] or NULL */
    const float *w_in;  /* [in x d] */
    const float *w_out; /* [d x mid] */
} sae_lm_half;

typedef struct sae_lm_weights {
    float *base; /* owns all of them */
    sae_lm_half *half; /* [2 layers] */
    const float *embed, *head; /* [vocab x d] */
    const float *norm_final;   /* [d] */
    uint64_t params;
} sae_lm_weights;

int sae_lm_weights_open(sae_lm_weights *w, const sae_lm_config *c, const sae_lm_source *src,
                        sae_err *err);
void sae_lm_weights_close(sae_lm_weights *w);

/* ---- state ----------------------------------------------------------------------------------- */

/* Buffers of one call, for up to `rows` rows; grown on demand, kept between calls. */
typedef struct sae_lm_work {
    int64_t rows, longest, threads; /* what there is room for */
    float *x, *h, *delta; /* [rows x d] stream, normalised stream, what a half adds */
    float *wide, *mid;    /* [rows x ...] products of w_in; what goes into w_out */
    float *own;           /* attention's scratch, one slice per thread */
    float *logits;
} sae_lm_work;

typedef struct sae_lm_model {
    sae_lm api; /* what callers hold; api.self is this struct */
    sae_lm_config cfg;
    sae_lm_weights w;
    float *rope; /* [ctx x head] cosines of the head / 2 angles, then their sines */
    const sae_kernels *k;
    sae_device *dev;
    sae_tokenizer *tok; /* NULL: none */
    sae_lm_work work;
    struct sae_lm_pass *spare; /* an ended pass whose buffers the next one takes over */
} sae_lm_model;

/* A model from its description and weights, without tokenizer and hashes. k must compute on host
 * memory. */
int sae_lm_model_open(sae_lm_model **m, const sae_lm_config *c, const sae_lm_source *src,
                      const sae_kernels *k, sae_device *dev, sae_err *err);
void sae_lm_model_close(sae_lm_model **m);

/* Contexts [c0, c1) of a pass that are computed together; results do not depend on the grouping. */
typedef struct sae_lm_group {
    int64_t c0, c1, row0, rows;
    const int64_t *start; /* of all contexts of the pass */
    const int32_t *tok;
} sae_lm_group;

int sae_lm_work_reserve(sae_lm_model *m, int64_t rows, int64_t longest, sae_err *err);
void sae_lm_work_close(sae_lm_work *w);
void sae_lm_embed(const sae_lm_model *m, const sae_lm_group *g, float *x);
/* delta [g->rows x d] = what half p adds to the stream x. */
int sae_lm_half_forward(sae_lm_model *m, const sae_lm_group *g, int64_t p, const float *x,
                        float *delta, sae_err *err);
/* x += delta of halves [p, end). */
int sae_lm_halves(sae_lm_model *m, const sae_lm_group *g, int64_t p, int64_t end, float *x,
                  sae_err *err);
/* Final norm, logits and everything asked for of the rows of a group. */
int sae_lm_head_forward(sae_lm_model *m, const sae_lm_group *g, const float *x,
                        const sae_lm_out *out, sae_err *err);

/* The sae_lm methods of a pass. */
int sae_lm_hook(void *self, const char *name, int64_t *d_hook, sae_err *err);
int sae_lm_begin(void *self, const char *hook, const sae_contexts *c, sae_lm_pass **pass,
                 sae_err *err);
const float *sae_lm_acts(const sae_lm_pass *pass);
int sae_lm_finish(sae_lm_pass *pass, const float *x, const sae_lm_out *out, sae_err *err);
void sae_lm_end(sae_lm_pass **pass);
void sae_lm_pass_free(sae_lm_pass *pass);

#endif
