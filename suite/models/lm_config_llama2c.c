/* suite/models/lm_config_llama2c.c - descriptions from llama2.c's files. */
#include "core/error.h"
#include "models/lm_config.h"

#include <stdlib.h>
#include <string.h>

enum { BIN_HEADER = 28 };

/* What llama2.c fixes in code rather than in its files. */
static sae_lm_config llama2c(void)
{
    return (sae_lm_config){
        .arch = "llama",
        .norm_in = SAE_LM_NORM_RMS,
        .norm_mid = SAE_LM_NORM_NONE,
        .norm_final = SAE_LM_NORM_RMS,
        .act = SAE_LM_SILU,
        .gated = 1,
        .rope = {{.theta = 10000}, {.theta = 10000}},
        .eps = 1e-5,
        .tied = 1,
        .bos = 1,
        .eos = 2,
    };
}

/* llama2.c has no head width of its own. */
static int head_from_width(sae_lm_config *c, sae_err *err)
{
    if (c->heads < 1 || c->d % c->heads)
        SAE_FAIL(err, SAE_EFORMAT, "width: expected a multiple of the %lld heads, found %lld (no "
                 "llama2.c header?)",
                 (long long)c->heads, (long long)c->d);
    c->head = c->rotary = c->d / c->heads;
    return SAE_OK;
}

/* ---- llama2.c .bin, version 0 ---------------------------------------------------------------- */

int sae_lm_config_bin(sae_lm_config *c, const void *p, size_t bytes, sae_err *err)
{
    int32_t h[BIN_HEADER / 4];
    if (bytes < BIN_HEADER)
        SAE_FAIL(err, SAE_EFORMAT, "header: expected %d bytes, found %zu", BIN_HEADER, bytes);
    memcpy(h, p, sizeof h);
    *c = llama2c();
    c->d = h[0];
    c->hidden = h[1];
    c->layers = h[2];
    c->heads = h[3];
    c->kv_heads = h[4];
    c->vocab = llabs((long long)h[5]);
    c->tied = h[5] > 0;
    c->ctx = h[6];
    SAE_TRY(head_from_width(c, err));
    SAE_TRY(sae_lm_config_check(c, err));
    int64_t expect = BIN_HEADER + 4 * c->ctx * c->head; /* two rotary tables of head / 2 columns */
    for (int i = 0; i < SAE_LM_PARTS; i++) {
        int64_t rows, cols;
        sae_lm_part_shape(c, (enum sae_lm_part)i, &rows, &cols);
        expect += 4 * rows * cols * (sae_lm_part_in_layer((enum sae_lm_part)i) ? c->layers : 1);
    }
    if ((uint64_t)expect != bytes)
        SAE_FAIL(err, SAE_EFORMAT, "size: the header asks for %lld bytes, the file has %zu",
                 (long long)expect, bytes);
    return SAE_OK;
}

/* ---- safetensors metadata -------------------------------------------------------------------- */

int sae_lm_config_meta(sae_lm_config *c, const sae_st *st, sae_err *err)
{
    *c = llama2c();
    const struct {
        const char *key;
        int64_t *out;
    } field[] = {
        {"dim", &c->d},           {"hidden_dim", &c->hidden},   {"n_layers", &c->layers},
        {"n_heads", &c->heads},   {"n_kv_heads", &c->kv_heads}, {"vocab_size", &c->vocab},
        {"seq_len", &c->ctx},
    };
    if (!sae_st_meta(st, "dim"))
        SAE_FAIL(err, SAE_EFORMAT,
                 "not a language model: safetensors without config.json beside "
                 "them and without llama2.c's __metadata__ (dim, ...)");
    for (size_t i = 0; i < sizeof field / sizeof field[0]; i++) {
        const char *text = sae_st_meta(st, field[i].key);
        char *end = NULL;
        long long v = text ? strtoll(text, &end, 10) : 0;
        if (!text || end == text || *end)
            SAE_FAIL(err, SAE_EFORMAT, "__metadata__.%s: expected a whole number, found %s",
                     field[i].key, text ? text : "nothing");
        *field[i].out = v;
    }
    if (!sae_st_find(st, "layers.0.attention_norm.weight"))
        c->norm_in = c->norm_mid = SAE_LM_NORM_UNIT;
    c->tied = !sae_st_find(st, "output.weight");
    SAE_TRY(head_from_width(c, err));
    return sae_lm_config_check(c, err);
}
