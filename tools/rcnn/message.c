#include "message.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A file name may hold a newline or an escape sequence; a message may not. */
static void make_printable(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = '?';
        }
    }
}

void message_error(const char *format, ...)
{
    char line[1024];
    va_list args;
    va_start(args, format);
    if (vsnprintf(line, sizeof line, format, args) < 0) {
        line[0] = '\0';
    }
    va_end(args);
    make_printable(line);
    fprintf(stderr, "rcnn: %s\n", line);
}

void message_about(const char *path, const char *text)
{
    if (strstr(text, path)) {
        message_error("%s", text);
    } else {
        message_error("'%.300s': %s", path, text);
    }
}

bool tool_fail(rcnn_error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    err->status = RCNN_ERR_IO;
    if (vsnprintf(err->message, sizeof err->message, format, args) < 0) {
        err->message[0] = '\0';
    }
    va_end(args);
    return false;
}

int tool_status(const rcnn_error *err)
{
    return err->status == RCNN_ERR_ARGUMENT ? TOOL_USAGE : TOOL_FAILED;
}
