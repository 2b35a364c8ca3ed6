/* Live results to the host: one kernel copies the live part of every item to the run's block of mapped host memory. The
 * host never asks for counts first, and nothing past them crosses the bus. */
#include "backend/cuda/device.cuh"

#define THREADS 256
#define BLOCKS  128 /* a power of two; 32768 threads of 16 bytes keep the bus busy */

/* Contiguous bytes of an item: all of it, or what is live of one image's list. */
typedef struct span {
    size_t offset, bytes; /* from the item's start */
} span;

static __device__ int32_t span_count(const rcnn_cuda_deliver_list *p, const rcnn_cuda_deliver_item *item)
{
    return item->kind == RCNN_CUDA_DELIVER_LISTS ? p->n : 1;
}

static __device__ span span_of(const rcnn_cuda_deliver_list *p, const rcnn_cuda_deliver_item *item, int32_t image)
{
    span s = {0, item->bytes};
    switch (item->kind) {
    case RCNN_CUDA_DELIVER_LISTS:
        s.offset = (size_t)image * (size_t)p->capacity * item->element_bytes;
        s.bytes = (size_t)p->counts[image] * item->element_bytes;
        break;
    case RCNN_CUDA_DELIVER_ROWS:
        s.bytes = (size_t)rcnn_live_rows(p->counts, p->n) * item->element_bytes;
        break;
    case RCNN_CUDA_DELIVER_WORDS:
        s.bytes = (size_t)*item->used * sizeof(uint32_t);
        break;
    default:
        break;
    }
    return s;
}

/* 16 bytes at a time where both ends allow it, else 4. */
static __device__ void copy_span(unsigned char *dst, const unsigned char *src, size_t bytes, size_t first, size_t step)
{
    const bool aligned = (((uintptr_t)dst | (uintptr_t)src) & 15) == 0;
    const size_t vectors = aligned ? bytes / sizeof(uint4) : 0;
    for (size_t i = first; i < vectors; i += step) {
        ((uint4 *)dst)[i] = ((const uint4 *)src)[i];
    }
    for (size_t i = vectors * 4 + first; i < bytes / sizeof(uint32_t); i += step) {
        ((uint32_t *)dst)[i] = ((const uint32_t *)src)[i];
    }
}

__global__ void __launch_bounds__(THREADS) deliver_kernel(const __grid_constant__ rcnn_cuda_deliver_list p)
{
    rcnn_begin();
    unsigned char *block = (unsigned char *)p.frame->delivery;
    uint32_t turn = 0; /* spans start at different blocks, or the first would copy all the short ones */
    for (int32_t i = 0; i < p.item_count; i++) {
        const rcnn_cuda_deliver_item *item = &p.item[i];
        for (int32_t image = 0; image < span_count(&p, item); image++, turn++) {
            const span s = span_of(&p, item, image);
            const size_t first = (size_t)((blockIdx.x - turn) % BLOCKS) * THREADS + threadIdx.x;
            copy_span(block + item->offset + s.offset, (const unsigned char *)item->src + s.offset, s.bytes, first,
                      (size_t)BLOCKS * THREADS);
        }
    }
}

cudaError_t rcnn_cuda_deliver_launch(const rcnn_cuda_deliver_list *p, cudaStream_t stream)
{
    RCNN_LAUNCH(deliver_kernel, BLOCKS, THREADS, 0, stream, *p);
    return cudaGetLastError();
}
