/* The first half of `rcnn detect`: outputs, model and session from the options. Outputs come first, because a directory
 * that cannot be written should be known before a model is loaded. */
#include "detect.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "stop.h"

#define DEFAULT_OUTPUT "rcnn_out"
#define DEFAULT_SCORE  0.5

bool detect_stop(job *j, int status)
{
    progress_hide(&j->bar);
    if (stop_signal() == SIGPIPE) { /* the reader has gone, as in `| head`: nobody wants a message */
        j->status = 128 + SIGPIPE;
        return false;
    }
    message_error("%s", j->err.message);
    j->status = status;
    return false;
}

/* The JSON may replace an older JSON, but nothing that this run reads. */
static bool spare_file(job *j, bool is_read)
{
    if (!is_read) {
        return true;
    }
    tool_fail(&j->err, "--json: '%.300s': want a file that this run does not read", j->opts->value[OPT_JSON_FILE].text);
    return detect_stop(j, TOOL_USAGE);
}

static bool choose_outputs(job *j)
{
    const option_value *value = j->opts->value;
    bool json = value[OPT_JSON_FILE].set;
    bool asked = value[OPT_OVERLAY].set ? value[OPT_OVERLAY].integer == 1 : value[OPT_OUTPUT].set;
    bool refused = value[OPT_OVERLAY].set && value[OPT_OVERLAY].integer == 0;
    j->overlay = !refused && (asked || !json);
    if (j->overlay && !draw_available()) {
        if (asked) {
            tool_fail(&j->err, "this build cannot draw pictures (cairo was not found); see 'rcnn doctor'");
            return detect_stop(j, TOOL_FAILED);
        }
        message_error("no pictures: this build lacks cairo; see 'rcnn doctor'");
        j->overlay = false;
    }
    const char *directory = value[OPT_OUTPUT].set ? value[OPT_OUTPUT].text : DEFAULT_OUTPUT;
    if (j->overlay && !directory_make("--output", directory, &j->err)) {
        return detect_stop(j, TOOL_FAILED);
    }
    if (j->overlay && !inputs_name_pictures(&j->inputs, directory, &j->pictures)) {
        tool_fail(&j->err, "out of memory for %zu picture names", j->inputs.count);
        return detect_stop(j, TOOL_FAILED);
    }
    if (json && !spare_file(j, inputs_include(&j->inputs, value[OPT_JSON_FILE].text))) {
        return false;
    }
    if (json && !outfile_open(&j->json_file, value[OPT_JSON_FILE].text, &j->err)) {
        return detect_stop(j, TOOL_FAILED);
    }
    j->summary = !value[OPT_QUIET].set;
    j->lines = json && strcmp(value[OPT_JSON_FILE].text, "-") == 0 ? stderr : stdout;
    return true;
}

static bool open_model(job *j)
{
    const option_value *named = &j->opts->value[OPT_MODEL];
    if (named->set) {
        snprintf(j->model_path, sizeof j->model_path, "%s", named->text);
    } else if (!model_find_default(j->model_path, &j->err)) {
        return detect_stop(j, TOOL_FAILED);
    }
    if (j->json_file.stream && !spare_file(j, same_file(j->model_path, j->opts->value[OPT_JSON_FILE].text))) {
        return false;
    }
    if (!model_load_with_options(j->opts, j->model_path, &j->model, &j->err)) {
        return detect_stop(j, tool_status(&j->err));
    }
    j->ignore_exif = model_ignores_exif(j->model);
    return true;
}

/* Label of a class by name or category id, -1 = none. */
static int32_t find_class(const rcnn_model *model, const char *word, size_t length)
{
    char text[128];
    snprintf(text, sizeof text, "%.*s", (int)(length < sizeof text ? length : 0), word);
    int32_t count = rcnn_model_class_count(model);
    for (int32_t label = 0; label < count; label++) {
        const char *name = rcnn_model_class_name(model, label);
        if (name && strcmp(name, text) == 0) {
            return label;
        }
    }
    char id[16];
    for (int32_t label = 0; label < count; label++) {
        snprintf(id, sizeof id, "%d", (int)rcnn_model_category_id(model, label));
        if (strcmp(id, text) == 0) {
            return label;
        }
    }
    return -1;
}

