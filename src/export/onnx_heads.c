/* Box head, final detections, mask head (spec 7-9, 13.9-13.10, 14.6). */
#include <stdio.h>

#include "export/onnx_network.h"

int64_t rcnn_onnx_delta_classes(const rcnn_config *config)
{
    return config->agnostic_box ? 1 : config->class_count + (config->background_first ? 1 : 0);
}

/* -------------------------------------------------------------- box network */

/* `out` rows of a layer from `first` on, as x * W^T + b. */
static rcnn_onnx_value fc_rows(rcnn_onnx_network *n, const rcnn_layer *layer, const char *name, int32_t first,
                               int32_t out, rcnn_onnx_value x)
{
    char weight_name[RCNN_LAYER_NAME_MAX + 16], bias_name[RCNN_LAYER_NAME_MAX + 16];
    const int64_t dims[2] = {out, layer->in};
    snprintf(weight_name, sizeof weight_name, "%s.weight", name);
    snprintf(bias_name, sizeof bias_name, "%s.bias", name);
    rcnn_onnx_value weights =
        rcnn_onnx_weights(&n->g, weight_name, 2, dims, layer->weights + (size_t)first * (size_t)layer->in);
    rcnn_onnx_value bias = rcnn_onnx_weights(&n->g, bias_name, 1, dims, layer->bias + first);
    rcnn_onnx_value y = RCNN_ONNX_OP(&n->g, "Gemm", x, weights, bias);
    rcnn_onnx_int(&n->g, "transB", 1);
    return y;
}

/* The hidden layers on RoI features; rows stay in the order of the levels. */
static rcnn_onnx_value box_hidden(rcnn_onnx_network *n, rcnn_onnx_value x)
{
    char name[RCNN_LAYER_NAME_MAX];
    for (int32_t i = 0; i < n->config->box_convs; i++) {
        snprintf(name, sizeof name, "box.conv%d", i);
        x = rcnn_onnx_conv(n, name, x, true);
    }
    x = RCNN_ONNX_OP(&n->g, "Flatten", x);
    for (int32_t i = 0; i < n->config->box_fcs; i++) {
        snprintf(name, sizeof name, "box.fc%d", i);
        const rcnn_layer *layer = rcnn_onnx_layer(n, name);
        x = layer ? RCNN_ONNX_OP(&n->g, "Relu", fc_rows(n, layer, name, 0, layer->out, x)) : "";
    }
    return x;
}

void rcnn_onnx_box_head(rcnn_onnx_network *n, rcnn_onnx_value boxes, const char *const names[2],
                        rcnn_onnx_value *probabilities, rcnn_onnx_value *deltas)
{
    rcnn_onnx_graph *g = &n->g;
    const rcnn_layer *pred = rcnn_onnx_layer(n, "box.pred");
    const int32_t scores = n->config->class_count + 1;
    *probabilities = *deltas = "";
    if (!pred) {
        return;
    }
    rcnn_onnx_scope(g, "box_head");
    const rcnn_onnx_rois rois = rcnn_onnx_assign_levels(n, boxes);
    rcnn_onnx_value x = box_hidden(n, rcnn_onnx_roi_features(n, &rois, n->config->box_pool));
    x = rcnn_onnx_rows(g, x, rois.inverse);
    rcnn_onnx_value logits = fc_rows(n, pred, "box.scores", 0, scores, x);
    if (names) {
        rcnn_onnx_name_next(g, names[0]);
    }
    *probabilities = RCNN_ONNX_OP(g, "Softmax", logits);
    rcnn_onnx_int(g, "axis", 1);
    if (names) {
        rcnn_onnx_name_next(g, names[1]);
    }
    *deltas = fc_rows(n, pred, "box.deltas", scores, pred->out - scores, x);
}

/* --------------------------------------------------------------- detections */

