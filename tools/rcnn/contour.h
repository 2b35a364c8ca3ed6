/* Outlines of a soft mask at a level, with sub-pixel corners: what a picture draws at any enlargement. The pixel masks
 * of the JSON come from the library; this follows the same bilinear surface, so both agree to a fraction of a pixel. */
#ifndef RCNN_TOOLS_CONTOUR_H
#define RCNN_TOOLS_CONTOUR_H

#include <stdbool.h>
#include <stdint.h>

#define CONTOUR_SIDE_MAX 512

typedef struct contour {
    float *points;      /* x,y pairs, rings one after another       */
    int32_t *ring_ends; /* points up to the end of each ring        */
    int32_t point_count, ring_count;
} contour;

/* Closed rings where `soft` [side][side], spread over box x1,y1,x2,y2 with 0 outside, crosses `level`. Values >= level
 * are inside; fill with the even-odd or the non-zero rule. False when out of memory or the side is out of range. */
bool contour_trace(const float *soft, int32_t side, const float box[4], float level, contour *out);
void contour_free(contour *outline);

#endif
