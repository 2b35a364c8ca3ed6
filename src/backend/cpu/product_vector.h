/* The bodies of product.h for any width of vector. product_<isa>.c includes it behind lanes_<isa>.h, with ROWS defined, and
 * with BF16_FEATURES or U8_FEATURES where those are not floats. */
#include "backend/cpu/product.h"

#define PANEL   RCNN_PRODUCT_PANEL
#define VECTORS (PANEL / LANES) /* of a row of sums */

/* ------------------------------------------------------------- multiply */

/* What a 32-bit word of features holds, what sums are kept in, and a step of them. */
#if defined(BF16_FEATURES)
typedef int32_t word;
typedef __m512 sums_of;
#define CHANNELS_OF_WORD 2

INLINE sums_of step(word a, lanes b, sums_of sum)
{
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(a), (__m512bh)b);
}

INLINE lanes to_float(sums_of sum)
{
    return sum;
}
#elif defined(U8_FEATURES)
typedef int32_t word;
typedef __m512i sums_of;
#define CHANNELS_OF_WORD 4

/* In assembly, because GCC 12 keeps the sums of the intrinsic in memory. */
INLINE sums_of step(word a, lanes b, sums_of sum)
{
    const __m512i all = _mm512_set1_epi32(a);
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(all), "v"(b));
    return sum;
}

INLINE lanes to_float(sums_of sum)
{
    return _mm512_cvtepi32_ps(sum);
}
#else
typedef float word;
typedef lanes sums_of;
#define CHANNELS_OF_WORD 1

INLINE sums_of step(word a, lanes b, sums_of sum)
{
    return fused(spread(a), b, sum);
}

INLINE lanes to_float(sums_of sum)
{
    return sum;
}
#endif

static void multiply(const void *features, const void *panel, int32_t channels, float *sums, size_t sums_stride)
{
    const size_t length = (size_t)channels / CHANNELS_OF_WORD;
    const word *left = features;
    const float *right = panel; /* bits of whatever type */
    sums_of sum[ROWS][VECTORS];
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
        for (int n = 0; n < VECTORS; n++) {
            sum[r][n] = (sums_of){0};
        }
    }
    for (size_t c = 0; c < length; c++) {
        lanes row[VECTORS];
#pragma GCC unroll 4
        for (int n = 0; n < VECTORS; n++) {
            row[n] = load(RCNN_F32, right, c * PANEL + (size_t)n * LANES);
            __builtin_prefetch(right + (c + length) * PANEL + (size_t)n * LANES, 0, 2); /* the panel behind this one */
        }
#pragma GCC unroll 32
        for (int r = 0; r < ROWS; r++) {
            const word a = left[(size_t)r * length + c];
#pragma GCC unroll 4
            for (int n = 0; n < VECTORS; n++) {
                sum[r][n] = step(a, row[n], sum[r][n]);
            }
        }
    }
#pragma GCC unroll 32
    for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
        for (int n = 0; n < VECTORS; n++) {
            store(RCNN_F32, sums, (size_t)r * sums_stride + (size_t)n * LANES, to_float(sum[r][n]));
        }
    }
}

/* ------------------------------------------------------------- finish */

INLINE void finish_of(rcnn_dtype type, const rcnn_product_store *how, const float *sums, int32_t rows,
                      const void *residual, void *dst, size_t stride)
{
    const lanes factor = spread(how->residual_factor);
    for (size_t c = 0; c < PANEL; c += LANES) {
        const lanes scale = load(RCNN_F32, how->scale, c);
        const lanes bias = load(RCNN_F32, how->bias, c);
        for (size_t r = 0; r < (size_t)rows; r++) {
            lanes value = fused(load(RCNN_F32, sums, r * PANEL + c), scale, bias);
            if (residual) {
                value = fused(load(how->residual, residual, r * stride + c), factor, value);
            }
            value = how->relu && type != RCNN_U8 ? larger(spread(0), value) : value; /* U8 has no negative numbers */
            store(type, dst, r * stride + c, value);
            __builtin_prefetch(rcnn_cpu_at(type, dst, r * stride + c + PANEL), 1); /* what the next panel writes */
        }
    }
}

static void finish(const rcnn_product_store *how, const float *sums, int32_t rows, const void *residual, void *dst,
                   size_t stride)
{
    RCNN_CPU_BY_TYPE(how->dst, finish_of, how, sums, rows, residual, dst, stride)
}

/* ------------------------------------------------------------- dots */

static void dots(const rcnn_product_store *how, const float *sums, int32_t rows, const float *weights, float *dots)
{
    for (size_t r = 0; r < (size_t)rows; r++) {
        lanes total = spread(0);
        for (size_t c = 0; c < PANEL; c += LANES) {
            lanes value =
                fused(load(RCNN_F32, sums, r * PANEL + c), load(RCNN_F32, how->scale, c), load(RCNN_F32, how->bias, c));
            value = how->relu ? larger(spread(0), value) : value;
            total = fused(value, load(RCNN_F32, weights, c), total);
        }
        dots[r] += sum_of(total);
    }
}
