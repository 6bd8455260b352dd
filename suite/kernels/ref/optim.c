/* suite/kernels/ref/optim.c - projection, Adam, unit rows, random normals. */
#include "ref/ref.h"

#include <float.h>
#include <sae/rng.h>

#ifdef SAE_REAL_IS_DOUBLE
#define SMALLEST_NORMAL DBL_MIN
#else
#define SMALLEST_NORMAL FLT_MIN
#endif

SAE_DECL_project_rows(SAE_REF(project_rows))
{
    (void)dev;
    if (bad_mat(g) || (w.p && !has_shape(w, g.rows, g.cols)))
        return SAE_EINVAL;
    sae_pairwise total = {0};
    for (int64_t r = 0; r < g.rows; r++) {
        sae_real *gr = g.p + r * g.ld;
        const sae_real *wr = w.p ? row_of(w, r) : NULL;
        double ww = wr ? ref_dot(wr, wr, g.cols) : 0;
        if (ww > 0) {
            double c = ref_dot(wr, gr, g.cols) / ww;
            for (int64_t i = 0; i < g.cols; i++)
                gr[i] = (sae_real)((double)gr[i] - c * (double)wr[i]);
        }
        sae_pairwise_add(&total, ref_dot(gr, gr, g.cols));
    }
    *norm2 = sae_pairwise_total(&total);
    return SAE_OK;
}

static void scale_to_unit(sae_real *w, int64_t n)
{
    double norm = sqrt(ref_dot(w, w, n));
    if (norm > 0)
        for (int64_t i = 0; i < n; i++)
            w[i] = (sae_real)((double)w[i] / norm);
}

SAE_DECL_unit_rows(SAE_REF(unit_rows))
{
    (void)dev;
    if (bad_mat(w))
        return SAE_EINVAL;
    for (int64_t r = 0; r < w.rows; r++)
        scale_to_unit(w.p + r * w.ld, w.cols);
    return SAE_OK;
}

SAE_DECL_adam_step(SAE_REF(adam_step))
{
    (void)dev;
    if (bad_mat(w) || w.ld != w.cols || a->t < 1)
        return SAE_EINVAL;
    double fix1 = 1 - pow(a->beta1, (double)a->t), fix2 = 1 - pow(a->beta2, (double)a->t);
    for (int64_t r = 0; r < w.rows; r++) {
        for (int64_t i = r * w.cols; i < (r + 1) * w.cols; i++) {
            double gi = (double)g[i] * a->grad_scale;
            double mi = a->beta1 * (double)m[i] + (1 - a->beta1) * gi;
            double vi = a->beta2 * (double)v[i] + (1 - a->beta2) * gi * gi;
            double step = mi / fix1 / (sqrt(vi / fix2) + a->eps);
            double wi = (double)w.p[i];
            w.p[i] = (sae_real)(wi - a->lr * (step + a->weight_decay * wi));
            m[i] = fabs(mi) < (double)SMALLEST_NORMAL ? 0 : (sae_real)mi;
            v[i] = vi < (double)SMALLEST_NORMAL ? 0 : (sae_real)vi;
            g[i] = 0;
        }
        if (a->unit_rows)
            scale_to_unit(w.p + r * w.cols, w.cols);
    }
    return SAE_OK;
}

SAE_DECL_normal_fill(SAE_REF(normal_fill))
{
    (void)dev;
    if (bad_mat(out) || out.cols > UINT32_MAX)
        return SAE_EINVAL;
    double z[4] = {0};
    for (int64_t r = 0; r < out.rows; r++)
        for (int64_t i = 0; i < out.cols; i++) {
            if (i % 4 == 0)
                sae_normal4(seed, stream, row0 + (uint64_t)r, (uint32_t)(i / 4), z);
            out.p[r * out.ld + i] = (sae_real)z[i % 4];
        }
    return SAE_OK;
}
