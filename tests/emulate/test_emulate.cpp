/* The emulator itself: what kernels rely on, and that it notices what it promises to notice. */
#include "backend/cuda/device.cuh"

#include <sys/wait.h>
#include <unistd.h>

#include "harness.h"

static const cudaStream_t STREAM = NULL;

/* ------------------------------------------------------------- kernels */

__global__ void sum_kernel(const int *src, int count, int *blocks, int *total)
{
    __shared__ int part[32];
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), warps = (int)(blockDim.x + 31) / 32;
    int sum = i < count ? src[i] : 0;
    for (int step = 16; step > 0; step /= 2) {
        sum += __shfl_down_sync(0xffffffffu, sum, (unsigned)step);
    }
    if (threadIdx.x % 32 == 0) {
        part[threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < warps; w++) {
            sum += part[w];
        }
        blocks[blockIdx.x] = sum;
        atomicAdd(total, sum);
    }
}

__global__ void warp_kernel(unsigned *out)
{
    const unsigned lane = threadIdx.x;
    unsigned *mine = out + lane * 8;
    mine[0] = __ballot_sync(0xffffffffu, lane % 3 == 0);
    mine[1] = __shfl_sync(0xffffffffu, lane, 5, 8);
    mine[2] = __shfl_up_sync(0xffffffffu, lane, 3, 16);
    mine[3] = __shfl_xor_sync(0xffffffffu, lane, 9);
    mine[4] = __reduce_add_sync(0xffffffffu, lane);
    mine[5] = __match_any_sync(0xffffffffu, lane / 4);
    mine[6] = (unsigned)__syncthreads_count(lane < 7);
    mine[7] = lane < 16 ? __ballot_sync(0x0000ffffu, lane > 9) : 0; /* half a warp by itself */
}

__global__ void missing_barrier_kernel(int *out)
{
    __shared__ int seen;
    if (threadIdx.x == 7) {
        seen = 1;
    }
    out[threadIdx.x] = seen; /* a race: no barrier between */
}

__global__ void shared_kernel(unsigned *out)
{
    __shared__ unsigned fixed[4];
    RCNN_DYNAMIC_SHARED(unsigned, dynamic);
    out[blockIdx.x * 2] = fixed[1];
    out[blockIdx.x * 2 + 1] = dynamic[2];
    fixed[1] = dynamic[2] = 5;
}

__global__ void split_barrier_kernel(int *out)
{
    if (threadIdx.x < 3) {
        __syncthreads();
        out[0] = 1;
    } else {
        __syncthreads();
        out[1] = 1;
    }
}

__global__ void lost_lanes_kernel(int *out)
{
    if (threadIdx.x < 3) {
        __syncwarp();
    } else {
        __syncthreads();
    }
    out[0] = 1;
}

__global__ void foreign_mask_kernel(unsigned *out)
{
    out[threadIdx.x] = __ballot_sync(1u, 1);
}

/* ------------------------------------------------------------- what works */

TEST(sums_in_either_order)
{
    enum { COUNT = 1000, THREADS = 96, BLOCKS = (COUNT + THREADS - 1) / THREADS };
    int src[COUNT], blocks[BLOCKS], want = 0;
    for (int i = 0; i < COUNT; i++) {
        want += src[i] = i * i % 37;
    }
    for (int order = 0; order < 2; order++) {
        int total = 0;
        rcnn_emulate_order(order);
        RCNN_LAUNCH(sum_kernel, BLOCKS, THREADS, 0, STREAM, src, COUNT, blocks, &total);
        CHECK(cudaGetLastError() == cudaSuccess);
        CHECK_MSG(total == want, "%d, want %d", total, want);
    }
    rcnn_emulate_order(0);
}

TEST(warp_operations)
{
    unsigned out[32][8];
    RCNN_LAUNCH(warp_kernel, 1, 32, 0, STREAM, &out[0][0]);
    for (unsigned lane = 0; lane < 32; lane++) {
        const unsigned *mine = out[lane];
        CHECK(mine[0] == 0x49249249u);
        CHECK(mine[1] == (lane & ~7u) + 5);
        CHECK(mine[2] == (lane % 16 < 3 ? lane : lane - 3));
        CHECK(mine[3] == (lane ^ 9u));
        CHECK(mine[4] == 31 * 16);
        CHECK(mine[5] == 0xfu << (lane / 4 * 4));
        CHECK(mine[6] == 7);
        CHECK(mine[7] == (lane < 16 ? 0xfc00u : 0));
    }
}

