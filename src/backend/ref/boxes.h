/* Box and score arithmetic that several ops of the ref backend share (spec 5.3, 5.5). All of it in float, in the order
 * the frameworks compute, because thresholds and sorting are decided on these very bits. */
#ifndef RCNN_BACKEND_REF_BOXES_H
#define RCNN_BACKEND_REF_BOXES_H

#include <stdbool.h>

#include "graph/graph.h"

/* 1 / (1 + exp(-x)); reaches 1.0 from about x = 17 up. */
float rcnn_ref_sigmoid(float x);
/* All of values[0..count) are neither NaN nor infinite. */
bool rcnn_ref_all_finite(const float *values, int32_t count);

/* delta [4] dx,dy,dw,dh on box [4] -> out [4], not clipped. */
void rcnn_ref_decode(const rcnn_decode *decode, const float *box, const float *delta, float *out);
/* x to [0,width], y to [0,height], upper bounds included. */
void rcnn_ref_clip(float *box, int32_t width, int32_t height);
/* Both sides are > minimum (>= when inclusive); a negative minimum keeps every box. */
bool rcnn_ref_side_at_least(const float *box, float minimum, bool inclusive);

/* order[0..count) = indices of value by descending value, equal values by ascending index. spare: [count] ints. */
void rcnn_ref_order_descending(const float *value, int32_t count, int32_t *order, int32_t *spare);

/* The candidate list of one image: boxes [capacity][4], scores and groups [capacity]. */
typedef struct rcnn_ref_list {
    float *boxes, *scores;
    int32_t *groups;
    int32_t count, capacity;
} rcnn_ref_list;

/* List of image n in output values boxes [N,R,4], scores [N,R], groups [N,R]; empty. */
rcnn_ref_list rcnn_ref_list_of(const rcnn_tensor_desc *boxes_desc, void *boxes, void *scores, void *groups, int32_t n);
/* Appends; false when full. */
bool rcnn_ref_list_add(rcnn_ref_list *list, const float *box, float score, int32_t group);

#endif
