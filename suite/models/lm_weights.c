/* suite/models/lm_weights.c - weights in memory, in the form the forward pass wants. */
#include "models/lm_weights.h"

#include "core/error.h"
#include "core/memory.h"

#include <string.h>

/* Every part begins on a cache line unless it continues the part before it: q, k, v and gate, up
 * are multiplied as one matrix. */
static int starts_line(const sae_lm_config *c, enum sae_lm_part p)
{
    int after_gate = c->gated && (p == SAE_LM_UP || p == SAE_LM_UP_B);
    return !after_gate && p != SAE_LM_K && p != SAE_LM_V && p != SAE_LM_K_B && p != SAE_LM_V_B;
}

static int64_t place(const sae_lm_config *c, int64_t at, enum sae_lm_part p)
{
    return starts_line(c, p) ? (at + 15) / 16 * 16 : at;
}

/* Append the slot of a part if the model has it. */
static void add_slot(sae_lm_weights *w, const sae_lm_config *c, enum sae_lm_part p, int64_t layer)
{
    sae_lm_slot s = {.part = p, .layer = layer};
    sae_lm_part_shape(c, p, &s.rows, &s.cols);
    if (s.rows * s.cols == 0)
        return;
    s.at = place(c, w->count, p);
    w->count = s.at + s.rows * s.cols;
    w->params += (uint64_t)(s.rows * s.cols);
    w->slot[w->slots++] = s;
}

static int make_slots(sae_lm_weights *w, const sae_lm_config *c, sae_err *err)
{
    int64_t most = SAE_LM_NORM_ATTN + c->layers * (SAE_LM_PARTS - SAE_LM_NORM_ATTN);
    SAE_TRY(sae_new(&w->slot, most, sizeof *w->slot, "lm.weights", err));
    for (int p = 0; p < SAE_LM_NORM_ATTN; p++)
        add_slot(w, c, (enum sae_lm_part)p, 0);
    for (int64_t l = 0; l < c->layers; l++)
        for (int p = SAE_LM_NORM_ATTN; p < SAE_LM_PARTS; p++)
            add_slot(w, c, (enum sae_lm_part)p, l);
    w->count = (w->count + 15) / 16 * 16;
    return SAE_OK;
}

static void keep(sae_lm_weights *w, const sae_lm_config *c, const sae_lm_slot *s)
{
    sae_lm_half *attn = w->half + 2 * s->layer, *mlp = attn + 1;
    const sae_real **to[SAE_LM_PARTS] = {
        [SAE_LM_EMBED] = &w->embed,
        [SAE_LM_POSITION] = &w->position,
        [SAE_LM_NORM_FINAL] = &w->norm_final,
        [SAE_LM_NORM_FINAL_B] = &w->norm_final_b,
        [SAE_LM_HEAD] = &w->head,
        [SAE_LM_HEAD_B] = &w->head_b,
        [SAE_LM_NORM_ATTN] = &attn->norm,
        [SAE_LM_NORM_ATTN_B] = &attn->norm_b,
        [SAE_LM_Q] = &attn->w_in,
        [SAE_LM_Q_B] = &attn->b_in,
        [SAE_LM_Q_NORM] = &attn->q_norm,
        [SAE_LM_K_NORM] = &attn->k_norm,
        [SAE_LM_O] = &attn->w_out,
        [SAE_LM_O_B] = &attn->b_out,
        [SAE_LM_POST_ATTN] = &attn->post,
        [SAE_LM_NORM_MLP] = &mlp->norm,
        [SAE_LM_NORM_MLP_B] = &mlp->norm_b,
        [SAE_LM_GATE] = &mlp->w_in,
        [SAE_LM_GATE_B] = &mlp->b_in,
        [SAE_LM_DOWN] = &mlp->w_out,
        [SAE_LM_DOWN_B] = &mlp->b_out,
        [SAE_LM_POST_MLP] = &mlp->post,
    };
    if (!c->gated) {
        to[SAE_LM_UP] = &mlp->w_in;
        to[SAE_LM_UP_B] = &mlp->b_in;
    }
    if (to[s->part])
        *to[s->part] = w->base + s->at;
}

