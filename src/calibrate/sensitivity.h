/* What storing activations as bytes does to the network's outputs, measured on one image.
 *
 * The network runs once in fp32 on the weights that the int8 file will hold. To measure, chosen activations are rounded to
 * their codes in place and everything that depends on them is run again, in fp32: products of codes are exact in both, so
 * this gives what a backend computes on bytes but for the rounding of fp32 sums, and of factors where it filters by
 * Winograd's method, and needs no backend that can. Proposals and detections stay those of the first run: rows stay
 * comparable, and a box that just misses a threshold is no error. */
#ifndef RCNN_CALIBRATE_SENSITIVITY_H
#define RCNN_CALIBRATE_SENSITIVITY_H

#include "graph/graph.h"
#include "model/model.h"

typedef struct rcnn_sensitivity rcnn_sensitivity;

/* The model's config and layers are used; it must outlive the object. options: backend, threads and sides; precision
 * and keep_values are set here. */
rcnn_status rcnn_sensitivity_open(const rcnn_model *model, const rcnn_session_options *options,
                                  const rcnn_image_view *image, rcnn_sensitivity **out, rcnn_error *err);
/* Outputs are judged in parts: RPN logits and deltas of each level, box logits and deltas, masks. */
#define RCNN_SENSITIVITY_PARTS (2 * RCNN_LEVELS_MAX + 3)

/* errors[p] = relative error of part p of the outputs (0 past the last) when the activations i with use[i] != 0 are stored
 * as bytes: root of the squared differences over that of the squared deviations from the part's mean. activations[i].value
 * must be values of the network, with a scale where used. */
rcnn_status rcnn_sensitivity_measure(rcnn_sensitivity *sensitivity, const rcnn_activation *activations, int32_t count,
                                     const uint8_t *use, double errors[RCNN_SENSITIVITY_PARTS], rcnn_error *err);
void rcnn_sensitivity_close(rcnn_sensitivity *sensitivity);

#endif
