/* `rcnn verify`: two runs of the same images compared value by value and detection by detection. Both sessions stay open
 * and every image goes through A, then B, so that no more than one image's values are held. With annotations the AP of
 * both sides is measured on the way. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "draw.h"
#include "inputs.h"
#include "log.h"
#include "out_json.h"
#include "outfile.h"
#include "stop.h"
#include "triple.h"
#include "verify.h"
#include "verify_ap.h"
#include "verify_picture.h"

typedef struct verify_job {
    const options *opts;
    rcnn_error err;
    int status; /* exit status so far */
    triple triple[2];
    verify_limits limits;
    bool stages;
    path_list inputs, pictures;
    rcnn_model *model[2]; /* the same twice when the files are the same */
    rcnn_session *session[2];
    rcnn_results *results[2];
    stage_buffers buffers;
    verify_numbers total;
    verify_ap ap;
    outfile json;
    progress bar;
} verify_job;

static bool stop(verify_job *j, int status)
{
    progress_hide(&j->bar);
    message_error("%s", j->err.message);
    j->status = status;
    return false;
}

/* ------------------------------------------------------------------ set-up */

static double real_or(const options *opts, option_id id, double usual)
{
    return opts->value[id].set ? opts->value[id].real : usual;
}

static void choose_limits(verify_job *j)
{
    const options *opts = j->opts;
    j->limits = (verify_limits){.score = real_or(opts, OPT_VERIFY_SCORE, 0.3),
                                .stage_error = real_or(opts, OPT_MAX_STAGE_ERROR, 1e-3),
                                .box_px = real_or(opts, OPT_MAX_BOX_PX, 0.5),
                                .score_diff = real_or(opts, OPT_MAX_SCORE_DIFF, 0.01),
                                .mask_iou = real_or(opts, OPT_MIN_MASK_IOU, 0.95),
                                .unmatched = opts->value[OPT_MAX_UNMATCHED].integer};
    j->stages = !opts->value[OPT_VALUES].set || opts->value[OPT_VALUES].integer == 1;
}

/* The sample pictures of a source tree: here, or beside the program in its build folder. */
static bool find_samples(char path[MODEL_PATH_BYTES], rcnn_error *err)
{
    char directory[MODEL_PATH_BYTES - 128];
    snprintf(path, MODEL_PATH_BYTES, "samples");
    if (access(path, R_OK) == 0) {
        return true;
    }
    program_directory(directory, sizeof directory);
    snprintf(path, MODEL_PATH_BYTES, "%s/../../samples", directory);
    if (directory[0] && access(path, R_OK) == 0) {
        return true;
    }
    return tool_fail(err, "no images: name some after A and B or with --images; there is no folder samples here");
}

static bool collect_inputs(verify_job *j)
{
    const option_value *images = &j->opts->value[OPT_VERIFY_IMAGES];
    const char *const *operands = j->opts->operands + 2;
    const int count = j->opts->operand_count - 2;
    const bool deep = j->opts->value[OPT_RECURSIVE].set;
    char samples[MODEL_PATH_BYTES];
    const char *const default_input = samples;
    if (count == 0 && !images->set && !find_samples(samples, &j->err)) {
        return stop(j, TOOL_USAGE);
    }
    size_t failed = inputs_collect(operands, count, deep, &j->inputs);
    if (images->set) {
        failed += inputs_collect(&images->text, 1, deep, &j->inputs);
    } else if (count == 0) {
        failed += inputs_collect(&default_input, 1, deep, &j->inputs);
    }
    if (failed) {
        j->status = TOOL_FAILED;
    }
    return j->inputs.count > 0;
}

/* The report may replace an older one, but nothing that this run reads. */
static bool is_read(const verify_job *j, const char *path)
{
    const option_value *truth = &j->opts->value[OPT_ANN];
    return inputs_include(&j->inputs, path) || same_file(j->triple[0].model, path) ||
           same_file(j->triple[1].model, path) || (truth->set && same_file(truth->text, path));
}

