/* `rcnn convert`: any checkpoint in, the native model file out. */
#include <stdio.h>
#include <sys/stat.h>

#include "commands.h"
#include "log.h"
#include "model_args.h"

static void report(const options *opts, const rcnn_model *model, const char *form)
{
    struct stat info;
    if (!opts->value[OPT_QUIET].set && stat(opts->operands[1], &info) == 0) {
        printf("%s: %lld parameters as %s, %.1f MB\n", opts->operands[1], (long long)rcnn_model_parameter_count(model),
               form, (double)info.st_size / 1e6);
    }
}

int cmd_convert(const options *opts)
{
    static const rcnn_weights_format FORMATS[] = {RCNN_WEIGHTS_FP32, RCNN_WEIGHTS_FP16, RCNN_WEIGHTS_INT8};
    const option_value *form = &opts->value[OPT_WEIGHTS];
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    log_start(opts, NULL);
    bool done = model_load_with_options(opts, opts->operands[0], &model, &err) &&
                rcnn_model_save(model, opts->operands[1], FORMATS[form->integer], &err) == RCNN_OK;
    if (done) {
        report(opts, model, form->set ? form->text : "fp32");
    } else {
        message_error("%s", err.message);
    }
    rcnn_model_destroy(model);
    return done ? TOOL_DONE : tool_status(&err);
}
