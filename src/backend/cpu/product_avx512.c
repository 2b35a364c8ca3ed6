/* Matrix products in F32 for AVX-512; see product.h. */
#include "backend/cpu/lanes_avx512.h"

#define ROWS 14 /* x 2 vectors of sums, 2 of weights: 30 of 32 registers */

#include "backend/cpu/product_vector.h"

const rcnn_product_body rcnn_product_avx512 = {
    .features = RCNN_F32,
    .weights = RCNN_F32,
    .rows = ROWS,
    .multiply = multiply,
    .finish = finish,
    .dots = dots,
    .total = total,
};
