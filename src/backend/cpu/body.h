/* The innermost loops that pay for vector instructions, one table per instruction set. Each set has a file of its own,
 * compiled with its own flags; nothing outside those files may use the instructions. The tables agree on what is
 * computed; weigh and dots add in different orders, so their results differ by rounding, those of all others do not.
 *
 * Features are F32, BF16, I8 or U8. A body turns what it reads into floats, computes on those, and rounds once at the
 * end: to nearest even, I8 saturated to -127..127, U8 to 0..255. Bodies see stored numbers only: the caller folds the
 * scales of an op's values into one factor for each operand. */
#ifndef RCNN_BACKEND_CPU_BODY_H
#define RCNN_BACKEND_CPU_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/cpu/cpu.h"

#define RCNN_CPU_POOL_MAX 49 /* pixels of a pooling window: 7 x 7; the networks here use 3 x 3 and 1 x 1 */

/* The operands of add, and what becomes of the sum. */
typedef struct rcnn_cpu_addends {
    rcnn_dtype a_type, b_type, dst_type;
    float a_factor, b_factor;
    bool relu;
} rcnn_cpu_addends;

/* A feature map of one image, and what weigh makes of it. */
typedef struct rcnn_cpu_map {
    const void *at; /* [..][width][channels] */
    size_t width, channels;
    rcnn_dtype type, dst_type;
} rcnn_cpu_map;

/* Weighted positions along one axis. */
typedef struct rcnn_cpu_taps {
    const int32_t *at;
    const float *weight;
    int32_t count;
} rcnn_cpu_taps;

/* Pixels to be multiplied by dots. */
typedef struct rcnn_cpu_pixels {
    const void *at; /* [count][channels] */
    size_t count, channels;
    rcnn_dtype type;
    float factor;
} rcnn_cpu_pixels;

/* Boxes as one array per coordinate, for comparing many of them with one. */
typedef struct rcnn_cpu_box_columns {
    float *x1, *y1, *x2, *y2, *area;
} rcnn_cpu_box_columns;

/* What one output pixel of Pillow's resize sums up: source positions and where their weights start. */
typedef struct rcnn_cpu_window {
    int32_t first, count;
    size_t weights;
} rcnn_cpu_window;

#define RCNN_CPU_WINDOW_BITS 22 /* weights are in 1/2^22 and add up to 1; sums start with half of the last bit kept */

/* One row of pixels to be resized horizontally. */
typedef struct rcnn_cpu_pixel_row {
    const uint8_t *src;
    size_t pixels, pixel_bytes;
    size_t channel[3]; /* byte of each of the 3 samples of an output pixel within a source pixel */
} rcnn_cpu_pixel_row;

typedef struct rcnn_cpu_overlap_rule {
    float iou;
    bool divide; /* inter / union > iou (torchvision) instead of inter > iou * union (mmcv) */
} rcnn_cpu_overlap_rule;

typedef struct rcnn_cpu_body {
    /* dst[c] = largest of taps[0..count)[c]; one NaN makes the result NaN. 1 <= count <= RCNN_CPU_POOL_MAX. */
    void (*max_of)(rcnn_dtype type, const void *const *taps, int32_t count, size_t channels, void *dst);
    /* dst = relu?(a * a_factor + b * b_factor), without b where it is NULL; dst may be a or b where their elements are of one
     * size. NaN stays NaN in F32 and BF16. */
    void (*add)(const rcnn_cpu_addends *how, const void *a, const void *b, size_t count, void *dst);
    /* dst[c] = sum over rows y and columns x of weight_y * weight_x * map[y][x][c] */
    void (*weigh)(const rcnn_cpu_map *map, const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns, void *dst);
    /* dst[p] = bias + factor * sum over c of src[p][c] * weights[c] */
    void (*dots)(const rcnn_cpu_pixels *src, const float *weights, float bias, float *dst);
    /* dst [count][3] = rounded sum over each window of weight * pixel, as bytes. */
    void (*sum_windows)(const rcnn_cpu_pixel_row *row, const rcnn_cpu_window *windows, const int32_t *weights,
                        int32_t count, uint8_t *dst);
    /* sums += weight * row */
    void (*add_bytes)(const uint8_t *row, int32_t weight, size_t count, int32_t *sums);
    /* Whether any box from .. to-1 of the columns overlaps box {x1,y1,x2,y2,area} by more than the rule allows. */
    bool (*overlaps_any)(const rcnn_cpu_box_columns *boxes, int32_t from, int32_t to, const float box[5],
                         rcnn_cpu_overlap_rule rule);
} rcnn_cpu_body;

extern const rcnn_cpu_body rcnn_cpu_body_c;
extern const rcnn_cpu_body rcnn_cpu_body_avx2;   /* only with RCNN_CPU_AVX2_BODY, see CMakeLists.txt   */
extern const rcnn_cpu_body rcnn_cpu_body_avx512; /* only with RCNN_CPU_AVX512_BODY                     */

/* Entries of the AVX2 table that the AVX-512 table shares. */
void rcnn_cpu_sum_windows_avx2(const rcnn_cpu_pixel_row *row, const rcnn_cpu_window *windows, const int32_t *weights,
                               int32_t count, uint8_t *dst);
void rcnn_cpu_add_bytes_avx2(const uint8_t *row, int32_t weight, size_t count, int32_t *sums);

/* The C entries from channel `first` on: what whole vectors leave over. */
void rcnn_cpu_max_rest(rcnn_dtype type, const void *const *taps, int32_t count, size_t channels, size_t first,
                       void *dst);
void rcnn_cpu_add_rest(const rcnn_cpu_addends *how, const void *a, const void *b, size_t count, size_t first,
                       void *dst);
void rcnn_cpu_weigh_rest(const rcnn_cpu_map *map, const rcnn_cpu_taps *rows, const rcnn_cpu_taps *columns, size_t first,
                         void *dst);

/* The table for an instruction set, or the best one below it that was built. */
const rcnn_cpu_body *rcnn_cpu_body_of(rcnn_cpu_isa isa);

#endif
