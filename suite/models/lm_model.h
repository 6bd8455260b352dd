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

/* Buffers of one call, for groups of up to `rows` rows and `contexts` contexts, these up to
 * `longest` positions; grown on demand, kept between calls. In the place's memory, but
 * for `list`. */
typedef struct sae_lm_work {
    int64_t rows, contexts, longest, threads; /* what there is room for */
    sae_real *x, *h;      /* [rows x d] stream, normalised stream */
    sae_real *delta[2];   /* [rows x d] what attention and MLP add */
    sae_real *wide, *mid; /* [rows x ...] products of w_in; what goes into w_out */
    sae_real *mid_normed; /* the same behind norm_mid, where there is one */
    sae_real *room;       /* attention's scratch */
    sae_real *rope[2];    /* [longest x rotary] cosines of the rotary / 2 angles, then sines */
    sae_lm_rows group;    /* the contexts of the current group, in `lists` */
    int64_t *list, *lists; /* [list_words] starts, tokens, positions: on the host, in place */
    int32_t *next;        /* [rows] the tokens that rows predict */
    sae_real *logits;     /* [head rows x vocab] */
    /* Results of that many rows on their way to the host; NULL where models are in host memory. */
    double *ce, *kl;
    int32_t *top;
    sae_real *logprob, *ref;
} sae_lm_work;

/* Products of fewer rows take as long on a device. */
enum { SAE_LM_DEVICE_ROWS = 1024 };

/* What a tape keeps of a group: in host memory, where more rows are no faster, and on a device. */
#define SAE_LM_TAPE_BYTES ((int64_t)512 << 20)
#define SAE_LM_DEVICE_TAPE_BYTES ((int64_t)4 << 30)
typedef struct sae_lm_tape sae_lm_tape; /* what a backward pass needs; see lm_tape.h */

typedef struct sae_lm_model {
    sae_lm api; /* what callers hold; api.self is this struct */
    sae_lm_config cfg;
    sae_lm_place at;
    sae_lm_weights w;
    sae_tokenizer *tok; /* NULL: none */
    sae_lm_work work;
    sae_lm_tape *tape;  /* made by the first backward pass */
    int64_t tape_bytes; /* what it may keep of a group */
    struct sae_lm_pass *spare; /* an ended pass whose buffers the next one takes over */
} sae_lm_model;

/* A model from its description and weights, without tokenizer and hashes. */
int sae_lm_model_open(sae_lm_model **m, const sae_lm_config *c, const sae_lm_source *src,
                      sae_lm_place at, sae_err *err);
void sae_lm_model_close(sae_lm_model **m);

/* Keys and values of the positions of one context that have been computed (sae_lm_past, layer by
 * layer). */
typedef struct sae_lm_cache {
    int64_t n, padded;
    sae_real *k, *v; /* [layers][kv_heads][padded x ...] in the place's memory */
} sae_lm_cache;

/* The past of one layer. */
sae_lm_past sae_lm_past_of(const sae_lm_cache *a, const sae_lm_config *c, int64_t layer);

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
/* The most rows, contexts and positions of a context that a group has. */
typedef struct sae_lm_extents {
    int64_t rows, contexts, longest;
} sae_lm_extents;
sae_lm_extents sae_lm_largest_group(const sae_contexts *c, int64_t most);
/* Room for every group of these contexts. */
int sae_lm_reserve_groups(sae_lm_model *m, const sae_contexts *c, int64_t most, sae_err *err);
int sae_lm_work_reserve(sae_lm_model *m, sae_lm_extents want, sae_err *err);
void sae_lm_work_close(sae_lm_model *m);
/* Make g the group that the functions below work on: work.group. */
int sae_lm_group_use(sae_lm_model *m, const sae_lm_group *g, sae_err *err);
/* Heads of a layer; without the angles before room for them was reserved. */
sae_lm_heads sae_lm_heads_of(const sae_lm_model *m, int64_t layer);

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
/* out [rows x n] = norm(x) */
int sae_lm_norm(const sae_lm_model *m, const sae_lm_normer *norm, int64_t rows, const sae_real *x,
                sae_real *out, sae_err *err);
/* mid [rows x hidden] from wide: the MLP's nonlinearity. */
int sae_lm_mix(const sae_lm_model *m, int64_t rows, const sae_real *wide, sae_real *mid,
               sae_err *err);
sae_lm_tables sae_lm_tables_of(const sae_lm_model *m);
/* x [rows x d]: the stream of the group at p = 0. */
int sae_lm_embed(const sae_lm_model *m, sae_real *x, sae_err *err);
/* x += delta, rows of d */
int sae_lm_add(const sae_lm_model *m, int64_t rows, const sae_real *delta, sae_real *x,
               sae_err *err);
/* Copies of rows of `width` from place to place. */
int sae_lm_copy(const sae_lm_model *m, int64_t rows, int64_t width, const sae_real *from,
                sae_real *to, sae_err *err);
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
int64_t sae_lm_head_rows(const sae_lm_model *m);
/* out [rows x n] = x [rows x k] w^T + bias; bias may be NULL. */
int sae_lm_product(const sae_lm_model *m, int64_t rows, int64_t k, int64_t n, const sae_real *x,
                   const sae_real *w, const sae_real *bias, sae_real *out, sae_err *err);
/* z [rows x vocab] = logits of the normalised stream h. */
int sae_lm_logits(const sae_lm_model *m, int64_t rows, const sae_real *h, sae_real *z,
                  sae_err *err);
/* What the head gives to a backward pass. */
typedef struct sae_lm_head_back {
    sae_real *dh;   /* [g->rows x d] d(sum of ce)/d(output of the final norm) */
    sae_real *grad; /* [w.count] receives the gradients of the head's parameters; NULL: none */
} sae_lm_head_back;
/* m->work.h = the final norm of the stream x. */
int sae_lm_final_norm(sae_lm_model *m, int64_t rows, const sae_real *x, sae_err *err);
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
