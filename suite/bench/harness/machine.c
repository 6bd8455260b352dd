/* suite/bench/harness/machine.c - what reports say of the machine. */
#include "report.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/personality.h>
#include <time.h>
#include <unistd.h>

/* The first line of a file of /sys or /proc; false when there is none. */
__attribute__((format(printf, 3, 4))) static bool line_of(char *line, int size, const char *path,
                                                          ...)
{
    char name[128];
    va_list args;
    va_start(args, path);
    vsnprintf(name, sizeof name, path, args);
    va_end(args);
    FILE *f = fopen(name, "r");
    bool ok = f && fgets(line, size, f);
    if (f)
        fclose(f);
    if (ok)
        line[strcspn(line, "\n")] = 0;
    return ok;
}

#define CPU "/sys/devices/system/cpu/"

static int scaling_of(int cpus)
{
    char governor[64];
    for (int i = 0; i < cpus; i++)
        if (line_of(governor, sizeof governor, CPU "cpu%d/cpufreq/scaling_governor", i) &&
            strcmp(governor, "performance"))
            return 1;
    return 0;
}

/* Of /proc/cpuinfo: the first positive value of a line that starts with the key. */
static double cpuinfo(const char *key)
{
    char line[512];
    double x = 0;
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && x <= 0 && fgets(line, sizeof line, f)) {
        const char *value = strchr(line, ':');
        if (value && !strncmp(line, key, strlen(key)))
            x = strtod(value + 1, NULL);
    }
    if (f)
        fclose(f);
    return x;
}

static double mhz_of(int scaling)
{
    char khz[64];
    if (line_of(khz, sizeof khz, CPU "cpu0/tsc_freq_khz") ||
        (scaling == 0 && line_of(khz, sizeof khz, CPU "cpu0/cpufreq/scaling_cur_freq")) ||
        line_of(khz, sizeof khz, CPU "cpu0/cpufreq/cpuinfo_max_freq"))
        return strtod(khz, NULL) / 1e3;
    double mhz = cpuinfo("cpu MHz");
    return mhz > 0 ? mhz : cpuinfo("bogomips");
}

static int bits_of(const char *map) /* hexadecimal words with commas between */
{
    int bits = 0;
    for (; *map; map++)
        for (long digit = strtol((char[2]){*map, 0}, NULL, 16); digit; digit &= digit - 1)
            bits++;
    return bits;
}

static void look_at_caches(struct sbh_machine *m)
{
    char text[256];
    for (int i = 0; m->caches < SBH_MAX_CACHES; i++, m->caches++) {
        char *suffix;
        if (!line_of(text, sizeof text, CPU "cpu0/cache/index%d/size", i))
            return;
        m->cache[i].bytes = strtoll(text, &suffix, 10) * (*suffix == 'K'   ? 1024
                                                          : *suffix == 'M' ? 1048576
                                                                           : 1);
        if (!line_of(text, sizeof text, CPU "cpu0/cache/index%d/type", i))
            return;
        snprintf(m->cache[i].type, sizeof m->cache[i].type, "%.15s", text);
        if (!line_of(text, sizeof text, CPU "cpu0/cache/index%d/level", i))
            return;
        m->cache[i].level = (int)strtol(text, NULL, 10);
        if (line_of(text, sizeof text, CPU "cpu0/cache/index%d/shared_cpu_map", i))
            m->cache[i].sharing = bits_of(text);
    }
}

/* As 2026-01-31T12:00:00+01:00. */
static void local_date(char *text, size_t size)
{
    time_t now = time(NULL);
    struct tm local;
    char offset[8] = "";
    localtime_r(&now, &local);
    size_t length = strftime(text, size, "%Y-%m-%dT%H:%M:%S", &local);
    if (strftime(offset, sizeof offset, "%z", &local) == 5)
        snprintf(text + length, size - length, "%.3s:%.2s", offset, offset + 3);
}

void sbh_look_at_machine(struct sbh_machine *m)
{
    char load[64];
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    int persona = personality(0xffffffff);
    *m = (struct sbh_machine){.cpus = cpus > 0 ? (int)cpus : 1};
    local_date(m->date, sizeof m->date);
    if (gethostname(m->host, sizeof m->host - 1))
        m->host[0] = 0;
    m->scaling = scaling_of(m->cpus);
    m->mhz = mhz_of(m->scaling);
    m->aslr = persona == -1 ? -1 : !(persona & ADDR_NO_RANDOMIZE);
    look_at_caches(m);
    if (line_of(load, sizeof load, "/proc/loadavg"))
        m->loads = sscanf(load, "%lf %lf %lf", &m->load[0], &m->load[1], &m->load[2]);
    if (m->loads < 0)
        m->loads = 0;
}
