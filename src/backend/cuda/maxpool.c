/* Max pooling: host side of maxpool.cu. */
#include "backend/cuda/feature.h"

#include "base/memory.h"

typedef struct maxpool_kernel {
    rcnn_kernel head;
    rcnn_value_id src, dst;
    rcnn_cuda_maxpool p;
} maxpool_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const maxpool_kernel *k = (const maxpool_kernel *)kernel;
    rcnn_cuda_maxpool p = k->p;
    p.src = rcnn_cuda_value(args, k->src);
    p.dst = rcnn_cuda_value(args, k->dst);
    RCNN_CUDA_TRY(rcnn_cuda_maxpool_launch(&p, stream), "running max pooling", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

rcnn_status rcnn_cuda_prepare_maxpool(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                      rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    const rcnn_op *op = &graph->ops[first];
    const int32_t *src = graph->values[op->input[0]].desc.dim;
    const int32_t *dst = graph->values[op->output[0]].desc.dim;
    rcnn_cuda_maxpool p = {.n = src[0],
                           .height = src[1],
                           .width = src[2],
                           .channels = src[3],
                           .out_height = dst[1],
                           .out_width = dst[2],
                           .kernel = op->u.maxpool.kernel,
                           .stride = op->u.maxpool.stride,
                           .pad = op->u.maxpool.pad};
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cuda_feature_type(graph, op, 1, &p.type, err));
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(maxpool_kernel), enqueue, release, out, err));
    maxpool_kernel *k = (maxpool_kernel *)*out;
    k->src = op->input[0];
    k->dst = op->output[0];
    k->p = p;
    return RCNN_OK;
}
