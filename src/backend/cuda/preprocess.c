/* Pixels to the network's input: host side of preprocess.cu, which finds the images of a run in the backend's frame. */
#include "backend/cuda/cuda.h"

#include "base/memory.h"

typedef struct preprocess_kernel {
    rcnn_kernel head;
    rcnn_value_id dst;
    rcnn_cuda_preprocess p;
} preprocess_kernel;

static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, cudaStream_t stream, rcnn_error *err)
{
    const preprocess_kernel *k = (const preprocess_kernel *)kernel;
    rcnn_cuda_preprocess p = k->p;
    p.dst = rcnn_cuda_value(args, k->dst);
    RCNN_CUDA_TRY(rcnn_cuda_preprocess_launch(&p, stream), "preprocessing", err);
    return RCNN_OK;
}

static void release(rcnn_kernel *kernel)
{
    rcnn_free(kernel);
}

rcnn_status rcnn_cuda_prepare_preprocess(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                         rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    (void)count;
    const rcnn_op *op = &graph->ops[first];
    const int32_t *dst = graph->values[op->output[0]].desc.dim;
    rcnn_cuda_preprocess p = {.frame = backend->frame,
                              .n = dst[0],
                              .height = dst[1],
                              .width = dst[2],
                              .channels = dst[3],
                              .resize = (int32_t)op->u.preprocess.resize,
                              .bgr = op->u.preprocess.order == RCNN_CHANNELS_BGR};
    *out = NULL;
    *scratch_bytes = 0;
    if (p.n > RCNN_CUDA_BATCH_MAX || p.channels < 3 || p.channels > 4) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                         "cuda: preprocess '%s': want up to %d images of 3 or 4 channels, got %d of %d", op->name,
                         RCNN_CUDA_BATCH_MAX, p.n, p.channels);
    }
    const void *lut;
    RCNN_TRY(rcnn_cuda_type_of(graph, op, op->output[0], &p.type, err));
    RCNN_TRY(rcnn_cuda_constant_get(backend, op->u.preprocess.lut, sizeof op->u.preprocess.lut, &lut, err));
    p.lut = lut;
    RCNN_TRY(rcnn_cuda_new_kernel(backend, sizeof(preprocess_kernel), enqueue, release, out, err));
    preprocess_kernel *k = (preprocess_kernel *)*out;
    k->dst = op->output[0];
    k->p = p;
    return RCNN_OK;
}
