/* Winograd bodies in F32 for AVX2 and FMA; see winograd.h. */
#include "backend/cpu/lanes_avx2.h"
#include "backend/cpu/winograd_vector.h"

#define BLOCK 12 /* transformed inputs: 0.6 MB */

BODIES(rcnn_winograd_avx2, 5x5, rcnn_product_avx2, BLOCK)
