/* Descriptions of arrays for Hopper's copy engine: half values, boxes of 64 channels in the 128-byte swizzle. */
#ifndef RCNN_BACKEND_CUDA_TENSOR_MAP_H
#define RCNN_BACKEND_CUDA_TENSOR_MAP_H

#include <cuda.h>

#include "backend/cuda/cuda.h"

/* base [dim0][dim1][dim2][dim3] (NHWC), box bn x bh x bw x 64 channels, taking every step-th row and column. What lies
 * outside reads as zero and is not written. base 16-byte aligned, dim[3] a multiple of 8. DEVICE. */
rcnn_status rcnn_cuda_map_images(CUtensorMap *map, bool bf16, const void *base, const int32_t dim[4], int32_t bn,
                                 int32_t bh, int32_t bw, int32_t step, rcnn_error *err);
/* The same, but for windows of one pixel: the map is made of every step-th row and column alone, so that the copy engine
 * does not fetch those between (measured: 54 MB where 26 are wanted for a 1x1 of stride 2). */
rcnn_status rcnn_cuda_map_grid(CUtensorMap *map, bool bf16, const void *base, const int32_t dim[4], int32_t bn,
                               int32_t bh, int32_t bw, int32_t step, rcnn_error *err);
/* base [rows][columns], box box_rows x 64 columns. */
rcnn_status rcnn_cuda_map_rows(CUtensorMap *map, bool bf16, const void *base, int64_t rows, int64_t columns,
                               int32_t box_rows, rcnn_error *err);

#endif
