/* A progress bar with the time left on standard error; silent unless that is a terminal. */
#ifndef RCNN_TOOLS_PROGRESS_H
#define RCNN_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct progress {
    bool enabled, shown;
    size_t total, done;
    double start_ms;
    const char *unit; /* what is counted; progress_start says "image" */
} progress;

/* Milliseconds of a clock that never jumps. */
double clock_ms(void);

void progress_start(progress *bar, size_t total, bool wanted);
/* Wipes the bar, before any other output to the terminal. Any thread. */
void progress_hide(progress *bar);
/* Draws it with `done` of the total behind it. */
void progress_show(progress *bar, size_t done);

#endif
