/* Our own convolution for Hopper (sm_90a) in fp16 and bf16: implicit GEMM by wgmma from tiles that the copy engine brings,
 * several feature maps of one layer geometry in one launch, and epilogues that libraries cannot fuse. conv_sm90.c
 * prepares, conv_sm90.cu computes; bench/results/cuda_notes.md has what was tried and measured. */
#ifndef RCNN_BACKEND_CUDA_CONV_SM90_H
#define RCNN_BACKEND_CUDA_CONV_SM90_H

#include <cuda.h>

#include "backend/cuda/launch.h"

#ifdef __cplusplus
extern "C" {
#endif

#define RCNN_SM90_SEGMENTS_MAX 5
#define RCNN_SM90_TILE_ROWS    128 /* output pixels of a tile */
#define RCNN_SM90_CHUNK        64  /* channels of a step: 128 bytes */
#define RCNN_SM90_PRED_OUT_MAX 16

typedef enum rcnn_sm90_epilogue {
    RCNN_SM90_STORE, /* dst = relu?(conv + bias (+ residual)), half                                             */
    RCNN_SM90_PRED,  /* pred = w2 . round(relu(conv + bias)) + b2, float; all 256 outputs in one tile            */
    RCNN_SM90_DOT    /* deconvolution tap: mask = sigmoid(w[class] . relu(conv + bias) + b[class]), float        */
} rcnn_sm90_epilogue;

typedef enum rcnn_sm90_residual {
    RCNN_SM90_RESIDUAL_NONE,
    RCNN_SM90_RESIDUAL_SAME,     /* of the output's size; may be the output itself                          */
    RCNN_SM90_RESIDUAL_UPSAMPLED /* of half the output's size in both directions, nearest; bh and bw even   */
} rcnn_sm90_residual;

/* One feature map. A tile is `bn` images x `bh` rows x `bw` columns of outputs, at most RCNN_SM90_TILE_ROWS together. */
typedef struct rcnn_sm90_segment {
    CUtensorMap src;            /* [n][height][width][channels], box bn x bh x bw x 64                 */
    CUtensorMap weights;        /* [out][taps * channels], box tile_out (/ 2 in clusters) x 64          */
    CUtensorMap narrow_weights; /* the same with box 64 / 2 x 64; STORE with tile_out > 64 */
    CUtensorMap dst;            /* [n][out_height][out_width][out], box as src; STORE only              */
    CUtensorMap residual;       /* box as dst, or a quarter of it for UPSAMPLED                        */
    const float *bias;
    float *pred; /* PRED: [n][out_height][out_width][pred_out]                                   */
    int32_t n, out_height, out_width;
    int32_t bn, bh, bw, tiles_h, tiles_w;
} rcnn_sm90_segment;

typedef struct rcnn_sm90_conv {
    rcnn_sm90_segment segment[RCNN_SM90_SEGMENTS_MAX];
    int32_t segment_count;
    int32_t bf16;
    int32_t tile_out; /* 64, 128 or 256; outputs = out_tiles * tile_out */
    int32_t out_tiles, out;
    int32_t chunks; /* channels / 64 */
    int32_t kh, kw, stride, pad, relu;
    rcnn_sm90_epilogue epilogue;
    rcnn_sm90_residual residual;
    const int32_t *counts; /* live images of segment 0 = sum of counts[0..count_images), or NULL */
    int32_t count_images;
    /* PRED */
    const void *pred_weights; /* [16][256] half, rows from pred_out on are zero */
    const float *pred_bias;   /* [pred_out] */
    int32_t pred_out;
    /* DOT: rows of segment 0 are [rois * side * side]; outputs are 4 taps of 256 */
    const float *dot_weights, *dot_bias; /* [classes][256], [classes] */
    const int32_t *labels;               /* [count_images][capacity]  */
    float *masks;                        /* packed [rois][2*side][2*side] */
    int32_t side, capacity, classes, agnostic, channel_offset;
    rcnn_cuda_fault_place fault;
} rcnn_sm90_conv;

/* Blocks = multiprocessors of the device. */
cudaError_t rcnn_cuda_conv_sm90_launch(const rcnn_sm90_conv *p, int32_t multiprocessors, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
