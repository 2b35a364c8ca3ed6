/* Matrix products as convolutions want them: a few rows of features, straight from NHWC memory, times a panel of 32 output
 * channels, the sums in registers; and what is done with the sums. One table per kind of number and instruction set. */
#ifndef RCNN_BACKEND_CPU_PRODUCT_H
#define RCNN_BACKEND_CPU_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>

#include "backend/cpu/cpu.h"

#define RCNN_PRODUCT_PANEL    32 /* output channels of a panel */
#define RCNN_PRODUCT_ROWS_MAX 14
#define RCNN_PRODUCT_CHANNELS 32 /* input channels are multiples of it */
#define RCNN_PRODUCT_PARTS    16 /* of a dot product */

/* How sums become outputs, in stored numbers: dst = store(relu?(sum * scale[o] + bias[o] + residual * residual_factor)). */
typedef struct rcnn_product_store {
    rcnn_dtype dst, residual;
    float residual_factor;
    bool relu;
    const float *scale, *bias; /* of the panel's first channel */
} rcnn_product_store;

/* Features that are bytes, 128 more than what they stand for, of which each row and each output have steps of their own:
 * sums[r][o] = (product + start[o]) * row[r] * column[o], with start the panel's -128 * (sum of the stored weights). */
typedef struct rcnn_product_steps {
    const int32_t *start; /* [PANEL] */
    const float *column;  /* [PANEL] */
    const float *row;     /* [rows] */
} rcnn_product_steps;

/* sums [rows][PANEL] = features [rows][stretches][channels] x panel [stretches * channels][PANEL], or that much more. A
 * panel holds the channels that one 32-bit word of features has side by side: [channels/2][PANEL][2] of BF16,
 * [channels/4][PANEL][4] of I8. */
typedef struct rcnn_product_job {
    int32_t rows, channels;
    const void *features;
    size_t features_stride; /* channels from one row of features to the next */
    int32_t stretches;      /* pieces of a row, each of `channels`, whose weights follow each other */
    size_t stretch_stride;  /* channels from one to the next */
    const void *panel;
    const void *next; /* as many weights that are wanted soon, and are fetched meanwhile; need not be there */
    float *sums;
    bool add;                        /* to what `sums` hold; not with steps */
    const rcnn_product_steps *steps; /* NULL: none; only of bytes */
} rcnn_product_job;

/* Panels for so many outputs. */
static inline int32_t rcnn_product_panels(int32_t out)
{
    return (out + RCNN_PRODUCT_PANEL - 1) / RCNN_PRODUCT_PANEL;
}

typedef struct rcnn_product_body {
    rcnn_dtype features, weights; /* F32 and F32, BF16 and BF16, or U8 and I8   */
    int32_t rows;                 /* that `multiply` makes at once, at the most */
    void (*multiply)(const rcnn_product_job *job);
    /* rows of outputs from sums [rows][PANEL]; rows of dst and residual (NULL = none) are `stride` elements apart. */
    void (*finish)(const rcnn_product_store *how, const float *sums, int32_t rows, const void *residual, void *dst,
                   size_t stride);
    /* parts [rows][PARTS], of which a row's together are its dot product, grow by the sum over the panel of
     * weights[o] * relu?(sums[r][o] * scale[o] + bias[o]). Parts past a vector's lanes are left alone. */
    void (*dots)(const rcnn_product_store *how, const float *sums, int32_t rows, const float *weights, float *parts);
    /* dots[r] = sum of the parts of row r */
    void (*total)(const float *parts, int32_t rows, float *dots);
} rcnn_product_body;

extern const rcnn_product_body rcnn_product_avx2;   /* only with RCNN_CPU_AVX2_BODY, see CMakeLists.txt   */
extern const rcnn_product_body rcnn_product_avx512; /* only with RCNN_CPU_AVX512_BODY                     */
extern const rcnn_product_body rcnn_product_bf16;   /* only with RCNN_CPU_BF16_BODY; wants AVX512-BF16    */
extern const rcnn_product_body rcnn_product_vnni;   /* only with RCNN_CPU_VNNI_BODY; wants AVX512-VNNI    */

/* The table for features of a type on this processor. NULL: there is none, or oneDNN's product is faster, as it is in BF16
 * and on bytes where it has AMX. */
const rcnn_product_body *rcnn_product_choose(const rcnn_backend *backend, rcnn_dtype features);

/* Whether the rows of a CONV are its pixels: 1x1 of stride 1. */
bool rcnn_product_is_point(const rcnn_op *op);

/* The numbers of a CONV, FC or DECONV whose weights are in panels of these scales: what stands in `store`, with the arrays for
 * all outputs of whole panels. weight_scale NULL: 1. unit: of the stored outputs, 1 for floats. MEMORY. */
typedef struct rcnn_product_numbers {
    rcnn_product_store store;
    float *arrays; /* behind store's pointers; owned */
} rcnn_product_numbers;
rcnn_status rcnn_product_numbers_make(const rcnn_graph *graph, const rcnn_op *op, const float *weight_scale, float unit,
                                      rcnn_product_numbers *out, rcnn_error *err);
void rcnn_product_numbers_free(rcnn_product_numbers *numbers);
/* store, from output channel `first` on. */
rcnn_product_store rcnn_product_store_at(const rcnn_product_numbers *numbers, int32_t first);
/* The scale of a value's stored numbers, 1 for floats. */
float rcnn_product_unit(const rcnn_value *value);

#endif
