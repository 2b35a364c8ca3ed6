/* `rcnn eval`: COCO's numbers for a model on a data set, or for a result file. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "eval.h"
#include "inputs.h"
#include "log.h"
#include "progress.h"
#include "utf8.h"

const char *eval_type_name(int type)
{
    return type == RCNN_IOU_SEGM ? "segm" : "bbox";
}

void eval_options(const eval_job *job, int type, rcnn_eval_options *out)
{
    rcnn_eval_options_init(out);
    out->iou_type = (rcnn_iou_type)type;
    memcpy(out->max_dets, job->max_dets, sizeof out->max_dets);
    out->num_threads = job->opts->value[OPT_THREADS].integer;
    out->image_limit = job->opts->value[OPT_LIMIT].integer;
}

/* ----------------------------------------------------------------- options */

static bool choose_types(eval_job *j)
{
    const char *text = j->opts->value[OPT_IOU_TYPE].text;
    for (const char *word = text; word;) {
        const size_t length = strcspn(word, ",");
        int type = 0;
        while (type < EVAL_TYPES &&
               (strlen(eval_type_name(type)) != length || strncmp(word, eval_type_name(type), length) != 0)) {
            type++;
        }
        if (type == EVAL_TYPES || j->wanted[type]) {
            return tool_fail(&j->err, "--iou-type: want bbox, segm or bbox,segm, got '%.80s'", text);
        }
        j->wanted[type] = true;
        word = word[length] ? word + length + 1 : NULL;
    }
    return true;
}

/* "1,10,100", or "400" for 1,10,400. */
static bool choose_max_dets(eval_job *j)
{
    static const int32_t DEFAULTS[3] = {1, 10, 100};
    const char *text = j->opts->value[OPT_EVAL_MAX_DETS].text;
    long numbers[4] = {0};
    int count = 0;
    memcpy(j->max_dets, DEFAULTS, sizeof DEFAULTS);
    if (!text) {
        return true;
    }
    for (const char *word = text; word && count < 4; count++) {
        char *end;
        numbers[count] = word[0] >= '0' && word[0] <= '9' ? strtol(word, &end, 10) : 0;
        if (numbers[count] < 1 || numbers[count] > RCNN_EVAL_MAX_DETS_MAX || (*end != ',' && *end != '\0')) {
            count = 4;
            break;
        }
        word = *end ? end + 1 : NULL;
    }
    for (int i = 0; i < 3 && count == 3; i++) {
        j->max_dets[i] = (int32_t)numbers[i];
    }
    if (count == 1) {
        j->max_dets[2] = (int32_t)numbers[0];
        j->max_dets[1] = j->max_dets[2] < 10 ? j->max_dets[2] : 10;
    }
    if ((count != 1 && count != 3) || j->max_dets[0] > j->max_dets[1] || j->max_dets[1] > j->max_dets[2]) {
        return tool_fail(
            &j->err, "--max-dets: want three rising numbers as in 1,10,100, or the last alone, in 1..%d, got '%.80s'",
            RCNN_EVAL_MAX_DETS_MAX, text);
    }
    return true;
}

/* A written file may replace an older one, but nothing that this run reads. */
static bool spare_read_files(eval_job *j)
{
    static const option_id WRITTEN[] = {OPT_EVAL_JSON, OPT_SAVE_RESULTS}, READ[] = {OPT_ANN, OPT_RESULTS, OPT_MODEL};
    const option_value *value = j->opts->value;
    for (size_t w = 0; w < sizeof WRITTEN / sizeof WRITTEN[0]; w++) {
        for (size_t r = 0; r < sizeof READ / sizeof READ[0]; r++) {
            if (value[WRITTEN[w]].set && value[READ[r]].set && same_file(value[WRITTEN[w]].text, value[READ[r]].text)) {
                return tool_fail(&j->err, "--%s: '%.300s': want a file that this run does not read",
                                 option_get(WRITTEN[w])->name, value[WRITTEN[w]].text);
            }
        }
    }
    return true;
}

static bool check_options(eval_job *j)
{
    const option_value *value = j->opts->value;
    const bool results = value[OPT_RESULTS].set, images = value[OPT_EVAL_IMAGES].set;
    static const option_id MODEL_ONLY[] = {OPT_MODEL, OPT_SAVE_RESULTS, OPT_EVAL_SCORE};
    if (!value[OPT_ANN].set) {
        return tool_fail(&j->err, "--ann: want the annotation file");
    }
    if (results == images) {
        return tool_fail(&j->err, "want either --images, to run a model, or --results, to judge a result file");
    }
    for (size_t i = 0; results && i < sizeof MODEL_ONLY / sizeof MODEL_ONLY[0]; i++) {
        if (value[MODEL_ONLY[i]].set) {
            return tool_fail(&j->err, "--%s: no model is run with --results", option_get(MODEL_ONLY[i])->name);
        }
    }
    return choose_types(j) && choose_max_dets(j) && spare_read_files(j);
}

/* --------------------------------------------------------------- evaluating */

static bool evaluate(eval_job *j)
{
    const double start = clock_ms();
    for (int type = 0; type < EVAL_TYPES; type++) {
        rcnn_eval_options wanted;
        eval_options(j, type, &wanted);
        if (j->wanted[type] && rcnn_eval_run(j->detections, &wanted, &j->evals[type], &j->err) != RCNN_OK) {
            return false;
        }
    }
    j->evaluate_ms = clock_ms() - start;
    return true;
}

