/* The second half of a 2x2 stride 2 transposed convolution: the product has, for every source pixel, four taps of `out`
 * values; this brings them to their places with bias and ReLU. One block a line of dst; 16 bytes a thread where the channels
 * come in such groups. */
#include "backend/cuda/vector.cuh"

#define THREADS 256

template <typename T, int V>
static __global__ void __launch_bounds__(THREADS) deconv_shuffle_kernel(rcnn_cuda_deconv_shuffle p)
{
    rcnn_begin();
    const int32_t row = blockIdx.x / (2 * p.side), y = blockIdx.x % (2 * p.side);
    if (p.counts && row >= rcnn_live_rows(p.counts, p.count_images)) {
        return;
    }
    const int32_t packs_a_pixel = p.out / V;
    const size_t line = (size_t)2 * p.side * p.out; /* values of a dst line, and of the taps that make it */
    T *dst = static_cast<T *>(p.dst) + blockIdx.x * line;
    const T *src = static_cast<const T *>(p.gemm) + ((size_t)row * p.side + y / 2) * 2 * line + y % 2 * 2 * p.out;
    for (int32_t i = threadIdx.x; i < 2 * p.side * packs_a_pixel; i += THREADS) {
        const int32_t x = i / packs_a_pixel, o = i % packs_a_pixel * V;
        float values[V];
        rcnn_to_floats(rcnn_load_pack<V>(src + (size_t)(x / 2 * 4 + x % 2) * p.out + o), values);
        for (int k = 0; k < V; k++) {
            const float value = values[k] + p.bias[o + k];
            values[k] = p.relu && value < 0.0f ? 0.0f : value;
        }
        rcnn_store_floats<T, V>(dst + (size_t)x * p.out + o, values);
    }
}

template <typename T, int V> static cudaError_t launch(const rcnn_cuda_deconv_shuffle *p, cudaStream_t stream)
{
    const dim3 grid((unsigned)(p->rows * 2 * p->side));
    RCNN_LAUNCH((deconv_shuffle_kernel<T, V>), grid, dim3(THREADS), 0, stream, *p);
    return cudaGetLastError();
}

cudaError_t rcnn_cuda_deconv_shuffle_launch(const rcnn_cuda_deconv_shuffle *p, cudaStream_t stream)
{
    RCNN_BY_TYPE(p->type, T,
                 return p->out % RCNN_VECTOR(T) == 0 ? (launch<T, RCNN_VECTOR(T)>(p, stream))
                                                     : (launch<T, 1>(p, stream)));
    return cudaErrorInvalidValue; /* not reached */
}
