/* suite/train/sae_cfg.h - cfg.json of a SAE in SAELens' layout. */
#ifndef SAE_TRAIN_SAE_CFG_H
#define SAE_TRAIN_SAE_CFG_H

#include "train/stream.h"

typedef struct sae_cfg {
    char architecture[64]; /* SAELens' name */
    int64_t d_in, d_sae;
    int64_t k;             /* -1: none */
    int subtract_b_dec;    /* apply_b_dec_to_input */
    int rank_by_norm;      /* rescale_acts_by_decoder_norm: codes are scaled by |decoder row| */
    enum sae_norm norm;    /* NONE, UNIT_ROW for constant_norm_rescale (rows of norm sqrt(d)),
                              ROW_STD for layer_norm */
    char hook[64];         /* where its activations come from, "" when not stated */
} sae_cfg;

/* What the options of a SAE say about its file in this layout. */
typedef struct sae_cfg_form {
    int log_threshold; /* our tensor holds logarithms */
    int centre;        /* b_dec is subtracted from x */
    double shrink;     /* subtracted from b_enc */
} sae_cfg_form;

int sae_cfg_form_of(const sae_saelens *how, const sae_opts *o, sae_cfg_form *out, sae_err *err);

/* variants: NULL-terminated; what their descriptors say of SAELens decides what files older than an
 * architecture's name mean and which must state k.
 * Read version 6 and the flat form before it. SAE_EFORMAT names the key, what is expected and what
 * was found; so do settings that we cannot honour (layer_norm, an unfolded scale, ...). */
int sae_cfg_parse(const char *text, size_t bytes, const sae_variant *const *variants, sae_cfg *c,
                  sae_err *err);

#endif
