/* The bodies of product.h for any width of vector. product_<isa>.c includes it behind lanes_<isa>.h, with ROWS defined, and
 * with BF16_FEATURES or U8_FEATURES where those are not floats. */
#include <math.h>

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

/* Here and below rows, and whether to add, are constants wherever this is used. */
INLINE void store_rows(const int rows, sums_of sum[ROWS][VECTORS], const bool add, float *sums)
{
#pragma GCC unroll 32
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int n = 0; n < VECTORS; n++) {
            const size_t at = (size_t)r * PANEL + (size_t)n * LANES;
            const lanes value = to_float(sum[r][n]);
            if (add) {
                store(RCNN_F32, sums, at, load(RCNN_F32, sums, at) + value);
            } else {
                store(RCNN_F32, sums, at, value);
            }
        }
    }
}

#ifdef U8_FEATURES
INLINE sums_of start_of(const rcnn_product_job *job, const int n)
{
    return job->steps ? _mm512_loadu_si512(job->steps->start + n * LANES) : (sums_of){0};
}

INLINE void store_steps(const int rows, sums_of sum[ROWS][VECTORS], const rcnn_product_steps *steps, float *sums)
{
#pragma GCC unroll 4
    for (int n = 0; n < VECTORS; n++) {
        const lanes column = load(RCNN_F32, steps->column, (size_t)n * LANES);
#pragma GCC unroll 32
        for (int r = 0; r < rows; r++) {
            store(RCNN_F32, sums, (size_t)r * PANEL + (size_t)n * LANES,
                  to_float(sum[r][n]) * column * spread(steps->row[r]));
        }
    }
}
#else
INLINE sums_of start_of(const rcnn_product_job *job, const int n)
{
    (void)job;
    (void)n;
    return (sums_of){0};
}
#endif

/* What a product's sums become, once they are complete. */
INLINE void store_sums(const int rows, sums_of sum[ROWS][VECTORS], const rcnn_product_job *job)
{
#ifdef U8_FEATURES
    if (job->steps) {
        store_steps(rows, sum, job->steps, job->sums);
        return;
    }
#endif
    if (job->add) {
        store_rows(rows, sum, true, job->sums);
    } else {
        store_rows(rows, sum, false, job->sums);
    }
}

INLINE void multiply_rows(const int rows, const rcnn_product_job *job)
{
    const size_t length = (size_t)job->channels / CHANNELS_OF_WORD;
    const size_t stride = job->features_stride / CHANNELS_OF_WORD;
    const word *left = job->features;
    const float *right = job->panel; /* bits of whatever type */
    const float *next = job->next;
    sums_of sum[ROWS][VECTORS];
#pragma GCC unroll 32
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int n = 0; n < VECTORS; n++) {
            sum[r][n] = start_of(job, n);
        }
    }
    for (int32_t s = 0; s < job->stretches; s++) {
        for (size_t c = 0; c < length; c++) {
            lanes row[VECTORS];
#pragma GCC unroll 4
            for (int n = 0; n < VECTORS; n++) {
                row[n] = load(RCNN_F32, right, c * PANEL + (size_t)n * LANES);
                __builtin_prefetch(next + c * PANEL + (size_t)n * LANES, 0, 2);
            }
#pragma GCC unroll 32
            for (int r = 0; r < rows; r++) {
                const word a = left[(size_t)r * stride + c];
#pragma GCC unroll 4
                for (int n = 0; n < VECTORS; n++) {
                    sum[r][n] = step(a, row[n], sum[r][n]);
                }
            }
        }
        left += job->stretch_stride / CHANNELS_OF_WORD;
        right += length * PANEL;
        next += length * PANEL;
    }
    store_sums(rows, sum, job);
}

#define MULTIPLY(n)                                                                                                    \
    static void multiply_##n(const rcnn_product_job *job)                                                              \
    {                                                                                                                  \
        multiply_rows(n, job);                                                                                         \
    }

MULTIPLY(1)
MULTIPLY(2)
MULTIPLY(3)
#if ROWS > 3
MULTIPLY(4)
MULTIPLY(5)
MULTIPLY(6)
MULTIPLY(7)
MULTIPLY(8)
MULTIPLY(9)
MULTIPLY(10)
MULTIPLY(11)
MULTIPLY(12)
MULTIPLY(13)
MULTIPLY(14)
#endif

static void multiply(const rcnn_product_job *job)
{
    static void (*const of_rows[ROWS + 1])(const rcnn_product_job *job) = {
        NULL,
        multiply_1,
        multiply_2,
        multiply_3,
#if ROWS > 3
        multiply_4,
        multiply_5,
        multiply_6,
        multiply_7,
        multiply_8,
        multiply_9,
        multiply_10,
        multiply_11,
        multiply_12,
        multiply_13,
        multiply_14,
#endif
    };
    if (job->rows == ROWS) { /* most of the time: no jump to guess */
        multiply_rows(ROWS, job);
    } else {
        of_rows[job->rows](job);
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

static void dots(const rcnn_product_store *how, const float *sums, int32_t rows, const float *weights, float *parts)
{
    const lanes least = spread(how->relu ? 0 : -INFINITY);
    lanes scale[VECTORS], bias[VECTORS], weight[VECTORS];
    for (size_t n = 0; n < VECTORS; n++) {
        scale[n] = load(RCNN_F32, how->scale, n * LANES);
        bias[n] = load(RCNN_F32, how->bias, n * LANES);
        weight[n] = load(RCNN_F32, weights, n * LANES);
    }
    for (size_t r = 0; r < (size_t)rows; r++) {
        lanes part = load(RCNN_F32, parts, r * RCNN_PRODUCT_PARTS);
        for (size_t n = 0; n < VECTORS; n++) {
            const lanes value = fused(load(RCNN_F32, sums, r * PANEL + n * LANES), scale[n], bias[n]);
            part = fused(larger(least, value), weight[n], part);
        }
        store(RCNN_F32, parts, r * RCNN_PRODUCT_PARTS, part);
    }
}

static void total(const float *parts, int32_t rows, float *dots)
{
    for (size_t r = 0; r < (size_t)rows; r++) {
        dots[r] = sum_of(load(RCNN_F32, parts, r * RCNN_PRODUCT_PARTS));
    }
}
