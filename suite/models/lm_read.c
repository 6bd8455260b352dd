/* suite/models/lm_read.c - one part of a model from a file. */
#include "core/error.h"
#include "models/lm_weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- llama2.c .bin --------------------------------------------------------------------------- */

/* Order of the parts in the file; each is stacked over the layers. The rotary tables that stand
 * between the final norm and an untied head are recomputed, not read. */
static const struct {
    enum sae_lm_part part;
    const char *name;
} bin_order[] = {
    {SAE_LM_EMBED, "embedding"}, {SAE_LM_NORM_ATTN, "attention norm"},
    {SAE_LM_Q, "wq"},            {SAE_LM_K, "wk"},
    {SAE_LM_V, "wv"},            {SAE_LM_O, "wo"},
    {SAE_LM_NORM_MLP, "MLP norm"}, {SAE_LM_GATE, "w1"},
    {SAE_LM_DOWN, "w2"},         {SAE_LM_UP, "w3"},
    {SAE_LM_NORM_FINAL, "final norm"}, {SAE_LM_HEAD, "output matrix"},
};

int sae_lm_read_bin(void *bin, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                    sae_real *out, sae_err *err)
{
    const sae_lm_bin *f = bin;
    if (!out)
        return SAE_OK; /* the size of the file was checked against the header */
    int64_t at = 28, rows, cols;
    int i = 0;
    for (; bin_order[i].part != p; i++) {
        sae_lm_part_shape(c, bin_order[i].part, &rows, &cols);
        at += 4 * rows * cols * (sae_lm_part_in_layer(bin_order[i].part) ? c->layers : 1);
        if (bin_order[i].part == SAE_LM_NORM_FINAL)
            at += 4 * c->ctx * c->head;
    }
    sae_lm_layout l;
    sae_lm_layout_of(&l, c, p, p == SAE_LM_Q || p == SAE_LM_K ? SAE_LM_ADJACENT : SAE_LM_PLAIN);
    int64_t count = l.rows * l.cols;
    at += 4 * count * layer;
    SAE_ASSERT((uint64_t)(at + 4 * count) <= f->bytes);
    for (int64_t e = 0; e < count; e++) {
        float v;
        memcpy(&v, f->p + at + 4 * e, sizeof v);
        if (!isfinite(v))
            SAE_FAIL(err, SAE_EFORMAT, "%s of layer %lld, index %lld: expected a finite number",
                     bin_order[i].name, (long long)layer, (long long)e);
        out[sae_lm_layout_element(&l, e)] = (sae_real)v;
    }
    return SAE_OK;
}

/* ---- safetensors ----------------------------------------------------------------------------- */

const sae_lm_name sae_lm_names_meta[SAE_LM_PARTS] = {
    [SAE_LM_EMBED] = {"tok_embeddings.weight", SAE_LM_PLAIN},
    [SAE_LM_NORM_FINAL] = {"norm.weight", SAE_LM_PLAIN},
    [SAE_LM_HEAD] = {"output.weight", SAE_LM_PLAIN},
    [SAE_LM_NORM_ATTN] = {"layers.*.attention_norm.weight", SAE_LM_PLAIN},
    [SAE_LM_Q] = {"layers.*.attention.wq.weight", SAE_LM_ADJACENT},
    [SAE_LM_K] = {"layers.*.attention.wk.weight", SAE_LM_ADJACENT},
    [SAE_LM_V] = {"layers.*.attention.wv.weight", SAE_LM_PLAIN},
    [SAE_LM_O] = {"layers.*.attention.wo.weight", SAE_LM_PLAIN},
    [SAE_LM_NORM_MLP] = {"layers.*.ffn_norm.weight", SAE_LM_PLAIN},
    [SAE_LM_GATE] = {"layers.*.feed_forward.w1.weight", SAE_LM_PLAIN},
    [SAE_LM_UP] = {"layers.*.feed_forward.w3.weight", SAE_LM_PLAIN},
    [SAE_LM_DOWN] = {"layers.*.feed_forward.w2.weight", SAE_LM_PLAIN},
};

void sae_lm_tensor_name(char *out, size_t room, const char *prefix, const char *pattern,
                        int64_t layer)
{
    const char *star = strchr(pattern, '*');
    if (star)
        snprintf(out, room, "%s%.*s%lld%s", prefix, (int)(star - pattern), pattern,
                 (long long)layer, star + 1);
    else
        snprintf(out, room, "%s%s", prefix, pattern);
}

/* The file that holds a tensor under its name, or under its name behind the prefix; otherwise the
 * first file, with the plain name, which then is the one that an error should name. */
static const sae_st *find(const sae_lm_named *n, const char *pattern, int64_t layer, char *name,
                          size_t room)
{
    for (int with = n->prefix ? 1 : 0; with >= 0; with--) {
        sae_lm_tensor_name(name, room, with ? n->prefix : "", pattern, layer);
        for (int64_t i = 0; i < n->store->count; i++)
            if (sae_st_find(n->store->st[i], name))
                return n->store->st[i];
    }
    return n->store->st[0];
}

static int copy_elements(const sae_st *st, const sae_st_tensor *t, const sae_lm_layout *l,
                         sae_real *out, sae_err *err)
{
    enum { AT_ONCE = 4096 };
    float v[AT_ONCE];
    sae_real add = l->form == SAE_LM_MINUS_ONE ? 1 : 0;
    for (int64_t e0 = 0; e0 < t->count; e0 += AT_ONCE) {
        int64_t n = t->count - e0 < AT_ONCE ? t->count - e0 : AT_ONCE;
        SAE_TRY(sae_st_floats(st, t, e0, n, 1, v, err));
        for (int64_t i = 0; i < n; i++) {
            int64_t to = sae_lm_layout_element(l, e0 + i);
            if (to >= 0)
                out[to] = (sae_real)v[i] + add;
        }
    }
    return SAE_OK;
}

int sae_lm_read_named(void *named, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                      sae_real *out, sae_err *err)
{
    const sae_lm_named *n = named;
    char name[160];
    sae_lm_layout l;
    const sae_st_tensor *t = NULL;
    SAE_ASSERT(n->names[p].name);
    sae_lm_layout_of(&l, c, p, n->names[p].form);
    const sae_st *st = find(n, n->names[p].name, layer, name, sizeof name);
    SAE_TRY(sae_st_need(st, name, l.rank, l.shape, &t, err));
    return out ? copy_elements(st, t, &l, out, err) : SAE_OK;
}
