/* AP of both sides of `rcnn verify`: small differences of boxes and scores that no limit forbids, weighed by what they
 * cost. Knows nothing of intermediate values and matches. */
#include "verify_ap.h"

#include <stdlib.h>
#include <string.h>

#include "model_args.h"

static const char *const TYPE_KEYS[EVAL_TYPES] = {"bbox", "segm"};
static const char *const TYPE_NAMES[EVAL_TYPES] = {"box", "mask"};

/* ------------------------------------------------------------------- set-up */

static int32_t reported_at_most(const rcnn_model *model, const options *opts)
{
    const option_value *wanted = &opts->value[OPT_MAX_DETS];
    const char *usual = model_config_value(model, "max_detections", NULL);
    return wanted->set ? wanted->integer : usual ? (int32_t)strtol(usual, NULL, 10) : 100;
}

static bool open_side(verify_ap *ap, int side, const options *opts, const rcnn_model *model, rcnn_error *err)
{
    const char *threshold = model_config_value(model, "score_threshold", NULL);
    const int32_t most = reported_at_most(model, opts);
    ap->threshold[side] = threshold ? strtof(threshold, NULL) : 0.0f;
    ap->max_dets = most > ap->max_dets ? most : ap->max_dets;
    return rcnn_eval_detections_create(ap->truth, &ap->detections[side], err) == RCNN_OK &&
           eval_feed_open(&ap->feed[side], model, ap->truth, ap->detections[side], ap->masks, err);
}

bool verify_ap_open(verify_ap *ap, const options *opts, rcnn_model *const model[2], rcnn_error *err)
{
    const option_value *file = &opts->value[OPT_ANN], *drop = &opts->value[OPT_MAX_AP_DROP];
    if (!file->set) {
        return true;
    }
    ap->max_drop = drop->set ? drop->real : 0.003;
    ap->threads = opts->value[OPT_THREADS].integer;
    ap->masks = rcnn_model_has_masks(model[0]) && rcnn_model_has_masks(model[1]);
    if (rcnn_eval_truth_load(file->text, ap->masks, &ap->truth, err) != RCNN_OK) {
        return false;
    }
    ap->seen = calloc((size_t)rcnn_eval_truth_image_count(ap->truth) + 1, sizeof *ap->seen);
    if (!ap->seen) {
        return tool_fail(err, "out of memory");
    }
    return open_side(ap, 0, opts, model[0], err) && open_side(ap, 1, opts, model[1], err);
}

void verify_ap_free(verify_ap *ap)
{
    for (int side = 0; side < 2; side++) {
        eval_feed_close(&ap->feed[side]);
        rcnn_eval_detections_destroy(ap->detections[side]);
    }
    rcnn_eval_truth_destroy(ap->truth);
    free(ap->seen);
    *ap = (verify_ap){0};
}

/* ------------------------------------------------------------------- images */

/* True when path is name, or ends in it after a slash. */
static bool path_ends_in(const char *path, const char *name)
{
    const size_t length = strlen(path), end = strlen(name);
    return end > 0 && end <= length && strcmp(path + length - end, name) == 0 &&
           (end == length || path[length - end - 1] == '/');
}

/* The image of the truth with the longest name that the path ends in; -1 = none. */
static int32_t find_image(const rcnn_eval_truth *truth, const char *path, rcnn_eval_image *out)
{
    size_t longest = 0;
    int32_t found = -1;
    for (int32_t i = 0; i < rcnn_eval_truth_image_count(truth); i++) {
        rcnn_eval_image image;
        if (rcnn_eval_truth_image(truth, i, &image) == RCNN_OK && path_ends_in(path, image.file_name) &&
            strlen(image.file_name) > longest) {
            longest = strlen(image.file_name);
            found = i;
            *out = image;
        }
    }
    return found;
}

/* The session may report below the model's threshold, for the matching; AP takes what the model reports on its own. */
static bool add_side(verify_ap *ap, int side, int32_t image, rcnn_results *results, rcnn_error *err)
{
    for (int32_t i = 0; i < rcnn_results_count(results, 0); i++) {
        rcnn_detection d;
        eval_detection added;
        bool was_added;
        if (rcnn_results_get(results, 0, i, &d) == RCNN_OK && d.score > ap->threshold[side] &&
            !eval_feed_add(&ap->feed[side], results, 0, i, image, &added, &was_added, err)) {
            return false;
        }
    }
    return true;
}

bool verify_ap_add(verify_ap *ap, const char *path, const rcnn_image_view *view, rcnn_results *const results[2],
                   rcnn_error *err)
{
    rcnn_eval_image info;
    if (!ap->truth) {
        return true;
    }
    const int32_t image = find_image(ap->truth, path, &info);
    if (image < 0 || ap->seen[image]) {
        ap->skipped++;
        return true;
    }
    if (!eval_same_size(&info, view, err)) {
        return false;
    }
    ap->seen[image] = true;
    ap->images++;
    return add_side(ap, 0, image, results[0], err) && add_side(ap, 1, image, results[1], err);
}

/* --------------------------------------------------------------- evaluating */

