/* The part of CUDA C++ that the kernels in src/backend/cuda use, for a CPU: the .cu files are compiled as plain C++17
 * with RCNN_EMULATE defined, device.cuh includes this file, and a launch runs every thread of every block as a coroutine
 * (emulate.cpp). For finding wrong results, out-of-bounds accesses (device memory is host memory, so address sanitizer
 * sees them), missing barriers and misuse of warp operations on machines without a GPU. Speed is no aim.
 *
 * What a launch does: blocks run one after another, in rising or falling order; the threads of a block run one at a time,
 * also in rising or falling order, each until its next barrier or warp operation. A barrier or warp operation that can
 * not complete, or that threads reach at different source lines, ends the program with a message. Shared memory holds
 * 0xff bytes when a block starts. rcnn_emulate_order turns the orders round: results that follow the order are races.
 *
 *     g++ -std=c++17 -ffp-contract=off -DRCNN_EMULATE -Itests/emulate/include -Itests -Isrc -Iinclude -x c++ op.cu ...
 *
 * Not here, and not to be used by kernels that shall run emulated: cooperative groups, inline PTX, cub, tensor cores,
 * textures, waiting for another block. */
#ifndef RCNN_TESTS_EMULATE_EMULATE_H
#define RCNN_TESTS_EMULATE_EMULATE_H

#include <cuda_runtime_api.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#include <type_traits>

/* ------------------------------------------------------------- language */

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
/* Blocks run one at a time; emulate.cpp finds these by their symbols and refills them, hence used. */
#define __shared__      static __attribute__((used))
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n)    __attribute__((aligned(n)))
#define __launch_bounds__(...)

/* ------------------------------------------------------------- vectors */

#define RCNN_EMULATE_VECTOR2(name, type, alignment)                                                                    \
    struct alignas(alignment) name {                                                                                   \
        type x, y;                                                                                                     \
    };                                                                                                                 \
    static inline name make_##name(type x, type y)                                                                     \
    {                                                                                                                  \
        return name{x, y};                                                                                             \
    }
#define RCNN_EMULATE_VECTOR3(name, type, alignment)                                                                    \
    struct alignas(alignment) name {                                                                                   \
        type x, y, z;                                                                                                  \
    };                                                                                                                 \
    static inline name make_##name(type x, type y, type z)                                                             \
    {                                                                                                                  \
        return name{x, y, z};                                                                                          \
    }
#define RCNN_EMULATE_VECTOR4(name, type, alignment)                                                                    \
    struct alignas(alignment) name {                                                                                   \
        type x, y, z, w;                                                                                               \
    };                                                                                                                 \
    static inline name make_##name(type x, type y, type z, type w)                                                     \
    {                                                                                                                  \
        return name{x, y, z, w};                                                                                       \
    }

RCNN_EMULATE_VECTOR2(char2, signed char, 2)
RCNN_EMULATE_VECTOR2(uchar2, unsigned char, 2)
RCNN_EMULATE_VECTOR2(short2, short, 4)
RCNN_EMULATE_VECTOR2(ushort2, unsigned short, 4)
RCNN_EMULATE_VECTOR2(int2, int, 8)
RCNN_EMULATE_VECTOR2(uint2, unsigned, 8)
RCNN_EMULATE_VECTOR2(float2, float, 8)
RCNN_EMULATE_VECTOR2(double2, double, 16)
RCNN_EMULATE_VECTOR2(longlong2, long long, 16)
RCNN_EMULATE_VECTOR2(ulonglong2, unsigned long long, 16)
RCNN_EMULATE_VECTOR3(uchar3, unsigned char, 1)
RCNN_EMULATE_VECTOR3(int3, int, 4)
RCNN_EMULATE_VECTOR3(uint3, unsigned, 4)
RCNN_EMULATE_VECTOR3(float3, float, 4)
RCNN_EMULATE_VECTOR4(char4, signed char, 4)
RCNN_EMULATE_VECTOR4(uchar4, unsigned char, 4)
RCNN_EMULATE_VECTOR4(short4, short, 8)
RCNN_EMULATE_VECTOR4(ushort4, unsigned short, 8)
RCNN_EMULATE_VECTOR4(int4, int, 16)
RCNN_EMULATE_VECTOR4(uint4, unsigned, 16)
RCNN_EMULATE_VECTOR4(float4, float, 16)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_)
    {
    }
};

