/* Arithmetic and memory traffic of ops: what `rcnn info` prints and a profiler divides by. */
#include "graph/graph.h"

#include <stdbool.h>

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

/* ------------------------------------------------------------- of a run */

/* The counts value that says how many packed rows an op makes; RCNN_NO_VALUE: it makes none. */
static rcnn_value_id rows_made(const rcnn_op *op)
{
    return op->kind == RCNN_OP_ROI_ALIGN ? op->input[op->input_count - 1] : op->rows;
}

/* The part of an op's packed rows that are live, 0 .. 1. */
static double live_part(const rcnn_graph *graph, const rcnn_op *op, const rcnn_live_rows *live, int32_t live_count)
{
    const rcnn_value_id counts = rows_made(op);
    for (int32_t i = 0; i < live_count && counts != RCNN_NO_VALUE; i++) {
        if (live[i].counts == counts && live[i].rows >= 0) {
            return (double)live[i].rows / (double)graph->values[op->output[0]].desc.dim[0];
        }
    }
    return 1;
}

static double value_bytes(const rcnn_graph *graph, rcnn_value_id id, const rcnn_live_rows *live, int32_t live_count)
{
    const rcnn_value *value = &graph->values[id];
    return (double)value->bytes * live_part(graph, &graph->ops[value->producer], live, live_count);
}

/* Weights in the type of what they are multiplied with, biases in float. */
static double weight_bytes(const rcnn_graph *graph, const rcnn_op *op)
{
    if (!op->w.weights) {
        return 0;
    }
    const double count = (double)op->w.out * op->w.in * op->w.kh * op->w.kw;
    return count * (double)rcnn_dtype_bytes(graph->values[op->input[0]].desc.dtype) + 4.0 * op->w.out;
}

/* Ops first .. last read the value from memory at op i, input k: nobody among them has before, nor made it unseen. */
static bool is_read(const rcnn_graph *graph, int32_t first, int32_t i, int32_t k)
{
    const rcnn_value_id id = graph->ops[i].input[k];
    if (graph->values[id].producer >= first) {
        return false;
    }
    for (int32_t op = first; op <= i; op++) {
        for (int32_t j = 0; j < (op == i ? k : graph->ops[op].input_count); j++) {
            if (graph->ops[op].input[j] == id) {
                return false;
            }
        }
    }
    return true;
}

/* Its output leaves the kernel that ends with op last, or is read by nobody. */
static bool is_written(const rcnn_graph *graph, int32_t i, int32_t last, rcnn_value_id id)
{
    const int32_t last_use = graph->values[id].last_use;
    return last_use > last || last_use <= i;
}

static void add_op(rcnn_cost *cost, const rcnn_graph *graph, int32_t first, int32_t i, int32_t last,
                   const rcnn_live_rows *live, int32_t live_count)
{
    const rcnn_op *op = &graph->ops[i];
    cost->flop += 2.0 * (double)rcnn_op_macs(graph, op) * live_part(graph, op, live, live_count);
    cost->bytes += weight_bytes(graph, op);
    for (int32_t k = 0; k < op->input_count; k++) {
        cost->bytes += is_read(graph, first, i, k) ? value_bytes(graph, op->input[k], live, live_count) : 0;
    }
    for (int32_t k = 0; k < op->output_count; k++) {
        cost->bytes +=
            is_written(graph, i, last, op->output[k]) ? value_bytes(graph, op->output[k], live, live_count) : 0;
    }
}

rcnn_cost rcnn_graph_cost(const rcnn_graph *graph, int32_t first, int32_t count, const rcnn_live_rows *live,
                          int32_t live_count)
{
    rcnn_cost cost = {0, 0};
    const bool kept = graph->ops[first].fused_keeps != 0;
    for (int32_t i = first; i < first + count; i++) {
        add_op(&cost, graph, kept ? i : first, i, kept ? i : first + count - 1, live, live_count);
    }
    return cost;
}
