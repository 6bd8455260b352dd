/* suite/models/lm_eval.c - scoring documents, clean and ablated. */
#include "models/lm_eval.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

#include <math.h>
#include <sae/groups.h>
#include <string.h>

/* Documents that share one pass: until they have this many rows, at least one. */
enum { BATCH_ROWS = 8192 };

int sae_lm_ablation_parse(sae_lm_ablation *a, const sae_lm *lm, const char *text, sae_err *err)
{
    const char *eq = strchr(text, '=');
    size_t len = eq ? (size_t)(eq - text) : 0;
    int64_t width;
    if (!eq || len >= sizeof a->hook || (strcmp(eq + 1, "zero") && strcmp(eq + 1, "mean")))
        SAE_FAIL(err, SAE_EINVAL, "ablation \"%.80s\": expected HOOK=zero or HOOK=mean", text);
    memcpy(a->hook, text, len);
    a->hook[len] = '\0';
    a->mean = strcmp(eq + 1, "mean") == 0;
    return lm->hook(lm->self, a->hook, &width, err);
}

typedef struct scorer {
    const sae_lm *lm;
    const sae_docs *docs;
    const char *hook;     /* of the ablation, or NULL */
    int64_t d, rows;      /* width of the hook, rows of the largest batch */
    int64_t *start;       /* [N + 1] of the batch, from 0 */
    sae_real *x;          /* [rows x d] replaced activations */
    double *ce, *sum;     /* [rows]; [d] column sums of the activations */
    int64_t summed;       /* rows in sum */
    sae_real *fill;       /* [d] what replaces, NULL: nothing */
    const sae_lm_by *by;
    double *block;        /* sums of all tokens, then of those of each class */
    sae_lm_score *out;
} scorer;

/* ---- sums over documents --------------------------------------------------------------------- */

enum { TOKENS, CE, SURPRISAL, SUMS, BLOCK = (SAE_GROUPS + 2) * SUMS };

SAE_RATIO(mean_ce, CE, TOKENS)
SAE_RATIO(mean_surprisal, SURPRISAL, TOKENS)

static double mean_gap(const double *sum, int64_t K)
{
    return mean_ce(sum, K) - mean_surprisal(sum, K);
}

static void add(double *block, uint64_t doc, double ce, double surprisal)
{
    double *sum = sae_groups_row(block, SUMS, doc);
    sum[TOKENS]++;
    sum[CE] += ce;
    sum[SURPRISAL] += surprisal;
}

static sae_lm_loss loss_of(double *block)
{
    const double *sum = sae_groups_total(block, SUMS);
    return (sae_lm_loss){.tokens = (int64_t)sum[TOKENS],
                         .ce = mean_ce(sum, SUMS),
                         .ce_se = sae_groups_se(block, SUMS, mean_ce),
                         .surprisal = mean_surprisal(sum, SUMS),
                         .gap = mean_gap(sum, SUMS),
                         .gap_se = sae_groups_se(block, SUMS, mean_gap)};
}

/* ---- passes ---------------------------------------------------------------------------------- */

/* The batch that begins with document i0; returns the document after its last. */
static int64_t batch_at(const scorer *s, int64_t i0, sae_contexts *c)
{
    const int64_t *start = s->docs->c.start;
    int64_t i = i0 + 1;
    while (i < s->docs->c.N && start[i + 1] - start[i0] <= BATCH_ROWS)
        i++;
    for (int64_t k = i0; s->start && k <= i; k++)
        s->start[k - i0] = start[k] - start[i0];
    *c = (sae_contexts){i - i0, s->start, s->docs->c.tok + start[i0]};
    return i;
}

/* Add the activations of positions >= 1 that predict a token to the column sums. */
static void add_columns(scorer *s, const sae_contexts *c, const sae_real *x)
{
    for (int64_t k = 0; k < c->N; k++)
        for (int64_t r = c->start[k] + 1; r + 1 < c->start[k + 1]; r++) {
            s->summed++;
            for (int64_t j = 0; j < s->d; j++)
                s->sum[j] += (double)x[r * s->d + j];
        }
}

/* s->x = x with positions >= 1 replaced. */
static void replace(scorer *s, const sae_contexts *c, const sae_real *x)
{
    size_t row = (size_t)s->d * sizeof *x;
    for (int64_t k = 0; k < c->N; k++)
        for (int64_t r = c->start[k]; r < c->start[k + 1]; r++)
            memcpy(s->x + r * s->d, r == c->start[k] ? x + r * s->d : s->fill, row);
}

