/* Warp-wide steps of the tensor cores of sm_80 and later on half and bfloat16 values, and the asynchronous copies that
 * feed them, in small wrappers. All lanes of a warp call the warp steps together. Under RCNN_EMULATE the same functions
 * compute the same from the layouts that the PTX ISA gives ("Matrix Fragments for mma.m16n8k16", "ldmatrix"), so that
 * kernels made of them run under tests/emulate.
 *
 * With g = lane / 4 and t = lane % 4, a pair being two neighbouring values in one register (the first in the low half):
 *     A 16x16: a[0] = row g,   columns 2t,2t+1     a[1] = row g+8, the same     a[2], a[3] = the same, 8 columns on
 *     B 16x8:  b0   = rows 2t,2t+1 of column g     b1   = rows 2t+8,2t+9
 *     D 16x8:  d[0], d[1] = row g, columns 2t,2t+1     d[2], d[3] = row g+8 */
#ifndef RCNN_BACKEND_CUDA_MMA_CUH
#define RCNN_BACKEND_CUDA_MMA_CUH

#include "backend/cuda/device.cuh"

#ifdef RCNN_EMULATE

#include <vector>

/* ------------------------------------------------------------- on the CPU */

typedef uintptr_t rcnn_shared_address;

static inline rcnn_shared_address rcnn_address_of_shared(const void *shared)
{
    return (rcnn_shared_address)shared;
}

/* Lane 0's variable, for all lanes: coroutines reach each other's stacks. */
template <typename S> static inline S *rcnn_of_lane0(S *own)
{
    return reinterpret_cast<S *>(__shfl_sync(0xffffffffu, reinterpret_cast<uintptr_t>(own), 0));
}

template <int COUNT> static inline void rcnn_ldmatrix(uint32_t (&matrix)[COUNT], rcnn_shared_address row)
{
    const int lane = rcnn_emulate_lane();
    rcnn_shared_address own[32];
    rcnn_shared_address *rows = rcnn_of_lane0(own);
    rows[lane] = row;
    __syncwarp();
    for (int m = 0; m < COUNT; m++) {
        memcpy(&matrix[m], reinterpret_cast<const char *>(rows[8 * m + lane / 4]) + 4 * (lane % 4), 4);
    }
    __syncwarp();
}

template <typename T> static inline float rcnn_emulate_value(uint32_t pair, int index)
{
    T values[2];
    memcpy(values, &pair, sizeof values);
    return rcnn_to_float(values[index]);
}

template <typename T>
static inline void rcnn_mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0, uint32_t b1)
{
    typedef struct fragment {
        uint32_t a[4], b[2];
    } fragment;
    const int lane = rcnn_emulate_lane();
    fragment own[32];
    fragment *all = rcnn_of_lane0(own);
    all[lane] = {{a0, a1, a2, a3}, {b0, b1}};
    __syncwarp();
    for (int i = 0; i < 4; i++) {
        const int row = lane / 4; /* of the half that i / 2 names */
        const int column = 2 * (lane % 4) + i % 2;
        for (int k = 0; k < 16; k++) {
            const int pair = k % 8 / 2; /* the lane of four that holds it */
            d[i] += rcnn_emulate_value<T>(all[4 * row + pair].a[i / 2 + k / 8 * 2], k % 2) *
                    rcnn_emulate_value<T>(all[4 * column + pair].b[k / 8], k % 2);
        }
    }
    __syncwarp();
}

/* Copies happen as late as they may, in the wait, so that a missing wait shows. */
typedef struct rcnn_emulate_copy {
    void *dst;
    const void *src; /* NULL: zeros     */
    int bytes;       /* 0: end of a group */
} rcnn_emulate_copy;
static std::vector<rcnn_emulate_copy> rcnn_emulate_copies[1024]; /* of each thread of the block */

static inline std::vector<rcnn_emulate_copy> *rcnn_emulate_own_copies(void)
{
    return &rcnn_emulate_copies[threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)];
}

template <int BYTES> static inline void rcnn_copy_async(rcnn_shared_address dst, const void *src, bool live)
{
    rcnn_emulate_own_copies()->push_back({reinterpret_cast<void *>(dst), live ? src : NULL, BYTES});
}

