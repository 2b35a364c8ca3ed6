/* Vectors of floats for files compiled with AVX2 + FMA, by the names that lanes_avx512.h has too: features of
 * any type to floats and back. */
#ifndef RCNN_BACKEND_CPU_LANES_AVX2_H
#define RCNN_BACKEND_CPU_LANES_AVX2_H

#include <immintrin.h>

#include "backend/cpu/elements.h"

#define LANES  8
#define INLINE static inline __attribute__((always_inline)) /* so that the type is a constant wherever it is used */

INLINE __m256 load(rcnn_dtype type, const void *src, size_t i)
{
    const void *at = rcnn_cpu_at(type, src, i);
    switch (type) {
    case RCNN_BF16:
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(at)), 16));
    case RCNN_I8:
        return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(at)));
    case RCNN_U8:
        return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(at)));
    default:
        return _mm256_loadu_ps(at);
    }
}

/* As rcnn_cpu_to_bf16. */
INLINE __m128i to_bf16(__m256 value)
{
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    rounded = _mm256_srli_epi32(rounded, 16);
    const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    rounded = _mm256_blendv_epi8(rounded, _mm256_set1_epi32(RCNN_CPU_BF16_NAN), is_nan);
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

/* As rcnn_cpu_to_integer, in 16 bits. */
INLINE __m128i to_integers(__m256 value, float low, float high)
{
    value = _mm256_min_ps(_mm256_max_ps(value, _mm256_set1_ps(low)), _mm256_set1_ps(high));
    const __m256i rounded = _mm256_cvtps_epi32(value);
    return _mm_packs_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

INLINE void store(rcnn_dtype type, void *dst, size_t i, __m256 value)
{
    void *at = rcnn_cpu_to(type, dst, i);
    __m128i narrow;
    switch (type) {
    case RCNN_BF16:
        _mm_storeu_si128(at, to_bf16(value));
        break;
    case RCNN_I8:
        narrow = to_integers(value, -127.0f, 127.0f);
        _mm_storel_epi64(at, _mm_packs_epi16(narrow, narrow));
        break;
    case RCNN_U8:
        narrow = to_integers(value, 0.0f, 255.0f);
        _mm_storel_epi64(at, _mm_packus_epi16(narrow, narrow));
        break;
    default:
        _mm256_storeu_ps(at, value);
    }
}

typedef __m256 lanes;

INLINE lanes spread(float value)
{
    return _mm256_set1_ps(value);
}

/* a * b + c, rounded once */
INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return _mm256_fmadd_ps(a, b, c);
}

/* b where either is NaN */
INLINE lanes larger(lanes a, lanes b)
{
    return _mm256_max_ps(a, b);
}

INLINE float sum_of(lanes a)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
}

#endif
