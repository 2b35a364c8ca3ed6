/* Which images a calibration sees, what is said about them on the way, and how it is interrupted. */
#include "calibrate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "inputs.h"
#include "log.h"
#include "model_args.h"
#include "progress.h"
#include "stop.h"

#define IMAGES_USUAL 32 /* looked at when --calib-images says nothing */
#define IMAGES_FEW   8  /* below this a warning */

typedef struct calibration_job {
    const options *opts;
    const rcnn_model *model;
    rcnn_error *err;
    path_list files;
    rcnn_calibration *calibration;
    size_t used, skipped;
    progress bar;
} calibration_job;

static bool is_quiet(const calibration_job *j)
{
    return j->opts->value[OPT_QUIET].set;
}

/* ------------------------------------------------------------------- images */

/* Appends a line of a list; names that are not absolute count from the list's folder. */
static bool add_line(calibration_job *j, const char *list, const char *line)
{
    char path[4096];
    const char *slash = strrchr(list, '/');
    const int folder = line[0] == '/' || !slash ? 0 : (int)(slash - list) + 1;
    const int length = snprintf(path, sizeof path, "%.*s%s", folder, list, line);
    if (length < 0 || (size_t)length >= sizeof path) {
        return tool_fail(j->err, "'%.200s': a path of the list is too long", list);
    }
    return path_list_add(&j->files, path) || tool_fail(j->err, "out of memory for the names of images");
}

static bool read_list(calibration_job *j, const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        return tool_fail(j->err, "--calibrate: cannot read '%.300s': %s", path, strerror(errno));
    }
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    bool done = true;
    while (done && (length = getline(&line, &capacity, file)) >= 0) {
        if (memchr(line, '\0', (size_t)length)) {
            done = tool_fail(j->err, "--calibrate: '%.300s' is neither an image nor a list of images", path);
            break;
        }
        while (length > 0 && strchr(" \t\r\n", line[length - 1])) {
            line[--length] = '\0';
        }
        done = length == 0 || line[0] == '#' || add_line(j, path, line);
    }
    if (done && ferror(file)) {
        done = tool_fail(j->err, "--calibrate: cannot read '%.300s': %s", path, strerror(errno));
    }
    free(line);
    fclose(file);
    return done;
}

/* A directory, an image or a pattern is taken as detect takes it; any other file is a list. */
static bool collect(calibration_job *j)
{
    const char *path = j->opts->value[OPT_CALIBRATE].text;
    struct stat info;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode) && !inputs_is_image_name(path)) {
        return read_list(j, path);
    }
    if (inputs_collect(&path, 1, j->opts->value[OPT_RECURSIVE].set, &j->files) > 0) {
        return tool_fail(j->err, "--calibrate: no images from '%.300s'", path);
    }
    return true;
}

/* At most --calib-images of them, spread evenly over the list. */
static void thin_out(calibration_job *j)
{
    const option_value *limit = &j->opts->value[OPT_CALIB_IMAGES];
    const size_t wanted = limit->set ? (size_t)limit->integer : IMAGES_USUAL, there = j->files.count;
    if (there <= wanted) {
        if (limit->set && there < wanted && !is_quiet(j)) {
            message_error("--calib-images: want %zu images, there are %zu; all are used", wanted, there);
        }
        return;
    }
    for (size_t i = 0; i < wanted; i++) { /* i * there / wanted >= i: what is swapped away was passed already */
        char **to = &j->files.paths[i], **from = &j->files.paths[i * there / wanted], *path = *to;
        *to = *from;
        *from = path;
    }
    for (size_t i = wanted; i < there; i++) {
        free(j->files.paths[i]);
    }
    j->files.count = wanted;
}

/* ------------------------------------------------------------------ running */