static bool open_outputs(verify_job *j)
{
    const option_value *directory = &j->opts->value[OPT_PICTURE], *json = &j->opts->value[OPT_VERIFY_JSON];
    if (directory->set && !draw_available()) {
        tool_fail(&j->err, "--picture: this build cannot draw pictures (cairo was not found); see 'rcnn doctor'");
        return stop(j, TOOL_FAILED);
    }
    if (json->set && is_read(j, json->text)) {
        tool_fail(&j->err, "--json: '%.300s': want a file that this run does not read", json->text);
        return stop(j, TOOL_USAGE);
    }
    if ((directory->set && (!directory_make("--picture", directory->text, &j->err) ||
                            (!inputs_name_pictures(&j->inputs, directory->text, &j->pictures) &&
                             !tool_fail(&j->err, "out of memory for %zu picture names", j->inputs.count)))) ||
        (json->set && !outfile_open(&j->json, json->text, &j->err))) {
        return stop(j, TOOL_FAILED);
    }
    return true;
}

static bool open_models(verify_job *j)
{
    for (int side = 0; side < 2; side++) {
        if (side == 1 && strcmp(j->triple[0].model, j->triple[1].model) == 0) {
            j->model[1] = j->model[0];
        } else if (!model_load_with_options(j->opts, j->triple[side].model, &j->model[side], &j->err)) {
            return stop(j, tool_status(&j->err));
        }
    }
    return true;
}

/* Both sides report down to what their model does, or the score when that is lower: a detection just below the score on
 * one side is still the partner of one just above it on the other. */
static bool open_sessions(verify_job *j)
{
    const option_value *value = j->opts->value;
    for (int side = 0; side < 2; side++) {
        rcnn_session_options wanted;
        rcnn_session_options_init(&wanted);
        const char *usual = model_config_value(j->model[side], "score_threshold", NULL);
        if (usual && j->limits.score < strtod(usual, NULL)) {
            wanted.score_threshold = (float)j->limits.score;
        }
        wanted.backend = j->triple[side].device.backend;
        wanted.device = j->triple[side].device.index[0];
        wanted.precision = j->triple[side].precision;
        wanted.num_threads = value[OPT_THREADS].integer;
        wanted.max_detections = value[OPT_MAX_DETS].integer;
        wanted.long_side = value[OPT_SCALE].first;
        wanted.short_side = value[OPT_SCALE].second;
        wanted.keep_values = j->stages;
        wanted.mask_format = rcnn_model_has_masks(j->model[side]) ? RCNN_MASK_RLE : RCNN_MASK_NONE;
        if (rcnn_session_create(j->model[side], &wanted, &j->session[side], &j->err) != RCNN_OK) {
            return stop(j, tool_status(&j->err));
        }
    }
    return true;
}

static bool open_ap(verify_job *j)
{
    return verify_ap_open(&j->ap, j->opts, j->model, &j->err) || stop(j, tool_status(&j->err));
}

static bool set_up(verify_job *j)
{
    for (int side = 0; side < 2; side++) {
        if (!triple_parse(j->opts->operands[side], &j->triple[side], &j->err)) {
            return stop(j, TOOL_USAGE);
        }
    }
    if (j->opts->value[OPT_MAX_AP_DROP].set && !j->opts->value[OPT_ANN].set) {
        tool_fail(&j->err, "--max-ap-drop: want --ann with it");
        return stop(j, TOOL_USAGE);
    }
    choose_limits(j);
    return collect_inputs(j) && open_outputs(j) && open_models(j) && open_ap(j) && open_sessions(j);
}

/* --------------------------------------------------------------- one image */

/* Copies a side's detections; their labels become category ids, which two models may have in common. */
static bool take_detections(verify_job *j, int side, verify_side *out)
{
    out->count = rcnn_results_count(j->results[side], 0);
    out->items = calloc((size_t)out->count + 1, sizeof *out->items);
    out->paired = calloc((size_t)out->count + 1, sizeof *out->paired);
    if (!out->items || !out->paired) {
        return tool_fail(&j->err, "out of memory for %d detections", (int)out->count);
    }
    for (int32_t i = 0; i < out->count; i++) {
        if (rcnn_results_get(j->results[side], 0, i, &out->items[i]) == RCNN_OK) {
            out->items[i].label = rcnn_model_category_id(j->model[side], out->items[i].label);
        }
    }
    return true;
}

