/* dst = relu?(dst + bias (+ residual)) in place, after a convolution that could not do it itself. 16 bytes a thread where
 * the channels come in such groups. */
#include "backend/cuda/vector.cuh"

#define THREADS    256
#define BLOCKS_MAX 65536

template <typename T, int V> static __global__ void __launch_bounds__(THREADS) conv_epilogue_kernel(rcnn_cuda_conv p)
{
    rcnn_begin();
    const int32_t n = p.counts ? min(rcnn_live_rows(p.counts, p.count_images), p.n) : p.n;
    const size_t packs = (size_t)n * p.out_height * p.out_width * p.out / V;
    const int32_t packs_a_pixel = p.out / V;
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < packs; i += (size_t)gridDim.x * THREADS) {
        T *dst = static_cast<T *>(p.dst) + i * V;
        const float *bias = p.bias + i % packs_a_pixel * V;
        float values[V];
        rcnn_to_floats(rcnn_load_pack<V>(dst), values);
        for (int k = 0; k < V; k++) {
            values[k] += bias[k];
        }
        if (p.residual) {
            float residual[V];
            rcnn_to_floats(rcnn_load_pack<V>(static_cast<const T *>(p.residual) + i * V), residual);
            for (int k = 0; k < V; k++) {
                values[k] += residual[k];
            }
        }
        for (int k = 0; k < V; k++) {
            values[k] = p.relu && values[k] < 0.0f ? 0.0f : values[k];
        }
        rcnn_store_floats<T, V>(dst, values);
    }
}

template <typename T, int V> static cudaError_t launch(const rcnn_cuda_conv *p, cudaStream_t stream)
{
    const size_t packs = (size_t)p->n * p->out_height * p->out_width * p->out / V;
    const size_t blocks = (packs + THREADS - 1) / THREADS;
    const dim3 grid((unsigned)(blocks < BLOCKS_MAX ? blocks : BLOCKS_MAX));
    RCNN_LAUNCH((conv_epilogue_kernel<T, V>), grid, dim3(THREADS), 0, stream, *p);
    return cudaGetLastError();
}

cudaError_t rcnn_cuda_conv_epilogue_launch(const rcnn_cuda_conv *p, cudaStream_t stream)
{
    RCNN_BY_TYPE(p->dst_type, T,
                 return p->out % RCNN_VECTOR(T) == 0 ? (launch<T, RCNN_VECTOR(T)>(p, stream))
                                                     : (launch<T, 1>(p, stream)));
    return cudaErrorInvalidValue; /* not reached */
}
