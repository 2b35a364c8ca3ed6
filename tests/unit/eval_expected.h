/* Recorded evaluations: expected.json of scripts/make_eval_golden.py, read with the library's own reader. */
#ifndef RCNN_TESTS_EVAL_EXPECTED_H
#define RCNN_TESTS_EVAL_EXPECTED_H

#include "rcnn/rcnn.h"

#define EXPECTED_RUNS_MAX       16
#define EXPECTED_CATEGORIES_MAX 16

typedef struct expected_run {
    char detections[32];
    rcnn_iou_type iou_type;
    double max_dets[3], stats[RCNN_EVAL_STAT_COUNT], category_ap[EXPECTED_CATEGORIES_MAX];
    int category_count;
} expected_run;

/* The number of runs read, -1 when the file cannot be read as such. */
int expected_read(const char *path, expected_run *runs);

#endif
