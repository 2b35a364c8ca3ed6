/* The AVX2 + FMA table; see body.h. What whole vectors leave over is done by the C entries. */
#include "backend/cpu/body.h"

#include <string.h>

#include "backend/cpu/lanes_avx2.h"

#include "backend/cpu/add_vector.h"

INLINE void store_many(rcnn_dtype type, void *dst, size_t first, const __m256 *values, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        store(type, dst, first + k * LANES, values[k]);
    }
}

/* Values from registers, in whatever type. */
INLINE void store_as(rcnn_dtype type, void *dst, size_t first, const __m256 *values, size_t count)
{
    RCNN_CPU_BY_TYPE(type, store_many, dst, first, values, count)
}

/* ---------------------------------------------------------------- max_of */

/* maxps alone gives its second operand when either is NaN: a NaN found earlier would be lost. */
INLINE __m256 max_or_nan(__m256 best, __m256 value)
{
    __m256 take = _mm256_or_ps(_mm256_cmp_ps(value, best, _CMP_GT_OQ), _mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    return _mm256_blendv_ps(best, value, take);
}

/* rcnn_cpu_bf16_key of 16 numbers and back. */
INLINE __m256i keys_of(__m256i values)
{
    const __m256i turn = _mm256_or_si256(_mm256_srai_epi16(values, 15), _mm256_set1_epi16(INT16_MIN));
    return _mm256_sub_epi16(_mm256_xor_si256(values, turn), _mm256_set1_epi16(RCNN_CPU_BF16_NEGATIVE_NANS));
}

INLINE __m256i of_keys(__m256i keys)
{
    keys = _mm256_add_epi16(keys, _mm256_set1_epi16(RCNN_CPU_BF16_NEGATIVE_NANS));
    const __m256i negative = _mm256_andnot_si256(_mm256_srai_epi16(keys, 15), _mm256_set1_epi16(-1));
    return _mm256_xor_si256(keys, _mm256_or_si256(negative, _mm256_set1_epi16(INT16_MIN)));
}

/* As many numbers as 32 bytes hold, from byte `at` of every tap. */
INLINE __m256i max_vector(rcnn_dtype type, const void *const *taps, int32_t count, size_t at)
{
    __m256i best = _mm256_loadu_si256((const void *)((const char *)taps[0] + at));
    best = type == RCNN_BF16 ? keys_of(best) : best;
    for (int32_t t = 1; t < count; t++) {
        const __m256i value = _mm256_loadu_si256((const void *)((const char *)taps[t] + at));
        switch (type) {
        case RCNN_BF16:
            best = _mm256_max_epu16(best, keys_of(value));
            break;
        case RCNN_I8:
            best = _mm256_max_epi8(best, value);
            break;
        case RCNN_U8:
            best = _mm256_max_epu8(best, value);
            break;
        default:
            best = _mm256_castps_si256(max_or_nan(_mm256_castsi256_ps(best), _mm256_castsi256_ps(value)));
        }
    }
    return type == RCNN_BF16 ? of_keys(best) : best;
}

INLINE void max_as(rcnn_dtype type, const void *const *taps, int32_t count, size_t channels, void *dst)
{
    const size_t item = rcnn_cpu_element_bytes(type), step = sizeof(__m256i);
    size_t at = 0;
    for (; at + step <= channels * item; at += step) {
        _mm256_storeu_si256((void *)((char *)dst + at), max_vector(type, taps, count, at));
    }
    if (at < channels * item) {
        rcnn_cpu_max_rest(type, taps, count, channels, at / item, dst);
    }
}

static void max_of_avx2(rcnn_dtype type, const void *const *taps, int32_t count, size_t channels, void *dst)
{
    RCNN_CPU_BY_TYPE(type, max_as, taps, count, channels, dst)
}

/* ----------------------------------------------------------------- weigh */

#define WIDE 8 /* vectors held in registers: 64 channels */

/* Channels first .. first + vectors * LANES - 1. */
INLINE void weigh_block(rcnn_dtype type, size_t vectors, size_t first, const rcnn_cpu_map *map,
                        const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns, void *dst)
{
    __m256 sum[WIDE];
    for (size_t k = 0; k < vectors; k++) {
        sum[k] = _mm256_setzero_ps();
    }
    for (int32_t y = 0; y < rows->count; y++) {
        const void *row = rcnn_cpu_at(type, map->at, (size_t)rows->at[y] * map->width * map->channels + first);
        for (int32_t x = 0; x < columns->count; x++) {
            const void *src = rcnn_cpu_at(type, row, (size_t)columns->at[x] * map->channels);
            const __m256 weight = _mm256_set1_ps(rows->weight[y] * columns->weight[x]);
            for (size_t k = 0; k < vectors; k++) {
                sum[k] = _mm256_fmadd_ps(weight, load(type, src, k * LANES), sum[k]);
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

static void weigh_avx2(const rcnn_cpu_map *map, const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns, void *dst)
{
    RCNN_CPU_BY_TYPE(map->type, weigh_as, map, rows, columns, dst)
}

/* ------------------------------------------------------------------ dots */

INLINE float dot(rcnn_dtype type, const void *src, size_t channels, const float *weights)
{
    __m256 even = _mm256_setzero_ps(); /* two chains hide the latency of fmadd */
    __m256 odd = _mm256_setzero_ps();
    size_t c = 0;
    for (; c + 2 * LANES <= channels; c += 2 * LANES) {
        even = _mm256_fmadd_ps(load(type, src, c), _mm256_loadu_ps(weights + c), even);
        odd = _mm256_fmadd_ps(load(type, src, c + LANES), _mm256_loadu_ps(weights + c + LANES), odd);
    }
    float sum = sum_of(_mm256_add_ps(even, odd));
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

static void dots_avx2(const rcnn_cpu_pixels *src, const float *weights, float bias, float *dst)
{
    RCNN_CPU_BY_TYPE(src->type, dots_as, src, weights, bias, dst)
}

/* ---------------------------------------------------------------- resize */

/* Sums of one window, 4 bytes of each pixel at a time: as 4 bytes. Reads 1 byte past a pixel of 3. */
static uint32_t sum_window(const uint8_t *p, size_t step, const int32_t *weights, int32_t count)
{
    __m128i sum = _mm_set1_epi32(1 << (RCNN_CPU_WINDOW_BITS - 1));
    for (int32_t i = 0; i < count; i++, p += step) {
        int32_t pixel;
        memcpy(&pixel, p, sizeof pixel);
        const __m128i samples = _mm_cvtepu8_epi32(_mm_cvtsi32_si128(pixel));
        sum = _mm_add_epi32(sum, _mm_mullo_epi32(samples, _mm_set1_epi32(weights[i])));
    }
    sum = _mm_srai_epi32(sum, RCNN_CPU_WINDOW_BITS);
    sum = _mm_packs_epi32(sum, sum);
    return (uint32_t)_mm_cvtsi128_si32(_mm_packus_epi16(sum, sum));
}

void rcnn_cpu_sum_windows_avx2(const rcnn_cpu_pixel_row *row, const rcnn_cpu_window *windows, const int32_t *weights,
                               int32_t count, uint8_t *restrict dst)
{
    const uint32_t shift0 = 8 * (uint32_t)row->channel[0], shift1 = 8 * (uint32_t)row->channel[1];
    const uint32_t shift2 = 8 * (uint32_t)row->channel[2];
    const uint8_t *src = row->src;
    const size_t step = row->pixel_bytes;
    const size_t readable = row->pixels * step;
    int32_t x = 0;
    for (; x < count; x++, dst += 3) {
        const size_t last = (size_t)(windows[x].first + windows[x].count - 1) * step;
        if (last + sizeof(int32_t) > readable) {
            break; /* and so for all windows to the right */
        }
        const uint32_t bytes =
            sum_window(src + (size_t)windows[x].first * step, step, weights + windows[x].weights, windows[x].count);
        dst[0] = (uint8_t)(bytes >> shift0);
        dst[1] = (uint8_t)(bytes >> shift1);
        dst[2] = (uint8_t)(bytes >> shift2);
    }
    rcnn_cpu_body_c.sum_windows(row, windows + x, weights, count - x, dst);
}

void rcnn_cpu_add_bytes_avx2(const uint8_t *row, int32_t weight, size_t count, int32_t *sums)
{
    const __m256i factor = _mm256_set1_epi32(weight);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        const __m256i samples = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(row + i)));
        __m256i *sum = (__m256i *)(void *)(sums + i);
        _mm256_storeu_si256(sum, _mm256_add_epi32(_mm256_loadu_si256(sum), _mm256_mullo_epi32(samples, factor)));
    }
    for (; i < count; i++) {
        sums[i] += row[i] * weight;
    }
}

/* ---------------------------------------------------------- overlaps_any */

static __m256i mask_of(size_t left)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left >= LANES ? LANES : (int)left), lane);
}

