/* From a model to a graph: each stage adds its ops, in the order of stages.def. No backend and no execution here. */
#ifndef RCNN_STAGES_STAGES_H
#define RCNN_STAGES_STAGES_H

#include "graph/graph.h"
#include "model/model.h"

typedef struct rcnn_build_options {
    int32_t batch;               /* images, 1 .. RCNN_BATCH_MAX                             */
    int32_t width, height;       /* padded network input, multiples of config.size_divisor  */
    float score_threshold;       /* detections need a higher score                          */
    int32_t max_detections;      /* per image, >= 1                                         */
    int32_t masks;               /* 0: no mask head (always so for models without one)      */
    const uint8_t *label_wanted; /* [class_count] 0/1 or NULL = all; must outlive the graph */
    rcnn_precision precision;    /* FP16, BF16: activations are values of that type; INT8: see below; AUTO (0) = FP32 */
    int32_t bf16_rest;           /* INT8: activations without a scale are BF16 (the backend has it), else F32 */
    int32_t image_channels;      /* of the preprocessed image: 0 = 3, or 4, the last one zero        */
    int32_t preprocess_only;     /* 1: the graph ends with the value "image"                         */
} rcnn_build_options;

/* Fills an initialised, empty graph. The graph borrows the model's weights. In half precision the image and everything
 * that convolutions, inner products, poolings and RoIAlign make is F16 or BF16; what boxes, scores and masks are decided
 * by (rpn_pred, box_pred and all after them) is F32. With INT8 an activation is U8 or I8 where the model has a scale for
 * its name (rcnn_model_activation), poolings hand on what they read, the image and the rest are BF16 or F32. Value names are
 * part of the contract with files of calibrated models (src/model/activations.c),
 * tests and rcnn_session_read_value: image, c2..c5, p2..p6, rpn_pred2..6, rpn_{boxes,scores,groups,counts},
 * proposals, proposal_{scores,groups,counts}, box_features, box_pred, cand_{boxes,scores,labels,counts},
 * nms_{boxes,scores,labels,counts}, det_{boxes,scores,labels,counts}, mask_rois, mask_features, masks. */
rcnn_status rcnn_stages_build(const rcnn_model *model, const rcnn_build_options *options, rcnn_graph *graph,
                              rcnn_error *err);

/* The size rule of the config and everything that follows from it for one image: fills net_width, net_height, scale and
 * ratio of *image, whose view is set. long_side and short_side bound the resized sides, in pixels.
 * Source: spec sections 2.2, 13.2, 14.1. */
void rcnn_preprocess_size(const rcnn_config *config, int32_t long_side, int32_t short_side, rcnn_frame_image *image);

/* ------------------------------------------------- between the stage files */

typedef struct rcnn_builder {
    const rcnn_model *model;
    const rcnn_config *config;
    const rcnn_build_options *options;
    rcnn_graph *graph;
    rcnn_error *err;
    rcnn_dtype activation; /* element type of features; INT8: of those in floating point */
    /* values that stages hand on */
    rcnn_value_id image, c[4], p[RCNN_LEVELS_MAX];
    rcnn_value_id proposals, proposal_counts;
    rcnn_value_id box_features, box_pred;
    rcnn_value_id mask_rois, det_labels, det_counts;
    int32_t proposal_capacity, detection_capacity;
} rcnn_builder;

#define STAGE(name, help) rcnn_status rcnn_stage_##name(rcnn_builder *b);
#define TIMED(name, help)
#include "stages/stages.def"
#undef TIMED
#undef STAGE

/* An op of a stage with nothing in it yet. */
rcnn_op rcnn_build_op(rcnn_op_kind kind, rcnn_stage stage, const char *name);
/* Adds a value of the given dims and makes it the op's next output. */
rcnn_status rcnn_build_output(rcnn_builder *b, rcnn_op *op, const char *name, rcnn_dtype dtype, int32_t rank,
                              const int32_t *dim, rcnn_value_id *out);
/* The same for features, in the type that the precision and the model give a value of that name. */
rcnn_status rcnn_build_features(rcnn_builder *b, rcnn_op *op, const char *name, int32_t rank, const int32_t *dim,
                                rcnn_value_id *out);
/* Features of the type and scale of the op's first input. */
rcnn_status rcnn_build_features_like(rcnn_builder *b, rcnn_op *op, const char *name, int32_t rank, const int32_t *dim,
                                     rcnn_value_id *out);
void rcnn_build_input(rcnn_op *op, rcnn_value_id value);
rcnn_status rcnn_build_layer(const rcnn_builder *b, const char *name, const rcnn_layer **out);

typedef struct rcnn_conv_options {
    int32_t relu;
    rcnn_value_id residual; /* RCNN_NO_VALUE = none */
    rcnn_value_id rows;     /* counts of packed rows, or RCNN_NO_VALUE */
    int32_t prediction;     /* 1: the output is F32 in every precision */
} rcnn_conv_options;

/* conv of a model layer with padding kernel/2: src -> value `name`. */
rcnn_status rcnn_build_conv(rcnn_builder *b, rcnn_stage stage, const char *layer, rcnn_value_id src, const char *name,
                            const rcnn_conv_options *options, rcnn_value_id *out);

#endif
