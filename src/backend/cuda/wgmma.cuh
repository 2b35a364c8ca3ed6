/* Hopper's warp group instructions (sm_90a) in small wrappers: mbarriers, bulk tensor copies, wgmma with both operands in
 * shared memory. Shared memory tiles are rows of 64 half values (128 bytes) in the 128-byte swizzle, which the copy
 * engine writes and wgmma reads: row r's 16-byte unit u stands at unit u ^ (r % 8). Tiles begin on 1024 bytes.
 * Source: PTX ISA, "Asynchronous warpgroup level matrix instructions", "Tensor copies", "mbarrier". */
#ifndef RCNN_BACKEND_CUDA_WGMMA_CUH
#define RCNN_BACKEND_CUDA_WGMMA_CUH

#include <cuda.h>
#include <stdint.h>

static __device__ __forceinline__ uint32_t shared_address(const void *pointer)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/* ------------------------------------------------------------- barriers */

static __device__ __forceinline__ void barrier_init(uint32_t barrier, uint32_t arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/* One arrival that also announces bytes of copies to come. */
static __device__ __forceinline__ void barrier_expect(uint32_t barrier, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

static __device__ __forceinline__ void barrier_wait(uint32_t barrier, uint32_t parity)
{
    asm volatile("{\n.reg .pred p;\nagain:\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@p bra done;\nbra again;\ndone:\n}\n" ::"r"(barrier),
                 "r"(parity)
                 : "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint32_t barrier)
{
    asm volatile("mbarrier.arrive.release.cta.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* Arrival at the same barrier of block `rank` of the cluster. For "I have read it" only: release at cluster scope would
 * order writes too, at the price of a fence of the whole device (measured: it halved the convolution's speed). */
static __device__ __forceinline__ void barrier_arrive_at(uint32_t barrier, uint32_t rank)
{
    asm volatile("{\n.reg .b32 remote;\nmapa.shared::cluster.u32 remote, %0, %1;\n"
                 "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}\n" ::"r"(barrier),
                 "r"(rank)
                 : "memory");
}

static __device__ __forceinline__ void cluster_sync(void)
{
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;\n" ::: "memory");
}

static __device__ __forceinline__ uint32_t cluster_rank(void)
{
    uint32_t rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* Barrier among `threads` threads of a block. */
static __device__ __forceinline__ void named_barrier(uint32_t id, uint32_t threads)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/* ------------------------------------------------------------- copies */

static __device__ __forceinline__ void tensor_prefetch(const CUtensorMap *map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

static __device__ __forceinline__ void load_4d(uint32_t dst, const CUtensorMap *map, uint32_t barrier, int c, int x,
                                               int y, int n)
{
    asm volatile("cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(dst),
                 "l"(map), "r"(barrier), "r"(c), "r"(x), "r"(y), "r"(n)
                 : "memory");
}

static __device__ __forceinline__ void load_2d(uint32_t dst, const CUtensorMap *map, uint32_t barrier, int k, int row)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%3, %4}], [%2];" ::"r"(dst),
                 "l"(map), "r"(barrier), "r"(k), "r"(row)
                 : "memory");
}

/* To the same place in every block of the mask; each block's own barrier counts the bytes. */
static __device__ __forceinline__ void load_2d_multicast(uint32_t dst, const CUtensorMap *map, uint32_t barrier, int k,
                                                         int row, uint16_t mask)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
                 "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(dst),
                 "l"(map), "r"(barrier), "r"(k), "r"(row), "h"(mask)
                 : "memory");
}

static __device__ __forceinline__ void store_4d(const CUtensorMap *map, uint32_t src, int c, int x, int y, int n)
{
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map),
                 "r"(src), "r"(c), "r"(x), "r"(y), "r"(n)
                 : "memory");
}

static __device__ __forceinline__ void store_commit(void)
{
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* Until at most LEFT of this thread's stores still read shared memory. */
template <int LEFT> static __device__ __forceinline__ void store_wait_read(void)
{
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(LEFT) : "memory");
}

static __device__ __forceinline__ void store_wait_all(void)
{
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/* Ordinary writes to shared memory before this are seen by the copy engine after the next barrier. */
static __device__ __forceinline__ void fence_async_shared(void)
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

static __device__ __forceinline__ uint32_t load_shared(uint32_t address)
{
    uint32_t value;
    asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(address) : "memory");
    return value;
}

/* Four 8x8 tiles of half values from the accumulator layout; lane l gives the row address of tile l/8, row l%8. */
static __device__ __forceinline__ void store_matrices(uint32_t address, uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(a), "r"(b),
                 "r"(c), "r"(d)
                 : "memory");
}

/* ------------------------------------------------------------- wgmma */

/* Descriptor of a K-major tile in the 128-byte swizzle: 8-row groups are 1024 bytes apart. */
static __device__ __forceinline__ uint64_t tile_descriptor(uint32_t address)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

