/* datasets/shards.c - activations captured to disk; see shards.md.
 *
 * Documents are dealt to the splits by a hash of their number. Rows of a split are kept as runs of
 * consecutive rows of one shard, so that the index costs memory per document, not per row.
 */
#include <sae/dataset.h>
#include <sae/fail.h>
#include <sae/half.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNKS = 64 }; /* of a batch: the grain of parallel work */

typedef struct options {
    const char *dir, *target;
    double eval;
} options;

typedef struct run { /* rows [first, first + next.at - at) of a shard */
    int64_t at;      /* rows of the split before this run */
    int64_t shard, first;
} run;

typedef struct split_index {
    run *run;
    int64_t runs, cap, rows;
} split_index;

struct sae_source {
    sae_shards *shards, *target; /* of the same tokens; target may be NULL */
    void (*shards_close)(sae_shards **shards);
    void (*parallel)(void (*body)(void *arg, int64_t i), void *arg, int64_t n);
    uint64_t seed;
    double eval;
    split_index split[2];
    char hash[36];
};

/* ---- index ----------------------------------------------------------------------------------- */

static int add_run(split_index *x, int64_t shard, int64_t first, int64_t rows, sae_err *err)
{
    if (x->runs == x->cap) {
        int64_t cap = 2 * x->cap + 64;
        run *grown = realloc(x->run, (size_t)cap * sizeof *grown);
        if (!grown)
            return SAE_RECORD(err, SAE_ENOMEM, "out of memory for an index of %lld documents",
                              (long long)cap);
        x->run = grown;
        x->cap = cap;
    }
    x->run[x->runs++] = (run){x->rows, shard, first};
    x->rows += rows;
    return SAE_OK;
}

static int index_shard(sae_source *s, int64_t k, sae_err *err)
{
    const sae_shard *h = &s->shards->shard[k];
    for (int64_t first = 0, end; first < h->rows; first = end) {
        enum sae_split split = sae_split_of(s->seed, h->doc[first], s->eval);
        for (end = first + 1; end < h->rows; end++)
            if (h->doc[end] != h->doc[end - 1] &&
                sae_split_of(s->seed, h->doc[end], s->eval) != split)
                break;
        SAE_TRY(add_run(&s->split[split], k, first, end - first, err));
    }
    return SAE_OK;
}

