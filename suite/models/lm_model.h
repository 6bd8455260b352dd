/* suite/models/lm_model.h - inside a language model: its state and the passes over it.
 *
 * A block is two halves of the same shape, attention and MLP (lm_config.h), so a place in the model
 * is a number p in [0, 2 layers]: the stream before half p. In a parallel block both halves read
 * the stream before the first of them.
 */
#ifndef SAE_MODELS_LM_MODEL_H
#define SAE_MODELS_LM_MODEL_H

#include "models/lm_weights.h"
#include "models/tokenizer.h"
#include <sae/kernels.h>
#include <sae/lm.h>

/* Buffers of one call, for up to `rows` rows and contexts up to `longest` positions; grown on
 * demand, kept between calls. */
typedef struct sae_lm_work {
    int64_t rows, longest, threads; /* what there is room for */
    sae_real *x, *h;      /* [rows x d] stream, normalised stream */
    sae_real *delta[2];   /* [rows x d] what attention and MLP add */
    sae_real *wide, *mid; /* [rows x ...] products of w_in; what goes into w_out */
    sae_real *mid_normed; /* the same behind norm_mid, where there is one */
    sae_real *own;        /* attention's scratch, one slice per thread */
    sae_real *logits;
    sae_real *rope[2];    /* [longest x rotary] cosines of the rotary / 2 angles, then sines */
    int32_t *pos;         /* [rows] position of every row of the current group */
} sae_lm_work;

#define SAE_LM_TAPE_BYTES ((int64_t)512 << 20)
typedef struct sae_lm_tape sae_lm_tape; /* what a backward pass needs; see lm_tape.h */

typedef struct sae_lm_model {
    sae_lm api; /* what callers hold; api.self is this struct */
    sae_lm_config cfg;
    sae_lm_weights w;
    const sae_kernels *k;
    sae_device *dev;
    sae_tokenizer *tok; /* NULL: none */
    sae_lm_work work;
    sae_lm_tape *tape;  /* made by the first backward pass */
    int64_t tape_bytes; /* what it may keep of a group; SAE_LM_TAPE_BYTES until changed */
    struct sae_lm_pass *spare; /* an ended pass whose buffers the next one takes over */
} sae_lm_model;

/* A model from its description and weights, without tokenizer and hashes. k must compute on host
 * memory. */
int sae_lm_model_open(sae_lm_model **m, const sae_lm_config *c, const sae_lm_source *src,
                      const sae_kernels *k, sae_device *dev, sae_err *err);
void sae_lm_model_close(sae_lm_model **m);

/* Keys and values of the positions of one context that have been computed, packed as attention
 * reads them (lm_attention_tiles.h). */
typedef struct sae_lm_cache {
    int64_t n, padded; /* positions; positions that there is room for, and some more */
    sae_real *k, *v;   /* [layers][kv_heads][padded x head] */
} sae_lm_cache;

int sae_lm_cache_open(sae_lm_cache *a, const sae_lm_config *c, int64_t longest, sae_err *err);
void sae_lm_cache_close(sae_lm_cache *a);
/* Keep the first n positions at most. */
void sae_lm_cache_cut(sae_lm_cache *a, const sae_lm_config *c, int64_t n);

/* Contexts [c0, c1) of a pass that are computed together; results do not depend on the grouping. */
typedef struct sae_lm_group {
    int64_t c0, c1, row0, rows;
    const int64_t *start; /* of all contexts of the pass */
    const int32_t *tok;
    sae_lm_cache *past; /* what comes in front of the group's one context, which is added to it;
                           NULL: nothing, contexts begin at position 0 */
} sae_lm_group;

/* The group that begins with context c0: as many contexts as have at most `most` rows together, at
 * least one. */
sae_lm_group sae_lm_group_at(const sae_contexts *c, int64_t c0, int64_t most);
/* Rows of the largest group and positions of the longest context. */
void sae_lm_largest_group(const sae_contexts *c, int64_t most, int64_t *rows, int64_t *longest);
/* Room for every group of these contexts. */
int sae_lm_reserve_groups(sae_lm_model *m, const sae_contexts *c, int64_t most, sae_err *err);
int sae_lm_work_reserve(sae_lm_model *m, int64_t rows, int64_t longest, sae_err *err);
void sae_lm_work_close(sae_lm_work *w);
/* Make g the group that the functions below work on: the positions of its rows. */
void sae_lm_group_use(sae_lm_model *m, const sae_lm_group *g);

