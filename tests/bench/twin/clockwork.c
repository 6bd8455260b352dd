/* tests/bench/twin/clockwork.c - benchmarks on a clock that they set themselves: every figure of a
 * report is known beforehand. CLOCKWORK_MISUSE=N registers a mistake, CLOCKWORK_STOP=N stops the
 * run. */
#include <math.h>
#include <sae/bench.h>
#include <stdlib.h>

static double now; /* seconds; all CPU clocks run at half its speed */

static double real_clock(void)
{
    return now;
}

static double cpu_clock(void)
{
    return now / 2;
}

static int setups, teardowns;

static void set_up(sae_bench_state *st)
{
    (void)st;
    setups++;
}

static void tear_down(sae_bench_state *st)
{
    (void)st;
    teardowns++;
}

/* 1 ms an iteration, or n ms. */
static void tick(sae_bench_state *st)
{
    int64_t n = sae_bench_range_of(st, 0);
    SAE_BENCH_LOOP(st)
        now += 1e-3 * (double)(n ? n : 1);
    sae_bench_set_complexity_n(st, n);
}

static void counted(sae_bench_state *st)
{
    tick(st);
    sae_bench_counter(st, "setups", setups, SAE_BENCH_VALUE);
    sae_bench_counter(st, "teardowns", teardowns, SAE_BENCH_VALUE);
}

/* The four figures of a known mean, median, deviation. */
static void known(sae_bench_state *st)
{
    static const double ns[] = {4.92, 5.04, 4.99, 5.30};
    static int turn;
    double seconds = 1e-9 * ns[turn++ % 4];
    SAE_BENCH_LOOP(st) {
        now += seconds;
        sae_bench_set_iteration_time(st, seconds);
    }
    sae_bench_counter(st, "figure", 1e9 * seconds, SAE_BENCH_VALUE);
    sae_bench_set_bytes(st, 1 << 20);
    sae_bench_set_items(st, 1000);
}

static void odd_numbers(sae_bench_state *st)
{
    tick(st);
    sae_bench_counter(st, "nan", NAN, SAE_BENCH_VALUE);
    sae_bench_counter(st, "less", -INFINITY, SAE_BENCH_VALUE);
    sae_bench_counter(st, "fine", 0.1, SAE_BENCH_VALUE);
    sae_bench_set_label(st, "tab\t bell\a quote\" back\\ \xc3\xa9 \xff.");
}

static void failing(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st) {
        sae_bench_skip_error(st, "bad \"thing\"");
        break;
    }
}

static void skipped(sae_bench_state *st)
{
    sae_bench_skip_message(st, "not here");
    SAE_BENCH_LOOP(st)
        now += 1;
}

static void never_loops(sae_bench_state *st)
{
    (void)st;
}

static void breaks(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st)
        break;
}

static void wrong_pause(sae_bench_state *st)
{
    sae_bench_pause(st);
    SAE_BENCH_LOOP(st)
        now += 1e-3;
}

/* Three of every four milliseconds do not count. */
static void pauses(sae_bench_state *st)
{
    SAE_BENCH_LOOP(st) {
        now += 1e-3;
        sae_bench_pause(st);
        now += 3e-3;
        sae_bench_resume(st);
    }
}

static void batches(sae_bench_state *st)
{
    while (sae_bench_keep_running_batch(st, 30))
        now += 30e-3;
}

static void taken_name(sae_bench_state *st)
{
    tick(st);
    sae_bench_counter(st, "real_time", 1, SAE_BENCH_VALUE);
}

/* The order in which repetitions run; the one that CLOCKWORK_STOP names is the last. */
static void order(sae_bench_state *st)
{
    static int turn;
    const char *last = getenv("CLOCKWORK_STOP");
    tick(st);
    if (last && turn == atoi(last))
        sae_bench_stop();
    sae_bench_counter(st, "turn", turn++, SAE_BENCH_VALUE);
}

static void memory_start(void *arg)
{
    ++*(int *)arg;
}

static void memory_stop(void *arg, sae_bench_memory_result *out)
{
    *out = (sae_bench_memory_result){32, 1000 * *(int *)arg, 4096, SAE_BENCH_UNSET};
}

static void add_misuse(int which)
{
    sae_bench *b = sae_bench_add(which == 1 ? "two words" : "wrong", tick, NULL);
    switch (which) {
    case 2:
        sae_bench_arg(b, 1);
        SAE_BENCH_ARGS(b, 1, 2);
        break;
    case 3:
        sae_bench_min_time(sae_bench_set_iterations(b, 5), 1);
        break;
    case 4:
        sae_bench_use_manual_time(sae_bench_use_real_time(b));
        break;
    case 5:
        sae_bench_arg_name(b, "n");
        break;
    case 6:
        sae_bench_range(b, 8, 1);
        break;
    case 7:
        sae_bench_threads(b, 0);
        break;
    default:
        break;
    }
}

static void add_all(void)
{
    static int memory_runs;
    static const sae_bench_memory memory = {memory_start, memory_stop, &memory_runs};
    sae_bench *b = sae_bench_add("tick", tick, NULL);
    sae_bench_complexity(sae_bench_dense_range(b, 1, 4, 1), SAE_BENCH_O_AUTO);
    sae_bench_set_iterations(sae_bench_use_real_time(b), 10);
    sae_bench_add("long", tick, NULL);
    b = sae_bench_setup(sae_bench_add("counted", counted, NULL), set_up);
    sae_bench_repetitions(sae_bench_min_time(sae_bench_teardown(b, tear_down), 0.3), 2);
    b = sae_bench_setup(sae_bench_add("warm", counted, NULL), set_up);
    sae_bench_min_warmup_time(sae_bench_teardown(b, tear_down), 0.004);
    b = sae_bench_add("known", known, NULL);
    sae_bench_use_manual_time(sae_bench_repetitions(sae_bench_set_iterations(b, 1), 4));
    sae_bench_add("odd_numbers", odd_numbers, NULL);
    sae_bench_repetitions(sae_bench_add("failing", failing, NULL), 2);
    sae_bench_add("skipped", skipped, NULL);
    sae_bench_add("never_loops", never_loops, NULL);
    sae_bench_add("breaks", breaks, NULL);
    sae_bench_add("wrong_pause", wrong_pause, NULL);
    sae_bench_set_iterations(sae_bench_add("pauses", pauses, NULL), 8);
    sae_bench_set_iterations(sae_bench_add("batches", batches, NULL), 100);
    sae_bench_add("taken_name", taken_name, NULL);
    for (int i = 0; i < 4; i++)
        sae_bench_arg(i ? b : (b = sae_bench_add("order", order, NULL)), i);
    sae_bench_repetitions(sae_bench_set_iterations(b, 1), 3);
    b = sae_bench_add("order", order, NULL); /* the same names twice */
    sae_bench_repetitions(sae_bench_set_iterations(sae_bench_arg(b, 0), 1), 3);
    if (getenv("CLOCKWORK_MEMORY"))
        sae_bench_set_memory(&memory);
    if (getenv("CLOCKWORK_MISUSE"))
        add_misuse(atoi(getenv("CLOCKWORK_MISUSE")));
}

int main(int argc, char **argv)
{
    static const sae_bench_clock clocks = {real_clock, cpu_clock, cpu_clock};
    sae_bench_set_clock(&clocks);
    add_all();
    return sae_bench_main(argc, argv);
}
