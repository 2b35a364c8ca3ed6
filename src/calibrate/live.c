/* Live parts of values. */
#include "calibrate/live.h"

#include "base/dtype.h"

/* The counts that say how many rows of an op's output are live, or RCNN_NO_VALUE. */
static rcnn_value_id counts_of(const rcnn_op *op)
{
    return op->kind == RCNN_OP_ROI_ALIGN ? op->input[op->u.roi_align.level_count + 1] : op->rows;
}

size_t rcnn_live_elements(const rcnn_plan *plan, rcnn_value_id id)
{
    const rcnn_value *value = &plan->graph.values[id];
    const size_t elements = value->bytes / rcnn_dtype_bytes(value->desc.dtype);
    const rcnn_value_id counts = counts_of(&plan->graph.ops[value->producer]);
    if (counts == RCNN_NO_VALUE) {
        return elements;
    }
    const int32_t *rows = plan->value[counts];
    size_t live = 0;
    for (int32_t n = 0; n < plan->graph.values[counts].desc.dim[0]; n++) {
        live += (size_t)rows[n];
    }
    return elements / (size_t)value->desc.dim[0] * live;
}
