/* suite/bench/harness/trial.c - one trial of an instance on its threads, with a barrier before the
 * first and after the last iteration. */
#include "harness.h"

#include <stdlib.h>
#include <string.h>

#define NOT_RUN                                                                                    \
    "The benchmark didn't run, nor was it explicitly skipped. Please call 'SkipWithXXX` in your " \
    "benchmark as appropriate."

static sae_bench_memory chosen_memory;
static bool memory_chosen;

void sae_bench_set_memory(const sae_bench_memory *m)
{
    memory_chosen = m != NULL;
    if (m)
        chosen_memory = *m;
}

const sae_bench_memory *sbh_memory(void)
{
    return memory_chosen ? &chosen_memory : NULL;
}

/* ---- barrier: of the threads that are still in the trial ------------------------------------- */

static void open_barrier(struct sbh_trial *t)
{
    t->waiting = 0;
    t->phase++;
    pthread_cond_broadcast(&t->turn);
}

void sbh_barrier(struct sbh_trial *t)
{
    pthread_mutex_lock(&t->lock);
    unsigned phase = t->phase;
    if (++t->waiting >= t->alive)
        open_barrier(t);
    while (t->phase == phase)
        pthread_cond_wait(&t->turn, &t->lock);
    pthread_mutex_unlock(&t->lock);
}

void sbh_leave(struct sbh_trial *t)
{
    pthread_mutex_lock(&t->lock);
    t->alive--;
    if (t->waiting > 0 && t->waiting >= t->alive)
        open_barrier(t);
    pthread_mutex_unlock(&t->lock);
}

/* ---- threads --------------------------------------------------------------------------------- */

struct job {
    const struct sbh_instance *of;
    struct sbh_trial *trial;
    int64_t iterations;
    int index;
    pthread_t id;
};

static void add_results(struct sbh_trial *trial, const sae_bench_state *st)
{
    struct sae_bench_thread *t = st->thread;
    pthread_mutex_lock(&trial->lock);
    trial->iterations += sae_bench_iterations(st);
    trial->real += t->real;
    trial->cpu += t->cpu;
    trial->manual += t->manual;
    trial->complexity_n += t->complexity_n;
    sbh_counters_add(&trial->counters, &t->counters);
    pthread_mutex_unlock(&trial->lock);
    sbh_counters_free(&t->counters);
}

static void *run_thread(void *arg)
{
    const struct job *j = arg;
    struct sae_bench_thread t = {
        .of = j->of, .trial = j->trial, .index = j->index, .max = j->iterations};
    sae_bench_state st = {0, &t};
    j->of->family->fn(&st);
    if (!t.skipped && (!t.finished || sae_bench_iterations(&st) < t.max))
        sae_bench_skip_error(&st, NOT_RUN);
    add_results(j->trial, &st);
    sbh_leave(j->trial);
    return NULL;
}

static void fail(struct sbh_trial *t, const char *why)
{
    pthread_mutex_lock(&t->lock);
    if (!t->skipped) {
        t->skipped = SBH_ERROR;
        t->message = strdup(why);
    }
    pthread_mutex_unlock(&t->lock);
}

void sbh_trial_run(const struct sbh_instance *of, int64_t iterations, int threads, bool perf,
                   struct sbh_trial *t)
{
    struct job *job = calloc((size_t)threads, sizeof *job);
    int started = 1;
    *t = (struct sbh_trial){.alive = threads, .perf = perf};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->turn, NULL);
    if (!job) {
        fail(t, "not enough memory");
        return;
    }
    for (int i = 0; i < threads; i++)
        job[i] = (struct job){.of = of, .trial = t, .iterations = iterations, .index = i};
    while (started < threads &&
           !pthread_create(&job[started].id, NULL, run_thread, &job[started]))
        started++;
    if (started < threads)
        fail(t, "not enough threads");
    for (int i = started; i < threads; i++)
        sbh_leave(t);
    run_thread(&job[0]);
    for (int i = 1; i < started; i++)
        pthread_join(job[i].id, NULL);
    free(job);
}

void sbh_trial_free(struct sbh_trial *t)
{
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->turn);
    sbh_counters_free(&t->counters);
    free(t->message);
    free(t->label);
}

void sbh_call(sae_bench_fn *fn, const struct sbh_instance *of)
{
    struct sbh_trial trial = {.alive = 1};
    struct sae_bench_thread t = {.of = of, .trial = &trial, .max = 1};
    sae_bench_state st = {0, &t};
    if (!fn)
        return;
    pthread_mutex_init(&trial.lock, NULL);
    pthread_cond_init(&trial.turn, NULL);
    fn(&st);
    sbh_counters_free(&t.counters);
    sbh_trial_free(&trial);
}
