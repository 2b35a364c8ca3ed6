/* How fast the device copies its own memory: one large block to another, read and written. */
#include "backend/cuda/engines.h"

#define COPY_BYTES ((size_t)1 << 30)

typedef struct blocks {
    void *from, *to;
} blocks;

static rcnn_status enqueue_copy(void *context, cudaStream_t stream, rcnn_error *err)
{
    const blocks *b = context;
    RCNN_CUDA_TRY(cudaMemcpyAsync(b->to, b->from, COPY_BYTES, cudaMemcpyDeviceToDevice, stream), "copying a block",
                  err);
    return RCNN_OK;
}

static rcnn_status time_copy(rcnn_backend *backend, blocks *b, double *gb_s, rcnn_error *err)
{
    float microseconds;
    RCNN_TRY(rcnn_cuda_alloc_random(backend, RCNN_CUDA_F32, COPY_BYTES, &b->from, err));
    RCNN_TRY(rcnn_cuda_alloc(backend, COPY_BYTES, &b->to, err));
    RCNN_TRY(rcnn_cuda_time(backend, enqueue_copy, b, &microseconds, err));
    *gb_s = microseconds > 0 ? 2.0 * (double)COPY_BYTES / ((double)microseconds * 1e3) : 0;
    return RCNN_OK;
}

rcnn_status rcnn_cuda_copy_speed(rcnn_backend *backend, double *gb_s, rcnn_error *err)
{
    blocks b = {NULL, NULL};
    RCNN_TRY(rcnn_cuda_make_current(backend, err));
    const rcnn_status status = time_copy(backend, &b, gb_s, err);
    rcnn_cuda_free(backend, b.from);
    rcnn_cuda_free(backend, b.to);
    return status;
}