/* Every (RoI, class) above the threshold with its decoded, clipped box; RoI after RoI, class after class. */
static rcnn_onnx_list candidates(rcnn_onnx_network *n, rcnn_onnx_value proposals)
{
    rcnn_onnx_graph *g = &n->g;
    const rcnn_config *config = n->config;
    const int64_t first = config->background_first ? 1 : 0, delta_classes = rcnn_onnx_delta_classes(config);
    rcnn_onnx_value probabilities, deltas;
    rcnn_onnx_box_head(n, proposals, NULL, &probabilities, &deltas);
    rcnn_onnx_scope(g, "detections");
    rcnn_onnx_value foreground = RCNN_ONNX_OP(g, "Slice", probabilities, RCNN_ONNX_INTS(g, first),
                                              RCNN_ONNX_INTS(g, first + config->class_count), RCNN_ONNX_INTS(g, 1));
    rcnn_onnx_value threshold = rcnn_onnx_scalar(g, (float)config->score_threshold);
    rcnn_onnx_value places = RCNN_ONNX_OP(g, "NonZero", RCNN_ONNX_OP(g, "Greater", foreground, threshold)); /* [2,M] */
    places = RCNN_ONNX_OP(g, "Transpose", places);
    rcnn_onnx_value roi = rcnn_onnx_column(g, places, 0);
    rcnn_onnx_value label = rcnn_onnx_column(g, places, 1);
    rcnn_onnx_value entry = roi;
    if (!config->agnostic_box) {
        entry = RCNN_ONNX_OP(g, "Mul", roi, RCNN_ONNX_INTS(g, delta_classes));
        entry = RCNN_ONNX_OP(g, "Add", entry, label);
        entry = first > 0 ? RCNN_ONNX_OP(g, "Add", entry, RCNN_ONNX_INTS(g, first)) : entry;
    }
    deltas = rcnn_onnx_rows(g, RCNN_ONNX_OP(g, "Reshape", deltas, RCNN_ONNX_INTS(g, -1, 4)), entry);
    const rcnn_onnx_list list = {
        .boxes = rcnn_onnx_decode(n, rcnn_onnx_rows(g, proposals, roi), deltas, config->delta_weights),
        .scores = RCNN_ONNX_OP(g, "GatherND", foreground, places),
        .labels = label};
    return config->box_min_size > 0 ? rcnn_onnx_keep_sides(g, &list, config->box_min_size, true) : list;
}

/* [1,K,M]: the score of each candidate in its own class, 0 elsewhere, which is not above any threshold. */
static rcnn_onnx_value scores_by_class(rcnn_onnx_network *n, const rcnn_onnx_list *list)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value zero = rcnn_onnx_int_constant(g, 0, NULL, &(const int64_t){0});
    rcnn_onnx_value one = rcnn_onnx_int_constant(g, 0, NULL, &(const int64_t){1});
    rcnn_onnx_value end = rcnn_onnx_int_constant(g, 0, NULL, &(const int64_t){n->config->class_count});
    rcnn_onnx_value classes = RCNN_ONNX_OP(g, "Range", zero, end, one);
    rcnn_onnx_value own = RCNN_ONNX_OP(g, "Equal", RCNN_ONNX_OP(g, "Unsqueeze", classes, RCNN_ONNX_INTS(g, 1)),
                                       RCNN_ONNX_OP(g, "Unsqueeze", list->labels, RCNN_ONNX_INTS(g, 0)));
    rcnn_onnx_value scores = RCNN_ONNX_OP(g, "Where", own, list->scores, rcnn_onnx_scalar(g, 0));
    return RCNN_ONNX_OP(g, "Unsqueeze", scores, RCNN_ONNX_INTS(g, 0));
}

/* NMS within each class. Past max_detections boxes of one class none can be among the best of all. */
static rcnn_onnx_list suppressed(rcnn_onnx_network *n, const rcnn_onnx_list *list)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value group = RCNN_ONNX_OP(g, "Cast", list->labels);
    rcnn_onnx_int(g, "to", RCNN_ONNX_FLOAT);
    rcnn_onnx_value offset = RCNN_ONNX_OP(g, "Mul", group, rcnn_onnx_group_step(n, list->boxes));
    rcnn_onnx_value moved =
        RCNN_ONNX_OP(g, "Add", list->boxes, RCNN_ONNX_OP(g, "Unsqueeze", offset, RCNN_ONNX_INTS(g, 1)));
    rcnn_onnx_value selected = RCNN_ONNX_OP(
        g, "NonMaxSuppression", RCNN_ONNX_OP(g, "Unsqueeze", moved, RCNN_ONNX_INTS(g, 0)), scores_by_class(n, list),
        RCNN_ONNX_INTS(g, n->config->max_detections), RCNN_ONNX_FLOATS(g, (float)n->config->box_nms_iou),
        RCNN_ONNX_FLOATS(g, (float)n->config->score_threshold));
    return rcnn_onnx_list_rows(g, list, rcnn_onnx_column(g, selected, 2));
}

