#include "bench_host.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 512

/* What follows "key", blanks and a colon in a file of such lines; false when there is no such line. */
static int find_line(const char *path, const char *key, char value[LINE_BYTES])
{
    char line[LINE_BYTES];
    FILE *file = fopen(path, "r");
    int found = 0;
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) == 0) {
            const char *text = line + strlen(key);
            text += strspn(text, " \t:");
            snprintf(value, LINE_BYTES, "%.*s", (int)strcspn(text, "\n"), text);
            found = 1;
        }
    }
    if (file) {
        fclose(file);
    }
    return found;
}

void host_machine(char *text, size_t capacity)
{
    char name[LINE_BYTES] = "processor";
    cpu_set_t allowed;
    (void)find_line("/proc/cpuinfo", "model name", name);
    const int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
    snprintf(text, capacity, "%.128s, %d core%s", name, cores, cores == 1 ? "" : "s");
}

/* Lines of /proc in units of 1024 bytes. */
static double kib_line_mb(const char *path, const char *key)
{
    char value[LINE_BYTES];
    return find_line(path, key, value) ? strtod(value, NULL) * 1024e-6 : 0;
}

double host_resident_mb(void)
{
    return kib_line_mb("/proc/self/status", "VmRSS");
}

double host_peak_mb(void)
{
    return kib_line_mb("/proc/self/status", "VmHWM");
}

void host_peak_reset(void)
{
    FILE *file = fopen("/proc/self/clear_refs", "w");
    if (file) {
        fputs("5", file);
        fclose(file);
    }
}

/* The number that a file of a control group holds; -1 when there is none ("max"). */
static double group_bytes(const char *path)
{
    double bytes = -1;
    FILE *file = fopen(path, "r");
    if (file) {
        if (fscanf(file, "%lf", &bytes) != 1) {
            bytes = -1;
        }
        fclose(file);
    }
    return bytes;
}

double host_free_mb(void)
{
    double free_mb = kib_line_mb("/proc/meminfo", "MemAvailable");
    const double limit = group_bytes("/sys/fs/cgroup/memory.max"), used = group_bytes("/sys/fs/cgroup/memory.current");
    if (limit > 0 && used >= 0 && (limit - used) * 1e-6 < free_mb) {
        free_mb = (limit - used) * 1e-6;
    }
    return free_mb;
}
