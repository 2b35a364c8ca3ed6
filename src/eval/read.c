/* Objects, numbers and boxes of annotation and result files. */
#include "eval/read.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define RELEASE_STEP ((size_t)8 << 20) /* bytes read between two releases of pages */

void rcnn_eval_reader_open(rcnn_eval_reader *reader, const char *name, const void *data, size_t size)
{
    *reader = (rcnn_eval_reader){.name = name};
    rcnn_json_open(&reader->json, name, data, size);
}

void rcnn_eval_reader_close(rcnn_eval_reader *reader)
{
    rcnn_json_close(&reader->json);
    rcnn_free(reader->vertices);
    rcnn_free(reader->counts);
    rcnn_text_free(&reader->text);
    rcnn_eval_canvas_free(&reader->canvas);
}

void rcnn_eval_reader_release(rcnn_eval_reader *reader)
{
    if (reader->map && reader->json.position - reader->released >= RELEASE_STEP) {
        rcnn_file_map_release(reader->map, reader->released, reader->json.position);
        reader->released = reader->json.position;
    }
}

rcnn_status rcnn_eval_bad(const rcnn_eval_reader *reader, size_t offset, rcnn_error *err, const char *format, ...)
{
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: JSON byte %zu: %s", reader->name, offset, text);
}

rcnn_status rcnn_eval_no_memory(const rcnn_eval_reader *reader, rcnn_error *err)
{
    return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", reader->name);
}

/* ----------------------------------------------------------------- objects */

static int find_name(const char *const *names, int count, const rcnn_json *json)
{
    for (int i = 0; i < count; i++) {
        if (strlen(names[i]) == json->length && memcmp(names[i], json->text, json->length) == 0) {
            return i;
        }
    }
    return -1;
}

rcnn_status rcnn_eval_read_members(rcnn_eval_reader *reader, const char *const *names, int count,
                                   rcnn_eval_member_fn on_member, void *context, unsigned *seen, rcnn_error *err)
{
    rcnn_json *json = &reader->json;
    *seen = 0;
    for (;;) {
        RCNN_TRY(rcnn_json_next(json, err));
        if (json->token == RCNN_JSON_OBJECT_END) {
            return RCNN_OK;
        }
        const int member = find_name(names, count, json);
        if (member < 0) {
            RCNN_TRY(rcnn_json_skip(json, err));
            continue;
        }
        if (*seen >> member & 1u) {
            return rcnn_eval_bad(reader, json->offset, err, "want \"%s\" once in an object, got it twice",
                                 names[member]);
        }
        *seen |= 1u << member;
        RCNN_TRY(on_member(context, member, err));
    }
}

