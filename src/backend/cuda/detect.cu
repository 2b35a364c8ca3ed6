/* The final boxes in both coordinate systems, as src/backend/ref/detect.c. One block an image, one thread a box. */
#include "backend/cuda/boxes.cuh"
#include "base/rules.h"

#define THREADS 256

static __device__ __forceinline__ float4 scaled(float4 box, float x, float y)
{
    return make_float4(box.x * x, box.y * y, box.z * x, box.w * y);
}

static __device__ __forceinline__ float4 divided(float4 box, float x, float y)
{
    return make_float4(box.x / x, box.y / y, box.z / x, box.w / y);
}

/* Box in image and network coordinates; false when it is dropped. */
static __device__ __forceinline__ bool convert(const rcnn_cuda_detect *p, const rcnn_cuda_frame_image *image,
                                               float4 box, float4 *image_box, float4 *mask_roi)
{
    if (p->rescale_first) {
        *image_box = box;
        *mask_roi = scaled(box, image->scale_x, image->scale_y);
    } else {
        *image_box = p->scale_rule == RCNN_SCALE_DIVIDE ? divided(box, image->scale_x, image->scale_y)
                                                        : scaled(box, image->ratio_x, image->ratio_y);
        *mask_roi = box;
    }
    if (p->clip_output) {
        *image_box = rcnn_clip_box(*image_box, image->width, image->height);
        return rcnn_side_at_least(*image_box, 0.0f, false);
    }
    return true;
}

static __global__ void __launch_bounds__(THREADS) detect_kernel(const __grid_constant__ rcnn_cuda_detect p)
{
    rcnn_begin();
    __shared__ uint32_t sums[32];
    const int32_t n = blockIdx.x, count = p.in.counts[n];
    const size_t first = (size_t)n * (size_t)p.in.capacity;
    int32_t place = 0;
    for (int32_t base = 0; base < count; base += THREADS) {
        const int32_t i = base + (int32_t)threadIdx.x;
        const size_t from = first + (size_t)i;
        float4 image_box = make_float4(0, 0, 0, 0), mask_roi = image_box;
        const bool stays =
            i < count && convert(&p, &p.frame->image[n], rcnn_box_at(p.in.boxes, from), &image_box, &mask_roi);
        int32_t found;
        const size_t to = first + (size_t)(place + rcnn_block_place(stays, sums, &found));
        if (stays) {
            reinterpret_cast<float4 *>(p.boxes)[to] = image_box;
            reinterpret_cast<float4 *>(p.rois)[to] = mask_roi;
            p.scores[to] = p.in.scores[from];
            p.labels[to] = p.in.groups[from];
        }
        place += found;
    }
    if (threadIdx.x == 0) {
        p.counts[n] = place;
    }
}

extern "C" cudaError_t rcnn_cuda_detect_launch(const rcnn_cuda_detect *p, cudaStream_t stream)
{
    RCNN_LAUNCH(detect_kernel, (unsigned)p->n, THREADS, 0, stream, *p);
    return cudaGetLastError();
}
