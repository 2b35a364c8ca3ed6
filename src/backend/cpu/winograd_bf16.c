/* Winograd bodies for AVX512-BF16, the products of BF16 summed in floats; see winograd.h. */
#include "backend/cpu/lanes_avx512.h"

#define BF16_FACTORS 1

#include "backend/cpu/winograd_vector.h"

const rcnn_winograd_body rcnn_winograd_bf16 = {
    .product = &rcnn_product_bf16,
    .block_tiles = 14, /* transformed inputs: 0.35 MB */
    .gather = gather,
    .scatter = scatter,
};