rcnn_status rcnn_eval_require(const rcnn_eval_reader *reader, const char *const *names, unsigned wanted, unsigned seen,
                              const char *what, size_t offset, rcnn_error *err)
{
    for (int i = 0; wanted >> i; i++) {
        if (wanted >> i & ~seen >> i & 1u) {
            return rcnn_eval_bad(reader, offset, err, "%s without \"%s\"", what, names[i]);
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_eval_read_objects(rcnn_eval_reader *reader, const char *what, rcnn_eval_member_fn on_object,
                                   void *context, rcnn_error *err)
{
    rcnn_json *json = &reader->json;
    RCNN_TRY(rcnn_json_next(json, err));
    if (json->token != RCNN_JSON_ARRAY_BEGIN) {
        return rcnn_eval_bad(reader, json->offset, err, "%s: want '[', got %s", what,
                             rcnn_json_token_name(json->token));
    }
    for (int index = 0;; index++) {
        RCNN_TRY(rcnn_json_next(json, err));
        if (json->token == RCNN_JSON_ARRAY_END) {
            return RCNN_OK;
        }
        if (json->token != RCNN_JSON_OBJECT_BEGIN) {
            return rcnn_eval_bad(reader, json->offset, err, "%s: want '{', got %s", what,
                                 rcnn_json_token_name(json->token));
        }
        if (index == INT32_MAX) {
            return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: JSON byte %zu: %s: more than %d", reader->name, json->offset,
                             what, INT32_MAX);
        }
        RCNN_TRY(on_object(context, index, err));
        rcnn_eval_reader_release(reader);
    }
}

/* ----------------------------------------------------------------- scalars */

static rcnn_status wrong_type(const rcnn_eval_reader *reader, const char *what, const char *wanted, rcnn_error *err)
{
    return rcnn_eval_bad(reader, reader->json.offset, err, "%s: want %s, got %s", what, wanted,
                         rcnn_json_token_name(reader->json.token));
}

rcnn_status rcnn_eval_read_integer(rcnn_eval_reader *reader, const char *what, int64_t *out, rcnn_error *err)
{
    rcnn_json *json = &reader->json;
    RCNN_TRY(rcnn_json_next(json, err));
    if (json->token != RCNN_JSON_NUMBER) {
        return wrong_type(reader, what, "a whole number", err);
    }
    if (!json->is_integer && (json->number != trunc(json->number) || fabs(json->number) > 0x1p53)) {
        return rcnn_eval_bad(reader, json->offset, err, "%s: want a whole number, got %g", what, json->number);
    }
    *out = json->is_integer ? json->integer : (int64_t)json->number;
    return RCNN_OK;
}

rcnn_status rcnn_eval_read_real(rcnn_eval_reader *reader, const char *what, double *out, rcnn_error *err)
{
    RCNN_TRY(rcnn_json_next(&reader->json, err));
    if (reader->json.token != RCNN_JSON_NUMBER) {
        return wrong_type(reader, what, "a number", err);
    }
    *out = reader->json.number;
    return RCNN_OK;
}

rcnn_status rcnn_eval_read_flag(rcnn_eval_reader *reader, const char *what, bool *out, rcnn_error *err)
{
    rcnn_json *json = &reader->json;
    RCNN_TRY(rcnn_json_next(json, err));
    if (json->token == RCNN_JSON_TRUE || json->token == RCNN_JSON_FALSE) {
        *out = json->token == RCNN_JSON_TRUE;
        return RCNN_OK;
    }
    if (json->token != RCNN_JSON_NUMBER || !json->is_integer) {
        return wrong_type(reader, what, "0, 1, true or false", err);
    }
    *out = json->integer != 0;
    return RCNN_OK;
}

rcnn_status rcnn_eval_read_box(rcnn_eval_reader *reader, double box[4], bool *present, rcnn_error *err)
{
    rcnn_json *json = &reader->json;
    size_t count = 0;
    RCNN_TRY(rcnn_json_next(json, err));
    const size_t offset = json->offset;
    if (json->token != RCNN_JSON_ARRAY_BEGIN) {
        return wrong_type(reader, "bbox", "[x, y, width, height]", err);
    }
    for (;;) {
        RCNN_TRY(rcnn_json_next(json, err));
        if (json->token == RCNN_JSON_ARRAY_END) {
            break;
        }
        if (json->token != RCNN_JSON_NUMBER) {
            return wrong_type(reader, "bbox", "four numbers", err);
        }
        if (count < 4) {
            box[count] = json->number;
        }
        count++;
    }
    *present = count == 4;
    if (count != 4 && count != 0) {
        return rcnn_eval_bad(reader, offset, err, "bbox: want four numbers, got %zu", count);
    }
    for (size_t i = 0; i < count; i++) {
        if (fabs(box[i]) > RCNN_EVAL_COORDINATE_MAX || (i >= 2 && box[i] < 0)) {
            return rcnn_eval_bad(reader, offset, err,
                                 "bbox: want x, y, width >= 0, height >= 0, none beyond %g, got %g %g %g %g",
                                 RCNN_EVAL_COORDINATE_MAX, box[0], box[1], box[2], box[3]);
        }
    }
    return RCNN_OK;
}
