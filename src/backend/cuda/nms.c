/* Non-maximum suppression: host side of nms.cu. */
#include "backend/cuda/boxes.h"

#include "base/memory.h"

typedef struct nms_kernel {
    rcnn_kernel head;
    rcnn_cuda_list_ids in, out;
    rcnn_cuda_nms p;
} nms_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const nms_kernel *k = (const nms_kernel *)kernel;
    rcnn_cuda_nms p = k->p;
    p.in = rcnn_cuda_list_of(args, k->in, k->p.in.capacity);
    p.out = rcnn_cuda_list_of(args, k->out, k->p.out.capacity);
    p.scratch = args->scratch;
    RCNN_CUDA_TRY(rcnn_cuda_nms_launch(&p, stream), "suppressing boxes", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

rcnn_status rcnn_cuda_prepare_nms(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                  rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    const rcnn_op *op = &graph->ops[first];
    const int32_t *in = graph->values[op->input[0]].desc.dim;
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(nms_kernel), enqueue, release, out, err));
    nms_kernel *k = (nms_kernel *)*out;
    k->in = rcnn_cuda_list_ids_of(op->input);
    k->out = rcnn_cuda_list_ids_of(op->output);
    k->p = (rcnn_cuda_nms){.in.capacity = in[1],
                           .out.capacity = graph->values[op->output[0]].desc.dim[1],
                           .n = in[0],
                           .torchvision = op->u.nms.rule == RCNN_NMS_TORCHVISION,
                           .iou = op->u.nms.iou,
                           .first_group = op->u.nms.first_group};
    *scratch_bytes = rcnn_cuda_nms_scratch(&k->p);
    return RCNN_OK;
}
