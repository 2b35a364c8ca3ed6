/* The pyramid's top-down step. A thread makes V channels of ROWS pixels below one another: at a factor of two each pixel
 * of top is then read from memory once. */
#include "backend/cuda/device.cuh"
#include "backend/cuda/vector.cuh"

#define THREADS  256
#define ROWS     4
#define GRID_MAX 65535 /* of y and z */

static __device__ __forceinline__ int32_t nearest(int32_t position, int32_t in, int32_t out)
{
    const int64_t at = (int64_t)position * in / out;
    return at < in - 1 ? (int32_t)at : in - 1;
}

/* dst may be lateral: every load of a thread comes before its stores, and threads share no element of either. */
template <typename T, int V>
static __device__ __forceinline__ void add_rows(const rcnn_cuda_upsample_add &p, int32_t n, int32_t y, int32_t x,
                                                int32_t top_x, int32_t c)
{
    const T *top = (const T *)p.top + (size_t)n * p.top_height * p.top_width * p.channels + c;
    const size_t first = (((size_t)n * p.height + y) * p.width + x) * p.channels + c;
    const size_t row = (size_t)p.width * p.channels;
    rcnn_pack<T, V> a[ROWS], b[ROWS];
#pragma unroll
    for (int32_t i = 0; i < ROWS; i++) {
        if (y + i < p.height) {
            const int32_t top_y = nearest(y + i, p.top_height, p.height);
            a[i] = rcnn_load_pack<V>((const T *)p.lateral + first + i * row);
            b[i] = rcnn_load_pack<V>(top + ((size_t)top_y * p.top_width + top_x) * p.channels);
        }
    }
#pragma unroll
    for (int32_t i = 0; i < ROWS; i++) {
        if (y + i < p.height) {
            float sum[V], other[V];
            rcnn_to_floats(a[i], sum);
            rcnn_to_floats(b[i], other);
            for (int k = 0; k < V; k++) {
                sum[k] += other[k];
            }
            rcnn_store_floats((T *)p.dst + first + i * row, sum);
        }
    }
}

/* Blocks: x pixels of a row times groups of V channels, y groups of ROWS rows, z images. */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS) upsample_add_kernel(rcnn_cuda_upsample_add p)
{
    rcnn_begin();
    const uint32_t groups = p.channels / V;
    const uint32_t item = blockIdx.x * THREADS + threadIdx.x;
    const int32_t x = (int32_t)(item / groups);
    const int32_t c = (int32_t)(item % groups) * V;
    if (x >= p.width) {
        return;
    }
    const int32_t top_x = nearest(x, p.top_width, p.width);
    for (int32_t n = blockIdx.z; n < p.n; n += gridDim.z) {
        for (int32_t y = blockIdx.y * ROWS; y < p.height; y += gridDim.y * ROWS) {
            add_rows<T, V>(p, n, y, x, top_x, c);
        }
    }
}

template <typename T, int V> static void launch(const rcnn_cuda_upsample_add *p, cudaStream_t stream)
{
    const auto kernel = upsample_add_kernel<T, V>;
    const size_t items = (size_t)p->width * (size_t)(p->channels / V);
    const dim3 grid((unsigned)((items + THREADS - 1) / THREADS), (unsigned)min((p->height + ROWS - 1) / ROWS, GRID_MAX),
                    (unsigned)min(p->n, GRID_MAX));
    RCNN_LAUNCH(kernel, grid, THREADS, 0, stream, *p);
}

template <typename T> static void launch_type(const rcnn_cuda_upsample_add *p, cudaStream_t stream)
{
    if (p->channels % RCNN_VECTOR(T) == 0) {
        launch<T, RCNN_VECTOR(T)>(p, stream);
    } else {
        launch<T, 1>(p, stream);
    }
}

extern "C" cudaError_t rcnn_cuda_upsample_add_launch(const rcnn_cuda_upsample_add *p, cudaStream_t stream)
{
    RCNN_BY_TYPE(p->type, T, launch_type<T>(p, stream));
    return cudaGetLastError();
}