/* ------------------------------------------------------------- launching */

#define RCNN_EMULATE_THREADS_MAX   1024
#define RCNN_EMULATE_SHARED_PLAIN  49152  /* dynamic shared memory without asking       */
#define RCNN_EMULATE_SHARED_OPT_IN 232448 /* with: sm_90's */

extern uint3 threadIdx, blockIdx; /* of the thread that runs now */
extern dim3 blockDim, gridDim;
static const int warpSize = 32;

/* Odd: falling order of blocks and threads. */
extern "C" void rcnn_emulate_order(int order);

void rcnn_emulate_launch(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
                         void (*body)(void *context), void *context);
void *rcnn_emulate_dynamic_shared(void);

template <typename F>
static inline void rcnn_emulate_launch_any(const char *name, const void *kernel, dim3 grid, dim3 block, size_t shared,
                                           F &body)
{
    rcnn_emulate_launch(
        name, kernel, grid, block, shared, [](void *context) { (*static_cast<F *>(context))(); }, &body);
}

#define RCNN_LAUNCH(kernel, grid, block, shared, stream, ...)                                                          \
    do {                                                                                                               \
        auto rcnn_body_ = [&]() { kernel(__VA_ARGS__); };                                                              \
        (void)(stream);                                                                                                \
        rcnn_emulate_launch_any(#kernel, (const void *)(kernel), grid, block, shared, rcnn_body_);                     \
    } while (0)
#define RCNN_DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(rcnn_emulate_dynamic_shared())

/* ------------------------------------------------------------- barriers and warps */

typedef enum rcnn_emulate_gather { RCNN_EMULATE_COUNT, RCNN_EMULATE_AND, RCNN_EMULATE_OR } rcnn_emulate_gather;

int rcnn_emulate_block_barrier(int predicate, rcnn_emulate_gather gather, int line);
/* Waits for the lanes of mask, then gives every lane's `value` in all[32]; lanes outside the mask, past the block's end or
 * returned from the kernel give 0xff bytes. The mask of lanes that took part is returned. */
uint32_t rcnn_emulate_warp(uint32_t mask, uint64_t value, uint64_t all[32], int line);

static inline int rcnn_emulate_lane(void)
{
    return (int)((threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) & 31u);
}

static inline void __syncthreads(int line = __builtin_LINE())
{
    rcnn_emulate_block_barrier(0, RCNN_EMULATE_COUNT, line);
}
static inline int __syncthreads_count(int predicate, int line = __builtin_LINE())
{
    return rcnn_emulate_block_barrier(predicate, RCNN_EMULATE_COUNT, line);
}
static inline int __syncthreads_and(int predicate, int line = __builtin_LINE())
{
    return rcnn_emulate_block_barrier(predicate, RCNN_EMULATE_AND, line);
}
static inline int __syncthreads_or(int predicate, int line = __builtin_LINE())
{
    return rcnn_emulate_block_barrier(predicate, RCNN_EMULATE_OR, line);
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE())
{
    uint64_t all[32];
    rcnn_emulate_warp(mask, 0, all, line);
}
static inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE())
{
    uint64_t all[32];
    uint32_t took_part = rcnn_emulate_warp(mask, predicate != 0, all, line);
    unsigned votes = 0;
    for (int lane = 0; lane < 32; lane++) {
        votes |= (unsigned)((took_part >> lane & 1u) && all[lane]) << lane;
    }
    return votes;
}
static inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE())
{
    return __ballot_sync(mask, predicate, line) != 0;
}
static inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE())
{
    return __ballot_sync(mask, !predicate, line) == 0;
}
/* CUDA promises nothing about lanes running together. */
static inline unsigned __activemask(void)
{
    return 1u << rcnn_emulate_lane();
}

