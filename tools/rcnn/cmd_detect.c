/* `rcnn detect`: images in, pictures, JSON and summary lines out. One image at a time; whatever fails for one image is
 * reported and the next one follows, whatever fails for an output ends the run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "detect.h"
#include "log.h"
#include "stop.h"
#include "utf8.h"

/* One image on its way through. */
typedef struct shot {
    const char *path, *picture;
    rcnn_image *image;
    rcnn_image_view view;
    double decode_ms, draw_ms;
} shot;

static void report_input(job *j, const char *path)
{
    progress_hide(&j->bar);
    message_about(path, j->err.message);
    j->status = TOOL_FAILED;
}

/* ------------------------------------------------------------------- images */

static bool fill_items(job *j, int32_t count)
{
    if ((size_t)count > j->item_capacity) {
        picture_item *grown = realloc(j->items, (size_t)count * sizeof *grown);
        if (!grown) {
            return tool_fail(&j->err, "out of memory for %d labels", (int)count);
        }
        j->items = grown;
        j->item_capacity = (size_t)count;
    }
    for (int32_t i = 0; i < count; i++) {
        picture_item *item = &j->items[i];
        rcnn_mask mask = {0};
        *item = (picture_item){0};
        if (rcnn_results_get(j->results, 0, i, &item->detection) != RCNN_OK) {
            return tool_fail(&j->err, "no detection %d", (int)i);
        }
        item->name = rcnn_model_class_name(j->model, item->detection.label);
        if (j->masks != RCNN_MASK_NONE) {
            if (rcnn_results_get_mask(j->results, 0, i, RCNN_MASK_RAW, &mask, &j->err) != RCNN_OK) {
                return false;
            }
            item->soft = mask.raw;
            item->side = mask.width;
        }
    }
    return true;
}

static bool draw(job *j, shot *s)
{
    const option_value *value = j->opts->value;
    double start = clock_ms();
    int32_t count = rcnn_results_count(j->results, 0);
    if (!fill_items(j, count)) {
        return false;
    }
    picture p = {.view = s->view,
                 .items = j->items,
                 .count = count,
                 .class_count = rcnn_model_class_count(j->model),
                 .score_threshold = j->score,
                 .zoom = value[OPT_ZOOM].integer,
                 .legend = !value[OPT_LEGEND].set || value[OPT_LEGEND].integer == 1};
    bool done = draw_picture(&p, s->picture, &j->err);
    s->draw_ms = clock_ms() - start;
    return done;
}

static void print_summary(const job *j, const shot *s)
{
    char name[512];
    utf8_copy_printable(name, sizeof name, s->path);
    int32_t count = rcnn_results_count(j->results, 0);
    fprintf(j->lines, "%s: %dx%d, %d found%s, %.0f ms: decode %.1f", name, (int)s->view.width, (int)s->view.height,
            (int)count, count >= j->max_detections ? " (the limit; -n raises it)" : "",
            s->decode_ms + s->draw_ms + rcnn_results_stage_ms(j->results, -1), s->decode_ms);
    for (int32_t stage = 0; stage < rcnn_stage_count(); stage++) {
        fprintf(j->lines, ", %s %.1f", rcnn_stage_name(stage), rcnn_results_stage_ms(j->results, stage));
    }
    if (s->picture) {
        utf8_copy_printable(name, sizeof name, s->picture);
        fprintf(j->lines, ", draw %.1f -> %s", s->draw_ms, name);
    }
    fputc('\n', j->lines);
    fflush(j->lines);
}

/* Everything about the image after the network: false ends the run. */
static bool write_outputs(job *j, shot *s)
{
    if (s->picture && !draw(j, s)) {
        return detect_stop(j, TOOL_FAILED);
    }
    if (j->json_file.stream &&
        (!json_image(&j->json, s->path, &s->view, j->results, s->decode_ms, s->draw_ms, &j->err) ||
         !outfile_flush(&j->json_file, &j->err))) {
        return detect_stop(j, TOOL_FAILED);
    }
    if (j->summary) {
        progress_hide(&j->bar);
        print_summary(j, s);
    }
    return true;
}

static bool detect_one(job *j, size_t index)
{
    shot s = {.path = j->inputs.paths[index], .picture = j->overlay ? j->pictures.paths[index] : NULL};
    rcnn_image_options how;
    rcnn_image_options_init(&how);
    how.ignore_exif = j->ignore_exif;
    double start = clock_ms();
    bool go_on = true;
    if (rcnn_image_load(s.path, &how, &s.image, &j->err) != RCNN_OK) {
        report_input(j, s.path);
        return true;
    }
    rcnn_image_get_view(s.image, &s.view);
    s.decode_ms = clock_ms() - start;
    if (rcnn_session_run(j->session, &s.view, 1, &j->results, &j->err) != RCNN_OK) {
        report_input(j, s.path);
    } else {
        go_on = write_outputs(j, &s);
    }
    rcnn_image_destroy(s.image);
    return go_on;
}

static bool detect_all(job *j)
{
    bool wanted = j->summary && j->inputs.count > 1;
    progress_start(&j->bar, j->inputs.count, wanted);
    bool go_on = true;
    for (size_t i = 0; go_on && i < j->inputs.count && !stop_signal(); i++) {
        progress_show(&j->bar, i);
        go_on = detect_one(j, i);
    }
    progress_hide(&j->bar);
    return go_on;
}

static bool finish_json(job *j)
{
    if (!j->json_file.stream) {
        return true;
    }
    json_end(&j->json);
    return outfile_commit(&j->json_file, &j->err) || detect_stop(j, TOOL_FAILED);
}

int cmd_detect(const options *opts)
{
    job *j = calloc(1, sizeof *j);
    if (!j) {
        message_error("out of memory");
        return TOOL_FAILED;
    }
    j->opts = opts;
    log_start(opts, &j->bar);
    size_t failed = inputs_collect(opts->operands, opts->operand_count, opts->value[OPT_RECURSIVE].set, &j->inputs);
    j->status = failed ? TOOL_FAILED : TOOL_DONE;
    stop_catch(); /* before the first temporary file */
    if (j->inputs.count > 0 && detect_setup(j)) {
        if (detect_all(j) && finish_json(j) && stop_signal()) {
            j->status = 128 + stop_signal();
        }
    }
    int status = j->status;
    job_free(j);
    free(j);
    return status;
}
