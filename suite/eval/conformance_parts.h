/* suite/eval/conformance_parts.h - what the files of the conformance check share. */
#ifndef SAE_EVAL_CONFORMANCE_PARTS_H
#define SAE_EVAL_CONFORMANCE_PARTS_H

#include "eval/conformance.h"
#include "eval/snapshot.h"

/* One configuration under test. Clause functions return an enum sae_verdict, or a negative status
 * when the check itself broke. */
typedef struct sae_check {
    sae_probe p;
    const sae_conformance_to *to;
    const sae_opts *opts;
    uint64_t seed, caps;
    sae_clause r;
    int64_t failed;
    sae_err *err;
} sae_check;

/* Record the detail of a verdict and return it. */
int sae_say(sae_check *k, int verdict, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* A method of the variant answered with an error where the contract asks for success. */
int sae_check_refusal(sae_check *k, const char *method, int rc);
int sae_check_forward(sae_check *k, sae_tape *t);
int sae_check_backward(sae_check *k);

/* A code on the host. */
typedef struct sae_host_code {
    sae_snapshot ptr, idx, val;
    const int64_t *rowptr; /* [B + 1], sparse codes */
    const int32_t *j;
    const sae_real *v;
} sae_host_code;

int sae_check_code_get(sae_check *k, const sae_code *z, sae_host_code *h);
void sae_check_code_drop(sae_host_code *h);

int sae_c1_pure(sae_check *k);
int sae_c2_rows(sae_check *k);
int sae_c3_gradient(sae_check *k);
int sae_c4_writes(sae_check *k);
int sae_c5_growth(sae_check *k);
int sae_c6_needs(sae_check *k);
int sae_c7_random(sae_check *k);
int sae_c8_allocation(sae_check *k);
int sae_c9_codes(sae_check *k);
int sae_c10_decode(sae_check *k);
int sae_c11_losses(sae_check *k);
int sae_c12_rows(sae_check *k, enum sae_probe_rows what);
int sae_c13_adapt(sae_check *k);

#endif
