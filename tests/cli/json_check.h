/* Checks the detections file against its documented form, with the library's own reader. */
#ifndef RCNN_TESTS_CLI_JSON_CHECK_H
#define RCNN_TESTS_CLI_JSON_CHECK_H

#include "base/json.h"

typedef struct json_counts {
    int images, detections, boxes, scores, names, ids, segmentations, timings;
} json_counts;

/* Counts the members of a detections text; RCNN_OK only for well-formed JSON of one object. */
rcnn_status json_check(const char *text, json_counts *out, rcnn_error *err);

#endif
