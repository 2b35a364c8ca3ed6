/* RoIAlign: each RoI picks one pyramid level by its size and becomes bins x bins averages of bilinear samples
 * (spec 6.1, 6.2, 13.8, 14.5). He et al. 2017, section 3; float throughout, the order of torchvision's operator.
 * Row sum(counts[0..n)) + r of dst is RoI r of image n. Samples over 1 pixel outside the map are 0, nearer ones clamp. */
#include "backend/ref/ref.h"

#include <math.h>

typedef struct roi_grid {
    const float *map; /* [H,W,C] of the RoI's image and level            */
    int32_t height, width, channels;
    float x1, y1; /* on the map                                      */
    float bin_width, bin_height;
    int32_t samples_x, samples_y; /* per bin                                         */
} roi_grid;

static int32_t level_of(const rcnn_op *op, const float *roi)
{
    float side = sqrtf((roi[2] - roi[0]) * (roi[3] - roi[1]));
    float level = 0; /* counted from the first input, P2 */
    switch (op->u.roi_align.level_rule) {
    case RCNN_LEVEL_MMDET:
        level = floorf(log2f(side / 56.0f + 1e-6f));
        break;
    case RCNN_LEVEL_TORCHVISION:
        level = floorf(4.0f + log2f(side / 224.0f) + 1e-6f) - 2.0f;
        break;
    case RCNN_LEVEL_DETECTRON2:
        level = floorf(4.0f + log2f(side / 224.0f + 1e-8f)) - 2.0f;
        break;
    }
    return (int32_t)fmaxf(0.0f, fminf(level, (float)(op->u.roi_align.level_count - 1)));
}

static roi_grid grid_of(const rcnn_ref_call *call, const float *roi, int32_t n)
{
    const rcnn_op *op = call->op;
    const int32_t level = level_of(op, roi);
    const rcnn_tensor_desc *desc = &call->src_desc[level];
    const float scale = op->u.roi_align.scale[level];
    const float shift = op->u.roi_align.aligned ? 0.5f : 0.0f;
    const float bins = (float)op->u.roi_align.bins;
    roi_grid grid = {.map = (const float *)call->src[level] + rcnn_ref_offset(desc, n, 0, 0, 0),
                     .height = desc->dim[1],
                     .width = desc->dim[2],
                     .channels = desc->dim[3],
                     .x1 = roi[0] * scale - shift,
                     .y1 = roi[1] * scale - shift};
    float width = roi[2] * scale - shift - grid.x1;
    float height = roi[3] * scale - shift - grid.y1;
    if (!op->u.roi_align.aligned) {
        width = fmaxf(width, 1.0f);
        height = fmaxf(height, 1.0f);
    }
    grid.bin_width = width / bins;
    grid.bin_height = height / bins;
    const int32_t sampling = op->u.roi_align.sampling;
    grid.samples_x = sampling > 0 ? sampling : (int32_t)ceilf(width / bins);
    grid.samples_y = sampling > 0 ? sampling : (int32_t)ceilf(height / bins);
    return grid;
}

/* The two cells around a coordinate and the weight of the second. */
typedef struct roi_tap {
    int32_t low, high;
    float weight;
} roi_tap;

static roi_tap tap_at(float at, int32_t size)
{
    at = fmaxf(at, 0.0f);
    int32_t low = (int32_t)at;
    if (low >= size - 1) {
        return (roi_tap){.low = size - 1, .high = size - 1, .weight = 0};
    }
    return (roi_tap){.low = low, .high = low + 1, .weight = at - (float)low};
}

static float bilinear(const roi_grid *grid, float y, float x, int32_t c)
{
    if (y < -1.0f || y > (float)grid->height || x < -1.0f || x > (float)grid->width) {
        return 0.0f;
    }
    const roi_tap row = tap_at(y, grid->height);
    const roi_tap column = tap_at(x, grid->width);
    const rcnn_tensor_desc desc = {.rank = 4, .dim = {1, grid->height, grid->width, grid->channels}};
    const float *map = grid->map;
    float hy = 1.0f - row.weight;
    float hx = 1.0f - column.weight;
    return hy * hx * map[rcnn_ref_offset(&desc, 0, row.low, column.low, c)] +
           hy * column.weight * map[rcnn_ref_offset(&desc, 0, row.low, column.high, c)] +
           row.weight * hx * map[rcnn_ref_offset(&desc, 0, row.high, column.low, c)] +
           row.weight * column.weight * map[rcnn_ref_offset(&desc, 0, row.high, column.high, c)];
}

static float bin_average(const roi_grid *grid, int32_t by, int32_t bx, int32_t c)
{
    float sum = 0;
    for (int32_t iy = 0; iy < grid->samples_y; iy++) {
        float y =
            grid->y1 + (float)by * grid->bin_height + ((float)iy + 0.5f) * grid->bin_height / (float)grid->samples_y;
        for (int32_t ix = 0; ix < grid->samples_x; ix++) {
            float x =
                grid->x1 + (float)bx * grid->bin_width + ((float)ix + 0.5f) * grid->bin_width / (float)grid->samples_x;
            sum += bilinear(grid, y, x, c);
        }
    }
    int32_t count = grid->samples_y * grid->samples_x;
    return sum / (float)(count > 1 ? count : 1);
}

rcnn_status rcnn_ref_roi_align(const rcnn_ref_call *call, rcnn_error *err)
{
    (void)err;
    const int32_t levels = call->op->u.roi_align.level_count;
    const rcnn_tensor_desc *rois_desc = &call->src_desc[levels];
    const rcnn_tensor_desc *desc = &call->dst_desc[0];
    const float *rois = call->src[levels];
    const int32_t *counts = call->src[levels + 1];
    float *dst = call->dst[0];
    int32_t row = 0;
    for (int32_t n = 0; n < rois_desc->dim[0]; n++) {
        for (int32_t r = 0; r < counts[n]; r++, row++) {
            const float *roi = rois + ((size_t)n * (size_t)rois_desc->dim[1] + (size_t)r) * 4;
            const roi_grid grid = grid_of(call, roi, n);
            for (int32_t y = 0; y < desc->dim[1]; y++) {
                for (int32_t x = 0; x < desc->dim[2]; x++) {
                    for (int32_t c = 0; c < desc->dim[3]; c++) {
                        dst[rcnn_ref_offset(desc, row, y, x, c)] = bin_average(&grid, y, x, c);
                    }
                }
            }
        }
    }
    return RCNN_OK;
}
