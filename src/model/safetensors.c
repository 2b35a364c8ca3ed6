/* The safetensors reader. Strict, as the format asks: every byte of the data part belongs to exactly one tensor. */
#include "model/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "model/bytes.h"
#include "model/convert.h"
#include "model/weights.h"

typedef struct range { /* bytes [begin, end) of the data part that a tensor claims */
    uint64_t begin, end;
    size_t tensor;
} range;

typedef struct reader {
    rcnn_weights *weights;
    rcnn_json json;
    uint64_t header_bytes;
    range *ranges;
    size_t range_capacity;
    rcnn_tensor_info tensor; /* being read, without name and data */
    range place;
    bool has_dtype, has_shape, has_offsets;
} reader;

static rcnn_status read_dtype(reader *r, rcnn_error *err)
{
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_STRING, err));
    for (int dtype = RCNN_F32; dtype <= RCNN_BOOL; dtype++) {
        if (strcmp(r->json.text, rcnn_dtype_name((rcnn_dtype)dtype)) == 0) {
            r->tensor.dtype = (rcnn_dtype)dtype;
            r->has_dtype = true;
            return RCNN_OK;
        }
    }
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: safetensors: element type '%s' is not supported", r->weights->what,
                     r->json.text);
}

/* The next token must be a non-negative integer, or the end of the array (*more false). */
static rcnn_status read_size(reader *r, int64_t *out, bool *more, rcnn_error *err)
{
    RCNN_TRY(rcnn_json_next(&r->json, err));
    *more = r->json.token != RCNN_JSON_ARRAY_END;
    if (*more && (r->json.token != RCNN_JSON_NUMBER || !r->json.is_integer || r->json.integer < 0)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: JSON byte %zu: want a non-negative integer",
                         r->weights->what, r->json.offset);
    }
    *out = r->json.integer;
    return RCNN_OK;
}

static rcnn_status read_shape(reader *r, rcnn_error *err)
{
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_ARRAY_BEGIN, err));
    r->tensor.rank = 0;
    for (;;) {
        int64_t size = 0;
        bool more = false;
        RCNN_TRY(read_size(r, &size, &more, err));
        if (!more) {
            r->has_shape = true;
            return RCNN_OK;
        }
        if (r->tensor.rank == RCNN_TENSOR_RANK_MAX) {
            return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: safetensors: JSON byte %zu: more than %d dimensions",
                             r->weights->what, r->json.offset, RCNN_TENSOR_RANK_MAX);
        }
        r->tensor.shape[r->tensor.rank++] = size;
    }
}

static rcnn_status read_offsets(reader *r, rcnn_error *err)
{
    int64_t values[2] = {0};
    bool more = true;
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_ARRAY_BEGIN, err));
    for (int i = 0; i < 2 && more; i++) {
        RCNN_TRY(read_size(r, &values[i], &more, err));
    }
    if (!more) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: JSON byte %zu: want two data offsets",
                         r->weights->what, r->json.offset);
    }
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_ARRAY_END, err));
    r->place.begin = (uint64_t)values[0];
    r->place.end = (uint64_t)values[1];
    r->has_offsets = true;
    return RCNN_OK;
}

static rcnn_status read_fields(reader *r, rcnn_error *err)
{
    r->has_dtype = r->has_shape = r->has_offsets = false;
    for (;;) {
        RCNN_TRY(rcnn_json_next(&r->json, err));
        if (r->json.token == RCNN_JSON_OBJECT_END) {
            return RCNN_OK;
        }
        if (strcmp(r->json.text, "dtype") == 0) {
            RCNN_TRY(read_dtype(r, err));
        } else if (strcmp(r->json.text, "shape") == 0) {
            RCNN_TRY(read_shape(r, err));
        } else if (strcmp(r->json.text, "data_offsets") == 0) {
            RCNN_TRY(read_offsets(r, err));
        } else {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: JSON byte %zu: unknown tensor field '%s'",
                             r->weights->what, r->json.offset, r->json.text);
        }
    }
}

static void set_contiguous(rcnn_tensor_info *t)
{
    int64_t stride = 1;
    for (int32_t i = t->rank - 1; i >= 0; i--) {
        t->stride[i] = stride;
        stride *= t->shape[i] > 0 ? t->shape[i] : 1; /* a tensor without elements: any stride does */
    }
}

/* Checks the fields against each other and the file, and sets stride and data. */
static rcnn_status finish_tensor(reader *r, const char *name, rcnn_error *err)
{
    const rcnn_weights *w = r->weights;
    uint64_t count, data_bytes = w->size - 8 - r->header_bytes;
    if (!r->has_dtype || !r->has_shape || !r->has_offsets) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: tensor '%s' lacks dtype, shape or data_offsets",
                         w->what, name);
    }
    if (r->place.begin > r->place.end || r->place.end > data_bytes) {
        return rcnn_fail(err, RCNN_ERR_FORMAT,
                         "%s: safetensors: tensor '%s' claims bytes %llu to %llu of a data part of %llu", w->what, name,
                         (unsigned long long)r->place.begin, (unsigned long long)r->place.end,
                         (unsigned long long)data_bytes);
    }
    uint64_t bytes = r->place.end - r->place.begin, width = rcnn_dtype_bytes(r->tensor.dtype);
    if (!rcnn_shape_count(r->tensor.shape, r->tensor.rank, &count) || bytes % width != 0 || count != bytes / width) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: tensor '%s': shape and %s do not make %llu bytes",
                         w->what, name, rcnn_dtype_name(r->tensor.dtype), (unsigned long long)bytes);
    }
    if (count > 0) {
        set_contiguous(&r->tensor);
    }
    r->tensor.data = w->data + 8 + r->header_bytes + r->place.begin;
    return RCNN_OK;
}

