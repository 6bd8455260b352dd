/* suite/models/tokenizer_json.h - reading tokenizer.json, part by part. */
#ifndef SAE_MODELS_TOKENIZER_JSON_H
#define SAE_MODELS_TOKENIZER_JSON_H

#include "models/tokenizer_pipeline.h"

#include <jansson.h>

typedef struct sae_token_reader {
    sae_tokenizer *t;
    sae_pipeline *p;
    sae_scratch scratch;
    sae_err *err;
    char *text;           /* where the next token goes */
    sae_rewrites decoder; /* of single tokens */
    int fused;            /* what follows in the decoder applies to the whole text */
} sae_token_reader;

/* tokenizer_json.c */
const char *sae_json_type(const json_t *o); /* "type" of an object, "" when absent */
/* null, false, 0, "" and absence all say that a feature is not used. */
int sae_json_inert(const json_t *v);
int sae_json_id(const json_t *v, const char *where, const char *what, int32_t *id, sae_err *err);
void sae_json_put_token(sae_token_reader *r, int32_t id, const char *text, size_t len);

/* tokenizer_json_model.c */
int sae_json_last_id(sae_token_reader *r, json_t *vocab, int32_t *last);
int sae_json_vocab(sae_token_reader *r, json_t *vocab);
int sae_json_model(sae_token_reader *r, const json_t *model); /* behind the vocabulary */
int sae_json_merge_text(sae_token_reader *r, const char *text, size_t bytes); /* vocab.bpe */
int sae_json_split_words(sae_token_reader *r); /* behind the pre-tokenizer */

/* tokenizer_json_steps.c */
int sae_json_normalizer(sae_token_reader *r, const json_t *o);
int sae_json_pre_tokenizer(sae_token_reader *r, const json_t *o);
int sae_json_split(sae_token_reader *r, const char *pattern, int plain,
                   enum sae_split_behavior behavior, int invert);
/* A ByteLevel step; regex: cut as GPT-2 does. */
int sae_json_byte_level(sae_token_reader *r, int prefix_space, int regex);
/* The decoder, and with it the text of every token. added: whether an id is an added token. */
int sae_json_decoder(sae_token_reader *r, const json_t *o);
int sae_json_pieces(sae_token_reader *r, const char *added);

#endif
