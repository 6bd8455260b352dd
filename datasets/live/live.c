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

/* Tokens and labels of the shown rows of a context that lie in the block; without a model the
 * labels are the rows. */
static void keep_facts(live *v, int64_t turn)
{
    live_block *b = &v->b;
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
        if (!v->lm)
            one_hot(v, c.label + pos * v->labels, b->x + r * v->d);
        if (v->labels)
            memcpy(b->label + r * v->labels, c.label + pos * v->labels,
                   (size_t)v->labels * sizeof *b->label);
        b->tok[r] = (sae_token){c.doc, (uint32_t)pos, (uint32_t)id};
    }
}

/* Copy the shown rows of a pass over turns [first, first + N) that lie in the block: those of `all`
 * [rows x d] into `to` [buffer x d]. */
static void keep_rows(const live *v, int64_t first, int64_t N, const sae_real *all, int64_t d,
                      sae_real *to)
{
    const live_block *b = &v->b;
    for (int64_t i = 0; i < N; i++) {
        int64_t r = v->owner.at(v->owner.self, (enum sae_split)b->split, first + i) - b->first;
        for (int64_t k = v->start[i]; k < v->start[i + 1]; k++) {
            if (v->excluded[v->tok[k]])
                continue;
            if (r >= 0 && r < b->rows)
                memcpy(to + r * d, all + k * d, (size_t)d * sizeof *to);
            r++;
        }
    }
}

/* Everything the block wants of a pass that is halted at the hook. */
static int keep_pass(live *v, int64_t first, int64_t N, sae_lm_pass *pass, sae_real *grad,
                     sae_err *err)
{
    keep_rows(v, first, N, v->lm->acts(pass), v->d, v->b.x);
    if (grad) {
        SAE_TRY(v->lm->finish(pass, NULL, &(sae_lm_out){.grad = grad}, err));
        keep_rows(v, first, N, grad, v->d, v->b.g);
    }
    if (v->target[0]) {
        SAE_TRY(v->lm->advance(pass, v->target, err));
        keep_rows(v, first, N, v->lm->acts(pass), v->d_out, v->b.y);
    }
    return SAE_OK;
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
    if (rc >= 0)
        rc = keep_pass(v, first, N, pass, grad, err);
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
        end = pass_end(v, i, last);
        for (int64_t turn = i; turn < end; turn++)
            keep_facts(v, turn);
        if (v->lm)
            rc = run_pass(v, i, end, grad, err);
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
        for (int64_t j = 0; out->y && v->target[0] && j < v->d_out; j++)
            out->y[r * v->d_out + j] = (sae_real)b->y[i * v->d_out + j];
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

static int copy_name(char *to, size_t room, const char *name, const char *what, sae_err *err)
{
    if (strlen(name) >= room)
        return SAE_RECORD(err, SAE_EINVAL, "%s: expected fewer than %zu bytes", what, room);
    memcpy(to, name, strlen(name) + 1);
    return SAE_OK;
}

/* That the target lies behind the hook, which the model knows: go there with one token. */
static int check_order(live *v, sae_err *err)
{
    const sae_lm *m = v->lm;
    sae_lm_pass *pass = NULL;
    sae_contexts one = {1, (int64_t[]){0, 1}, (int32_t[]){m->bos < 0 ? 0 : m->bos}};
    int rc = m->begin(m->self, v->hook, &one, &pass, err);
    if (rc >= 0)
        rc = m->advance(pass, v->target, err);
    m->end(&pass);
    return rc;
}

int live_open_lm(live *v, const char *model, const char *tokenizer, const char *hook,
                 const char *target, sae_err *err)
{
    SAE_TRY(copy_name(v->hook, sizeof v->hook, hook, "hook", err));
    SAE_TRY(copy_name(v->target, sizeof v->target, target, "target", err));
    SAE_TRY(v->host.lm_open(&v->host, model, tokenizer, &v->lm, err));
    const sae_lm *m = v->lm;
    SAE_TRY(m->hook(m->self, v->hook, &v->d, err));
    v->d_out = v->d;
    if (!v->target[0])
        return SAE_OK;
    SAE_TRY(m->hook(m->self, v->target, &v->d_out, err));
    return check_order(v, err);
}

int live_open(live *v, sae_err *err)
{
    size_t buffer = (size_t)v->buffer, d = (size_t)v->d, longest = (size_t)v->longest;
    v->excluded = calloc((size_t)v->vocab, 1);
    v->start = calloc(longest + 1, sizeof *v->start);
    v->tok = calloc(longest + 1, sizeof *v->tok);
    v->b.x = calloc(buffer, d * sizeof *v->b.x);
    v->b.y = v->target[0] ? calloc(buffer, (size_t)v->d_out * sizeof *v->b.y) : NULL;
    v->b.tok = calloc(buffer, sizeof *v->b.tok);
    v->b.label = calloc(buffer, ((size_t)v->labels + 1) * sizeof *v->b.label);
    if (!v->excluded || !v->start || !v->tok || !v->b.x || (v->target[0] && !v->b.y) || !v->b.tok ||
        !v->b.label)
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
    free(v->b.y);
    free(v->b.g);
    free(v->b.tok);
    free(v->b.label);
}