/* The value of lane `from`, all lanes in step. Reading a lane that took no part is undefined in CUDA, 0xff bytes here. */
template <typename T> static inline T rcnn_emulate_shuffle(unsigned mask, T value, int from, int line)
{
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "shuffles move up to 8 bytes");
    uint64_t bits = 0, all[32];
    memcpy(&bits, &value, sizeof value);
    rcnn_emulate_warp(mask, bits, all, line);
    memcpy(&value, &all[from], sizeof value);
    return value;
}
template <typename T>
static inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, int line = __builtin_LINE())
{
    int base = rcnn_emulate_lane() & ~(width - 1);
    return rcnn_emulate_shuffle(mask, value, base + (lane & (width - 1)), line);
}
template <typename T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE())
{
    int self = rcnn_emulate_lane();
    int from = self - (int)delta;
    return rcnn_emulate_shuffle(mask, value, from < (self & ~(width - 1)) ? self : from, line);
}
template <typename T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE())
{
    int self = rcnn_emulate_lane();
    int from = self + (int)delta;
    return rcnn_emulate_shuffle(mask, value, from > (self | (width - 1)) ? self : from, line);
}
template <typename T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE())
{
    int self = rcnn_emulate_lane();
    int from = self ^ bits;
    return rcnn_emulate_shuffle(mask, value, from > (self | (width - 1)) ? self : from, line);
}
template <typename T> static inline unsigned __match_any_sync(unsigned mask, T value, int line = __builtin_LINE())
{
    uint64_t bits = 0, all[32];
    memcpy(&bits, &value, sizeof value);
    uint32_t took_part = rcnn_emulate_warp(mask, bits, all, line);
    unsigned same = 0;
    for (int lane = 0; lane < 32; lane++) {
        same |= (unsigned)((took_part >> lane & 1u) && all[lane] == bits) << lane;
    }
    return same;
}

#define RCNN_EMULATE_REDUCE(name, type, expression)                                                                    \
    static inline type name(unsigned mask, type value, int line = __builtin_LINE())                                    \
    {                                                                                                                  \
        uint64_t all[32];                                                                                              \
        uint32_t took_part = rcnn_emulate_warp(mask, (uint64_t)(int64_t)value, all, line);                             \
        bool first = true;                                                                                             \
        type a = value;                                                                                                \
        for (int lane = 0; lane < 32; lane++) {                                                                        \
            if (took_part >> lane & 1u) {                                                                              \
                type b = (type)all[lane];                                                                              \
                a = first ? b : (type)(expression);                                                                    \
                first = false;                                                                                         \
            }                                                                                                          \
        }                                                                                                              \
        return a;                                                                                                      \
    }
RCNN_EMULATE_REDUCE(__reduce_add_sync, unsigned, a + b)
RCNN_EMULATE_REDUCE(__reduce_add_sync, int, (unsigned)a + (unsigned)b)
RCNN_EMULATE_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
RCNN_EMULATE_REDUCE(__reduce_max_sync, int, a > b ? a : b)
RCNN_EMULATE_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
RCNN_EMULATE_REDUCE(__reduce_min_sync, int, a < b ? a : b)
RCNN_EMULATE_REDUCE(__reduce_or_sync, unsigned, a | b)
RCNN_EMULATE_REDUCE(__reduce_and_sync, unsigned, a &b)
RCNN_EMULATE_REDUCE(__reduce_xor_sync, unsigned, a ^ b)

static inline void __threadfence(void)
{
}
static inline void __threadfence_block(void)
{
}
static inline void __threadfence_system(void)
{
}

/* ------------------------------------------------------------- atomics: one thread runs at a time */

#define RCNN_EMULATE_ATOMIC(name, type, expression)                                                                    \
    static inline type name(type *place, type value)                                                                   \
    {                                                                                                                  \
        type old = *place;                                                                                             \
        *place = (type)(expression);                                                                                   \
        return old;                                                                                                    \
    }
#define RCNN_EMULATE_ATOMICS(type)                                                                                     \
    RCNN_EMULATE_ATOMIC(atomicMax, type, old > value ? old : value)                                                    \
    RCNN_EMULATE_ATOMIC(atomicMin, type, old < value ? old : value)                                                    \
    RCNN_EMULATE_ATOMIC(atomicAnd, type, old &value)                                                                   \
    RCNN_EMULATE_ATOMIC(atomicOr, type, old | value)                                                                   \
    RCNN_EMULATE_ATOMIC(atomicXor, type, old ^ value)                                                                  \
    RCNN_EMULATE_ATOMIC(atomicExch, type, value)                                                                       \
    static inline type atomicCAS(type *place, type compare, type value)                                                \
    {                                                                                                                  \
        type old = *place;                                                                                             \
        *place = old == compare ? value : old;                                                                         \
        return old;                                                                                                    \
    }
