/* `rcnn export`: any model in, an ONNX file for other runtimes out. */
#include <stdio.h>
#include <sys/stat.h>

#include "commands.h"
#include "inputs.h"
#include "log.h"
#include "model_args.h"

#define DEFAULT_FILE "model.onnx"

static void report(const options *opts, const char *path, const rcnn_onnx_options *onnx)
{
    static const char *const PARTS[] = {"whole detector", "backbone, pyramid and RPN predictions",
                                        "box and mask heads"};
    struct stat info;
    if (!opts->value[OPT_QUIET].set && stat(path, &info) == 0) {
        printf("%s: %s, opset %d, %.1f MB\n", path, PARTS[onnx->part], onnx->opset, (double)info.st_size / 1e6);
    }
}

int cmd_export(const options *opts)
{
    const char *path = opts->value[OPT_ONNX_FILE].set ? opts->value[OPT_ONNX_FILE].text : DEFAULT_FILE;
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_onnx_options onnx;
    rcnn_onnx_options_init(&onnx);
    onnx.opset = opts->value[OPT_OPSET].set ? opts->value[OPT_OPSET].integer : onnx.opset;
    onnx.part = (rcnn_onnx_part)opts->value[OPT_PART].integer; /* the words stand in the order of the enumeration */
    onnx.image_size_input = opts->value[OPT_IMAGE_SIZE].set;
    if (same_file(opts->operands[0], path)) {
        message_error("--output: '%.300s': want a file other than the model", path);
        return TOOL_USAGE;
    }
    log_start(opts, NULL);
    bool done = model_load_with_options(opts, opts->operands[0], &model, &err) &&
                rcnn_model_export_onnx(model, path, &onnx, &err) == RCNN_OK;
    if (done) {
        report(opts, path, &onnx);
    } else {
        message_error("%s", err.message);
    }
    rcnn_model_destroy(model);
    return done ? TOOL_DONE : tool_status(&err);
}
