/* The model's half of `rcnn eval`: every image of the annotation file through the network, its detections into the set
 * and, when asked, into result files with the very same numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"
#include "inputs.h"
#include "progress.h"
#include "session_args.h"
#include "stop.h"
#include "stream.h"

typedef struct model_run {
    eval_job *job;
    rcnn_model *model;
    session_set sessions;
    path_list files; /* of the images, in order */
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
    wanted.max_detections = usual > j->max_dets[2] ? usual : j->max_dets[2];
    wanted.score_threshold = value[OPT_EVAL_SCORE].set ? (float)value[OPT_EVAL_SCORE].real : -1.0f;
    wanted.mask_format = r->masks ? RCNN_MASK_RLE : RCNN_MASK_NONE;
    return session_set_open(&r->sessions, j->opts, r->model, &wanted, &j->err);
}

/* The names of all image files. */
static bool list_files(model_run *r)
{
    eval_job *j = r->job;
    const char *directory = j->opts->value[OPT_EVAL_IMAGES].text;
    const int32_t limit = j->opts->value[OPT_LIMIT].integer, all = rcnn_eval_truth_image_count(j->truth);
    j->images = limit > 0 && limit < all ? limit : all;
    for (int32_t i = 0; i < j->images; i++) {
        char path[4096];
        rcnn_eval_image info;
        if (rcnn_eval_truth_image(j->truth, i, &info) != RCNN_OK || !info.file_name[0]) {
            return tool_fail(&j->err, "image %d of the annotations has no file_name", (int)i);
        }
        const int length = snprintf(path, sizeof path, "%s/%s", directory, info.file_name);
        if (length < 0 || (size_t)length >= sizeof path) {
            return tool_fail(&j->err, "'%.200s': the path is too long", info.file_name);
        }
        if (!path_list_add(&r->files, path)) {
            return tool_fail(&j->err, "out of memory for %d file names", (int)j->images);
        }
    }
    return true;
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
    return list_files(r) && eval_feed_open(&r->feed, r->model, j->truth, j->detections, r->masks, &j->err) &&
           open_session(r) && (!save->set || eval_saver_open(&r->saver, save->text, j->wanted, &j->err));
}

/* ------------------------------------------------------------------ running */

static bool add_detection(model_run *r, const stream_item *item, int32_t index)
{
    eval_detection d;
    bool added;
    return eval_feed_add(&r->feed, item->results, item->position, index, (int32_t)item->index, &d, &added,
                         &r->job->err) &&
           (!added || eval_saver_add(&r->saver, &d, &r->job->err));
}

static bool take_item(model_run *r, const stream_item *item)
{
    eval_job *j = r->job;
    rcnn_eval_image info;
    if (item->failed.status != RCNN_OK) {
        j->err = item->failed;
        return false;
    }
    if (rcnn_eval_truth_image(j->truth, (int32_t)item->index, &info) != RCNN_OK ||
        !eval_same_size(&info, &item->view, &j->err)) {
        return false;
    }
    bool done = true;
    for (int32_t i = 0; done && i < rcnn_results_count(item->results, item->position); i++) {
        done = add_detection(r, item, i);
    }
    return done;
}

static bool run_images(model_run *r)
{
    eval_job *j = r->job;
    const option_value *value = j->opts->value;
    const stream_options how = {.sessions = r->sessions.items,
                                .session_count = r->sessions.count,
                                .paths = r->files.paths,
                                .count = r->files.count,
                                .batch = value[OPT_BATCH].set ? value[OPT_BATCH].integer : 1,
                                .decoders = session_set_decoders(&r->sessions, j->opts),
                                .ignore_exif = r->ignore_exif};
    const double start = clock_ms();
    stream *images;
    if (!stream_open(&how, &images, &j->err)) {
        return false;
    }
    progress_start(&r->bar, r->files.count, !value[OPT_QUIET].set);
    bool done = true;
    for (size_t i = 0; done && i < r->files.count && !stop_signal(); i++) {
        progress_show(&r->bar, i);
        done = take_item(r, stream_next(images));
    }
    progress_hide(&r->bar);
    stream_close(images);
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
    session_set_close(&r.sessions);
    rcnn_model_destroy(r.model);
    eval_feed_close(&r.feed);
    path_list_free(&r.files);
    return status;
}
