/* The config text that mmdetection stores in its checkpoints is a Python program. It is never executed or parsed as
 * Python: this scan looks for "name = value" inside named brackets and takes plain numbers, booleans and words. What
 * it cannot read it leaves at its default, with a log line. */
#ifndef RCNN_MODEL_MMDET_TEXT_H
#define RCNN_MODEL_MMDET_TEXT_H

#include "model/config.h"

/* The backbone's style; false when the text does not say. */
bool rcnn_mmdet_text_style(const char *text, rcnn_style *out);
/* Puts test-time settings of the text (pixel statistics, sizes, anchors, thresholds, limits) into the config and marks
 * them FILE. Logs at WARN what the text asks for and this library does not do. */
void rcnn_mmdet_text_read(const char *text, rcnn_config *config, rcnn_config_sources *sources);

#endif
