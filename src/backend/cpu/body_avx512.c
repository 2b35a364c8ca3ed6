/* The AVX-512 F table; see body.h. Tails use masks, so nothing is read or written past an array. */
#include "backend/cpu/body.h"

#include <immintrin.h>

#define LANES 16

static __mmask16 mask_of(size_t left)
{
    const uint32_t all = 0xffff;
    return (__mmask16)(left >= LANES ? all : all >> (LANES - left));
}

#define POOLED 4 /* vectors held in registers: 64 channels, what the stem has */

/* maxps gives its second operand when either is NaN, so NaNs are looked for apart; the rare block with one is done
 * again by the plain table. */
static bool max_block(const float *const *taps, int32_t count, size_t c, float *dst)
{
    __m512 best[POOLED];
    __mmask16 bad = 0;
    for (int32_t k = 0; k < POOLED; k++) {
        best[k] = _mm512_loadu_ps(taps[0] + c + k * LANES);
        bad |= _mm512_cmp_ps_mask(best[k], best[k], _CMP_UNORD_Q);
    }
    for (int32_t t = 1; t < count; t++) {
        for (int32_t k = 0; k < POOLED; k++) {
            const __m512 value = _mm512_loadu_ps(taps[t] + c + k * LANES);
            bad |= _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
            best[k] = _mm512_max_ps(value, best[k]);
        }
    }
    for (int32_t k = 0; k < POOLED; k++) {
        _mm512_storeu_ps(dst + c + k * LANES, best[k]);
    }
    return bad == 0;
}

static void max_of_avx512(const float *const *taps, int32_t count, size_t channels, float *dst)
{
    bool clean = true;
    size_t c = 0;
    for (; c + POOLED * LANES <= channels; c += POOLED * LANES) {
        clean &= max_block(taps, count, c, dst);
    }
    for (; c < channels; c += LANES) {
        const __mmask16 mask = mask_of(channels - c);
        __m512 best = _mm512_maskz_loadu_ps(mask, taps[0] + c);
        __mmask16 bad = _mm512_cmp_ps_mask(best, best, _CMP_UNORD_Q);
        for (int32_t t = 1; t < count; t++) {
            const __m512 value = _mm512_maskz_loadu_ps(mask, taps[t] + c);
            bad |= _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
            best = _mm512_max_ps(value, best);
        }
        _mm512_mask_storeu_ps(dst + c, mask, best);
        clean &= bad == 0;
    }
    if (!clean) {
        rcnn_cpu_body_c.max_of(taps, count, channels, dst);
    }
}

static void add_avx512(const float *a, const float *b, size_t count, float *dst)
{
    for (size_t i = 0; i < count; i += LANES) {
        const __mmask16 mask = mask_of(count - i);
        __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i));
        _mm512_mask_storeu_ps(dst + i, mask, sum);
    }
}

#define WIDE 16 /* vectors held in registers: 256 channels, what the pyramid has */

static void weigh_wide(const float *map, size_t width, size_t channels, const rcnn_cpu_taps *rows,
                       const rcnn_cpu_taps *columns, float *dst)
{
    __m512 sum[WIDE];
    for (int32_t k = 0; k < WIDE; k++) {
        sum[k] = _mm512_setzero_ps();
    }
    for (int32_t y = 0; y < rows->count; y++) {
        const float *row = map + (size_t)rows->at[y] * width * channels;
        for (int32_t x = 0; x < columns->count; x++) {
            const float *src = row + (size_t)columns->at[x] * channels;
            const __m512 weight = _mm512_set1_ps(rows->weight[y] * columns->weight[x]);
            for (int32_t k = 0; k < WIDE; k++) {
                sum[k] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(src + k * LANES), sum[k]);
            }
        }
    }
    for (int32_t k = 0; k < WIDE; k++) {
        _mm512_storeu_ps(dst + k * LANES, sum[k]);
    }
}

static void weigh_narrow(const float *map, size_t width, size_t channels, __mmask16 mask, const rcnn_cpu_taps *rows,
                         const rcnn_cpu_taps *columns, float *dst)
{
    __m512 sum = _mm512_setzero_ps();
    for (int32_t y = 0; y < rows->count; y++) {
        const float *row = map + (size_t)rows->at[y] * width * channels;
        for (int32_t x = 0; x < columns->count; x++) {
            const __m512 weight = _mm512_set1_ps(rows->weight[y] * columns->weight[x]);
            const float *src = row + (size_t)columns->at[x] * channels;
            sum = _mm512_fmadd_ps(weight, _mm512_maskz_loadu_ps(mask, src), sum);
        }
    }
    _mm512_mask_storeu_ps(dst, mask, sum);
}

static void weigh_avx512(const float *map, size_t width, size_t channels, const rcnn_cpu_taps *rows,
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

static void dots_avx512(const float *src, size_t pixels, size_t channels, const float *weights, float bias, float *dst)
{
    for (size_t p = 0; p < pixels; p++, src += channels) {
        __m512 even = _mm512_setzero_ps(); /* two chains hide the latency of fmadd */
        __m512 odd = _mm512_setzero_ps();
        size_t c = 0;
        for (; c + 2 * LANES <= channels; c += 2 * LANES) {
            even = _mm512_fmadd_ps(_mm512_loadu_ps(src + c), _mm512_loadu_ps(weights + c), even);
            odd = _mm512_fmadd_ps(_mm512_loadu_ps(src + c + LANES), _mm512_loadu_ps(weights + c + LANES), odd);
        }
        for (; c < channels; c += LANES) {
            const __mmask16 mask = mask_of(channels - c);
            even =
                _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, src + c), _mm512_maskz_loadu_ps(mask, weights + c), even);
        }
        dst[p] = bias + _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
    }
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
                                            .add = add_avx512,
                                            .weigh = weigh_avx512,
                                            .dots = dots_avx512,
                                            .sum_windows = rcnn_cpu_sum_windows_avx2,
                                            .add_bytes = rcnn_cpu_add_bytes_avx2,
                                            .overlaps_any = overlaps_any_avx512};
