/* datasets/live/live.c - rows of token contexts, computed a block at a time on demand. */
#include "live/live.h"

#include <sae/fail.h>

#include <stdlib.h>
#include <string.h>

/* ---- one block ------------------------------------------------------------------------------- */

/* The labels of a token as a row: 1 in the column of each class that applies. */
static void one_hot(const live *v, const int32_t *label, sae_real *x)
{
    memset(x, 0, (size_t)v->d * sizeof *x);
    for (int64_t i = 0, column = 0; i < v->labels; column += v->table[i++].classes)
        if (label[i] >= 0)
            x[column + label[i]] = 1.0f;
}

/* Copy the shown rows of a context that lie in the block; acts and grad are its activations. */
static void keep_rows(live *v, int64_t turn, const sae_real *acts, const sae_real *grad)
{
    live_block *b = &v->b;
    size_t bytes = (size_t)v->d * sizeof(sae_real);
    enum sae_split split = (enum sae_split)b->split;
    int64_t at = v->owner.at(v->owner.self, split, turn);
    live_context c;
    v->owner.context(v->owner.self, split, turn, &c);
    for (int64_t pos = 0; pos < c.length; pos++) {
        int32_t id = c.tok[pos];
        if (v->excluded[id])
            continue;
        int64_t r = at++ - b->first;
        if (r < 0 || r >= b->rows)
            continue;
        if (acts)
            memcpy(b->x + r * v->d, acts + pos * v->d, bytes);
        else
            one_hot(v, c.label + pos * v->labels, b->x + r * v->d);
        if (grad)
            memcpy(b->g + r * v->d, grad + pos * v->d, bytes);
        if (v->labels)
            memcpy(b->label + r * v->labels, c.label + pos * v->labels,
                   (size_t)v->labels * sizeof *b->label);
        b->tok[r] = (sae_token){c.doc, (uint32_t)pos, (uint32_t)id};
    }
}

/* One forward pass over turns [first, last) of the order, and backward when grad is not NULL. */
static int run_pass(live *v, int64_t first, int64_t last, sae_real *grad, sae_err *err)
{
    enum sae_split split = (enum sae_split)v->b.split;
    sae_lm_pass *pass = NULL;
    int64_t N = last - first, used = 0;
    for (int64_t i = 0; i < N; i++) {
        live_context c;
        v->owner.context(v->owner.self, split, first + i, &c);
        v->start[i] = used;
        memcpy(v->tok + used, c.tok, (size_t)c.length * sizeof *v->tok);
        used += c.length;
    }
    v->start[N] = used;
    sae_contexts batch = {N, v->start, v->tok};
    int rc = v->lm->begin(v->lm->self, v->hook, &batch, &pass, err);
    if (rc >= 0 && grad)
        rc = v->lm->finish(pass, NULL, &(sae_lm_out){.grad = grad}, err);
    for (int64_t i = 0; rc >= 0 && i < N; i++)
        keep_rows(v, first + i, v->lm->acts(pass) + v->start[i] * v->d,
                  grad ? grad + v->start[i] * v->d : NULL);
    v->lm->end(&pass);
    return rc;
}

/* Turns from `first` on that fit in one pass; at least one. */
static int64_t pass_end(const live *v, int64_t first, int64_t last)
{
    int64_t tokens = 0, i = first;
    for (; i < last; i++) {
        tokens += v->owner.length(v->owner.self, (enum sae_split)v->b.split, i);
        if (i > first && tokens > v->batch)
            break;
    }
    return i;
}

static int compute_block(live *v, int want_grad, sae_err *err)
{
    live_block *b = &v->b;
    enum sae_split split = (enum sae_split)b->split;
    sae_real *grad = NULL;
    if (want_grad && !b->g)
        b->g = calloc((size_t)v->buffer, (size_t)v->d * sizeof *b->g);
    if (want_grad)
        grad = calloc((size_t)v->longest, (size_t)v->d * sizeof *grad);
    if (want_grad && (!b->g || !grad)) {
        free(grad);
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for gradients of %lld rows",
                          (long long)v->buffer);
    }
    int rc = SAE_OK;
    int64_t last = v->owner.turn(v->owner.self, split, b->first + b->rows - 1) + 1;
    for (int64_t i = v->owner.turn(v->owner.self, split, b->first), end; rc >= 0 && i < last;
         i = end) {
        end = v->lm ? pass_end(v, i, last) : i + 1;
        if (v->lm)
            rc = run_pass(v, i, end, grad, err);
        else
            keep_rows(v, i, NULL, NULL);
    }
    free(grad);
    b->valid = rc >= 0;
    b->has_grad = want_grad;
    return rc;
}

