/* Winograd bodies for AVX512-VNNI, the products of bytes summed in integers; see winograd.h. */
#include "backend/cpu/lanes_avx512.h"

#define BYTE_FACTORS 1

#include "backend/cpu/winograd_vector.h"

#define BLOCK 28 /* transformed inputs: 0.26 MB */

BODIES(rcnn_winograd_vnni, 4x4, rcnn_product_vnni, BLOCK)
