/* Lines for the person at the terminal. Every one starts with "rcnn: " and stays one line whatever a file is called. */
#ifndef RCNN_TOOLS_MESSAGE_H
#define RCNN_TOOLS_MESSAGE_H

#include <stdbool.h>

#include "rcnn/rcnn.h"

#if defined(__GNUC__)
#define TOOL_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define TOOL_PRINTF(format_index, first)
#endif

enum { TOOL_DONE = 0, TOOL_FAILED = 1, TOOL_USAGE = 2 }; /* exit status; 128 + signal when one ended the run */

/* One line to standard error. */
void message_error(const char *format, ...) TOOL_PRINTF(1, 2);
/* A library's text about a file, as one line with the name in front unless it is in the text already. */
void message_about(const char *path, const char *text);
/* Fills err (status IO) with one line and returns false: the tool's own failures travel like the library's. */
bool tool_fail(rcnn_error *err, const char *format, ...) TOOL_PRINTF(2, 3);
/* The exit status of a failed library call: bad arguments are bad usage, the rest are failures. */
int tool_status(const rcnn_error *err);

#endif
