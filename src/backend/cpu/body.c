/* The plain C table and the choice among tables; see body.h. */
#include "backend/cpu/body.h"

#include <string.h>

#include "backend/cpu/elements.h"

#define BLOCK 256 /* elements that are turned into floats at a time */

/* --------------------------------------------------------------- elements */

/* Elements first .. first+count-1 as floats: in `room` [BLOCK], or where they are. */
static const float *as_floats(rcnn_dtype type, const void *src, size_t first, size_t count, float *restrict room)
{
    const void *at = rcnn_cpu_at(type, src, first);
    if (type == RCNN_BF16) {
        for (size_t i = 0; i < count; i++) {
            room[i] = rcnn_cpu_of_bf16(((const uint16_t *)at)[i]);
        }
    } else if (type == RCNN_I8) {
        for (size_t i = 0; i < count; i++) {
            room[i] = ((const int8_t *)at)[i];
        }
    } else if (type == RCNN_U8) {
        for (size_t i = 0; i < count; i++) {
            room[i] = ((const uint8_t *)at)[i];
        }
    } else {
        return at;
    }
    return room;
}

static void store_floats(rcnn_dtype type, const float *restrict values, size_t count, void *dst, size_t first)
{
    void *at = rcnn_cpu_to(type, dst, first);
    if (type == RCNN_BF16) {
        uint16_t *restrict to = at;
        for (size_t i = 0; i < count; i++) {
            to[i] = rcnn_cpu_to_bf16(values[i]);
        }
    } else if (type == RCNN_I8) {
        int8_t *restrict to = at;
        for (size_t i = 0; i < count; i++) {
            to[i] = rcnn_cpu_to_i8(values[i]);
        }
    } else if (type == RCNN_U8) {
        uint8_t *restrict to = at;
        for (size_t i = 0; i < count; i++) {
            to[i] = rcnn_cpu_to_u8(values[i]);
        }
    } else {
        memcpy(at, values, count * sizeof *values);
    }
}

static size_t block_size(size_t left)
{
    return left < BLOCK ? left : BLOCK;
}

/* ---------------------------------------------------------------- max_of */

static void max_f32(const void *const *taps, int32_t count, size_t channels, float *dst)
{
    memcpy(dst, taps[0], channels * sizeof *dst);
    for (int32_t t = 1; t < count; t++) {
        const float *src = taps[t];
        for (size_t c = 0; c < channels; c++) {
            dst[c] = src[c] > dst[c] || src[c] != src[c] ? src[c] : dst[c];
        }
    }
}

static void max_i8(const void *const *taps, int32_t count, size_t channels, int8_t *restrict dst)
{
    memcpy(dst, taps[0], channels * sizeof *dst);
    for (int32_t t = 1; t < count; t++) {
        const int8_t *restrict src = taps[t];
        for (size_t c = 0; c < channels; c++) {
            dst[c] = src[c] > dst[c] ? src[c] : dst[c];
        }
    }
}

static void max_u8(const void *const *taps, int32_t count, size_t channels, uint8_t *restrict dst)
{
    memcpy(dst, taps[0], channels * sizeof *dst);
    for (int32_t t = 1; t < count; t++) {
        const uint8_t *restrict src = taps[t];
        for (size_t c = 0; c < channels; c++) {
            dst[c] = src[c] > dst[c] ? src[c] : dst[c];
        }
    }
}

static void max_bf16(const void *const *taps, int32_t count, size_t channels, uint16_t *restrict dst)
{
    for (size_t c = 0; c < channels; c++) {
        dst[c] = rcnn_cpu_bf16_key(((const uint16_t *)taps[0])[c]);
    }
    for (int32_t t = 1; t < count; t++) {
        const uint16_t *restrict src = taps[t];
        for (size_t c = 0; c < channels; c++) {
            const uint16_t key = rcnn_cpu_bf16_key(src[c]);
            dst[c] = key > dst[c] ? key : dst[c];
        }
    }
    for (size_t c = 0; c < channels; c++) {
        dst[c] = rcnn_cpu_bf16_of_key(dst[c]);
    }
}

static void max_of_c(rcnn_dtype type, const void *const *taps, int32_t count, size_t channels, void *dst)
{
    switch (type) {
    case RCNN_BF16:
        max_bf16(taps, count, channels, dst);
        break;
    case RCNN_I8:
        max_i8(taps, count, channels, dst);
        break;
    case RCNN_U8:
        max_u8(taps, count, channels, dst);
        break;
    default:
        max_f32(taps, count, channels, dst);
    }
}

