/* The plain C table and the choice among tables; see body.h. */
#include "backend/cpu/body.h"

#include <math.h>
#include <string.h>

static void max_of_c(const float *const *taps, int32_t count, size_t channels, float *dst)
{
    memcpy(dst, taps[0], channels * sizeof *dst);
    for (int32_t t = 1; t < count; t++) {
        const float *src = taps[t];
        for (size_t c = 0; c < channels; c++) {
            dst[c] = src[c] > dst[c] || src[c] != src[c] ? src[c] : dst[c];
        }
    }
}

static void add_c(const float *a, const float *b, size_t count, float *dst)
{
    for (size_t i = 0; i < count; i++) {
        dst[i] = a[i] + b[i];
    }
}

static void weigh_c(const float *map, size_t width, size_t channels, const rcnn_cpu_taps *rows,
                    const rcnn_cpu_taps *columns, float *dst)
{
    memset(dst, 0, channels * sizeof *dst);
    for (int32_t y = 0; y < rows->count; y++) {
        const float *row = map + (size_t)rows->at[y] * width * channels;
        for (int32_t x = 0; x < columns->count; x++) {
            const float *src = row + (size_t)columns->at[x] * channels;
            const float weight = rows->weight[y] * columns->weight[x];
            for (size_t c = 0; c < channels; c++) {
                dst[c] += weight * src[c];
            }
        }
    }
}

static void dots_c(const float *src, size_t pixels, size_t channels, const float *weights, float bias, float *dst)
{
    for (size_t p = 0; p < pixels; p++, src += channels) {
        float sum[4] = {0, 0, 0, 0}; /* independent chains: shorter wait and smaller rounding error */
        size_t c = 0;
        for (; c + 4 <= channels; c += 4) {
            for (size_t k = 0; k < 4; k++) {
                sum[k] += src[c + k] * weights[c + k];
            }
        }
        for (; c < channels; c++) {
            sum[0] += src[c] * weights[c];
        }
        dst[p] = bias + ((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

static uint8_t rounded(int32_t sum)
{
    sum >>= RCNN_CPU_WINDOW_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* restrict and locals throughout: bytes may alias anything, which would reload and serialise everything else */
static void sum_windows_c(const rcnn_cpu_pixel_row *row, const rcnn_cpu_window *windows, const int32_t *weights,
                          int32_t count, uint8_t *restrict dst)
{
    const size_t c0 = row->channel[0], c1 = row->channel[1], c2 = row->channel[2], step = row->pixel_bytes;
    const uint8_t *src = row->src;
    for (int32_t x = 0; x < count; x++, dst += 3) {
        const uint8_t *p = src + (size_t)windows[x].first * step;
        const int32_t *w = weights + windows[x].weights;
        int32_t sum0 = 1 << (RCNN_CPU_WINDOW_BITS - 1), sum1 = sum0, sum2 = sum0;
        for (int32_t i = 0; i < windows[x].count; i++, p += step) {
            sum0 += p[c0] * w[i];
            sum1 += p[c1] * w[i];
            sum2 += p[c2] * w[i];
        }
        dst[0] = rounded(sum0);
        dst[1] = rounded(sum1);
        dst[2] = rounded(sum2);
    }
}

static void add_bytes_c(const uint8_t *restrict row, int32_t weight, size_t count, int32_t *restrict sums)
{
    for (size_t i = 0; i < count; i++) {
        sums[i] += row[i] * weight;
    }
}

static float larger(float a, float b)
{
    return a > b ? a : b;
}

static float smaller(float a, float b)
{
    return a < b ? a : b;
}

static bool overlaps_any_c(const rcnn_cpu_box_columns *boxes, int32_t from, int32_t to, const float box[5],
                           rcnn_cpu_overlap_rule rule)
{
    for (int32_t i = from; i < to; i++) {
        float width = larger(smaller(boxes->x2[i], box[2]) - larger(boxes->x1[i], box[0]), 0.0f);
        float height = larger(smaller(boxes->y2[i], box[3]) - larger(boxes->y1[i], box[1]), 0.0f);
        float inter = width * height;
        float both = boxes->area[i] + box[4] - inter;
        if (rule.divide ? inter / both > rule.iou : inter > rule.iou * both) {
            return true;
        }
    }
    return false;
}

const rcnn_cpu_body rcnn_cpu_body_c = {.max_of = max_of_c,
                                       .add = add_c,
                                       .weigh = weigh_c,
                                       .dots = dots_c,
                                       .sum_windows = sum_windows_c,
                                       .add_bytes = add_bytes_c,
                                       .overlaps_any = overlaps_any_c};

const rcnn_cpu_body *rcnn_cpu_body_of(rcnn_cpu_isa isa)
{
#if RCNN_CPU_AVX512_BODY
    if (isa >= RCNN_CPU_AVX512) {
        return &rcnn_cpu_body_avx512;
    }
#endif
#if RCNN_CPU_AVX2_BODY
    if (isa >= RCNN_CPU_AVX2) {
        return &rcnn_cpu_body_avx2;
    }
#endif
    (void)isa;
    return &rcnn_cpu_body_c;
}
