/* rcnn_model_export_onnx: options and arguments. What writes the file is built only with protobuf-c. */
#include "export/export.h"

#include "base/options.h"

#define OPSET_FIRST   16 /* has RoiAlign with a choice of coordinates */
#define OPSET_LAST    21
#define OPSET_DEFAULT 17

void rcnn_onnx_options_init_sized(rcnn_onnx_options *options, size_t struct_size)
{
    const rcnn_onnx_options defaults = {.struct_size = struct_size, .opset = OPSET_DEFAULT, .part = RCNN_ONNX_ALL};
    rcnn_options_init(options, struct_size, &defaults, sizeof defaults);
}

static rcnn_status check_options(const rcnn_onnx_options *options, rcnn_error *err)
{
    if (options->opset < OPSET_FIRST || options->opset > OPSET_LAST) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "onnx export: want an opset of %d..%d, got %d", OPSET_FIRST,
                         OPSET_LAST, options->opset);
    }
    if ((int)options->part < RCNN_ONNX_ALL || options->part > RCNN_ONNX_HEADS) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "onnx export: want a part of 0..%d, got %d", RCNN_ONNX_HEADS,
                         (int)options->part);
    }
    if (options->image_size_input && options->part != RCNN_ONNX_ALL) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT,
                         "onnx export: only the whole detector clips boxes and can take the image's size");
    }
    return RCNN_OK;
}

rcnn_status rcnn_model_export_onnx(const rcnn_model *model, const char *path, const rcnn_onnx_options *options,
                                   rcnn_error *err)
{
    rcnn_onnx_options checked;
    if (!model || !path) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "onnx export: want a model and a path, got no %s",
                         model ? "path" : "model");
    }
    rcnn_onnx_options_init(&checked);
    RCNN_TRY(rcnn_options_read("onnx", options, &checked, sizeof checked, err));
    RCNN_TRY(check_options(&checked, err));
#if RCNN_HAVE_PROTOBUF_C
    return rcnn_export_onnx(model, path, &checked, err);
#else
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                     "onnx export: this build has no protobuf-c; install libprotobuf-c-dev and protobuf-c-compiler and "
                     "build again");
#endif
}
