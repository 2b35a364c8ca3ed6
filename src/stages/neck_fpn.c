/* Stage 3: feature pyramid, P2..P5 from C2..C5 and P6 by subsampling P5 (spec section 4). */
#include "stages/stages.h"

#include <stdio.h>

static rcnn_status add_top_down(rcnn_builder *b, int32_t level, rcnn_value_id lateral, rcnn_value_id top,
                                rcnn_value_id *out)
{
    char name[RCNN_LAYER_TEXT_MAX];
    snprintf(name, sizeof name, "fpn.merge%d", level);
    rcnn_op op = rcnn_build_op(RCNN_OP_UPSAMPLE_ADD, RCNN_STAGE_neck, name);
    rcnn_build_input(&op, lateral);
    rcnn_build_input(&op, top);
    op.inplace = 0;
    snprintf(name, sizeof name, "merge%d", level + 2);
    RCNN_TRY(rcnn_build_features(b, &op, name, 4, b->graph->values[lateral].desc.dim, out));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

static rcnn_status add_p6(rcnn_builder *b)
{
    rcnn_op op = rcnn_build_op(RCNN_OP_MAXPOOL, RCNN_STAGE_neck, "fpn.pool");
    op.u.maxpool.kernel = 1;
    op.u.maxpool.stride = 2;
    rcnn_build_input(&op, b->p[3]);
    const int32_t *in = b->graph->values[b->p[3]].desc.dim;
    const int32_t dim[4] = {in[0], (in[1] - 1) / 2 + 1, (in[2] - 1) / 2 + 1, in[3]};
    RCNN_TRY(rcnn_build_features_like(b, &op, "p6", 4, dim, &b->p[4]));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

/* The top-down path: merged[l] is what output l is computed from. */
static rcnn_status add_laterals(rcnn_builder *b, rcnn_value_id merged[4])
{
    const rcnn_conv_options plain = {.relu = 0, .residual = RCNN_NO_VALUE, .rows = RCNN_NO_VALUE};
    char layer[RCNN_LAYER_NAME_MAX];
    char name[RCNN_LAYER_TEXT_MAX];
    for (int32_t l = 3; l >= 0; l--) {
        snprintf(layer, sizeof layer, "fpn.lateral%d", l);
        snprintf(name, sizeof name, "lateral%d", l + 2);
        RCNN_TRY(rcnn_build_conv(b, RCNN_STAGE_neck, layer, b->c[l], name, &plain, &merged[l]));
        if (l < 3) {
            RCNN_TRY(add_top_down(b, l, merged[l], merged[l + 1], &merged[l]));
        }
    }
    return RCNN_OK;
}

/* Outputs stand together, the largest first, so that a backend can run them as one. */
rcnn_status rcnn_stage_neck(rcnn_builder *b)
{
    const rcnn_conv_options plain = {.relu = 0, .residual = RCNN_NO_VALUE, .rows = RCNN_NO_VALUE};
    char layer[RCNN_LAYER_NAME_MAX];
    char name[RCNN_LAYER_TEXT_MAX];
    rcnn_value_id merged[4];
    RCNN_TRY(add_laterals(b, merged));
    for (int32_t l = 0; l < 4; l++) {
        snprintf(layer, sizeof layer, "fpn.output%d", l);
        snprintf(name, sizeof name, "p%d", l + 2);
        RCNN_TRY(rcnn_build_conv(b, RCNN_STAGE_neck, layer, merged[l], name, &plain, &b->p[l]));
    }
    return add_p6(b);
}