static bool read_results(eval_job *j)
{
    const double start = clock_ms();
    if (!j->wanted[RCNN_IOU_SEGM]) {
        j->wanted[RCNN_IOU_BBOX] = true;
    }
    if (rcnn_eval_truth_load(j->opts->value[OPT_ANN].text, j->wanted[RCNN_IOU_SEGM], &j->truth, &j->err) != RCNN_OK ||
        rcnn_eval_detections_load(j->truth, j->opts->value[OPT_RESULTS].text, &j->detections, &j->err) != RCNN_OK) {
        return false;
    }
    const int32_t limit = j->opts->value[OPT_LIMIT].integer, all = rcnn_eval_truth_image_count(j->truth);
    j->images = limit > 0 && limit < all ? limit : all;
    j->read_ms = clock_ms() - start;
    return true;
}

/* ----------------------------------------------------------------- printing */

/* The twelve lines as pycocotools writes them. */
static void print_stats(const eval_job *j, int type)
{
    static const char *const AREAS[] = {"all", "all", "all", "small", "medium", "large",
                                        "all", "all", "all", "small", "medium", "large"};
    static const char *const IOUS[] = {"0.50:0.95", "0.50", "0.75"};
    static const int LIMITS[] = {2, 2, 2, 2, 2, 2, 0, 1, 2, 2, 2, 2};
    for (int i = 0; i < RCNN_EVAL_STAT_COUNT; i++) {
        printf(" %-18s %s @[ IoU=%-9s | area=%6s | maxDets=%3d ] = %.3f\n",
               i < 6 ? "Average Precision" : "Average Recall", i < 6 ? "(AP)" : "(AR)", IOUS[i == 1 || i == 2 ? i : 0],
               AREAS[i], (int)j->max_dets[LIMITS[i]], rcnn_eval_stat(j->evals[type], i));
    }
}

static void print_number(double value)
{
    if (value < 0) {
        printf("       -");
    } else {
        printf("  %6.3f", value);
    }
}

static void print_categories(const eval_job *j, int type)
{
    static const int COLUMNS[] = {0, 1, 2, 3, 4, 5, 8};
    const int32_t count = rcnn_eval_truth_category_count(j->truth);
    if (count < 2) {
        return;
    }
    printf("\n %-20s      AP    AP50    AP75   small  medium   large      AR\n", "category");
    for (int32_t k = 0; k < count; k++) {
        char shown[64];
        const char *name;
        int64_t id;
        if (rcnn_eval_truth_category(j->truth, k, &id, &name) != RCNN_OK ||
            rcnn_eval_category_stat(j->evals[type], k, 0) < 0) {
            continue;
        }
        utf8_copy_printable(shown, sizeof shown, name);
        printf(" %-20s", shown);
        for (size_t c = 0; c < sizeof COLUMNS / sizeof COLUMNS[0]; c++) {
            print_number(rcnn_eval_category_stat(j->evals[type], k, COLUMNS[c]));
        }
        putchar('\n');
    }
}

static void print_all(const eval_job *j)
{
    printf("%d images, %lld annotations, %lld detections; ", (int)j->images,
           (long long)rcnn_eval_truth_annotation_count(j->truth), (long long)rcnn_eval_detections_count(j->detections));
    printf("read %.2f s, ", j->read_ms / 1e3);
    if (j->detect_ms > 0) {
        printf("detect %.2f s, ", j->detect_ms / 1e3);
    }
    printf("evaluate %.2f s\n", j->evaluate_ms / 1e3);
    for (int type = 0; type < EVAL_TYPES; type++) {
        if (j->evals[type]) {
            printf("\n%s\n", eval_type_name(type));
            print_stats(j, type);
            print_categories(j, type);
        }
    }
}

static bool write_outputs(eval_job *j)
{
    const option_value *value = j->opts->value;
    const bool json = value[OPT_EVAL_JSON].set;
    if (!value[OPT_QUIET].set && !(json && strcmp(value[OPT_EVAL_JSON].text, "-") == 0)) {
        print_all(j);
    }
    return (!json || eval_write_json(j, value[OPT_EVAL_JSON].text)) &&
           (!value[OPT_REPORT].set || eval_write_report(j, value[OPT_REPORT].text));
}

static int run(eval_job *j)
{
    const option_value *value = j->opts->value;
    int status = TOOL_FAILED;
    if (!check_options(j)) {
        return TOOL_USAGE;
    }
    if (value[OPT_REPORT].set && !eval_report_available()) {
        tool_fail(&j->err, "--report: this build cannot draw pictures (cairo was not found); see 'rcnn doctor'");
        return TOOL_FAILED;
    }
    if (value[OPT_REPORT].set && !directory_make("--report", value[OPT_REPORT].text, &j->err)) {
        return TOOL_FAILED;
    }
    if (value[OPT_RESULTS].set) {
        status = read_results(j) ? TOOL_DONE : tool_status(&j->err);
    } else {
        status = eval_run_model(j);
    }
    return status == TOOL_DONE && !(evaluate(j) && write_outputs(j)) ? TOOL_FAILED : status;
}

int cmd_eval(const options *opts)
{
    eval_job *j = calloc(1, sizeof *j);
    if (!j) {
        message_error("out of memory");
        return TOOL_FAILED;
    }
    j->opts = opts;
    log_start(opts, NULL);
    const int status = run(j);
    if (j->err.message[0] && status != TOOL_DONE) {
        message_error("%s", j->err.message);
    }
    for (int type = 0; type < EVAL_TYPES; type++) {
        rcnn_eval_destroy(j->evals[type]);
    }
    rcnn_eval_detections_destroy(j->detections);
    rcnn_eval_truth_destroy(j->truth);
    rcnn_log_set(NULL, NULL, RCNN_LOG_ERROR);
    free(j);
    return status;
}
