/* suite/models/lm_tape.h - the backward pass of a language model.
 *
 * A forward pass that records keeps the stream before every half and, while tape_bytes allow it,
 * what the halves computed; where they do not, a half is computed again when its turn comes. Either
 * way the gradients have the same bits. Groups follow each other in the order of the contexts and
 * every sum has a fixed order, so gradients do not depend on the number of threads.
 */
#ifndef SAE_MODELS_LM_TAPE_H
#define SAE_MODELS_LM_TAPE_H

#include "models/lm_model.h"

/* Rows of a group: as many as a tape can keep whole, within limits; on a device whole steps. */
int64_t sae_lm_tape_rows(const sae_lm_model *m);
/* Room for these contexts in groups of sae_lm_tape_rows, in the buffers of work too. */
int sae_lm_tape_reserve(sae_lm_model *m, const sae_contexts *c, sae_err *err);
void sae_lm_tape_close(sae_lm_model *m);

/* As sae_lm_halves from p to the end, recording. */
int sae_lm_tape_forward(sae_lm_model *m, const sae_lm_group *g, int64_t p, sae_real *x,
                        sae_err *err);
/* Head, losses and gradient: *dx [g->rows x d], owned by the tape, becomes d(sum of ce)/d(stream at
 * the end). grad, of the layout of the weights, receives the gradients of parameters on top of what
 * it holds; NULL: they are not computed. */
int sae_lm_tape_head(sae_lm_model *m, const sae_lm_group *g, const sae_real *x,
                     const sae_lm_out *out, sae_real *grad, sae_real **dx, sae_err *err);
/* dx of the end becomes dx of place p, from which the tape was recorded or later. */
int sae_lm_tape_back(sae_lm_model *m, const sae_lm_group *g, int64_t p, sae_real *dx,
                     sae_real *grad, sae_err *err);
/* dmid [g->rows x mid] from the gradient of what half p adds, for `pre` as in sae_lm_frame. */
int sae_lm_half_out_back(sae_lm_model *m, const sae_lm_group *g, int64_t p, const sae_real *mid,
                         const sae_real *pre, const sae_real *ddelta, sae_real *dmid,
                         sae_real *grad, sae_err *err);
/* A buffer [g->rows x d] of the tape for `pre` of a half that is not recorded. */
sae_real *sae_lm_tape_pre(const sae_lm_model *m);
/* A buffer [g->rows x mid] that is free once a tape has been gone over. */
sae_real *sae_lm_tape_dmid(const sae_lm_model *m);

/* Losses and gradients of whole contexts: ce [rows] as in sae_lm_out; grad [w.count], in the memory
 * of the model, += d(sum of ce)/d(parameters). */
int sae_lm_loss_grad(sae_lm_model *m, const sae_contexts *c, sae_real *grad, double *ce,
                     sae_err *err);

#endif
