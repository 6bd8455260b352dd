/* suite/core/schedule.h - a real value that may follow the steps of a run; forms in options.h. */
#ifndef SAE_CORE_SCHEDULE_H
#define SAE_CORE_SCHEDULE_H

#include "core/text.h"
#include <sae/base.h>

enum sae_sched_kind {
    SAE_SCHED_CONST,
    SAE_SCHED_LIN,
    SAE_SCHED_COS,
    SAE_SCHED_EXP,
    SAE_SCHED_STEP
};

typedef struct sae_sched_time {
    double at; /* a step, or percent of the run */
    int percent;
} sae_sched_time;

typedef struct sae_sched {
    enum sae_sched_kind kind;
    double a, b;           /* CONST: a */
    sae_sched_time t0, t1; /* STEP: both are its step */
} sae_sched;

/* A number or a schedule; every value must lie in [o->lo, o->hi]. SAE_EINVAL names option, value
 * and range. */
int sae_sched_parse(sae_sched *s, const sae_option *o, const char *text, sae_err *err);
double sae_sched_at(const sae_sched *s, int64_t step, int64_t steps);
void sae_sched_print(const sae_sched *s, sae_text *out);

#endif
