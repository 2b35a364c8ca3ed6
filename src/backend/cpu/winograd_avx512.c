/* Winograd bodies in F32 for AVX-512; see winograd.h. */
#include "backend/cpu/lanes_avx512.h"

#define TILES 14 /* x 2 vectors of sums, 2 of filters: 30 of 32 registers */

#include "backend/cpu/winograd_vector.h"

const rcnn_winograd_body rcnn_winograd_avx512 = {
    .factors = RCNN_F32,
    .tiles = TILES,
    .block_tiles = TILES,
    .gather = gather,
    .multiply = multiply,
    .scatter = scatter,
};