rcnn_onnx_list rcnn_onnx_detections(rcnn_onnx_network *n, rcnn_onnx_value proposals)
{
    rcnn_onnx_list list = candidates(n, proposals);
    list = suppressed(n, &list);
    list = rcnn_onnx_best(&n->g, &list, n->config->max_detections);
    return n->config->clip_output ? rcnn_onnx_keep_sides(&n->g, &list, 0, false) : list;
}

/* -------------------------------------------------------------------- masks */

static rcnn_onnx_value deconv(rcnn_onnx_network *n, rcnn_onnx_value x)
{
    const rcnn_layer *layer = rcnn_onnx_layer(n, "mask.deconv");
    if (!layer) {
        return "";
    }
    const int64_t dims[4] = {layer->in, layer->out, layer->kh, layer->kw}, bias_dims[1] = {layer->out};
    rcnn_onnx_value weights = rcnn_onnx_weights(&n->g, "mask.deconv.weight", 4, dims, layer->weights);
    rcnn_onnx_value bias = rcnn_onnx_weights(&n->g, "mask.deconv.bias", 1, bias_dims, layer->bias);
    rcnn_onnx_value y = RCNN_ONNX_OP(&n->g, "ConvTranspose", x, weights, bias);
    rcnn_onnx_int_list(&n->g, "kernel_shape", dims + 2, 2);
    rcnn_onnx_int_list(&n->g, "strides", (const int64_t[]){2, 2}, 2);
    return RCNN_ONNX_OP(&n->g, "Relu", y);
}

/* Logits of each detection's own class only, [D,S*S]: its row of the 1x1 convolution's weights times its features. A
 * convolution to all classes would do K times the work. */
static rcnn_onnx_value own_logits(rcnn_onnx_network *n, rcnn_onnx_value x, rcnn_onnx_value labels)
{
    rcnn_onnx_graph *g = &n->g;
    const rcnn_layer *layer = rcnn_onnx_layer(n, "mask.logits");
    if (!layer) {
        return "";
    }
    const int64_t dims[3] = {layer->out, 1, layer->in}, bias_dims[2] = {layer->out, 1};
    rcnn_onnx_value weights = rcnn_onnx_weights(g, "mask.logits.weight", 3, dims, layer->weights);
    rcnn_onnx_value bias = rcnn_onnx_weights(g, "mask.logits.bias", 2, bias_dims, layer->bias);
    rcnn_onnx_value channel = labels;
    if (n->config->agnostic_mask) {
        channel = RCNN_ONNX_OP(g, "Mul", labels, RCNN_ONNX_INTS(g, 0));
    } else if (n->config->background_first) {
        channel = RCNN_ONNX_OP(g, "Add", labels, RCNN_ONNX_INTS(g, 1));
    }
    x = RCNN_ONNX_OP(g, "Reshape", x,
                     RCNN_ONNX_INTS(g, -1, layer->in, 4 * n->config->mask_pool * n->config->mask_pool));
    x = RCNN_ONNX_OP(g, "MatMul", rcnn_onnx_rows(g, weights, channel), x); /* [D,1,S*S] */
    x = RCNN_ONNX_OP(g, "Squeeze", x, RCNN_ONNX_INTS(g, 1));
    return RCNN_ONNX_OP(g, "Add", x, rcnn_onnx_rows(g, bias, channel));
}

rcnn_onnx_value rcnn_onnx_mask_head(rcnn_onnx_network *n, rcnn_onnx_value boxes, rcnn_onnx_value labels,
                                    const char *name)
{
    rcnn_onnx_graph *g = &n->g;
    const int64_t side = 2 * n->config->mask_pool;
    char layer[RCNN_LAYER_NAME_MAX];
    rcnn_onnx_scope(g, "mask_head");
    const rcnn_onnx_rois rois = rcnn_onnx_assign_levels(n, boxes);
    rcnn_onnx_value x = rcnn_onnx_roi_features(n, &rois, n->config->mask_pool);
    for (int32_t i = 0; i < n->config->mask_convs; i++) {
        snprintf(layer, sizeof layer, "mask.conv%d", i);
        x = rcnn_onnx_conv(n, layer, x, true);
    }
    x = rcnn_onnx_rows(g, deconv(n, x), rois.inverse);
    x = RCNN_ONNX_OP(g, "Reshape", own_logits(n, x, labels), RCNN_ONNX_INTS(g, -1, side, side));
    rcnn_onnx_name_next(g, name);
    return RCNN_ONNX_OP(g, "Sigmoid", x);
}