/* ---- parts of the forward pass --------------------------------------------------------------- */

/* What a half computes on its way. Inference: the buffers of work, turned == wide, pre NULL. */
typedef struct sae_lm_frame {
    sae_real *wide;   /* W_in norm_in(x) + b_in */
    sae_real *turned; /* attention: the same with queries and keys normalised and turned */
    sae_real *mid;    /* what goes into norm_mid and W_out */
    sae_real *pre;    /* what goes into the post norm; NULL: not kept */
} sae_lm_frame;

static inline int64_t sae_lm_larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}
static inline int64_t sae_lm_qkv_width(const sae_lm_config *c)
{
    return (c->heads + 2 * c->kv_heads) * c->head;
}
/* Width of `wide` and of `mid` in half p. */
static inline int64_t sae_lm_in_width(const sae_lm_config *c, int64_t p)
{
    return p % 2 == 0 ? sae_lm_qkv_width(c) : c->gated ? 2 * c->hidden : c->hidden;
}
static inline int64_t sae_lm_mid_width(const sae_lm_config *c, int64_t p)
{
    return p % 2 ? c->hidden : c->heads * c->head;
}

sae_lm_frame sae_lm_work_frame(const sae_lm_model *m);
/* c = alpha op(a) op(b) + beta c with the model's kernels, failures named. */
int sae_lm_gemm(const sae_lm_model *m, int ta, int tb, sae_cmat a, sae_cmat b, sae_real beta,
                sae_mat c, sae_err *err);
/* x [g->rows x d]: the stream at p = 0. */
void sae_lm_embed(const sae_lm_model *m, const sae_lm_group *g, sae_real *x);
/* f->mid of half p on the stream x. */
int sae_lm_half_mid(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *x,
                    const sae_lm_frame *f, sae_err *err);
/* delta [g->rows x d] = what half p adds when `mid` goes into its output matrix. */
int sae_lm_half_out(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *mid,
                    const sae_lm_frame *f, sae_real *delta, sae_err *err);
/* Both, with the buffers of work. */
int sae_lm_half_forward(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *x,
                        sae_real *delta, sae_err *err);
/* The stream x at p becomes the stream at `end`; in parallel blocks p and end are even. */
int sae_lm_halves(sae_lm_model *m, const sae_lm_group *g, int64_t p, int64_t end, sae_real *x,
                  sae_err *err);

/* Rows of logits computed at a time. */
int64_t sae_lm_head_rows(const sae_lm_config *c);
/* z [rows x vocab] = logits of the normalised stream h. */
int sae_lm_logits(const sae_lm_model *m, int64_t rows, const sae_real *h, sae_real *z,
                  sae_err *err);
/* What the head gives to a backward pass. */
typedef struct sae_lm_head_back {
    sae_real *dh;   /* [g->rows x d] d(sum of ce)/d(output of the final norm) */
    sae_real *grad; /* [w.count] receives the gradients of the head's parameters; NULL: none */
} sae_lm_head_back;
/* m->work.h = the final norm of the stream x. */
void sae_lm_final_norm(sae_lm_model *m, int64_t rows, const sae_real *x);
/* Final norm, logits and everything asked for of the rows of a group; `back` may be NULL. */
int sae_lm_head_forward(sae_lm_model *m, const sae_lm_group *g, const sae_real *x,
                        const sae_lm_out *out, const sae_lm_head_back *back, sae_err *err);

/* ---- passes ---------------------------------------------------------------------------------- */

/* SAE_EINVAL for contexts that the model cannot take. */
int sae_lm_check_contexts(const sae_lm_model *m, const sae_contexts *c, sae_err *err);

/* The sae_lm methods of a pass. */
int sae_lm_hook(void *self, const char *name, int64_t *d_hook, sae_err *err);
int sae_lm_advance(sae_lm_pass *pass, const char *hook, sae_err *err);
int sae_lm_begin(void *self, const char *hook, const sae_contexts *c, sae_lm_pass **pass,
                 sae_err *err);
const sae_real *sae_lm_acts(const sae_lm_pass *pass);
int sae_lm_finish(sae_lm_pass *pass, const sae_real *x, const sae_lm_out *out, sae_err *err);
void sae_lm_end(sae_lm_pass **pass);
void sae_lm_pass_free(struct sae_lm_pass *pass);

#endif
