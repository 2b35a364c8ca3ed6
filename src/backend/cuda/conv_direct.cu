/* Any convolution, one thread an output value, summed in float: for what no library engine takes. Threads of a warp have
 * neighbouring outputs of one pixel, so that they read the same source values. */
#include "backend/cuda/device.cuh"

#define THREADS    256
#define BLOCKS_MAX 65536

/* Sum over the window of output o at (y, x) of an image. */
template <typename T>
static __device__ float window_sum(const rcnn_cuda_conv &p, const T *image, int32_t y, int32_t x, int32_t o)
{
    const T *weights = static_cast<const T *>(p.weights) + (size_t)o * p.kh * p.kw * p.in;
    const int32_t first_channel = o / (p.out / p.groups) * p.in; /* of the group that o belongs to */
    float sum = 0;
    for (int32_t ky = 0; ky < p.kh; ky++) {
        const int32_t src_y = y * p.stride - p.pad + ky;
        for (int32_t kx = 0; kx < p.kw; kx++) {
            const int32_t src_x = x * p.stride - p.pad + kx;
            if (src_y < 0 || src_y >= p.height || src_x < 0 || src_x >= p.width) {
                continue;
            }
            const T *src = image + ((size_t)src_y * p.width + src_x) * p.src_channels + first_channel;
            const T *tap = weights + (size_t)(ky * p.kw + kx) * p.in;
            for (int32_t c = 0; c < p.in; c++) {
                sum = fmaf(rcnn_to_float(src[c]), rcnn_to_float(tap[c]), sum);
            }
        }
    }
    return sum;
}

template <typename T, typename D> static __global__ void __launch_bounds__(THREADS) conv_direct_kernel(rcnn_cuda_conv p)
{
    rcnn_begin();
    const int32_t n = p.counts ? min(rcnn_live_rows(p.counts, p.count_images), p.n) : p.n;
    const size_t total = (size_t)n * p.out_height * p.out_width * p.out;
    const D *residual = static_cast<const D *>(p.residual);
    D *dst = static_cast<D *>(p.dst);
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < total; i += (size_t)gridDim.x * THREADS) {
        const int32_t o = (int32_t)(i % p.out);
        const size_t pixel = i / p.out;
        const int32_t x = (int32_t)(pixel % p.out_width);
        const size_t line = pixel / p.out_width;
        const int32_t y = (int32_t)(line % p.out_height);
        const T *image = static_cast<const T *>(p.src) + line / p.out_height * p.height * p.width * p.src_channels;
        float value = window_sum(p, image, y, x, o) + (p.bias ? p.bias[o] : 0.0f);
        value += residual ? rcnn_to_float(residual[i]) : 0.0f;
        dst[i] = rcnn_from_float<D>(p.relu && value < 0.0f ? 0.0f : value);
    }
}

template <typename T, typename D> static cudaError_t launch(const rcnn_cuda_conv *p, cudaStream_t stream)
{
    const size_t total = (size_t)p->n * p->out_height * p->out_width * p->out;
    const size_t blocks = (total + THREADS - 1) / THREADS;
    const dim3 grid((unsigned)(blocks < BLOCKS_MAX ? blocks : BLOCKS_MAX));
    RCNN_LAUNCH((conv_direct_kernel<T, D>), grid, dim3(THREADS), 0, stream, *p);
    return cudaGetLastError();
}

cudaError_t rcnn_cuda_conv_direct_launch(const rcnn_cuda_conv *p, cudaStream_t stream)
{
    if (p->dst_type != RCNN_CUDA_F32 && p->dst_type != p->type) {
        return cudaErrorInvalidValue;
    }
    RCNN_BY_TYPE(p->type, T,
                 return p->dst_type == RCNN_CUDA_F32 ? (launch<T, float>(p, stream)) : (launch<T, T>(p, stream)));
    return cudaErrorInvalidValue; /* not reached */
}
