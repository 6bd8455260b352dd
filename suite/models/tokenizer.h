/* suite/models/tokenizer.h - text to vocabulary ids and back.
 *
 * Files, told apart by content:
 *   - llama2.c tokenizer.bin (SentencePiece-like: merge by score);
 *   - tokenizer.json: BPE, byte-level (GPT-2, GPT-NeoX/Pythia, Llama 3, Qwen) or over characters
 *     with byte fallback (Llama 2, Mistral, Gemma), Unigram (T5, XLM-R) and WordLevel, with added
 *     tokens, normalizers, pre-tokenizers and decoders;
 *   - GPT-2's encoder.json or vocab.json, with vocab.bpe or merges.txt beside it.
 * Whatever would change ids and is not understood is refused by its name.
 *
 * BOS and EOS of tokenizer.json are, in this order: what the post-processor puts in front of and
 * behind a text; bos_token and eos_token of tokenizer_config.json beside it, where null says that
 * there is none; the usual names (<|begin_of_text|>, <s>, <bos>, <|endoftext|> and their
 * counterparts) where neither says anything. Whether BOS is put in front is the caller's choice,
 * whatever the file does by itself; EOS is never put behind a text.
 */
#ifndef SAE_MODELS_TOKENIZER_H
#define SAE_MODELS_TOKENIZER_H

#include <sae/base.h>

typedef struct sae_tokenizer sae_tokenizer;

/* The file(s) in memory; borrowed during the call. NULL and 0: there is none. */
typedef struct sae_token_file {
    const char *name; /* for messages */
    const char *data;
    size_t bytes;
    const char *merges; /* text of vocab.bpe */
    size_t merges_bytes;
    const char *config; /* text of tokenizer_config.json */
    size_t config_bytes;
} sae_token_file;

/* `vocab` is the model's vocabulary size, 0 when unknown: a tokenizer with an id >= vocab is
 * SAE_EFORMAT; one with fewer ids is fine (models pad their vocabulary). SAE_EFORMAT names the file
 * and the entry or JSON key that is malformed or not supported. */
int sae_tokenizer_open(sae_tokenizer **t, const char *path, int64_t vocab, sae_err *err);
/* The same from memory: embedded models. */
int sae_tokenizer_parse(sae_tokenizer **t, const sae_token_file *f, int64_t vocab, sae_err *err);
void sae_tokenizer_close(sae_tokenizer **t); /* NULL-safe; sets *t to NULL */

int64_t sae_tokenizer_vocab(const sae_tokenizer *t); /* largest id + 1 */
int32_t sae_tokenizer_bos(const sae_tokenizer *t);   /* -1 when there is none */
int32_t sae_tokenizer_eos(const sae_tokenizer *t);   /* -1 when there is none */
/* xxh128 of the file, with the merges beside it but without tokenizer_config.json; hexadecimal. */
const char *sae_tokenizer_hash(const sae_tokenizer *t);

/* Ids of `bytes` bytes of UTF-8. add_bos: put BOS first if the tokenizer has one. *count is the
 * full number even when it exceeds cap (then SAE_ECAPACITY, ids hold the first cap). Invalid UTF-8:
 * SAE_EFORMAT with the byte offset. Thread-safe on one tokenizer. */
int sae_tokenizer_encode(const sae_tokenizer *t, const char *text, size_t bytes, int add_bos,
                         int32_t *ids, int64_t cap, int64_t *count, sae_err *err);
/* Text of ids; *bytes is the full length even when it exceeds cap (then SAE_ECAPACITY, text holds
 * the first cap bytes). Not terminated. SAE_EINVAL: id out of range. Special tokens are written as
 * they are, byte tokens as their byte, whether or not the whole is valid UTF-8. Where encode puts a
 * space in front of a text, decode takes it away again; a BOS in front of that has no text.
 * llama2.c files: neither BOS nor EOS has a text, and the space is taken away behind a BOS only. */
int sae_tokenizer_decode(const sae_tokenizer *t, const int32_t *ids, int64_t n, char *text,
                         size_t cap, size_t *bytes, sae_err *err);
/* Text of one token, not terminated, owned by the tokenizer; NULL and 0 for an unused id. */
const char *sae_tokenizer_piece(const sae_tokenizer *t, int32_t id, size_t *len);

/* SAE_OK, or SAE_EFORMAT with the byte offset of the first byte that is not valid UTF-8. */
int sae_utf8_check(const char *text, size_t bytes, sae_err *err);

#endif
