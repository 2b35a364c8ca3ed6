/* `rcnn detect`: images in, pictures, JSON and summary lines out, in the order of the images. Whatever fails for one image
 * is reported and the next one follows, whatever fails for an output ends the run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_out.h"
#include "bench_run.h"
#include "commands.h"
#include "detect.h"
#include "log.h"
#include "stop.h"
#include "utf8.h"

/* One image that came back. */
typedef struct shot {
    const stream_item *item;
    const char *picture;
    double draw_ms;
} shot;

static void report_input(job *j, const stream_item *item)
{
    progress_hide(&j->bar);
    message_about(item->path, item->failed.message);
    j->status = TOOL_FAILED;
}

static int32_t found(const shot *s)
{
    return rcnn_results_count(s->item->results, s->item->position);
}

/* An image's share of the time of its batch. */
static double stage_ms(const shot *s, int32_t stage)
{
    return rcnn_results_stage_ms(s->item->results, stage) / s->item->together;
}

/* ----------------------------------------------------------------- pictures */

static bool fill_items(job *j, const shot *s, int32_t count)
{
    rcnn_results *results = s->item->results;
    const int32_t image = s->item->position;
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
        if (rcnn_results_get(results, image, i, &item->detection) != RCNN_OK) {
            return tool_fail(&j->err, "no detection %d", (int)i);
        }
        item->name = rcnn_model_class_name(j->model, item->detection.label);
        if (j->masks != RCNN_MASK_NONE) {
            if (rcnn_results_get_mask(results, image, i, RCNN_MASK_RAW, &mask, &j->err) != RCNN_OK) {
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
    int32_t count = found(s);
    if (!fill_items(j, s, count)) {
        return false;
    }
    picture p = {.view = s->item->view,
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

/* Of a run on a GPU only the whole is known, unless stages are kept apart. */
static void print_stages(const job *j, const shot *s)
{
    if (j->sessions.gpu && !j->opts->value[OPT_PROFILE].set) {
        fprintf(j->lines, ", run %.1f", stage_ms(s, -1));
        return;
    }
    for (int32_t stage = 0; stage < rcnn_stage_count(); stage++) {
        fprintf(j->lines, ", %s %.1f", rcnn_stage_name(stage), stage_ms(s, stage));
    }
}

static void print_summary(const job *j, const shot *s)
{
    char name[512];
    const stream_item *item = s->item;
    utf8_copy_printable(name, sizeof name, item->path);
    int32_t count = found(s);
    fprintf(j->lines, "%s: %dx%d, %d found%s, %.0f ms: decode %.1f", name, (int)item->view.width,
            (int)item->view.height, (int)count, count >= j->max_detections ? " (the limit; -n raises it)" : "",
            item->decode_ms + s->draw_ms + stage_ms(s, -1), item->decode_ms);
    print_stages(j, s);
    if (s->picture) {
        utf8_copy_printable(name, sizeof name, s->picture);
        fprintf(j->lines, ", draw %.1f -> %s", s->draw_ms, name);
    }
    fputc('\n', j->lines);
    fflush(j->lines);
}

/* ------------------------------------------------------------------ profile */

static bool note_times(job *j, const shot *s)
{
    double ms[BENCH_STAGE_COUNT];
    bench_stage_times(s->item->results, ms);
    for (int stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
        ms[stage] /= s->item->together;
    }
    ms[BENCH_STAGE_decode] = s->item->decode_ms;
    bool done = bench_times_add(&j->calls, stage_ms(s, -1));
    for (int stage = 0; stage < BENCH_STAGE_COUNT && done; stage++) {
        done = ms[stage] < 0 || bench_times_add(&j->stages[stage], ms[stage]);
    }
    if (!done) {
        tool_fail(&j->err, "out of memory for the times of %d images", (int)j->calls.count);
        return detect_stop(j, TOOL_FAILED);
    }
    return true;
}

static void print_profile(job *j)
{
    char title[64];
    for (int stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
        bench_times_sum_up(&j->stages[stage]);
    }
    bench_times_sum_up(&j->calls);
    snprintf(title, sizeof title, "ms an image|(%d)", (int)j->calls.count);
    if (j->calls.count > 0) {
        bench_print_profile(j->stages, &j->calls, title, j->lines);
    }
}

/* ------------------------------------------------------------------- images */

/* Everything about the image after the network: false ends the run. */
static bool write_outputs(job *j, shot *s)
{
    if (j->opts->value[OPT_PROFILE].set && !note_times(j, s)) {
        return false;
    }
    if (s->picture && !draw(j, s)) {
        return detect_stop(j, TOOL_FAILED);
    }
    if (j->json_file.stream &&
        (!json_image(&j->json, s->item, s->draw_ms, &j->err) || !outfile_flush(&j->json_file, &j->err))) {
        return detect_stop(j, TOOL_FAILED);
    }
    if (j->summary) {
        progress_hide(&j->bar);
        print_summary(j, s);
    }
    return true;
}

static bool take_item(job *j, const stream_item *item)
{
    if (item->failed.status != RCNN_OK) {
        report_input(j, item);
        return true;
    }
    shot s = {.item = item, .picture = j->overlay ? j->pictures.paths[item->index] : NULL};
    return write_outputs(j, &s);
}

static bool detect_all(job *j)
{
    const stream_options how = {.sessions = j->sessions.items,
                                .session_count = j->sessions.count,
                                .paths = j->inputs.paths,
                                .count = j->inputs.count,
                                .batch = j->opts->value[OPT_BATCH].set ? j->opts->value[OPT_BATCH].integer : 1,
                                .decoders = session_set_decoders(&j->sessions, j->opts),
                                .ignore_exif = j->ignore_exif,
                                .keep_pixels = j->overlay,
                                .decode_devices = session_set_decode_devices(&j->sessions, j->opts)};
    stream *images;
    if (!stream_open(&how, &images, &j->err)) {
        return detect_stop(j, TOOL_FAILED);
    }
    progress_start(&j->bar, j->inputs.count, j->summary && j->inputs.count > 1);
    bool go_on = true;
    for (size_t i = 0; go_on && i < j->inputs.count && !stop_signal(); i++) {
        progress_show(&j->bar, i);
        go_on = take_item(j, stream_next(images));
    }
    progress_hide(&j->bar);
    stream_close(images);
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
        const bool done = detect_all(j) && finish_json(j);
        if (done && opts->value[OPT_PROFILE].set) {
            print_profile(j);
        }
        if (done && stop_signal()) {
            j->status = 128 + stop_signal();
        }
    }
    int status = j->status;
    job_free(j);
    free(j);
    return status;
}
