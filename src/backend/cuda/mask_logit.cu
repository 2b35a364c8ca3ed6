/* Mask of the predicted class: per pixel one inner product over the channels, then a sigmoid. Bound by reading src once.
 * LANES neighbouring lanes share a pixel and read 128 bytes of it at a time; PIXELS of them are under way at once, which
 * keeps loads in flight and reads each weight once for all. */
#include "backend/cuda/device.cuh"
#include "backend/cuda/vector.cuh"

#define THREADS      256
#define LANES        8
#define PIXELS       4
#define GROUPS       (THREADS / LANES)
#define BLOCK_PIXELS (GROUPS * PIXELS)

template <int V> static __device__ __forceinline__ void load_weights(const float *src, float (&w)[V])
{
    constexpr int STEP = V % 4 == 0 ? 4 : 1;
    for (int k = 0; k < V; k += STEP) {
        float part[STEP];
        rcnn_to_floats(rcnn_load_pack_readonly<STEP>(src + k), part);
        for (int i = 0; i < STEP; i++) {
            w[k + i] = part[i];
        }
    }
}

/* sum[i] += this lane's share of the inner product of pixel i. src: pixel 0, the others `step` elements apart; the first
 * `live` of them are there. */
template <typename T, int V>
static __device__ __forceinline__ void add_products(const T *src, size_t step, int32_t live, const float *weights,
                                                    int32_t in, float (&sum)[PIXELS])
{
    for (int32_t c = (int32_t)(threadIdx.x % LANES) * V; c < in; c += LANES * V) {
        rcnn_pack<T, V> pack[PIXELS];
#pragma unroll
        for (int32_t i = 0; i < PIXELS; i++) {
            if (i < live) {
                pack[i] = rcnn_load_pack<V>(src + i * step + c);
            }
        }
        float w[V];
        load_weights(weights + c, w);
#pragma unroll
        for (int32_t i = 0; i < PIXELS; i++) {
            if (i < live) {
                float value[V];
                rcnn_to_floats(pack[i], value);
                for (int k = 0; k < V; k++) {
                    sum[i] = fmaf(value[k], w[k], sum[i]);
                }
            }
        }
    }
}

static __device__ __forceinline__ float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

/* Blocks: x detections of an image times `parts` runs of BLOCK_PIXELS pixels, y images. */
template <typename T, int V>
static __global__ void __launch_bounds__(THREADS) mask_logit_kernel(rcnn_cuda_mask_logit p, int32_t parts)
{
    rcnn_begin();
    const int32_t n = blockIdx.y;
    const int32_t r = (int32_t)blockIdx.x / parts, part = (int32_t)blockIdx.x % parts;
    if (r >= p.counts[n]) {
        return;
    }
    const int32_t label = p.labels[(size_t)n * p.capacity + r];
    const int32_t channel = p.agnostic ? 0 : label + p.channel_offset;
    if (channel < 0 || channel >= p.channels) {
        if (threadIdx.x == 0) {
            rcnn_note_fault(p.fault, RCNN_CUDA_FAULT_LABEL, n, r, label);
        }
        return;
    }
    const size_t row = (size_t)rcnn_live_rows(p.counts, n) + r;
    const int32_t pixels = p.side * p.side;
    const int32_t first = part * BLOCK_PIXELS + (int32_t)threadIdx.x / LANES; /* pixel i is first + i * GROUPS */
    const int32_t live = min((pixels - first + GROUPS - 1) / GROUPS, PIXELS); /* not above 0: none                */
    float sum[PIXELS] = {};
    add_products<T, V>((const T *)p.src + (row * pixels + first) * p.in, (size_t)GROUPS * p.in, live,
                       p.weights + (size_t)channel * p.in, p.in, sum);
#pragma unroll
    for (int32_t i = 0; i < PIXELS; i++) {
        for (int32_t lanes = LANES / 2; lanes > 0; lanes /= 2) {
            sum[i] += __shfl_xor_sync(0xffffffffu, sum[i], lanes);
        }
    }
    const int32_t mine = threadIdx.x % LANES; /* the first PIXELS lanes write a pixel each */
    float logit = p.bias[channel];
#pragma unroll
    for (int32_t i = 0; i < PIXELS; i++) {
        logit += mine == i ? sum[i] : 0.0f;
    }
    if (mine < live) {
        p.dst[row * pixels + first + mine * GROUPS] = sigmoid(logit);
    }
}

template <typename T, int V> static void launch(const rcnn_cuda_mask_logit *p, cudaStream_t stream)
{
    const auto kernel = mask_logit_kernel<T, V>;
    const int32_t parts = (p->side * p->side + BLOCK_PIXELS - 1) / BLOCK_PIXELS;
    const dim3 grid((unsigned)p->capacity * (unsigned)parts, (unsigned)p->n);
    RCNN_LAUNCH(kernel, grid, THREADS, 0, stream, *p, parts);
}

template <typename T> static void launch_type(const rcnn_cuda_mask_logit *p, cudaStream_t stream)
{
    if (p->in % RCNN_VECTOR(T) == 0) {
        launch<T, RCNN_VECTOR(T)>(p, stream);
    } else {
        launch<T, 1>(p, stream);
    }
}

extern "C" cudaError_t rcnn_cuda_mask_logit_launch(const rcnn_cuda_mask_logit *p, cudaStream_t stream)
{
    RCNN_BY_TYPE(p->type, T, launch_type<T>(p, stream));
    return cudaGetLastError();
}
