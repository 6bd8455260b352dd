/* suite/models/tokenizer_impl.h - what the tokenizer schemes share.
 *
 * Most schemes come down to: cut the text into symbols, then merge the neighbouring pair of lowest
 * rank, the leftmost on ties, until no pair has a rank. A scheme fills the tables and cuts.
 */
#ifndef SAE_MODELS_TOKENIZER_IMPL_H
#define SAE_MODELS_TOKENIZER_IMPL_H

#include "models/tokenizer.h"

enum { SAE_TOKEN_MAX_ID = (1 << 20) - 1 }; /* the largest vocabularies in use have 2^18 ids */

typedef struct sae_piece {
    const char *text; /* NULL: the id is not used */
    size_t len;
} sae_piece;

/* Text -> id: open addressing over the pieces. */
typedef struct sae_strings {
    int32_t *slot; /* [mask + 1] id or -1 */
    uint64_t mask;
} sae_strings;

/* (left id, right id) -> rank and id of the merged symbol: open addressing. */
typedef struct sae_pair {
    int32_t left, right; /* left < 0: free */
    int32_t rank, merged;
} sae_pair;
typedef struct sae_pairs {
    sae_pair *slot; /* [mask + 1] */
    uint64_t mask, count;
} sae_pairs;

/* Where encode puts ids; counts beyond cap. */
typedef struct sae_ids {
    int32_t *id;
    int64_t cap, count;
} sae_ids;

/* Symbols of one stretch of text and the queue of their pairs; grows, never shrinks. */
typedef struct sae_symbol {
    int32_t id; /* -1 when merged into its left neighbour */
    int64_t prev, next;
} sae_symbol;
typedef struct sae_queued {
    int32_t rank, left, right, merged;
    int64_t at; /* index of the left symbol */
} sae_queued;
typedef struct sae_merger {
    sae_symbol *sym;
    sae_queued *heap;
    int64_t cap, count, queued;
} sae_merger;

/* What decode does beyond writing the pieces one after the other. */
typedef struct sae_decoding {
    int dummy_prefix; /* llama2.c: BOS and EOS have no text, nor has the space behind BOS */
    int spaced;       /* a space between two pieces */
    int64_t strip;    /* up to so many bytes `stripped` are taken away in front */
    char stripped;
    char first_without[8]; /* the first token is written without this character; "": as it is */
} sae_decoding;

struct sae_tokenizer {
    int64_t vocab;
    int32_t bos, eos, unknown; /* ids, -1: none */
    int uses_merges;           /* made of two files */
    char hash[36];
    sae_piece *token; /* [vocab] as the model looks them up */
    char *token_text; /* their storage */
    sae_piece *piece; /* [vocab] as text; NULL: as they are looked up */
    char *piece_text;
    sae_decoding decoding;
    sae_strings strings; /* of token */
    sae_pairs pairs;
    void *scheme;
    int (*encode)(const sae_tokenizer *t, const char *text, size_t bytes, sae_ids *out,
                  sae_err *err);
    void (*release)(void *scheme);
};

/* Schemes: fill a zeroed tokenizer; the caller names the file in the error and closes. */
int sae_tokenizer_llama2c(sae_tokenizer *t, const sae_token_file *f, sae_err *err);
int sae_tokenizer_json(sae_tokenizer *t, const sae_token_file *f, sae_err *err);

/* tokenizer_merge.c */
/* Room for ids below vocab and text_bytes of their text. */
int sae_tokens_open(sae_tokenizer *t, int64_t vocab, size_t text_bytes, sae_err *err);
int sae_strings_open(sae_strings *s, int64_t entries, sae_err *err);
/* Returns the id that holds the text already, or id after adding it. */
int32_t sae_strings_add(sae_strings *s, const sae_piece *pieces, int32_t id);
int32_t sae_strings_find(const sae_strings *s, const sae_piece *pieces, const char *p, size_t len);
int sae_pairs_open(sae_pairs *p, int64_t expected, sae_err *err);
const sae_pair *sae_pairs_find(const sae_pairs *p, int32_t left, int32_t right); /* or NULL */
int sae_pairs_set(sae_pairs *p, const sae_pair *pair, sae_err *err); /* replaces; grows */

void sae_ids_put(sae_ids *out, int32_t id);
int sae_merger_reserve(sae_merger *m, int64_t symbols, sae_err *err); /* and empties it */
void sae_merger_add(sae_merger *m, int32_t id);
/* Merge what was added and append the result to out. */
void sae_merger_run(sae_merger *m, const sae_pairs *pairs, sae_ids *out);
void sae_merger_close(sae_merger *m);

/* Id of a token by its text as the file writes it, -1 when absent. */
int32_t sae_token_id(const sae_tokenizer *t, const char *text);

/* Bytes of the UTF-8 character at p, 0 if it is not valid. */
size_t sae_utf8_char(const char *p, size_t bytes);

#endif
