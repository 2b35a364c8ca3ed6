/* A pull reader for JSON (RFC 8259): one token at a time over bytes in memory, no tree, so that a 450 MB annotation
 * file costs no more than what the caller keeps. Depth, string and number limits make hostile input one clear error. */
#ifndef RCNN_BASE_JSON_H
#define RCNN_BASE_JSON_H

#include <stdbool.h>

#include "base/status.h"

#define RCNN_JSON_DEPTH_MAX 256

typedef enum rcnn_json_token {
    RCNN_JSON_END, /* the one top-level value is complete and only white space followed */
    RCNN_JSON_OBJECT_BEGIN,
    RCNN_JSON_OBJECT_END,
    RCNN_JSON_ARRAY_BEGIN,
    RCNN_JSON_ARRAY_END,
    RCNN_JSON_KEY,    /* text, length */
    RCNN_JSON_STRING, /* text, length */
    RCNN_JSON_NUMBER, /* number; integer when is_integer */
    RCNN_JSON_TRUE,
    RCNN_JSON_FALSE,
    RCNN_JSON_NULL
} rcnn_json_token;

typedef struct rcnn_json {
    /* Last token. text is NUL-terminated, unescaped UTF-8, valid until the next call; it may hold NUL bytes of its own. */
    rcnn_json_token token;
    const char *text;
    size_t length;
    double number;
    int64_t integer;
    bool is_integer;
    size_t offset; /* byte offset of the token, for messages */
    /* private */
    const char *what; /* name used in messages */
    const uint8_t *data;
    size_t size, position;
    char *buffer;
    size_t buffer_capacity;
    int32_t depth;
    uint8_t stack[RCNN_JSON_DEPTH_MAX];
    uint8_t state;
} rcnn_json;

/* Starts reading `size` bytes; `what` (a file name) stands at the head of error messages. Both are borrowed. */
void rcnn_json_open(rcnn_json *json, const char *what, const void *data, size_t size);
void rcnn_json_close(rcnn_json *json);
/* Reads the next token into json->token. FORMAT with offset, wanted and got; LIMIT past the depth; MEMORY. */
rcnn_status rcnn_json_next(rcnn_json *json, rcnn_error *err);
/* With the reader on the first token of a value (or on its KEY): passes over the whole value. */
rcnn_status rcnn_json_skip(rcnn_json *json, rcnn_error *err);
/* next + "the token must be this", with a message naming both. */
rcnn_status rcnn_json_expect(rcnn_json *json, rcnn_json_token token, rcnn_error *err);
const char *rcnn_json_token_name(rcnn_json_token token);

#endif
