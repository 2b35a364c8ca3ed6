/* Our Hopper convolution (src/backend/cuda/conv_sm90.cu) alone, on the shapes of Mask R-CNN: microseconds, TFLOP/s and
 * the largest difference from a plain kernel on the same random data.
 *
 *   bench_conv_sm90
 *
 * Five launches back to back between two events, 40 times, median; one buffer set, so small layers run from L2. */
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <vector>

#include "backend/cuda/conv_sm90.h"

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *,
                              const cuuint64_t *, const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave,
                              CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

struct layer {
    const char *name;
    int n, height, width, in, out, k, stride, relu;
    rcnn_sm90_residual residual;
    int bn, bh, bw, tile_out;
};

static const layer LAYERS[] = {
    {"fpn 3x3 P2", 1, 200, 336, 256, 256, 3, 1, 0, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 256},
    {"fpn 3x3 P2, 128 wide", 1, 200, 336, 256, 256, 3, 1, 0, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 128},
    {"fpn 3x3 P3", 1, 100, 168, 256, 256, 3, 1, 0, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 256},
    {"fpn 3x3 P2 of 3840x2304", 1, 576, 960, 256, 256, 3, 1, 0, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 256},
    {"fpn 3x3 P2, batch 8", 8, 200, 336, 256, 256, 3, 1, 0, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 256},
    {"lateral P2 + top", 1, 200, 336, 256, 256, 1, 1, 0, RCNN_SM90_RESIDUAL_UPSAMPLED, 1, 8, 16, 256},
    {"lateral P3 + top", 1, 100, 168, 512, 256, 1, 1, 0, RCNN_SM90_RESIDUAL_UPSAMPLED, 1, 8, 16, 256},
    {"mask 3x3, 100 RoIs", 100, 14, 14, 256, 256, 3, 1, 1, RCNN_SM90_RESIDUAL_NONE, 9, 1, 14, 256},
    {"mask 3x3, 5 RoIs", 5, 14, 14, 256, 256, 3, 1, 1, RCNN_SM90_RESIDUAL_NONE, 5, 1, 14, 256},
    {"layer1 1x1 256-64", 1, 200, 336, 256, 64, 1, 1, 1, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 64},
    {"layer1 3x3 64", 1, 200, 336, 64, 64, 3, 1, 1, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 64},
    {"layer1 1x1 64-256 + add", 1, 200, 336, 64, 256, 1, 1, 1, RCNN_SM90_RESIDUAL_SAME, 1, 8, 16, 256},
    {"layer2 3x3 128", 1, 100, 168, 128, 128, 3, 1, 1, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 128},
    {"layer2 3x3 128 stride 2", 1, 200, 336, 128, 128, 3, 2, 1, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 128},
    {"layer2 1x1 128-512 + add", 1, 100, 168, 128, 512, 1, 1, 1, RCNN_SM90_RESIDUAL_SAME, 1, 8, 16, 256},
    {"layer3 3x3 256, 128 wide", 1, 50, 84, 256, 256, 3, 1, 1, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 128},
    {"layer3 3x3 256, 64 wide", 1, 50, 84, 256, 256, 3, 1, 1, RCNN_SM90_RESIDUAL_NONE, 1, 8, 16, 64},
    {"layer3 1x1 256-1024 + add", 1, 50, 84, 256, 1024, 1, 1, 1, RCNN_SM90_RESIDUAL_SAME, 1, 8, 16, 128},
    {"odd sizes, 2 images", 2, 26, 44, 64, 128, 3, 1, 1, RCNN_SM90_RESIDUAL_UPSAMPLED, 1, 8, 16, 128},
};

static encode_fn encode;
static uint64_t seed = 1;

static void check(cudaError_t status, const char *what)
{
    if (status != cudaSuccess) {
        fprintf(stderr, "bench_conv_sm90: %s: %s\n", what, cudaGetErrorString(status));
        exit(1);
    }
}

static float random_value(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) / 8388608.0f - 1.0f;
}

static __half *random_halves(size_t count, float scale)
{
    std::vector<__half> host(count);
    for (__half &v : host) {
        v = __float2half(random_value() * scale);
    }
    __half *device;
    check(cudaMalloc(&device, count * sizeof *device), "allocating");
    check(cudaMemcpy(device, host.data(), count * sizeof *device, cudaMemcpyHostToDevice), "copying");
    return device;
}

