/* What the host sides of the ops on boxes share. */
#ifndef RCNN_BACKEND_CUDA_BOXES_H
#define RCNN_BACKEND_CUDA_BOXES_H

#include "backend/cuda/cuda.h"

/* The values of a candidate list: boxes [N,capacity,4], scores, groups, counts. */
typedef struct rcnn_cuda_list_ids {
    rcnn_value_id boxes, scores, groups, counts;
} rcnn_cuda_list_ids;

static inline rcnn_cuda_list_ids rcnn_cuda_list_ids_of(const rcnn_value_id *four)
{
    return (rcnn_cuda_list_ids){four[0], four[1], four[2], four[3]};
}

static inline rcnn_cuda_list rcnn_cuda_list_of(const rcnn_args *args, rcnn_cuda_list_ids ids, int32_t capacity)
{
    return (rcnn_cuda_list){.boxes = rcnn_cuda_value(args, ids.boxes),
                            .scores = rcnn_cuda_value(args, ids.scores),
                            .groups = rcnn_cuda_value(args, ids.groups),
                            .counts = rcnn_cuda_value(args, ids.counts),
                            .capacity = capacity};
}

static inline rcnn_cuda_decode rcnn_cuda_decode_of(const rcnn_decode *decode)
{
    return (rcnn_cuda_decode){.weight = {decode->weight[0], decode->weight[1], decode->weight[2], decode->weight[3]},
                              .multiply = decode->multiply,
                              .clamp_both = decode->clamp_both};
}

/* Predictions that boxes and scores come from are float in every precision; UNSUPPORTED when they are not. */
static inline rcnn_status rcnn_cuda_want_float(const rcnn_graph *graph, const rcnn_op *op, rcnn_value_id id,
                                               rcnn_error *err)
{
    const rcnn_value *value = &graph->values[id];
    if (value->desc.dtype != RCNN_F32) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: %s '%s': value '%s' is %s, want F32",
                         rcnn_op_kind_name(op->kind), op->name, value->name, rcnn_dtype_name(value->desc.dtype));
    }
    return RCNN_OK;
}

/* Where the op's kernels note faults. */
static inline rcnn_status rcnn_cuda_fault_place_of(rcnn_backend *backend, const rcnn_op *op, rcnn_cuda_fault_place *out,
                                                   rcnn_error *err)
{
    *out = (rcnn_cuda_fault_place){.fault = backend->fault, .op = rcnn_cuda_fault_id(backend, op->name)};
    if (out->op < 0) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: %s '%s': out of host memory", rcnn_op_kind_name(op->kind),
                         op->name);
    }
    return RCNN_OK;
}

#endif
