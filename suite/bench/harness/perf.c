/* suite/bench/harness/perf.c - hardware counters of user mode through libpfm's names and
 * perf_event_open, inherited by the threads that benchmarks start. Without libpfm: a warning. */
#define _GNU_SOURCE /* syscall, of libpfm's header */
#include "harness.h"

#include <string.h>

#ifdef SAE_BENCH_HAVE_PFM
#include <errno.h>
#include <unistd.h>
#include <perfmon/pfmlib_perf_event.h> /* and perf_event_open */

static struct event {
    char name[SBH_COUNTER_NAME];
    int fd;
} event[SBH_MAX_PERF];
static int events;

static void open_event(const char *name, FILE *err)
{
    struct perf_event_attr attr = {.size = sizeof attr};
    pfm_perf_encode_arg_t arg = {.attr = &attr, .size = sizeof arg};
    if (pfm_get_os_event_encoding(name, PFM_PLM3, PFM_OS_PERF_EVENT, &arg) != PFM_SUCCESS) {
        fprintf(err, "Unknown performance counter name: %s\n", name);
        return;
    }
    attr.inherit = 1;
    attr.exclude_kernel = 1;
    attr.exclude_hv = 1;
    int fd;
    do {
        fd = perf_event_open(&attr, 0, -1, -1, 0);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        fprintf(err, "***WARNING*** Failed to get a file descriptor for performance counter %s: "
                     "%s. Ignoring\n", name, strerror(errno));
        return;
    }
    memcpy(event[events].name, name, strlen(name) + 1);
    event[events++].fd = fd;
}

void sbh_perf_open(const char *names, FILE *err)
{
    if (*names && pfm_initialize() != PFM_SUCCESS) {
        fprintf(err,
                "***WARNING*** libpfm does not know this processor. No performance counters\n");
        return;
    }
    while (*names) {
        char name[SBH_COUNTER_NAME];
        size_t length = strcspn(names, ",");
        if (length == 0)
            fprintf(err, "A performance counter name was the empty string\n");
        else if (length >= sizeof name || events == SBH_MAX_PERF)
            fprintf(err, "More than %d performance counters, or a name of more than %d characters: "
                         "%.*s ignored\n", SBH_MAX_PERF, SBH_COUNTER_NAME - 1, (int)length, names);
        else {
            memcpy(name, names, length);
            name[length] = 0;
            open_event(name, err);
        }
        names += length + (names[length] == ',');
    }
}

int sbh_perf_count(void)
{
    return events;
}

const char *sbh_perf_name(int i)
{
    return event[i].name;
}

bool sbh_perf_read(double *values)
{
    for (int i = 0; i < events; i++) {
        uint64_t x;
        if (read(event[i].fd, &x, sizeof x) != (ssize_t)sizeof x)
            return false;
        values[i] = (double)x;
    }
    return events > 0;
}

void sbh_perf_close(void)
{
    while (events > 0)
        close(event[--events].fd);
}

#else

void sbh_perf_open(const char *names, FILE *err)
{
    if (*names)
        fprintf(err, "Performance counters not supported.\n");
}

int sbh_perf_count(void)
{
    return 0;
}

const char *sbh_perf_name(int i)
{
    (void)i;
    return "";
}

bool sbh_perf_read(double *values)
{
    (void)values;
    return false;
}

void sbh_perf_close(void)
{
}

#endif
