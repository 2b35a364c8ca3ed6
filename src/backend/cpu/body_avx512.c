/* The AVX-512 F + BW table; see body.h. What whole vectors leave over is done by the C entries. */
#include "backend/cpu/body.h"

#include "backend/cpu/lanes_avx512.h"

#include "backend/cpu/add_vector.h"

INLINE void store_many(rcnn_dtype type, void *dst, size_t first, const __m512 *values, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        store(type, dst, first + k * LANES, values[k]);
    }
}

/* Values from registers, in whatever type. */
INLINE void store_as(rcnn_dtype type, void *dst, size_t first, const __m512 *values, size_t count)
{
    RCNN_CPU_BY_TYPE(type, store_many, dst, first, values, count)
}

/* ---------------------------------------------------------------- max_of */

#define POOLED 4 /* vectors held in registers: 64 channels, what the stem has */

/* maxps gives its second operand when either is NaN, so NaNs are looked for apart; the rare block with one is done
 * again by the plain table. */
INLINE bool max_floats(size_t vectors, const void *const *taps, int32_t count, size_t c, float *dst)
{
    __m512 best[POOLED];
    __mmask16 bad = 0;
    for (size_t k = 0; k < vectors; k++) {
        best[k] = load(RCNN_F32, taps[0], c + k * LANES);
        bad |= _mm512_cmp_ps_mask(best[k], best[k], _CMP_UNORD_Q);
    }
    for (int32_t t = 1; t < count; t++) {
        for (size_t k = 0; k < vectors; k++) {
            const __m512 value = load(RCNN_F32, taps[t], c + k * LANES);
            bad |= _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
            best[k] = _mm512_max_ps(value, best[k]);
        }
    }
    store_many(RCNN_F32, dst, c, best, vectors);
    return bad == 0;
}

static void max_f32(const void *const *taps, int32_t count, size_t channels, float *dst)
{
    bool clean = true;
    size_t c = 0;
    for (; c + POOLED * LANES <= channels; c += POOLED * LANES) {
        clean &= max_floats(POOLED, taps, count, c, dst);
    }
    for (; c + LANES <= channels; c += LANES) {
        clean &= max_floats(1, taps, count, c, dst);
    }
    if (!clean || c < channels) {
        rcnn_cpu_max_rest(RCNN_F32, taps, count, channels, clean ? c : 0, dst);
    }
}

/* rcnn_cpu_bf16_key of 32 numbers and back. */
INLINE __m512i keys_of(__m512i values)
{
    const __m512i turn = _mm512_or_si512(_mm512_srai_epi16(values, 15), _mm512_set1_epi16(INT16_MIN));
    return _mm512_sub_epi16(_mm512_xor_si512(values, turn), _mm512_set1_epi16(RCNN_CPU_BF16_NEGATIVE_NANS));
}

INLINE __m512i of_keys(__m512i keys)
{
    keys = _mm512_add_epi16(keys, _mm512_set1_epi16(RCNN_CPU_BF16_NEGATIVE_NANS));
    const __m512i negative = _mm512_andnot_si512(_mm512_srai_epi16(keys, 15), _mm512_set1_epi16(-1));
    return _mm512_xor_si512(keys, _mm512_or_si512(negative, _mm512_set1_epi16(INT16_MIN)));
}

/* As many numbers as 64 bytes hold, from byte `at` of every tap. */
INLINE __m512i max_vector(rcnn_dtype type, const void *const *taps, int32_t count, size_t at)
{
    __m512i best = _mm512_loadu_si512((const char *)taps[0] + at);
    best = type == RCNN_BF16 ? keys_of(best) : best;
    for (int32_t t = 1; t < count; t++) {
        const __m512i value = _mm512_loadu_si512((const char *)taps[t] + at);
        if (type == RCNN_BF16) {
            best = _mm512_max_epu16(best, keys_of(value));
        } else if (type == RCNN_I8) {
            best = _mm512_max_epi8(best, value);
        } else {
            best = _mm512_max_epu8(best, value);
        }
    }
    return type == RCNN_BF16 ? of_keys(best) : best;
}

INLINE void max_as(rcnn_dtype type, const void *const *taps, int32_t count, size_t channels, void *dst)
{
    if (type == RCNN_F32) {
        max_f32(taps, count, channels, dst);
        return;
    }
    const size_t item = rcnn_cpu_element_bytes(type), step = sizeof(__m512i);
    size_t at = 0;
    for (; at + step <= channels * item; at += step) {
        _mm512_storeu_si512((char *)dst + at, max_vector(type, taps, count, at));
    }
    if (at < channels * item) {
        rcnn_cpu_max_rest(type, taps, count, channels, at / item, dst);
    }
}

static void max_of_avx512(rcnn_dtype type, const void *const *taps, int32_t count, size_t channels, void *dst)
{
    RCNN_CPU_BY_TYPE(type, max_as, taps, count, channels, dst)
}

/* ----------------------------------------------------------------- weigh */

#define WIDE 16 /* vectors held in registers: 256 channels, what the pyramid has */

