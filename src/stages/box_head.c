/* Stage 6: class scores and box deltas per proposal (spec sections 7, 14.6). */
#include "stages/stages.h"

#include <stdbool.h>
#include <stdio.h>

/* FC over packed rows to features with ReLU, or to predictions: plain and F32. From [rows,bins,bins,C] the backend
 * reorders the weights' columns (permute_bins). */
static rcnn_status add_fc(rcnn_builder *b, const char *layer_name, const char *name, bool prediction, rcnn_value_id *x)
{
    const rcnn_layer *layer;
    RCNN_TRY(rcnn_build_layer(b, layer_name, &layer));
    rcnn_op op = rcnn_build_op(RCNN_OP_FC, RCNN_STAGE_box_head, layer_name);
    op.w = (rcnn_op_weights){
        .weights = layer->weights, .bias = layer->bias, .out = layer->out, .in = layer->in, .kh = 1, .kw = 1};
    op.u.fc.relu = !prediction;
    op.rows = b->proposal_counts;
    rcnn_build_input(&op, *x);
    const rcnn_tensor_desc *in = &b->graph->values[*x].desc;
    int64_t width = 1;
    for (int32_t i = 1; i < in->rank; i++) {
        width *= in->dim[i];
    }
    if (width != layer->in) {
        return rcnn_fail(b->err, RCNN_ERR_FORMAT, "graph: layer '%s' wants %d inputs, got %lld", layer_name, layer->in,
                         (long long)width);
    }
    op.u.fc.permute_bins = in->rank == 4 ? in->dim[1] : 0;
    const int32_t dim[2] = {in->dim[0], layer->out};
    RCNN_TRY(prediction ? rcnn_build_output(b, &op, name, RCNN_F32, 2, dim, x)
                        : rcnn_build_features(b, &op, name, 2, dim, x));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

rcnn_status rcnn_stage_box_head(rcnn_builder *b)
{
    const rcnn_conv_options relu = {.relu = 1, .residual = RCNN_NO_VALUE, .rows = b->proposal_counts};
    char layer[RCNN_LAYER_NAME_MAX];
    char name[RCNN_LAYER_TEXT_MAX];
    rcnn_value_id x = b->box_features;
    for (int32_t i = 0; i < b->config->box_convs; i++) {
        snprintf(layer, sizeof layer, "box.conv%d", i);
        snprintf(name, sizeof name, "box_conv%d", i);
        RCNN_TRY(rcnn_build_conv(b, RCNN_STAGE_box_head, layer, x, name, &relu, &x));
    }
    for (int32_t i = 0; i < b->config->box_fcs; i++) {
        snprintf(layer, sizeof layer, "box.fc%d", i);
        snprintf(name, sizeof name, "box_fc%d", i);
        RCNN_TRY(add_fc(b, layer, name, false, &x));
    }
    RCNN_TRY(add_fc(b, "box.pred", "box_pred", true, &x));
    b->box_pred = x;
    return RCNN_OK;
}
