/* An ONNX graph under construction and its file. Values are named by strings that live as long as the graph; calls return
 * the name of what they made, so that arithmetic reads as nested calls. The first failure is kept: later calls do nothing
 * and return "", and rcnn_onnx_write reports it.
 * This layer knows operators, attributes and tensors, but no network; which operators there are is ONNX's matter. */
#ifndef RCNN_EXPORT_ONNX_GRAPH_H
#define RCNN_EXPORT_ONNX_GRAPH_H

#include "base/arena.h"
#include "export/onnx_subset.pb-c.h"

typedef const char *rcnn_onnx_value;

/* Element types, ONNX's numbers. */
enum { RCNN_ONNX_FLOAT = 1, RCNN_ONNX_INT64 = 7 };

typedef struct rcnn_onnx_graph {
    rcnn_status status; /* of the first failure */
    rcnn_error *err;
    /* private */
    rcnn_arena arena;
    Onnx__GraphProto proto;
    size_t node_capacity, initializer_capacity, input_capacity, output_capacity;
    const char *scope;
    const char *next_name;
    int32_t serial;
} rcnn_onnx_graph;

/* err is borrowed until free. */
void rcnn_onnx_graph_init(rcnn_onnx_graph *g, rcnn_error *err);
void rcnn_onnx_graph_free(rcnn_onnx_graph *g);

/* Names of values made from here on begin with "scope/"; a literal, not copied. */
void rcnn_onnx_scope(rcnn_onnx_graph *g, const char *scope);
/* The first output of the next node is called this instead of a made-up name. Copied. */
void rcnn_onnx_name_next(rcnn_onnx_graph *g, const char *name);

/* A node with one output: RCNN_ONNX_OP(&g, "Add", a, b). An input of "" is left out. */
#define RCNN_ONNX_OP(g, type, ...)                                                                                     \
    rcnn_onnx_op((g), (type), (const rcnn_onnx_value[]){__VA_ARGS__},                                                  \
                 sizeof((const rcnn_onnx_value[]){__VA_ARGS__}) / sizeof(rcnn_onnx_value))
rcnn_onnx_value rcnn_onnx_op(rcnn_onnx_graph *g, const char *type, const rcnn_onnx_value *inputs, size_t count);
/* A node of one input with `count` outputs. */
void rcnn_onnx_op_outputs(rcnn_onnx_graph *g, const char *type, const rcnn_onnx_value *inputs, size_t input_count,
                          rcnn_onnx_value *outputs, size_t count);

#define RCNN_ONNX_ATTRIBUTES_MAX 8
/* Attributes of the node made last. */
void rcnn_onnx_int(rcnn_onnx_graph *g, const char *name, int64_t value);
void rcnn_onnx_float(rcnn_onnx_graph *g, const char *name, float value);
void rcnn_onnx_text(rcnn_onnx_graph *g, const char *name, const char *value);
void rcnn_onnx_int_list(rcnn_onnx_graph *g, const char *name, const int64_t *values, size_t count);
/* A tensor of one int64. */
void rcnn_onnx_int_tensor(rcnn_onnx_graph *g, const char *name, int64_t value);

/* Constants, copied; equal ones are kept once. rank 0 = a scalar (one value). */
rcnn_onnx_value rcnn_onnx_int_constant(rcnn_onnx_graph *g, int32_t rank, const int64_t *dims, const int64_t *values);
rcnn_onnx_value rcnn_onnx_float_constant(rcnn_onnx_graph *g, int32_t rank, const int64_t *dims, const float *values);
/* Shorthands: a scalar; a vector of int64 from a list. */
rcnn_onnx_value rcnn_onnx_scalar(rcnn_onnx_graph *g, float value);
#define RCNN_ONNX_INTS(g, ...)                                                                                         \
    rcnn_onnx_int_constant((g), 1, &(const int64_t){sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)},         \
                           (const int64_t[]){__VA_ARGS__})
#define RCNN_ONNX_FLOATS(g, ...)                                                                                       \
    rcnn_onnx_float_constant((g), 1, &(const int64_t){sizeof((const float[]){__VA_ARGS__}) / sizeof(float)},           \
                             (const float[]){__VA_ARGS__})
/* Weights under a name of their own; data is borrowed until the graph is written. A name that is there already is given
 * back as it is: layers that several levels share are stored once. */
rcnn_onnx_value rcnn_onnx_weights(rcnn_onnx_graph *g, const char *name, int32_t rank, const int64_t *dims,
                                  const float *data);

/* One dimension of an input or output: a size, or a name for one that is known only while running. */
typedef struct rcnn_onnx_dim {
    const char *name; /* NULL: size holds */
    int64_t size;
} rcnn_onnx_dim;
#define RCNN_ONNX_DIMS(...)                                                                                            \
    (const rcnn_onnx_dim[]){__VA_ARGS__}, sizeof((const rcnn_onnx_dim[]){__VA_ARGS__}) / sizeof(rcnn_onnx_dim)
rcnn_onnx_value rcnn_onnx_input(rcnn_onnx_graph *g, const char *name, int32_t type, const rcnn_onnx_dim *dims,
                                size_t rank);
/* Makes a value, which must have been named with rcnn_onnx_name_next, an output. */
void rcnn_onnx_output(rcnn_onnx_graph *g, rcnn_onnx_value value, int32_t type, const rcnn_onnx_dim *dims, size_t rank);

/* Keeps the first failure; everything after it is in vain. */
void rcnn_onnx_fail(rcnn_onnx_graph *g, rcnn_status status, const char *format, ...) RCNN_PRINTF(3, 4);

typedef struct rcnn_onnx_file {
    const char *path, *graph_name;
    int32_t opset;
    const char *config_json; /* kept in the file's metadata as "rcnn_config" */
} rcnn_onnx_file;

#define RCNN_ONNX_BYTES_MAX 2147483647 /* what protobuf readers accept */

/* Writes the graph, through a temporary name. Weights go from where they lie to the file, without a copy in memory.
 * The status of the first failure, LIMIT when the file would be over RCNN_ONNX_BYTES_MAX, IO, MEMORY. */
rcnn_status rcnn_onnx_write(rcnn_onnx_graph *g, const rcnn_onnx_file *file);

#endif
