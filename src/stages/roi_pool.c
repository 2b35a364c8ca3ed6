/* Stage 5: RoI features of the proposals (spec sections 6, 13.8, 14.5). */
#include "stages/roi_pool.h"

rcnn_status rcnn_build_roi_align(rcnn_builder *b, rcnn_stage stage, const char *name, int32_t bins, rcnn_value_id boxes,
                                 rcnn_value_id counts, rcnn_value_id *out)
{
    rcnn_op op = rcnn_build_op(RCNN_OP_ROI_ALIGN, stage, name);
    op.u.roi_align.level_count = 4;
    op.u.roi_align.bins = bins;
    op.u.roi_align.sampling = b->config->roi_sampling;
    op.u.roi_align.aligned = b->config->roi_aligned;
    op.u.roi_align.level_rule = b->config->level_rule;
    for (int32_t l = 0; l < 4; l++) {
        op.u.roi_align.scale[l] = 1.0f / (float)(4 << l);
        rcnn_build_input(&op, b->p[l]);
    }
    rcnn_build_input(&op, boxes);
    rcnn_build_input(&op, counts);
    const int32_t *roi = b->graph->values[boxes].desc.dim;
    const int32_t dim[4] = {roi[0] * roi[1], bins, bins, b->graph->values[b->p[0]].desc.dim[3]};
    RCNN_TRY(rcnn_build_features(b, &op, name, 4, dim, out));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

rcnn_status rcnn_stage_roi_pool(rcnn_builder *b)
{
    return rcnn_build_roi_align(b, RCNN_STAGE_roi_pool, "box_features", b->config->box_pool, b->proposals,
                                b->proposal_counts, &b->box_features);
}
