/* From a soft RoI mask and a box to pixels, runs and outlines of the full image. No full-image plane of floats is ever
 * made: work and memory follow the box. Pure functions on caller memory; any thread.
 * Two arithmetics (spec 10 and 13.11), chosen by rcnn_paste. */
#ifndef RCNN_MASK_MASK_H
#define RCNN_MASK_MASK_H

#include "base/rules.h"
#include "base/status.h"

#define RCNN_MASK_SIDE_MAX 112 /* soft mask side: 2 * mask_pool */

typedef struct rcnn_paste_spec {
    rcnn_paste paste;
    int32_t side;          /* soft mask is [side][side] f32             */
    int32_t width, height; /* image, pixels                             */
    float threshold; /* a pixel is set when value >= threshold (GRID) or > threshold (PADDED: torchvision users) */
} rcnn_paste_spec;

typedef struct rcnn_mask_region {
    int32_t x, y, width, height;
} rcnn_mask_region; /* width 0 = empty */

/* The smallest pixel rectangle inside the image that can hold set pixels: GRID the pixels whose centre lies where the
 * value can reach the threshold (spec 10, no 1-2 px cut), PADDED the integer box of 13.11. Zero-size or non-finite
 * boxes give an empty region (spec 20.1). */
void rcnn_mask_region_of(const rcnn_paste_spec *spec, const float box[4], rcnn_mask_region *out);

/* Bytes of scratch that rcnn_mask_paste and rcnn_mask_paste_rle need for a region. */
size_t rcnn_mask_scratch_bytes(const rcnn_paste_spec *spec, const rcnn_mask_region *region);

/* dst [region height][region width] of 0/1, fully written. */
void rcnn_mask_paste(const rcnn_paste_spec *spec, const float *soft, const float box[4], const rcnn_mask_region *region,
                     uint8_t *dst, void *scratch);

/* COCO run lengths (column-major over the whole image, zeros first, adding up to width*height) of the same pixels.
 * Writes at most `capacity` counts; returns how many there are (rcnn_mask_rle_capacity is always enough). */
int32_t rcnn_mask_paste_rle(const rcnn_paste_spec *spec, const float *soft, const float box[4],
                            const rcnn_mask_region *region, uint32_t *counts, int32_t capacity, void *scratch);
/* Safe capacity for any mask in the region. */
size_t rcnn_mask_rle_capacity(const rcnn_mask_region *region);

/* Run lengths of a 0/1 bitmap standing at `region` in a width x height image. */
int32_t rcnn_mask_rle_of_bitmap(const uint8_t *bitmap, const rcnn_mask_region *region, int32_t width, int32_t height,
                                uint32_t *counts, int32_t capacity);

/* Outlines of a 0/1 bitmap standing at `region`: closed rings along pixel edges (outer rings clockwise on screen, holes
 * counter-clockwise, 4-connected), corners only. points: x,y pairs of image coordinates; ring_ends[i]: points up to the
 * end of ring i. Returns the number of rings, *point_count the number of points; writes no more than the capacities
 * (call with 0 to size). visited: [height+1][width+1] bytes of scratch. */
int32_t rcnn_mask_polygons(const uint8_t *bitmap, const rcnn_mask_region *region, float *points, int32_t point_capacity,
                           int32_t *ring_ends, int32_t ring_capacity, int32_t *point_count, uint8_t *visited);

#endif
