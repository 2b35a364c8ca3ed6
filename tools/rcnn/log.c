#include "log.h"

#include <stdarg.h>
#include <stdio.h>

#include "message.h"

static void print_line(void *context, rcnn_log_level level, const char *line)
{
    static const char *const NAMES[] = {"error", "warning", "info", "debug", "trace"};
    if (context) {
        progress_hide(context);
    }
    message_error("%s: %s", NAMES[level <= RCNN_LOG_TRACE ? level : RCNN_LOG_TRACE], line);
}

static progress *bar_shown; /* set before there are threads */
static rcnn_log_level level_shown = RCNN_LOG_ERROR;

void log_start(const options *opts, progress *bar)
{
    rcnn_log_level level = RCNN_LOG_WARN;
    if (opts->value[OPT_VERBOSE].set) {
        level = RCNN_LOG_DEBUG;
    } else if (opts->value[OPT_QUIET].set) {
        level = RCNN_LOG_ERROR;
    }
    bar_shown = bar;
    level_shown = level;
    rcnn_log_set(print_line, bar, level);
}

void log_line(rcnn_log_level level, const char *format, ...)
{
    if (level > level_shown) {
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    print_line(bar_shown, level, line);
}
