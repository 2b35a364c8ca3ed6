/* 1x1 convolutions of stride 1 with a residual and fully connected layers, as matrix products of our own: oneDNN takes two to
 * three times as long for the addition as for the product it follows, and the box head's first layer 8 to 15 % longer. */
#ifndef RCNN_BACKEND_CPU_DENSE_H
#define RCNN_BACKEND_CPU_DENSE_H

#include "backend/cpu/product.h"

/* The product for a CONV or an FC on this processor, NULL when it is left to oneDNN. */
const rcnn_product_body *rcnn_dense_choose_conv(const rcnn_backend *backend, const rcnn_graph *graph,
                                                const rcnn_op *op);
const rcnn_product_body *rcnn_dense_choose_fc(const rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op);
/* As rcnn_cpu_prepare_conv and rcnn_cpu_prepare_fc. */
rcnn_status rcnn_dense_prepare(rcnn_backend *backend, const rcnn_product_body *body, const rcnn_graph *graph,
                               const rcnn_op *op, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

#endif