static bool compare_masks(verify_job *j, verify_image *image)
{
    if (!rcnn_model_has_masks(j->model[0]) || !rcnn_model_has_masks(j->model[1])) {
        return true;
    }
    for (int32_t i = 0; i < image->match_count; i++) {
        match *m = &image->matches[i];
        rcnn_mask mask[2];
        if (rcnn_results_get_mask(j->results[0], 0, m->a, RCNN_MASK_RLE, &mask[0], &j->err) != RCNN_OK ||
            rcnn_results_get_mask(j->results[1], 0, m->b, RCNN_MASK_RLE, &mask[1], &j->err) != RCNN_OK) {
            return false;
        }
        m->mask_iou = mask_iou(mask[0].counts, mask[0].count, mask[1].counts, mask[1].count);
    }
    return true;
}

static bool compare_results(verify_job *j, verify_image *image)
{
    if (!take_detections(j, 0, &image->side[0]) || !take_detections(j, 1, &image->side[1])) {
        return false;
    }
    if (!match_detections(image->side[0].items, image->side[0].count, image->side[1].items, image->side[1].count,
                          &image->matches, &image->match_count)) {
        return tool_fail(&j->err, "out of memory for matches");
    }
    for (int32_t i = 0; i < image->match_count; i++) {
        image->side[0].paired[image->matches[i].a] = true;
        image->side[1].paired[image->matches[i].b] = true;
    }
    return compare_masks(j, image);
}

static bool run_both(verify_job *j, const rcnn_image_view *view)
{
    return rcnn_session_run(j->session[0], view, 1, &j->results[0], &j->err) == RCNN_OK &&
           rcnn_session_run(j->session[1], view, 1, &j->results[1], &j->err) == RCNN_OK;
}

static bool compare_image(verify_job *j, verify_image *image, const rcnn_image_view *view)
{
    for (int32_t i = 0; i < STAGE_VALUE_COUNT; i++) {
        image->numbers.stages[i].outcome = STAGE_ABSENT;
    }
    if (!run_both(j, view) || (j->stages && !stages_compare(j->session, &j->buffers, image->numbers.stages, &j->err)) ||
        !compare_results(j, image)) {
        return false;
    }
    numbers_of_image(image, &j->limits);
    return true;
}

static bool write_outputs(verify_job *j, const verify_image *image, const rcnn_image_view *view, const char *drawing)
{
    if (j->json.stream) {
        verify_json_image(j->json.stream, image, &j->limits, j->total.images == 0);
    }
    if (!j->opts->value[OPT_QUIET].set) {
        progress_hide(&j->bar);
        report_image(j->json.stream == stdout ? stderr : stdout, image);
    }
    numbers_add(&j->total, &image->numbers);
    return !drawing || verify_picture(image, view, j->results, &j->limits, drawing, &j->err);
}

static void image_free(verify_image *image)
{
    for (int side = 0; side < 2; side++) {
        free(image->side[side].items);
        free(image->side[side].paired);
    }
    free(image->matches);
}

/* An image that cannot be read or run is reported, and the next one taken. */
static void verify_one(verify_job *j, size_t index)
{
    verify_image image = {.path = j->inputs.paths[index]};
    rcnn_image_options how;
    rcnn_image *pixels = NULL;
    rcnn_image_view view;
    rcnn_image_options_init(&how);
    how.ignore_exif = model_ignores_exif(j->model[0]);
    bool done = rcnn_image_load(image.path, &how, &pixels, &j->err) == RCNN_OK;
    if (done) {
        rcnn_image_get_view(pixels, &view);
        image.width = view.width;
        image.height = view.height;
        done = compare_image(j, &image, &view) && verify_ap_add(&j->ap, image.path, &view, j->results, &j->err) &&
               write_outputs(j, &image, &view, j->pictures.count ? j->pictures.paths[index] : NULL);
    }
    if (!done) {
        progress_hide(&j->bar);
        message_about(image.path, j->err.message);
        j->status = TOOL_FAILED;
    }
    image_free(&image);
    rcnn_image_destroy(pixels);
}

/* ---------------------------------------------------------------- whole run */

