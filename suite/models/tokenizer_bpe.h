/* suite/models/tokenizer_bpe.h - byte-level BPE, as the JSON reader configures it. */
#ifndef SAE_MODELS_TOKENIZER_BPE_H
#define SAE_MODELS_TOKENIZER_BPE_H

#include "models/tokenizer_impl.h"

enum { SAE_BPE_STAGES = 8 };

/* Cuts a stretch of text at the matches of a pattern. */
typedef struct sae_bpe_stage {
    struct pcre2_real_code_8 *code;
    int keep_match, keep_gap; /* which of the two kinds of pieces go on */
} sae_bpe_stage;

typedef struct sae_bpe_added { /* a token that is cut out of the text before anything else */
    const char *text;
    size_t len;
    int32_t id;
} sae_bpe_added;

typedef struct sae_bpe_cuts { /* added tokens by first byte, longest first */
    sae_bpe_added *token;
    int64_t count;
    int64_t first[257]; /* those starting with byte b: [first[b], first[b + 1]) */
} sae_bpe_cuts;

typedef struct sae_bpe {
    sae_bpe_cuts cuts[2]; /* cut from the raw text; cut from the normalised text */
    int normalize;        /* options of utf8proc_map, 0: none */
    int prefix_space;     /* put a space in front of every stretch that has none */
    int ignore_merges;    /* a piece that is a token stays whole */
    sae_bpe_stage stage[SAE_BPE_STAGES];
    int stages;
    int32_t byte_id[256]; /* -1: no token */
} sae_bpe;

extern const char sae_bpe_gpt2_pattern[]; /* how GPT-2 cuts text */

int sae_bpe_open(sae_tokenizer *t, sae_bpe **bpe, sae_err *err); /* becomes t's scheme */
/* literal: the pattern is plain text. */
int sae_bpe_add_stage(sae_bpe *b, const char *pattern, int literal, int keep_match, int keep_gap,
                      sae_err *err);
void sae_bpe_index_cuts(sae_bpe_cuts *c); /* after the last token was put in */

#endif