/* A picture that fails is reported and passed over, as long as others are there. */
static void add_image(calibration_job *j, const char *path)
{
    rcnn_image_options how;
    rcnn_image *image = NULL;
    rcnn_image_view view;
    rcnn_error failed = {0};
    rcnn_image_options_init(&how);
    how.ignore_exif = model_ignores_exif(j->model);
    bool done = rcnn_image_load(path, &how, &image, &failed) == RCNN_OK;
    if (done) {
        rcnn_image_get_view(image, &view);
        done = rcnn_calibration_add(j->calibration, &view, &failed) == RCNN_OK;
    }
    if (!done) {
        progress_hide(&j->bar);
        message_about(path, failed.message);
    }
    j->used += done;
    j->skipped += !done;
    rcnn_image_destroy(image);
}

static int32_t show_step(void *context, int32_t done, int32_t total)
{
    calibration_job *j = context;
    if (j->bar.total == 0) {
        progress_start(&j->bar, (size_t)total, !is_quiet(j));
        j->bar.unit = "activation";
    }
    progress_show(&j->bar, (size_t)done);
    return stop_signal() != 0;
}

static bool open_calibration(calibration_job *j)
{
    const option_value *value = j->opts->value;
    rcnn_calibration_options wanted;
    rcnn_calibration_options_init(&wanted);
    wanted.num_threads = value[OPT_THREADS].integer;
    wanted.long_side = value[OPT_SCALE].first;
    wanted.short_side = value[OPT_SCALE].second;
    wanted.max_error = value[OPT_MAX_ACTIVATION_ERROR].set ? (float)value[OPT_MAX_ACTIVATION_ERROR].real : 0;
    wanted.progress = show_step;
    wanted.progress_context = j;
    return rcnn_calibration_create(j->model, &wanted, &j->calibration, j->err) == RCNN_OK;
}

static bool run_images(calibration_job *j)
{
    progress_start(&j->bar, j->files.count, !is_quiet(j));
    for (size_t i = 0; i < j->files.count && !stop_signal(); i++) {
        progress_show(&j->bar, i);
        add_image(j, j->files.paths[i]);
    }
    progress_hide(&j->bar);
    if (stop_signal()) {
        return false;
    }
    if (j->used == 0) {
        return tool_fail(j->err, "--calibrate: none of %zu images can be used", j->files.count);
    }
    if (!is_quiet(j) && j->skipped > 0) {
        message_error("%zu of %zu images were skipped", j->skipped, j->files.count);
    }
    if (!is_quiet(j) && j->used < IMAGES_FEW) {
        message_error("ranges come from %zu image%s only; %d or more that look like those to come are better", j->used,
                      j->used == 1 ? "" : "s", IMAGES_USUAL);
    }
    return true;
}

/* A file that cannot be written shall not show after minutes of work only. */
static bool can_write(const char *path, rcnn_error *err)
{
    char folder[4096];
    const char *slash = strrchr(path, '/');
    const int length = slash ? (int)(slash - path) + 1 : 2;
    if ((size_t)length < sizeof folder) {
        snprintf(folder, sizeof folder, "%.*s", length, slash ? path : "./");
        if (access(folder, W_OK) != 0) {
            return tool_fail(err, "'%.300s': cannot write there: %s", path, strerror(errno));
        }
    }
    return true;
}

static bool calibrate(calibration_job *j)
{
    if (!collect(j)) {
        return false;
    }
    thin_out(j);
    if (!open_calibration(j) || !run_images(j)) {
        return false;
    }
    j->bar.total = 0; /* the next bar counts activations */
    const bool saved = rcnn_calibration_save(j->calibration, j->opts->operands[1], j->err) == RCNN_OK;
    progress_hide(&j->bar);
    return saved;
}

int calibrate_file(const options *opts, const rcnn_model *model, rcnn_error *err)
{
    calibration_job j = {.opts = opts, .model = model, .err = err};
    stop_catch();
    log_start(opts, &j.bar);
    const bool done = can_write(opts->operands[1], err) && calibrate(&j);
    rcnn_calibration_destroy(j.calibration);
    path_list_free(&j.files);
    log_start(opts, NULL);
    if (!done && stop_signal()) {
        tool_fail(err, "interrupted; '%.300s' was not written", opts->operands[1]);
        return 128 + stop_signal();
    }
    return done ? TOOL_DONE : tool_status(err);
}
