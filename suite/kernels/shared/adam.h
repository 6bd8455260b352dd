/* suite/kernels/shared/adam.h - one Adam step of a number, in float. */
#ifndef SAE_KERNELS_ADAM_H
#define SAE_KERNELS_ADAM_H

#include <float.h>
#include <math.h>
#include <sae/kernels.h>

/* The step with its constants folded. */
typedef struct sae_adam_row {
    float grad_scale, beta1, beta2, rate1, rate2; /* rate = 1 - beta */
    float step;      /* lr / (1 - beta1^t) */
    float root;      /* 1 / sqrt(1 - beta2^t) */
    float eps, keep; /* keep = 1 - lr * weight_decay */
} sae_adam_row;

static inline sae_adam_row sae_adam_fold(const sae_adam *a)
{
    sae_adam_row s;
    s.grad_scale = (float)a->grad_scale;
    s.beta1 = (float)a->beta1;
    s.beta2 = (float)a->beta2;
    s.rate1 = (float)(1 - a->beta1);
    s.rate2 = (float)(1 - a->beta2);
    s.step = (float)(a->lr / (1 - pow(a->beta1, (double)a->t)));
    s.root = (float)(1 / sqrt(1 - pow(a->beta2, (double)a->t)));
    s.eps = (float)a->eps;
    s.keep = (float)(1 - a->lr * a->weight_decay);
    return s;
}

static inline SAE_HD void sae_adam_number(const sae_adam_row *s, float *w, float g, float *m,
                                          float *v)
{
    float grad = g * s->grad_scale;
    float mean = s->beta1 * *m + s->rate1 * grad;
    float square = s->beta2 * *v + s->rate2 * grad * grad;
    *w = s->keep * *w - s->step * (mean / (sqrtf(square) * s->root + s->eps));
    *m = fabsf(mean) < FLT_MIN ? 0 : mean;
    *v = square < FLT_MIN ? 0 : square;
}

#endif
