/* Small networks of several ops: on ref op by op, on another backend as a session would run them - claimed runs of ops as
 * one kernel, values placed by the planner - and the two compared. Test code: nonsense and lack of memory end the
 * program. */
#ifndef RCNN_TESTS_OPS_NET_H
#define RCNN_TESTS_OPS_NET_H

#include "ops/one_op.h"

#define NET_VALUES_MAX  48
#define NET_WEIGHTS_MAX 24

typedef struct net {
    rcnn_graph graph;
    one_op_type type;                   /* inputs and weights are rounded to it */
    int32_t image_channels;             /* of images in a half type: 4, the last one zeros, or 3 */
    bool typed;                         /* features are of the type on the backend; false: floats, for ref  */
    void *data[NET_VALUES_MAX];         /* of input values, as floats or integers; NULL for others */
    float *memory[2 * NET_WEIGHTS_MAX]; /* weights and biases; the maker's */
    int32_t memory_count;
    rcnn_frame frame;
    uint8_t *pixels;
    float *ready;
    uint64_t seed;
} net;

/* vt: the backend it will run on, which says how it wants images. */
void net_begin(net *n, const rcnn_backend_vt *vt, one_op_type type, bool typed, uint64_t seed);
void net_free(net *n);

/* Inputs: features in [-1,1), image of three channels (a fourth of zeros with a half type), integers. */
rcnn_value_id net_features(net *n, const char *name, const int32_t dim[4]);
rcnn_value_id net_image(net *n, int32_t images, int32_t height, int32_t width);
/* Random preprocessed images of that size for the frame. */
void net_ready(net *n, int32_t height, int32_t width);
rcnn_value_id net_integers(net *n, const char *name, int32_t rank, const int32_t *dim, const int32_t *data);

/* Weights and bias in the measure of one_op_weights, to be used by one layer or several. */
rcnn_op_weights net_weights(net *n, int32_t out, int32_t in, int32_t kh, int32_t kw);
/* An op on input values; its output is added by net_output. */
rcnn_op net_op(rcnn_op_kind kind, const char *name);
void net_input(rcnn_op *op, rcnn_value_id id);
/* Adds the op with an output of features (or of floats, in every type) and gives the output. */
rcnn_value_id net_add(net *n, rcnn_op *op, bool features, int32_t rank, const int32_t *dim);
/* The usual layers. residual and rows may be RCNN_NO_VALUE; prediction: floats, no ReLU. */
typedef struct net_conv_options {
    int32_t stride, relu;
    rcnn_value_id residual, rows;
    bool prediction;
} net_conv_options;
rcnn_value_id net_conv(net *n, const char *name, rcnn_value_id src, rcnn_op_weights w, net_conv_options options);
void net_output(net *n, rcnn_value_id id);

/* Values by id in host floats (or integers), the live memory of a run. */
typedef struct net_values {
    void *value[NET_VALUES_MAX];
} net_values;
/* Op by op on ref; features are rounded to n->type after every op. n must not be typed. */
void net_run_on_ref(const net *n, net_values *out);
void net_free_values(net_values *values);

/* A network prepared on an opened backend. */
typedef struct net_run {
    const rcnn_backend_vt *vt;
    rcnn_backend *backend;
    net *net;
    rcnn_kernel *kernels[NET_VALUES_MAX];
    int32_t first[NET_VALUES_MAX], count[NET_VALUES_MAX]; /* ops of each kernel */
    int32_t kernel_count;
    void *arena, *scratch;
    size_t scratch_bytes;
    void *value[NET_VALUES_MAX];
    rcnn_recording *recording;
} net_run;

/* *run is to be closed even after a failure. n must be typed. */
rcnn_status net_open(net *n, const rcnn_backend_vt *vt, rcnn_backend *backend, net_run *run, rcnn_error *err);
/* Loads the inputs and runs, by the recording when there is one. */
rcnn_status net_execute(net_run *run, rcnn_error *err);
rcnn_status net_record(net_run *run, rcnn_error *err);
/* A value as host floats or integers; free it. */
rcnn_status net_fetch(net_run *run, rcnn_value_id id, void **out, rcnn_error *err);
void net_close(net_run *run);

#endif
