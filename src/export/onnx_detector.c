/* The parts of a network put together with their inputs and outputs: the whole detector, the dense part, the heads. */
#include <stdio.h>

#include "export/export.h"
#include "export/onnx_network.h"

#define DIM(value)                                                                                                     \
    {                                                                                                                  \
        NULL, (value)                                                                                                  \
    }
#define NAMED(name)                                                                                                    \
    {                                                                                                                  \
        (name), 0                                                                                                      \
    }

static void add_image(rcnn_onnx_network *n)
{
    n->image = rcnn_onnx_input(&n->g, "input", RCNN_ONNX_FLOAT,
                               RCNN_ONNX_DIMS(DIM(1), DIM(3), NAMED("height"), NAMED("width")));
}

/* W,H,W,H of the input, or of the image in it when that is an input of its own. */
static void add_limits(rcnn_onnx_network *n, bool image_size_input)
{
    rcnn_onnx_graph *g = &n->g;
    rcnn_onnx_value size; /* [2] height, width as float */
    rcnn_onnx_scope(g, "limits");
    if (image_size_input) {
        size = rcnn_onnx_input(g, "image_size", RCNN_ONNX_FLOAT, RCNN_ONNX_DIMS(DIM(2)));
    } else {
        size = RCNN_ONNX_OP(g, "Cast", rcnn_onnx_dims_of(g, n->image, 2, 2));
        rcnn_onnx_int(g, "to", RCNN_ONNX_FLOAT);
    }
    n->limits = rcnn_onnx_rows(g, size, RCNN_ONNX_INTS(g, 1, 0, 1, 0));
}

/* ------------------------------------------------------------------- parts */

static void build_detector(rcnn_onnx_network *n, bool image_size_input)
{
    rcnn_onnx_graph *g = &n->g;
    const int64_t side = 2 * n->config->mask_pool;
    add_image(n);
    add_limits(n, image_size_input);
    rcnn_onnx_pyramid(n);
    rcnn_onnx_rpn_head(n);
    const rcnn_onnx_list proposals = rcnn_onnx_proposals(n);
    const rcnn_onnx_list list = rcnn_onnx_detections(n, proposals.boxes);
    rcnn_onnx_value scores = RCNN_ONNX_OP(g, "Unsqueeze", list.scores, RCNN_ONNX_INTS(g, 1));
    rcnn_onnx_name_next(g, "dets");
    rcnn_onnx_value dets = RCNN_ONNX_OP(g, "Concat", list.boxes, scores);
    rcnn_onnx_int(g, "axis", 1);
    rcnn_onnx_output(g, dets, RCNN_ONNX_FLOAT, RCNN_ONNX_DIMS(NAMED("detections"), DIM(5)));
    rcnn_onnx_name_next(g, "labels");
    rcnn_onnx_value labels = RCNN_ONNX_OP(g, "Identity", list.labels);
    rcnn_onnx_output(g, labels, RCNN_ONNX_INT64, RCNN_ONNX_DIMS(NAMED("detections")));
    if (n->config->has_mask) {
        rcnn_onnx_output(g, rcnn_onnx_mask_head(n, list.boxes, list.labels, "masks"), RCNN_ONNX_FLOAT,
                         RCNN_ONNX_DIMS(NAMED("detections"), DIM(side), DIM(side)));
    }
}

static int64_t pyramid_channels(rcnn_onnx_network *n)
{
    const rcnn_layer *layer = rcnn_onnx_layer(n, "fpn.output0");
    return layer ? layer->out : 0;
}

