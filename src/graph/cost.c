/* Arithmetic per op at full capacity: what `rcnn info` prints and a profiler divides by. */
#include "graph/graph.h"

static int64_t elements(const rcnn_graph *graph, rcnn_value_id value)
{
    const rcnn_tensor_desc *desc = &graph->values[value].desc;
    int64_t count = 1;
    for (int32_t i = 0; i < desc->rank; i++) {
        count *= desc->dim[i];
    }
    return count;
}

int64_t rcnn_op_macs(const rcnn_graph *graph, const rcnn_op *op)
{
    switch (op->kind) {
    case RCNN_OP_CONV:
        return elements(graph, op->output[0]) * op->w.in * op->w.kh * op->w.kw;
    case RCNN_OP_FC:
        return elements(graph, op->output[0]) * op->w.in;
    case RCNN_OP_DECONV: /* stride equals kernel: each output pixel has one tap per input channel */
        return elements(graph, op->output[0]) * op->w.in;
    case RCNN_OP_MASK_LOGIT:
        return elements(graph, op->output[0]) * op->w.in;
    default:
        return 0;
    }
}
