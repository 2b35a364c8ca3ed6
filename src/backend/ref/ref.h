/* Inside the ref backend: what its op files share. Ref is the definition of correct: one op = one file, plain loops in
 * the order the spec states them, sums of products in double, decisions on boxes and scores in the float arithmetic of
 * the frameworks. It is read more often than run and is never tuned; no threads, no blocking, no weight reordering. */
#ifndef RCNN_BACKEND_REF_REF_H
#define RCNN_BACKEND_REF_REF_H

#include "backend/backend.h"

/* One enqueue with the value ids resolved to memory. */
typedef struct rcnn_ref_call {
    const rcnn_op *op;
    const rcnn_tensor_desc *src_desc; /* [op->input_count]                                       */
    const rcnn_tensor_desc *dst_desc; /* [op->output_count]                                      */
    const void *src[RCNN_OP_INPUTS_MAX];
    void *dst[RCNN_OP_OUTPUTS_MAX];
    int32_t live;  /* live rows of dim[0]: the sum of op->rows, or all of them */
    void *scratch; /* as many bytes as the op's scratch function asked for     */
    const rcnn_frame *frame;
} rcnn_ref_call;

/* rcnn_ref_<op>: runs one op. Statuses: NUMERIC for non-finite network outputs, INTERNAL for a broken graph. */
#define OP(KIND, name, help) rcnn_status rcnn_ref_##name(const rcnn_ref_call *call, rcnn_error *err);
#include "graph/ops.def"
#undef OP

/* Scratch bytes of the ops that need any; only op, src_desc and dst_desc of the call are set. */
size_t rcnn_ref_rpn_select_scratch(const rcnn_ref_call *call);
size_t rcnn_ref_nms_scratch(const rcnn_ref_call *call);
size_t rcnn_ref_box_select_scratch(const rcnn_ref_call *call);

/* Element offset of [n][y][x][c] in an NHWC value. */
static inline size_t rcnn_ref_offset(const rcnn_tensor_desc *desc, int32_t n, int32_t y, int32_t x, int32_t c)
{
    size_t row = (size_t)n * (size_t)desc->dim[1] + (size_t)y;
    return (row * (size_t)desc->dim[2] + (size_t)x) * (size_t)desc->dim[3] + (size_t)c;
}

/* Elements of one entry of dim[0]. */
static inline size_t rcnn_ref_row_elements(const rcnn_tensor_desc *desc)
{
    size_t count = 1;
    for (int32_t i = 1; i < desc->rank; i++) {
        count *= (size_t)desc->dim[i];
    }
    return count;
}

#endif
