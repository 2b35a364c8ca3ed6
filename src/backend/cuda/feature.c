/* See feature.h. */
#include "backend/cuda/feature.h"

rcnn_status rcnn_cuda_feature_type(const rcnn_graph *graph, const rcnn_op *op, int32_t inputs, rcnn_cuda_type *out,
                                   rcnn_error *err)
{
    const rcnn_value *dst = &graph->values[op->output[0]];
    for (int32_t i = 0; i < inputs; i++) {
        const rcnn_value *src = &graph->values[op->input[i]];
        if (src->desc.dtype != dst->desc.dtype) {
            return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "cuda: %s '%s': want one type, got %s in '%s' and %s in '%s'",
                             rcnn_op_kind_name(op->kind), op->name, rcnn_dtype_name(src->desc.dtype), src->name,
                             rcnn_dtype_name(dst->desc.dtype), dst->name);
        }
    }
    return rcnn_cuda_type_of(graph, op, op->output[0], out, err);
}
