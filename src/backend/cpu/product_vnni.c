/* Matrix products of U8 features and I8 weights, for AVX512-VNNI; see product.h. */
#include "backend/cpu/lanes_avx512.h"

#define ROWS        14 /* x 2 vectors of sums, 2 of weights: 30 of 32 registers */
#define U8_FEATURES 1

#include "backend/cpu/product_vector.h"

const rcnn_product_body rcnn_product_vnni = {
    .features = RCNN_U8,
    .weights = RCNN_I8,
    .rows = ROWS,
    .multiply = multiply,
    .finish = finish,
    .dots = dots,
    .total = total,
};
