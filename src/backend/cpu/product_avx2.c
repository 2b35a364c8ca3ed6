/* Matrix products in F32 for AVX2 and FMA; see product.h. */
#include "backend/cpu/lanes_avx2.h"

#define ROWS 3 /* x 4 vectors of sums, 1 of features: 13 of 16 registers, weights from memory */

#include "backend/cpu/product_vector.h"

const rcnn_product_body rcnn_product_avx2 = {
    .features = RCNN_F32,
    .weights = RCNN_F32,
    .rows = ROWS,
    .multiply = multiply,
    .finish = finish,
    .dots = dots,
    .total = total,
};
