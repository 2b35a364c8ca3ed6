/* Winograd bodies in F32 for AVX-512; see winograd.h. */
#include "backend/cpu/lanes_avx512.h"
#include "backend/cpu/winograd_vector.h"

#define BLOCK 14 /* transformed inputs: 0.7 MB */

BODIES(rcnn_winograd_avx512, 5x5, rcnn_product_avx512, BLOCK)
