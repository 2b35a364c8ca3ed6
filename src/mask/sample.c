/* Pixel to mask coordinates and the reach of a mask; see sample.h and mask.h. Coordinates are computed in float and in
 * the order of the frameworks, since the threshold is decided on the last bits. */
#include "mask/sample.h"

#include <math.h>

/* Box edges beyond this many pixels are cut: far outside any image, and sums still fit. */
#define EDGE_MAX 1073741824.0f

/* What a mask value can be off by from rounding; values are at most 1. */
#define VALUE_SLACK 1e-6

/* ---------------------------------------------------------------- GRID */

/* Source: mmdet _do_paste_mask + torch grid_sample(align_corners=False, zeros padding). */
static rcnn_mask_tap grid_tap(int32_t side, float low, float high, int32_t pixel)
{
    const float g = ((float)pixel + 0.5f - low) / (high - low) * 2.0f - 1.0f;
    const float u = ((g + 1.0f) * (float)side - 1.0f) / 2.0f;
    if (!(u >= -1.0f && u < (float)side)) {
        return (rcnn_mask_tap){.cell = side + 1};
    }
    const float i = floorf(u);
    const float b = u - i;
    return (rcnn_mask_tap){.cell = (int32_t)i + 1, .a = 1.0f - b, .b = b};
}

/* A mask of ones reaches the threshold at this pixel. */
static bool grid_reaches(const rcnn_paste_spec *spec, float low, float high, int32_t pixel)
{
    const rcnn_mask_tap tap = grid_tap(spec->side, low, high, pixel);
    double most = 0;
    if (tap.cell >= 1 && tap.cell <= spec->side) {
        most += (double)tap.a;
    }
    if (tap.cell >= 0 && tap.cell + 1 <= spec->side) {
        most += (double)tap.b;
    }
    return most >= (double)spec->threshold - VALUE_SLACK;
}

static int32_t clamp_pixel(double at, int32_t size)
{
    return at < 0 ? 0 : at > size ? size : (int32_t)at;
}

/* A mask of ones falls from 1 to 0 between the centre of its outer cells and one cell further out, so it reaches t
 * between mask coordinates t - 1 and side - t. */
static void grid_range(const rcnn_paste_spec *spec, float low, float high, int32_t size, int32_t *from, int32_t *count)
{
    const double cell = ((double)high - (double)low) / spec->side;
    const double t = (double)spec->threshold;
    int32_t first = clamp_pixel(floor((double)low + (t - 0.5) * cell) - 2, size);
    int32_t end = clamp_pixel(ceil((double)low + (spec->side - t + 0.5) * cell) + 2, size);
    while (first < end && !grid_reaches(spec, low, high, first)) {
        first++;
    }
    while (first < end && !grid_reaches(spec, low, high, end - 1)) {
        end--;
    }
    *from = first;
    *count = end - first;
}

/* -------------------------------------------------------------- PADDED */

typedef struct padded_edges {
    int32_t low, high; /* first and last pixel of the integer box */
} padded_edges;

/* Source: torchvision expand_boxes + paste_masks_in_image: the mask gets one zero cell all round, the box grows with it
 * and is truncated to integers, toward zero. */
static padded_edges padded_edges_of(int32_t side, float low, float high)
{
    const float growth = (float)(((double)side + 2.0) / side);
    const float half = (high - low) * 0.5f * growth;
    const float centre = (low + high) * 0.5f;
    return (padded_edges){.low = (int32_t)fmaxf(fminf(centre - half, EDGE_MAX), -EDGE_MAX),
                          .high = (int32_t)fmaxf(fminf(centre + half, EDGE_MAX), -EDGE_MAX)};
}

static rcnn_mask_tap padded_tap(int32_t side, padded_edges edges, int32_t pixel)
{
    const int64_t span = (int64_t)edges.high - edges.low + 1;
    const float scale = (float)(side + 2) / (float)(span > 1 ? span : 1);
    const float at = fmaxf(((float)((int64_t)pixel - edges.low) + 0.5f) * scale - 0.5f, 0.0f);
    const int32_t cell = at < (float)(side + 1) ? (int32_t)at : side + 1;
    const float b = fminf(at - (float)cell, 1.0f);
    return (rcnn_mask_tap){.cell = cell, .a = 1.0f - b, .b = b};
}

static void padded_range(const rcnn_paste_spec *spec, float low, float high, int32_t size, int32_t *from,
                         int32_t *count)
{
    const padded_edges edges = padded_edges_of(spec->side, low, high);
    const int32_t first = edges.low > 0 ? edges.low : 0;
    const int32_t end = edges.high + 1 < size ? edges.high + 1 : size;
    *from = first;
    *count = end > first ? end - first : 0;
}

/* ---------------------------------------------------------------- both */

void rcnn_mask_taps(const rcnn_paste_spec *spec, float low, float high, int32_t from, int32_t count,
                    rcnn_mask_tap *taps)
{
    const padded_edges edges =
        spec->paste == RCNN_PASTE_PADDED ? padded_edges_of(spec->side, low, high) : (padded_edges){0, 0};
    for (int32_t i = 0; i < count; i++) {
        taps[i] = spec->paste == RCNN_PASTE_GRID ? grid_tap(spec->side, low, high, from + i)
                                                 : padded_tap(spec->side, edges, from + i);
    }
}

void rcnn_mask_region_of(const rcnn_paste_spec *spec, const float box[4], rcnn_mask_region *out)
{
    *out = (rcnn_mask_region){0, 0, 0, 0};
    for (int32_t k = 0; k < 4; k++) {
        if (!isfinite(box[k])) {
            return;
        }
    }
    if (!(box[2] > box[0] && box[3] > box[1])) {
        return;
    }
    rcnn_mask_region region;
    if (spec->paste == RCNN_PASTE_GRID) {
        grid_range(spec, box[0], box[2], spec->width, &region.x, &region.width);
        grid_range(spec, box[1], box[3], spec->height, &region.y, &region.height);
    } else {
        padded_range(spec, box[0], box[2], spec->width, &region.x, &region.width);
        padded_range(spec, box[1], box[3], spec->height, &region.y, &region.height);
    }
    if (region.width > 0 && region.height > 0) {
        *out = region;
    }
}
