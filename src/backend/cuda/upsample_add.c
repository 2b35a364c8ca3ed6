/* The pyramid's top-down step: host side of upsample_add.cu. */
#include "backend/cuda/feature.h"

#include "base/memory.h"

typedef struct upsample_add_kernel {
    rcnn_kernel head;
    rcnn_value_id lateral, top, dst;
    rcnn_cuda_upsample_add p;
} upsample_add_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const upsample_add_kernel *k = (const upsample_add_kernel *)kernel;
    rcnn_cuda_upsample_add p = k->p;
    p.lateral = rcnn_cuda_value(args, k->lateral);
    p.top = rcnn_cuda_value(args, k->top);
    p.dst = rcnn_cuda_value(args, k->dst);
    RCNN_CUDA_TRY(rcnn_cuda_upsample_add_launch(&p, stream), "running upsample-add", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

rcnn_status rcnn_cuda_prepare_upsample_add(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                           rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    const rcnn_op *op = &graph->ops[first];
    const int32_t *lateral = graph->values[op->input[0]].desc.dim;
    const int32_t *top = graph->values[op->input[1]].desc.dim;
    rcnn_cuda_upsample_add p = {.n = lateral[0],
                                .height = lateral[1],
                                .width = lateral[2],
                                .channels = lateral[3],
                                .top_height = top[1],
                                .top_width = top[2]};
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cuda_feature_type(graph, op, 2, &p.type, err));
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(upsample_add_kernel), enqueue, release, out, err));
    upsample_add_kernel *k = (upsample_add_kernel *)*out;
    k->lateral = op->input[0];
    k->top = op->input[1];
    k->dst = op->output[0];
    k->p = p;
    return RCNN_OK;
}
