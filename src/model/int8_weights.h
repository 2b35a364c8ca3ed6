/* Layers as int8 files store them. */
#ifndef RCNN_MODEL_INT8_WEIGHTS_H
#define RCNN_MODEL_INT8_WEIGHTS_H

#include "model/model.h"

/* Codes in the order of layer->weights, scales [out]. */
void rcnn_quantise_layer(const rcnn_layer *layer, float *scales, int8_t *codes);

/* A model whose weights are what is read back from an int8 file of `model`: config and layers only, without names of
 * classes, for building graphs. Release with rcnn_model_destroy. MEMORY. */
rcnn_status rcnn_model_with_int8_weights(const rcnn_model *model, rcnn_model **out, rcnn_error *err);

#endif
