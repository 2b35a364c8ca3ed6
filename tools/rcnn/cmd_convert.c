/* `rcnn convert`: any checkpoint in; out the native model file, or a state dict in the names of a framework. */
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

/* --names' words after native stand in the order of rcnn_state_dict. */
static bool save(const options *opts, const rcnn_model *model, rcnn_error *err)
{
    static const rcnn_weights_format FORMATS[] = {RCNN_WEIGHTS_FP32, RCNN_WEIGHTS_FP16, RCNN_WEIGHTS_INT8};
    const int32_t names = opts->value[OPT_NAMES].integer;
    if (names > 0) {
        return rcnn_model_save_state_dict(model, opts->operands[1], (rcnn_state_dict)(names - 1), err) == RCNN_OK;
    }
    return rcnn_model_save(model, opts->operands[1], FORMATS[opts->value[OPT_WEIGHTS].integer], err) == RCNN_OK;
}

int cmd_convert(const options *opts)
{
    const option_value *form = &opts->value[OPT_WEIGHTS], *names = &opts->value[OPT_NAMES];
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    if (names->integer > 0 && form->integer > 0) {
        message_error("--weights: want fp32, as a state dict of %s holds no other, got '%s'", names->text, form->text);
        return TOOL_USAGE;
    }
    log_start(opts, NULL);
    bool done = model_load_with_options(opts, opts->operands[0], &model, &err) && save(opts, model, &err);
    if (done) {
        report(opts, model, form->set ? form->text : "fp32");
    } else {
        message_error("%s", err.message);
    }
    rcnn_model_destroy(model);
    return done ? TOOL_DONE : tool_status(&err);
}
