/* sae/mask.h - a binary mask over features that is learned by gradients, as the differential binary
 * mask of SAEBench 0.6's ravel: a logit m per feature, from 0; weights sigmoid(m / T) while T falls
 * from 1 to 1e-4 in equal ratios, one for each step of Adam; in the end the features with m > 0.
 */
#ifndef SAE_MASK_H
#define SAE_MASK_H

#include "base.h"
#include <math.h>

/* [n] each, one after another; all 0 at first. */
enum { SAE_MASK_LOGIT, SAE_MASK_MEAN, SAE_MASK_SQUARE, SAE_MASK_ARRAYS };

/* Of step 0 to steps - 1. */
static inline double sae_mask_temperature(int64_t step, int64_t steps)
{
    return steps > 1 ? pow(10, -4 * (double)step / (double)(steps - 1)) : 1;
}

/* The weights of a step, or (step == steps) those of the mask that was learned: 0 or 1. */
static inline void sae_mask_weights(const double *mask, int64_t n, int64_t step, int64_t steps,
                                    double *weight)
{
    double t = sae_mask_temperature(step, steps);
    for (int64_t j = 0; j < n; j++)
        weight[j] = step < steps ? 1 / (1 + exp(-mask[j] / t)) : mask[j] > 0;
}

/* A step of Adam with its usual constants. slope [n]: derivatives of the loss by the weights. */
static inline void sae_mask_step(double *mask, int64_t n, const double *slope, double rate,
                                 int64_t step, int64_t steps)
{
    double *mean = mask + SAE_MASK_MEAN * n, *square = mask + SAE_MASK_SQUARE * n;
    double t = sae_mask_temperature(step, steps);
    double c1 = 1 - pow(0.9, (double)step + 1), c2 = 1 - pow(0.999, (double)step + 1);
    for (int64_t j = 0; j < n; j++) {
        double weight = 1 / (1 + exp(-mask[j] / t)), g = slope[j] * weight * (1 - weight) / t;
        mean[j] += 0.1 * (g - mean[j]);
        square[j] += 0.001 * (g * g - square[j]);
        mask[j] -= rate * (mean[j] / c1) / (sqrt(square[j] / c2) + 1e-8);
    }
}

#endif
