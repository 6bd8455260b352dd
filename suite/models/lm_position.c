/* suite/models/lm_position.c - normalised and rotated queries and keys. */
#include "models/lm_math.h"

/* Components i and rotary/2 + i of a head turn by angle i; sign -1 turns back. out may be x. */
SAE_LM_INLINE void turn(int64_t rotary, const sae_real *angles, sae_real sign, const sae_real *x,
                        sae_real *out)
{
    int64_t half = rotary / 2;
    const sae_real *co = angles, *si = angles + half;
    for (int64_t i = 0; i < half; i++) {
        sae_real a = x[i], b = x[half + i];
        out[i] = a * co[i] - sign * b * si[i];
        out[half + i] = b * co[i] + sign * a * si[i];
    }
}

SAE_LM_INLINE sae_real rms_factor(double eps, int64_t n, const sae_real *x)
{
    double q = 0; /* in this order: heads are short */
    for (int64_t i = 0; i < n; i++)
        q += (double)x[i] * (double)x[i];
    return (sae_real)(1.0 / sqrt(q / (double)n + eps));
}

SAE_LM_CLONES
static void turn_row(const sae_lm_heads *c, int64_t pos, const sae_real *in, sae_real *out)
{
    const sae_real *angles = c->rope + pos * c->rotary;
    for (int64_t h = 0; h < c->heads + 2 * c->kv_heads; h++) {
        const sae_real *x = in + h * c->head, *w = h < c->heads ? c->q_norm : c->k_norm;
        sae_real *o = out + h * c->head;
        if (o != x)
            memcpy(o, x, (size_t)c->head * sizeof *o);
        if (h >= c->heads + c->kv_heads)
            continue;
        if (w) {
            sae_real f = rms_factor(c->eps, c->head, o);
            for (int64_t i = 0; i < c->head; i++)
                o[i] = o[i] * f * w[i];
        }
        turn(c->rotary, angles, 1, o, o);
    }
}

/* Elements of a row of queries, keys and values. */
static int64_t width_of(const sae_lm_heads *h)
{
    return (h->heads + 2 * h->kv_heads) * h->head;
}

int sae_lm_host_position(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                         const sae_real *in, sae_real *out)
{
    int64_t ld = width_of(h);
    (void)dev;
    if (in == out && h->rotary == 0 && !h->q_norm && !h->k_norm)
        return SAE_OK;
#pragma omp parallel for schedule(static) if (sae_lm_many(g->rows, ld))
    for (int64_t r = 0; r < g->rows; r++)
        turn_row(h, g->pos[r], in + r * ld, out + r * ld);
    return SAE_OK;
}

/* d becomes the gradient of x; hat += d * x-hat. */
SAE_LM_INLINE void norm_head_back(const sae_lm_heads *c, const sae_real *w, const sae_real *x,
                                  sae_real *d, sae_real *hat)
{
    sae_real f = rms_factor(c->eps, c->head, x);
    double q = 0;
    for (int64_t i = 0; i < c->head; i++) {
        sae_real xh = x[i] * f;
        hat[i] += d[i] * xh;
        d[i] *= w[i];
        q += (double)d[i] * (double)xh;
    }
    sae_real along = (sae_real)(q / (double)c->head);
    for (int64_t i = 0; i < c->head; i++)
        d[i] = f * (d[i] - x[i] * f * along);
}

SAE_LM_CLONES
static void turn_row_back(const sae_lm_heads *c, int64_t pos, const sae_real *in, sae_real *d,
                          sae_real *hat_q, sae_real *hat_k)
{
    const sae_real *angles = c->rope + pos * c->rotary;
    for (int64_t h = 0; h < c->heads + c->kv_heads; h++) {
        const sae_real *w = h < c->heads ? c->q_norm : c->k_norm;
        turn(c->rotary, angles, -1, d + h * c->head, d + h * c->head);
        if (w)
            norm_head_back(c, w, in + h * c->head, d + h * c->head, h < c->heads ? hat_q : hat_k);
    }
}

/* Where row r of hat lies, all zeros now; NULL: there is no norm. */
static sae_real *hat_row(sae_real *hat, int64_t r, int64_t head, const sae_real *w)
{
    return w ? memset(hat + r * head, 0, (size_t)head * sizeof *hat) : NULL;
}

int sae_lm_host_position_back(sae_device *dev, const sae_lm_heads *h, const sae_lm_rows *g,
                              const sae_real *in, sae_real *d, sae_real *hat_q, sae_real *hat_k)
{
    int64_t ld = width_of(h);
    (void)dev;
    if (h->rotary == 0 && !h->q_norm && !h->k_norm)
        return SAE_OK;
#pragma omp parallel for schedule(static) if (sae_lm_many(g->rows, ld))
    for (int64_t r = 0; r < g->rows; r++)
        turn_row_back(h, g->pos[r], in + r * ld, d + r * ld, hat_row(hat_q, r, h->head, h->q_norm),
                      hat_row(hat_k, r, h->head, h->k_norm));
    return SAE_OK;
}
