/* Winograd bodies in F32 for AVX2 and FMA; see winograd.h. */
#include "backend/cpu/lanes_avx2.h"

#define TILES 3 /* x 4 vectors of sums, 1 of factors: 13 of 16 registers, filters from memory */

#include "backend/cpu/winograd_vector.h"

const rcnn_winograd_body rcnn_winograd_avx2 = {
    .factors = RCNN_F32,
    .tiles = TILES,
    .block_tiles = 4 * TILES,
    .gather = gather,
    .multiply = multiply,
    .scatter = scatter,
};