/* Document i0 is the batch's first. */
static int score_batch(scorer *s, int64_t i0, const sae_contexts *c, sae_lm_pass *pass,
                       sae_err *err)
{
    const sae_docs *d = s->docs;
    sae_lm_out out = {.ce = s->ce};
    if (s->fill)
        replace(s, c, s->lm->acts(pass));
    SAE_TRY(s->lm->finish(pass, s->fill ? s->x : NULL, &out, err));
    for (int64_t k = 0; k < c->N; k++)
        for (int64_t r = c->start[k] + 1; r < c->start[k + 1]; r++) {
            int64_t at = d->c.start[i0] + r;
            double ce = s->ce[r - 1], nats = d->nats ? d->nats[at] : (double)NAN;
            int64_t class = s->by ? d->label[at * d->labels + s->by->label] : -1;
            if (!isfinite(ce))
                SAE_FAIL(err, SAE_ENONFINITE, "document %lld, position %lld: the cross-entropy is "
                         "%g: logits are not finite", (long long)(i0 + k),
                         (long long)(r - 1 - c->start[k]), ce);
            add(s->block, d->doc[i0 + k], ce, nats);
            if (class >= 0)
                add(s->block + (1 + class) * BLOCK, d->doc[i0 + k], ce, nats);
        }
    return SAE_OK;
}

/* One pass over the documents: column sums of the hook, or losses. */
static int sweep(scorer *s, int losses, sae_err *err)
{
    double t0 = sae_clock();
    for (int64_t i = 0; i < s->docs->c.N;) {
        sae_contexts c;
        sae_lm_pass *pass = NULL;
        int64_t i0 = i;
        if (sae_interrupted())
            SAE_FAIL(err, SAE_EINTR, "interrupted while scoring document %lld", (long long)i);
        i = batch_at(s, i, &c);
        SAE_TRY(s->lm->begin(s->lm->self, s->hook, &c, &pass, err));
        int rc = SAE_OK;
        if (losses)
            rc = score_batch(s, i0, &c, pass, err);
        else
            add_columns(s, &c, s->lm->acts(pass));
        s->lm->end(&pass);
        SAE_TRY(rc);
        s->out->rows += c.start[c.N];
    }
    s->out->seconds += sae_clock() - t0;
    return SAE_OK;
}

static int open_buffers(scorer *s, const sae_lm_ablation *a, sae_err *err)
{
    sae_contexts c;
    for (int64_t i = 0; i < s->docs->c.N;) {
        int64_t i0 = i;
        i = batch_at(s, i, &c);
        int64_t rows = s->docs->c.start[i] - s->docs->c.start[i0];
        s->rows = rows > s->rows ? rows : s->rows;
    }
    SAE_TRY(sae_new(&s->start, s->docs->c.N + 1, sizeof *s->start, "lm.eval", err));
    SAE_TRY(sae_new(&s->ce, s->rows, sizeof *s->ce, "lm.eval", err));
    SAE_TRY(sae_new(&s->block, (1 + (s->by ? s->by->classes : 0)) * BLOCK, sizeof *s->block,
                    "lm.eval", err));
    if (!a)
        return SAE_OK;
    SAE_TRY(sae_new(&s->x, s->rows * s->d, sizeof *s->x, "lm.eval", err));
    SAE_TRY(sae_new(&s->sum, s->d, sizeof *s->sum, "lm.eval", err));
    return sae_new(&s->fill, s->d, sizeof *s->fill, "lm.eval", err);
}

int sae_lm_score_docs(const sae_lm *lm, const sae_docs *docs, const sae_lm_ablation *a,
                      const sae_lm_by *by, sae_lm_score *out, sae_err *err)
{
    int rc = SAE_OK;
    scorer s = {.lm = lm, .docs = docs, .hook = a ? a->hook : NULL, .by = by, .out = out};
    *out = (sae_lm_score){0};
    if (a)
        SAE_GOTO(lm->hook(lm->self, s.hook, &s.d, err));
    SAE_GOTO(open_buffers(&s, a, err));
    if (a && a->mean) {
        SAE_GOTO(sweep(&s, 0, err));
        for (int64_t j = 0; j < s.d; j++)
            s.fill[j] = (float)(s.sum[j] / (double)(s.summed > 0 ? s.summed : 1));
    }
    SAE_GOTO(sweep(&s, 1, err));
    out->all = loss_of(s.block);
    if (out->all.tokens == 0)
        SAE_GOTO(SAE_SET(err, SAE_EINVAL, "no token to score: every document is shorter than two"));
    for (int64_t i = 0; by && i < by->classes; i++)
        by->part[i] = loss_of(s.block + (1 + i) * BLOCK);
fail:
    sae_free(s.start);
    sae_free(s.x);
    sae_free(s.ce);
    sae_free(s.sum);
    sae_free(s.fill);
    sae_free(s.block);
    return rc;
}
