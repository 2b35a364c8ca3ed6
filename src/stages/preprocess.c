/* Stage 1: pixels to the network's input. Sizes and the normalising table are decided here; backends only apply them. */
#include "stages/stages.h"

#include <math.h>

static int32_t at_least_one(double value)
{
    return value < 1 ? 1 : (int32_t)value;
}

/* Source: mmcv imrescale + rescale_size; detectron2 ResizeShortestEdge.get_output_shape; torchvision
 * GeneralizedRCNNTransform (>= 0.15 in double, before in float32). */
static void target_size(rcnn_size_rule rule, int32_t width, int32_t height, int32_t long_side, int32_t short_side,
                        int32_t *net_width, int32_t *net_height)
{
    double larger = width > height ? width : height;
    double smaller = width > height ? height : width;
    double w, h;
    if (rule == RCNN_SIZE_DETECTRON2) {
        double scale = short_side / smaller;
        w = height < width ? scale * width : short_side;
        h = height < width ? short_side : scale * height;
        double longest = w > h ? w : h;
        if (longest > long_side) {
            w *= long_side / longest;
            h *= long_side / longest;
        }
    } else {
        double scale = fmin(long_side / larger, short_side / smaller);
        if (rule == RCNN_SIZE_FLOOR) {
            scale = fmin(short_side / smaller, long_side / larger);
        } else if (rule == RCNN_SIZE_FLOOR_F32) { /* torch evaluates scalar / tensor as reciprocal times scalar */
            float by_short = (1.0f / (float)smaller) * (float)short_side;
            float by_long = (1.0f / (float)larger) * (float)long_side;
            scale = (double)fminf(by_short, by_long);
        }
        w = width * scale;
        h = height * scale;
    }
    double rounding = rule == RCNN_SIZE_MMDET || rule == RCNN_SIZE_DETECTRON2 ? 0.5 : 0.0;
    *net_width = at_least_one(floor(w + rounding));
    *net_height = at_least_one(floor(h + rounding));
}

void rcnn_preprocess_size(const rcnn_config *config, int32_t long_side, int32_t short_side, rcnn_frame_image *image)
{
    int32_t width = image->view.width;
    int32_t height = image->view.height;
    target_size(config->size_rule, width, height, long_side, short_side, &image->net_width, &image->net_height);
    image->scale_x = (float)((double)image->net_width / width);
    image->scale_y = (float)((double)image->net_height / height);
    if (config->scale_rule == RCNN_SCALE_RATIO_F32) {
        image->ratio_x = (float)width / (float)image->net_width;
        image->ratio_y = (float)height / (float)image->net_height;
    } else {
        image->ratio_x = (float)((double)width / image->net_width);
        image->ratio_y = (float)((double)height / image->net_height);
    }
}

/* (x - mean) / std in float32, x = byte or byte/255 (spec 2.4, 13.1, 14.3). */
static void fill_lut(const rcnn_config *config, float lut[3][256])
{
    for (int c = 0; c < 3; c++) {
        float mean = (float)config->mean[c];
        float std = (float)config->std[c];
        for (int v = 0; v < 256; v++) {
            float x = config->unit_range ? (float)v / 255.0f : (float)v;
            lut[c][v] = (x - mean) / std;
        }
    }
}

rcnn_status rcnn_stage_preprocess(rcnn_builder *b)
{
    rcnn_op op = rcnn_build_op(RCNN_OP_PREPROCESS, RCNN_STAGE_preprocess, "preprocess");
    op.u.preprocess.resize = b->config->resize;
    op.u.preprocess.order = b->config->channel_order;
    fill_lut(b->config, op.u.preprocess.lut);
    const int32_t dim[4] = {b->options->batch, b->options->height, b->options->width,
                            b->options->image_channels ? b->options->image_channels : 3};
    RCNN_TRY(rcnn_build_output(b, &op, "image", b->activation, 4, dim, &b->image));
    return rcnn_graph_add_op(b->graph, &op, b->err);
}