static void map_tensor(CUtensorMap *map, const void *base, int rank, const cuuint64_t *size, const cuuint32_t *box,
                       const cuuint32_t *step)
{
    cuuint64_t stride[3];
    for (int i = 0; i < rank - 1; i++) {
        stride[i] = (i ? stride[i - 1] : 2) * size[i];
    }
    if (encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, rank, const_cast<void *>(base), size, stride, box, step,
               CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) != CUDA_SUCCESS) {
        fprintf(stderr, "bench_conv_sm90: no tensor map\n");
        exit(1);
    }
}

static void map_images(CUtensorMap *map, const void *base, int n, int height, int width, int channels, int bn, int bh,
                       int bw, int step)
{
    const cuuint64_t size[4] = {(cuuint64_t)channels, (cuuint64_t)width, (cuuint64_t)height, (cuuint64_t)n};
    const cuuint32_t box[4] = {64, (cuuint32_t)((bw - 1) * step + 1), (cuuint32_t)((bh - 1) * step + 1),
                               (cuuint32_t)bn};
    const cuuint32_t steps[4] = {1, (cuuint32_t)step, (cuuint32_t)step, 1};
    map_tensor(map, base, 4, size, box, steps);
}

static void map_rows(CUtensorMap *map, const void *base, int rows, int columns, int box_rows)
{
    const cuuint64_t size[2] = {(cuuint64_t)columns, (cuuint64_t)rows};
    const cuuint32_t box[2] = {64, (cuuint32_t)box_rows};
    const cuuint32_t steps[2] = {1, 1};
    map_tensor(map, base, 2, size, box, steps);
}

struct plain_call {
    const __half *src, *weights, *residual;
    const float *bias;
    __half *dst;
    int out_height, out_width, residual_height, residual_width;
};

__global__ void plain_kernel(layer l, plain_call c)
{
    const size_t index = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    if (index >= (size_t)l.n * c.out_height * c.out_width * l.out) {
        return;
    }
    const int o = index % l.out;
    const size_t pixel = index / l.out;
    const int x = pixel % c.out_width, y = pixel / c.out_width % c.out_height,
              image = pixel / c.out_width / c.out_height;
    float sum = c.bias[o];
    for (int tap = 0; tap < l.k * l.k; tap++) {
        const int iy = y * l.stride + tap / l.k - l.k / 2, ix = x * l.stride + tap % l.k - l.k / 2;
        if (iy < 0 || ix < 0 || iy >= l.height || ix >= l.width) {
            continue;
        }
        const __half *a = c.src + (((size_t)image * l.height + iy) * l.width + ix) * l.in;
        const __half *b = c.weights + ((size_t)o * l.k * l.k + tap) * l.in;
        for (int i = 0; i < l.in; i++) {
            sum += __half2float(a[i]) * __half2float(b[i]);
        }
    }
    if (c.residual) {
        const int ry = y * c.residual_height / c.out_height, rx = x * c.residual_width / c.out_width;
        sum += __half2float(c.residual[(((size_t)image * c.residual_height + ry) * c.residual_width + rx) * l.out + o]);
    }
    c.dst[index] = __float2half(l.relu ? fmaxf(sum, 0.0f) : sum);
}

static rcnn_sm90_conv parameters(const layer &l, const plain_call &c, void *dst)
{
    rcnn_sm90_conv p;
    memset(&p, 0, sizeof p);
    rcnn_sm90_segment &s = p.segment[0];
    p.segment_count = 1;
    p.tile_out = l.tile_out;
    p.out = l.out;
    p.out_tiles = l.out / l.tile_out;
    p.chunks = l.in / RCNN_SM90_CHUNK;
    p.kh = p.kw = l.k;
    p.stride = l.stride;
    p.pad = l.k / 2;
    p.relu = l.relu;
    p.epilogue = RCNN_SM90_STORE;
    p.residual = l.residual;
    map_images(&s.src, c.src, l.n, l.height, l.width, l.in, l.bn, l.bh, l.bw, l.stride);
    map_images(&s.dst, dst, l.n, c.out_height, c.out_width, l.out, l.bn, l.bh, l.bw, 1);
    map_rows(&s.weights, c.weights, l.out, l.k * l.k * l.in, l.tile_out / 2);
    map_rows(&s.narrow_weights, c.weights, l.out, l.k * l.k * l.in, RCNN_SM90_CHUNK / 2);
    if (c.residual) {
        const int shrink = l.residual == RCNN_SM90_RESIDUAL_UPSAMPLED ? 2 : 1;
        map_images(&s.residual, c.residual, l.n, c.residual_height, c.residual_width, l.out, l.bn, l.bh / shrink,
                   l.bw / shrink, 1);
    }
    s.bias = c.bias;
    s.n = l.n;
    s.out_height = c.out_height;
    s.out_width = c.out_width;
    s.bn = l.bn;
    s.bh = l.bh;
    s.bw = l.bw;
    s.tiles_h = (c.out_height + l.bh - 1) / l.bh;
    s.tiles_w = (c.out_width + l.bw - 1) / l.bw;
    return p;
}

