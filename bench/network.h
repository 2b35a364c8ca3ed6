/* Mask R-CNN R50-FPN with 80 classes as shapes: a model whose layers have no weights, for graphs that are only looked at,
 * never run. Lets a bench know every shape of the network without a checkpoint. */
#ifndef RCNN_BENCH_NETWORK_H
#define RCNN_BENCH_NETWORK_H

#include "model/model.h"

/* Fills *model; network_free afterwards, also after a failure. MEMORY. */
rcnn_status network_r50_fpn(rcnn_model *model, rcnn_error *err);
void network_free(rcnn_model *model);

#endif