static void build_backbone(rcnn_onnx_network *n)
{
    const int64_t channels = pyramid_channels(n);
    add_image(n);
    rcnn_onnx_pyramid(n);
    rcnn_onnx_rpn_head(n);
    for (int32_t kind = 0; kind < 3; kind++) {
        for (int32_t l = 0; l < RCNN_ONNX_LEVELS; l++) {
            char height[24], width[24];
            snprintf(height, sizeof height, "height_p%d", l + 2);
            snprintf(width, sizeof width, "width_p%d", l + 2);
            const rcnn_onnx_value values[3] = {n->p[l], n->rpn_scores[l], n->rpn_deltas[l]};
            const int64_t depth[3] = {channels, 3, 12};
            rcnn_onnx_output(&n->g, values[kind], RCNN_ONNX_FLOAT,
                             RCNN_ONNX_DIMS(DIM(1), DIM(depth[kind]), NAMED(height), NAMED(width)));
        }
    }
}

static void build_heads(rcnn_onnx_network *n)
{
    static const char *const names[2] = {"scores", "deltas"};
    rcnn_onnx_graph *g = &n->g;
    const int64_t channels = pyramid_channels(n), side = 2 * n->config->mask_pool;
    rcnn_onnx_value scores, deltas;
    for (int32_t l = 0; l < RCNN_ONNX_LEVELS - 1; l++) {
        char name[16], height[24], width[24];
        snprintf(name, sizeof name, "p%d", l + 2);
        snprintf(height, sizeof height, "height_p%d", l + 2);
        snprintf(width, sizeof width, "width_p%d", l + 2);
        n->p[l] = rcnn_onnx_input(g, name, RCNN_ONNX_FLOAT,
                                  RCNN_ONNX_DIMS(DIM(1), DIM(channels), NAMED(height), NAMED(width)));
    }
    rcnn_onnx_value rois = rcnn_onnx_input(g, "rois", RCNN_ONNX_FLOAT, RCNN_ONNX_DIMS(NAMED("rois"), DIM(4)));
    rcnn_onnx_box_head(n, rois, names, &scores, &deltas);
    rcnn_onnx_output(g, scores, RCNN_ONNX_FLOAT, RCNN_ONNX_DIMS(NAMED("rois"), DIM(n->config->class_count + 1)));
    rcnn_onnx_output(g, deltas, RCNN_ONNX_FLOAT,
                     RCNN_ONNX_DIMS(NAMED("rois"), DIM(4 * rcnn_onnx_delta_classes(n->config))));
    if (n->config->has_mask) {
        rcnn_onnx_value boxes =
            rcnn_onnx_input(g, "mask_rois", RCNN_ONNX_FLOAT, RCNN_ONNX_DIMS(NAMED("mask_rois"), DIM(4)));
        rcnn_onnx_value labels = rcnn_onnx_input(g, "mask_labels", RCNN_ONNX_INT64, RCNN_ONNX_DIMS(NAMED("mask_rois")));
        rcnn_onnx_output(g, rcnn_onnx_mask_head(n, boxes, labels, "masks"), RCNN_ONNX_FLOAT,
                         RCNN_ONNX_DIMS(NAMED("mask_rois"), DIM(side), DIM(side)));
    }
}

/* ------------------------------------------------------------------ public */

rcnn_status rcnn_export_onnx(const rcnn_model *model, const char *path, const rcnn_onnx_options *options,
                             rcnn_error *err)
{
    static const char *const names[] = {
        [RCNN_ONNX_ALL] = "rcnn", [RCNN_ONNX_BACKBONE] = "rcnn_backbone", [RCNN_ONNX_HEADS] = "rcnn_heads"};
    rcnn_onnx_network n = {.model = model, .config = &model->config};
    rcnn_onnx_graph_init(&n.g, err);
    if (options->part == RCNN_ONNX_ALL) {
        build_detector(&n, options->image_size_input);
    } else if (options->part == RCNN_ONNX_BACKBONE) {
        build_backbone(&n);
    } else {
        build_heads(&n);
    }
    const rcnn_onnx_file file = {
        .path = path, .graph_name = names[options->part], .opset = options->opset, .config_json = model->config_json};
    rcnn_status status = rcnn_onnx_write(&n.g, &file);
    rcnn_onnx_graph_free(&n.g);
    return status;
}
