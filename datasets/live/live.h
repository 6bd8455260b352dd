/* datasets/live/live.h - rows of token contexts, computed a block at a time on demand.
 *
 * An epoch of a split is its contexts in some order, their shown rows one after another, cut into
 * blocks of `buffer` rows; the rows of a TRAIN block are permuted. A block is computed as a whole
 * and kept until another is needed: the cache changes the time a row takes, never its value.
 */
#ifndef SAE_LIVE_LIVE_H
#define SAE_LIVE_LIVE_H

#include <sae/dataset.h>

typedef struct live_context {
    const int32_t *tok;   /* [length] */
    const int32_t *label; /* [length x labels] or NULL */
    int64_t length;
    uint64_t doc;
} live_context;

/* Who knows the contexts. A turn is a place in the order of an epoch. */
typedef struct live_owner {
    void *self;
    int64_t (*rows)(const void *self, enum sae_split split); /* of an epoch; -1: it never ends */
    void (*arrange)(void *self, enum sae_split split, uint64_t epoch); /* before the others */
    int64_t (*turn)(const void *self, enum sae_split split, int64_t row); /* that holds the row */
    int64_t (*at)(const void *self, enum sae_split split, int64_t turn);  /* its first row */
    int64_t (*length)(const void *self, enum sae_split split, int64_t turn);
    /* Valid until the next call. */
    void (*context)(void *self, enum sae_split split, int64_t turn, live_context *out);
} live_owner;

typedef struct live_block { /* rows [first, first + rows) of an epoch of a split, in stream order */
    int split, valid, has_grad;
    uint64_t epoch;
    int64_t first, rows;
    sae_real *x, *g;    /* [buffer x d]; g is made when first asked for */
    sae_real *y;        /* [buffer x d_out] with a target */
    sae_token *tok;  /* [buffer] */
    int32_t *label;  /* [buffer x labels] */
} live_block;

/* Set by the source before live_open: all but excluded, b, start and tok. */
typedef struct live {
    live_owner owner;
    sae_host host;         /* a copy */
    sae_lm *lm;            /* owned; NULL: a row is its labels, one column per class */
    char hook[64], target[64]; /* target "": none */
    int64_t d, d_out;      /* widths of rows and targets */
    int64_t buffer;        /* rows of a block */
    int64_t batch;         /* tokens of a forward pass, if more than one context */
    int64_t longest;       /* tokens of the longest pass */
    int64_t vocab;
    const sae_label *table; /* [labels] */
    int64_t labels;
    unsigned char *excluded; /* [vocab] 1: rows with this id are not shown; zeros at first */
    live_block b;
    int64_t *start;        /* [longest + 1] contexts of a pass */
    int32_t *tok;          /* [longest] */
} live;

/* Sets lm, hook, target and their widths; needs host. */
int live_open_lm(live *v, const char *model, const char *tokenizer, const char *hook,
                 const char *target, sae_err *err);
/* Option `target` in words. */
#define LIVE_TARGET_HELP "hook of the targets, behind `hook`; empty: no targets"
/* Memory for the block, a pass and excluded; live_close also after a failure. */
int live_open(live *v, sae_err *err);
void live_close(live *v);
/* As sae_dataset.fill; the split has rows. */
int live_fill(live *v, enum sae_split split, uint64_t row0, int64_t B, const sae_fill *out,
              sae_err *err);

#endif
