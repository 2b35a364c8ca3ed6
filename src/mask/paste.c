/* A soft mask to the bitmap of its region. Interpolation is separable: first along x for each of the mask's rows, then
 * along y for each pixel. Run lengths (paste_rle.c) compute the same products in the same order, so both agree on every
 * pixel. */
#include "mask/sample.h"

#include <string.h>

static size_t round_up(size_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

static size_t taps_bytes(int32_t count)
{
    return round_up((size_t)count * sizeof(rcnn_mask_tap));
}

size_t rcnn_mask_scratch_bytes(const rcnn_paste_spec *spec, const rcnn_mask_region *region)
{
    const size_t plane = (size_t)FRAMED_SIDE(spec->side) * (size_t)region->width * sizeof(float);
    return taps_bytes(region->width) + taps_bytes(region->height) + round_up(plane);
}

/* line [count] = the soft mask's row interpolated at each tap; row [side], framed by zeros here. */
static void interpolate_row(const float *row, int32_t side, const rcnn_mask_tap *taps, int32_t count, float *line)
{
    float framed[FRAMED_SIDE_MAX] = {0};
    memcpy(framed + 1, row, (size_t)side * sizeof *row);
    for (int32_t x = 0; x < count; x++) {
        line[x] = taps[x].a * framed[taps[x].cell] + taps[x].b * framed[taps[x].cell + 1];
    }
}

static void threshold_line(const rcnn_paste_spec *spec, const rcnn_mask_tap *tap, const float *restrict upper,
                           const float *restrict lower, int32_t count, uint8_t *restrict dst)
{
    const float a = tap->a, b = tap->b, threshold = spec->threshold;
    if (spec->paste == RCNN_PASTE_GRID) {
        for (int32_t x = 0; x < count; x++) {
            dst[x] = a * upper[x] + b * lower[x] >= threshold;
        }
    } else {
        for (int32_t x = 0; x < count; x++) {
            dst[x] = a * upper[x] + b * lower[x] > threshold;
        }
    }
}

void rcnn_mask_paste(const rcnn_paste_spec *spec, const float *soft, const float box[4], const rcnn_mask_region *region,
                     uint8_t *dst, void *scratch)
{
    const size_t width = (size_t)region->width;
    if (width == 0 || region->height == 0) {
        return;
    }
    rcnn_mask_tap *columns = scratch;
    rcnn_mask_tap *rows = (rcnn_mask_tap *)(void *)((unsigned char *)scratch + taps_bytes(region->width));
    float *lines = (float *)(void *)((unsigned char *)rows + taps_bytes(region->height)); /* [framed side][width] */
    rcnn_mask_taps(spec, box[0], box[2], region->x, region->width, columns);
    rcnn_mask_taps(spec, box[1], box[3], region->y, region->height, rows);
    memset(lines, 0, (size_t)FRAMED_SIDE(spec->side) * width * sizeof *lines);
    for (int32_t j = 0; j < spec->side; j++) {
        interpolate_row(soft + (size_t)j * (size_t)spec->side, spec->side, columns, region->width,
                        lines + (size_t)(j + 1) * width);
    }
    for (int32_t y = 0; y < region->height; y++) {
        const float *upper = lines + (size_t)rows[y].cell * width;
        threshold_line(spec, &rows[y], upper, upper + width, region->width, dst + (size_t)y * width);
    }
}
