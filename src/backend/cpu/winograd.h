/* 3x3 convolutions of stride 1 by Winograd's minimal filtering, F(5x5, 3x3): a tile of 5x5 outputs takes 49 products a
 * channel instead of 225 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", section 4).
 *
 * Y = A' [ (G g G') . (B' d B) ] A, with d the 7x7 inputs of a tile, g the 3x3 filter, Y its 5x5 outputs; the sums over the
 * input channels of the elementwise products are 49 matrix products. The points are +-a, +-b, +-c and infinity with
 * a = 9/32, b = 27/32 and c = 7/4: products rounded to BF16 are then off by 1.9 % of the result (root mean square) with
 * features after a ReLU and by 2.3 % with ones of both signs, less than with F(4x4, 3x3) and its usual points 0, +-1, +-2
 * and infinity; products in F32 by about 1e-6.
 *
 * One table of bodies per instruction set, in a file of its own; winograd.c does the rest. */
#ifndef RCNN_BACKEND_CPU_WINOGRAD_H
#define RCNN_BACKEND_CPU_WINOGRAD_H

#include "backend/cpu/product.h"

#define RCNN_WINOGRAD_A 0.28125f /* the points +-A, +-B, +-C and infinity */
#define RCNN_WINOGRAD_B 0.84375f
#define RCNN_WINOGRAD_C 1.75f

#define RCNN_WINOGRAD_OUT      5  /* outputs of a tile along an axis  */
#define RCNN_WINOGRAD_IN       7  /* inputs of a tile along an axis   */
#define RCNN_WINOGRAD_PRODUCTS 49 /* products a channel               */

typedef struct rcnn_winograd_body {
    const rcnn_product_body *product; /* multiplies F32 or BF16, for as many tiles at once as it has rows */
    int32_t block_tiles;              /* of 256 channels that a thread works on between passes over the filters */
    /* B' d B of one tile: pixel[49] point at its inputs, row after row; product p of channel c goes to
     * v[p * stride + c]. */
    void (*gather)(rcnn_dtype type, const void *const pixel[RCNN_WINOGRAD_PRODUCTS], int32_t channels, void *v,
                   size_t stride);
    /* A' m A of one tile: product p of channel c is m[p * stride + c / PANEL * panel_stride + c % PANEL]. pixel[25] and residual[25] point at the tile's
     * outputs, as do scale and bias of `how` at the first of `channels`; residual NULL = none. */
    void (*scatter)(const rcnn_product_store *how, const float *m, size_t stride, size_t panel_stride, int32_t channels,
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

/* 2 when ops first and first+1 are a CONV for these bodies and one that may follow it (follow.h); else 0. */
int32_t rcnn_winograd_match(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first);
/* Of the two ops; as rcnn_cpu_prepare_conv. */
rcnn_status rcnn_winograd_prepare_pair(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, rcnn_kernel **out,
                                       size_t *scratch_bytes, rcnn_error *err);

#endif
