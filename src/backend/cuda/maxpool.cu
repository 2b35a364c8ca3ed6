/* Max pooling. Kernel 1 with stride 2 is P6. A thread makes V channels of one output pixel. */
#include "backend/cuda/device.cuh"
#include "backend/cuda/vector.cuh"

#define THREADS  256
#define GRID_MAX 65535 /* of y and z */

/* NaN wins over everything, as in ref: it must reach the check at the outputs. */
template <typename T, int V>
static __device__ __forceinline__ void keep_largest(const rcnn_pack<T, V> &pack, float (&best)[V])
{
    float value[V];
    rcnn_to_floats(pack, value);
    for (int i = 0; i < V; i++) {
        best[i] = value[i] > best[i] || value[i] != value[i] ? value[i] : best[i];
    }
}

template <typename T, int V>
static __device__ __forceinline__ void pool(const rcnn_cuda_maxpool &p, int32_t n, int32_t oy, int32_t ox, int32_t c)
{
    const T *src = (const T *)p.src + (size_t)n * p.height * p.width * p.channels + c;
    const int32_t top = oy * p.stride - p.pad, left = ox * p.stride - p.pad;
    const int32_t y_end = min(top + p.kernel, p.height), x_end = min(left + p.kernel, p.width);
    float best[V];
    for (int i = 0; i < V; i++) {
        best[i] = -INFINITY;
    }
    for (int32_t y = max(top, 0); y < y_end; y++) {
        for (int32_t x = max(left, 0); x < x_end; x++) {
            keep_largest<T, V>(rcnn_load_pack<V>(src + ((size_t)y * p.width + x) * p.channels), best);
        }
    }
    const size_t pixel = ((size_t)n * p.out_height + oy) * p.out_width + ox;
    rcnn_store_floats((T *)p.dst + pixel * p.channels + c, best);
}

/* Blocks: x pixels of a row times groups of V channels, y rows, z images. */
template <typename T, int V> static __global__ void __launch_bounds__(THREADS) maxpool_kernel(rcnn_cuda_maxpool p)
{
    rcnn_begin();
    const uint32_t groups = p.channels / V;
    const uint32_t item = blockIdx.x * THREADS + threadIdx.x;
    const int32_t ox = (int32_t)(item / groups);
    const int32_t c = (int32_t)(item % groups) * V;
    if (ox >= p.out_width) {
        return;
    }
    for (int32_t n = blockIdx.z; n < p.n; n += gridDim.z) {
        for (int32_t oy = blockIdx.y; oy < p.out_height; oy += gridDim.y) {
            pool<T, V>(p, n, oy, ox, c);
        }
    }
}

template <typename T, int V> static void launch(const rcnn_cuda_maxpool *p, cudaStream_t stream)
{
    const auto kernel = maxpool_kernel<T, V>;
    const size_t items = (size_t)p->out_width * (size_t)(p->channels / V);
    const dim3 grid((unsigned)((items + THREADS - 1) / THREADS), (unsigned)min(p->out_height, GRID_MAX),
                    (unsigned)min(p->n, GRID_MAX));
    RCNN_LAUNCH(kernel, grid, THREADS, 0, stream, *p);
}

template <typename T> static void launch_type(const rcnn_cuda_maxpool *p, cudaStream_t stream)
{
    if (p->channels % RCNN_VECTOR(T) == 0) {
        launch<T, RCNN_VECTOR(T)>(p, stream);
    } else {
        launch<T, 1>(p, stream);
    }
}

extern "C" cudaError_t rcnn_cuda_maxpool_launch(const rcnn_cuda_maxpool *p, cudaStream_t stream)
{
    RCNN_BY_TYPE(p->type, T, launch_type<T>(p, stream));
    return cudaGetLastError();
}
