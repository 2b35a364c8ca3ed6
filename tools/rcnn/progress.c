#include "progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BAR_COLUMNS 30

double clock_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

void progress_start(progress *bar, size_t total, bool wanted)
{
    *bar = (progress){.enabled = wanted && isatty(STDERR_FILENO), .total = total, .start_ms = clock_ms()};
}

void progress_hide(progress *bar)
{
    if (bar->shown) {
        fputs("\r\033[K", stderr);
        bar->shown = false;
    }
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
    fprintf(stderr, "\r\033[K[%s] %zu/%zu", cells, done, bar->total);
    if (done > 0) {
        double each = (clock_ms() - bar->start_ms) / (double)done;
        unsigned long left = (unsigned long)(each * (double)(bar->total - done) / 1e3 + 0.5);
        fprintf(stderr, "  %.0f ms/image  %lu:%02lu:%02lu left", each, left / 3600, left / 60 % 60, left % 60);
    }
    fflush(stderr);
    bar->shown = true;
    bar->done = done;
}
