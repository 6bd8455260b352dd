/* tests/support/head_lm.h - a language model whose logits at a row are head x, without attention:
 * what a metric's own passes (sae_insert) come to can be computed by hand. */
#ifndef SAE_TESTS_HEAD_LM_H
#define SAE_TESTS_HEAD_LM_H

#include <math.h>
#include <sae/metric.h>

enum { HEAD_VOCAB = 16 }; /* most tokens */

typedef struct head_lm {
    int64_t d, vocab;
    const sae_real *head; /* [vocab x d] */
} head_lm;

/* Rows of a batch; every one predicts a token. */
typedef struct head_pass {
    head_lm lm;
    int64_t B;
    const sae_real *x;   /* [B x d] */
    const int32_t *next; /* [B] */
} head_pass;

static inline void head_logprob(const head_lm *m, const sae_real *x, double *out)
{
    double sum = 0;
    for (int64_t v = 0; v < m->vocab; v++) {
        out[v] = 0;
        for (int64_t i = 0; i < m->d; i++)
            out[v] += (double)m->head[v * m->d + i] * (double)x[i];
        sum += exp(out[v]);
    }
    for (int64_t v = 0; v < m->vocab; v++)
        out[v] -= log(sum);
}

/* sae_insert.run; self: the head_pass. */
static inline int head_insert(void *self, const sae_real *rows, const sae_insert_out *out)
{
    const head_pass *s = self;
    const head_lm *m = &s->lm;
    for (int64_t r = 0; r < s->B; r++) {
        double p[HEAD_VOCAB], clean[HEAD_VOCAB], kl = 0;
        int32_t token = out->expect ? out->expect[r] : s->next[r];
        head_logprob(m, rows + r * m->d, p);
        head_logprob(m, s->x + r * m->d, clean);
        for (int64_t v = 0; v < m->vocab; v++)
            kl += exp(clean[v]) * (clean[v] - p[v]);
        if (out->ce)
            out->ce[r] = token < 0 ? (double)NAN : -p[token];
        if (out->kl)
            out->kl[r] = kl;
        for (int64_t v = 0; out->logprob && v < m->vocab; v++)
            out->logprob[r * m->vocab + v] = (sae_real)p[v];
        for (int64_t i = 0; out->grad && i < m->d; i++) {
            double g = token < 0 ? 0 : -(double)m->head[token * m->d + i];
            for (int64_t v = 0; v < m->vocab && token >= 0; v++)
                g += exp(p[v]) * (double)m->head[v * m->d + i];
            out->grad[r * m->d + i] = (sae_real)g;
        }
    }
    return SAE_OK;
}

#endif
