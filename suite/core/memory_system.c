/* suite/core/memory_system.c - what the system can still give, and what the process has taken. */
#include "core/memory.h"

#include "core/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* The number after `key` in a file of "key value" lines; with key "" the number the file starts
 * with. Returns 0 when there is none ("max" included): then the file sets no limit. */
static int read_number(const char *path, const char *key, size_t *out)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return 0;
    char line[256];
    int found = 0;
    size_t len = strlen(key);
    while (!found && fgets(line, sizeof line, f)) {
        if (strncmp(line, key, len) == 0) {
            char *end = NULL;
            unsigned long long v = strtoull(line + len, &end, 10);
            found = end != line + len;
            *out = (size_t)v;
        }
    }
    fclose(f);
    return found;
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Room under one control group's limit. Its page cache that can be dropped counts as free. */
static size_t group_room(const char *dir, const char *limit, const char *usage, const char *cache)
{
    char path[1200];
    size_t max = 0, used = 0, file = 0;
    snprintf(path, sizeof path, "%s/%s", dir, limit);
    if (!read_number(path, "", &max))
        return SIZE_MAX;
    snprintf(path, sizeof path, "%s/%s", dir, usage);
    if (!read_number(path, "", &used))
        return SIZE_MAX;
    snprintf(path, sizeof path, "%s/memory.stat", dir);
    if (!read_number(path, cache, &file))
        file = 0;
    used -= smaller(file, used);
    return max > used ? max - used : 0;
}

/* The tightest limit from this process' group up to the root (cgroup v2), or the v1 limit. */
static size_t groups_room(void)
{
    size_t room = group_room("/sys/fs/cgroup/memory", "memory.limit_in_bytes",
                             "memory.usage_in_bytes", "total_inactive_file ");
    char line[1024], own[1024] = "", dir[1100];
    FILE *f = fopen("/proc/self/cgroup", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "0::", 3) == 0)
            snprintf(own, sizeof own, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (f)
        fclose(f);
    for (;;) {
        snprintf(dir, sizeof dir, "/sys/fs/cgroup%s", own);
        room = smaller(room, group_room(dir, "memory.max", "memory.current", "inactive_file "));
        char *slash = strrchr(own, '/');
        if (!slash)
            return room;
        *slash = '\0';
    }
}

size_t sae_memory_available(void)
{
    size_t kib = 0;
    size_t system = read_number("/proc/meminfo", "MemAvailable:", &kib) ? kib * 1024 : SIZE_MAX;
    return smaller(system, groups_room());
}

int sae_memory_check(size_t bytes, const char *what, sae_err *err)
{
    size_t available = sae_memory_available();
    const double mib = 1024.0 * 1024.0;
    if (bytes > available)
        SAE_FAIL(err, SAE_ENOMEM, "needs %.1f MiB for %s, %.1f MiB available", (double)bytes / mib,
                 what, (double)available / mib);
    return SAE_OK;
}

size_t sae_memory_peak_rss(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (size_t)u.ru_maxrss * 1024 : 0;
}
