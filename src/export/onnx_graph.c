/* See onnx_graph.h. Messages of protobuf-c's generated structs lie in one arena; only the lists of the graph grow. */
#include "export/onnx_graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define ARENA_BYTES_MAX ((size_t)256 << 20)
#define NAME_BYTES      128

void rcnn_onnx_graph_init(rcnn_onnx_graph *g, rcnn_error *err)
{
    *g = (rcnn_onnx_graph){.err = err, .scope = "graph"};
    rcnn_arena_init(&g->arena, ARENA_BYTES_MAX);
    onnx__graph_proto__init(&g->proto);
}

void rcnn_onnx_graph_free(rcnn_onnx_graph *g)
{
    rcnn_free((void *)g->proto.node);
    rcnn_free((void *)g->proto.initializer);
    rcnn_free((void *)g->proto.input);
    rcnn_free((void *)g->proto.output);
    rcnn_arena_free(&g->arena);
}

void rcnn_onnx_fail(rcnn_onnx_graph *g, rcnn_status status, const char *format, ...)
{
    char message[sizeof g->err->message];
    va_list arguments;
    if (g->status != RCNN_OK) {
        return;
    }
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    g->status = rcnn_fail(g->err, status, "%s", message);
}

/* ------------------------------------------------------------------ memory */

static void *allocate(rcnn_onnx_graph *g, size_t bytes)
{
    void *out = g->status == RCNN_OK ? rcnn_arena_alloc(&g->arena, bytes) : NULL;
    if (!out && g->status == RCNN_OK) {
        g->status = rcnn_arena_fail(&g->arena, "onnx graph", g->err);
    }
    return out;
}

static void *copy_of(rcnn_onnx_graph *g, const void *bytes, size_t count)
{
    void *out = allocate(g, count);
    if (out && count > 0) {
        memcpy(out, bytes, count);
    }
    return out;
}

static char *text_of(rcnn_onnx_graph *g, const char *text)
{
    return copy_of(g, text, strlen(text) + 1);
}

/* Room for one more pointer in a list of the graph. */
static bool grow(rcnn_onnx_graph *g, void *list, size_t *capacity, size_t count)
{
    void **array = list; /* protobuf-c's lists are arrays of pointers to messages */
    if (g->status == RCNN_OK && !rcnn_grow(array, capacity, count + 1, sizeof(void *))) {
        rcnn_onnx_fail(g, RCNN_ERR_MEMORY, "onnx graph: out of memory");
    }
    return g->status == RCNN_OK;
}

/* ------------------------------------------------------------------- nodes */

void rcnn_onnx_scope(rcnn_onnx_graph *g, const char *scope)
{
    g->scope = scope;
}

void rcnn_onnx_name_next(rcnn_onnx_graph *g, const char *name)
{
    g->next_name = text_of(g, name);
}

static char *new_name(rcnn_onnx_graph *g, const char *type)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s/%s_%d", g->scope, type, g->serial++);
    return text_of(g, name);
}

void rcnn_onnx_op_outputs(rcnn_onnx_graph *g, const char *type, const rcnn_onnx_value *inputs, size_t input_count,
                          rcnn_onnx_value *outputs, size_t count)
{
    Onnx__NodeProto *node = allocate(g, sizeof *node);
    char **input = allocate(g, input_count * sizeof *input);
    char **output = allocate(g, count * sizeof *output);
    Onnx__AttributeProto **attribute = allocate(g, RCNN_ONNX_ATTRIBUTES_MAX * sizeof(*attribute));
    for (size_t i = 0; i < count; i++) {
        outputs[i] = "";
    }
    if (g->status != RCNN_OK) {
        return;
    }
    onnx__node_proto__init(node);
    for (size_t i = 0; i < input_count; i++) {
        input[i] = text_of(g, inputs[i]);
    }
    for (size_t i = 0; i < count; i++) {
        output[i] = i == 0 && g->next_name ? text_of(g, g->next_name) : new_name(g, type);
    }
    g->next_name = NULL;
    node->input = input;
    node->n_input = input_count;
    node->output = output;
    node->n_output = count;
    node->name = output[0];
    node->op_type = text_of(g, type);
    node->attribute = attribute;
    if (grow(g, (void *)&g->proto.node, &g->node_capacity, g->proto.n_node)) {
        g->proto.node[g->proto.n_node++] = node;
        memcpy((void *)outputs, (void *)output, count * sizeof *outputs);
    }
}

rcnn_onnx_value rcnn_onnx_op(rcnn_onnx_graph *g, const char *type, const rcnn_onnx_value *inputs, size_t count)
{
    rcnn_onnx_value out = "";
    rcnn_onnx_op_outputs(g, type, inputs, count, &out, 1);
    return out;
}

