/* 1x1 convolutions of stride 1 with a residual, as matrix products of our own: oneDNN takes two to three times as long for
 * the addition as for the product it follows. */
#ifndef RCNN_BACKEND_CPU_CONV_1X1_H
#define RCNN_BACKEND_CPU_CONV_1X1_H

#include "backend/cpu/product.h"

/* The product for a CONV on this processor, NULL when it is left to oneDNN. */
const rcnn_product_body *rcnn_conv_1x1_choose(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op);
/* As rcnn_cpu_prepare_conv. */
rcnn_status rcnn_conv_1x1_prepare(rcnn_backend *backend, const rcnn_product_body *body, const rcnn_graph *graph,
                                  const rcnn_op *op, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

#endif
