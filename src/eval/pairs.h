/* Annotations and detections of one image and category put together. */
#ifndef RCNN_EVAL_PAIRS_H
#define RCNN_EVAL_PAIRS_H

#include "eval/store.h"

#define RCNN_EVAL_AREA_COUNT 4 /* all, small, medium, large */

/* One image and category that has annotations or detections: ranges of the two orders below. */
typedef struct rcnn_eval_group {
    int32_t category, image;
    size_t truth_first, truth_count;
    size_t found_first, found_count;
    size_t outcome_first, outcome_count;    /* of the detections that count, see match.h          */
    uint32_t regular[RCNN_EVAL_AREA_COUNT]; /* annotations to be found, per area range; by match  */
} rcnn_eval_group;

typedef struct rcnn_eval_pairs {
    rcnn_eval_group *groups; /* by category, then image: the order COCO accumulates in */
    size_t count;
    uint32_t *truth_order, *found_order; /* item indices; within a group in the order of the file */
    size_t outcome_count;
} rcnn_eval_pairs;

/* Groups the items of the first image_limit images (0 = all); with merge_categories a group is a whole image and its
 * category 0. max_dets bounds the outcomes of a group. LIMIT beyond 2^32 items, MEMORY. rcnn_eval_pairs_free in
 * every case. */
rcnn_status rcnn_eval_pairs_make(const rcnn_eval_detections *detections, bool merge_categories,
                                 const rcnn_eval_options *options, rcnn_eval_pairs *out, rcnn_error *err);
void rcnn_eval_pairs_free(rcnn_eval_pairs *pairs);

#endif
