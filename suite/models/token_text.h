/* suite/models/token_text.h - the text of tokens as they arrive, in whole characters. */
#ifndef SAE_MODELS_TOKEN_TEXT_H
#define SAE_MODELS_TOKEN_TEXT_H

#include "core/text.h"
#include "models/tokenizer.h"

/* Starts as {.tok = ...}. */
typedef struct sae_token_text {
    const sae_tokenizer *tok; /* borrowed */
    int32_t *ids;             /* [n] so far */
    int64_t n, cap;
    char *text;               /* of all of them */
    size_t bytes, used, done; /* room; length; given out */
} sae_token_text;

/* Add ids and append to out the text that they complete, always valid UTF-8: the bytes of a
 * character that has only begun wait for the next token, and a byte that cannot be part of one
 * becomes U+FFFD. */
int sae_token_text_put(sae_token_text *s, const int32_t *ids, int64_t n, sae_text *out,
                       sae_err *err);
/* Nothing follows: bytes that wait become U+FFFD. */
void sae_token_text_end(sae_token_text *s, sae_text *out);
void sae_token_text_close(sae_token_text *s);

#endif
