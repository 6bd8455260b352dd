/* suite/core/log.c - messages, the clock, the interrupt flag. */
#include "core/log.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

static sae_log_fn sink;
static void *sink_arg;
static enum sae_level sink_most;
static volatile sig_atomic_t interrupted;

void sae_log_to(sae_log_fn fn, void *arg, enum sae_level most)
{
    sink = fn;
    sink_arg = arg;
    sink_most = most;
}

void sae_log(enum sae_level level, const char *component, const char *fmt, ...)
{
    if (!sink || level > sink_most)
        return;
    char message[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    sink(sink_arg, level, component, message);
}

double sae_clock(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int sae_interrupted(void)
{
    return interrupted;
}

void sae_interrupt(void)
{
    interrupted = 1;
}
