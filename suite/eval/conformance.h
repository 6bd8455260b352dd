/* suite/eval/conformance.h - the contract of variants (C1-C13, suite/README.md), checked on any
 * one.
 *
 * Driven by the descriptor only: its options, needs and caps. In-tree variants pass through
 * tests/prop/contract.c, plug-ins through `saemark check FILE.so`. Runs on small shapes; a few
 * seconds per variant on the reference backend.
 */
#ifndef SAE_EVAL_CONFORMANCE_H
#define SAE_EVAL_CONFORMANCE_H

#include "core/probe.h"

enum sae_verdict { SAE_VERDICT_PASS, SAE_VERDICT_FAIL, SAE_VERDICT_SKIP };

typedef struct sae_clause { /* the outcome of one clause on one configuration */
    const char *variant;
    const char *options; /* "key=value", "" for the defaults */
    const char *id;      /* "C1" ... "C13" */
    const char *what;    /* the clause in a few words */
    sae_probe_shape shape;
    enum sae_verdict verdict;
    char detail[240]; /* what was expected and found, or why it was skipped */
} sae_clause;

typedef struct sae_conformance_to {
    void (*on_clause)(void *arg, const sae_clause *clause);
    void *arg;
    /* Allocations of the process so far, for C8; NULL: sae_alloc_calls, which counts the
     * suite's. */
    uint64_t (*alloc_calls)(void);
} sae_conformance_to;

/* v is an admitted descriptor (registry.h). *failed = clauses with SAE_VERDICT_FAIL. A negative
 * status means that checking itself failed (memory, backend), not that v did. */
int sae_conformance(const sae_variant *v, const sae_engine *e, const sae_conformance_to *to,
                    int64_t *failed, sae_err *err);

#endif
