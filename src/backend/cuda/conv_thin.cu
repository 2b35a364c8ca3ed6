/* A 1x1 convolution to at most 16 outputs (the RPN's predictions: 15 from 256 channels) reads 34 times what it writes, and
 * libraries' tiles of 64 outputs and more leave most of the tensor cores idle while padding the odd output count. Here a
 * warp keeps all weights in registers and streams the pixels through: the memory's speed is the limit.
 *
 * mma.m16n8k16 sums over k in any order, so the k values of a lane are chosen as 8 neighbouring channels: lane t of four
 * holds channels 32c + 8t .. 8t+7 of a pixel, one load of 16 bytes, and the same of the weights. Words x, y feed one
 * mma, z, w the next. */
#include "backend/cuda/mma.cuh"

#define WARPS           4
#define PIXELS          16 /* of a warp's step: the rows of an mma     */
#define OUTPUTS         16 /* two mma columns of 8                     */
#define CHUNK           32 /* channels that four lanes hold in 8 each  */
#define BLOCKS_RESIDENT 3

static __device__ __forceinline__ uint4 load_16(const void *base, size_t bytes, bool live)
{
    uint4 zero = make_uint4(0, 0, 0, 0);
    return live ? *reinterpret_cast<const uint4 *>(static_cast<const char *>(base) + bytes) : zero;
}

static __device__ __forceinline__ size_t live_pixels(const rcnn_cuda_conv &p)
{
    const int32_t live = p.counts ? min(rcnn_live_rows(p.counts, p.count_images), p.n) : p.n;
    return (size_t)live * p.height * p.width;
}

/* Values of the warp's tile as they stand in dst: [pixel][out]. */
static __device__ __forceinline__ void stage(float *tile, const float (&d)[2][4], int g, int t, int out, bool relu)
{
    for (int h = 0; h < 2; h++) {
        for (int i = 0; i < 4; i++) {
            const int pixel = g + i / 2 * 8, o = 8 * h + 2 * t + i % 2;
            if (o < out) {
                tile[pixel * out + o] = relu && d[h][i] < 0.0f ? 0.0f : d[h][i];
            }
        }
    }
}

template <typename T, typename D, int CHUNKS>
static __global__ void __launch_bounds__(WARPS * 32, BLOCKS_RESIDENT) conv_thin_kernel(rcnn_cuda_conv p)
{
    rcnn_begin();
    __shared__ float staged[WARPS][PIXELS * OUTPUTS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int g = lane / 4, t = lane % 4;
    const size_t pitch = sizeof(T) * CHUNKS * CHUNK; /* bytes of a pixel, and of an output's weights */
    const size_t pixels = live_pixels(p);
    uint4 weights[2][CHUNKS];
    float bias[2][2];
    for (int h = 0; h < 2; h++) {
        for (int c = 0; c < CHUNKS; c++) {
            const int o = g + 8 * h;
            weights[h][c] = load_16(p.weights, o * pitch + sizeof(T) * (c * CHUNK + t * 8), o < p.out);
        }
        for (int i = 0; i < 2; i++) {
            const int o = 8 * h + 2 * t + i;
            bias[h][i] = o < p.out ? p.bias[o] : 0.0f;
        }
    }
    float *tile = staged[warp];
    D *dst = static_cast<D *>(p.dst);
    const size_t step = (size_t)gridDim.x * WARPS * PIXELS;
    for (size_t first = ((size_t)blockIdx.x * WARPS + warp) * PIXELS; first < pixels; first += step) {
        uint4 low[CHUNKS], high[CHUNKS]; /* pixels first+g and first+g+8 */
        for (int c = 0; c < CHUNKS; c++) {
            const size_t at = (first + g) * pitch + sizeof(T) * (c * CHUNK + t * 8);
            low[c] = load_16(p.src, at, first + g < pixels);
            high[c] = load_16(p.src, at + 8 * pitch, first + g + 8 < pixels);
        }
        float d[2][4];
        for (int h = 0; h < 2; h++) {
            for (int i = 0; i < 4; i++) {
                d[h][i] = bias[h][i % 2];
            }
            for (int c = 0; c < CHUNKS; c++) {
                rcnn_mma<T>(d[h], low[c].x, high[c].x, low[c].y, high[c].y, weights[h][c].x, weights[h][c].y);
                rcnn_mma<T>(d[h], low[c].z, high[c].z, low[c].w, high[c].w, weights[h][c].z, weights[h][c].w);
            }
        }
        stage(tile, d, g, t, p.out, p.relu);
        __syncwarp();
        const int values = (int)(pixels - first < PIXELS ? pixels - first : PIXELS) * p.out;
        for (int i = lane; i < values; i += 32) {
            dst[first * p.out + i] = rcnn_from_float<D>(tile[i]);
        }
        __syncwarp(); /* before the next tile is staged */
    }
}

template <typename T, typename D> static cudaError_t launch(const rcnn_cuda_conv *p, cudaStream_t stream)
{
    const size_t tiles = ((size_t)p->n * p->height * p->width + PIXELS - 1) / PIXELS;
    const size_t wanted = (tiles + WARPS - 1) / WARPS, room = (size_t)rcnn_multiprocessors() * BLOCKS_RESIDENT;
    const dim3 grid((unsigned)(wanted < room ? wanted : room));
    switch (p->in) {
    case 32:
        RCNN_LAUNCH((conv_thin_kernel<T, D, 1>), grid, dim3(WARPS * 32), 0, stream, *p);
        break;
    case 64:
        RCNN_LAUNCH((conv_thin_kernel<T, D, 2>), grid, dim3(WARPS * 32), 0, stream, *p);
        break;
    case 128:
        RCNN_LAUNCH((conv_thin_kernel<T, D, 4>), grid, dim3(WARPS * 32), 0, stream, *p);
        break;
    case 256:
        RCNN_LAUNCH((conv_thin_kernel<T, D, 8>), grid, dim3(WARPS * 32), 0, stream, *p);
        break;
    default:
        return cudaErrorInvalidValue;
    }
    return cudaGetLastError();
}

cudaError_t rcnn_cuda_conv_thin_launch(const rcnn_cuda_conv *p, cudaStream_t stream)
{
    const bool to_float = p->dst_type == RCNN_CUDA_F32;
    if (p->type == RCNN_CUDA_F32 || p->out > OUTPUTS || (!to_float && p->dst_type != p->type)) {
        return cudaErrorInvalidValue;
    }
    if (p->type == RCNN_CUDA_F16) {
        return to_float ? launch<__half, float>(p, stream) : launch<__half, __half>(p, stream);
    }
    return to_float ? launch<__nv_bfloat16, float>(p, stream) : launch<__nv_bfloat16, __nv_bfloat16>(p, stream);
}
