/* Matching detections with annotations inside one group, COCO's greedy way. */
#ifndef RCNN_EVAL_MATCH_H
#define RCNN_EVAL_MATCH_H

#include "eval/pairs.h"

/* What a run works on; shared by its threads. */
typedef struct rcnn_eval_task {
    const rcnn_eval_detections *detections;
    const rcnn_eval_pairs *pairs;
    rcnn_iou_type iou_type;
    double least_iou; /* pairs below are of no interest */
} rcnn_eval_task;

/* A detection's annotation with enough overlap. */
typedef struct rcnn_eval_candidate {
    uint32_t truth; /* index within the group */
    double iou;
} rcnn_eval_candidate;

/* One thread's memory, kept from group to group; zeroed = empty. */
typedef struct rcnn_eval_worker {
    rcnn_eval_canvas canvas;
    uint32_t *found; /* item indices of the group's detections that count, by falling score, file order for equals */
    size_t found_capacity;
    rcnn_eval_candidate
        *candidates; /* of detection i: first[i] .. first[i+1]-1, annotations in the order of the file */
    size_t candidate_count, candidate_capacity;
    size_t *first;
    size_t first_capacity;
    rcnn_eval_spans *spans; /* of the group's annotations */
    size_t spans_capacity;
    uint16_t *taken; /* per annotation: a bit per IoU threshold */
    size_t taken_capacity;
    bool *ignored; /* per annotation */
    size_t ignored_capacity;
} rcnn_eval_worker;

void rcnn_eval_worker_free(rcnn_eval_worker *worker);

/* Fills found, candidates and first for a group. False when out of memory. */
bool rcnn_eval_find_candidates(rcnn_eval_worker *worker, const rcnn_eval_task *task, const rcnn_eval_group *group);

/* What became of a detection: per area range a bit for each IoU threshold. */
typedef struct rcnn_eval_outcome {
    double score;
    uint32_t rank; /* within its group */
    uint16_t matched[RCNN_EVAL_AREA_COUNT], ignored[RCNN_EVAL_AREA_COUNT];
} rcnn_eval_outcome;

/* The IoU thresholds 0.5, 0.55 .. 0.95 with the bits of numpy's linspace. */
double rcnn_eval_iou_threshold(int index);

/* Fills group->regular and its outcomes. False when out of memory. */
bool rcnn_eval_match(rcnn_eval_worker *worker, const rcnn_eval_task *task, rcnn_eval_group *group,
                     rcnn_eval_outcome *outcomes);

#endif
