/* Selection of region proposals: host side of rpn_select.cu. */
#include "backend/cuda/boxes.h"

#include <string.h>

#include "base/memory.h"

typedef struct rpn_select_kernel {
    rcnn_kernel head;
    rcnn_value_id pred[RCNN_CUDA_LEVELS_MAX];
    rcnn_cuda_list_ids out;
    rcnn_cuda_rpn_select p;
} rpn_select_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const rpn_select_kernel *k = (const rpn_select_kernel *)kernel;
    rcnn_cuda_rpn_select p = k->p;
    for (int32_t l = 0; l < p.level_count; l++) {
        p.pred[l] = rcnn_cuda_value(args, k->pred[l]);
    }
    p.frame = k->head.backend->frame;
    p.out = rcnn_cuda_list_of(args, k->out, k->p.out.capacity);
    p.scratch = args->scratch;
    RCNN_CUDA_TRY(rcnn_cuda_rpn_select_launch(&p, stream), "selecting region proposals", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

static rcnn_cuda_rpn_select parameters_of(const rcnn_graph *graph, const rcnn_op *op)
{
    rcnn_cuda_rpn_select p = {.n = graph->values[op->output[0]].desc.dim[0],
                              .level_count = op->u.rpn_select.level_count,
                              .anchor_count = op->u.rpn_select.anchor_count,
                              .pitch = graph->values[op->input[0]].desc.dim[3],
                              .rank_sigmoid = op->u.rpn_select.rank == RCNN_RANK_SIGMOID,
                              .keep_order = op->u.rpn_select.keep_order,
                              .pre_nms = op->u.rpn_select.pre_nms,
                              .min_size = op->u.rpn_select.min_size,
                              .min_inclusive = op->u.rpn_select.min_inclusive,
                              .decode = rcnn_cuda_decode_of(&op->u.rpn_select.decode),
                              .out.capacity = graph->values[op->output[0]].desc.dim[1]};
    for (int32_t l = 0; l < p.level_count; l++) {
        p.height[l] = graph->values[op->input[l]].desc.dim[1];
        p.width[l] = graph->values[op->input[l]].desc.dim[2];
        p.step_x[l] = op->u.rpn_select.step_x[l];
        p.step_y[l] = op->u.rpn_select.step_y[l];
    }
    memcpy(p.base, op->u.rpn_select.base, sizeof p.base);
    return p;
}

rcnn_status rcnn_cuda_prepare_rpn_select(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                         rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    _Static_assert(RCNN_CUDA_LEVELS_MAX == RCNN_LEVELS_MAX && RCNN_CUDA_ANCHORS_MAX == RCNN_ANCHORS_MAX, "same base");
    const rcnn_op *op = &graph->ops[first];
    *out = NULL;
    for (int32_t l = 0; l < op->u.rpn_select.level_count; l++) {
        RCNN_TRY(rcnn_cuda_want_float(graph, op, op->input[l], err));
    }
    rcnn_cuda_rpn_select p = parameters_of(graph, op);
    RCNN_TRY(rcnn_cuda_fault_place_of(backend, op, &p.fault, err));
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(rpn_select_kernel), enqueue, release, out, err));
    rpn_select_kernel *k = (rpn_select_kernel *)*out;
    memcpy(k->pred, op->input, (size_t)p.level_count * sizeof *k->pred);
    k->out = rcnn_cuda_list_ids_of(op->output);
    k->p = p;
    *scratch_bytes = rcnn_cuda_rpn_select_scratch(&p);
    return RCNN_OK;
}
