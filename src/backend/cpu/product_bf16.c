/* Matrix products of BF16 summed in floats, for AVX512-BF16; see product.h. */
#include "backend/cpu/lanes_avx512.h"

#define ROWS          14 /* x 2 vectors of sums, 2 of weights: 30 of 32 registers */
#define BF16_FEATURES 1

#include "backend/cpu/product_vector.h"

const rcnn_product_body rcnn_product_bf16 = {
    .features = RCNN_BF16,
    .weights = RCNN_BF16,
    .rows = ROWS,
    .multiply = multiply,
    .finish = finish,
    .dots = dots,
    .total = total,
};
