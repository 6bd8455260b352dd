/* sae/dataset.h - a seekable source of activation rows.
 *
 * Random access by row index, no iterator state: what fill() writes is a pure function of
 * (options, seed, split, row0). Shuffling is a keyed permutation (sae_permute).
 */
#ifndef SAE_DATASET_H
#define SAE_DATASET_H

#include "metric.h"
#include "rng.h"

enum { SAE_DATASET_ABI = 1 };

/* TRAIN rows are shuffled over the whole split; EVAL rows come in document order from documents
 * that TRAIN never shows. */
enum sae_split { SAE_SPLIT_TRAIN, SAE_SPLIT_EVAL };

/* The split that a document belongs to when `share` of them are held out; the rule of every source
 * with documents, so that captured and live activations of one text are dealt alike. */
static inline enum sae_split sae_split_of(uint64_t seed, uint64_t doc, double share)
{
    sae_u4 u = sae_philox(seed, SAE_STREAM_SPLIT, doc, 0);
    return sae_u01_wide(u.v[0], u.v[1]) < share ? SAE_SPLIT_EVAL : SAE_SPLIT_TRAIN;
}

enum { /* what a source can supply beside x */
    SAE_GIVES_TOKENS = 1 << 0,
    SAE_GIVES_GRAD = 1 << 1,
    SAE_GIVES_TRUTH = 1 << 2,
    SAE_GIVES_LM = 1 << 3, /* lm(): contexts for downstream metrics */
    SAE_GIVES_LABELS = 1 << 4,
    SAE_GIVES_TARGET = 1 << 5 /* rows to predict from x, of a width of their own */
};

/* Tokenised documents, one context each: BOS first, cut to the model's context. Host- or
 * source-owned. */
typedef struct sae_docs {
    sae_contexts c;
    const uint64_t *doc;  /* [c.N] number of the document in the source */
    int64_t labels;       /* 0: none */
    const int32_t *label; /* [rows x labels] class of each label, -1: does not apply */
    const double *nats;   /* [rows] exact -log p(token | prefix); NaN: unknown; NULL: all unknown */
} sae_docs;

/* One file of activations on disk, mapped; see suite/core/shards.h for the format. */
typedef struct sae_shard {
    int64_t rows;
    int dtype;             /* 0 f32, 1 f16, 2 bf16 */
    const void *acts;      /* [rows x d] */
    int grads_dtype;       /* as dtype */
    const void *grads;     /* [rows x d] d(sum of ce)/d(acts), raw; NULL in all shards: none */
    const int32_t *tokens; /* [rows] vocabulary ids */
    const uint64_t *doc;   /* [rows] */
    const uint32_t *pos;   /* [rows] */
} sae_shard;

typedef struct sae_shards {
    int64_t d, rows, count;
    const sae_shard *shard; /* [count] */
    char hash[36];          /* xxh128 over the shards' hashes, hexadecimal */
    char hook[64];
} sae_shards;

/* Services a dataset gets from the suite: it opens files only through them. */
typedef struct sae_host {
    uint32_t size;
    uint64_t seed; /* the dataset seed of the run */
    const sae_kernels *k; /* on host memory */
    sae_device *dev;
    /* A model directory or file and its tokenizer ("": the one beside the weights). */
    int (*lm_open)(const struct sae_host *host, const char *path, const char *tokenizer,
                   sae_lm **lm, sae_err *err);
    void (*lm_close)(sae_lm **lm);
    /* Documents of a UTF-8 text file; separator "" makes the file one document; limit 0: all. */
    int (*docs_open)(const sae_lm *lm, const char *path, const char *separator, int64_t limit,
                     sae_docs **docs, sae_err *err);
    void (*docs_close)(sae_docs **docs);
    int (*shards_open)(const char *dir, sae_shards **shards, sae_err *err);
    void (*shards_close)(sae_shards **shards);
    /* xxh128 of bytes as 32 hexadecimal digits, for sae_dataset.hash. */
    void (*hash)(const void *p, size_t bytes, char out[36]);
    /* body(arg, i) for every i in [0, n) on the threads of the process, in any order. */
    void (*parallel)(void (*body)(void *arg, int64_t i), void *arg, int64_t n);
    const struct sae_engine *engine; /* the host's own */
} sae_host;

/* Where fill() writes. A NULL member is not wanted; members a source cannot give stay untouched. */
typedef struct sae_fill {
    sae_real *x;     /* [B x d_in] raw activations */
    sae_real *y;     /* [B x d_out] raw targets; with SAE_GIVES_TARGET */
    sae_real *g;     /* [B x d_in] */
    sae_token *tok;  /* [B] */
    int32_t *label;  /* [B x labels], as labels() lists them */
} sae_fill;

/* The language model behind a source, for metrics that splice. */
typedef struct sae_lm_view {
    const sae_lm *lm;
    const char *hook;
    const char *target;           /* hook of the targets, behind `hook`; NULL: none */
    const sae_docs *docs;         /* EVAL documents; with labels if the source gives any */
    const unsigned char *exclude; /* [vocab] 1: rows with this id are not shown to SAEs */
} sae_lm_view;

typedef struct sae_source sae_source; /* opaque, owned by the dataset */

typedef struct sae_dataset {
    uint32_t abi, size; /* SAE_DATASET_ABI, sizeof(sae_dataset) */
    const char *name, *summary, *source, *licence;
    uint64_t gives;     /* SAE_GIVES_* */
    size_t opt_size;    /* >= 1 */
    const sae_option *options;
    int (*open)(sae_source **s, const void *opt, const sae_host *host, sae_dims *dim,
                sae_err *err); /* dim->d_out == dim->d_in unless it gives targets */
    int64_t (*rows)(const sae_source *s, enum sae_split split); /* -1: unbounded */
    /* Wraps to the next epoch at rows(). One call on a source at a time, not always by the same
     * thread. */
    int (*fill)(sae_source *s, enum sae_split split, uint64_t row0, int64_t B,
                const sae_fill *out, sae_err *err);
    void (*close)(sae_source **s); /* NULL-safe; sets *s to NULL */
    /* 32 hexadecimal digits that change whenever any row could change. */
    int (*hash)(const sae_source *s, char out[36]);
    /* optional */
    int (*truth)(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, sae_truth *t,
                 sae_err *err); /* t->dict is valid while the source is open, t->code until the
                                next call */
    int (*lm)(const sae_source *s, sae_lm_view *out);
    /* The labels of fill() and docs(); with SAE_GIVES_LABELS. Valid while the source is open. */
    int (*labels)(const sae_source *s, const sae_label **table, int64_t *count);
    /* Documents [doc0, doc0 + N) of a split: a pure function of (options, seed, split, number).
     * Arrays are valid until the next call. SAE_EINVAL beyond a bounded split's last document. */
    int (*docs)(sae_source *s, enum sae_split split, uint64_t doc0, int64_t N, sae_docs *out,
                sae_err *err);
    /* What an opened source gives: a subset of `gives` when options take something away. */
    uint64_t (*supplies)(const sae_source *s);
} sae_dataset;

/* SAE_GIVES_* of an opened source. */
static inline uint64_t sae_source_gives(const sae_dataset *ds, const sae_source *s)
{
    return ds->supplies ? ds->supplies(s) & ds->gives : ds->gives;
}

#endif