/* Ask the source whether every part is there. */
static int find_all(const sae_lm_weights *w, const sae_lm_config *c, const sae_lm_source *src,
                    sae_err *err)
{
    for (int64_t i = 0; i < w->slots; i++)
        SAE_TRY(src->read(src->self, c, w->slot[i].part, w->slot[i].layer, NULL, err));
    return SAE_OK;
}

static int read_all(sae_lm_weights *w, const sae_lm_config *c, const sae_lm_source *src,
                    sae_err *err)
{
    for (int64_t i = 0; i < w->slots; i++) {
        const sae_lm_slot *s = &w->slot[i];
        SAE_TRY(src->read(src->self, c, s->part, s->layer, w->base + s->at, err));
    }
    return SAE_OK;
}

/* The same by way of the host, one part at a time. */
static int read_over(sae_lm_weights *w, const sae_lm_place *at, const sae_lm_config *c,
                     const sae_lm_source *src, sae_err *err)
{
    int rc = SAE_OK;
    int64_t most = 0;
    sae_real *part = NULL;
    for (int64_t i = 0; i < w->slots; i++)
        most = most > w->slot[i].rows * w->slot[i].cols ? most
                                                        : w->slot[i].rows * w->slot[i].cols;
    SAE_TRY(sae_new(&part, most, sizeof *part, "lm.weights", err));
    for (int64_t i = 0; i < w->slots; i++) {
        const sae_lm_slot *s = &w->slot[i];
        SAE_GOTO(src->read(src->self, c, s->part, s->layer, part, err));
        SAE_GOTO(sae_lm_put(at, w->base + s->at, part, s->rows * s->cols, sizeof *part, err));
    }
fail:
    sae_free(part);
    return rc;
}

int sae_lm_weights_freeze(const sae_lm_weights *w, const sae_lm_place *at, sae_err *err)
{
    sae_cmat all = {w->base, w->count / 16, 16, 16};
    int rc = at->be && at->be->freeze ? at->be->freeze(at->dev, all) : SAE_OK;
    return sae_lm_done(at, rc, "a copy of the weights in the precision of products", err);
}

void sae_lm_weights_thaw(const sae_lm_weights *w, const sae_lm_place *at)
{
    if (at->be && at->be->thaw)
        at->be->thaw(at->dev, w->base);
}

int sae_lm_weights_open(sae_lm_weights *w, const sae_lm_place *at, const sae_lm_config *c,
                        const sae_lm_source *src, sae_err *err)
{
    int rc = SAE_OK;
    size_t bytes = 0;
    memset(w, 0, sizeof *w);
    SAE_GOTO(make_slots(w, c, err));
    SAE_GOTO(find_all(w, c, src, err));
    SAE_GOTO(sae_size_mul(&bytes, w->count, sizeof *w->base, err));
    if (!at->be)
        SAE_GOTO(sae_memory_check(bytes, "model weights", err));
    SAE_GOTO(sae_new(&w->half, 2 * c->layers, sizeof *w->half, "lm.weights", err));
    SAE_GOTO(sae_lm_new(at, &w->base, w->count, sizeof *w->base, "lm.weights", err));
    SAE_GOTO(at->be ? read_over(w, at, c, src, err) : read_all(w, c, src, err));
    for (int64_t i = 0; i < w->slots; i++)
        keep(w, c, &w->slot[i]);
    if (c->tied)
        w->head = w->embed;
    SAE_GOTO(sae_lm_weights_freeze(w, at, err));
    return SAE_OK;
fail:
    sae_lm_weights_close(w, at);
    return rc;
}

void sae_lm_weights_close(sae_lm_weights *w, const sae_lm_place *at)
{
    sae_lm_weights_thaw(w, at);
    sae_lm_free(at, w->base);
    sae_free(w->slot);
    sae_free(w->half);
    memset(w, 0, sizeof *w);
}
