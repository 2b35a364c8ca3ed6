/* Mask of the predicted class: host side of mask_logit.cu. */
#include "backend/cuda/cuda.h"

#include "base/memory.h"

typedef struct mask_logit_kernel {
    rcnn_kernel head;
    rcnn_value_id src, labels, counts, dst;
    rcnn_cuda_mask_logit p;
} mask_logit_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const mask_logit_kernel *k = (const mask_logit_kernel *)kernel;
    rcnn_cuda_mask_logit p = k->p;
    p.src = rcnn_cuda_value(args, k->src);
    p.labels = rcnn_cuda_value(args, k->labels);
    p.counts = rcnn_cuda_value(args, k->counts);
    p.dst = rcnn_cuda_value(args, k->dst);
    RCNN_CUDA_TRY(rcnn_cuda_mask_logit_launch(&p, stream), "running mask logits", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

rcnn_status rcnn_cuda_prepare_mask_logit(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                         rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    const rcnn_op *op = &graph->ops[first];
    const int32_t *src = graph->values[op->input[0]].desc.dim;
    const int32_t *labels = graph->values[op->input[1]].desc.dim;
    rcnn_cuda_mask_logit p = {.n = labels[0],
                              .capacity = labels[1],
                              .side = src[1],
                              .in = op->w.in,
                              .channels = op->w.out,
                              .agnostic = op->u.mask_logit.agnostic,
                              .channel_offset = op->u.mask_logit.channel_offset,
                              .fault = {.fault = backend->fault, .op = rcnn_cuda_fault_id(backend, op->name)}};
    *out = NULL;
    *scratch_bytes = 0;
    if (p.fault.op < 0) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "cuda: mask_logit '%s': out of host memory", op->name);
    }
    const void *weights, *bias;
    RCNN_TRY(rcnn_cuda_type_of(graph, op, op->input[0], &p.type, err));
    RCNN_TRY(rcnn_cuda_weights_get(backend, &op->w, RCNN_CUDA_ORDER_AS_IS, 0, RCNN_CUDA_F32, &weights, err));
    RCNN_TRY(rcnn_cuda_bias_get(backend, &op->w, 1, RCNN_CUDA_F32, &bias, err));
    p.weights = weights;
    p.bias = bias;
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(mask_logit_kernel), enqueue, release, out, err));
    mask_logit_kernel *k = (mask_logit_kernel *)*out;
    k->src = op->input[0];
    k->labels = op->input[1];
    k->counts = op->input[2];
    k->dst = op->output[0];
    k->p = p;
    return RCNN_OK;
}
