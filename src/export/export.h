/* Between the public entry, which is in every build, and the ONNX writer, which needs protobuf-c. */
#ifndef RCNN_EXPORT_EXPORT_H
#define RCNN_EXPORT_EXPORT_H

#include "model/model.h"

/* rcnn_model_export_onnx after its arguments were checked. */
rcnn_status rcnn_export_onnx(const rcnn_model *model, const char *path, const rcnn_onnx_options *options,
                             rcnn_error *err);

#endif
