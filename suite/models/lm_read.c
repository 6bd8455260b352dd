/* suite/models/lm_read.c - one part of a model from a file. */
#include "core/error.h"
#include "models/lm_model.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- llama2.c .bin --------------------------------------------------------------------------- */

/* Order of the parts in the file; each is stacked over the layers. The rotary tables that stand
 * between the final norm and an untied head are recomputed, not read. */
static const enum sae_lm_part bin_order[] = {
    SAE_LM_EMBED, SAE_LM_NORM_ATTN, SAE_LM_Q,    SAE_LM_K,  SAE_LM_V,          SAE_LM_O,
    SAE_LM_NORM_MLP, SAE_LM_GATE,   SAE_LM_DOWN, SAE_LM_UP, SAE_LM_NORM_FINAL, SAE_LM_HEAD,
};

static const char *const part_names[SAE_LM_PARTS] = {
    [SAE_LM_EMBED] = "embedding",        [SAE_LM_NORM_FINAL] = "final norm",
    [SAE_LM_HEAD] = "output matrix",     [SAE_LM_NORM_ATTN] = "attention norm",
    [SAE_LM_Q] = "wq",                   [SAE_LM_K] = "wk",
    [SAE_LM_V] = "wv",                   [SAE_LM_O] = "wo",
    [SAE_LM_NORM_MLP] = "MLP norm",      [SAE_LM_GATE] = "w1",
    [SAE_LM_UP] = "w3",                  [SAE_LM_DOWN] = "w2",
};

int sae_lm_read_bin(void *bin, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                    float *out, sae_err *err)
{
    const sae_lm_bin *f = bin;
    if (!out)
        return SAE_OK; /* the size of the file was checked against the header */
    int64_t at = 28, rows, cols;
    for (int i = 0; bin_order[i] != p; i++) {
        sae_lm_part_shape(c, bin_order[i], &rows, &cols);
        at += 4 * rows * cols * (sae_lm_part_in_layer(bin_order[i]) ? c->layers : 1);
        if (bin_order[i] == SAE_LM_NORM_FINAL)
            at += 4 * c->ctx * c->head;
    }
    sae_lm_part_shape(c, p, &rows, &cols);
    int64_t count = rows * cols;
    at += 4 * count * layer;
    SAE_ASSERT((uint64_t)(at + 4 * count) <= f->bytes);
    memcpy(out, f->p + at, (size_t)count * sizeof *out);
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(out[i]))
            SAE_FAIL(err, SAE_EFORMAT, "%s of layer %lld, index %lld: expected a finite number",
                     part_names[p], (long long)layer, (long long)i);
    return SAE_OK;
}

/* ---- safetensors ----------------------------------------------------------------------------- */

static const char *const hf_names[SAE_LM_PARTS] = {
    [SAE_LM_EMBED] = "model.embed_tokens.weight",
    [SAE_LM_NORM_FINAL] = "model.norm.weight",
    [SAE_LM_HEAD] = "lm_head.weight",
    [SAE_LM_NORM_ATTN] = "input_layernorm.weight",
    [SAE_LM_Q] = "self_attn.q_proj.weight",
    [SAE_LM_K] = "self_attn.k_proj.weight",
    [SAE_LM_V] = "self_attn.v_proj.weight",
    [SAE_LM_O] = "self_attn.o_proj.weight",
    [SAE_LM_NORM_MLP] = "post_attention_layernorm.weight",
    [SAE_LM_GATE] = "mlp.gate_proj.weight",
    [SAE_LM_UP] = "mlp.up_proj.weight",
    [SAE_LM_DOWN] = "mlp.down_proj.weight",
};

static const char *const meta_names[SAE_LM_PARTS] = {
    [SAE_LM_EMBED] = "tok_embeddings.weight",
    [SAE_LM_NORM_FINAL] = "norm.weight",
    [SAE_LM_HEAD] = "output.weight",
    [SAE_LM_NORM_ATTN] = "attention_norm.weight",
    [SAE_LM_Q] = "attention.wq.weight",
    [SAE_LM_K] = "attention.wk.weight",
    [SAE_LM_V] = "attention.wv.weight",
    [SAE_LM_O] = "attention.wo.weight",
    [SAE_LM_NORM_MLP] = "ffn_norm.weight",
    [SAE_LM_GATE] = "feed_forward.w1.weight",
    [SAE_LM_UP] = "feed_forward.w3.weight",
    [SAE_LM_DOWN] = "feed_forward.w2.weight",
};

static int read_named(const sae_st *st, const char *prefix, const char *const *names,
                      const sae_lm_config *c, enum sae_lm_part p, int64_t layer, float *out,
                      sae_err *err)
{
    char name[96];
    if (sae_lm_part_in_layer(p))
        snprintf(name, sizeof name, "%s%lld.%s", prefix, (long long)layer, names[p]);
    else
        snprintf(name, sizeof name, "%s", names[p]);
    int64_t shape[2];
    sae_lm_part_shape(c, p, &shape[0], &shape[1]);
    int vector = p == SAE_LM_NORM_FINAL || p == SAE_LM_NORM_ATTN || p == SAE_LM_NORM_MLP;
    const sae_st_tensor *t = NULL;
    SAE_TRY(sae_st_need(st, name, vector ? 1 : 2, shape + vector, &t, err));
    if (!out)
        return SAE_OK;
    return sae_st_floats(st, t, 0, t->count, 1, out, err);
}

int sae_lm_read_hf(void *st, const sae_lm_config *c, enum sae_lm_part p, int64_t layer, float *out,
                   sae_err *err)
{
    return read_named(st, "model.layers.", hf_names, c, p, layer, out, err);
}

int sae_lm_read_meta(void *st, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                     float *out, sae_err *err)
{
    return read_named(st, "layers.", meta_names, c, p, layer, out, err);
}
