/* The AVX2 + FMA table; see body.h. Tails use masks, so nothing is read or written past an array. */
#include "backend/cpu/body.h"

#include <immintrin.h>
#include <string.h>

#define LANES 8

static __m256i mask_of(size_t left)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(left >= LANES ? LANES : (int)left), lane);
}

/* maxps alone gives its second operand when either is NaN: a NaN found earlier would be lost. */
static __m256 max_or_nan(__m256 best, __m256 value)
{
    __m256 take = _mm256_or_ps(_mm256_cmp_ps(value, best, _CMP_GT_OQ), _mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    return _mm256_blendv_ps(best, value, take);
}

static void max_of_avx2(const float *const *taps, int32_t count, size_t channels, float *dst)
{
    size_t c = 0;
    for (; c + LANES <= channels; c += LANES) {
        __m256 best = _mm256_loadu_ps(taps[0] + c);
        for (int32_t t = 1; t < count; t++) {
            best = max_or_nan(best, _mm256_loadu_ps(taps[t] + c));
        }
        _mm256_storeu_ps(dst + c, best);
    }
    if (c < channels) {
        const __m256i mask = mask_of(channels - c);
        __m256 best = _mm256_maskload_ps(taps[0] + c, mask);
        for (int32_t t = 1; t < count; t++) {
            best = max_or_nan(best, _mm256_maskload_ps(taps[t] + c, mask));
        }
        _mm256_maskstore_ps(dst + c, mask, best);
    }
}

static void add_avx2(const float *a, const float *b, size_t count, float *dst)
{
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        _mm256_storeu_ps(dst + i, _mm256_add_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i)));
    }
    for (; i < count; i++) {
        dst[i] = a[i] + b[i];
    }
}

#define WIDE 8 /* vectors held in registers: 64 channels */

static void weigh_wide(const float *map, size_t width, size_t channels, const rcnn_cpu_taps *rows,
                       const rcnn_cpu_taps *columns, float *dst)
{
    __m256 sum[WIDE];
    for (int32_t k = 0; k < WIDE; k++) {
        sum[k] = _mm256_setzero_ps();
    }
    for (int32_t y = 0; y < rows->count; y++) {
        const float *row = map + (size_t)rows->at[y] * width * channels;
        for (int32_t x = 0; x < columns->count; x++) {
            const float *src = row + (size_t)columns->at[x] * channels;
            const __m256 weight = _mm256_set1_ps(rows->weight[y] * columns->weight[x]);
            for (int32_t k = 0; k < WIDE; k++) {
                sum[k] = _mm256_fmadd_ps(weight, _mm256_loadu_ps(src + k * LANES), sum[k]);
            }
        }
    }
    for (int32_t k = 0; k < WIDE; k++) {
        _mm256_storeu_ps(dst + k * LANES, sum[k]);
    }
}

static void weigh_narrow(const float *map, size_t width, size_t channels, __m256i mask, const rcnn_cpu_taps *rows,
                         const rcnn_cpu_taps *columns, float *dst)
{
    __m256 sum = _mm256_setzero_ps();
    for (int32_t y = 0; y < rows->count; y++) {
        const float *row = map + (size_t)rows->at[y] * width * channels;
        for (int32_t x = 0; x < columns->count; x++) {
            const __m256 weight = _mm256_set1_ps(rows->weight[y] * columns->weight[x]);
            const float *src = row + (size_t)columns->at[x] * channels;
            sum = _mm256_fmadd_ps(weight, _mm256_maskload_ps(src, mask), sum);
        }
    }
    _mm256_maskstore_ps(dst, mask, sum);
}

static void weigh_avx2(const float *map, size_t width, size_t channels, const rcnn_cpu_taps *rows,
                       const rcnn_cpu_taps *columns, float *dst)
{
    size_t c = 0;
    for (; c + WIDE * LANES <= channels; c += WIDE * LANES) {
        weigh_wide(map + c, width, channels, rows, columns, dst + c);
    }
    for (; c < channels; c += LANES) {
        weigh_narrow(map + c, width, channels, mask_of(channels - c), rows, columns, dst + c);
    }
}

static float sum_of(__m256 v)
{
    __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_add_ps(half, _mm_movehl_ps(half, half));
    half = _mm_add_ss(half, _mm_shuffle_ps(half, half, 1));
    return _mm_cvtss_f32(half);
}

static void dots_avx2(const float *src, size_t pixels, size_t channels, const float *weights, float bias, float *dst)
{
    for (size_t p = 0; p < pixels; p++, src += channels) {
        __m256 even = _mm256_setzero_ps(); /* two chains hide the latency of fmadd */
        __m256 odd = _mm256_setzero_ps();
        size_t c = 0;
        for (; c + 2 * LANES <= channels; c += 2 * LANES) {
            even = _mm256_fmadd_ps(_mm256_loadu_ps(src + c), _mm256_loadu_ps(weights + c), even);
            odd = _mm256_fmadd_ps(_mm256_loadu_ps(src + c + LANES), _mm256_loadu_ps(weights + c + LANES), odd);
        }
        for (; c < channels; c += LANES) {
            const __m256i mask = mask_of(channels - c);
            even = _mm256_fmadd_ps(_mm256_maskload_ps(src + c, mask), _mm256_maskload_ps(weights + c, mask), even);
        }
        dst[p] = bias + sum_of(_mm256_add_ps(even, odd));
    }
}

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
                                          .add = add_avx2,
                                          .weigh = weigh_avx2,
                                          .dots = dots_avx2,
                                          .sum_windows = rcnn_cpu_sum_windows_avx2,
                                          .add_bytes = rcnn_cpu_add_bytes_avx2,
                                          .overlaps_any = overlaps_any_avx2};
