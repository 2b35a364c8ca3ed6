/* Error text and the log callback. Deliberately no allocation here: reporting "out of memory" must not need memory. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const STATUS_NAMES[] = {
    "ok",           "bad argument",  "out of memory",  "input/output error",
    "format error", "unsupported",   "limit exceeded", "device error",
    "not found",    "numeric error", "cancelled",      "internal error",
};

const char *rcnn_status_name(rcnn_status status)
{
    size_t index = (size_t)status;
    return index < sizeof STATUS_NAMES / sizeof STATUS_NAMES[0] ? STATUS_NAMES[index] : "unknown status";
}

/* File names and file contents end up in messages; a newline or escape in them must not forge lines or move cursors. */
static void make_printable(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }
}

static void fill(rcnn_error *err, rcnn_status status, const char *format, va_list args)
{
    if (!err) {
        return;
    }
    err->status = status;
    if (vsnprintf(err->message, sizeof err->message, format, args) < 0) {
        err->message[0] = '\0';
    }
    make_printable(err->message);
}

rcnn_status rcnn_fail(rcnn_error *err, rcnn_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(err, status, format, args);
    va_end(args);
    return status;
}

rcnn_status rcnn_fail_errno(rcnn_error *err, const char *format, ...)
{
    int number = errno;
    rcnn_status status = number == ENOENT ? RCNN_ERR_NOT_FOUND : number == ENOMEM ? RCNN_ERR_MEMORY : RCNN_ERR_IO;
    va_list args;
    va_start(args, format);
    fill(err, status, format, args);
    va_end(args);
    if (err) {
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, ": %s", strerror(number));
    }
    return status;
}

void rcnn_error_clear(rcnn_error *err)
{
    if (err) {
        err->status = RCNN_OK;
        err->message[0] = '\0';
    }
}

static struct {
    rcnn_log_fn fn;
    void *context;
    rcnn_log_level level;
} log_sink;

void rcnn_log_set(rcnn_log_fn fn, void *context, rcnn_log_level level)
{
    log_sink.fn = fn;
    log_sink.context = context;
    log_sink.level = level;
}

int rcnn_log_enabled(rcnn_log_level level)
{
    return log_sink.fn != NULL && level <= log_sink.level;
}

void rcnn_log(rcnn_log_level level, const char *format, ...)
{
    if (!rcnn_log_enabled(level)) {
        return;
    }
    char line[1024];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (length >= 0) {
        make_printable(line);
        log_sink.fn(log_sink.context, level, line);
    }
}
