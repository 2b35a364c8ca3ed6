/* Stage 4: region proposals (spec sections 5, 13.5-13.7, 14.4). */
#include "stages/stages.h"

#include <math.h>
#include <stdio.h>

/* Base anchors about (0,0), computed in double and rounded once to float: for ratios 0.5, 1, 2 this gives the bits of all
 * three frameworks, which compute some of it in float32. rint rounds half to even, as torch.round does. */
static void fill_anchors(const rcnn_builder *b, rcnn_op *op)
{
    op->u.rpn_select.level_count = RCNN_LEVELS_MAX;
    op->u.rpn_select.anchor_count = 3;
    for (int32_t l = 0; l < RCNN_LEVELS_MAX; l++) {
        const int32_t *feature = b->graph->values[b->p[l]].desc.dim;
        for (int32_t a = 0; a < 3; a++) {
            double ratio = b->config->anchor_ratios[a];
            double half_w = b->config->anchor_sizes[l] / sqrt(ratio) / 2;
            double half_h = b->config->anchor_sizes[l] * sqrt(ratio) / 2;
            if (b->config->anchor_round) {
                half_w = rint(half_w);
                half_h = rint(half_h);
            }
            float *base = op->u.rpn_select.base[l][a];
            base[0] = (float)-half_w;
            base[1] = (float)-half_h;
            base[2] = (float)half_w;
            base[3] = (float)half_h;
        }
        int ratio_step = b->config->anchor_step == RCNN_ANCHOR_STEP_RATIO;
        op->u.rpn_select.step_x[l] = (float)(ratio_step ? b->options->width / feature[2] : 4 << l);
        op->u.rpn_select.step_y[l] = (float)(ratio_step ? b->options->height / feature[1] : 4 << l);
    }
}

/* Convolutions of one level down to [N,H,W,15]. */
static rcnn_status add_head(rcnn_builder *b, int32_t level, rcnn_value_id *pred)
{
    const rcnn_conv_options relu = {.relu = 1, .residual = RCNN_NO_VALUE, .rows = RCNN_NO_VALUE};
    const rcnn_conv_options plain = {.relu = 0, .residual = RCNN_NO_VALUE, .rows = RCNN_NO_VALUE, .prediction = 1};
    char layer[RCNN_LAYER_NAME_MAX];
    char name[RCNN_LAYER_TEXT_MAX];
    rcnn_value_id x = b->p[level];
    for (int32_t i = 0; i < b->config->rpn_convs; i++) {
        snprintf(layer, sizeof layer, "rpn.conv%d", i);
        snprintf(name, sizeof name, "rpn_conv%d_%d", i, level + 2);
        RCNN_TRY(rcnn_build_conv(b, RCNN_STAGE_rpn, layer, x, name, &relu, &x));
    }
    snprintf(name, sizeof name, "rpn_pred%d", level + 2);
    return rcnn_build_conv(b, RCNN_STAGE_rpn, "rpn.pred", x, name, &plain, pred);
}

static rcnn_status add_select(rcnn_builder *b, const rcnn_value_id *pred, rcnn_value_id candidates[4],
                              int32_t *capacity)
{
    const int32_t n = b->options->batch;
    rcnn_op op = rcnn_build_op(RCNN_OP_RPN_SELECT, RCNN_STAGE_rpn, "rpn.select");
    fill_anchors(b, &op);
    op.u.rpn_select.rank = b->config->rpn_rank;
    op.u.rpn_select.keep_order = b->config->rpn_keep_order;
    op.u.rpn_select.pre_nms = b->config->rpn_pre_nms;
    op.u.rpn_select.min_size = (float)b->config->rpn_min_size;
    op.u.rpn_select.min_inclusive = b->config->rpn_min_inclusive;
    op.u.rpn_select.decode = (rcnn_decode){
        .weight = {1, 1, 1, 1}, .multiply = b->config->delta_multiply, .clamp_both = b->config->clamp_both};
    int64_t total = 0;
    for (int32_t l = 0; l < RCNN_LEVELS_MAX; l++) {
        rcnn_build_input(&op, pred[l]);
        const int32_t *dim = b->graph->values[pred[l]].desc.dim;
        int64_t anchors = (int64_t)dim[1] * dim[2] * 3;
        total += anchors < b->config->rpn_pre_nms ? anchors : b->config->rpn_pre_nms;
    }
    *capacity = (int32_t)total;
    const int32_t boxes[3] = {n, *capacity, 4};
    RCNN_TRY(rcnn_build_output(b, &op, "rpn_boxes", RCNN_F32, 3, boxes, &candidates[0]));
    RCNN_TRY(rcnn_build_output(b, &op, "rpn_scores", RCNN_F32, 2, boxes, &candidates[1]));
    RCNN_TRY(rcnn_build_output(b, &op, "rpn_groups", RCNN_I32, 2, boxes, &candidates[2]));
    RCNN_TRY(rcnn_build_output(b, &op, "rpn_counts", RCNN_I32, 1, boxes, &candidates[3]));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

rcnn_status rcnn_stage_rpn(rcnn_builder *b)
{
    rcnn_value_id pred[RCNN_LEVELS_MAX];
    for (int32_t l = 0; l < RCNN_LEVELS_MAX; l++) {
        RCNN_TRY(add_head(b, l, &pred[l]));
    }
    rcnn_value_id candidates[4];
    int32_t capacity;
    RCNN_TRY(add_select(b, pred, candidates, &capacity));

    rcnn_op op = rcnn_build_op(RCNN_OP_NMS, RCNN_STAGE_rpn, "rpn.nms");
    op.u.nms.rule = b->config->nms_rule;
    op.u.nms.iou = (float)b->config->rpn_nms_iou;
    for (int32_t i = 0; i < 4; i++) {
        rcnn_build_input(&op, candidates[i]);
    }
    b->proposal_capacity = capacity < b->config->rpn_post_nms ? capacity : b->config->rpn_post_nms;
    const int32_t dim[3] = {b->options->batch, b->proposal_capacity, 4};
    RCNN_TRY(rcnn_build_output(b, &op, "proposals", RCNN_F32, 3, dim, &b->proposals));
    RCNN_TRY(rcnn_build_output(b, &op, "proposal_scores", RCNN_F32, 2, dim, NULL));
    RCNN_TRY(rcnn_build_output(b, &op, "proposal_groups", RCNN_I32, 2, dim, NULL));
    RCNN_TRY(rcnn_build_output(b, &op, "proposal_counts", RCNN_I32, 1, dim, &b->proposal_counts));
    RCNN_TRY(rcnn_graph_add_op(b->graph, &op, b->err));
    rcnn_graph_mark_output(b->graph, b->proposal_counts); /* how many proposals there were, for reports */
    return RCNN_OK;
}
