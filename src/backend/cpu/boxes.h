/* Box and score arithmetic that rpn_select, box_select and detect share (spec 5.3, 5.5). In float, in the order of the
 * frameworks: thresholds and sorting are decided on these bits. A few thousand boxes an image, so scalar. */
#ifndef RCNN_BACKEND_CPU_BOXES_H
#define RCNN_BACKEND_CPU_BOXES_H

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "graph/graph.h"

/* Neither NaN nor infinite, all of them. */
static inline bool rcnn_cpu_finite(const float *values, size_t count)
{
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, values + i, sizeof bits);
        bad |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

static inline float rcnn_cpu_sigmoid(float logit)
{
    return 1.0f / (1.0f + expf(-logit));
}

/* box [4] moved and scaled by delta [4] (dx,dy,dw,dh), then clipped to [0,width] x [0,height]. */
void rcnn_cpu_decode_clipped(const rcnn_decode *decode, const float *box, const float *delta, int32_t width,
                             int32_t height, float *out);

void rcnn_cpu_clip_box(float *box, int32_t width, int32_t height);

#endif