static const char *side_precision(const verify_job *j, int side)
{
    return precision_name((int32_t)rcnn_session_precision(j->session[side]));
}

static void begin_json(verify_job *j)
{
    FILE *out = j->json.stream;
    for (int side = 0; out && side < 2; side++) {
        fprintf(out, "%s\"%c\":{\"model\":", side ? ",\n" : "{", "ab"[side]);
        json_string(out, j->triple[side].model);
        fputs(",\"device\":", out);
        json_string(out, rcnn_session_backend_name(j->session[side]));
        fputs(",\"precision\":", out);
        json_string(out, side_precision(j, side));
        fputc('}', out);
    }
    if (out) {
        fputs(",\n", out);
        verify_json_limits(out, &j->limits);
        fputs(",\n\"images\":[", out);
    }
}

static void print_sides(const verify_job *j, FILE *lines)
{
    for (int side = 0; side < 2; side++) {
        fprintf(lines, "%c: %s on %s, %s\n", "AB"[side], j -> triple[side].model,
                rcnn_session_backend_name(j->session[side]), side_precision(j, side));
    }
}

static void end_json(verify_job *j, bool measured, bool passed)
{
    FILE *out = j->json.stream;
    if (!out) {
        return;
    }
    fputs("],\n\"total\":{", out);
    verify_json_numbers(out, &j->total);
    fputc('}', out);
    if (j->ap.truth) {
        fputs(",\n\"ap\":", out);
        if (measured) {
            verify_json_ap(out, &j->ap);
        } else {
            fputs("null", out);
        }
    }
    fprintf(out, ",\n\"passed\":%s}\n", passed ? "true" : "false");
    if (!outfile_commit(&j->json, &j->err)) {
        stop(j, TOOL_FAILED);
    }
}

static void finish(verify_job *j, FILE *lines)
{
    if (j->total.images == 0) {
        return;
    }
    const bool measured = verify_ap_evaluate(&j->ap, &j->err) || stop(j, TOOL_FAILED);
    report_total(lines, &j->total);
    if (measured) {
        report_ap(lines, &j->ap);
    }
    const int outside =
        report_verdict(lines, &j->total, &j->limits) + (measured ? report_ap_verdict(lines, &j->ap) : 0);
    const bool passed = outside == 0 && j->status == TOOL_DONE && !stop_signal();
    fprintf(lines, "%s\n", stop_signal() ? "interrupted: no verdict" : passed ? "passed" : "FAILED");
    if (!passed) {
        j->status = TOOL_FAILED;
    }
    end_json(j, measured, passed);
}

static void verify_all(verify_job *j)
{
    FILE *lines = j->json.stream == stdout ? stderr : stdout;
    const bool quiet = j->opts->value[OPT_QUIET].set;
    begin_json(j);
    if (!quiet) {
        print_sides(j, lines);
    }
    progress_start(&j->bar, j->inputs.count, !quiet && j->inputs.count > 1);
    for (size_t i = 0; i < j->inputs.count && !stop_signal(); i++) {
        progress_show(&j->bar, i);
        verify_one(j, i);
    }
    progress_hide(&j->bar);
    finish(j, lines);
}

static void job_end(verify_job *j)
{
    rcnn_log_set(NULL, NULL, RCNN_LOG_ERROR);
    outfile_discard(&j->json);
    for (int side = 0; side < 2; side++) {
        rcnn_results_destroy(j->results[side]);
        rcnn_session_destroy(j->session[side]);
    }
    rcnn_model_destroy(j->model[0]);
    if (j->model[1] != j->model[0]) {
        rcnn_model_destroy(j->model[1]);
    }
    stage_buffers_free(&j->buffers);
    verify_ap_free(&j->ap);
    path_list_free(&j->inputs);
    path_list_free(&j->pictures);
}

int cmd_verify(const options *opts)
{
    verify_job j = {.opts = opts, .status = TOOL_DONE};
    log_start(opts, &j.bar);
    stop_catch(); /* before the first temporary file */
    if (set_up(&j)) {
        verify_all(&j);
        j.status = stop_signal() ? 128 + stop_signal() : j.status;
    }
    const int status = j.status;
    job_end(&j);
    return status;
}
