/* `rcnn convert`: any checkpoint in; out the native model file, calibrated or not, or a state dict in the names of a
 * framework. */
#include <stdio.h>
#include <sys/stat.h>

#include "calibrate.h"
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

static rcnn_weights_format format_of(const option_value *form)
{
    static const rcnn_weights_format FORMATS[] = {RCNN_WEIGHTS_FP32, RCNN_WEIGHTS_FP16, RCNN_WEIGHTS_INT8};
    return FORMATS[form->integer];
}

/* --names' words after native stand in the order of rcnn_state_dict. */
static bool save(const options *opts, const rcnn_model *model, rcnn_error *err)
{
    const int32_t names = opts->value[OPT_NAMES].integer;
    if (names > 0) {
        return rcnn_model_save_state_dict(model, opts->operands[1], (rcnn_state_dict)(names - 1), err) == RCNN_OK;
    }
    return rcnn_model_save(model, opts->operands[1], format_of(&opts->value[OPT_WEIGHTS]), err) == RCNN_OK;
}

enum { PREPARE_FP32, PREPARE_INT8 }; /* --precision's words */

static bool refuse(const char *text)
{
    message_error("%s", text);
    return false;
}

/* Options that contradict each other. */
static bool check_options(const option_value *value)
{
    const option_value *form = &value[OPT_WEIGHTS], *names = &value[OPT_NAMES], *prepare = &value[OPT_PREPARE];
    const bool calibrate = value[OPT_CALIBRATE].set;
    if (names->integer > 0 && form->integer > 0) {
        message_error("--weights: want fp32, as a state dict of %s holds no other, got '%s'", names->text, form->text);
        return false;
    }
    if (prepare->integer == PREPARE_INT8 && !calibrate) {
        return refuse("--precision: int8 wants images, got no --calibrate PATH");
    }
    if (calibrate && prepare->set && prepare->integer != PREPARE_INT8) {
        return refuse("--calibrate: want --precision int8 with it, got 'fp32'");
    }
    if (!calibrate && (value[OPT_CALIB_IMAGES].set || value[OPT_MAX_ACTIVATION_ERROR].set)) {
        return refuse(value[OPT_CALIB_IMAGES].set ? "--calib-images: want --calibrate PATH with it, got none"
                                                  : "--max-error: want --calibrate PATH with it, got none");
    }
    if (calibrate && names->integer > 0) {
        message_error("--calibrate: want --names native, as a state dict of %s holds no ranges", names->text);
        return false;
    }
    if (calibrate && form->set && format_of(form) != RCNN_WEIGHTS_INT8) {
        message_error("--weights: want int8 with --calibrate, got '%s'", form->text);
        return false;
    }
    return true;
}

static void report_calibration(const options *opts)
{
    rcnn_model *model = NULL;
    rcnn_activation_info info;
    int32_t bytes = 0;
    if (opts->value[OPT_QUIET].set || rcnn_model_load(opts->operands[1], NULL, &model, NULL) != RCNN_OK) {
        return;
    }
    const int32_t count = rcnn_model_activation_count(model), images = rcnn_model_calibration_images(model);
    for (int32_t i = 0; i < count; i++) {
        bytes += rcnn_model_activation_get(model, i, &info) == RCNN_OK && info.scale > 0;
    }
    report(opts, model, "int8");
    printf("calibrated on %d image%s: %d of %d activations are int8, 'rcnn info' lists them\n", (int)images,
           images == 1 ? "" : "s", (int)bytes, (int)count);
    rcnn_model_destroy(model);
}

static int convert(const options *opts, const rcnn_model *model, rcnn_error *err)
{
    if (opts->value[OPT_CALIBRATE].set) {
        const int status = calibrate_file(opts, model, err);
        if (status == TOOL_DONE) {
            report_calibration(opts);
        }
        return status;
    }
    if (!save(opts, model, err)) {
        return tool_status(err);
    }
    report(opts, model, opts->value[OPT_WEIGHTS].set ? opts->value[OPT_WEIGHTS].text : "fp32");
    return TOOL_DONE;
}

int cmd_convert(const options *opts)
{
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    if (!check_options(opts->value)) {
        return TOOL_USAGE;
    }
    log_start(opts, NULL);
    const bool loaded = model_load_with_options(opts, opts->operands[0], &model, &err);
    const int status = loaded ? convert(opts, model, &err) : tool_status(&err);
    if (status != TOOL_DONE) {
        message_error("%s", err.message);
    }
    rcnn_model_destroy(model);
    return status;
}
