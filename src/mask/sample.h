/* Inside src/mask: where a pixel of the image falls on the soft mask. Both arithmetics of spec 10 and 13.11 come down
 * to the same form, per axis: value at pixel p = a * cell[i] + b * cell[i + 1] on a mask that is framed by zeros. */
#ifndef RCNN_MASK_SAMPLE_H
#define RCNN_MASK_SAMPLE_H

#include <stdbool.h>

#include "mask/mask.h"

#define FRAMED_SIDE(side) ((side) + 3) /* one zero before, two after: cell + 1 exists for every tap */
#define FRAMED_SIDE_MAX   FRAMED_SIDE(RCNN_MASK_SIDE_MAX)

typedef struct rcnn_mask_tap {
    int32_t cell; /* of the framed mask: mask cell i is framed cell i + 1 */
    float a, b;   /* weights of cell and cell + 1, non-negative, together 1 (or both 0, far outside) */
} rcnn_mask_tap;

/* taps of pixels from .. from+count-1 along one axis; low, high: the box edges of that axis. */
void rcnn_mask_taps(const rcnn_paste_spec *spec, float low, float high, int32_t from, int32_t count,
                    rcnn_mask_tap *taps);

/* The decision on one pixel. */
static inline bool rcnn_mask_is_set(const rcnn_paste_spec *spec, float value)
{
    return spec->paste == RCNN_PASTE_GRID ? value >= spec->threshold : value > spec->threshold;
}

#endif
