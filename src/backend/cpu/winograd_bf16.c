/* Winograd bodies for AVX512-BF16, the products of BF16 summed in floats; see winograd.h. */
#include "backend/cpu/lanes_avx512.h"

#define BF16_FACTORS 1

#include "backend/cpu/winograd_vector.h"

#define BLOCK 14 /* transformed inputs: 0.35 MB */

BODIES(rcnn_winograd_bf16, 5x5, rcnn_product_bf16, BLOCK)
