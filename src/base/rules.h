/* The places where mmdetection, torchvision and detectron2 compute differently, as enumerations. The model config
 * holds one value of each, ops carry them to the backends: differences are data, never forks of the code.
 * RCNN_RULES lists every enumeration with its values; names in files and on the command line are the lower-case ones. */
#ifndef RCNN_BASE_RULES_H
#define RCNN_BASE_RULES_H

typedef enum rcnn_family {
    RCNN_FAMILY_MMDET2,
    RCNN_FAMILY_MMDET3,
    RCNN_FAMILY_TORCHVISION,
    RCNN_FAMILY_DETECTRON2
} rcnn_family;
typedef enum rcnn_style {
    RCNN_STYLE_PYTORCH,
    RCNN_STYLE_CAFFE
} rcnn_style; /* stride-2 conv of a bottleneck: 3x3 / first 1x1 */
typedef enum rcnn_block { RCNN_BLOCK_BASIC, RCNN_BLOCK_BOTTLENECK } rcnn_block;
typedef enum rcnn_channel_order { RCNN_CHANNELS_RGB, RCNN_CHANNELS_BGR } rcnn_channel_order;
/* Resize kernels: spec 2.3 OpenCV INTER_LINEAR u8, 14.2 Pillow BILINEAR u8, 13.3 float bilinear after normalising. */
typedef enum rcnn_resize { RCNN_RESIZE_OPENCV, RCNN_RESIZE_PILLOW, RCNN_RESIZE_FLOAT } rcnn_resize;
/* Target size: spec 2.2, 14.1, 13.2 new (double) and 13.2 old (float32). */
typedef enum rcnn_size_rule {
    RCNN_SIZE_MMDET,
    RCNN_SIZE_DETECTRON2,
    RCNN_SIZE_FLOOR,
    RCNN_SIZE_FLOOR_F32
} rcnn_size_rule;
/* Anchor step: the level's nominal stride, or floor(padded image / feature size) per axis (spec 13.5). */
typedef enum rcnn_anchor_step { RCNN_ANCHOR_STEP_STRIDE, RCNN_ANCHOR_STEP_RATIO } rcnn_anchor_step;
typedef enum rcnn_rank { RCNN_RANK_SIGMOID, RCNN_RANK_LOGIT } rcnn_rank; /* what RPN top-k and NMS sort by */
/* Batched NMS: mmcv's shifted coordinates up to 10000 candidates (5.8), torchvision's switch at 1000 boxes (13.7). */
typedef enum rcnn_nms_rule { RCNN_NMS_MMCV, RCNN_NMS_TORCHVISION } rcnn_nms_rule;
typedef enum rcnn_level_rule {
    RCNN_LEVEL_MMDET,
    RCNN_LEVEL_TORCHVISION,
    RCNN_LEVEL_DETECTRON2
} rcnn_level_rule; /* 6.1, 13.8, 14.5 */
/* Network to image coordinates: divide by f32(new/old) (2.2), times f32(old)/f32(new) (13.10), times f32(double old/new) (14.7). */
typedef enum rcnn_scale_rule { RCNN_SCALE_DIVIDE, RCNN_SCALE_RATIO_F32, RCNN_SCALE_RATIO_F64 } rcnn_scale_rule;
typedef enum rcnn_paste { RCNN_PASTE_GRID, RCNN_PASTE_PADDED } rcnn_paste; /* spec 10 and 13.11 */

#define RCNN_RULES(X)                                                                                                  \
    X(family, "mmdet2", "mmdet3", "torchvision", "detectron2")                                                         \
    X(style, "pytorch", "caffe")                                                                                       \
    X(block, "basic", "bottleneck")                                                                                    \
    X(channel_order, "rgb", "bgr")                                                                                     \
    X(resize, "opencv", "pillow", "float")                                                                             \
    X(size_rule, "mmdet", "detectron2", "floor", "floor_f32")                                                          \
    X(anchor_step, "stride", "ratio")                                                                                  \
    X(rank, "sigmoid", "logit")                                                                                        \
    X(nms_rule, "mmcv", "torchvision")                                                                                 \
    X(level_rule, "mmdet", "torchvision", "detectron2")                                                                \
    X(scale_rule, "divide", "ratio_f32", "ratio_f64")                                                                  \
    X(paste, "grid", "padded")

#endif
