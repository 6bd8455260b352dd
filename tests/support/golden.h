/* tests/support/golden.h - cases of tests/golden/data/variants, set up on the reference backend.
 *
 * Used in float by tests/golden and in double by tests/grad. Failures end the test.
 */
#ifndef SAE_TESTS_GOLDEN_H
#define SAE_TESTS_GOLDEN_H

#include "core/model.h"
#include "core/spec.h"

#include <jansson.h>

typedef struct golden {
    json_t *root, *c; /* the file; one of its cases */
    sae_registry *reg;
    sae_engine e;
    sae_spec spec;
    sae_model model;
    sae_tape tape, eval; /* TRAIN, EVAL */
    sae_stats_store stats;
    sae_real *x, *y, *g; /* [B x d]; y, g: NULL where the case has none */
    sae_token *tok;          /* [B]; NULL likewise */
    sae_real *atoms;         /* the true dictionary, with `truth` */
    sae_truth truth;
    struct golden_base *base; /* a stand-in for the SAE that the case builds on */
    sae_batch batch;
    sae_ctx ctx; /* TRAIN, step 0 */
    sae_err err;
    char name[320]; /* the spec, for messages */
} golden;

int golden_count(void);
void golden_open(golden *g, int i);
void golden_close(golden *g);

/* Numbers of a JSON array into out[0..count). */
void golden_numbers(const json_t *array, double *out, int64_t count);

#endif