template <int BYTES>
static inline void rcnn_copy_async_if(bool wanted, rcnn_shared_address dst, const void *src, bool live)
{
    if (wanted) {
        rcnn_copy_async<BYTES>(dst, src, live);
    }
}

static inline void rcnn_copy_commit(void)
{
    rcnn_emulate_own_copies()->push_back({NULL, NULL, 0});
}

template <int PENDING> static inline void rcnn_copy_wait(void)
{
    std::vector<rcnn_emulate_copy> *copies = rcnn_emulate_own_copies();
    int groups = 0;
    for (const rcnn_emulate_copy &copy : *copies) {
        groups += copy.bytes == 0;
    }
    size_t done = 0;
    for (; groups > PENDING; done++) {
        const rcnn_emulate_copy &copy = (*copies)[done];
        groups -= copy.bytes == 0;
        if (copy.src) {
            memcpy(copy.dst, copy.src, (size_t)copy.bytes);
        } else if (copy.dst) {
            memset(copy.dst, 0, (size_t)copy.bytes);
        }
    }
    copies->erase(copies->begin(), copies->begin() + (ptrdiff_t)done);
}

template <typename T> static inline uint32_t rcnn_pack(float low, float high)
{
    const T values[2] = {rcnn_from_float<T>(low), rcnn_from_float<T>(high)};
    uint32_t pair;
    memcpy(&pair, values, sizeof pair);
    return pair;
}
template <typename T> static inline float rcnn_low(uint32_t pair)
{
    return rcnn_emulate_value<T>(pair, 0);
}
template <typename T> static inline float rcnn_high(uint32_t pair)
{
    return rcnn_emulate_value<T>(pair, 1);
}
template <typename T> static inline uint32_t rcnn_max_pair(uint32_t a, uint32_t b)
{
    float best[2];
    for (int i = 0; i < 2; i++) {
        const float x = rcnn_emulate_value<T>(a, i), y = rcnn_emulate_value<T>(b, i);
        best[i] = x > y || x != x ? x : y;
    }
    return rcnn_pack<T>(best[0], best[1]);
}

#else

/* ------------------------------------------------------------- on the GPU */

typedef uint32_t rcnn_shared_address;

static __device__ __forceinline__ rcnn_shared_address rcnn_address_of_shared(const void *shared)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

/* COUNT (2 or 4) matrices of 8 rows of 16 bytes: lane 8m+r gives the address of row r of matrix m, on 16 bytes; register
 * m gets bytes 4t.. of row g of matrix m. */
template <int COUNT>
static __device__ __forceinline__ void rcnn_ldmatrix(uint32_t (&matrix)[COUNT], rcnn_shared_address row)
{
    static_assert(COUNT == 2 || COUNT == 4, "matrices an instruction");
    if constexpr (COUNT == 4) {
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(matrix[0]), "=r"(matrix[1]), "=r"(matrix[2]), "=r"(matrix[3])
                     : "r"(row));
    } else {
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                     : "=r"(matrix[0]), "=r"(matrix[1])
                     : "r"(row));
    }
}

