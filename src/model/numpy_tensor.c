/* numpy arrays in pickles: numpy.core.multiarray._reconstruct with its BUILD state, _frombuffer of protocol 5, scalars.
 * Their bytes lie in the pickle, except in protocol 2, which spells them as a string to be encoded in latin-1. */
#include <string.h>

#include "model/checkpoint.h"
#include "model/convert.h"

static rcnn_status fail_array(const rcnn_checkpoint *c, rcnn_status status, const char *problem, rcnn_error *err)
{
    return rcnn_fail(err, status, "%s: array '%s': %s", c->weights->what, c->tensor, problem);
}

/* ------------------------------------------------------------------- bytes */

/* UTF-8 of code points 0 .. 255 to one byte each. False when anything else stands there. */
static bool decode_latin1(const uint8_t *text, size_t length, uint8_t *out, size_t *used)
{
    size_t count = 0;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < 0x80) {
            out[count++] = text[i];
        } else if ((text[i] == 0xc2 || text[i] == 0xc3) && i + 1 < length && (text[i + 1] & 0xc0) == 0x80) {
            out[count++] = (uint8_t)(text[i] << 6 | (text[i + 1] & 0x3f));
            i++;
        } else {
            return false;
        }
    }
    *used = count;
    return true;
}

/* Decodes a string once, however often the file uses it: the result is kept at its node. */
static rcnn_status latin1_bytes(rcnn_checkpoint *c, rcnn_node *text, const uint8_t **bytes, size_t *length,
                                rcnn_error *err)
{
    if (!text->text.latin1) {
        rcnn_latin1 *latin1 = rcnn_arena_alloc(&c->weights->decoded, sizeof *latin1 + text->text.length);
        if (!latin1) {
            return rcnn_arena_fail(&c->weights->decoded, c->weights->what, err);
        }
        if (!decode_latin1(text->text.bytes, text->text.length, latin1->bytes, &latin1->length)) {
            return fail_array(c, RCNN_ERR_FORMAT, "its bytes are no latin-1 text", err);
        }
        text->text.latin1 = latin1;
    }
    *bytes = text->text.latin1->bytes;
    *length = text->text.latin1->length;
    return RCNN_OK;
}

/* The bytes of a BYTES node, of a Python 2 str, or of encode(text, 'latin1'), bytearray(...), bytes(). */
static rcnn_status read_bytes(rcnn_checkpoint *c, rcnn_node *node, const uint8_t **bytes, size_t *length,
                              rcnn_error *err)
{
    bool call = rcnn_call_meaning(node) == RCNN_MEANS_BYTES && node->call.args->kind == RCNN_NODE_TUPLE;
    if (call && node->call.args->count == 0) {
        *bytes = (const uint8_t *)"";
        *length = 0;
        return RCNN_OK;
    }
    const rcnn_node *encoding = call ? rcnn_node_item(node, 1) : NULL;
    rcnn_node *source = call ? rcnn_node_item(node, 0) : node;
    if (source && (source->kind == RCNN_NODE_BYTES || (source->kind == RCNN_NODE_TEXT && source->raw))) {
        *bytes = source->text.bytes;
        *length = source->text.length;
        return RCNN_OK;
    }
    if (source && source->kind == RCNN_NODE_TEXT &&
        (rcnn_node_is_text(encoding, "latin1") || rcnn_node_is_text(encoding, "latin-1"))) {
        return latin1_bytes(c, source, bytes, length, err);
    }
    return fail_array(c, RCNN_ERR_FORMAT, "want bytes", err);
}

/* ------------------------------------------------------------------- dtype */

/* dtype('f4', ...) with the state (3, '<', ...). */
static rcnn_status read_dtype(const rcnn_checkpoint *c, const rcnn_node *node, rcnn_dtype *out, rcnn_error *err)
{
    static const struct {
        const char *name;
        rcnn_dtype dtype;
    } NAMES[] = {{"f4", RCNN_F32}, {"f2", RCNN_F16}, {"f8", RCNN_F64}, {"i1", RCNN_I8},  {"u1", RCNN_U8},
                 {"i2", RCNN_I16}, {"i4", RCNN_I32}, {"i8", RCNN_I64}, {"b1", RCNN_BOOL}};
    const rcnn_node *name = rcnn_node_item(node, 0);
    if (rcnn_call_meaning(node) != RCNN_MEANS_NUMPY_DTYPE || !name || name->kind != RCNN_NODE_TEXT) {
        return fail_array(c, RCNN_ERR_FORMAT, "want a numpy dtype", err);
    }
    const rcnn_node *state = node->call.extra ? node->call.extra->state : NULL;
    if (rcnn_node_is_text(rcnn_node_item(state, 1), ">")) {
        return fail_array(c, RCNN_ERR_UNSUPPORTED, "big-endian arrays are not supported", err);
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        if (rcnn_node_is_text(name, NAMES[i].name)) {
            *out = NAMES[i].dtype;
            return RCNN_OK;
        }
    }
    int length = name->text.length < 32 ? (int)name->text.length : 32;
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "%s: array '%s': numpy dtype '%.*s' is not supported", c->weights->what,
                     c->tensor, length, (const char *)name->text.bytes);
}

