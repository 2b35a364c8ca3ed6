/* RoIAlign over P2..P5 for boxes and masks. */
#ifndef RCNN_STAGES_ROI_POOL_H
#define RCNN_STAGES_ROI_POOL_H

#include "stages/stages.h"

/* boxes [N,R,4] + counts [N] -> value `name`, packed rows [N*R,bins,bins,C]. */
rcnn_status rcnn_build_roi_align(rcnn_builder *b, rcnn_stage stage, const char *name, int32_t bins, rcnn_value_id boxes,
                                 rcnn_value_id counts, rcnn_value_id *out);

#endif
