/* The model's half of `rcnn eval`: every image of the annotation file through the network, its detections into the set
 * and, when asked, into result files with the very same numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "progress.h"
#include "stop.h"

typedef struct model_run {
    eval_job *job;
    rcnn_model *model;
    rcnn_session *session;
    rcnn_results *results; /* of the last image, its memory reused       */
    eval_feed feed;
    bool masks, ignore_exif;
    eval_saver saver;
    progress bar;
} model_run;

/* ------------------------------------------------------------------ opening */

static bool open_model(model_run *r)
{
    eval_job *j = r->job;
    const option_value *named = &j->opts->value[OPT_MODEL];
    if (named->set) {
        snprintf(j->model_path, sizeof j->model_path, "%s", named->text);
    } else if (!model_find_default(j->model_path, &j->err)) {
        return false;
    }
    if (!model_load_with_options(j->opts, j->model_path, &r->model, &j->err)) {
        return false;
    }
    r->ignore_exif = model_ignores_exif(r->model);
    const bool has_masks = rcnn_model_has_masks(r->model) != 0;
    if (!j->wanted[RCNN_IOU_BBOX] && !j->wanted[RCNN_IOU_SEGM]) {
        j->wanted[RCNN_IOU_BBOX] = true;
        j->wanted[RCNN_IOU_SEGM] = has_masks;
    }
    if (j->wanted[RCNN_IOU_SEGM] && !has_masks) {
        return tool_fail(&j->err, "--iou-type: want bbox, as the model has no mask head, got segm");
    }
    r->masks = j->wanted[RCNN_IOU_SEGM];
    return true;
}

static bool open_session(model_run *r)
{
    eval_job *j = r->job;
    const option_value *value = j->opts->value;
    const char *configured = model_config_value(r->model, "max_detections", NULL);
    const int32_t usual = configured ? (int32_t)strtol(configured, NULL, 10) : 0;
    rcnn_session_options wanted;
    rcnn_session_options_init(&wanted);
    wanted.backend = value[OPT_DEVICE].set ? value[OPT_DEVICE].text : "auto";
    wanted.num_threads = value[OPT_THREADS].integer;
    wanted.long_side = value[OPT_SCALE].first;
    wanted.short_side = value[OPT_SCALE].second;
    wanted.max_detections = usual > j->max_dets[2] ? usual : j->max_dets[2];
    wanted.score_threshold = value[OPT_EVAL_SCORE].set ? (float)value[OPT_EVAL_SCORE].real : -1.0f;
    wanted.mask_format = r->masks ? RCNN_MASK_RLE : RCNN_MASK_NONE;
    return rcnn_session_create(r->model, &wanted, &r->session, &j->err) == RCNN_OK;
}

static bool open_all(model_run *r)
{
    eval_job *j = r->job;
    const option_value *save = &j->opts->value[OPT_SAVE_RESULTS];
    const double start = clock_ms();
    if (!open_model(r) || rcnn_eval_truth_load(j->opts->value[OPT_ANN].text, r->masks, &j->truth, &j->err) != RCNN_OK ||
        rcnn_eval_detections_create(j->truth, &j->detections, &j->err) != RCNN_OK) {
        return false;
    }
    j->read_ms = clock_ms() - start;
    return eval_feed_open(&r->feed, r->model, j->truth, j->detections, r->masks, &j->err) && open_session(r) &&
           (!save->set || eval_saver_open(&r->saver, save->text, j->wanted, &j->err));
}

/* ------------------------------------------------------------------ running */

static bool add_detection(model_run *r, int32_t image, int32_t index)
{
    eval_detection d;
    bool added;
    return eval_feed_add(&r->feed, r->results, index, image, &d, &added, &r->job->err) &&
           (!added || eval_saver_add(&r->saver, &d, &r->job->err));
}

/* Detects in one picture whose pixels are in view. */
static bool run_image(model_run *r, int32_t image, const rcnn_eval_image *info, const rcnn_image_view *view)
{
    eval_job *j = r->job;
    if (!eval_same_size(info, view, &j->err) ||
        rcnn_session_run(r->session, view, 1, &r->results, &j->err) != RCNN_OK) {
        return false;
    }
    bool done = true;
    for (int32_t i = 0; done && i < rcnn_results_count(r->results, 0); i++) {
        done = add_detection(r, image, i);
    }
    return done;
}

static bool load_and_run(model_run *r, int32_t index)
{
    eval_job *j = r->job;
    char path[4096];
    rcnn_eval_image info;
    rcnn_image *image = NULL;
    rcnn_image_view view;
    rcnn_image_options how;
    rcnn_image_options_init(&how);
    how.ignore_exif = r->ignore_exif;
    if (rcnn_eval_truth_image(j->truth, index, &info) != RCNN_OK || !info.file_name[0]) {
        return tool_fail(&j->err, "image %d of the annotations has no file_name", (int)index);
    }
    const int length = snprintf(path, sizeof path, "%s/%s", j->opts->value[OPT_EVAL_IMAGES].text, info.file_name);
    if (length < 0 || (size_t)length >= sizeof path) {
        return tool_fail(&j->err, "'%.200s': the path is too long", info.file_name);
    }
    if (rcnn_image_load(path, &how, &image, &j->err) != RCNN_OK) {
        return false;
    }
    rcnn_image_get_view(image, &view);
    const bool done = run_image(r, index, &info, &view);
    rcnn_image_destroy(image);
    return done;
}

static bool run_images(model_run *r)
{
    eval_job *j = r->job;
    const int32_t limit = j->opts->value[OPT_LIMIT].integer, all = rcnn_eval_truth_image_count(j->truth);
    const double start = clock_ms();
    bool done = true;
    j->images = limit > 0 && limit < all ? limit : all;
    progress_start(&r->bar, (size_t)j->images, !j->opts->value[OPT_QUIET].set);
    for (int32_t i = 0; done && i < j->images && !stop_signal(); i++) {
        progress_show(&r->bar, (size_t)i);
        done = load_and_run(r, i);
    }
    progress_hide(&r->bar);
    j->detect_ms = clock_ms() - start;
    return done;
}

int eval_run_model(eval_job *job)
{
    model_run r = {.job = job};
    int status = TOOL_FAILED;
    stop_catch(); /* before the first temporary file */
    if (!open_all(&r)) {
        status = tool_status(&job->err);
    } else {
        const bool done = run_images(&r);
        if (stop_signal()) {
            status = 128 + stop_signal();
            tool_fail(&job->err, "interrupted; nothing was evaluated");
        } else if (done && eval_saver_commit(&r.saver, &job->err)) {
            status = TOOL_DONE;
        }
    }
    eval_saver_discard(&r.saver);
    rcnn_results_destroy(r.results);
    rcnn_session_destroy(r.session);
    rcnn_model_destroy(r.model);
    eval_feed_close(&r.feed);
    return status;
}
