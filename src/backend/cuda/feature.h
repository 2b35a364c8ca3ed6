/* What the ops on feature maps have in common on the host side: one element type for what they read and write. */
#ifndef RCNN_BACKEND_CUDA_FEATURE_H
#define RCNN_BACKEND_CUDA_FEATURE_H

#include "backend/cuda/cuda.h"

/* Element type of output 0 and of the first `inputs` inputs. UNSUPPORTED names the op when they differ or are none of
 * ours. */
rcnn_status rcnn_cuda_feature_type(const rcnn_graph *graph, const rcnn_op *op, int32_t inputs, rcnn_cuda_type *out,
                                   rcnn_error *err);

#endif
