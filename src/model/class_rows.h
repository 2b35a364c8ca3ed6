/* The rows of the last box and mask layers belong to classes, and frameworks put the background first or last
 * (spec sections 7, 13.9). Here rows move from one order to the other, for files written in another framework's names.
 */
#ifndef RCNN_MODEL_CLASS_ROWS_H
#define RCNN_MODEL_CLASS_ROWS_H

#include "model/model.h"

/* True for the layers whose rows depend on the order: box.pred and mask.logits. */
bool rcnn_class_rows_concern(const rcnn_layer *layer);
/* A copy of such a layer with the background first or last; src has the other order. Scores are rotated. Deltas and
 * masks have background rows only where the background is first: they are made as zeros, or dropped, as no prediction
 * uses them. config gives class_count and which heads are agnostic. *dst is the caller's, also after a failure: release
 * its weights and bias. MEMORY. */
rcnn_status rcnn_class_rows_convert(const rcnn_layer *src, const rcnn_config *config, bool background_first,
                                    rcnn_layer *dst, rcnn_error *err);
/* Converts all layers of a model in place; on failure they are partly converted. MEMORY. */
rcnn_status rcnn_class_rows_convert_all(rcnn_layer *layers, int32_t count, const rcnn_config *config,
                                        bool background_first, rcnn_error *err);

#endif