/* d += a b, summed in float. */
template <typename T>
static __device__ __forceinline__ void rcnn_mma(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                uint32_t b0, uint32_t b1);
template <>
__device__ __forceinline__ void rcnn_mma<__half>(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                                 uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void rcnn_mma<__nv_bfloat16>(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                                        uint32_t a3, uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/* Starts the copy of BYTES (8 or 16, both addresses on that) to shared memory; zeros when not live: src is then not read,
 * but must be an address of the same memory. A thread's copies since its last commit form a group; wait returns when all
 * but the last PENDING groups of this thread have arrived: others see them after a barrier. */
template <int BYTES>
static __device__ __forceinline__ void rcnn_copy_async(rcnn_shared_address dst, const void *src, bool live)
{
    static_assert(BYTES == 8 || BYTES == 16, "bytes a copy");
    const uint32_t bytes = live ? BYTES : 0;
    if constexpr (BYTES == 16) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(dst), "l"(__cvta_generic_to_global(src)),
                     "r"(bytes)
                     : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(dst), "l"(__cvta_generic_to_global(src)),
                     "r"(bytes)
                     : "memory");
    }
}
/* The same of 16 bytes, or nothing: one instruction under a predicate, no branch. */
template <int BYTES>
static __device__ __forceinline__ void rcnn_copy_async_if(bool wanted, rcnn_shared_address dst, const void *src,
                                                          bool live)
{
    static_assert(BYTES == 16, "bytes a copy");
    const uint32_t bytes = live ? BYTES : 0;
    asm volatile("{\n.reg .pred wanted;\nsetp.ne.u32 wanted, %3, 0;\n"
                 "@wanted cp.async.cg.shared.global [%0], [%1], 16, %2;\n}" ::"r"(dst),
                 "l"(__cvta_generic_to_global(src)), "r"(bytes), "r"((uint32_t)wanted)
                 : "memory");
}
static __device__ __forceinline__ void rcnn_copy_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int PENDING> static __device__ __forceinline__ void rcnn_copy_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

/* Pairs: rounding to nearest even, widening, and the larger of each half, where NaN wins. */
template <typename T> static __device__ __forceinline__ uint32_t rcnn_pack(float low, float high);
template <> __device__ __forceinline__ uint32_t rcnn_pack<__half>(float low, float high)
{
    uint32_t pair;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}
template <> __device__ __forceinline__ uint32_t rcnn_pack<__nv_bfloat16>(float low, float high)
{
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

template <typename T> static __device__ __forceinline__ float rcnn_low(uint32_t pair);
template <> __device__ __forceinline__ float rcnn_low<__half>(uint32_t pair)
{
    return __half2float(__ushort_as_half(static_cast<unsigned short>(pair)));
}
template <> __device__ __forceinline__ float rcnn_low<__nv_bfloat16>(uint32_t pair)
{
    return __uint_as_float(pair << 16);
}
template <typename T> static __device__ __forceinline__ float rcnn_high(uint32_t pair);
template <> __device__ __forceinline__ float rcnn_high<__half>(uint32_t pair)
{
    return __half2float(__ushort_as_half(static_cast<unsigned short>(pair >> 16)));
}
template <> __device__ __forceinline__ float rcnn_high<__nv_bfloat16>(uint32_t pair)
{
    return __uint_as_float(pair & 0xffff0000u);
}

template <typename T> static __device__ __forceinline__ uint32_t rcnn_max_pair(uint32_t a, uint32_t b);
template <> __device__ __forceinline__ uint32_t rcnn_max_pair<__half>(uint32_t a, uint32_t b)
{
    uint32_t best;
    asm("max.NaN.f16x2 %0, %1, %2;" : "=r"(best) : "r"(a), "r"(b));
    return best;
}
template <> __device__ __forceinline__ uint32_t rcnn_max_pair<__nv_bfloat16>(uint32_t a, uint32_t b)
{
    uint32_t best;
    asm("max.NaN.bf16x2 %0, %1, %2;" : "=r"(best) : "r"(a), "r"(b));
    return best;
}

#endif

/* ------------------------------------------------------------- on both */

/* 16 bytes of global memory, whose load starts at this place of the program: compilers like to move loads down to where
 * they are used, and then all wait. */
static __device__ __forceinline__ uint4 rcnn_load_early(const void *src)
{
    uint4 value;
#ifdef RCNN_EMULATE
    memcpy(&value, src, sizeof value);
#else
    asm volatile("ld.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(__cvta_generic_to_global(src)));
#endif
    return value;
}

/* What every ReLU here does: NaN stays NaN. */
template <typename T> static __device__ __forceinline__ uint32_t rcnn_relu_pair(uint32_t pair)
{
    return rcnn_max_pair<T>(pair, 0u);
}

/* Multiprocessors of the current device, 1 if that cannot be told. */
static inline int32_t rcnn_multiprocessors(void)
{
    int device = 0, count = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess || count < 1) {
        count = 1;
    }
    return count;
}

#endif
