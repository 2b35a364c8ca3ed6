/* The public calibration object: collecting, and writing the file. */
#include "calibrate/calibration.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/options.h"
#include "base/threads.h"
#include "calibrate/live.h"
#include "model/activations.h"
#include "session/session.h"

void rcnn_calibration_options_init_sized(rcnn_calibration_options *options, size_t struct_size)
{
    const rcnn_calibration_options defaults = {.struct_size = struct_size};
    rcnn_options_init(options, struct_size, &defaults, sizeof defaults);
}

/* ---------------------------------------------------------------- creating */

/* "cpu" where it works, else "ref": values are read where they lie. */
static const char *host_backend(void)
{
    char text[512];
    const rcnn_backend_vt *vt;
    const bool works = rcnn_backend_find("cpu", &vt, NULL) == RCNN_OK && vt->probe(text, sizeof text) == RCNN_OK;
    return works ? "cpu" : "ref";
}

rcnn_session_options rcnn_calibration_session(const rcnn_calibration *c)
{
    rcnn_session_options options;
    rcnn_session_options_init(&options);
    options.backend = host_backend();
    options.num_threads = c->options.num_threads;
    options.long_side = c->options.long_side;
    options.short_side = c->options.short_side;
    options.keep_values = 1;
    options.precision = RCNN_PRECISION_FP32;
    options.max_plans = 2;
    return options;
}

/* Nothing below a ReLU is negative; what reads several values is if all of them are. */
static bool may_be_negative(const rcnn_graph *graph, const rcnn_op *op, const bool *negative)
{
    switch (op->kind) {
    case RCNN_OP_CONV:
        return !op->u.conv.relu;
    case RCNN_OP_FC:
        return !op->u.fc.relu;
    case RCNN_OP_DECONV:
        return !op->u.deconv.relu;
    default:
        for (int32_t i = 0; i < op->input_count; i++) {
            if (negative[op->input[i]] && graph->values[op->input[i]].desc.rank == 4) {
                return true;
            }
        }
        return false;
    }
}

/* The activations of the network, in the order they are made. */
static void list_observed(rcnn_calibration *c, const rcnn_graph *graph, bool *negative)
{
    for (int32_t i = 0; i < graph->op_count; i++) {
        const rcnn_op *op = &graph->ops[i];
        const rcnn_value_id output = op->output[0];
        negative[output] = may_be_negative(graph, op, negative);
        if (rcnn_activation_known(&c->model->config, graph->values[output].name)) {
            rcnn_observed *observed = &c->observed[c->observed_count++];
            snprintf(observed->name, sizeof observed->name, "%s", graph->values[output].name);
            observed->is_signed = negative[output];
        }
    }
}

static rcnn_status find_observed(rcnn_calibration *c, rcnn_error *err)
{
    const int32_t side = c->model->config.size_divisor;
    const rcnn_build_options options = {.batch = 1,
                                        .width = side,
                                        .height = side,
                                        .score_threshold = 0.5f,
                                        .max_detections = 1,
                                        .masks = c->model->config.has_mask};
    rcnn_graph graph;
    rcnn_graph_init(&graph);
    bool *negative = NULL;
    rcnn_status status = rcnn_stages_build(c->model, &options, &graph, err);
    if (status == RCNN_OK) {
        negative = rcnn_calloc((size_t)graph.value_count, sizeof *negative);
        c->observed = rcnn_calloc((size_t)graph.op_count, sizeof *c->observed);
        if (negative && c->observed) {
            list_observed(c, &graph, negative);
        } else {
            status = rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory");
        }
    }
    rcnn_free(negative);
    rcnn_graph_free(&graph);
    return status;
}

static rcnn_status open_session(rcnn_calibration *c, rcnn_error *err)
{
    const rcnn_session_options options = rcnn_calibration_session(c);
    RCNN_TRY(rcnn_session_create(c->model, &options, &c->session, err));
    return find_observed(c, err);
}

rcnn_status rcnn_calibration_create(const rcnn_model *model, const rcnn_calibration_options *given,
                                    rcnn_calibration **out, rcnn_error *err)
{
    if (out) {
        *out = NULL;
    }
    if (!model || !out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "calibration: model and out must not be NULL");
    }
    rcnn_calibration_options options;
    rcnn_calibration_options_init(&options);
    RCNN_TRY(rcnn_options_read("calibration", given, &options, sizeof options, err));
    if (!(options.max_error >= 0 && options.max_error <= 1)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "calibration: want a largest error of 0..1, got %g",
                         (double)options.max_error);
    }
    options.max_error = options.max_error > 0 ? options.max_error : RCNN_CALIBRATION_MAX_ERROR;
    options.num_threads = options.num_threads ? options.num_threads : rcnn_threads_available();
    rcnn_calibration *c = rcnn_calloc(1, sizeof *c);
    if (!c) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory");
    }
    rcnn_model_retain(model);
    c->model = model;
    c->options = options;
    rcnn_status status = open_session(c, err);
    if (status != RCNN_OK) {
        rcnn_calibration_destroy(c);
        return status;
    }
    *out = c;
    return RCNN_OK;
}

void rcnn_calibration_destroy(rcnn_calibration *c)
{
    if (!c) {
        return;
    }
    rcnn_results_destroy(c->results);
    rcnn_session_destroy(c->session);
    rcnn_model_destroy((rcnn_model *)(uintptr_t)c->model);
    rcnn_free(c->observed);
    rcnn_free(c->sizes);
    rcnn_free(c->sample_pixels);
    rcnn_free(c);
}