/* Channels first .. first + vectors * LANES - 1. */
INLINE void weigh_block(rcnn_dtype type, size_t vectors, size_t first, const rcnn_cpu_map *map,
                        const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns, void *dst)
{
    __m512 sum[WIDE];
    for (size_t k = 0; k < vectors; k++) {
        sum[k] = _mm512_setzero_ps();
    }
    for (int32_t y = 0; y < rows->count; y++) {
        const void *row = rcnn_cpu_at(type, map->at, (size_t)rows->at[y] * map->width * map->channels + first);
        for (int32_t x = 0; x < columns->count; x++) {
            const void *src = rcnn_cpu_at(type, row, (size_t)columns->at[x] * map->channels);
            const __m512 weight = _mm512_set1_ps(rows->weight[y] * columns->weight[x]);
            for (size_t k = 0; k < vectors; k++) {
                sum[k] = _mm512_fmadd_ps(weight, load(type, src, k * LANES), sum[k]);
            }
        }
    }
    store_as(map->dst_type, dst, first, sum, vectors);
}

INLINE void weigh_as(rcnn_dtype type, const rcnn_cpu_map *map, const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns,
                     void *dst)
{
    size_t c = 0;
    for (; c + WIDE * LANES <= map->channels; c += WIDE * LANES) {
        weigh_block(type, WIDE, c, map, rows, columns, dst);
    }
    for (; c + LANES <= map->channels; c += LANES) {
        weigh_block(type, 1, c, map, rows, columns, dst);
    }
    if (c < map->channels) {
        rcnn_cpu_weigh_rest(map, rows, columns, c, dst);
    }
}

static void weigh_avx512(const rcnn_cpu_map *map, const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns, void *dst)
{
    RCNN_CPU_BY_TYPE(map->type, weigh_as, map, rows, columns, dst)
}

/* ------------------------------------------------------------------ dots */

INLINE float dot(rcnn_dtype type, const void *src, size_t channels, const float *weights)
{
    __m512 even = _mm512_setzero_ps(); /* two chains hide the latency of fmadd */
    __m512 odd = _mm512_setzero_ps();
    size_t c = 0;
    for (; c + 2 * LANES <= channels; c += 2 * LANES) {
        even = _mm512_fmadd_ps(load(type, src, c), _mm512_loadu_ps(weights + c), even);
        odd = _mm512_fmadd_ps(load(type, src, c + LANES), _mm512_loadu_ps(weights + c + LANES), odd);
    }
    float sum = sum_of(_mm512_add_ps(even, odd));
    for (; c < channels; c++) {
        sum += rcnn_cpu_element(type, src, c) * weights[c];
    }
    return sum;
}

INLINE void dots_as(rcnn_dtype type, const rcnn_cpu_pixels *src, const float *weights, float bias, float *dst)
{
    for (size_t p = 0; p < src->count; p++) {
        const void *pixel = rcnn_cpu_at(type, src->at, p * src->channels);
        dst[p] = bias + src->factor * dot(type, pixel, src->channels, weights);
    }
}

static void dots_avx512(const rcnn_cpu_pixels *src, const float *weights, float bias, float *dst)
{
    RCNN_CPU_BY_TYPE(src->type, dots_as, src, weights, bias, dst)
}

/* ---------------------------------------------------------- overlaps_any */

static __mmask16 mask_of(size_t left)
{
    const uint32_t all = 0xffff;
    return (__mmask16)(left >= LANES ? all : all >> (LANES - left));
}

static __m512 overlap(__m512 low_a, __m512 low_b, __m512 high_a, __m512 high_b)
{
    __m512 side = _mm512_sub_ps(_mm512_min_ps(high_a, high_b), _mm512_max_ps(low_a, low_b));
    return _mm512_max_ps(side, _mm512_setzero_ps());
}

static bool overlaps_any_avx512(const rcnn_cpu_box_columns *boxes, int32_t from, int32_t to, const float box[5],
                                rcnn_cpu_overlap_rule rule)
{
    const __m512 x1 = _mm512_set1_ps(box[0]), y1 = _mm512_set1_ps(box[1]);
    const __m512 x2 = _mm512_set1_ps(box[2]), y2 = _mm512_set1_ps(box[3]);
    const __m512 area = _mm512_set1_ps(box[4]), iou = _mm512_set1_ps(rule.iou);
    for (int32_t i = from; i < to; i += LANES) {
        const __mmask16 mask = mask_of((size_t)(to - i));
        __m512 width =
            overlap(_mm512_maskz_loadu_ps(mask, boxes->x1 + i), x1, _mm512_maskz_loadu_ps(mask, boxes->x2 + i), x2);
        __m512 height =
            overlap(_mm512_maskz_loadu_ps(mask, boxes->y1 + i), y1, _mm512_maskz_loadu_ps(mask, boxes->y2 + i), y2);
        __m512 inter = _mm512_mul_ps(width, height);
        __m512 both = _mm512_sub_ps(_mm512_add_ps(_mm512_maskz_loadu_ps(mask, boxes->area + i), area), inter);
        __m512 left = rule.divide ? _mm512_div_ps(inter, both) : inter;
        __m512 right = rule.divide ? iou : _mm512_mul_ps(iou, both);
        if (_mm512_mask_cmp_ps_mask(mask, left, right, _CMP_GT_OQ)) {
            return true;
        }
    }
    return false;
}

const rcnn_cpu_body rcnn_cpu_body_avx512 = {.max_of = max_of_avx512,
                                            .add = add,
                                            .weigh = weigh_avx512,
                                            .dots = dots_avx512,
                                            .sum_windows = rcnn_cpu_sum_windows_avx2,
                                            .add_bytes = rcnn_cpu_add_bytes_avx2,
                                            .overlaps_any = overlaps_any_avx512};
