#include "log.h"

#include "message.h"

static void print_line(void *context, rcnn_log_level level, const char *line)
{
    static const char *const NAMES[] = {"error", "warning", "info", "debug", "trace"};
    if (context) {
        progress_hide(context);
    }
    message_error("%s: %s", NAMES[level <= RCNN_LOG_TRACE ? level : RCNN_LOG_TRACE], line);
}

void log_start(const options *opts, progress *bar)
{
    rcnn_log_level level = RCNN_LOG_WARN;
    if (opts->value[OPT_VERBOSE].set) {
        level = RCNN_LOG_DEBUG;
    } else if (opts->value[OPT_QUIET].set) {
        level = RCNN_LOG_ERROR;
    }
    rcnn_log_set(print_line, bar, level);
}
