/* A Mask R-CNN R50-FPN with seeded random weights: the arithmetic of the architecture where no checkpoint is at hand. */
#ifndef RCNN_TOOLS_BENCH_RANDOM_H
#define RCNN_TOOLS_BENCH_RANDOM_H

#include "message.h"

/* 80 classes, mmdetection's settings. Weights are spread so that activations stay near one through all layers, and so that
 * proposals and detections fill their limits on any picture with texture. False with err filled. */
bool random_model_make(rcnn_model **out, rcnn_error *err);

#endif