void rcnn_cpu_max_rest(rcnn_dtype type, const void *const *taps, int32_t count, size_t channels, size_t first,
                       void *dst)
{
    const void *rest[RCNN_CPU_POOL_MAX];
    for (int32_t t = 0; t < count; t++) {
        rest[t] = rcnn_cpu_at(type, taps[t], first);
    }
    max_of_c(type, rest, count, channels - first, rcnn_cpu_to(type, dst, first));
}

/* ------------------------------------------------------------ add, weigh */

static bool is_plain(const rcnn_cpu_addends *how, const void *b)
{
    return b && !how->relu && how->a_type == RCNN_F32 && how->b_type == RCNN_F32 && how->dst_type == RCNN_F32 &&
           how->a_factor == 1 && how->b_factor == 1;
}

static void add_floats(const float *a, const float *b, size_t count, float *dst)
{
    for (size_t i = 0; i < count; i++) {
        dst[i] = a[i] + b[i];
    }
}

void rcnn_cpu_add_rest(const rcnn_cpu_addends *how, const void *a, const void *b, size_t count, size_t first, void *dst)
{
    if (is_plain(how, b)) {
        add_floats((const float *)a + first, (const float *)b + first, count - first, (float *)dst + first);
        return;
    }
    for (size_t i = first; i < count; i += BLOCK) {
        const size_t block = block_size(count - i);
        float a_room[BLOCK], b_room[BLOCK], sum[BLOCK];
        const float *x = as_floats(how->a_type, a, i, block, a_room);
        for (size_t k = 0; k < block; k++) {
            sum[k] = x[k] * how->a_factor;
        }
        const float *y = b ? as_floats(how->b_type, b, i, block, b_room) : NULL;
        for (size_t k = 0; y && k < block; k++) {
            sum[k] += y[k] * how->b_factor;
        }
        for (size_t k = 0; how->relu && k < block; k++) {
            sum[k] = sum[k] < 0 ? 0 : sum[k];
        }
        store_floats(how->dst_type, sum, block, dst, i);
    }
}

static void add_c(const rcnn_cpu_addends *how, const void *a, const void *b, size_t count, void *dst)
{
    rcnn_cpu_add_rest(how, a, b, count, 0, dst);
}

/* sum += weight * src; `count` is a constant where it matters */
static inline void add_weighted(const float *restrict src, float weight, size_t count, float *restrict sum)
{
    for (size_t k = 0; k < count; k++) {
        sum[k] += weight * src[k];
    }
}

void rcnn_cpu_weigh_rest(const rcnn_cpu_map *map, const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns, size_t first,
                         void *dst)
{
    for (size_t c = first; c < map->channels; c += BLOCK) {
        const size_t block = block_size(map->channels - c);
        float room[BLOCK], sum[BLOCK] = {0};
        for (int32_t y = 0; y < rows->count; y++) {
            for (int32_t x = 0; x < columns->count; x++) {
                const size_t pixel = (size_t)rows->at[y] * map->width + (size_t)columns->at[x];
                const float *src = as_floats(map->type, map->at, pixel * map->channels + c, block, room);
                const float weight = rows->weight[y] * columns->weight[x];
                if (block == BLOCK) {
                    add_weighted(src, weight, BLOCK, sum);
                } else {
                    add_weighted(src, weight, block, sum);
                }
            }
        }
        store_floats(map->dst_type, sum, block, dst, c);
    }
}

static void weigh_c(const rcnn_cpu_map *map, const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns, void *dst)
{
    rcnn_cpu_weigh_rest(map, rows, columns, 0, dst);
}

/* ------------------------------------------------------------------ dots */

static void dots_c(const rcnn_cpu_pixels *src, const float *weights, float bias, float *dst)
{
    for (size_t p = 0; p < src->count; p++) {
        float sum[4] = {0, 0, 0, 0}; /* independent chains: shorter wait and smaller rounding error */
        for (size_t c = 0; c < src->channels; c += BLOCK) {
            const size_t block = block_size(src->channels - c);
            float room[BLOCK];
            const float *values = as_floats(src->type, src->at, p * src->channels + c, block, room);
            size_t k = 0;
            for (; k + 4 <= block; k += 4) {
                for (size_t chain = 0; chain < 4; chain++) {
                    sum[chain] += values[k + chain] * weights[c + k + chain];
                }
            }
            for (; k < block; k++) {
                sum[0] += values[k] * weights[c + k];
            }
        }
        dst[p] = bias + src->factor * ((sum[0] + sum[1]) + (sum[2] + sum[3]));
    }
}

/* ---------------------------------------------------------------- resize */

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

/* ---------------------------------------------------------- overlaps_any */

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

/* ---------------------------------------------------------------- tables */

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
