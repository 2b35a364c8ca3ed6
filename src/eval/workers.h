/* Threads of a run: each has its own memory, kept from group to group. */
#ifndef RCNN_EVAL_WORKERS_H
#define RCNN_EVAL_WORKERS_H

#include "eval/accumulate.h"

/* Options with the caller's values over the defaults, checked. */
rcnn_status rcnn_eval_read_options(const rcnn_eval_options *given, rcnn_eval_options *out, rcnn_error *err);
/* What the annotations and detections must have for the type: boxes, or masks and image sizes. */
rcnn_status rcnn_eval_check_type(const rcnn_eval_detections *detections, rcnn_iou_type type, rcnn_error *err);

#endif