static __m256 overlap(__m256 low_a, __m256 low_b, __m256 high_a, __m256 high_b)
{
    __m256 side = _mm256_sub_ps(_mm256_min_ps(high_a, high_b), _mm256_max_ps(low_a, low_b));
    return _mm256_max_ps(side, _mm256_setzero_ps());
}

static bool overlaps_any_avx2(const rcnn_cpu_box_columns *boxes, int32_t from, int32_t to, const float box[5],
                              rcnn_cpu_overlap_rule rule)
{
    const __m256 x1 = _mm256_set1_ps(box[0]), y1 = _mm256_set1_ps(box[1]);
    const __m256 x2 = _mm256_set1_ps(box[2]), y2 = _mm256_set1_ps(box[3]);
    const __m256 area = _mm256_set1_ps(box[4]), iou = _mm256_set1_ps(rule.iou);
    for (int32_t i = from; i < to; i += LANES) {
        const __m256i mask = mask_of((size_t)(to - i));
        __m256 width =
            overlap(_mm256_maskload_ps(boxes->x1 + i, mask), x1, _mm256_maskload_ps(boxes->x2 + i, mask), x2);
        __m256 height =
            overlap(_mm256_maskload_ps(boxes->y1 + i, mask), y1, _mm256_maskload_ps(boxes->y2 + i, mask), y2);
        __m256 inter = _mm256_mul_ps(width, height);
        __m256 both = _mm256_sub_ps(_mm256_add_ps(_mm256_maskload_ps(boxes->area + i, mask), area), inter);
        __m256 left = rule.divide ? _mm256_div_ps(inter, both) : inter;
        __m256 right = rule.divide ? iou : _mm256_mul_ps(iou, both);
        __m256 hit = _mm256_and_ps(_mm256_cmp_ps(left, right, _CMP_GT_OQ), _mm256_castsi256_ps(mask));
        if (_mm256_movemask_ps(hit)) {
            return true;
        }
    }
    return false;
}

const rcnn_cpu_body rcnn_cpu_body_avx2 = {.max_of = max_of_avx2,
                                          .add = add,
                                          .weigh = weigh_avx2,
                                          .dots = dots_avx2,
                                          .sum_windows = rcnn_cpu_sum_windows_avx2,
                                          .add_bytes = rcnn_cpu_add_bytes_avx2,
                                          .overlaps_any = overlaps_any_avx2};
