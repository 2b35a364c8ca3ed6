/* From tensors to layers: checks every shape against the layers before it, reads float32, folds batch norm in double,
 * stacks scores over deltas. */
#ifndef RCNN_MODEL_LAYERS_H
#define RCNN_MODEL_LAYERS_H

#include "model/tensors.h"

#define RCNN_MODEL_PARAMETERS_MAX ((size_t)1 << 30) /* weights and biases of a whole model */

/* Suffix of the scale tensor beside an int8 weight of a native file, one float per output channel. */
#define RCNN_SCALE_SUFFIX ".weight.scale"

/* Builds all layers that the config asks for. *layers is the caller's, also after a failure (then it holds what was
 * built): release with rcnn_layers_free. FORMAT for a missing or misshaped tensor, NUMERIC, LIMIT, MEMORY. */
rcnn_status rcnn_layers_build(const rcnn_config *config, const rcnn_tensor_table *table, rcnn_naming naming,
                              rcnn_layer **layers, int32_t *count, rcnn_error *err);
void rcnn_layers_free(rcnn_layer *layers, int32_t count);

/* Elements of layer->weights; the loader has checked that it fits. */
size_t rcnn_layer_weight_count(const rcnn_layer *layer);

/* Folds y = gamma*(x-mean)/sqrt(var+eps) + beta into a convolution of `out` filters of `per_filter` weights, in double;
 * norm holds gamma, beta, mean, var, each [out]. bias is read and written. */
void rcnn_fold_batch_norm(float *weights, float *bias, int32_t out, size_t per_filter, const float *const norm[4],
                          double eps);

#endif
