/* cuDNN's graph API in C: descriptors, the graph of a convolution, and the engines that cuDNN proposes for it. Used by
 * cudnn_graph.c, cudnn_engine.c and cudnn_conv.c alone. */
#ifndef RCNN_BACKEND_CUDA_CUDNN_GRAPH_H
#define RCNN_BACKEND_CUDA_CUDNN_GRAPH_H

#include "backend/cuda/conv.h"

/* ------------------------------------------------------------- descriptors (cudnn_graph.c) */

typedef cudnnBackendDescriptor_t rcnn_dnn_part;

/* Calls that do work can be made to fail by tests. Making descriptors and setting their attributes only fills memory, a
 * thousand times a convolution: left out. */
#define RCNN_DNN_CALL(call) (rcnn_cuda_call_fails() ? CUDNN_STATUS_EXECUTION_FAILED : (call))
#define RCNN_DNN_STEP(call)                                                                                            \
    do {                                                                                                               \
        cudnnStatus_t step_ = (call);                                                                                  \
        if (step_ != CUDNN_STATUS_SUCCESS) {                                                                           \
            return step_;                                                                                              \
        }                                                                                                              \
    } while (0)

cudnnStatus_t rcnn_dnn_set(rcnn_dnn_part part, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                           int64_t count, const void *value);
cudnnStatus_t rcnn_dnn_set_part(rcnn_dnn_part part, cudnnBackendAttributeName_t name, rcnn_dnn_part value);
cudnnStatus_t rcnn_dnn_get(rcnn_dnn_part part, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                           int64_t capacity, int64_t *count, void *value);
cudnnStatus_t rcnn_dnn_finalize(rcnn_dnn_part part);

/* Descriptors that live and die together. */
#define RCNN_DNN_PARTS_MAX 96 /* of a graph and what heuristics say of it, or of a graph and its plan */
typedef struct rcnn_dnn_parts {
    rcnn_dnn_part list[RCNN_DNN_PARTS_MAX];
    int32_t count;
} rcnn_dnn_parts;
cudnnStatus_t rcnn_dnn_make(rcnn_dnn_parts *parts, cudnnBackendDescriptorType_t type, rcnn_dnn_part *out);
void rcnn_dnn_drop_from(rcnn_dnn_parts *parts, int32_t first); /* those from `first` on, the last ones first */

/* The graph or engine is not for this convolution or device: another one may be. Everything else is a failure. */
bool rcnn_dnn_is_refusal(cudnnStatus_t code);
/* UNSUPPORTED for a refusal, else the failure's status. */
rcnn_status rcnn_dnn_refused(const rcnn_cuda_conv_want *want, cudnnStatus_t code, rcnn_error *err);

/* ------------------------------------------------------------- graph (cudnn_graph.c) */

/* Names of the graph's tensors in variant packs. */
enum { RCNN_DNN_SRC = 1, RCNN_DNN_WEIGHTS, RCNN_DNN_DST, RCNN_DNN_BIAS, RCNN_DNN_RESIDUAL, RCNN_DNN_STEP_FIRST };

/* Fused: with everything that follows the convolution, else the convolution alone. The bias is of the source's type. */
cudnnStatus_t rcnn_dnn_make_graph(rcnn_backend *backend, const rcnn_cuda_conv_want *want, bool fused,
                                  rcnn_dnn_parts *parts, rcnn_dnn_part *out);

/* ------------------------------------------------------------- engines (cudnn_engine.c) */

/* An engine and its settings. */
#define RCNN_DNN_KNOBS_MAX 24
typedef struct rcnn_dnn_config {
    bool fused;
    bool compiles; /* compiles its kernel at run time: a second, and only of use where nothing else is */
    int64_t engine;
    int32_t knob_count;
    struct {
        int64_t type, value;
    } knob[RCNN_DNN_KNOBS_MAX];
} rcnn_dnn_config;

#define RCNN_DNN_NAME "cudnn" /* the first word of choices */
/* As text: "cudnn f41:2=0,13=1" is fused, engine 41, knob 2 at 0, knob 13 at 1. False when it does not fit, or is not
 * such a text. */
bool rcnn_dnn_write_choice(const rcnn_dnn_config *config, char *out, size_t capacity);
bool rcnn_dnn_read_choice(const char *text, rcnn_dnn_config *out);

/* Allowed, by the engine's notes: it sums in float, gives the same bytes every time, and computes in true float where
 * that is asked for. */
cudnnStatus_t rcnn_dnn_read_notes(rcnn_dnn_part engine, const rcnn_cuda_conv_want *want, bool *allowed, bool *compiles);

#define RCNN_DNN_FOUND_MAX 32
typedef struct rcnn_dnn_found {
    rcnn_dnn_config list[RCNN_DNN_FOUND_MAX];
    int32_t count;
} rcnn_dnn_found;
/* Allowed engines for one form of the graph, best first by cuDNN's word, those that compile themselves last. None is no
 * failure. */
rcnn_status rcnn_dnn_search(rcnn_backend *backend, const rcnn_cuda_conv_want *want, bool fused, rcnn_dnn_found *out,
                            rcnn_error *err);

#endif
