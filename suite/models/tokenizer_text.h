/* suite/models/tokenizer_text.h - patterns, rewriting text, and cutting it, step by step.
 *
 * A rewrite makes a new text of a text (normalizers, decoders of single tokens); a cut gives the
 * pieces of a text. The pre-tokenizer is a chain of both.
 */
#ifndef SAE_MODELS_TOKENIZER_TEXT_H
#define SAE_MODELS_TOKENIZER_TEXT_H

#include "core/text.h"

#include <sae/base.h>

/* ---- patterns (tokenizer_pattern.c) ---------------------------------------------------------- */

typedef struct sae_pattern {
    struct pcre2_real_code_8 *code; /* NULL: plain text */
    char *plain;
    size_t bytes;
} sae_pattern;

/* One search through a text; starts as {.last = SIZE_MAX}. */
typedef struct sae_search {
    size_t from, last; /* where to look next; end of the last match */
    size_t start, end; /* the match */
} sae_search;

/* What rewriting and searching need. */
typedef struct sae_scratch {
    struct pcre2_real_match_data_8 *match;
    sae_err *err;
} sae_scratch;

/* `where` names the JSON key. Regular expressions are in Oniguruma's Ruby syntax, as the files have
 * them; what means something else in PCRE2 is translated or refused. */
int sae_pattern_open(sae_pattern *p, const char *text, int plain, const char *where, sae_err *err);
void sae_pattern_close(sae_pattern *p);
/* 1: found, 0: no further match, < 0: error. An empty match right behind a match is passed over. */
int sae_pattern_next(const sae_pattern *p, const char *text, size_t len, sae_search *s,
                     const sae_scratch *w);
int sae_scratch_open(sae_scratch *w, sae_err *err);
void sae_scratch_close(sae_scratch *w);

/* ---- rewriting (tokenizer_rewrite.c, tokenizer_charsmap.c) ----------------------------------- */

enum { SAE_TOKEN_STEPS = 16 };

typedef struct sae_rewrite sae_rewrite;
/* Append the new form of a text to out; first: the text is the beginning of the input. */
typedef int sae_rewrite_fn(const sae_rewrite *r, const char *p, size_t len, int first,
                           sae_text *out, const sae_scratch *w);
struct sae_rewrite {
    sae_rewrite_fn *apply;
    sae_pattern pattern; /* replace */
    char *content;       /* replace, prefix: what is put in; charsmap: the decoded table */
    size_t bytes;
    int options; /* form: of utf8proc_map; strip: SAE_STRIP_*; prefix: SAE_PREFIX_* */
};

typedef struct sae_rewrites {
    sae_rewrite step[SAE_TOKEN_STEPS];
    int count;
} sae_rewrites;

enum { SAE_STRIP_LEFT = 1, SAE_STRIP_RIGHT = 2 };
/* Put the content in front: of a text that does not start with it; of the first text only. */
enum { SAE_PREFIX_MISSING = 1, SAE_PREFIX_FIRST = 2 };

extern sae_rewrite_fn sae_rewrite_replace, sae_rewrite_prefix, sae_rewrite_form,
    sae_rewrite_lowercase, sae_rewrite_strip, sae_rewrite_strip_accents, sae_rewrite_charsmap;
/* Bytes as the characters that GPT-2 writes them with, and back; a text that is not written so
 * stays as it is. */
extern sae_rewrite_fn sae_rewrite_bytes, sae_rewrite_unbytes;
extern sae_rewrite_fn sae_rewrite_byte_token; /* "<0x0A>" becomes the byte */

/* Bytes of white space at the beginning and at the end. */
size_t sae_spaces_in_front(const char *p, size_t len);
size_t sae_spaces_behind(const char *p, size_t len);
/* base64 of a precompiled character map into r->content; SAE_EFORMAT when it is malformed. */
int sae_charsmap_open(sae_rewrite *r, const char *base64, size_t len, sae_err *err);

/* Every step in turn; *p and *len become the result, which lives in p's memory or in buf. */
int sae_rewrites_run(const sae_rewrites *r, const char **p, size_t *len, int first, sae_text buf[2],
                     const sae_scratch *w);
void sae_rewrite_close(sae_rewrite *r);
void sae_rewrites_close(sae_rewrites *r);

/* ---- cutting (tokenizer_split.c) ------------------------------------------------------------- */

enum sae_split_behavior {
    SAE_SPLIT_ISOLATED, /* matches and what lies between them are pieces */
    SAE_SPLIT_REMOVED,  /* matches are dropped */
    SAE_SPLIT_PREVIOUS, /* a match belongs to the piece in front */
    SAE_SPLIT_NEXT,     /* a match belongs to the piece behind */
    SAE_SPLIT_JOINED    /* neighbouring matches are one piece */
};

typedef struct sae_step { /* of the pre-tokenizer */
    sae_rewrite rewrite;  /* .apply NULL: a cut */
    sae_pattern pattern;
    enum sae_split_behavior behavior;
    int invert; /* matches and gaps change places */
} sae_step;

typedef struct sae_steps {
    sae_step step[SAE_TOKEN_STEPS];
    int count;
} sae_steps;

/* Receives a piece; returns a status. */
typedef int (*sae_piece_fn)(void *self, const char *p, size_t len);

/* Run all steps on a text; the pieces that remain go to fn. buf: one per step. */
int sae_steps_run(const sae_steps *s, const char *p, size_t len, int first, sae_text *buf,
                  const sae_scratch *w, sae_piece_fn fn, void *self);
void sae_steps_close(sae_steps *s);

#endif