static bool evaluate(verify_ap *ap, int type, int side, rcnn_error *err)
{
    rcnn_eval *eval;
    rcnn_eval_options wanted;
    rcnn_eval_options_init(&wanted);
    wanted.iou_type = (rcnn_iou_type)type;
    wanted.num_threads = ap->threads;
    wanted.max_dets[2] = ap->max_dets;
    wanted.max_dets[1] = ap->max_dets < wanted.max_dets[1] ? ap->max_dets : wanted.max_dets[1];
    if (rcnn_eval_run(ap->detections[side], &wanted, &eval, err) != RCNN_OK) {
        return false;
    }
    for (int32_t i = 0; i < VERIFY_AP_STATS; i++) {
        ap->value[type][side][i] = rcnn_eval_stat(eval, i);
    }
    rcnn_eval_destroy(eval);
    return true;
}

bool verify_ap_evaluate(verify_ap *ap, rcnn_error *err)
{
    if (ap->truth && ap->images == 0) {
        return tool_fail(err, "--ann: no image that was run is named by the annotations");
    }
    for (int type = 0; ap->truth && type < EVAL_TYPES; type++) {
        for (int side = 0; side < 2 && (type == RCNN_IOU_BBOX || ap->masks); side++) {
            if (!evaluate(ap, type, side, err)) {
                return false;
            }
        }
    }
    return ap->truth == NULL || ap->value[RCNN_IOU_BBOX][0][0] >= 0 ||
           tool_fail(err, "--ann: want at least one annotation that is no crowd, got none");
}

/* ---------------------------------------------------------------- reporting */

static int type_count(const verify_ap *ap)
{
    return ap->masks ? EVAL_TYPES : 1;
}

static int32_t not_given(const verify_ap *ap)
{
    return rcnn_eval_truth_image_count(ap->truth) - ap->images;
}

static void report_images(FILE *out, const verify_ap *ap)
{
    fprintf(out, "AP of %d images, at most %d detections each", (int)ap->images, (int)ap->max_dets);
    if (ap->skipped) {
        fprintf(out, "; skipped: %d images not in the annotations or given twice", (int)ap->skipped);
    }
    if (not_given(ap)) {
        fprintf(out, "; %d annotated images were not run and count as missed", (int)not_given(ap));
    }
    fputc('\n', out);
}

void report_ap(FILE *out, const verify_ap *ap)
{
    static const char *const ROWS[] = {"A", "B", "B - A"};
    if (!ap->truth) {
        return;
    }
    report_images(out, ap);
    for (int row = 0; row < 3; row++) {
        fprintf(out, "  %-5s", ROWS[row]);
        for (int type = 0; type < type_count(ap); type++) {
            const double(*value)[VERIFY_AP_STATS] = ap->value[type];
            fprintf(out, "%s %-4s", type ? "; " : "", TYPE_NAMES[type]);
            for (int i = 0; i < VERIFY_AP_STATS; i++) {
                fprintf(out, row == 2 ? " %s %+.4f" : " %s %7.4f",
                        i == 0   ? "AP"
                        : i == 1 ? "AP50"
                                 : "AP75",
                        row == 2 ? value[1][i] - value[0][i] : value[row][i]);
            }
        }
        fputc('\n', out);
    }
}

int report_ap_verdict(FILE *out, const verify_ap *ap)
{
    int bad = 0;
    for (int type = 0; ap->truth && type < type_count(ap); type++) {
        const double drop = ap->value[type][0][0] - ap->value[type][1][0];
        if (drop > ap->max_drop) {
            fprintf(out, "outside: drop of %s AP %.6g, want at most %g (--max-ap-drop)\n", TYPE_NAMES[type], drop,
                    ap->max_drop);
            bad++;
        }
    }
    return bad;
}

static void put_stats(FILE *out, const char *key, const double value[VERIFY_AP_STATS])
{
    fprintf(out, "\"%s\":{", key);
    for (int32_t i = 0; i < VERIFY_AP_STATS; i++) {
        fprintf(out, "%s\"%s\":%.17g", i ? "," : "", rcnn_eval_stat_name(i), value[i]);
    }
    fputc('}', out);
}

void verify_json_ap(FILE *out, const verify_ap *ap)
{
    fprintf(out, "{\"images\":%d,\"skipped\":%d,\"not_run\":%d,\"max_dets\":%d,\"max_ap_drop\":%.9g", (int)ap->images,
            (int)ap->skipped, (int)not_given(ap), (int)ap->max_dets, ap->max_drop);
    for (int type = 0; type < type_count(ap); type++) {
        double difference[VERIFY_AP_STATS];
        for (int i = 0; i < VERIFY_AP_STATS; i++) {
            difference[i] = ap->value[type][1][i] - ap->value[type][0][i];
        }
        fprintf(out, ",\n \"%s\":{", TYPE_KEYS[type]);
        put_stats(out, "a", ap->value[type][0]);
        fputc(',', out);
        put_stats(out, "b", ap->value[type][1]);
        fputc(',', out);
        put_stats(out, "b_minus_a", difference);
        fputc('}', out);
    }
    fputc('}', out);
}