/* -------------------------------------------------------------- collecting */

typedef struct extent {
    const float *values;
    size_t count;
    float min, max;
    bool finite;
} extent;

/* Looks at every activation before any is counted, so that an image that spoils one leaves no trace. */
static rcnn_status look_at_values(const rcnn_calibration *c, extent *extents, rcnn_error *err)
{
    const rcnn_plan *plan = c->session->current;
    const int32_t threads = c->options.num_threads;
    (void)threads; /* without OpenMP */
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int32_t i = 0; i < c->observed_count; i++) {
        const rcnn_value_id id = rcnn_graph_find(&plan->graph, c->observed[i].name);
        extent *e = &extents[i];
        *e = (extent){.values = plan->value[id], .count = rcnn_live_elements(plan, id), .finite = true};
        if (e->count > 0) {
            e->finite = rcnn_histogram_extent(e->values, e->count, &e->min, &e->max);
        }
    }
    for (int32_t i = 0; i < c->observed_count; i++) {
        if (!extents[i].finite) {
            return rcnn_fail(err, RCNN_ERR_NUMERIC, "calibration: value '%s' is not finite on this image",
                             c->observed[i].name);
        }
    }
    return RCNN_OK;
}

static void count_values(rcnn_calibration *c, const extent *extents)
{
    const int32_t threads = c->options.num_threads;
    (void)threads;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
    for (int32_t i = 0; i < c->observed_count; i++) {
        const extent *e = &extents[i];
        rcnn_histogram_add(&c->observed[i].histogram, e->values, e->count, e->min, e->max);
    }
}

static rcnn_status count_size(rcnn_calibration *c, rcnn_error *err)
{
    const rcnn_plan *plan = c->session->current;
    for (int32_t i = 0; i < c->size_count; i++) {
        if (c->sizes[i].width == plan->width && c->sizes[i].height == plan->height) {
            c->sizes[i].images++;
            return RCNN_OK;
        }
    }
    void *sizes = c->sizes;
    const bool grown = rcnn_grow(&sizes, &c->size_capacity, (size_t)c->size_count + 1, sizeof *c->sizes);
    c->sizes = sizes;
    if (!grown) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory");
    }
    c->sizes[c->size_count++] = (rcnn_observed_size){.width = plan->width, .height = plan->height, .images = 1};
    return RCNN_OK;
}

/* Sensitivity is measured on the first image; where nothing was found in it, on the first with detections, so that masks
 * are measured too. */
static rcnn_status keep_sample(rcnn_calibration *c, const rcnn_image_view *image, rcnn_error *err)
{
    const int32_t detections = rcnn_results_count(c->results, 0);
    if (c->sample_pixels && (c->sample_detections > 0 || detections == 0)) {
        return RCNN_OK;
    }
    static const uint8_t pixel_bytes[] = {3, 3, 1, 4, 4}; /* order of rcnn_pixel_format */
    const size_t row = (size_t)image->width * pixel_bytes[image->format];
    uint8_t *pixels = rcnn_malloc(row * (size_t)image->height);
    if (!pixels) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory for an image");
    }
    for (int32_t y = 0; y < image->height; y++) {
        memcpy(pixels + (size_t)y * row, image->data + (size_t)y * image->stride_bytes, row);
    }
    rcnn_free(c->sample_pixels);
    c->sample_pixels = pixels;
    c->sample = *image;
    c->sample.data = pixels;
    c->sample.stride_bytes = row;
    c->sample_detections = detections;
    return RCNN_OK;
}

rcnn_status rcnn_calibration_add(rcnn_calibration *c, const rcnn_image_view *image, rcnn_error *err)
{
    if (!c || !image) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "calibration: calibration and image must not be NULL");
    }
    RCNN_TRY(rcnn_session_run(c->session, image, 1, &c->results, err));
    extent *extents = rcnn_calloc((size_t)c->observed_count, sizeof *extents);
    if (!extents) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory");
    }
    rcnn_status status = look_at_values(c, extents, err);
    if (status == RCNN_OK) {
        status = keep_sample(c, image, err);
    }
    if (status == RCNN_OK) {
        status = count_size(c, err);
    }
    if (status == RCNN_OK) {
        count_values(c, extents);
        c->images++;
    }
    rcnn_free(extents);
    return status;
}

/* ----------------------------------------------------------------- writing */

static rcnn_status write_file(const rcnn_calibration *c, const rcnn_chosen *chosen, const char *path, rcnn_error *err)
{
    rcnn_text text = {0};
    rcnn_calibration_write_json(c, chosen, &text);
    char *record = rcnn_text_take(&text);
    if (!record) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "calibration: out of memory for its record");
    }
    rcnn_status status = rcnn_model_save_calibrated(c->model, path, RCNN_WEIGHTS_INT8, chosen->activations,
                                                    c->observed_count, record, err);
    rcnn_free(record);
    return status;
}

rcnn_status rcnn_calibration_save(rcnn_calibration *c, const char *path, rcnn_error *err)
{
    if (!c || !path) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "calibration: calibration and path must not be NULL");
    }
    if (c->images == 0) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "calibration: want at least one image before saving, got none");
    }
    rcnn_chosen chosen = {0};
    rcnn_status status = rcnn_calibration_choose(c, &chosen, err);
    if (status == RCNN_OK) {
        status = write_file(c, &chosen, path, err);
    }
    rcnn_free(chosen.activations);
    return status;
}
