/* 3x3 convolutions by Winograd's minimal filtering (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks",
 * section 4): Y = A' [ (G g G') . (B' d B) ] A, with d the inputs of a tile, g the filter, Y the tile's outputs. The sums over
 * the input channels of the elementwise products are matrix products, 49 or 36 for a tile.
 *
 * Tiles, with a row of points each; the errors are those of the result (root mean square, features after a ReLU):
 * - 5x5 outputs of stride 1, 49 products for 225: +-9/32, +-27/32, +-7/4 and infinity. Off by 1.9 % with products of BF16,
 *   less than 4x4 and its usual points 0, +-1, +-2 and infinity; by 1e-6 in F32.
 * - 4x4 outputs of stride 1, 36 products for 144: 0, +-5/8, +-3/2 and infinity. For products of bytes, which would be off by
 *   2 to 6 % with 5x5 outputs, and are by 0.8 to 2.6 % (activations of a trained network).
 * - 3x3 outputs of stride 2, 49 products for 81: the even pixels take filters of two taps, with the points 0, 1, -1 and
 *   infinity, the odd ones filters of one.
 *
 * For products of bytes a transformed pixel is stored in steps of its largest channel / 127, and 128 more; a transformed
 * filter in steps of each output's largest weight / 127.
 *
 * One table of bodies per instruction set, in a file of its own; winograd.c does the rest. */
#ifndef RCNN_BACKEND_CPU_WINOGRAD_H
#define RCNN_BACKEND_CPU_WINOGRAD_H

#include "backend/cpu/product.h"

#define RCNN_WINOGRAD_5X5_A 0.28125f /* the points +-A, +-B, +-C and infinity */
#define RCNN_WINOGRAD_5X5_B 0.84375f
#define RCNN_WINOGRAD_5X5_C 1.75f
#define RCNN_WINOGRAD_4X4_A 0.625f /* the points 0, +-A, +-B and infinity */
#define RCNN_WINOGRAD_4X4_B 1.5f

#define RCNN_WINOGRAD_IN_MAX       7  /* inputs of a tile along an axis  */
#define RCNN_WINOGRAD_OUT_MAX      5  /* outputs of a tile along an axis */
#define RCNN_WINOGRAD_PRODUCTS_MAX 49 /* in * in products a channel      */
#define RCNN_WINOGRAD_OUTPUTS_MAX  25 /* out * out                       */

typedef struct rcnn_winograd_tile {
    int32_t in, out, stride;
    /* G g G' of the filter from input i to output o: in * in elements. */
    void (*filter)(const rcnn_op *op, int32_t o, int32_t i, float *element);
} rcnn_winograd_tile;

extern const rcnn_winograd_tile rcnn_winograd_5x5, rcnn_winograd_4x4, rcnn_winograd_3x3_stride2;

/* Where the transformed inputs of a tile go: product p of channel c is v[p * stride + c]; of bytes, a step of product p is
 * step[p * step_stride]. */
typedef struct rcnn_winograd_inputs {
    void *v;
    size_t stride;
    float *step;
    size_t step_stride;
    float *work; /* of bytes: [products][work_stride] to work with */
    size_t work_stride;
} rcnn_winograd_inputs;

typedef struct rcnn_winograd_body {
    const rcnn_winograd_tile *tile;
    const rcnn_product_body *product; /* multiplies for as many tiles at once as it has rows */
    int32_t block_tiles;              /* of 256 channels that a thread works on between passes over the filters */
    /* B' d B of one tile: pixel[in * in] point at its inputs, row after row. */
    void (*gather)(rcnn_dtype type, const void *const *pixel, int32_t channels, const rcnn_winograd_inputs *to);
    /* A' m A of one tile: product p of channel c is m[p * stride + c / PANEL * panel_stride + c % PANEL]. pixel[out * out] and
     * residual[out * out] point at the tile's outputs, as do scale and bias of `how` at the first of `channels`; residual
     * NULL = none. */
    void (*scatter)(const rcnn_product_store *how, const float *m, size_t stride, size_t panel_stride, int32_t channels,
                    const void *const *residual, void *const *pixel);
} rcnn_winograd_body;

/* The bodies of one kind of products. */
typedef struct rcnn_winograd_bodies {
    rcnn_winograd_body stride1, stride2;
} rcnn_winograd_bodies;

extern const rcnn_winograd_bodies rcnn_winograd_avx2;   /* only with RCNN_CPU_AVX2_BODY, see CMakeLists.txt        */
extern const rcnn_winograd_bodies rcnn_winograd_avx512; /* only with RCNN_CPU_AVX512_BODY                          */
extern const rcnn_winograd_bodies rcnn_winograd_bf16;   /* only with RCNN_CPU_BF16_BODY; wants AVX512-BF16         */
extern const rcnn_winograd_bodies rcnn_winograd_vnni;   /* only with RCNN_CPU_VNNI_BODY; wants AVX512-VNNI         */

/* The body for a CONV on this processor, NULL when it is better done directly: F32 from AVX2 on; BF16 and bytes where the
 * processor has their products and not AMX, which is faster still. */
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
