/* suite/models/tokenizer.h - text to vocabulary ids and back.
 *
 * Files, told apart by content:
 *   - llama2.c tokenizer.bin (SentencePiece-like: merge by score);
 *   - tokenizer.json of byte-level BPE models (GPT-2, GPT-NeoX/Pythia, Llama 3, ...);
 *   - GPT-2's encoder.json or vocab.json, with vocab.bpe or merges.txt beside it.
 */
#ifndef SAE_MODELS_TOKENIZER_H
#define SAE_MODELS_TOKENIZER_H

#include <sae/base.h>

typedef struct sae_tokenizer sae_tokenizer;

/* `vocab` is the model's vocabulary size, 0 when unknown: a tokenizer with an id >= vocab is
 * SAE_EFORMAT; one with fewer ids is fine (models pad their vocabulary). SAE_EFORMAT names the file
 * and the entry or JSON key that is malformed or not supported. */
int sae_tokenizer_open(sae_tokenizer **t, const char *path, int64_t vocab, sae_err *err);
void sae_tokenizer_close(sae_tokenizer **t); /* NULL-safe; sets *t to NULL */

int64_t sae_tokenizer_vocab(const sae_tokenizer *t);    /* largest id + 1 */
int32_t sae_tokenizer_bos(const sae_tokenizer *t);      /* -1 when there is none */
int32_t sae_tokenizer_eos(const sae_tokenizer *t);      /* -1 when there is none */
const char *sae_tokenizer_hash(const sae_tokenizer *t); /* xxh128 of the file(s), hexadecimal */

/* Ids of `bytes` bytes of UTF-8. add_bos: put BOS first if the tokenizer has one. *count is the
 * full number even when it exceeds cap (then SAE_ECAPACITY, ids hold the first cap). Invalid UTF-8:
 * SAE_EFORMAT with the byte offset. Thread-safe on one tokenizer. */
int sae_tokenizer_encode(const sae_tokenizer *t, const char *text, size_t bytes, int add_bos,
                         int32_t *ids, int64_t cap, int64_t *count, sae_err *err);
/* Text of ids; *bytes is the full length even when it exceeds cap (then SAE_ECAPACITY, text holds
 * the first cap bytes). Not terminated. llama2.c files: BOS and EOS have no text, and the space
 * that encode puts in front is taken away again behind a BOS. SAE_EINVAL: id out of range. */
int sae_tokenizer_decode(const sae_tokenizer *t, const int32_t *ids, int64_t n, char *text,
                         size_t cap, size_t *bytes, sae_err *err);
/* Bytes of one token, not terminated, owned by the tokenizer; NULL and 0 for an unused id. */
const char *sae_tokenizer_piece(const sae_tokenizer *t, int32_t id, size_t *len);

/* SAE_OK, or SAE_EFORMAT with the byte offset of the first byte that is not valid UTF-8. */
int sae_utf8_check(const char *text, size_t bytes, sae_err *err);

#endif
