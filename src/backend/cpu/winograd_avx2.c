/* Winograd bodies in F32 for AVX2 and FMA; see winograd.h. */
#include "backend/cpu/lanes_avx2.h"
#include "backend/cpu/winograd_vector.h"

const rcnn_winograd_body rcnn_winograd_avx2 = {
    .product = &rcnn_product_avx2,
    .block_tiles = 12, /* transformed inputs: 0.6 MB */
    .gather = gather,
    .scatter = scatter,
};
