/* The network's first convolution and the pooling behind it as one kernel: the widest map of all, 69 MB in floats, is never
 * stored. */
#ifndef RCNN_BACKEND_CPU_STEM_H
#define RCNN_BACKEND_CPU_STEM_H

#include "backend/cpu/product.h"

/* 2 when ops first and first+1 are a 7x7 CONV of stride 2 on an image and the 3x3 MAXPOOL of stride 2 that alone reads
 * it, and this processor has a product for them; else 0. */
int32_t rcnn_stem_match(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first);
/* Of the two ops; as rcnn_cpu_prepare_conv. */
rcnn_status rcnn_stem_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, rcnn_kernel **out,
                              size_t *scratch_bytes, rcnn_error *err);

#endif
