/* The dense part: ResNet, feature pyramid and RPN head (spec sections 3, 4, 5.1). Batch norm was folded when the model was
 * loaded, so a layer is one Conv. */
#include <stdio.h>

#include "export/onnx_network.h"

const rcnn_layer *rcnn_onnx_layer(rcnn_onnx_network *n, const char *name)
{
    const rcnn_layer *layer = rcnn_model_layer(n->model, name);
    if (!layer) {
        rcnn_onnx_fail(&n->g, RCNN_ERR_INTERNAL, "onnx export: the model has no layer '%s'", name);
    }
    return layer;
}

/* `out` filters of a layer from `first` on, as a Conv under names of their own. */
static rcnn_onnx_value conv_rows(rcnn_onnx_network *n, const rcnn_layer *layer, const char *name, int32_t first,
                                 int32_t out, rcnn_onnx_value x)
{
    char weight_name[RCNN_LAYER_NAME_MAX + 16], bias_name[RCNN_LAYER_NAME_MAX + 16];
    const int64_t dims[4] = {out, layer->in, layer->kh, layer->kw};
    const int64_t pads[4] = {layer->kh / 2, layer->kw / 2, layer->kh / 2, layer->kw / 2};
    const size_t per_filter = (size_t)layer->in * (size_t)layer->kh * (size_t)layer->kw;
    snprintf(weight_name, sizeof weight_name, "%s.weight", name);
    snprintf(bias_name, sizeof bias_name, "%s.bias", name);
    rcnn_onnx_value weights =
        rcnn_onnx_weights(&n->g, weight_name, 4, dims, layer->weights + (size_t)first * per_filter);
    rcnn_onnx_value bias = rcnn_onnx_weights(&n->g, bias_name, 1, dims, layer->bias + first);
    rcnn_onnx_value y = RCNN_ONNX_OP(&n->g, "Conv", x, weights, bias);
    rcnn_onnx_int_list(&n->g, "kernel_shape", dims + 2, 2);
    rcnn_onnx_int_list(&n->g, "strides", (const int64_t[]){layer->stride, layer->stride}, 2);
    rcnn_onnx_int_list(&n->g, "pads", pads, 4);
    rcnn_onnx_int(&n->g, "group", layer->groups);
    return y;
}

rcnn_onnx_value rcnn_onnx_conv(rcnn_onnx_network *n, const char *name, rcnn_onnx_value x, bool relu)
{
    const rcnn_layer *layer = rcnn_onnx_layer(n, name);
    if (!layer) {
        return "";
    }
    rcnn_onnx_value y = conv_rows(n, layer, name, 0, layer->out, x);
    return relu ? RCNN_ONNX_OP(&n->g, "Relu", y) : y;
}

static rcnn_onnx_value max_pool(rcnn_onnx_network *n, rcnn_onnx_value x, int64_t kernel, int64_t pad)
{
    rcnn_onnx_value y = RCNN_ONNX_OP(&n->g, "MaxPool", x);
    rcnn_onnx_int_list(&n->g, "kernel_shape", (const int64_t[]){kernel, kernel}, 2);
    rcnn_onnx_int_list(&n->g, "strides", (const int64_t[]){2, 2}, 2);
    rcnn_onnx_int_list(&n->g, "pads", (const int64_t[]){pad, pad, pad, pad}, 4);
    return y;
}

static rcnn_onnx_value block(rcnn_onnx_network *n, int32_t stage, int32_t index, rcnn_onnx_value x)
{
    const int32_t convs = n->config->block == RCNN_BLOCK_BOTTLENECK ? 3 : 2;
    char layer[RCNN_LAYER_NAME_MAX];
    rcnn_onnx_value identity = x;
    snprintf(layer, sizeof layer, "backbone.layer%d.%d.shortcut", stage, index);
    if (rcnn_model_layer(n->model, layer)) {
        identity = rcnn_onnx_conv(n, layer, x, false);
    }
    for (int32_t i = 1; i <= convs; i++) {
        snprintf(layer, sizeof layer, "backbone.layer%d.%d.conv%d", stage, index, i);
        x = rcnn_onnx_conv(n, layer, x, i < convs);
    }
    x = RCNN_ONNX_OP(&n->g, "Add", x, identity);
    return RCNN_ONNX_OP(&n->g, "Relu", x);
}

static void backbone(rcnn_onnx_network *n, rcnn_onnx_value c[4])
{
    rcnn_onnx_scope(&n->g, "backbone");
    rcnn_onnx_value x = rcnn_onnx_conv(n, "backbone.stem", n->image, true);
    x = max_pool(n, x, 3, 1);
    for (int32_t stage = 1; stage <= 4; stage++) {
        for (int32_t index = 0; index < n->config->blocks[stage - 1]; index++) {
            x = block(n, stage, index, x);
        }
        c[stage - 1] = x;
    }
}

/* Sides are multiples of 32, so every step of the pyramid is exactly a doubling. */
static rcnn_onnx_value doubled(rcnn_onnx_network *n, rcnn_onnx_value x)
{
    rcnn_onnx_value y = RCNN_ONNX_OP(&n->g, "Resize", x, "", RCNN_ONNX_FLOATS(&n->g, 1, 1, 2, 2));
    rcnn_onnx_text(&n->g, "mode", "nearest");
    rcnn_onnx_text(&n->g, "coordinate_transformation_mode", "asymmetric");
    rcnn_onnx_text(&n->g, "nearest_mode", "floor");
    return y;
}

void rcnn_onnx_pyramid(rcnn_onnx_network *n)
{
    rcnn_onnx_value c[4], top = NULL;
    char layer[RCNN_LAYER_NAME_MAX], name[16];
    backbone(n, c);
    rcnn_onnx_scope(&n->g, "neck");
    for (int32_t l = 3; l >= 0; l--) {
        snprintf(layer, sizeof layer, "fpn.lateral%d", l);
        rcnn_onnx_value lateral = rcnn_onnx_conv(n, layer, c[l], false);
        top = top ? RCNN_ONNX_OP(&n->g, "Add", lateral, doubled(n, top)) : lateral;
        snprintf(layer, sizeof layer, "fpn.output%d", l);
        snprintf(name, sizeof name, "p%d", l + 2);
        rcnn_onnx_name_next(&n->g, name);
        n->p[l] = rcnn_onnx_conv(n, layer, top, false);
    }
    rcnn_onnx_name_next(&n->g, "p6");
    n->p[4] = max_pool(n, n->p[3], 1, 0);
}

void rcnn_onnx_rpn_head(rcnn_onnx_network *n)
{
    const rcnn_layer *pred = rcnn_onnx_layer(n, "rpn.pred");
    char text[RCNN_LAYER_NAME_MAX];
    rcnn_onnx_scope(&n->g, "rpn");
    for (int32_t l = 0; pred && l < RCNN_ONNX_LEVELS; l++) {
        rcnn_onnx_value x = n->p[l];
        for (int32_t i = 0; i < n->config->rpn_convs; i++) {
            snprintf(text, sizeof text, "rpn.conv%d", i);
            x = rcnn_onnx_conv(n, text, x, true);
        }
        snprintf(text, sizeof text, "rpn_scores%d", l + 2);
        rcnn_onnx_name_next(&n->g, text);
        n->rpn_scores[l] = conv_rows(n, pred, "rpn.scores", 0, 3, x);
        snprintf(text, sizeof text, "rpn_deltas%d", l + 2);
        rcnn_onnx_name_next(&n->g, text);
        n->rpn_deltas[l] = conv_rows(n, pred, "rpn.deltas", 3, 12, x);
    }
}
