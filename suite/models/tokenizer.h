/* suite/models/tokenizer.h - text to vocabulary ids and back. */
#ifndef SAE_MODELS_TOKENIZER_H
#define SAE_MODELS_TOKENIZER_H

#include <sae/base.h>

typedef struct sae_tokenizer sae_tokenizer;

/* A llama2.c tokenizer.bin or a tokenizer.json, told apart by content. `vocab` is the model's
 * vocabulary size: llama2.c files do not store it (pass 0 to read to the end of the file), and a
 * tokenizer that can produce ids >= vocab is an error. */
int sae_tokenizer_open(sae_tokenizer **t, const char *path, int64_t vocab, sae_err *err);
void sae_tokenizer_close(sae_tokenizer **t);

int64_t sae_tokenizer_vocab(const sae_tokenizer *t);
int32_t sae_tokenizer_bos(const sae_tokenizer *t); /* -1 when there is none */
int32_t sae_tokenizer_eos(const sae_tokenizer *t);
const char *sae_tokenizer_hash(const sae_tokenizer *t); /* xxh128 of the file, hexadecimal */

/* Ids of `bytes` bytes of UTF-8. add_bos: put BOS first if the tokenizer has one. *count is the
 * full number even when it exceeds cap (then SAE_ECAPACITY, ids hold the first cap). Invalid UTF-8:
 * SAE_EFORMAT with the byte offset. Thread-safe on one tokenizer. */
int sae_tokenizer_encode(const sae_tokenizer *t, const char *text, size_t bytes, int add_bos,
                         int32_t *ids, int64_t cap, int64_t *count, sae_err *err);
/* Text of ids; *bytes is the full length even when it exceeds cap. Not terminated. */
int sae_tokenizer_decode(const sae_tokenizer *t, const int32_t *ids, int64_t n, char *text,
                         size_t cap, size_t *bytes, sae_err *err);
const char *sae_tokenizer_piece(const sae_tokenizer *t, int32_t id, size_t *len);

#endif
