/* The model's half of `rcnn eval`: every image of the annotation file through the network, its detections into the set
 * and, when asked, into result files with the very same numbers. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "eval.h"
#include "progress.h"

typedef struct model_run {
    eval_job *job;
    rcnn_model *model;
    rcnn_session *session;
    rcnn_results *results; /* of the last image, its memory reused       */
    int32_t *categories;   /* label -> index into the truth, -1 = none   */
    bool masks, ignore_exif;
    eval_saver saver;
    progress bar;
} model_run;

/* Ctrl-C ends the run after the image at hand, so that no unfinished file is left. */
static volatile sig_atomic_t stop_signal;

static void on_signal(int number)
{
    stop_signal = number;
}

static void catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* -------------------------------------------------------------- categories */

/* Label whose category id or, by_name, whose name is that of the truth's category; -1 = none. */
static int32_t find_label(const model_run *r, int32_t category, bool by_name)
{
    int64_t id;
    const char *name;
    if (rcnn_eval_truth_category(r->job->truth, category, &id, &name) != RCNN_OK) {
        return -1;
    }
    for (int32_t label = 0; label < rcnn_model_class_count(r->model); label++) {
        const char *own = rcnn_model_class_name(r->model, label);
        if (by_name ? own && strcasecmp(own, name) == 0 : rcnn_model_category_id(r->model, label) == id) {
            return label;
        }
    }
    return -1;
}

/* How many of the truth's categories a way of naming finds, and how many of those by the id agree in name too. */
static void count_found(const model_run *r, int32_t *ids, int32_t *names, int32_t *agree)
{
    *ids = *names = *agree = 0;
    for (int32_t k = 0; k < rcnn_eval_truth_category_count(r->job->truth); k++) {
        const int32_t by_id = find_label(r, k, false), by_name = find_label(r, k, true);
        *ids += by_id >= 0;
        *names += by_name >= 0;
        *agree += by_id >= 0 && by_id == by_name;
    }
}

static bool fail_mapping(model_run *r, bool by_name)
{
    for (int32_t k = 0; k < rcnn_eval_truth_category_count(r->job->truth); k++) {
        int64_t id;
        const char *name;
        if (find_label(r, k, by_name) < 0 && rcnn_eval_truth_category(r->job->truth, k, &id, &name) == RCNN_OK) {
            return tool_fail(
                &r->job->err,
                "category %lld '%.60s' of the annotations is none of the model's %d classes ('%.60s', ...), by "
                "id or by name; --class-names gives the model other names",
                (long long)id, name, (int)rcnn_model_class_count(r->model), rcnn_model_class_name(r->model, 0));
        }
    }
    return tool_fail(&r->job->err, "the model's category ids are those of the annotations, but mean other classes; "
                                   "--class-names gives the model other names");
}

/* Ids when they and half of the names agree, else names, else the one class for the one category. Categories that only
 * share an id are not taken for one another. */
static bool map_categories(model_run *r)
{
    const int32_t labels = rcnn_model_class_count(r->model), count = rcnn_eval_truth_category_count(r->job->truth);
    int32_t ids, names, agree;
    r->categories = malloc(((size_t)labels + 1) * sizeof *r->categories);
    if (!r->categories) {
        return tool_fail(&r->job->err, "out of memory");
    }
    memset(r->categories, -1, ((size_t)labels + 1) * sizeof *r->categories);
    if (labels == 1 && count == 1) {
        r->categories[0] = 0;
        return true;
    }
    count_found(r, &ids, &names, &agree);
    const bool by_id = ids == count && 2 * agree >= count;
    if (!by_id && names < count) {
        return fail_mapping(r, ids < count ? ids < names : true);
    }
    for (int32_t k = 0; k < count; k++) {
        r->categories[find_label(r, k, !by_id)] = k;
    }
    return true;
}

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
    return map_categories(r) && open_session(r) &&
           (!save->set || eval_saver_open(&r->saver, save->text, j->wanted, &j->err));
}

/* ------------------------------------------------------------------ running */

static bool add_detection(model_run *r, int32_t image, const rcnn_eval_image *info, int32_t index)
{
    eval_job *j = r->job;
    rcnn_detection d;
    rcnn_mask mask = {0};
    const char *name;
    if (rcnn_results_get(r->results, 0, index, &d) != RCNN_OK) {
        return tool_fail(&j->err, "no detection %d", (int)index);
    }
    const int32_t category = r->categories[d.label];
    if (category < 0) {
        return true;
    }
    const float width = d.x2 - d.x1, height = d.y2 - d.y1;
    eval_detection out = {.image_id = info->id,
                          .bbox = {(double)d.x1, (double)d.y1, (double)width, (double)height},
                          .score = (double)d.score};
    if (r->masks) {
        if (rcnn_results_get_mask(r->results, 0, index, RCNN_MASK_RLE, &mask, &j->err) != RCNN_OK) {
            return false;
        }
        out.counts = mask.counts;
        out.count = mask.count;
        out.width = mask.width;
        out.height = mask.height;
    }
    return rcnn_eval_truth_category(j->truth, category, &out.category_id, &name) == RCNN_OK &&
           rcnn_eval_detections_add(j->detections, image, category, out.bbox, out.score, out.counts, out.count,
                                    &j->err) == RCNN_OK &&
           eval_saver_add(&r->saver, &out, &j->err);
}

/* Detects in one picture whose pixels are in view. */
static bool run_image(model_run *r, int32_t image, const rcnn_eval_image *info, const rcnn_image_view *view)
{
    eval_job *j = r->job;
    if (info->width > 0 && info->height > 0 && (info->width != view->width || info->height != view->height)) {
        return tool_fail(&j->err, "'%.200s': the annotations say %dx%d pixels, the file has %dx%d", info->file_name,
                         (int)info->width, (int)info->height, (int)view->width, (int)view->height);
    }
    if (rcnn_session_run(r->session, view, 1, &r->results, &j->err) != RCNN_OK) {
        return false;
    }
    bool done = true;
    for (int32_t i = 0; done && i < rcnn_results_count(r->results, 0); i++) {
        done = add_detection(r, image, info, i);
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
    for (int32_t i = 0; done && i < j->images && !stop_signal; i++) {
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
    if (!open_all(&r)) {
        status = tool_status(&job->err);
    } else {
        catch_signals();
        const bool done = run_images(&r);
        if (stop_signal) {
            status = 128 + (int)stop_signal;
            tool_fail(&job->err, "interrupted; nothing was evaluated");
        } else if (done && eval_saver_commit(&r.saver, &job->err)) {
            status = TOOL_DONE;
        }
    }
    eval_saver_discard(&r.saver);
    rcnn_results_destroy(r.results);
    rcnn_session_destroy(r.session);
    rcnn_model_destroy(r.model);
    free(r.categories);
    return status;
}