RCNN_EMULATE_ATOMICS(int)
RCNN_EMULATE_ATOMICS(unsigned)
RCNN_EMULATE_ATOMICS(unsigned long long)
RCNN_EMULATE_ATOMIC(atomicAdd, int, (unsigned)old + (unsigned)value)
RCNN_EMULATE_ATOMIC(atomicAdd, unsigned, old + value)
RCNN_EMULATE_ATOMIC(atomicAdd, unsigned long long, old + value)
RCNN_EMULATE_ATOMIC(atomicAdd, float, old + value)
RCNN_EMULATE_ATOMIC(atomicAdd, double, old + value)
RCNN_EMULATE_ATOMIC(atomicSub, int, (unsigned)old - (unsigned)value)
RCNN_EMULATE_ATOMIC(atomicSub, unsigned, old - value)
RCNN_EMULATE_ATOMIC(atomicExch, float, value)

/* ------------------------------------------------------------- integers and bits */

#define RCNN_EMULATE_MINMAX(type)                                                                                      \
    static inline type min(type a, type b)                                                                             \
    {                                                                                                                  \
        return b < a ? b : a;                                                                                          \
    }                                                                                                                  \
    static inline type max(type a, type b)                                                                             \
    {                                                                                                                  \
        return a < b ? b : a;                                                                                          \
    }
RCNN_EMULATE_MINMAX(int)
RCNN_EMULATE_MINMAX(unsigned)
RCNN_EMULATE_MINMAX(long)
RCNN_EMULATE_MINMAX(unsigned long)
RCNN_EMULATE_MINMAX(long long)
RCNN_EMULATE_MINMAX(unsigned long long)

static inline unsigned min(int a, unsigned b)
{
    return min((unsigned)a, b);
}
static inline unsigned min(unsigned a, int b)
{
    return min(a, (unsigned)b);
}
static inline unsigned max(int a, unsigned b)
{
    return max((unsigned)a, b);
}
static inline unsigned max(unsigned a, int b)
{
    return max(a, (unsigned)b);
}
static inline float min(float a, float b)
{
    return fminf(a, b);
}
static inline float max(float a, float b)
{
    return fmaxf(a, b);
}
static inline double min(double a, double b)
{
    return fmin(a, b);
}
static inline double max(double a, double b)
{
    return fmax(a, b);
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}
static inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}
static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}
static inline int __clzll(long long x)
{
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}
static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}
static inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}
static inline unsigned long long __brevll(unsigned long long x)
{
    unsigned long long reversed = 0;
    for (int i = 0; i < 64; i++) {
        reversed |= (x >> i & 1u) << (63 - i);
    }
    return reversed;
}
static inline unsigned __brev(unsigned x)
{
    return (unsigned)(__brevll(x) >> 32);
}
static inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)((((uint64_t)high << 32 | low) << (shift & 31u)) >> 32);
}
static inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift)
{
    return (unsigned)(((uint64_t)high << 32 | low) >> (shift & 31u));
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector)
{
    const uint64_t bytes = (uint64_t)b << 32 | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned from = selector >> (4 * i) & 0xfu;
        unsigned byte = (unsigned)(bytes >> (8 * (from & 7u))) & 0xffu;
        result |= (from & 8u ? (byte & 0x80u ? 0xffu : 0u) : byte) << (8 * i);
    }
    return result;
}
static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)((uint64_t)a * b >> 32);
}
static inline int __mul24(int a, int b)
{
    return (a << 8 >> 8) * (b << 8 >> 8);
}

template <typename T> static inline T __ldg(const T *place)
{
    return *place;
}
template <typename T> static inline T __ldcs(const T *place)
{
    return *place;
}
template <typename T> static inline T __ldcg(const T *place)
{
    return *place;
}
template <typename T> static inline void __stcs(T *place, T value)
{
    *place = value;
}
template <typename T> static inline void __stcg(T *place, T value)
{
    *place = value;
}

