/* DECONV and MASK_LOGIT as one matrix product of our own: the upsampled features are summed up against the weights of the
 * predicted class while they are in registers and the first-level cache, and never stored. */
#ifndef RCNN_BACKEND_CPU_MASK_PRODUCT_H
#define RCNN_BACKEND_CPU_MASK_PRODUCT_H

#include "backend/cpu/product.h"

/* The product for a DECONV on this processor, NULL when it is left to oneDNN. */
const rcnn_product_body *rcnn_mask_product_choose(const rcnn_backend *backend, const rcnn_graph *graph,
                                                  const rcnn_op *op);
/* Of ops first (DECONV) and first+1 (the MASK_LOGIT that alone reads it); as rcnn_cpu_prepare_mask_tail. */
rcnn_status rcnn_mask_product_prepare(rcnn_backend *backend, const rcnn_product_body *body, const rcnn_graph *graph,
                                      int32_t first, rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

#endif