static rcnn_status read_tensor(reader *r, rcnn_error *err)
{
    char name[RCNN_WEIGHTS_NAME_MAX + 1];
    size_t length = r->json.length;
    if (length > RCNN_WEIGHTS_NAME_MAX) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: a tensor name is longer than %d bytes",
                         r->weights->what, RCNN_WEIGHTS_NAME_MAX);
    }
    memcpy(name, r->json.text, length + 1);
    r->tensor = (rcnn_tensor_info){0};
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_OBJECT_BEGIN, err));
    RCNN_TRY(read_fields(r, err));
    RCNN_TRY(finish_tensor(r, name, err));
    void *ranges = r->ranges;
    size_t index = r->weights->tensor_count;
    if (!rcnn_grow(&ranges, &r->range_capacity, index + 1, sizeof r->ranges[0])) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory", r->weights->what);
    }
    r->ranges = ranges;
    r->place.tensor = index;
    r->ranges[index] = r->place;
    return rcnn_weights_add_tensor(r->weights, name, length, &r->tensor, err);
}

static rcnn_status read_metadata(reader *r, rcnn_error *err)
{
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_OBJECT_BEGIN, err));
    for (;;) {
        char key[RCNN_WEIGHTS_NAME_MAX + 1];
        RCNN_TRY(rcnn_json_next(&r->json, err));
        if (r->json.token == RCNN_JSON_OBJECT_END) {
            return RCNN_OK;
        }
        if (r->json.length > RCNN_WEIGHTS_NAME_MAX) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: a metadata key is longer than %d bytes",
                             r->weights->what, RCNN_WEIGHTS_NAME_MAX);
        }
        memcpy(key, r->json.text, r->json.length + 1);
        RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_STRING, err));
        RCNN_TRY(rcnn_weights_add_meta(r->weights, key, r->json.text, r->json.length, err));
    }
}

static int compare_ranges(const void *a, const void *b)
{
    const range *left = a, *right = b;
    if (left->begin != right->begin) {
        return left->begin < right->begin ? -1 : 1;
    }
    return (left->end > right->end) - (left->end < right->end);
}

static rcnn_status check_cover(const reader *r, rcnn_error *err)
{
    const rcnn_weights *w = r->weights;
    uint64_t at = 0, data_bytes = w->size - 8 - r->header_bytes;
    if (w->tensor_count > 1) {
        qsort(r->ranges, w->tensor_count, sizeof r->ranges[0], compare_ranges);
    }
    for (size_t i = 0; i < w->tensor_count; i++) {
        if (r->ranges[i].begin != at) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: tensor '%s' begins at byte %llu, want %llu (%s)",
                             w->what, w->tensors[r->ranges[i].tensor].name, (unsigned long long)r->ranges[i].begin,
                             (unsigned long long)at,
                             r->ranges[i].begin < at ? "tensors overlap" : "bytes without owner");
        }
        at = r->ranges[i].end;
    }
    if (at != data_bytes) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: tensors end at byte %llu of a data part of %llu",
                         w->what, (unsigned long long)at, (unsigned long long)data_bytes);
    }
    return RCNN_OK;
}

static rcnn_status read_header(reader *r, rcnn_error *err)
{
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_OBJECT_BEGIN, err));
    for (;;) {
        RCNN_TRY(rcnn_json_next(&r->json, err));
        if (r->json.token == RCNN_JSON_OBJECT_END) {
            break;
        }
        if (strcmp(r->json.text, "__metadata__") == 0) {
            RCNN_TRY(read_metadata(r, err));
        } else {
            RCNN_TRY(read_tensor(r, err));
        }
    }
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_END, err));
    return check_cover(r, err);
}

rcnn_status rcnn_read_safetensors(rcnn_weights *w, rcnn_error *err)
{
    reader r = {.weights = w, .header_bytes = rcnn_load_u64(w->data)};
    if (r.header_bytes > w->size - 8) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "%s: safetensors: header of %llu bytes in a file of %zu: truncated?",
                         w->what, (unsigned long long)r.header_bytes, w->size);
    }
    if (r.header_bytes > RCNN_SAFETENSORS_HEADER_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "%s: safetensors: want a header of at most %d bytes, got %llu", w->what,
                         RCNN_SAFETENSORS_HEADER_MAX, (unsigned long long)r.header_bytes);
    }
    rcnn_json_open(&r.json, w->what, w->data + 8, (size_t)r.header_bytes);
    rcnn_status status = read_header(&r, err);
    rcnn_json_close(&r.json);
    rcnn_free(r.ranges);
    return status;
}
