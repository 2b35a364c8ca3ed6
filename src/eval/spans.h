/* Inside src/eval: the two halves of spreading a shape. */
#ifndef RCNN_EVAL_SPANS_H
#define RCNN_EVAL_SPANS_H

#include "eval/shape.h"

/* Appends the borders of a checked run-length text; fills first and count. False when out of memory. */
bool rcnn_eval_runs_spread(rcnn_eval_borders *borders, const char *text, size_t length, rcnn_eval_spans *out);
/* Fills area and box from the borders first .. first+count-1; both must be 0 before. */
void rcnn_eval_spans_measure(const uint32_t *borders, int32_t height, rcnn_eval_spans *s);

#endif