static const run *find_run(const split_index *x, int64_t row)
{
    int64_t lo = 0, hi = x->runs;
    while (hi - lo > 1) { /* run[lo].at <= row < run[hi].at */
        int64_t mid = (lo + hi) / 2;
        if (x->run[mid].at <= row)
            lo = mid;
        else
            hi = mid;
    }
    return &x->run[lo];
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void copy_row(const void *from, int dtype, int64_t row, int64_t d, sae_real *out)
{
    const float *f = (const float *)from + row * d;
    const uint16_t *w = (const uint16_t *)from + row * d;
    for (int64_t j = 0; dtype == 0 && j < d; j++)
        out[j] = (sae_real)f[j];
    for (int64_t j = 0; dtype == 1 && j < d; j++)
        out[j] = (sae_real)sae_f16_float(w[j]);
    for (int64_t j = 0; dtype == 2 && j < d; j++)
        out[j] = (sae_real)sae_bf16_float(w[j]);
}

typedef struct job { /* one call of fill */
    const sae_source *s;
    enum sae_split split;
    uint64_t row0;
    int64_t B;
    const sae_fill *out;
} job;

static void fill_chunk(void *arg, int64_t c)
{
    const job *q = arg;
    const sae_source *s = q->s;
    const split_index *x = &s->split[q->split];
    const int64_t d = s->shards->d;
    for (int64_t r = q->B * c / CHUNKS; r < q->B * (c + 1) / CHUNKS; r++) {
        uint64_t n = (uint64_t)x->rows, at = q->row0 + (uint64_t)r, row = at % n;
        if (q->split == SAE_SPLIT_TRAIN)
            row = sae_permute(s->seed, at / n, n, row);
        const run *u = find_run(x, (int64_t)row);
        const sae_shard *h = &s->shards->shard[u->shard];
        int64_t i = u->first + (int64_t)row - u->at;
        if (q->out->x)
            copy_row(h->acts, h->dtype, i, d, q->out->x + r * d);
        if (q->out->y && s->target)
            copy_row(s->target->shard[u->shard].acts, s->target->shard[u->shard].dtype, i,
                     s->target->d, q->out->y + r * s->target->d);
        if (q->out->g && h->grads)
            copy_row(h->grads, h->grads_dtype, i, d, q->out->g + r * d);
        if (q->out->tok)
            q->out->tok[r] = (sae_token){h->doc[i], h->pos[i], (uint32_t)h->tokens[i]};
    }
}

static int fill(sae_source *s, enum sae_split split, uint64_t row0, int64_t B, const sae_fill *out,
                sae_err *err)
{
    if (s->split[split].rows == 0)
        return SAE_RECORD(err, SAE_EINVAL, "no document for %s: change eval (now %g) or the seed",
                          split == SAE_SPLIT_EVAL ? "evaluation" : "training", s->eval);
    job q = {s, split, row0, B, out};
    s->parallel(fill_chunk, &q, CHUNKS);
    return SAE_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void close_source(sae_source **source)
{
    sae_source *s = *source;
    if (!s)
        return;
    s->shards_close(&s->shards);
    s->shards_close(&s->target);
    free(s->split[0].run);
    free(s->split[1].run);
    free(s);
    *source = NULL;
}

/* Row i of a target stands beside row i of x: both are of one token, shard by shard. */
static int check_target(const sae_shards *x, const sae_shards *y, const char *dir, sae_err *err)
{
    if (x->count != y->count)
        return SAE_RECORD(err, SAE_EINVAL, "target %s: expected %lld shards of the same tokens, "
                          "found %lld", dir, (long long)x->count, (long long)y->count);
    for (int64_t k = 0; k < x->count; k++) {
        const sae_shard *a = &x->shard[k], *b = &y->shard[k];
        size_t rows = (size_t)a->rows;
        if (a->rows != b->rows || memcmp(a->doc, b->doc, rows * sizeof *a->doc) ||
            memcmp(a->pos, b->pos, rows * sizeof *a->pos) ||
            memcmp(a->tokens, b->tokens, rows * sizeof *a->tokens))
            return SAE_RECORD(err, SAE_EINVAL, "target %s: its shard %lld is of other tokens; "
                              "capture both from one text with the same options", dir,
                              (long long)k);
    }
    return SAE_OK;
}

static int open_source(sae_source **source, const void *opt, const sae_host *host, sae_dims *dim,
                       sae_err *err)
{
    const options *o = opt;
    *source = NULL;
    sae_source *s = calloc(1, sizeof *s);
    if (!s)
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory");
    s->seed = host->seed;
    s->eval = o->eval;
    s->shards_close = host->shards_close;
    s->parallel = host->parallel;
    int rc = host->shards_open(o->dir, &s->shards, err);
    for (int64_t k = 0; rc >= 0 && k < s->shards->count; k++)
        rc = index_shard(s, k, err);
    if (rc >= 0 && o->target[0])
        rc = host->shards_open(o->target, &s->target, err);
    if (rc >= 0 && s->target)
        rc = check_target(s->shards, s->target, o->target, err);
    if (rc < 0) {
        close_source(&s);
        return rc;
    }
    char text[240];
    int len = snprintf(text, sizeof text, "shards 1 seed %llu eval %a rows %s",
                       (unsigned long long)s->seed, s->eval, s->shards->hash);
    if (s->target)
        len += snprintf(text + len, sizeof text - (size_t)len, " target %s", s->target->hash);
    host->hash(text, (size_t)len, s->hash);
    *dim = (sae_dims){.d_in = s->shards->d, .d_out = s->target ? s->target->d : s->shards->d};
    *source = s;
    return SAE_OK;
}

static int64_t rows(const sae_source *s, enum sae_split split)
{
    return s->split[split].rows;
}

static int hash(const sae_source *s, char out[36])
{
    memcpy(out, s->hash, sizeof s->hash);
    return SAE_OK;
}

static uint64_t supplies(const sae_source *s)
{
    int grads = s->shards->count > 0 && s->shards->shard[0].grads; /* all shards or none */
    return SAE_GIVES_TOKENS | (grads ? SAE_GIVES_GRAD : 0) |
           (s->target ? SAE_GIVES_TARGET : 0);
}

static const sae_option table[] = {
    {"dir", SAE_OPT_STR, 0, offsetof(options, dir), 0, 0, 0, NULL, NULL, "path",
     "directory written by saemark capture"},
    {"target", SAE_OPT_STR, 0, offsetof(options, target), 0, 0, 0, NULL, "", "path",
     "directory with the targets, captured from the same tokens; empty: no targets"},
    {"eval", SAE_OPT_REAL, 0, offsetof(options, eval), 0.1, 0, 1, NULL, NULL, "1",
     "share of the documents held out for evaluation"},
    {0},
};

const sae_dataset sae_dataset_shards = {
    .abi = SAE_DATASET_ABI,
    .size = sizeof(sae_dataset),
    .name = "shards",
    .summary = "activations captured to disk",
    .source = "datasets/shards.md",
    .licence = "that of the captured model and text",
    .gives = SAE_GIVES_TOKENS | SAE_GIVES_GRAD | SAE_GIVES_TARGET,
    .opt_size = sizeof(options),
    .options = table,
    .open = open_source,
    .rows = rows,
    .fill = fill,
    .close = close_source,
    .hash = hash,
    .supplies = supplies,
};