/* Make v->b the block that holds a row of an epoch of n rows. */
static int need_block(live *v, enum sae_split split, uint64_t epoch, int64_t row, int64_t n,
                      int want_grad, sae_err *err)
{
    live_block *b = &v->b;
    int64_t first = row / v->buffer * v->buffer, left = n - first;
    int same = b->valid && b->split == (int)split && b->first == first &&
               (b->epoch == epoch || split == SAE_SPLIT_EVAL);
    if (same && (b->has_grad || !want_grad))
        return SAE_OK;
    v->owner.arrange(v->owner.self, split, epoch);
    b->valid = 0;
    b->split = (int)split;
    b->epoch = epoch;
    b->first = first;
    b->rows = left < v->buffer ? left : v->buffer;
    return compute_block(v, want_grad, err);
}

/* ---- interface ------------------------------------------------------------------------------- */

int live_fill(live *v, enum sae_split split, uint64_t row0, int64_t B, const sae_fill *out,
              sae_err *err)
{
    int64_t bounded = v->owner.rows(v->owner.self, split);
    uint64_t n = bounded < 0 ? INT64_MAX : (uint64_t)bounded;
    const live_block *b = &v->b;
    for (int64_t r = 0; r < B; r++) {
        uint64_t epoch = (row0 + (uint64_t)r) / n;
        int64_t row = (int64_t)((row0 + (uint64_t)r) % n);
        SAE_TRY(need_block(v, split, epoch, row, (int64_t)n, out->g && v->lm, err));
        int64_t i = row - b->first;
        if (split == SAE_SPLIT_TRAIN) /* a key of its own for every block */
            i = (int64_t)sae_permute(v->host.seed + UINT64_C(0x9E3779B97F4A7C15) *
                                                          (uint64_t)(b->first / v->buffer + 1),
                                     epoch, (uint64_t)b->rows, (uint64_t)i);
        for (int64_t j = 0; out->x && j < v->d; j++)
            out->x[r * v->d + j] = (sae_real)b->x[i * v->d + j];
        for (int64_t j = 0; out->g && v->lm && j < v->d; j++)
            out->g[r * v->d + j] = (sae_real)b->g[i * v->d + j];
        if (out->tok)
            out->tok[r] = b->tok[i];
        if (out->label && v->labels)
            memcpy(out->label + r * v->labels, b->label + i * v->labels,
                   (size_t)v->labels * sizeof *b->label);
    }
    return SAE_OK;
}

int live_open_lm(live *v, const char *model, const char *tokenizer, const char *hook, sae_err *err)
{
    if (strlen(hook) >= sizeof v->hook)
        return SAE_RECORD(err, SAE_EINVAL, "hook: expected fewer than %zu bytes", sizeof v->hook);
    memcpy(v->hook, hook, strlen(hook) + 1);
    return v->host.lm_open(&v->host, model, tokenizer, &v->lm, err);
}

int live_open(live *v, sae_err *err)
{
    size_t buffer = (size_t)v->buffer, d = (size_t)v->d, longest = (size_t)v->longest;
    v->excluded = calloc((size_t)v->vocab, 1);
    v->start = calloc(longest + 1, sizeof *v->start);
    v->tok = calloc(longest + 1, sizeof *v->tok);
    v->b.x = calloc(buffer, d * sizeof *v->b.x);
    v->b.tok = calloc(buffer, sizeof *v->b.tok);
    v->b.label = calloc(buffer, ((size_t)v->labels + 1) * sizeof *v->b.label);
    if (!v->excluded || !v->start || !v->tok || !v->b.x || !v->b.tok || !v->b.label)
        return SAE_RECORD(err, SAE_ENOMEM, "out of memory for a buffer of %lld rows of width %lld",
                          (long long)v->buffer, (long long)v->d);
    return SAE_OK;
}

void live_close(live *v)
{
    v->host.lm_close(&v->lm);
    free(v->excluded);
    free(v->start);
    free(v->tok);
    free(v->b.x);
    free(v->b.g);
    free(v->b.tok);
    free(v->b.label);
}
