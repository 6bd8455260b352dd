/* suite/models/lm_weights.c - weights in memory, in the form the forward pass wants. */
#include "core/error.h"
#include "core/memory.h"
#include "models/lm_model.h"

#include <string.h>

void sae_lm_part_shape(const sae_lm_config *c, enum sae_lm_part p, int64_t *rows, int64_t *cols)
{
    int64_t q = c->heads * c->head, kv = c->kv_heads * c->head;
    int64_t norm = c->norm_in == SAE_LM_NORM_RMS, head = !c->tied;
    const int64_t shape[SAE_LM_PARTS][2] = {
        [SAE_LM_EMBED] = {c->vocab, c->d},
        [SAE_LM_NORM_FINAL] = {1, c->d},
        [SAE_LM_HEAD] = {head * c->vocab, head * c->d},
        [SAE_LM_NORM_ATTN] = {norm, norm * c->d},
        [SAE_LM_Q] = {q, c->d},
        [SAE_LM_K] = {kv, c->d},
        [SAE_LM_V] = {kv, c->d},
        [SAE_LM_O] = {c->d, q},
        [SAE_LM_NORM_MLP] = {norm, norm * c->d},
        [SAE_LM_GATE] = {c->hidden, c->d},
        [SAE_LM_UP] = {c->hidden, c->d},
        [SAE_LM_DOWN] = {c->d, c->hidden},
    };
    *rows = shape[p][0];
    *cols = shape[p][1];
}

/* Every part begins on a cache line unless it continues the part before it: q, k, v and gate, up
 * are multiplied as one matrix. */
static int starts_line(enum sae_lm_part p)
{
    return p != SAE_LM_K && p != SAE_LM_V && p != SAE_LM_UP;
}

static int64_t place(int64_t at, enum sae_lm_part p)
{
    return starts_line(p) ? (at + 15) / 16 * 16 : at;
}

static int64_t part_count(const sae_lm_config *c, enum sae_lm_part p)
{
    int64_t rows, cols;
    sae_lm_part_shape(c, p, &rows, &cols);
    return rows * cols;
}

/* Rows 2 i and 2 i + 1 of every head become rows i and head / 2 + i. */
static void halves_from_adjacent(int64_t heads, int64_t head, int64_t cols, float *w, float *tmp)
{
    size_t row = (size_t)cols * sizeof *w;
    for (int64_t h = 0; h < heads; h++, w += head * cols) {
        memcpy(tmp, w, (size_t)head * row);
        for (int64_t i = 0; i < head; i++)
            memcpy(w + (i % 2 * (head / 2) + i / 2) * cols, tmp + i * cols, row);
    }
}

static void keep(sae_lm_weights *w, enum sae_lm_part p, int64_t layer, const float *at)
{
    sae_lm_half *attn = w->half + 2 * layer, *mlp = attn + 1;
    const float **slot[SAE_LM_PARTS] = {
        [SAE_LM_EMBED] = &w->embed,       [SAE_LM_NORM_FINAL] = &w->norm_final,
        [SAE_LM_HEAD] = &w->head,         [SAE_LM_NORM_ATTN] = &attn->norm,
        [SAE_LM_Q] = &attn->w_in,         [SAE_LM_O] = &attn->w_out,
        [SAE_LM_NORM_MLP] = &mlp->norm,   [SAE_LM_GATE] = &mlp->w_in,
        [SAE_LM_DOWN] = &mlp->w_out,
    };
    if (slot[p])
        *slot[p] = at;
}

/* One walk over all parts. Without w->base it checks the source and counts floats and parameters;
 * with it, it reads. tmp: [head x d]. */
typedef struct walk {
    sae_lm_weights *w;
    const sae_lm_config *c;
    const sae_lm_source *src;
    float *tmp;
    int64_t floats; /* so far */
} walk;

static int walk_part(walk *k, enum sae_lm_part p, int64_t layer, sae_err *err)
{
    const sae_lm_config *c = k->c;
    int64_t count = part_count(c, p);
    if (count == 0)
        return SAE_OK;
    k->floats = place(k->floats, p);
    float *out = k->w->base ? k->w->base + k->floats : NULL;
    k->floats += count;
    SAE_TRY(k->src->read(k->src->self, c, p, layer, out, err));
    if (!out) {
        k->w->params += (uint64_t)count;
        return SAE_OK;
    }
    if ((p == SAE_LM_Q || p == SAE_LM_K) && c->rope == SAE_LM_ROPE_ADJACENT)
        halves_from_adjacent(p == SAE_LM_Q ? c->heads : c->kv_heads, c->head, c->d, out, k->tmp);
    keep(k->w, p, layer, out);
    return SAE_OK;
}

static int walk_all(walk *k, sae_err *err)
{
    k->floats = 0;
    for (int p = 0; p < SAE_LM_NORM_ATTN; p++)
        SAE_TRY(walk_part(k, (enum sae_lm_part)p, 0, err));
    for (int64_t l = 0; l < k->c->layers; l++)
        for (int p = SAE_LM_NORM_ATTN; p < SAE_LM_PARTS; p++)
            SAE_TRY(walk_part(k, (enum sae_lm_part)p, l, err));
    return SAE_OK;
}

int sae_lm_weights_open(sae_lm_weights *w, const sae_lm_config *c, const sae_lm_source *src,
                        sae_err *err)
{
    int rc = SAE_OK;
    size_t bytes = 0;
    walk k = {.w = w, .c = c, .src = src};
    memset(w, 0, sizeof *w);
    SAE_GOTO(walk_all(&k, err));
    SAE_GOTO(sae_size_mul(&bytes, k.floats, sizeof(float), err));
    SAE_GOTO(sae_memory_check(bytes, "model weights", err));
    SAE_GOTO(sae_new(&w->half, 2 * c->layers, sizeof *w->half, "lm.weights", err));
    SAE_GOTO(sae_new(&k.tmp, c->head * c->d, sizeof(float), "lm.weights", err));
    SAE_GOTO(sae_new(&w->base, k.floats, sizeof(float), "lm.weights", err));
    SAE_GOTO(walk_all(&k, err));
    if (c->tied)
        w->head = w->embed;
    sae_free(k.tmp);
    return SAE_OK;
fail:
    sae_free(k.tmp);
    sae_lm_weights_close(w);
    return rc;
}

void sae_lm_weights_close(sae_lm_weights *w)
{
    sae_free(w->base);
    sae_free(w->half);
    memset(w, 0, sizeof *w);
}
