/* RoI features (spec 6, 13.8, 14.5). ONNX's RoiAlign reads one map, so RoIs are divided by level, pooled level by level, and
 * their order is restored after the head, where a row is small.
 * ONNX's half_pixel is the aligned form, output_half_pixel the other one with its smallest side of 1. */
#include <math.h>

#include "export/onnx_network.h"

#define POOLED_LEVELS 4

/* Level 0..3 before clamping, of a RoI whose sqrt(area) is side: the backends' arithmetic. */
static float level_of(rcnn_level_rule rule, float side)
{
    switch (rule) {
    case RCNN_LEVEL_MMDET:
        return floorf(log2f(side / 56.0f + 1e-6f));
    case RCNN_LEVEL_TORCHVISION:
        return floorf(4.0f + log2f(side / 224.0f) + 1e-6f) - 2.0f;
    case RCNN_LEVEL_DETECTRON2:
        return floorf(4.0f + log2f(side / 224.0f + 1e-8f)) - 2.0f;
    }
    return 0;
}

/* The smallest side, as float, that the rule gives a level: halving intervals until two neighbouring floats are left. ONNX
 * has no log2; comparing sides with exact borders gives the rule's own answer for every float, whatever a runtime's log. */
static float first_side(rcnn_level_rule rule, float level)
{
    float below = 1.0f, at = 65536.0f;
    while (nextafterf(below, at) < at) {
        const float middle = below + (at - below) * 0.5f;
        if (level_of(rule, middle) >= level) {
            at = middle;
        } else {
            below = middle;
        }
    }
    return at;
}

/* [R] whether side is in level l. */
static rcnn_onnx_value in_level(rcnn_onnx_network *n, rcnn_onnx_value side, int32_t l)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value low = "", high = "";
    if (l > 0) {
        low = RCNN_ONNX_OP(g, "GreaterOrEqual", side, rcnn_onnx_scalar(g, first_side(n->config->level_rule, (float)l)));
    }
    if (l < POOLED_LEVELS - 1) {
        high = RCNN_ONNX_OP(g, "Less", side, rcnn_onnx_scalar(g, first_side(n->config->level_rule, (float)(l + 1))));
    }
    return l == 0 ? high : l == POOLED_LEVELS - 1 ? low : RCNN_ONNX_OP(g, "And", low, high);
}

rcnn_onnx_rois rcnn_onnx_assign_levels(rcnn_onnx_network *n, rcnn_onnx_value boxes)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_rois rois = {.boxes = boxes};
    rcnn_onnx_value width = RCNN_ONNX_OP(g, "Sub", rcnn_onnx_column(g, boxes, 2), rcnn_onnx_column(g, boxes, 0));
    rcnn_onnx_value height = RCNN_ONNX_OP(g, "Sub", rcnn_onnx_column(g, boxes, 3), rcnn_onnx_column(g, boxes, 1));
    rcnn_onnx_value side = RCNN_ONNX_OP(g, "Sqrt", RCNN_ONNX_OP(g, "Mul", width, height));
    for (int32_t l = 0; l < POOLED_LEVELS; l++) {
        rois.members[l] = rcnn_onnx_where(g, in_level(n, side, l));
    }
    /* Sorting the RoIs' numbers finds where each stands. As float: every runtime sorts those, and they are exact. */
    rcnn_onnx_value order = rcnn_onnx_op(g, "Concat", rois.members, POOLED_LEVELS), sorted[2];
    rcnn_onnx_int(g, "axis", 0);
    rcnn_onnx_value count = rcnn_onnx_dims_of(g, boxes, 0, 1); /* not order's: runtimes know a bound for this one */
    order = RCNN_ONNX_OP(g, "Cast", order);
    rcnn_onnx_int(g, "to", RCNN_ONNX_FLOAT);
    rcnn_onnx_op_outputs(g, "TopK", (const rcnn_onnx_value[]){order, count}, 2, sorted, 2);
    rcnn_onnx_int(g, "axis", 0);
    rcnn_onnx_int(g, "largest", 0);
    rois.inverse = sorted[1];
    return rois;
}

rcnn_onnx_value rcnn_onnx_roi_features(rcnn_onnx_network *n, const rcnn_onnx_rois *rois, int32_t bins)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value features[POOLED_LEVELS];
    for (int32_t l = 0; l < POOLED_LEVELS; l++) {
        rcnn_onnx_value boxes = rcnn_onnx_rows(g, rois->boxes, rois->members[l]);
        rcnn_onnx_value image = RCNN_ONNX_OP(g, "ConstantOfShape", RCNN_ONNX_OP(g, "Shape", rois->members[l]));
        rcnn_onnx_int_tensor(g, "value", 0);
        features[l] = RCNN_ONNX_OP(g, "RoiAlign", n->p[l], boxes, image);
        rcnn_onnx_text(g, "mode", "avg");
        rcnn_onnx_text(g, "coordinate_transformation_mode",
                       n->config->roi_aligned ? "half_pixel" : "output_half_pixel");
        rcnn_onnx_int(g, "output_height", bins);
        rcnn_onnx_int(g, "output_width", bins);
        rcnn_onnx_int(g, "sampling_ratio", n->config->roi_sampling);
        rcnn_onnx_float(g, "spatial_scale", 1.0f / (float)(4 << l));
    }
    rcnn_onnx_value all = rcnn_onnx_op(g, "Concat", features, POOLED_LEVELS);
    rcnn_onnx_int(g, "axis", 0);
    return all;
}
