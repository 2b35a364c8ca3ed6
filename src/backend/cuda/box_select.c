/* Candidates of the box head: host side of box_select.cu. */
#include "backend/cuda/boxes.h"

#include "base/memory.h"

typedef struct box_select_kernel {
    rcnn_kernel head;
    rcnn_value_id pred, proposals, counts;
    rcnn_cuda_list_ids out;
    rcnn_cuda_box_select p;
} box_select_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const box_select_kernel *k = (const box_select_kernel *)kernel;
    rcnn_cuda_box_select p = k->p;
    p.pred = rcnn_cuda_value(args, k->pred);
    p.proposals = rcnn_cuda_value(args, k->proposals);
    p.proposal_counts = rcnn_cuda_value(args, k->counts);
    p.frame = k->head.backend->frame;
    p.out = rcnn_cuda_list_of(args, k->out, k->p.out.capacity);
    p.scratch = args->scratch;
    RCNN_CUDA_TRY(rcnn_cuda_box_select_launch(&p, stream), "selecting boxes", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

static rcnn_cuda_box_select parameters_of(const rcnn_graph *graph, const rcnn_op *op)
{
    const int32_t *proposals = graph->values[op->input[1]].desc.dim;
    return (rcnn_cuda_box_select){.n = proposals[0],
                                  .rois = proposals[1],
                                  .pitch = graph->values[op->input[0]].desc.dim[1],
                                  .class_count = op->u.box_select.class_count,
                                  .background_first = op->u.box_select.background_first,
                                  .agnostic = op->u.box_select.agnostic,
                                  .delta_classes = op->u.box_select.delta_classes,
                                  .score_threshold = op->u.box_select.score_threshold,
                                  .min_size = op->u.box_select.min_size,
                                  .rescale_first = op->u.box_select.rescale_first,
                                  .decode = rcnn_cuda_decode_of(&op->u.box_select.decode),
                                  .out.capacity = graph->values[op->output[0]].desc.dim[1]};
}

rcnn_status rcnn_cuda_prepare_box_select(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                         rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    const rcnn_op *op = &graph->ops[first];
    rcnn_cuda_box_select p = parameters_of(graph, op);
    *out = NULL;
    RCNN_TRY(rcnn_cuda_want_float(graph, op, op->input[0], err));
    RCNN_TRY(rcnn_cuda_fault_place_of(backend, op, &p.fault, err));
    if (op->u.box_select.label_wanted) {
        const void *wanted;
        RCNN_TRY(rcnn_cuda_constant_get(backend, op->u.box_select.label_wanted, (size_t)p.class_count, &wanted, err));
        p.label_wanted = wanted;
    }
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(box_select_kernel), enqueue, release, out, err));
    box_select_kernel *k = (box_select_kernel *)*out;
    k->pred = op->input[0];
    k->proposals = op->input[1];
    k->counts = op->input[2];
    k->out = rcnn_cuda_list_ids_of(op->output);
    k->p = p;
    *scratch_bytes = rcnn_cuda_box_select_scratch(&p);
    return RCNN_OK;
}
