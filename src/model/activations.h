/* Activation scales of calibrated models: which values of the graph can have one, and how native files hold them
 * (docs/weights-format.md, section 7): a tensor "activation.<value>.scale" each, and a record of how they were chosen in
 * the metadata. */
#ifndef RCNN_MODEL_ACTIVATIONS_H
#define RCNN_MODEL_ACTIVATIONS_H

#include "model/model.h"
#include "model/tensors.h"

#define RCNN_CALIBRATION_KEY        "rcnn_calibration"
#define RCNN_CALIBRATION_VERSION    1
#define RCNN_ACTIVATION_PREFIX      "activation."
#define RCNN_ACTIVATION_SUFFIX      ".scale"
#define RCNN_ACTIVATION_SCALE_COUNT 2 /* scale, is_signed */

/* Whether the network has an activation of that name which can be stored as bytes. Masks count also where has_mask was
 * overridden: their scales in a file are then not wrong, only unused. */
bool rcnn_activation_known(const rcnn_config *config, const char *value);

/* Scale and sign as a file has them: FORMAT with the tensor's name unless scale is 0 or a normal number by which every
 * code stays finite, and is_signed 0 or 1. */
rcnn_status rcnn_activation_check(const char *value, float scale, float is_signed, rcnn_error *err);

/* Fills model->activations and model->calibration from the table and the text of the record (NULL: there is none).
 * model->config must be final. A file without activations leaves both empty. FORMAT, UNSUPPORTED (version), MEMORY. */
rcnn_status rcnn_activations_read(rcnn_model *model, const rcnn_tensor_table *table, const char *record,
                                  rcnn_error *err);

/* Writes the model as rcnn_model_save does, with these activations and this record instead of its own. */
rcnn_status rcnn_model_save_calibrated(const rcnn_model *model, const char *path, rcnn_weights_format format,
                                       const rcnn_activation *activations, int32_t count, const char *record,
                                       rcnn_error *err);

#endif
