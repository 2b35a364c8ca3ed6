/* Stage 7: detections from the box head's numbers: softmax, threshold, decoding, suppression per class (spec sections 7, 8, 13.9,
 * 14.6). */
#include "stages/stages.h"

#define CANDIDATES_MAX (1 << 28) /* of one image; 4 coordinates each are counted in int32_t */

/* Candidates one image can have: softmax values above t are fewer than 1/t a row; one more for rounding. */
static rcnn_status candidate_capacity(const rcnn_builder *b, int32_t *out)
{
    int64_t per_roi = b->config->class_count;
    if (b->options->score_threshold > 0 && 1.0 / (double)b->options->score_threshold + 1 < (double)per_roi) {
        per_roi = (int64_t)(1.0 / (double)b->options->score_threshold) + 1;
    }
    const int64_t total = b->proposal_capacity * per_roi;
    if (total > CANDIDATES_MAX) {
        return rcnn_fail(b->err, RCNN_ERR_LIMIT,
                         "graph: want at most %d detection candidates an image, got %d proposals with %lld scores each",
                         CANDIDATES_MAX, b->proposal_capacity, (long long)per_roi);
    }
    *out = (int32_t)total;
    return RCNN_OK;
}

static rcnn_status add_select(rcnn_builder *b, rcnn_value_id candidates[4], int32_t capacity)
{
    const rcnn_config *config = b->config;
    rcnn_op op = rcnn_build_op(RCNN_OP_BOX_SELECT, RCNN_STAGE_box_post, "box.select");
    op.u.box_select.class_count = config->class_count;
    op.u.box_select.background_first = config->background_first;
    op.u.box_select.agnostic = config->agnostic_box;
    op.u.box_select.delta_classes = config->agnostic_box ? 1 : config->class_count + (config->background_first ? 1 : 0);
    op.u.box_select.score_threshold = b->options->score_threshold;
    op.u.box_select.min_size = (float)config->box_min_size;
    op.u.box_select.rescale_first = config->rescale_first;
    op.u.box_select.label_wanted = b->options->label_wanted;
    op.u.box_select.decode.multiply = config->delta_multiply;
    op.u.box_select.decode.clamp_both = config->clamp_both;
    for (int32_t k = 0; k < 4; k++) {
        double weight = config->delta_weights[k];
        op.u.box_select.decode.weight[k] = (float)(config->delta_multiply ? 1.0 / weight : weight);
    }
    rcnn_build_input(&op, b->box_pred);
    rcnn_build_input(&op, b->proposals);
    rcnn_build_input(&op, b->proposal_counts);
    const int32_t dim[3] = {b->options->batch, capacity, 4};
    RCNN_TRY(rcnn_build_output(b, &op, "cand_boxes", RCNN_F32, 3, dim, &candidates[0]));
    RCNN_TRY(rcnn_build_output(b, &op, "cand_scores", RCNN_F32, 2, dim, &candidates[1]));
    RCNN_TRY(rcnn_build_output(b, &op, "cand_labels", RCNN_I32, 2, dim, &candidates[2]));
    RCNN_TRY(rcnn_build_output(b, &op, "cand_counts", RCNN_I32, 1, dim, &candidates[3]));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

static rcnn_status add_nms(rcnn_builder *b, const rcnn_value_id candidates[4], rcnn_value_id kept[4])
{
    rcnn_op op = rcnn_build_op(RCNN_OP_NMS, RCNN_STAGE_box_post, "box.nms");
    op.u.nms.rule = b->config->nms_rule;
    op.u.nms.iou = (float)b->config->box_nms_iou;
    op.u.nms.first_group = b->config->background_first ? 1 : 0;
    for (int32_t i = 0; i < 4; i++) {
        rcnn_build_input(&op, candidates[i]);
    }
    const int32_t dim[3] = {b->options->batch, b->detection_capacity, 4};
    RCNN_TRY(rcnn_build_output(b, &op, "nms_boxes", RCNN_F32, 3, dim, &kept[0]));
    RCNN_TRY(rcnn_build_output(b, &op, "nms_scores", RCNN_F32, 2, dim, &kept[1]));
    RCNN_TRY(rcnn_build_output(b, &op, "nms_labels", RCNN_I32, 2, dim, &kept[2]));
    RCNN_TRY(rcnn_build_output(b, &op, "nms_counts", RCNN_I32, 1, dim, &kept[3]));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

/* Image and network coordinates of what was kept; all outputs leave the graph. */
static rcnn_status add_detect(rcnn_builder *b, const rcnn_value_id kept[4])
{
    rcnn_op op = rcnn_build_op(RCNN_OP_DETECT, RCNN_STAGE_box_post, "box.detect");
    op.u.detect.scale_rule = b->config->scale_rule;
    op.u.detect.rescale_first = b->config->rescale_first;
    op.u.detect.clip_output = b->config->clip_output;
    for (int32_t i = 0; i < 4; i++) {
        rcnn_build_input(&op, kept[i]);
    }
    const int32_t dim[3] = {b->options->batch, b->detection_capacity, 4};
    RCNN_TRY(rcnn_build_output(b, &op, "det_boxes", RCNN_F32, 3, dim, NULL));
    RCNN_TRY(rcnn_build_output(b, &op, "mask_rois", RCNN_F32, 3, dim, &b->mask_rois));
    RCNN_TRY(rcnn_build_output(b, &op, "det_scores", RCNN_F32, 2, dim, NULL));
    RCNN_TRY(rcnn_build_output(b, &op, "det_labels", RCNN_I32, 2, dim, &b->det_labels));
    RCNN_TRY(rcnn_build_output(b, &op, "det_counts", RCNN_I32, 1, dim, &b->det_counts));
    RCNN_TRY(rcnn_graph_add_op(b->graph, &op, b->err));
    for (int32_t i = 0; i < op.output_count; i++) {
        rcnn_graph_mark_output(b->graph, op.output[i]);
    }
    return RCNN_OK;
}

rcnn_status rcnn_stage_box_post(rcnn_builder *b)
{
    rcnn_value_id candidates[4];
    rcnn_value_id kept[4];
    int32_t capacity = 0;
    RCNN_TRY(candidate_capacity(b, &capacity));
    b->detection_capacity = capacity < b->options->max_detections ? capacity : b->options->max_detections;
    RCNN_TRY(add_select(b, candidates, capacity));
    RCNN_TRY(add_nms(b, candidates, kept));
    return add_detect(b, kept);
}
