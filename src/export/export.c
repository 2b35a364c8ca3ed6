/* rcnn_model_export_onnx: options and arguments. What writes the file is built only with protobuf-c. */
#include "export/export.h"

#include <string.h>

#define OPSET_FIRST   16 /* has RoiAlign with a choice of coordinates */
#define OPSET_LAST    21
#define OPSET_DEFAULT 17

void rcnn_onnx_options_init_sized(rcnn_onnx_options *options, size_t struct_size)
{
    const rcnn_onnx_options defaults = {.struct_size = struct_size, .opset = OPSET_DEFAULT, .part = RCNN_ONNX_ALL};
    if (options && struct_size >= sizeof options->struct_size) {
        memset(options, 0, struct_size);
        memcpy(options, &defaults, struct_size < sizeof defaults ? struct_size : sizeof defaults);
    }
}

/* The caller's struct over the defaults; a newer caller's unknown fields must be zero. */
static rcnn_status read_options(const rcnn_onnx_options *given, rcnn_onnx_options *out, rcnn_error *err)
{
    rcnn_onnx_options_init(out);
    if (!given) {
        return RCNN_OK;
    }
    if (given->struct_size < sizeof given->struct_size) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "onnx options: call rcnn_onnx_options_init first");
    }
    for (size_t i = sizeof *out; i < given->struct_size; i++) {
        if (((const unsigned char *)given)[i] != 0) {
            return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "onnx options: set by a newer version of the header");
        }
    }
    memcpy(out, given, given->struct_size < sizeof *out ? given->struct_size : sizeof *out);
    out->struct_size = sizeof *out;
    return RCNN_OK;
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
    RCNN_TRY(read_options(options, &checked, err));
    RCNN_TRY(check_options(&checked, err));
#if RCNN_HAVE_PROTOBUF_C
    return rcnn_export_onnx(model, path, &checked, err);
#else
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                     "onnx export: this build has no protobuf-c; install libprotobuf-c-dev and protobuf-c-compiler and "
                     "build again");
#endif
}
