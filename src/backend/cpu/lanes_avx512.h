/* Vectors of floats for files compiled with AVX-512 F + BW, by the names that lanes_avx2.h has too: features of
 * any type to floats and back. */
#ifndef RCNN_BACKEND_CPU_LANES_AVX512_H
#define RCNN_BACKEND_CPU_LANES_AVX512_H

#include <immintrin.h>

#include "backend/cpu/elements.h"

#define LANES  16
#define INLINE static inline __attribute__((always_inline)) /* so that the type is a constant wherever it is used */

INLINE __m512 load(rcnn_dtype type, const void *src, size_t i)
{
    const void *at = rcnn_cpu_at(type, src, i);
    switch (type) {
    case RCNN_BF16:
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(at)), 16));
    case RCNN_I8:
        return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(at)));
    case RCNN_U8:
        return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(at)));
    default:
        return _mm512_loadu_ps(at);
    }
}

/* As rcnn_cpu_to_bf16; the processor's own conversion, where the file may use it, takes numbers below 2^-126 for zero. */
#ifdef __AVX512BF16__
INLINE __m256i to_bf16(__m512 value)
{
    return (__m256i)_mm512_cvtneps_pbh(value);
}
#else
INLINE __m256i to_bf16(__m512 value)
{
    const __m512i bits = _mm512_castps_si512(value);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    rounded = _mm512_srli_epi32(rounded, 16);
    const __mmask16 is_nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, is_nan, _mm512_set1_epi32(RCNN_CPU_BF16_NAN)));
}
#endif

/* As rcnn_cpu_to_integer. */
INLINE __m128i to_integers(__m512 value, float low, float high)
{
    value = _mm512_min_ps(_mm512_max_ps(value, _mm512_set1_ps(low)), _mm512_set1_ps(high));
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(value));
}

INLINE void store(rcnn_dtype type, void *dst, size_t i, __m512 value)
{
    void *at = rcnn_cpu_to(type, dst, i);
    switch (type) {
    case RCNN_BF16:
        _mm256_storeu_si256(at, to_bf16(value));
        break;
    case RCNN_I8:
        _mm_storeu_si128(at, to_integers(value, -127.0f, 127.0f));
        break;
    case RCNN_U8:
        _mm_storeu_si128(at, to_integers(value, 0.0f, 255.0f));
        break;
    default:
        _mm512_storeu_ps(at, value);
    }
}

typedef __m512 lanes;

INLINE lanes spread(float value)
{
    return _mm512_set1_ps(value);
}

/* a * b + c, rounded once */
INLINE lanes fused(lanes a, lanes b, lanes c)
{
    return _mm512_fmadd_ps(a, b, c);
}

/* b where either is NaN */
INLINE lanes larger(lanes a, lanes b)
{
    return _mm512_max_ps(a, b);
}

INLINE float sum_of(lanes a)
{
    return _mm512_reduce_add_ps(a);
}

#endif
