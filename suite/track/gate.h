/* suite/track/gate.h - is one build slower than another? Pairs of processes, interleaved at
 * random. */
#ifndef SAE_TRACK_GATE_H
#define SAE_TRACK_GATE_H

#include "track/readings.h"
#include "track/quiet.h"
#include "track/store.h"
#include "track/verdict.h"

typedef struct sae_gate_plan {
    const char *program[2];  /* base, candidate */
    const char *args;        /* words for both, separated by blanks; NULL: none */
    const char *filter;      /* --benchmark_filter; NULL: all */
    const char *cpus;        /* for taskset; NULL: not pinned */
    const char *clock;       /* real_time or cpu_time: which one is compared */
    int pairs;               /* 0: three looks at 10, 14, 20; else one look at this many */
    double alpha;            /* of that one look */
    double margin;           /* of times; negative: each benchmark's policy */
    int64_t alert;           /* of `policies`: only its series; 0: all */
    uint64_t seed;           /* of the order of the pairs and of the environment's length */
    const char *dir;         /* where outputs are kept; exists */
    sae_quiet quiet;
} sae_gate_plan;

typedef struct sae_gate_row {
    const char *bench, *metric, *unit; /* of the base's readings */
    double margin;
    int paired;                /* 0: compared exactly */
    int decided;               /* at an earlier look */
    double base, candidate;    /* medians over the processes */
    double d[SAE_PAIRS_MAX];   /* log ratios */
    sae_compared c;
} sae_gate_row;

typedef struct sae_gate_result { /* close with sae_gate_close */
    sae_gate_row *row;           /* by name */
    int64_t rows;
    int pairs;                   /* done */
    double alpha;                /* of the last look */
    int status;                  /* SAE_GATE_* */
    int turns[SAE_PAIRS_MAX];    /* 1: the pair's programs took turns with their repetitions */
    char note[280];              /* why it stopped, "" when it came to the end */
    sae_readings side[2];        /* all measurements */
} sae_gate_result;

/* policies: margins and what is gated, see sae_store (":memory:" has the defaults). Failures of the
 * candidate are findings, those of the base are errors. */
int sae_gate(const sae_gate_plan *plan, sae_store *policies, sae_gate_result *out, sae_err *err);
void sae_gate_close(sae_gate_result *r);

/* The verdict as JSON; NULL: no memory. */
json_t *sae_gate_json(const sae_gate_plan *plan, const sae_gate_result *r);

#endif
