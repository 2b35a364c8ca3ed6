/* Runs of ops that Hopper's own convolution takes; see conv_sm90.c. Single convolutions get there as the engine "wgmma"
 * of conv.h. */
#ifndef RCNN_BACKEND_CUDA_CONV_SM90_OPS_H
#define RCNN_BACKEND_CUDA_CONV_SM90_OPS_H

#include "backend/cuda/cuda.h"

/* Number of ops from `first` on that become one launch (2 ..), or 0. They do not need the memory between them. */
int32_t rcnn_sm90_match(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first);
/* The kernel of a run that rcnn_sm90_match found. */
rcnn_status rcnn_sm90_prepare(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                              rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

#endif