/* ------------------------------------------------------------------- arrays */

static void set_strides(rcnn_tensor_info *t, bool fortran)
{
    int64_t stride = 1;
    for (int32_t i = 0; i < t->rank; i++) {
        int32_t axis = fortran ? i : t->rank - 1 - i;
        t->stride[axis] = stride;
        stride *= t->shape[axis];
    }
}

typedef struct array_parts {
    rcnn_node *shape, *dtype, *bytes;
    bool fortran;
} array_parts;

static rcnn_status read_parts(const rcnn_checkpoint *c, rcnn_node *node, array_parts *out, rcnn_error *err)
{
    if (rcnn_call_meaning(node) == RCNN_MEANS_NUMPY_BUFFER) { /* buffer, dtype, shape, order */
        *out = (array_parts){rcnn_node_item(node, 2), rcnn_node_item(node, 1), rcnn_node_item(node, 0),
                             rcnn_node_is_text(rcnn_node_item(node, 3), "F")};
    } else { /* BUILD: version, shape, dtype, fortran order, bytes */
        rcnn_node *state = node->call.extra ? node->call.extra->state : NULL;
        const rcnn_node *fortran = rcnn_node_item(state, 3);
        *out = (array_parts){rcnn_node_item(state, 1), rcnn_node_item(state, 2), rcnn_node_item(state, 4),
                             fortran && (fortran->kind == RCNN_NODE_BOOL || fortran->kind == RCNN_NODE_INT) &&
                                 fortran->integer != 0};
    }
    if (!out->shape || !out->dtype || !out->bytes || out->shape->kind != RCNN_NODE_TUPLE) {
        return fail_array(c, RCNN_ERR_FORMAT, "shape, dtype or data is missing", err);
    }
    return RCNN_OK;
}

rcnn_status rcnn_numpy_tensor(rcnn_checkpoint *c, rcnn_node *node, rcnn_tensor_info *out, rcnn_error *err)
{
    array_parts parts;
    const uint8_t *bytes;
    size_t length;
    uint64_t count;
    RCNN_TRY(read_parts(c, node, &parts, err));
    RCNN_TRY(read_dtype(c, parts.dtype, &out->dtype, err));
    if (parts.shape->count > RCNN_TENSOR_RANK_MAX) {
        return fail_array(c, RCNN_ERR_UNSUPPORTED, "more than 8 dimensions", err);
    }
    out->rank = (int32_t)parts.shape->count;
    for (int32_t i = 0; i < out->rank; i++) {
        uint64_t size;
        if (!rcnn_node_size(parts.shape->list.items[i], &size)) {
            return fail_array(c, RCNN_ERR_FORMAT, "a size is no integer of 0 or more", err);
        }
        out->shape[i] = (int64_t)size;
    }
    RCNN_TRY(read_bytes(c, parts.bytes, &bytes, &length, err));
    size_t width = rcnn_dtype_bytes(out->dtype);
    if (!rcnn_shape_count(out->shape, out->rank, &count) || length % width != 0 || count != length / width) {
        return fail_array(c, RCNN_ERR_FORMAT, "shape and dtype do not match the length of its data", err);
    }
    if (count > 0) {
        set_strides(out, parts.fortran);
    }
    out->data = bytes;
    return RCNN_OK;
}

bool rcnn_numpy_scalar(rcnn_checkpoint *c, rcnn_node *node, rcnn_node *out)
{
    rcnn_dtype dtype;
    const uint8_t *bytes;
    size_t length;
    rcnn_node *data = rcnn_node_item(node, 1);
    if (rcnn_call_meaning(node) != RCNN_MEANS_NUMPY_SCALAR || !data ||
        read_dtype(c, rcnn_node_item(node, 0), &dtype, NULL) != RCNN_OK ||
        read_bytes(c, data, &bytes, &length, NULL) != RCNN_OK || length != rcnn_dtype_bytes(dtype)) {
        return false;
    }
    *out = (rcnn_node){.kind = dtype == RCNN_BOOL ? RCNN_NODE_BOOL : RCNN_NODE_INT};
    if (dtype == RCNN_F64) {
        out->kind = RCNN_NODE_REAL;
        memcpy(&out->real, bytes, sizeof out->real);
        return true;
    }
    if (dtype == RCNN_I64) {
        memcpy(&out->integer, bytes, sizeof out->integer);
        return true;
    }
    if (dtype == RCNN_I32) {
        int32_t value;
        memcpy(&value, bytes, sizeof value);
        out->integer = value;
        return true;
    }
    float value;
    rcnn_tensor_info info = {.name = "", .dtype = dtype, .data = bytes};
    if (rcnn_tensor_to_f32(&info, &value, NULL) != RCNN_OK) {
        return false;
    }
    if (dtype == RCNN_F32 || dtype == RCNN_F16) {
        out->kind = RCNN_NODE_REAL;
        out->real = (double)value;
    } else {
        out->integer = (int64_t)value; /* 8 and 16 bits: exact */
    }
    return true;
}
