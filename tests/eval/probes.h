/* tests/eval/probes.h - variants of the tests of evaluation: each outputs one of its inputs, or
 * zero. */
#ifndef SAE_TESTS_EVAL_PROBES_H
#define SAE_TESTS_EVAL_PROBES_H

#include <sae/variant.h>
#include <string.h>

static inline int probe_size(const void *opt, const sae_dims *dim, int64_t B, enum sae_mode mode,
                             sae_workspace *out)
{
    (void)opt, (void)dim, (void)mode;
    *out = (sae_workspace){.scratch = 1, .code_cap = B};
    return SAE_OK;
}

static inline int probe_start(sae_model *m, const sae_ctx *c, const sae_batch *b)
{
    (void)m, (void)c, (void)b;
    return SAE_OK;
}

/* Every row lists feature 0 with value 1; feature 1 only where x[0] is positive. */
static inline int probe_run(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t,
                            int copy)
{
    (void)c;
    int64_t d = m->dim.d_in, nnz = 0;
    for (int64_t r = 0; r < b->B; r++)
        nnz += 1 + (b->x[r * d] > 0);
    t->code.nnz = nnz;
    if (nnz > t->code.cap)
        return SAE_ECAPACITY;
    nnz = 0;
    for (int64_t r = 0; r < b->B; r++) {
        t->code.rowptr[r] = nnz;
        for (int32_t j = 0; j < 1 + (b->x[r * d] > 0); j++) {
            t->code.idx[nnz] = j;
            t->code.val[nnz++] = 1;
        }
    }
    t->code.rowptr[b->B] = nnz;
    for (int64_t i = 0; i < b->B * m->dim.d_out; i++)
        t->xhat[i] = copy ? b->x[i] : 0;
    return SAE_OK;
}

static inline int run_identity(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                               sae_tape *t)
{
    return probe_run(m, c, b, t, 1);
}
static inline int run_zero(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    return probe_run(m, c, b, t, 0);
}
/* Outputs its input if it sees no more than it declared: nothing. */
static inline int run_alone(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    return probe_run(m, c, b, t, !b->g && !b->tok && !c->lm);
}
/* Outputs the gradient it was given. */
static inline int run_gradient(const sae_model *m, const sae_ctx *c, const sae_batch *b,
                               sae_tape *t)
{
    int rc = probe_run(m, c, b, t, 0);
    memcpy(t->xhat, b->g, (size_t)(b->B * m->dim.d_in) * sizeof *b->g);
    return rc;
}
/* Outputs its target. */
static inline int run_target(const sae_model *m, const sae_ctx *c, const sae_batch *b, sae_tape *t)
{
    int rc = probe_run(m, c, b, t, 0);
    memcpy(t->xhat, b->y, (size_t)(b->B * m->dim.d_out) * sizeof *b->y);
    return rc;
}
static inline uint64_t target_needs(const void *opt, enum sae_mode mode)
{
    (void)opt, (void)mode;
    return SAE_NEED_TARGET;
}
static inline uint64_t gradient_needs(const void *opt, enum sae_mode mode)
{
    (void)opt, (void)mode;
    return SAE_NEED_GRAD;
}

static inline int probe_decode(const sae_model *m, const sae_ctx *c, const sae_code *z,
                               sae_mat xhat)
{
    (void)m, (void)c, (void)z, (void)xhat;
    return SAE_EINVAL;
}

static const sae_option no_options[] = {{0}};
static const sae_tensor_spec probe_tensor[] = {
    {"W_dec", SAE_STATE, SAE_REAL, 0, SAE_DIM_N, SAE_DIM_OUT}, {0}};
static const char *const probe_loss[] = {"mse", NULL};

#endif