/* A new attribute of the last node, without its value; NULL after a failure. */
static Onnx__AttributeProto *add_attribute(rcnn_onnx_graph *g, const char *name,
                                           Onnx__AttributeProto__AttributeType type)
{
    Onnx__AttributeProto *attribute = allocate(g, sizeof *attribute);
    char *own_name = text_of(g, name);
    if (g->status != RCNN_OK) {
        return NULL;
    }
    Onnx__NodeProto *node = g->proto.node[g->proto.n_node - 1];
    if (node->n_attribute == RCNN_ONNX_ATTRIBUTES_MAX) {
        rcnn_onnx_fail(g, RCNN_ERR_INTERNAL, "onnx graph: node '%s' has over %d attributes", node->name,
                       RCNN_ONNX_ATTRIBUTES_MAX);
        return NULL;
    }
    onnx__attribute_proto__init(attribute);
    attribute->name = own_name;
    attribute->has_type = 1;
    attribute->type = type;
    node->attribute[node->n_attribute++] = attribute;
    return attribute;
}

void rcnn_onnx_int(rcnn_onnx_graph *g, const char *name, int64_t value)
{
    Onnx__AttributeProto *attribute = add_attribute(g, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    if (attribute) {
        attribute->has_i = 1;
        attribute->i = value;
    }
}

void rcnn_onnx_float(rcnn_onnx_graph *g, const char *name, float value)
{
    Onnx__AttributeProto *attribute = add_attribute(g, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    if (attribute) {
        attribute->has_f = 1;
        attribute->f = value;
    }
}

void rcnn_onnx_text(rcnn_onnx_graph *g, const char *name, const char *value)
{
    Onnx__AttributeProto *attribute = add_attribute(g, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
    if (attribute) {
        attribute->has_s = 1;
        attribute->s = (ProtobufCBinaryData){.len = strlen(value), .data = copy_of(g, value, strlen(value))};
    }
}

void rcnn_onnx_int_list(rcnn_onnx_graph *g, const char *name, const int64_t *values, size_t count)
{
    Onnx__AttributeProto *attribute = add_attribute(g, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
    if (attribute) {
        attribute->ints = copy_of(g, values, count * sizeof *values);
        attribute->n_ints = count;
    }
}

/* ----------------------------------------------------------------- tensors */

/* A tensor over `bytes` of data that is already in its final place; NULL after a failure. */
static Onnx__TensorProto *new_tensor(rcnn_onnx_graph *g, int32_t type, int32_t rank, const int64_t *dims,
                                     const void *data, size_t bytes)
{
    Onnx__TensorProto *tensor = allocate(g, sizeof *tensor);
    int64_t *own_dims = copy_of(g, dims, (size_t)rank * sizeof *dims);
    if (g->status != RCNN_OK) {
        return NULL;
    }
    onnx__tensor_proto__init(tensor);
    tensor->n_dims = (size_t)rank;
    tensor->dims = own_dims;
    tensor->has_data_type = 1;
    tensor->data_type = type;
    tensor->has_raw_data = 1;
    tensor->raw_data = (ProtobufCBinaryData){.len = bytes, .data = (uint8_t *)data}; /* read only: it is packed */
    return tensor;
}

void rcnn_onnx_int_tensor(rcnn_onnx_graph *g, const char *name, int64_t value)
{
    const int64_t one = 1;
    Onnx__AttributeProto *attribute = add_attribute(g, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR);
    const int64_t *own_value = copy_of(g, &value, sizeof value);
    if (attribute && own_value) {
        attribute->t = new_tensor(g, RCNN_ONNX_INT64, 1, &one, own_value, sizeof value);
    }
}

static rcnn_onnx_value add_initializer(rcnn_onnx_graph *g, const char *name, Onnx__TensorProto *tensor)
{
    char *own_name = text_of(g, name);
    if (!tensor || !grow(g, (void *)&g->proto.initializer, &g->initializer_capacity, g->proto.n_initializer)) {
        return "";
    }
    tensor->name = own_name;
    g->proto.initializer[g->proto.n_initializer++] = tensor;
    return own_name;
}

static bool same_tensor(const Onnx__TensorProto *tensor, int32_t type, int32_t rank, const int64_t *dims,
                        const void *values, size_t bytes)
{
    return tensor->data_type == type && tensor->n_dims == (size_t)rank && tensor->raw_data.len == bytes &&
           (rank == 0 || memcmp(tensor->dims, dims, (size_t)rank * sizeof *dims) == 0) &&
           memcmp(tensor->raw_data.data, values, bytes) == 0;
}

static rcnn_onnx_value constant(rcnn_onnx_graph *g, int32_t type, int32_t rank, const int64_t *dims, const void *values,
                                size_t width)
{
    char name[NAME_BYTES];
    size_t bytes = width;
    for (int32_t i = 0; i < rank; i++) {
        bytes *= (size_t)dims[i]; /* our own small tables: no overflow */
    }
    for (size_t i = 0; g->status == RCNN_OK && i < g->proto.n_initializer; i++) {
        if (same_tensor(g->proto.initializer[i], type, rank, dims, values, bytes)) {
            return g->proto.initializer[i]->name;
        }
    }
    snprintf(name, sizeof name, "constant_%zu", g->proto.n_initializer);
    const void *own_values = copy_of(g, values, bytes);
    return add_initializer(g, name, new_tensor(g, type, rank, dims, own_values, bytes));
}

rcnn_onnx_value rcnn_onnx_int_constant(rcnn_onnx_graph *g, int32_t rank, const int64_t *dims, const int64_t *values)
{
    return constant(g, RCNN_ONNX_INT64, rank, dims, values, sizeof *values);
}

rcnn_onnx_value rcnn_onnx_float_constant(rcnn_onnx_graph *g, int32_t rank, const int64_t *dims, const float *values)
{
    return constant(g, RCNN_ONNX_FLOAT, rank, dims, values, sizeof *values);
}

rcnn_onnx_value rcnn_onnx_scalar(rcnn_onnx_graph *g, float value)
{
    return rcnn_onnx_float_constant(g, 0, NULL, &value);
}

rcnn_onnx_value rcnn_onnx_weights(rcnn_onnx_graph *g, const char *name, int32_t rank, const int64_t *dims,
                                  const float *data)
{
    size_t bytes = sizeof *data;
    for (size_t i = 0; g->status == RCNN_OK && i < g->proto.n_initializer; i++) {
        if (strcmp(g->proto.initializer[i]->name, name) == 0) {
            return g->proto.initializer[i]->name;
        }
    }
    for (int32_t i = 0; i < rank; i++) {
        if (!rcnn_mul_size(bytes, (size_t)dims[i], &bytes)) {
            rcnn_onnx_fail(g, RCNN_ERR_LIMIT, "onnx graph: weights '%s' are too large", name);
        }
    }
    return add_initializer(g, name, new_tensor(g, RCNN_ONNX_FLOAT, rank, dims, data, bytes));
}

/* ------------------------------------------------------- inputs and outputs */

static Onnx__TensorShapeProto *new_shape(rcnn_onnx_graph *g, const rcnn_onnx_dim *dims, size_t rank)
{
    Onnx__TensorShapeProto *shape = allocate(g, sizeof *shape);
    Onnx__TensorShapeProto__Dimension **list = allocate(g, rank * sizeof *list);
    for (size_t i = 0; g->status == RCNN_OK && i < rank; i++) {
        list[i] = allocate(g, sizeof *list[i]);
        char *param = dims[i].name ? text_of(g, dims[i].name) : NULL;
        if (g->status != RCNN_OK) {
            break;
        }
        onnx__tensor_shape_proto__dimension__init(list[i]);
        if (param) {
            list[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
            list[i]->dim_param = param;
        } else {
            list[i]->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
            list[i]->dim_value = dims[i].size;
        }
    }
    if (g->status == RCNN_OK) {
        onnx__tensor_shape_proto__init(shape);
        shape->n_dim = rank;
        shape->dim = list;
    }
    return shape;
}

static Onnx__ValueInfoProto *new_info(rcnn_onnx_graph *g, const char *name, int32_t type, const rcnn_onnx_dim *dims,
                                      size_t rank)
{
    Onnx__ValueInfoProto *info = allocate(g, sizeof *info);
    Onnx__TypeProto *type_message = allocate(g, sizeof *type_message);
    Onnx__TypeProto__Tensor *tensor = allocate(g, sizeof *tensor);
    Onnx__TensorShapeProto *shape = new_shape(g, dims, rank);
    char *own_name = text_of(g, name);
    if (g->status != RCNN_OK) {
        return NULL;
    }
    onnx__value_info_proto__init(info);
    onnx__type_proto__init(type_message);
    onnx__type_proto__tensor__init(tensor);
    tensor->has_elem_type = 1;
    tensor->elem_type = type;
    tensor->shape = shape;
    type_message->tensor_type = tensor;
    info->name = own_name;
    info->type = type_message;
    return info;
}

rcnn_onnx_value rcnn_onnx_input(rcnn_onnx_graph *g, const char *name, int32_t type, const rcnn_onnx_dim *dims,
                                size_t rank)
{
    Onnx__ValueInfoProto *info = new_info(g, name, type, dims, rank);
    if (!info || !grow(g, (void *)&g->proto.input, &g->input_capacity, g->proto.n_input)) {
        return "";
    }
    g->proto.input[g->proto.n_input++] = info;
    return info->name;
}

void rcnn_onnx_output(rcnn_onnx_graph *g, rcnn_onnx_value value, int32_t type, const rcnn_onnx_dim *dims, size_t rank)
{
    Onnx__ValueInfoProto *info = new_info(g, value, type, dims, rank);
    if (info && grow(g, (void *)&g->proto.output, &g->output_capacity, g->proto.n_output)) {
        g->proto.output[g->proto.n_output++] = info;
    }
}
