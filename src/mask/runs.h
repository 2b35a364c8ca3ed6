/* Inside src/mask: writing COCO run lengths one run at a time. */
#ifndef RCNN_MASK_RUNS_H
#define RCNN_MASK_RUNS_H

#include <stdbool.h>
#include <stdint.h>

/* Starts as {counts, capacity}; counts alternate zeros, ones, zeros, .. and start with zeros, maybe none. */
typedef struct rcnn_mask_runs {
    uint32_t *counts;
    int32_t capacity;
    int32_t count; /* finished runs, also those past the capacity */
    uint32_t length;
    bool value;
} rcnn_mask_runs;

static inline void rcnn_mask_runs_flush(rcnn_mask_runs *runs)
{
    if (runs->count < runs->capacity) {
        runs->counts[runs->count] = runs->length;
    }
    runs->count++;
    runs->length = 0;
}

/* `length` more pixels of `value`. */
static inline void rcnn_mask_runs_add(rcnn_mask_runs *runs, bool value, int64_t length)
{
    if (length > 0 && value != runs->value) {
        rcnn_mask_runs_flush(runs);
        runs->value = value;
    }
    runs->length += (uint32_t)length;
}

/* Ends the last run; returns how many counts there are. */
static inline int32_t rcnn_mask_runs_end(rcnn_mask_runs *runs)
{
    rcnn_mask_runs_flush(runs);
    return runs->count;
}

#endif
