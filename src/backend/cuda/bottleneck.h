/* ResNet blocks that one kernel runs (bottleneck.cu); see bottleneck.c. */
#ifndef RCNN_BACKEND_CUDA_BOTTLENECK_H
#define RCNN_BACKEND_CUDA_BOTTLENECK_H

#include "backend/cuda/cuda.h"

/* Number of ops from `first` on that are such a block: [shortcut,] conv1, conv2, conv3; or 0. The kernel does not need the
 * memory of the values between them. */
int32_t rcnn_cuda_match_bottleneck(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first);
/* The kernel of a run that rcnn_cuda_match_bottleneck found. */
rcnn_status rcnn_cuda_prepare_bottleneck(rcnn_backend *backend, const rcnn_graph *graph, int32_t first, int32_t count,
                                         rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err);

#endif
