/* A growing string, and JSON output on top of it. A failed allocation sets `failed`; later calls do nothing, so callers
 * check once at the end. */
#ifndef RCNN_BASE_TEXT_H
#define RCNN_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct rcnn_text {
    char *data; /* NUL-terminated; NULL while empty */
    size_t length, capacity;
    bool failed;
} rcnn_text;

void rcnn_text_add(rcnn_text *text, const char *piece);
void rcnn_text_add_bytes(rcnn_text *text, const char *bytes, size_t length);
void rcnn_text_printf(rcnn_text *text, const char *format, ...) RCNN_PRINTF(2, 3);
/* A JSON string literal with quotes; invalid UTF-8 bytes become U+FFFD. */
void rcnn_text_json_string(rcnn_text *text, const char *value);
/* A JSON number that reads back to the same double; non-finite values become null. */
void rcnn_text_json_number(rcnn_text *text, double value);
/* Gives the buffer to the caller (rcnn_free), or NULL when failed; the text is empty afterwards. */
char *rcnn_text_take(rcnn_text *text);
void rcnn_text_free(rcnn_text *text);

#endif
