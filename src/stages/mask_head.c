/* Stage 8: one soft mask per detection (spec sections 9, 13.10, 14.6). */
#include "stages/roi_pool.h"

#include <stdio.h>

static rcnn_status add_deconv(rcnn_builder *b, rcnn_value_id *x)
{
    const rcnn_layer *layer;
    RCNN_TRY(rcnn_build_layer(b, "mask.deconv", &layer));
    rcnn_op op = rcnn_build_op(RCNN_OP_DECONV, RCNN_STAGE_mask_head, "mask.deconv");
    op.w = (rcnn_op_weights){
        .weights = layer->weights, .bias = layer->bias, .out = layer->out, .in = layer->in, .kh = 2, .kw = 2};
    op.u.deconv.relu = 1;
    op.rows = b->det_counts;
    rcnn_build_input(&op, *x);
    const int32_t *in = b->graph->values[*x].desc.dim;
    const int32_t dim[4] = {in[0], 2 * in[1], 2 * in[2], layer->out};
    RCNN_TRY(rcnn_build_features(b, &op, "mask_deconv", 4, dim, x));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

static rcnn_status add_logit(rcnn_builder *b, rcnn_value_id x)
{
    const rcnn_layer *layer;
    RCNN_TRY(rcnn_build_layer(b, "mask.logits", &layer));
    rcnn_op op = rcnn_build_op(RCNN_OP_MASK_LOGIT, RCNN_STAGE_mask_head, "mask.logits");
    op.w = (rcnn_op_weights){
        .weights = layer->weights, .bias = layer->bias, .out = layer->out, .in = layer->in, .kh = 1, .kw = 1};
    op.u.mask_logit.agnostic = b->config->agnostic_mask;
    op.u.mask_logit.channel_offset = b->config->background_first ? 1 : 0;
    op.rows = b->det_counts;
    rcnn_build_input(&op, x);
    rcnn_build_input(&op, b->det_labels);
    rcnn_build_input(&op, b->det_counts);
    rcnn_value_id masks;
    RCNN_TRY(rcnn_build_output(b, &op, "masks", RCNN_F32, 3, b->graph->values[x].desc.dim, &masks));
    RCNN_TRY(rcnn_graph_add_op(b->graph, &op, b->err));
    rcnn_graph_mark_output(b->graph, masks);
    return RCNN_OK;
}

rcnn_status rcnn_stage_mask_head(rcnn_builder *b)
{
    if (!b->options->masks || !b->config->has_mask) {
        return RCNN_OK;
    }
    const rcnn_conv_options relu = {.relu = 1, .residual = RCNN_NO_VALUE, .rows = b->det_counts};
    char layer[RCNN_LAYER_NAME_MAX];
    char name[RCNN_LAYER_TEXT_MAX];
    rcnn_value_id x;
    RCNN_TRY(rcnn_build_roi_align(b, RCNN_STAGE_mask_head, "mask_features", b->config->mask_pool, b->mask_rois,
                                  b->det_counts, &x));
    for (int32_t i = 0; i < b->config->mask_convs; i++) {
        snprintf(layer, sizeof layer, "mask.conv%d", i);
        snprintf(name, sizeof name, "mask_conv%d", i);
        RCNN_TRY(rcnn_build_conv(b, RCNN_STAGE_mask_head, layer, x, name, &relu, &x));
    }
    RCNN_TRY(add_deconv(b, &x));
    return add_logit(b, x);
}