static __device__ __forceinline__ void wgmma_fence(void)
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void wgmma_commit(void)
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int LEFT> static __device__ __forceinline__ void wgmma_wait(void)
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

/* Keeps the compiler from moving accumulator registers across asynchronous products. */
template <int COUNT> static __device__ __forceinline__ void wgmma_pin(float *d)
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        asm volatile("" : "+f"(d[i])::"memory");
    }
}

#define RCNN_ACC8(d, i)                                                                                                \
    "+f"(d[(i)]), "+f"(d[(i) + 1]), "+f"(d[(i) + 2]), "+f"(d[(i) + 3]), "+f"(d[(i) + 4]), "+f"(d[(i) + 5]),            \
        "+f"(d[(i) + 6]), "+f"(d[(i) + 7])

/* d[64 x N] (+)= a[64 x 16] b[N x 16]^T, keep = 0 starts from zero. Accumulator layout: thread t of the group holds rows
 * 16 * (t / 32) + t % 32 / 4 (+ 8) and of each 8 columns g the two at 2 * (t % 4): d[4g], d[4g+1] and d[4g+2], d[4g+3]. */
/* clang-format off */
#define RCNN_WGMMA_64(TYPE, d, a, b, keep) \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"                                                            \
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32." TYPE "." TYPE " "                                         \
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, " \
                 "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31}, "                                                   \
                 "%32, %33, p, 1, 1, 0, 0;\n}\n"                                                                         \
                 : RCNN_ACC8(d, 0), RCNN_ACC8(d, 8), RCNN_ACC8(d, 16), RCNN_ACC8(d, 24)                                  \
                 : "l"(a), "l"(b), "r"(keep))

#define RCNN_WGMMA_128(TYPE, d, a, b, keep) \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %66, 0;\n"                                                                                                   \
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32." TYPE "." TYPE " "                                                                               \
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "                                        \
                 "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "                                         \
                 "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "                                         \
                 "%62, %63}, "                                                                                                                                  \
                 "%64, %65, p, 1, 1, 0, 0;\n}\n"                                                                                                                \
                 : RCNN_ACC8(d, 0), RCNN_ACC8(d, 8), RCNN_ACC8(d, 16), RCNN_ACC8(d, 24), RCNN_ACC8(d, 32), RCNN_ACC8(d, 40), RCNN_ACC8(d, 48), RCNN_ACC8(d, 56) \
                 : "l"(a), "l"(b), "r"(keep))

#define RCNN_WGMMA_256(TYPE, d, a, b, keep) \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"                                                                                                                                                                                                                                                     \
                 "wgmma.mma_async.sync.aligned.m64n256k16.f32." TYPE "." TYPE " "                                                                                                                                                                                                                                  \
                 "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, "                                                                                                                                                                                           \
                 "%22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, "                                                                                                                                                                                            \
                 "%42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "                                                                                                                                                                                            \
                 "%62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, "                                                                                                                                                                                            \
                 "%82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101"                                                                                                                                                                                            \
                 ", %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %1"                                                                                                                                                                                            \
                 "18, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "                                                                                                                                                                                                                                     \
                 "%128, %129, p, 1, 1, 0, 0;\n}\n"                                                                                                                                                                                                                                                                 \
                 : RCNN_ACC8(d, 0), RCNN_ACC8(d, 8), RCNN_ACC8(d, 16), RCNN_ACC8(d, 24), RCNN_ACC8(d, 32), RCNN_ACC8(d, 40), RCNN_ACC8(d, 48), RCNN_ACC8(d, 56), RCNN_ACC8(d, 64), RCNN_ACC8(d, 72), RCNN_ACC8(d, 80), RCNN_ACC8(d, 88), RCNN_ACC8(d, 96), RCNN_ACC8(d, 104), RCNN_ACC8(d, 112), RCNN_ACC8(d, 120) \
                 : "l"(a), "l"(b), "r"(keep))

/* clang-format on */

template <int N, bool BF16> static __device__ __forceinline__ void wgmma(float *d, uint64_t a, uint64_t b, int keep)
{
    if constexpr (BF16) {
        if constexpr (N == 64) {
            RCNN_WGMMA_64("bf16", d, a, b, keep);
        } else if constexpr (N == 128) {
            RCNN_WGMMA_128("bf16", d, a, b, keep);
        } else {
            RCNN_WGMMA_256("bf16", d, a, b, keep);
        }
    } else {
        if constexpr (N == 64) {
            RCNN_WGMMA_64("f16", d, a, b, keep);
        } else if constexpr (N == 128) {
            RCNN_WGMMA_128("f16", d, a, b, keep);
        } else {
            RCNN_WGMMA_256("f16", d, a, b, keep);
        }
    }
}

#endif