/* ------------------------------------------------------------- numbers (compiled with -ffp-contract=off) */

template <typename To, typename From> static inline To rcnn_emulate_bits(From value)
{
    static_assert(sizeof(To) == sizeof(From), "same size");
    To bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}
static inline unsigned __float_as_uint(float x)
{
    return rcnn_emulate_bits<unsigned>(x);
}
static inline float __uint_as_float(unsigned x)
{
    return rcnn_emulate_bits<float>(x);
}
static inline int __float_as_int(float x)
{
    return rcnn_emulate_bits<int>(x);
}
static inline float __int_as_float(int x)
{
    return rcnn_emulate_bits<float>(x);
}
static inline long long __double_as_longlong(double x)
{
    return rcnn_emulate_bits<long long>(x);
}
static inline double __longlong_as_double(long long x)
{
    return rcnn_emulate_bits<double>(x);
}

static inline float __fadd_rn(float a, float b)
{
    return a + b;
}
static inline float __fsub_rn(float a, float b)
{
    return a - b;
}
static inline float __fmul_rn(float a, float b)
{
    return a * b;
}
static inline float __fdiv_rn(float a, float b)
{
    return a / b;
}
static inline float __frcp_rn(float a)
{
    return 1.0f / a;
}
static inline float __fsqrt_rn(float a)
{
    return sqrtf(a);
}
static inline float __fmaf_rn(float a, float b, float c)
{
    return fmaf(a, b, c);
}
static inline double __dadd_rn(double a, double b)
{
    return a + b;
}
static inline double __dsub_rn(double a, double b)
{
    return a - b;
}
static inline double __dmul_rn(double a, double b)
{
    return a * b;
}
static inline double __ddiv_rn(double a, double b)
{
    return a / b;
}
static inline double __drcp_rn(double a)
{
    return 1.0 / a;
}
static inline double __dsqrt_rn(double a)
{
    return sqrt(a);
}
static inline double __fma_rn(double a, double b, double c)
{
    return fma(a, b, c);
}
static inline float __saturatef(float x)
{
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;
}
static inline float rsqrtf(float x)
{
    return 1.0f / sqrtf(x);
}

/* Conversions to integers saturate and take NaN to 0, as the GPU's do. */
template <typename To> static inline To rcnn_emulate_to_integer(double x, double low, double high_excluded, To high)
{
    return x != x ? 0 : x < low ? (To)low : x >= high_excluded ? high : (To)x;
}
static inline int rcnn_emulate_int(double x)
{
    return rcnn_emulate_to_integer<int>(x, -2147483648.0, 2147483648.0, INT32_MAX);
}
static inline unsigned rcnn_emulate_uint(double x)
{
    return rcnn_emulate_to_integer<unsigned>(x, 0, 4294967296.0, UINT32_MAX);
}
static inline int __float2int_rn(float x)
{
    return rcnn_emulate_int(rint((double)x));
}
static inline int __float2int_rz(float x)
{
    return rcnn_emulate_int(trunc((double)x));
}
static inline int __float2int_rd(float x)
{
    return rcnn_emulate_int(floor((double)x));
}
static inline int __float2int_ru(float x)
{
    return rcnn_emulate_int(ceil((double)x));
}
static inline unsigned __float2uint_rn(float x)
{
    return rcnn_emulate_uint(rint((double)x));
}
static inline unsigned __float2uint_rz(float x)
{
    return rcnn_emulate_uint(trunc((double)x));
}
static inline unsigned __float2uint_rd(float x)
{
    return rcnn_emulate_uint(floor((double)x));
}
static inline int __double2int_rn(double x)
{
    return rcnn_emulate_int(rint(x));
}
static inline int __double2int_rz(double x)
{
    return rcnn_emulate_int(trunc(x));
}
static inline int __double2int_rd(double x)
{
    return rcnn_emulate_int(floor(x));
}
static inline float __int2float_rn(int x)
{
    return (float)x;
}
static inline float __uint2float_rn(unsigned x)
{
    return (float)x;
}
static inline float __ll2float_rn(long long x)
{
    return (float)x;
}
static inline double __int2double_rn(int x)
{
    return (double)x;
}
static inline float __double2float_rn(double x)
{
    return (float)x;
}

#include "emulate/half.h"

#endif
