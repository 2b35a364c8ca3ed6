/* How much of a value a run has filled. */
#ifndef RCNN_CALIBRATE_LIVE_H
#define RCNN_CALIBRATE_LIVE_H

#include "session/plan.h"

/* Elements from the start of a value of the plan, in host memory, that the last run wrote: all, or those of the live packed
 * rows. */
size_t rcnn_live_elements(const rcnn_plan *plan, rcnn_value_id id);

#endif
