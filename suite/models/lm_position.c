/* suite/models/lm_position.c - normalised and rotated queries and keys. */
#include "models/lm_math.h"

typedef struct turner {
    const sae_lm_config *c;
    const sae_real *rope;     /* [longest x rotary] */
    const sae_real *norm[2];  /* weights of query and key heads, NULL: none */
} turner;

static turner turner_of(const sae_lm_model *m, int64_t layer)
{
    const sae_lm_half *h = &m->w.half[2 * layer];
    return (turner){&m->cfg, m->work.rope[sae_lm_is_local(&m->cfg, layer)],
                    {h->q_norm, h->k_norm}};
}

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
static void turn_row(const turner *t, int64_t pos, const sae_real *in, sae_real *out)
{
    const sae_lm_config *c = t->c;
    const sae_real *angles = t->rope + pos * c->rotary;
    for (int64_t h = 0; h < c->heads + 2 * c->kv_heads; h++) {
        const sae_real *x = in + h * c->head;
        sae_real *o = out + h * c->head;
        if (o != x)
            memcpy(o, x, (size_t)c->head * sizeof *o);
        if (h >= c->heads + c->kv_heads)
            continue;
        const sae_real *w = t->norm[h >= c->heads];
        if (w) {
            sae_real f = rms_factor(c->eps, c->head, o);
            for (int64_t i = 0; i < c->head; i++)
                o[i] = o[i] * f * w[i];
        }
        turn(c->rotary, angles, 1, o, o);
    }
}

void sae_lm_position(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                     const sae_real *in, sae_real *out)
{
    turner t = turner_of(m, layer);
    int64_t ld = sae_lm_qkv_width(&m->cfg);
    if (in == out && m->cfg.rotary == 0 && !m->cfg.qk_norm)
        return;
#pragma omp parallel for schedule(static) if (sae_lm_many(g->rows, ld))
    for (int64_t r = 0; r < g->rows; r++)
        turn_row(&t, m->work.pos[r], in + r * ld, out + r * ld);
}

/* d becomes the gradient of x; hat += d * x-hat. */
SAE_LM_INLINE void norm_head_back(const sae_lm_config *c, const sae_real *w, const sae_real *x,
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
static void turn_row_back(const turner *t, int64_t pos, const sae_real *in, sae_real *d,
                          sae_real *hat[2])
{
    const sae_lm_config *c = t->c;
    const sae_real *angles = t->rope + pos * c->rotary;
    for (int64_t h = 0; h < c->heads + c->kv_heads; h++) {
        int key = h >= c->heads;
        turn(c->rotary, angles, -1, d + h * c->head, d + h * c->head);
        if (t->norm[key])
            norm_head_back(c, t->norm[key], in + h * c->head, d + h * c->head, hat[key]);
    }
}

void sae_lm_position_back(const sae_lm_model *m, const sae_lm_group *g, int64_t layer,
                          const sae_real *in, sae_real *d, sae_real *hat_q, sae_real *hat_k)
{
    turner t = turner_of(m, layer);
    int64_t ld = sae_lm_qkv_width(&m->cfg), head = m->cfg.head;
    size_t bytes = (size_t)(g->rows * head) * sizeof *d;
    if (m->cfg.rotary == 0 && !m->cfg.qk_norm)
        return;
    if (m->cfg.qk_norm) {
        memset(hat_q, 0, bytes);
        memset(hat_k, 0, bytes);
    }
#pragma omp parallel for schedule(static) if (sae_lm_many(g->rows, ld))
    for (int64_t r = 0; r < g->rows; r++) {
        sae_real *hat[2] = {m->cfg.qk_norm ? hat_q + r * head : NULL,
                            m->cfg.qk_norm ? hat_k + r * head : NULL};
        turn_row_back(&t, m->work.pos[r], in + r * ld, d + r * ld, hat);
    }
}
