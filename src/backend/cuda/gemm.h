/* Matrix products through cuBLASLt, what FC and DECONV are made of. */
#ifndef RCNN_BACKEND_CUDA_GEMM_H
#define RCNN_BACKEND_CUDA_GEMM_H

#include "backend/cuda/conv.h"

/* dst [m][n] = relu?(src [m][k] x weights [n][k], transposed, (+ bias [n])), all row after row, summed in float. */
typedef struct rcnn_cuda_gemm_want {
    int32_t m, n, k;
    rcnn_cuda_type type, dst_type;  /* of src and weights; of dst: the same or F32            */
    rcnn_precision precision;       /* FP32 or TF32 of float factors; no meaning for halves   */
    const void *weights;            /* device memory of type                                  */
    const rcnn_op_weights *bias_of; /* whose bias; NULL: none                                 */
    int32_t relu;
    int32_t src_alignment; /* bytes that src addresses are multiples of, a power of two */
    const char *name;      /* the op's                                                  */
} rcnn_cuda_gemm_want;

/* A run that reads call->src and writes call->dst. With options.tune the fastest of cuBLASLt's proposals, else the
 * remembered one or the first. Where cuBLASLt has none, conv_direct.cu does it. */
rcnn_status rcnn_cuda_gemm_prepare(rcnn_backend *backend, const rcnn_cuda_gemm_want *want, rcnn_cuda_run **out,
                                   rcnn_error *err);

#endif
