/* From histograms to decisions: a range for each activation, what each costs alone, and together. */
#include <math.h>
#include <stdio.h>

#include "base/memory.h"
#include "calibrate/calibration.h"
#include "calibrate/ranges.h"
#include "calibrate/sensitivity.h"
#include "model/int8_weights.h"

typedef struct choosing {
    rcnn_calibration *calibration;
    rcnn_activation *activations;
    int32_t count;
    double (*errors)[RCNN_SENSITIVITY_PARTS]; /* [count] of the outputs' parts, each alone */
    uint8_t *use;                             /* [count] 1: stored as bytes */
    rcnn_sensitivity *sensitivity;
    rcnn_error *err;
} choosing;

static void choose_ranges(choosing *c)
{
    const rcnn_observed *observed = c->calibration->observed;
    const int32_t threads = c->calibration->options.num_threads;
    (void)threads; /* without OpenMP */
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int32_t i = 0; i < c->count; i++) {
        const rcnn_observed *o = &observed[i];
        rcnn_activation *a = &c->activations[i];
        const rcnn_range range =
            rcnn_range_choose(&o->histogram, o->is_signed ? RCNN_CODE_MAX_SIGNED : RCNN_CODE_MAX_UNSIGNED);
        snprintf(a->value, sizeof a->value, "%s", o->name);
        snprintf(a->method, sizeof a->method, "%s", range.method);
        a->scale = range.scale;
        a->is_signed = o->is_signed;
        a->min = o->histogram.min;
        a->max = o->histogram.max;
        a->error = range.error;
    }
}

static rcnn_status report(const choosing *c, int32_t done)
{
    const rcnn_calibration_options *o = &c->calibration->options;
    return o->progress && o->progress(o->progress_context, done, c->count + 1) != 0
               ? rcnn_fail(c->err, RCNN_ERR_CANCELLED, "calibration: cancelled")
               : RCNN_OK;
}

/* The part of the outputs that is changed most. */
static int32_t worst_part(const double errors[RCNN_SENSITIVITY_PARTS])
{
    int32_t worst = 0;
    for (int32_t p = 1; p < RCNN_SENSITIVITY_PARTS; p++) {
        worst = errors[p] > errors[worst] ? p : worst;
    }
    return worst;
}

/* Each alone; those over the limit stay in floating point. */
static rcnn_status measure_each(choosing *c)
{
    const double limit = (double)c->calibration->options.max_error;
    for (int32_t i = 0; i < c->count; i++) {
        RCNN_TRY(report(c, i));
        if (!(c->activations[i].scale > 0)) {
            continue;
        }
        c->use[i] = 1;
        rcnn_status status =
            rcnn_sensitivity_measure(c->sensitivity, c->activations, c->count, c->use, c->errors[i], c->err);
        c->use[i] = 0;
        RCNN_TRY(status);
        c->activations[i].sensitivity = (float)c->errors[i][worst_part(c->errors[i])];
    }
    for (int32_t i = 0; i < c->count; i++) {
        c->use[i] = c->activations[i].scale > 0 && (double)c->activations[i].sensitivity <= limit;
    }
    return report(c, c->count);
}

/* Index of the activation in use that alone changes a part of the outputs most, or -1. */
static int32_t worst_used(const choosing *c, int32_t part)
{
    int32_t worst = -1;
    for (int32_t i = 0; i < c->count; i++) {
        if (c->use[i] && (worst < 0 || c->errors[i][part] > c->errors[worst][part])) {
            worst = i;
        }
    }
    return worst;
}

/* All together; those go that do most to the part of the outputs that is worst off, until all keep the limit. */
static rcnn_status measure_together(choosing *c, double *joint_error)
{
    const double limit = RCNN_CALIBRATION_JOINT * (double)c->calibration->options.max_error;
    for (;;) {
        double errors[RCNN_SENSITIVITY_PARTS];
        RCNN_TRY(rcnn_sensitivity_measure(c->sensitivity, c->activations, c->count, c->use, errors, c->err));
        const int32_t part = worst_part(errors), worst = worst_used(c, part);
        *joint_error = errors[part];
        if (*joint_error <= limit || worst < 0) {
            break;
        }
        rcnn_log(RCNN_LOG_INFO,
                 "calibration: outputs differ by %.4f together; '%s' (%.4f alone) stays in floating point",
                 *joint_error, c->activations[worst].value, c->errors[worst][part]);
        c->use[worst] = 0;
        RCNN_TRY(report(c, c->count));
    }
    return report(c, c->count + 1);
}

static rcnn_status open_sensitivity(choosing *c)
{
    rcnn_session_options options = rcnn_calibration_session(c->calibration);
    const rcnn_config *config = &c->calibration->model->config;
    const int32_t short_side = options.short_side ? options.short_side : config->short_side;
    const int32_t long_side = options.long_side ? options.long_side : config->long_side;
    if (short_side > RCNN_SENSITIVITY_SIDE) {
        options.short_side = RCNN_SENSITIVITY_SIDE;
        options.long_side = (int32_t)((int64_t)long_side * RCNN_SENSITIVITY_SIDE / short_side);
    }
    options.max_detections = RCNN_SENSITIVITY_DETECTIONS;
    rcnn_model *model;
    RCNN_TRY(rcnn_model_with_int8_weights(c->calibration->model, &model, c->err));
    rcnn_status status = rcnn_sensitivity_open(model, &options, &c->calibration->sample, &c->sensitivity, c->err);
    rcnn_model_destroy(model); /* the sensitivity's session keeps it */
    return status;
}

static rcnn_status choose(choosing *c, double *joint_error)
{
    choose_ranges(c);
    RCNN_TRY(open_sensitivity(c));
    RCNN_TRY(measure_each(c));
    RCNN_TRY(measure_together(c, joint_error));
    for (int32_t i = 0; i < c->count; i++) {
        if (!c->use[i]) {
            c->activations[i].scale = 0;
            snprintf(c->activations[i].method, sizeof c->activations[i].method, "float");
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_calibration_choose(rcnn_calibration *calibration, rcnn_chosen *chosen, rcnn_error *err)
{
    const size_t count = (size_t)calibration->observed_count;
    choosing c = {.calibration = calibration, .count = calibration->observed_count, .err = err};
    c.activations = rcnn_calloc(count, sizeof *c.activations);
    c.errors = rcnn_calloc(count, sizeof *c.errors);
    c.use = rcnn_calloc(count, 1);
    chosen->activations = c.activations;
    rcnn_status status = c.activations && c.errors && c.use
                             ? choose(&c, &chosen->joint_error)
                             : rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory");
    rcnn_sensitivity_close(c.sensitivity);
    rcnn_free(c.errors);
    rcnn_free(c.use);
    return status;
}
