/* A 1x1 convolution of few outputs that runs behind a 3x3 one, on its outputs while they are in a core's cache: the RPN's
 * predictions. What lies between the two is never stored for the whole map, 34 MB in BF16 at 1333x800. */
#ifndef RCNN_BACKEND_CPU_FOLLOW_H
#define RCNN_BACKEND_CPU_FOLLOW_H

#include "backend/cpu/panels.h"

typedef struct rcnn_follow {
    rcnn_backend *backend;
    const rcnn_product_body *body;
    rcnn_panels *weights; /* one panel */
    rcnn_product_numbers numbers;
    rcnn_value_id dst; /* [pixels][out] of floats */
    int32_t out;
} rcnn_follow;

/* Whether ops first and first+1 are a CONV and one that may follow it: it alone reads the first one's output, and has no more
 * outputs than a panel, in floats. */
bool rcnn_follow_fits(const rcnn_backend *backend, const rcnn_graph *graph, int32_t first);
/* MEMORY. To be released even after a failure. */
rcnn_status rcnn_follow_prepare(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op, rcnn_follow *out,
                                rcnn_error *err);
void rcnn_follow_release(rcnn_follow *follow);

/* sums [count][PANEL] = products of channels first .. first+channels-1 of pixels [count], which are `stride` elements apart;
 * added to what they hold when `first` is past the first. */
void rcnn_follow_multiply(const rcnn_follow *follow, const void *pixels, size_t stride, int32_t count, int32_t first,
                          int32_t channels, float *sums);
/* Outputs from sums [count][PANEL] to dst, row at[i] for pixel i, none where that is RCNN_FOLLOW_NOWHERE. */
void rcnn_follow_store(const rcnn_follow *follow, const float *sums, int32_t count, const size_t *at, float *dst);

#define RCNN_FOLLOW_NOWHERE SIZE_MAX

#endif
