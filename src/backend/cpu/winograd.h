/* 3x3 convolutions of stride 1 by Winograd's minimal filtering, F(4x4, 3x3): a tile of 4x4 outputs takes 36 products a
 * channel instead of 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", section 4).
 *
 * Y = A' [ (G g G') . (B' d B) ] A, with d the 6x6 inputs of a tile, g the 3x3 filter, Y its 4x4 outputs; the sums over the
 * input channels of the elementwise products are 36 matrix products. The points are 0, +-a, +-b and infinity with a = 5/8
 * and b = 3/2: products rounded to BF16 are then off by 0.9 % of the result (root mean square) with features after a ReLU
 * and by 1.1 % with ones of both signs, half as much as with the usual 1 and 2; products in F32 by about 1e-6.
 *
 * One table of bodies per instruction set, in a file of its own; winograd.c does the rest. */
#ifndef RCNN_BACKEND_CPU_WINOGRAD_H
#define RCNN_BACKEND_CPU_WINOGRAD_H

#include "backend/cpu/product.h"

#define RCNN_WINOGRAD_A 0.625f /* the points 0, +-A, +-B and infinity */
#define RCNN_WINOGRAD_B 1.5f

#define RCNN_WINOGRAD_OUT      4  /* outputs of a tile along an axis  */
#define RCNN_WINOGRAD_IN       6  /* inputs of a tile along an axis   */
#define RCNN_WINOGRAD_PRODUCTS 36 /* products a channel               */

typedef struct rcnn_winograd_body {
    const rcnn_product_body *product; /* multiplies F32 or BF16, for as many tiles at once as it has rows */
    int32_t block_tiles; /* that a thread works on between passes over the filters; a multiple of those rows */
    /* B' d B of one tile: pixel[36] point at its inputs, row after row; product p of channel c goes to
     * v[p * stride + c]. */
    void (*gather)(rcnn_dtype type, const void *const pixel[RCNN_WINOGRAD_PRODUCTS], int32_t channels, void *v,
                   size_t stride);
    /* A' m A of one tile: product p of channel c is m[p * stride + c]. pixel[16] and residual[16] point at the tile's
     * outputs, as do scale and bias of `how` at the first of `channels`; residual NULL = none. */
    void (*scatter)(const rcnn_product_store *how, const float *m, size_t stride, int32_t channels,
                    const void *const *residual, void *const pixel[RCNN_WINOGRAD_OUT * RCNN_WINOGRAD_OUT]);
} rcnn_winograd_body;

extern const rcnn_winograd_body rcnn_winograd_avx2;   /* only with RCNN_CPU_AVX2_BODY, see CMakeLists.txt        */
extern const rcnn_winograd_body rcnn_winograd_avx512; /* only with RCNN_CPU_AVX512_BODY                          */
extern const rcnn_winograd_body rcnn_winograd_bf16;   /* only with RCNN_CPU_BF16_BODY; wants AVX512-BF16         */

/* The bodies for a CONV on this processor, NULL when it is better done directly: F32 from AVX2 on; BF16 and integers where
 * AVX512-BF16 is there and AMX, which is faster still, is not. */
const rcnn_winograd_body *rcnn_winograd_choose(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op);
/* As rcnn_cpu_prepare_conv. */
rcnn_status rcnn_winograd_prepare(rcnn_backend *backend, const rcnn_winograd_body *body, const rcnn_graph *graph,
                                  const rcnn_op *op, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

#endif
