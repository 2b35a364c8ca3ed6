/* A reader for JSON files that people and other programs write: strict about the grammar (RFC 8259), indifferent to
 * members it is not asked for. The caller walks the document by callbacks; the first fault stops everything and is told
 * by line and column. */
#ifndef RCNN_TOOLS_JSON_TEXT_H
#define RCNN_TOOLS_JSON_TEXT_H

#include <stddef.h>

#include "message.h"

#define JSON_TEXT_DEPTH_MAX 64

typedef struct json_text {
    const char *name; /* heads the messages                           */
    const char *data; /* [size], then a NUL; borrowed                 */
    size_t size, at;
    int depth;
    bool failed; /* every function returns at once when it is set */
    rcnn_error *err;
} json_text;

/* Called with the reader on a member's value, which it must read or skip. */
typedef void (*json_text_member)(json_text *json, const char *key, void *context);
typedef void (*json_text_element)(json_text *json, void *context);

/* Reads an object; members whose value is null are taken as not there. Keys over 63 bytes are cut. */
void json_text_object(json_text *json, json_text_member member, void *context);
void json_text_array(json_text *json, json_text_element element, void *context);
/* Unescaped and printable (utf8.h), cut to whole characters that fit. */
void json_text_string(json_text *json, char *out, size_t capacity);
/* A finite number in [low, high]. */
double json_text_number(json_text *json, double low, double high);
bool json_text_bool(json_text *json);
void json_text_skip(json_text *json);
/* First character of the next token, '\0' at the end. */
char json_text_peek(json_text *json);
/* Nothing but white space may follow. */
void json_text_end(json_text *json);
/* Ends the reading with a message that states the place. */
void json_text_fail(json_text *json, rcnn_status status, const char *format, ...) TOOL_PRINTF(3, 4);

#endif
