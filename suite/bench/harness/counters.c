/* suite/bench/harness/counters.c - named numbers of a run, kept in byte order of their names. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

const struct sbh_counter *sbh_counter_find(const struct sbh_counters *c, const char *name)
{
    for (int i = 0; i < c->count; i++)
        if (!strcmp(c->item[i].name, name))
            return &c->item[i];
    return NULL;
}

struct sbh_counter *sbh_counter_at(struct sbh_counters *c, const char *name, int flags)
{
    int at = 0;
    size_t length = strlen(name);
    while (at < c->count && strcmp(c->item[at].name, name) < 0)
        at++;
    if (at < c->count && !strcmp(c->item[at].name, name))
        return &c->item[at];
    if (length >= SBH_COUNTER_NAME)
        return NULL;
    struct sbh_counter *bigger = realloc(c->item, ((size_t)c->count + 1) * sizeof *bigger);
    if (!bigger)
        return NULL;
    c->item = bigger;
    memmove(bigger + at + 1, bigger + at, (size_t)(c->count - at) * sizeof *bigger);
    c->count++;
    bigger[at] = (struct sbh_counter){.flags = flags};
    memcpy(bigger[at].name, name, length + 1);
    return &bigger[at];
}

void sbh_counters_add(struct sbh_counters *sum, const struct sbh_counters *c)
{
    for (int i = 0; i < c->count; i++) {
        struct sbh_counter *to = sbh_counter_at(sum, c->item[i].name, c->item[i].flags);
        if (to)
            to->value += c->item[i].value;
    }
}

void sbh_counters_finish(struct sbh_counters *c, int64_t iterations, double thread_seconds,
                         int threads)
{
    for (int i = 0; i < c->count; i++) {
        struct sbh_counter *x = &c->item[i];
        if (x->flags & SAE_BENCH_RATE)
            x->value /= thread_seconds;
        if (x->flags & SAE_BENCH_AVG_THREADS)
            x->value /= threads;
        if (x->flags & SAE_BENCH_PER_ITERATION_IN)
            x->value *= (double)iterations;
        if (x->flags & SAE_BENCH_AVG_ITERATIONS)
            x->value /= (double)iterations;
        if (x->flags & SAE_BENCH_INVERT)
            x->value = 1 / x->value;
    }
}

bool sbh_counters_same_names(const struct sbh_counters *a, const struct sbh_counters *b)
{
    if (a->count != b->count)
        return false;
    for (int i = 0; i < a->count; i++)
        if (strcmp(a->item[i].name, b->item[i].name))
            return false;
    return true;
}

struct sbh_counters sbh_counters_copy(struct sbh_pool *p, const struct sbh_counters *c)
{
    struct sbh_counters copy = {NULL, c->count};
    if (c->count) {
        copy.item = sbh_alloc(p, (size_t)c->count * sizeof *copy.item);
        memcpy(copy.item, c->item, (size_t)c->count * sizeof *copy.item);
    }
    return copy;
}

void sbh_counters_free(struct sbh_counters *c)
{
    free(c->item);
    *c = (struct sbh_counters){NULL, 0};
}