static float median_us(const rcnn_sm90_conv &p, int multiprocessors, cudaStream_t stream)
{
    cudaEvent_t begin, end;
    std::vector<float> times;
    check(cudaEventCreate(&begin), "event");
    check(cudaEventCreate(&end), "event");
    for (int i = 0; i < 40; i++) {
        float ms;
        check(cudaEventRecord(begin, stream), "event");
        for (int k = 0; k < 5; k++) {
            check(rcnn_cuda_conv_sm90_launch(&p, multiprocessors, stream), "launching");
        }
        check(cudaEventRecord(end, stream), "event");
        check(cudaEventSynchronize(end), "running");
        check(cudaEventElapsedTime(&ms, begin, end), "event");
        times.push_back(ms * 200);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

static void run_layer(const layer &l, int multiprocessors, cudaStream_t stream)
{
    plain_call c;
    c.out_height = (l.height + l.k / 2 * 2 - l.k) / l.stride + 1;
    c.out_width = (l.width + l.k / 2 * 2 - l.k) / l.stride + 1;
    const int shrink = l.residual == RCNN_SM90_RESIDUAL_UPSAMPLED ? 2 : 1;
    c.residual_height = c.out_height / shrink;
    c.residual_width = c.out_width / shrink;
    const size_t outputs = (size_t)l.n * c.out_height * c.out_width * l.out;
    std::vector<float> bias(l.out);
    std::vector<__half> got(outputs), want(outputs);
    float *device_bias;
    __half *dst;
    std::generate(bias.begin(), bias.end(), random_value);
    c.src = random_halves((size_t)l.n * l.height * l.width * l.in, 1);
    c.weights = random_halves((size_t)l.out * l.k * l.k * l.in, 1.7f / sqrtf((float)(l.k * l.k * l.in)));
    c.residual = l.residual == RCNN_SM90_RESIDUAL_NONE
                     ? NULL
                     : random_halves((size_t)l.n * c.residual_height * c.residual_width * l.out, 1);
    check(cudaMalloc(&device_bias, l.out * sizeof(float)), "allocating");
    check(cudaMemcpy(device_bias, bias.data(), l.out * sizeof(float), cudaMemcpyHostToDevice), "copying");
    check(cudaMalloc(&dst, outputs * sizeof *dst), "allocating");
    check(cudaMalloc(&c.dst, outputs * sizeof *dst), "allocating");
    check(cudaMemset(dst, 0xff, outputs * sizeof *dst), "poisoning");
    c.bias = device_bias;
    const rcnn_sm90_conv p = parameters(l, c, dst);
    check(rcnn_cuda_conv_sm90_launch(&p, multiprocessors, stream), "launching");
    plain_kernel<<<(unsigned)((outputs + 255) / 256), 256, 0, stream>>>(l, c);
    check(cudaStreamSynchronize(stream), "running");
    check(cudaMemcpy(got.data(), dst, outputs * sizeof *dst, cudaMemcpyDeviceToHost), "copying");
    check(cudaMemcpy(want.data(), c.dst, outputs * sizeof *dst, cudaMemcpyDeviceToHost), "copying");
    double worst = 0;
    for (size_t i = 0; i < outputs; i++) {
        const double gap = fabs((double)__half2float(got[i]) - (double)__half2float(want[i]));
        worst = gap <= worst ? worst : gap; /* NaN counts */
    }
    const float us = median_us(p, multiprocessors, stream);
    printf("%-28s %8.1f us %7.1f TFLOP/s  largest difference %.2e\n", l.name, us,
           2e-6 * (double)outputs * l.k * l.k * l.in / us, worst);
    fflush(stdout);
    for (const void *memory : {(const void *)c.src, (const void *)c.weights, (const void *)c.residual,
                               (const void *)device_bias, (const void *)dst, (const void *)c.dst}) {
        cudaFree(const_cast<void *>(memory));
    }
}

int main(void)
{
    void *symbol = NULL;
    cudaDriverEntryPointQueryResult found;
    cudaStream_t stream;
    int multiprocessors;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &symbol, 12000, cudaEnableDefault, &found),
          "driver entry");
    memcpy(&encode, &symbol, sizeof symbol);
    check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0), "device");
    check(cudaStreamCreate(&stream), "stream");
    for (const layer &l : LAYERS) {
        run_layer(l, multiprocessors, stream);
    }
    return 0;
}
