/* suite/core/log.h - messages and progress, through one callback set by the program. */
#ifndef SAE_CORE_LOG_H
#define SAE_CORE_LOG_H

#include <stdint.h>

enum sae_level { SAE_LOG_ERROR, SAE_LOG_WARN, SAE_LOG_INFO, SAE_LOG_DEBUG };

typedef void (*sae_log_fn)(void *arg, enum sae_level level, const char *component,
                           const char *message);

void sae_log_to(sae_log_fn fn, void *arg, enum sae_level most); /* NULL: silent (the default) */
void sae_log(enum sae_level level, const char *component, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* A progress line with rate and time left; total, left and note may change on the way. On a
 * terminal it redraws in place; otherwise a plain line at 25 %, 50 %, 75 % and 100 % steps, nothing
 * at all below two seconds of work. */
typedef struct sae_progress {
    const char *label, *unit; /* "train", "tokens" */
    double total, done;       /* in units */
    double first;             /* done at the first call: a resumed run is not that fast */
    double left;              /* seconds, from who knows better than the rate; < 0: no one does */
    double t0, last;          /* monotonic seconds */
    int active, next_mark;
    char note[96];            /* free text behind the bar: "loss 0.123" */
} sae_progress;

void sae_progress_open(sae_progress *p, const char *label, const char *unit, double total);
void sae_progress_at(sae_progress *p, double done); /* cheap: draws at most ten times a second */
void sae_progress_close(sae_progress *p);
/* Where progress is drawn: a FILE*-like descriptor number, -1 for never (the default). */
void sae_progress_to(int fd);

double sae_clock(void); /* monotonic seconds */

/* Set by the SIGINT/SIGTERM handler of the program; long loops test it and return SAE_EINTR. */
int sae_interrupted(void);
void sae_interrupt(void);

#endif
