/* The frame of a run to its place in device memory. It travels as the kernel's arguments: no page-locked copy of it has
 * to live until a transfer is done, and one launch stands for a copy and a memset. */
#include "backend/cuda/device.cuh"

static_assert(sizeof(rcnn_cuda_frame) + 2 * sizeof(void *) <= 4096, "kernel arguments");

__global__ void __launch_bounds__(RCNN_CUDA_BATCH_MAX)
    frame_kernel(const __grid_constant__ rcnn_cuda_frame frame, rcnn_cuda_frame *dst, rcnn_cuda_fault *fault)
{
    rcnn_begin();
    const int32_t i = (int32_t)threadIdx.x;
    dst->image[i] = frame.image[i];
    if (i == 0) {
        const rcnn_cuda_fault none = {RCNN_CUDA_FAULT_NONE, 0, 0, 0, 0};
        dst->count = frame.count;
        dst->ready = frame.ready;
        dst->delivery = frame.delivery;
        *fault = none;
    }
}

cudaError_t rcnn_cuda_frame_launch(const rcnn_cuda_frame *frame, rcnn_cuda_frame *dst, rcnn_cuda_fault *fault,
                                   cudaStream_t stream)
{
    RCNN_LAUNCH(frame_kernel, 1, RCNN_CUDA_BATCH_MAX, 0, stream, *frame, dst, fault);
    return cudaGetLastError();
}
