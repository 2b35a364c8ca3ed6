/* Winograd bodies in F32 for AVX-512; see winograd.h. */
#include "backend/cpu/lanes_avx512.h"
#include "backend/cpu/winograd_vector.h"

const rcnn_winograd_body rcnn_winograd_avx512 = {
    .product = &rcnn_product_avx512,
    .block_tiles = 14, /* transformed inputs: 0.7 MB */
    .gather = gather,
    .scatter = scatter,
};
