/* suite/track/quiet.c - was the machine quiet enough to time something?
 *
 * Load averages count our own programs and lag by a minute: instead, the time that all processors
 * were busy is compared with what we and our children used.
 */
#include "track/quiet.h"

#include "core/error.h"
#include "core/log.h"
#include "core/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { LOOPS = 4000000, STREAM = 16 << 20, LEAST_MEMORY = 128 << 20, TRIES = 5 };

const char *const sae_calibration_name[SAE_CALIBRATIONS] = {"integer", "stream"};

/* ---- calibration ----------------------------------------------------------------------------- */

static double time_integer(void)
{
    volatile uint64_t sink;
    uint64_t x = 88172645463325252u;
    double from = sae_clock();
    for (int i = 0; i < LOOPS; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    sink = x;
    (void)sink;
    return sae_clock() - from;
}

static double time_stream(unsigned char *a, unsigned char *b)
{
    volatile unsigned char sink;
    double from = sae_clock();
    memcpy(a, b, STREAM);
    sink = a[STREAM / 2];
    b[0] = (unsigned char)(sink + 1); /* the next copy is another one */
    return sae_clock() - from;
}

int sae_calibrate(int tries, double seconds[SAE_CALIBRATIONS], sae_err *err)
{
    unsigned char *block = sae_alloc(2 * (size_t)STREAM);
    if (!block)
        SAE_FAIL(err, SAE_ENOMEM, "out of memory for a calibration");
    memset(block, 1, 2 * (size_t)STREAM);
    seconds[0] = seconds[1] = INFINITY;
    for (int i = 0; i < tries; i++) {
        seconds[0] = fmin(seconds[0], time_integer());
        seconds[1] = fmin(seconds[1], time_stream(block, block + STREAM));
    }
    sae_free(block);
    return SAE_OK;
}

/* ---- state ----------------------------------------------------------------------------------- */

/* Seconds in which a processor was busy, all of them together; also what a host took from us. */
static int busy_seconds(double *out, sae_err *err)
{
    unsigned long long v[8] = {0};
    FILE *f = fopen("/proc/stat", "r");
    int got = f ? fscanf(f, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0], &v[1], &v[2],
                         &v[3], &v[4], &v[5], &v[6], &v[7])
                : 0;
    if (f)
        fclose(f);
    if (got < 8)
        SAE_FAIL(err, SAE_ENEEDS, "/proc/stat: expected eight counters of the processors");
    *out = (double)(v[0] + v[1] + v[2] + v[5] + v[6] + v[7]) / (double)sysconf(_SC_CLK_TCK);
    return SAE_OK;
}

static double own_seconds(void)
{
    double sum = 0;
    struct rusage r;
    const int who[] = {RUSAGE_SELF, RUSAGE_CHILDREN};
    for (int i = 0; i < 2; i++) {
        getrusage(who[i], &r);
        sum += (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
               1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
    }
    return sum;
}

static void read_word(const char *path, char out[32])
{
    FILE *f = fopen(path, "r");
    out[0] = '\0';
    if (f && fscanf(f, "%31s", out) != 1)
        out[0] = '\0';
    if (f)
        fclose(f);
}

static int64_t throttle_events(void)
{
    int64_t sum = 0;
    for (int cpu = 0; cpu < 1024; cpu++) {
        char path[96], word[32];
        long long n;
        snprintf(path, sizeof path,
                 "/sys/devices/system/cpu/cpu%d/thermal_throttle/core_throttle_count", cpu);
        read_word(path, word);
        if (sscanf(word, "%lld", &n) != 1)
            break;
        sum += n;
    }
    return sum;
}

static void read_governor(char out[32])
{
    read_word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", out);
}

int sae_quiet_begin(sae_quiet *q, sae_err *err)
{
    if (q->drift > 0 && q->reference[0] <= 0)
        SAE_TRY(sae_calibrate(TRIES, q->reference, err));
    read_governor(q->governor);
    q->throttled = throttle_events();
    q->own = own_seconds();
    q->at = sae_clock();
    return busy_seconds(&q->busy, err);
}

static int check_calibration(const sae_quiet *q, char *why, size_t room, sae_err *err)
{
    double now[SAE_CALIBRATIONS];
    SAE_TRY(sae_calibrate(TRIES, now, err));
    for (int i = 0; i < SAE_CALIBRATIONS; i++) {
        double change = now[i] / q->reference[i] - 1;
        if (fabs(change) > q->drift)
            snprintf(why, room, "calibration %s moved by %+.1f %% (limit %.1f %%)",
                     sae_calibration_name[i], 100 * change, 100 * q->drift);
    }
    return SAE_OK;
}

int sae_quiet_check(sae_quiet *q, char *why, size_t room, sae_err *err)
{
    double busy;
    char governor[32];
    why[0] = '\0';
    SAE_TRY(busy_seconds(&busy, err));
    double elapsed = sae_clock() - q->at, own = own_seconds() - q->own;
    double outside = (busy - q->busy - own) / (elapsed > 0.1 ? elapsed : 0.1);
    int64_t events = throttle_events() - q->throttled;
    read_governor(governor);
    if (outside > q->max_load)
        snprintf(why, room, "other programs used %.2f processors (limit %.2f)", outside,
                 q->max_load);
    else if (events > 0)
        snprintf(why, room, "the processor was throttled %lld times", (long long)events);
    else if (strcmp(governor, q->governor))
        snprintf(why, room, "the frequency governor changed from %s to %s", q->governor, governor);
    else if (sae_memory_available() < LEAST_MEMORY)
        snprintf(why, room, "only %zu MiB of memory are free", sae_memory_available() >> 20);
    else if (q->drift > 0)
        SAE_TRY(check_calibration(q, why, room, err));
    return SAE_OK;
}