TEST(bits_and_numbers)
{
    CHECK(__brev(0x80000001u) == 0x80000001u && __brev(2) == 0x40000000u);
    CHECK(__clz(0) == 32 && __clz(1) == 31 && __ffs(0) == 0 && __ffs(8) == 4 && __popcll(~0ull) == 64);
    CHECK(__byte_perm(0x33221100u, 0x77665544u, 0x7205u) == 0x77220055u);
    CHECK(__funnelshift_r(0x89abcdefu, 0x01234567u, 8) == 0x6789abcdu);
    CHECK(__float2int_rz(-1.9f) == -1 && __float2int_rd(-1.1f) == -2 && __float2int_rn(2.5f) == 2);
    CHECK(__float2int_rz(NAN) == 0 && __float2int_rz(1e20f) == INT32_MAX && __float2int_rz(-1e20f) == INT32_MIN);
    unsigned place = 5;
    CHECK(atomicCAS(&place, 4u, 9u) == 5 && place == 5 && atomicCAS(&place, 5u, 9u) == 5 && place == 9);
    CHECK(atomicMax(&place, 3u) == 9 && place == 9 && atomicSub(&place, 2u) == 9 && place == 7);
}

TEST(half_precision_rounds_to_nearest_even)
{
    for (unsigned bits = 0; bits < 65536; bits++) { /* there and back */
        const unsigned short item = (unsigned short)bits;
        const float f = __half2float(__ushort_as_half(item)), b = __bfloat162float(__ushort_as_bfloat16(item));
        CHECK(isnan(f) || __half_as_ushort(__float2half_rn(f)) == item);
        CHECK(isnan(b) || __bfloat16_as_ushort(__float2bfloat16_rn(b)) == item);
    }
    CHECK(__half_as_ushort(__float2half_rn(1.0f + 0x1p-11f)) == 0x3c00);
    CHECK(__half_as_ushort(__float2half_rn(1.0f + 0x1.8p-10f)) == 0x3c02);
    CHECK(__half_as_ushort(__float2half_rn(65519.0f)) == 0x7bff &&
          __half_as_ushort(__float2half_rn(65520.0f)) == 0x7c00);
    CHECK(__half_as_ushort(__float2half_rn(0x1p-25f)) == 0 && __half_as_ushort(__float2half_rn(0x1.8p-24f)) == 2);
    CHECK(__bfloat16_as_ushort(__float2bfloat16_rn(1.0f + 0x1p-8f)) == 0x3f80);
}

TEST(shared_memory_starts_poisoned)
{
    unsigned out[6];
    RCNN_LAUNCH(shared_kernel, 3, 1, 16, STREAM, out);
    for (int i = 0; i < 6; i++) {
        CHECK_MSG(out[i] == 0xffffffffu, "%08x", out[i]);
    }
}

/* ------------------------------------------------------------- what is noticed */

TEST(races_show_in_the_other_order)
{
    int rising[32], falling[32];
    RCNN_LAUNCH(missing_barrier_kernel, 1, 32, 0, STREAM, rising);
    rcnn_emulate_order(1);
    RCNN_LAUNCH(missing_barrier_kernel, 1, 32, 0, STREAM, falling);
    rcnn_emulate_order(0);
    CHECK(memcmp(rising, falling, sizeof rising) != 0);
}

TEST(bad_launches)
{
    int out[64];
    RCNN_LAUNCH(split_barrier_kernel, 1, 1025, 0, STREAM, out);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration && cudaGetLastError() == cudaSuccess);
    RCNN_LAUNCH(split_barrier_kernel, 0, 32, 0, STREAM, out);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    RCNN_LAUNCH(split_barrier_kernel, dim3(1, 65536), 1, 0, STREAM, out);
    CHECK(cudaGetLastError() == cudaErrorInvalidConfiguration);
    RCNN_LAUNCH(shared_kernel, 1, 1, 50000, STREAM, (unsigned *)out);
    CHECK(cudaGetLastError() == cudaErrorInvalidValue);
    CHECK(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 50000) == cudaSuccess);
    RCNN_LAUNCH(shared_kernel, 1, 1, 50000, STREAM, (unsigned *)out);
    CHECK(cudaGetLastError() == cudaSuccess);
    CHECK(cudaFuncSetAttribute(shared_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 1 << 20) != cudaSuccess);
}

/* The launch ends a child process with exit code 1. */
template <typename F> static void check_given_up(const char *what, F launch)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) {
            _exit(2);
        }
        launch();
        _exit(0);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    CHECK_MSG(WIFEXITED(status) && WEXITSTATUS(status) == 1, "%s: status %x", what, (unsigned)status);
}

TEST(barriers_that_cannot_complete)
{
    static int out[64];
    check_given_up("barriers at two places", [] { RCNN_LAUNCH(split_barrier_kernel, 1, 8, 0, STREAM, out); });
    check_given_up("lanes that never come", [] { RCNN_LAUNCH(lost_lanes_kernel, 1, 8, 0, STREAM, out); });
    check_given_up("a mask without the lane",
                   [] { RCNN_LAUNCH(foreign_mask_kernel, 1, 8, 0, STREAM, (unsigned *)out); });
}

TEST_MAIN
