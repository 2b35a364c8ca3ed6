/* The library's log lines on standard error, around a progress bar when there is one. */
#ifndef RCNN_TOOLS_LOG_H
#define RCNN_TOOLS_LOG_H

#include "message.h"
#include "opts.h"
#include "progress.h"

/* Warnings by default, everything with --verbose, errors only with --quiet. bar may be NULL and is borrowed. */
void log_start(const options *opts, progress *bar);
/* A line of the program's own among them. Any thread. */
void log_line(rcnn_log_level level, const char *format, ...) TOOL_PRINTF(2, 3);

#endif