static bool choose_classes(job *j)
{
    const option_value *classes = &j->opts->value[OPT_CLASSES];
    if (!classes->set) {
        return true;
    }
    j->labels = calloc(strlen(classes->text) + 1, sizeof *j->labels);
    if (!j->labels) {
        tool_fail(&j->err, "out of memory");
        return detect_stop(j, TOOL_FAILED);
    }
    for (const char *word = classes->text; word;) {
        size_t length = strcspn(word, ",");
        int32_t label = find_class(j->model, word, length);
        if (label < 0) {
            tool_fail(&j->err,
                      "--classes: want names or category ids of the model's %d classes ('%s', ...), got '%.*s'",
                      (int)rcnn_model_class_count(j->model), rcnn_model_class_name(j->model, 0),
                      (int)(length < 80 ? length : 80), word);
            return detect_stop(j, TOOL_USAGE);
        }
        j->labels[j->label_count++] = label;
        word = word[length] ? word + length + 1 : NULL;
    }
    return true;
}

/* What the session shall compute: the JSON's form when there is one; pictures need no more than the soft masks. */
static bool choose_masks(job *j, rcnn_mask_format *computed)
{
    const option_value *form = &j->opts->value[OPT_MASKS];
    bool has_masks = rcnn_model_has_masks(j->model) != 0;
    j->masks = has_masks ? RCNN_MASK_RLE : RCNN_MASK_NONE;
    if (form->set) {
        j->masks = (rcnn_mask_format)form->integer; /* the words stand in the order of the enumeration */
    }
    if (j->masks != RCNN_MASK_NONE && !has_masks) {
        tool_fail(&j->err, "--masks: want none, as the model has no mask head, got '%s'", form->text);
        return detect_stop(j, TOOL_USAGE);
    }
    *computed = j->masks;
    if (!form->set && !j->json_file.stream && has_masks) {
        *computed = RCNN_MASK_RAW;
    }
    return true;
}

static void choose_score(job *j, rcnn_session_options *session_options)
{
    const char *source = "";
    const char *configured = model_config_value(j->model, "score_threshold", &source);
    j->score = DEFAULT_SCORE;
    if (j->opts->value[OPT_SCORE].set) {
        j->score = j->opts->value[OPT_SCORE].real;
    } else if (configured && strcmp(source, "override") == 0) { /* --set score_threshold=T is as good as --score T */
        j->score = strtod(configured, NULL);
    }
    session_options->score_threshold = (float)j->score;
}

static void choose_limit(job *j, rcnn_session_options *session_options)
{
    const char *configured = model_config_value(j->model, "max_detections", NULL);
    j->max_detections = j->opts->value[OPT_MAX_DETS].integer;
    session_options->max_detections = j->max_detections;
    if (j->max_detections == 0 && configured) {
        j->max_detections = (int32_t)strtol(configured, NULL, 10);
    }
}

static bool open_session(job *j)
{
    rcnn_session_options wanted;
    rcnn_session_options_init(&wanted);
    if (!choose_classes(j) || !choose_masks(j, &wanted.mask_format)) {
        return false;
    }
    choose_score(j, &wanted);
    choose_limit(j, &wanted);
    wanted.staged = j->opts->value[OPT_PROFILE].set;
    wanted.labels = j->labels;
    wanted.label_count = j->label_count;
    if (!session_set_open(&j->sessions, j->opts, j->model, &wanted, &j->err)) {
        return detect_stop(j, tool_status(&j->err));
    }
    return true;
}

static void start_json(job *j)
{
    static const char *const FORMS[] = {"none", "raw", "crop", "rle", "polygon", "full"};
    if (j->json_file.stream) {
        j->json = (json_writer){.stream = j->json_file.stream, .model = j->model, .masks = j->masks};
        const rcnn_session *session = j->sessions.items[0];
        json_begin(&j->json, &(json_info){.model = j->model_path,
                                          .backend = rcnn_session_backend_name(session),
                                          .precision = precision_name((int32_t)rcnn_session_precision(session)),
                                          .masks = FORMS[j->masks],
                                          .score_threshold = j->score});
    }
}

bool detect_setup(job *j)
{
    if (!choose_outputs(j) || !open_model(j) || !open_session(j)) {
        return false;
    }
    start_json(j);
    return true;
}

void job_free(job *j)
{
    rcnn_log_set(NULL, NULL, RCNN_LOG_ERROR);
    outfile_discard(&j->json_file);
    session_set_close(&j->sessions);
    rcnn_model_destroy(j->model);
    path_list_free(&j->inputs);
    path_list_free(&j->pictures);
    free(j->json.text);
    free(j->labels);
    free(j->items);
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        free(j->stages[s].samples);
    }
    free(j->calls.samples);
}
