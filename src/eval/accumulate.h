/* From matches to precision and recall. */
#ifndef RCNN_EVAL_ACCUMULATE_H
#define RCNN_EVAL_ACCUMULATE_H

#include "eval/match.h"

struct rcnn_eval {
    int32_t category_count;
    double stats[RCNN_EVAL_STAT_COUNT];
    double *category_stats; /* [K][RCNN_EVAL_STAT_COUNT]                             */
    double *precision;      /* [K][RCNN_EVAL_IOU_COUNT][RCNN_EVAL_RECALL_COUNT], all areas, last limit; -1 = none */
};

/* One thread's memory; zeroed = empty. */
typedef struct rcnn_eval_ledger {
    uint32_t *order; /* and as much scratch behind it */
    size_t order_capacity;
    rcnn_eval_outcome *sorted;
    size_t sorted_capacity;
    double *points; /* precision at each true positive */
    size_t points_capacity;
} rcnn_eval_ledger;

void rcnn_eval_ledger_free(rcnn_eval_ledger *ledger);

/* Fills category_stats and precision of the category whose groups are first .. end-1. False when out of memory. */
bool rcnn_eval_accumulate(rcnn_eval_ledger *ledger, const rcnn_eval_pairs *pairs, const rcnn_eval_outcome *outcomes,
                          size_t first, size_t end, const int32_t max_dets[3], rcnn_eval *eval);
/* The means over the categories. */
void rcnn_eval_summarise(rcnn_eval *eval);

#endif
