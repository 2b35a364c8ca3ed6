#include "progress.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BAR_COLUMNS 30

/* The library's messages come from any thread and wipe the bar first. */
static pthread_mutex_t drawing = PTHREAD_MUTEX_INITIALIZER;

double clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

/* A terminal that can wipe a line. */
static bool is_terminal(void)
{
    const char *kind = getenv("TERM");
    return isatty(STDERR_FILENO) && kind && kind[0] && strcmp(kind, "dumb") != 0;
}

static int terminal_columns(void)
{
    struct winsize size = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

void progress_start(progress *bar, size_t total, bool wanted)
{
    *bar = (progress){.enabled = wanted && is_terminal(), .total = total, .start_ms = clock_ms(), .unit = "image"};
}

void progress_hide(progress *bar)
{
    pthread_mutex_lock(&drawing);
    if (bar->shown) {
        fputs("\r\033[K", stderr);
        bar->shown = false;
    }
    pthread_mutex_unlock(&drawing);
}

void progress_show(progress *bar, size_t done)
{
    if (!bar->enabled || bar->total == 0) {
        return;
    }
    char cells[BAR_COLUMNS + 1];
    size_t filled = done * BAR_COLUMNS / bar->total;
    for (size_t i = 0; i < BAR_COLUMNS; i++) {
        cells[i] = i < filled ? '=' : i == filled ? '>' : ' ';
    }
    cells[BAR_COLUMNS] = '\0';
    char line[160];
    int used = snprintf(line, sizeof line, "[%s] %zu/%zu", cells, done, bar->total);
    if (done > 0) {
        double each = (clock_ms() - bar->start_ms) / (double)done;
        unsigned long left = (unsigned long)(each * (double)(bar->total - done) / 1e3 + 0.5);
        snprintf(line + used, sizeof line - (size_t)used, "  %.0f ms/%s  %lu:%02lu:%02lu left", each, bar->unit,
                 left / 3600, left / 60 % 60, left % 60);
    }
    pthread_mutex_lock(&drawing);
    fprintf(stderr, "\r\033[K%.*s", terminal_columns() - 1, line); /* a line that wraps could not be wiped */
    fflush(stderr);
    bar->shown = true;
    bar->done = done;
    pthread_mutex_unlock(&drawing);
}
