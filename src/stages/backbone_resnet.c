/* Stage 2: ResNet and ResNeXt, C2..C5 (spec section 3). Where a stage's stride sits (pytorch or caffe style) was
 * written into the layers' strides when the model was loaded. */
#include "stages/stages.h"

#include <stdio.h>

static rcnn_status add_stem(rcnn_builder *b, rcnn_value_id *out)
{
    const rcnn_conv_options relu = {.relu = 1, .residual = RCNN_NO_VALUE, .rows = RCNN_NO_VALUE};
    rcnn_value_id stem;
    RCNN_TRY(rcnn_build_conv(b, RCNN_STAGE_backbone, "backbone.stem", b->image, "stem", &relu, &stem));
    rcnn_op op = rcnn_build_op(RCNN_OP_MAXPOOL, RCNN_STAGE_backbone, "backbone.maxpool");
    op.u.maxpool.kernel = 3;
    op.u.maxpool.stride = 2;
    op.u.maxpool.pad = 1;
    rcnn_build_input(&op, stem);
    const int32_t *in = b->graph->values[stem].desc.dim;
    const int32_t dim[4] = {in[0], (in[1] - 1) / 2 + 1, (in[2] - 1) / 2 + 1, in[3]};
    RCNN_TRY(rcnn_build_features_like(b, &op, "stem_pool", 4, dim, out));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}

/* conv1..convN of a block with the shortcut added to the last; *x goes from the block's input to its output. The shortcut
 * comes first in the op order, so that the last conv may write over it. */
static rcnn_status add_block(rcnn_builder *b, int32_t stage, int32_t block, const char *output_name, rcnn_value_id *x)
{
    const int32_t convs = b->config->block == RCNN_BLOCK_BOTTLENECK ? 3 : 2;
    const rcnn_conv_options plain = {.relu = 0, .residual = RCNN_NO_VALUE, .rows = RCNN_NO_VALUE};
    char layer[RCNN_LAYER_NAME_MAX];
    char name[RCNN_LAYER_TEXT_MAX];
    rcnn_value_id identity = *x;
    snprintf(layer, sizeof layer, "backbone.layer%d.%d.shortcut", stage, block);
    if (rcnn_model_layer(b->model, layer)) {
        snprintf(name, sizeof name, "layer%d_%d_shortcut", stage, block);
        RCNN_TRY(rcnn_build_conv(b, RCNN_STAGE_backbone, layer, *x, name, &plain, &identity));
    }
    for (int32_t i = 1; i <= convs; i++) {
        const rcnn_conv_options options = {
            .relu = 1, .residual = i == convs ? identity : RCNN_NO_VALUE, .rows = RCNN_NO_VALUE};
        snprintf(layer, sizeof layer, "backbone.layer%d.%d.conv%d", stage, block, i);
        if (i == convs && output_name) {
            snprintf(name, sizeof name, "%s", output_name);
        } else {
            snprintf(name, sizeof name, "layer%d_%d_conv%d", stage, block, i);
        }
        RCNN_TRY(rcnn_build_conv(b, RCNN_STAGE_backbone, layer, *x, name, &options, x));
    }
    return RCNN_OK;
}

rcnn_status rcnn_stage_backbone(rcnn_builder *b)
{
    rcnn_value_id x;
    RCNN_TRY(add_stem(b, &x));
    for (int32_t stage = 1; stage <= 4; stage++) {
        const int32_t blocks = b->config->blocks[stage - 1];
        char output[16];
        snprintf(output, sizeof output, "c%d", stage + 1);
        for (int32_t block = 0; block < blocks; block++) {
            RCNN_TRY(add_block(b, stage, block, block == blocks - 1 ? output : NULL, &x));
        }
        b->c[stage - 1] = x;
    }
    return RCNN_OK;
}
