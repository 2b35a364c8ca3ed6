/* Sets the value of a SWITCH node from device counts: the only kernel that cannot run emulated. */
#include "backend/cuda/device.cuh"

static __device__ int32_t bucket_of(const rcnn_cuda_switch *p, int32_t live)
{
    int32_t bucket = 0;
    while (bucket + 1 < p->bucket_count && p->buckets[bucket] < live) {
        bucket++;
    }
    return live > 0 ? bucket : p->bucket_count; /* no body has this number */
}

__global__ void record_switch_kernel(const __grid_constant__ rcnn_cuda_switch p)
{
    rcnn_begin();
    cudaGraphSetConditional(p.handle, (unsigned)bucket_of(&p, rcnn_live_rows(p.counts, p.images)));
}

cudaError_t rcnn_cuda_switch_launch(const rcnn_cuda_switch *p, cudaStream_t stream)
{
    RCNN_LAUNCH(record_switch_kernel, 1, 1, 0, stream, *p);
    return cudaGetLastError();
}
