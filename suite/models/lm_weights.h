/* suite/models/lm_weights.h - weights in memory, and where they come from. */
#ifndef SAE_MODELS_LM_WEIGHTS_H
#define SAE_MODELS_LM_WEIGHTS_H

#include "models/lm_arch.h"
#include "models/lm_place.h"

/* ---- in memory ------------------------------------------------------------------------------- */

/* One half of a block. w_in is q, k, v (or gate, up) stacked; absent vectors are NULL. */
typedef struct sae_lm_half {
    const sae_real *norm, *norm_b; /* [d] */
    const sae_real *w_in, *b_in;   /* [in x d], [in] */
    const sae_real *q_norm, *k_norm; /* [head] */
    const sae_real *w_out, *b_out; /* [d x mid], [d] */
    const sae_real *post;          /* [d] */
} sae_lm_half;

/* A part in the buffer of all weights: row-major [rows x cols] from `at` on. */
typedef struct sae_lm_slot {
    enum sae_lm_part part;
    int64_t layer, at, rows, cols;
} sae_lm_slot;

/* Gradients and optimiser states are buffers of the same layout: `count` elements, of which those
 * between the slots are padding and stay 0. */
typedef struct sae_lm_weights {
    sae_real *base;    /* [count] in the place's memory, as is what points into it */
    int64_t count;
    sae_lm_slot *slot; /* [slots] ascending in `at` */
    int64_t slots;
    sae_lm_half *half; /* [2 layers] */
    const sae_real *embed, *position, *norm_final, *norm_final_b, *head, *head_b;
    uint64_t params;   /* elements of all slots */
} sae_lm_weights;

/* Where weights come from: write one part, finite, into out (NULL: only check that it is there in
 * the right shape, which is asked for all parts before any is read). `layer` is 0 for model-wide
 * parts. */
typedef struct sae_lm_source {
    void *self;
    int (*read)(void *self, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                sae_real *out, sae_err *err);
} sae_lm_source;

int sae_lm_weights_open(sae_lm_weights *w, const sae_lm_place *at, const sae_lm_config *c,
                        const sae_lm_source *src, sae_err *err);
void sae_lm_weights_close(sae_lm_weights *w, const sae_lm_place *at);
/* From freeze to thaw nobody writes to the weights: products may read copies of them in their own
 * precision (sae_backend.freeze). Open weights are frozen. */
int sae_lm_weights_freeze(const sae_lm_weights *w, const sae_lm_place *at, sae_err *err);
void sae_lm_weights_thaw(const sae_lm_weights *w, const sae_lm_place *at);

/* ---- in files -------------------------------------------------------------------------------- */

/* How a tensor of a file stores a part; vectors count as (n, 1). */
typedef struct sae_lm_layout {
    enum sae_lm_form form;
    int64_t rows, cols, head;
    int rank;         /* of the tensor */
    int64_t shape[2]; /* of the tensor */
} sae_lm_layout;

void sae_lm_layout_of(sae_lm_layout *l, const sae_lm_config *c, enum sae_lm_part p,
                      enum sae_lm_form form);
/* The element of the part that element e of the tensor stores; -1: it belongs to another part. */
int64_t sae_lm_layout_element(const sae_lm_layout *l, int64_t e);

/* The safetensors files of a checkpoint. */
typedef struct sae_lm_store {
    sae_st **st;
    int64_t count;
} sae_lm_store;

/* dir: model.safetensors, or the files that model.safetensors.index.json names, which are checked
 * to hold what it says, each tensor once. SAE_EFORMAT and SAE_EIO name the file and the tensor. */
int sae_lm_store_open(sae_lm_store *s, const char *dir, sae_err *err);
/* The same with the text of the index from memory. */
int sae_lm_store_open_index(sae_lm_store *s, const char *dir, const char *text, size_t bytes,
                            sae_err *err);
int sae_lm_store_open_file(sae_lm_store *s, const char *path, sae_err *err); /* one file */
int sae_lm_store_open_bytes(sae_lm_store *s, const char *name, const void *p, size_t bytes,
                            sae_err *err); /* one file in memory, borrowed */
void sae_lm_store_close(sae_lm_store *s);
/* xxh128 of a file, of several the xxh128 over theirs, hexadecimal. */
int sae_lm_store_hash(const sae_lm_store *s, char out[36], sae_err *err);

/* sae_lm_source.read with these as self. */
typedef struct sae_lm_named { /* tensors by name */
    const sae_lm_store *store;
    const sae_lm_name *names; /* [SAE_LM_PARTS] */
    const char *prefix;       /* also tried in front of a name; NULL: none */
} sae_lm_named;
int sae_lm_read_named(void *named, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                      sae_real *out, sae_err *err);
extern const sae_lm_name sae_lm_names_meta[SAE_LM_PARTS]; /* llama's own names */

typedef struct sae_lm_bin { /* a mapped llama2.c file */
    const unsigned char *p;
    size_t bytes;
} sae_lm_bin;
int sae_lm_read_bin(void *bin, const sae_lm_config *c, enum sae_lm_part p, int64_t layer,
                    sae_real *out, sae_err *err);

/* The name of a tensor: prefix, then the pattern with the layer for its star. */
void sae_lm_tensor_name(char *out, size_t room, const char *prefix, const char *pattern,
                        int64_t layer);

/* Write weights to path as one safetensors file with the tensor names of c->files, in f32, f16 or
 * bf16; what is read back from it is the weights, rounded. */
int sae_lm_weights_save(const sae_lm_weights *w, const sae_lm_place *at, const sae_lm_config *c,
                        const char *path, enum sae_st_dtype dtype, sae_err *err);

#endif
