/* suite/models/tokenizer_pipeline.h - how a tokenizer.json encodes.
 *
 * Added tokens are cut out of the text; what lies between is normalised; added tokens are cut out
 * of the normalised text; the pre-tokenizer cuts the rest into words; the model gives their ids.
 */
#ifndef SAE_MODELS_TOKENIZER_PIPELINE_H
#define SAE_MODELS_TOKENIZER_PIPELINE_H

#include "models/tokenizer_impl.h"
#include "models/tokenizer_text.h"

/* Texts by their bytes; the value is >= 0. (tokenizer_trie.c) */
typedef struct sae_trie {
    sae_pairs child; /* (node, byte) -> .merged: node, .rank: value or -1 */
    int32_t nodes;
} sae_trie;

int sae_trie_open(sae_trie *t, int64_t expected, sae_err *err);
/* The first value of a text stays. */
int sae_trie_add(sae_trie *t, const char *p, size_t len, int32_t value, sae_err *err);
/* The root is node 0; NULL: no text goes on with this byte. */
const sae_pair *sae_trie_step(const sae_trie *t, int32_t node, char byte);
void sae_trie_close(sae_trie *t);

typedef struct sae_added {
    int32_t id;
    int normalized;     /* found in the normalised text */
    int single_word;    /* only where no word character is beside it */
    int lstrip, rstrip; /* takes the spaces on that side along */
} sae_added;

typedef struct sae_encoding sae_encoding;

typedef struct sae_pipeline {
    sae_added *added;
    int64_t added_count;
    sae_trie cuts[2];    /* indices into added, by what is searched for: as written, normalised */
    char starts[2][256]; /* the bytes with which a cut begins */
    sae_rewrites normal;
    sae_steps steps;
    sae_piece_fn model; /* self: sae_encoding */
    /* BPE */
    int32_t char_id[0x800]; /* of the one- and two-byte characters, -1: no token */
    int fuse_unknown;       /* neighbouring unknown characters are one token */
    int ignore_merges;      /* a word that is a token stays whole */
    /* BPE and Unigram */
    int byte_fallback;
    int32_t byte_id[256]; /* of "<0x00>".., -1: no token */
    /* Unigram */
    sae_trie trie;
    double *score; /* [vocab] */
    double unknown_score;
} sae_pipeline;

typedef struct sae_best { /* the best path to a byte of a word */
    double score;
    int64_t from;   /* where its last token starts, -1: none yet */
    int32_t id;     /* of its last token */
    int32_t behind; /* id of the token that follows on the best path of the whole word */
} sae_best;

struct sae_encoding { /* one encoding in progress */
    const sae_tokenizer *t;
    const sae_pipeline *p;
    sae_ids *out;
    sae_scratch scratch;
    sae_text normal[2], step[SAE_TOKEN_STEPS];
    sae_merger merger;
    sae_best *best;
    int64_t best_cap;
};

int sae_pipeline_open(sae_tokenizer *t, sae_pipeline **p, sae_err *err); /* becomes t's scheme */
/* Search for the added token with this index of p->added, written so in the file. */
int sae_pipeline_cut(sae_pipeline *p, int64_t index, const sae_piece *token, const sae_scratch *w);

/* Models: append the ids of a word. */
int sae_bpe_word(void *encoding, const char *p, size_t len);
int sae_wordlevel_word(void *encoding, const char *p, size_t len);
int sae_unigram_word(void *encoding, const char *p, size_t len);
void sae_bpe_index(sae_tokenizer *t, sae_pipeline *p); /* fills char_id from t->strings */

/* SAE_EFORMAT: no token for these bytes. */
int sae_unknown_text(const sae_encoding *e, const char *p, size_t len);

#endif
