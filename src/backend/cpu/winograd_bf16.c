/* Winograd bodies for AVX512-BF16, the products of BF16 summed in floats; see winograd.h. */
#include "backend/cpu/lanes_avx512.h"

#define TILES        14 /* x 2 vectors of sums, 2 of filters: 30 of 32 registers */
#define BF16_FACTORS 1

#include "backend/cpu/winograd_vector.h"

const rcnn_winograd_body rcnn_winograd_avx512_bf16 = {
    .factors = RCNN_BF16,
    .tiles = TILES,
    .block_tiles = 2 * TILES,
    .gather = gather,
    .multiply = multiply,
    .scatter = scatter,
};
