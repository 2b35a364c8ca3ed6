/* A session: one backend opened for one model, plans per padded shape, one arena, and the run loop. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/options.h"
#include "base/threads.h"
#include "model/model.h"
#include "session/plan.h"
#include "session/results.h"
#include "session/session.h"

_Static_assert(2 * RCNN_MASK_POOL_MAX <= RCNN_MASK_SIDE_MAX, "every mask head fits what src/mask can paste");

void rcnn_session_options_init_sized(rcnn_session_options *options, size_t struct_size)
{
    const rcnn_session_options defaults = {.struct_size = struct_size,
                                           .backend = "auto",
                                           .max_batch = 1,
                                           .score_threshold = -1,
                                           .mask_format = RCNN_MASK_RAW,
                                           .mask_threshold = 0.5f};
    rcnn_options_init(options, struct_size, &defaults, sizeof defaults);
}

static rcnn_status check_options(const rcnn_session_options *o, const rcnn_model *model, rcnn_error *err)
{
    if (o->num_threads < 0 || o->num_threads > 1024) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want 0..1024 threads, got %d", o->num_threads);
    }
    if (o->max_batch < 1 || o->max_batch > RCNN_BATCH_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a batch of 1..%d, got %d", RCNN_BATCH_MAX,
                         o->max_batch);
    }
    if (!(o->score_threshold <= 1)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a score threshold of 0..1, got %g",
                         (double)o->score_threshold);
    }
    if (!(o->mask_threshold > 0 && o->mask_threshold < 1)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a mask threshold between 0 and 1, got %g",
                         (double)o->mask_threshold);
    }
    if (o->max_detections < 0 || o->max_detections > 100000) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want 0..100000 detections, got %d", o->max_detections);
    }
    if (o->long_side < 0 || o->short_side < 0 || o->long_side > RCNN_NET_SIDE_MAX ||
        o->short_side > RCNN_NET_SIDE_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want resize sides of 0..%d, got %dx%d", RCNN_NET_SIDE_MAX,
                         o->long_side, o->short_side);
    }
    if (o->mask_format < RCNN_MASK_NONE || o->mask_format > RCNN_MASK_FULL) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: no mask format %d", (int)o->mask_format);
    }
    if (o->label_count < 0 || (o->label_count > 0 && !o->labels)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a list of labels, got %d at %s", o->label_count,
                         o->labels ? "a pointer" : "NULL");
    }
    for (int32_t i = 0; i < o->label_count; i++) {
        if (o->labels[i] < 0 || o->labels[i] >= model->config.class_count) {
            return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want labels of 0..%d, got %d",
                             model->config.class_count - 1, o->labels[i]);
        }
    }
    return RCNN_OK;
}

/* Options and model defaults -> the session's own settings. */
static rcnn_status apply_options(rcnn_session *s, const rcnn_session_options *o, rcnn_error *err)
{
    const rcnn_config *config = &s->model->config;
    s->num_threads = o->num_threads ? o->num_threads : rcnn_threads_available();
    s->max_batch = o->max_batch;
    s->long_side = o->long_side ? o->long_side : config->long_side;
    s->short_side = o->short_side ? o->short_side : config->short_side;
    s->mask_format = config->has_mask ? o->mask_format : RCNN_MASK_NONE;
    s->mask_threshold = o->mask_threshold;
    s->keep_values = o->keep_values != 0;
    s->build.score_threshold = o->score_threshold >= 0 ? o->score_threshold : (float)config->score_threshold;
    s->build.max_detections = o->max_detections ? o->max_detections : config->max_detections;
    s->build.masks = s->mask_format != RCNN_MASK_NONE;
    if (o->labels) {
        s->label_wanted = rcnn_calloc((size_t)config->class_count, 1);
        if (!s->label_wanted) {
            return rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory");
        }
        for (int32_t i = 0; i < o->label_count; i++) {
            s->label_wanted[o->labels[i]] = 1;
        }
        s->build.label_wanted = s->label_wanted;
    }
    return RCNN_OK;
}

rcnn_status rcnn_session_create(const rcnn_model *model, const rcnn_session_options *options, rcnn_session **out,
                                rcnn_error *err)
{
    if (out) {
        *out = NULL;
    }
    if (!model || !out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: model and out must not be NULL");
    }
    rcnn_session_options o;
    rcnn_session_options_init(&o);
    RCNN_TRY(rcnn_options_read("session", options, &o, sizeof o, err));
    RCNN_TRY(check_options(&o, model, err));
    rcnn_session *s = rcnn_calloc(1, sizeof *s);
    if (!s) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory");
    }
    rcnn_model_retain(model);
    s->model = model;
    rcnn_status status = apply_options(s, &o, err);
    if (status == RCNN_OK) {
        status = rcnn_backend_find(o.backend ? o.backend : "auto", &s->vt, err);
    }
    if (status == RCNN_OK) {
        const rcnn_backend_options backend = {.device = 0, .num_threads = s->num_threads};
        status = s->vt->open(&backend, &s->backend, err);
    }
    if (status != RCNN_OK) {
        rcnn_session_destroy(s);
        return status;
    }
    *out = s;
    return RCNN_OK;
}

void rcnn_session_destroy(rcnn_session *s)
{
    if (!s) {
        return;
    }
    for (int32_t i = 0; i < s->plan_count; i++) {
        rcnn_plan_destroy(s->plans[i], s->vt);
    }
    if (s->backend) {
        s->vt->release_memory(s->backend, s->arena);
        s->vt->release_memory(s->backend, s->scratch);
        s->vt->close(s->backend);
    }
    rcnn_free(s->label_wanted);
    rcnn_free(s->staging);
    rcnn_model_destroy((rcnn_model *)(uintptr_t)s->model);
    rcnn_free(s);
}

const char *rcnn_session_backend_name(const rcnn_session *s)
{
    return s ? s->vt->name : NULL;
}

/* ------------------------------------------------------------------- plans */

static rcnn_status grow_block(rcnn_session *s, void **block, size_t *have, size_t need, rcnn_error *err)
{
    if (need <= *have) {
        return RCNN_OK;
    }
    s->vt->release_memory(s->backend, *block);
    *block = NULL;
    *have = 0;
    RCNN_TRY(s->vt->alloc(s->backend, need, block, err));
    *have = need;
    return RCNN_OK;
}

static void forget_oldest_plan(rcnn_session *s)
{
    int32_t oldest = 0;
    for (int32_t i = 1; i < s->plan_count; i++) {
        if (s->plans[i]->last_used < s->plans[oldest]->last_used) {
            oldest = i;
        }
    }
    if (s->current == s->plans[oldest]) {
        s->current = NULL;
    }
    rcnn_plan_destroy(s->plans[oldest], s->vt);
    s->plans[oldest] = s->plans[--s->plan_count];
}

rcnn_status rcnn_session_plan_for(rcnn_session *s, int32_t batch, int32_t width, int32_t height, rcnn_plan **out,
                                  rcnn_error *err)
{
    for (int32_t i = 0; i < s->plan_count; i++) {
        if (s->plans[i]->batch == batch && s->plans[i]->width == width && s->plans[i]->height == height) {
            s->plans[i]->last_used = ++s->run_count;
            *out = s->plans[i];
            return RCNN_OK;
        }
    }
    if (width > RCNN_NET_SIDE_MAX || height > RCNN_NET_SIDE_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "session: want a network input of at most %dx%d, got %dx%d",
                         RCNN_NET_SIDE_MAX, RCNN_NET_SIDE_MAX, width, height);
    }
    if (s->plan_count == RCNN_SESSION_PLANS_MAX) {
        forget_oldest_plan(s);
    }
    rcnn_build_options build = s->build;
    build.batch = batch;
    build.width = width;
    build.height = height;
    rcnn_plan *plan;
    double start = rcnn_clock_ms();
    RCNN_TRY(rcnn_plan_create(s->model, &build, s->keep_values, s->vt, s->backend, &plan, err));
    plan->last_used = ++s->run_count;
    s->plans[s->plan_count++] = plan;
    rcnn_log(RCNN_LOG_DEBUG, "session: planned %d of %dx%d, %d ops, arena %.1f MB, scratch %.1f MB, in %.1f ms", batch,
             width, height, plan->graph.op_count, (double)plan->graph.arena_bytes / 1e6,
             (double)plan->scratch_bytes / 1e6, rcnn_clock_ms() - start);
    *out = plan;
    return RCNN_OK;
}

/* Memory for a plan, shared with all other plans of the session. */
static rcnn_status bind_plan(rcnn_session *s, rcnn_plan *plan, rcnn_error *err)
{
    s->current = NULL;
    RCNN_TRY(grow_block(s, &s->arena, &s->arena_bytes, plan->graph.arena_bytes, err));
    RCNN_TRY(grow_block(s, &s->scratch, &s->scratch_bytes, plan->scratch_bytes, err));
    rcnn_plan_bind(plan, s->arena);
    s->current = plan;
    return RCNN_OK;
}

/* --------------------------------------------------------------------- run */

static rcnn_status check_image(const rcnn_image_view *view, int32_t index, rcnn_error *err)
{
    static const uint8_t pixel_bytes[] = {3, 3, 1, 4, 4}; /* order of rcnn_pixel_format */
    if (!view->data || view->width < 1 || view->height < 1) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "image %d: want pixels, got %dx%d%s", index, view->width, view->height,
                         view->data ? "" : " with data NULL");
    }
    if (view->width > RCNN_IMAGE_SIDE_MAX || view->height > RCNN_IMAGE_SIDE_MAX ||
        (int64_t)view->width * view->height > RCNN_IMAGE_PIXELS_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "image %d: want sides up to %d and up to %d pixels, got %dx%d", index,
                         RCNN_IMAGE_SIDE_MAX, RCNN_IMAGE_PIXELS_MAX, view->width, view->height);
    }
    if ((size_t)view->format >= sizeof pixel_bytes) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "image %d: no pixel format %d", index, (int)view->format);
    }
    if (view->stride_bytes < (size_t)view->width * pixel_bytes[view->format]) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "image %d: want a stride of at least %zu bytes, got %zu", index,
                         (size_t)view->width * pixel_bytes[view->format], view->stride_bytes);
    }
    return RCNN_OK;
}

void rcnn_session_place_image(const rcnn_session *s, rcnn_frame_image *image, int32_t *width, int32_t *height)
{
    const int32_t divisor = s->model->config.size_divisor;
    rcnn_preprocess_size(&s->model->config, s->long_side, s->short_side, image);
    *width = (image->net_width + divisor - 1) / divisor * divisor;
    *height = (image->net_height + divisor - 1) / divisor * divisor;
}

/* The frame of a batch and the padded shape that holds its images. */
static void fill_frame(rcnn_session *s, const rcnn_image_view *images, int32_t count, int32_t *width, int32_t *height)
{
    *width = 1;
    *height = 1;
    s->frame.count = count;
    for (int32_t n = 0; n < count; n++) {
        rcnn_frame_image *image = &s->frame.image[n];
        image->view = images[n];
        int32_t w, h;
        rcnn_session_place_image(s, image, &w, &h);
        *width = w > *width ? w : *width;
        *height = h > *height ? h : *height;
    }
}

/* A value of the current plan in host memory: in place, or downloaded to staging. */
static rcnn_status host_value(rcnn_session *s, rcnn_value_id id, size_t bytes, const void **out, rcnn_error *err)
{
    if (!s->vt->download) {
        *out = s->current->value[id];
        return RCNN_OK;
    }
    void *staging = s->staging;
    bool grown = rcnn_grow(&staging, &s->staging_capacity, bytes, 1);
    s->staging = staging;
    if (!grown) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory for %zu bytes", bytes);
    }
    RCNN_TRY(s->vt->download(s->backend, s->staging, s->current->value[id], bytes, err));
    *out = s->staging;
    return RCNN_OK;
}

static rcnn_status host_named(rcnn_session *s, const char *name, const void **out, rcnn_error *err)
{
    rcnn_value_id id = rcnn_graph_find(&s->current->graph, name);
    return id == RCNN_NO_VALUE ? rcnn_fail(err, RCNN_ERR_INTERNAL, "session: the plan has no value '%s'", name)
                               : host_value(s, id, s->current->graph.values[id].bytes, out, err);
}

/* Adds one image entry per image of the frame, with its detections' counts. */
static rcnn_status take_counts(rcnn_session *s, rcnn_results *results, rcnn_error *err)
{
    const void *data;
    RCNN_TRY(host_named(s, "det_counts", &data, err));
    for (int32_t n = 0; n < s->frame.count; n++) {
        int32_t count;
        memcpy(&count, (const int32_t *)data + n, sizeof count);
        RCNN_TRY(rcnn_results_reserve(results, count, err));
        results->images[results->image_count++] = (rcnn_result_image){.width = s->frame.image[n].view.width,
                                                                      .height = s->frame.image[n].view.height,
                                                                      .first = results->detection_count,
                                                                      .count = count};
        results->detection_count += count;
    }
    return RCNN_OK;
}

static void take_boxes(rcnn_results *results, int32_t first_image, int32_t capacity, const float *boxes)
{
    for (int32_t i = first_image; i < results->image_count; i++) {
        const rcnn_result_image *image = &results->images[i];
        const float *src = boxes + (size_t)(i - first_image) * (size_t)capacity * 4;
        for (int32_t d = 0; d < image->count; d++) {
            rcnn_detection *detection = &results->detections[image->first + d];
            detection->x1 = src[4 * d];
            detection->y1 = src[4 * d + 1];
            detection->x2 = src[4 * d + 2];
            detection->y2 = src[4 * d + 3];
            memcpy(results->paste_boxes[image->first + d], src + 4 * d, 4 * sizeof *src);
        }
    }
}

/* mmdetection 2.x pastes to mask RoI / scale, a third rounding of the same box (spec section 10). */
static void take_rounded_paste_boxes(const rcnn_session *s, rcnn_results *results, int32_t first_image,
                                     int32_t capacity, const float *rois)
{
    for (int32_t i = first_image; i < results->image_count; i++) {
        const rcnn_result_image *image = &results->images[i];
        const rcnn_frame_image *frame = &s->frame.image[i - first_image];
        const float *src = rois + (size_t)(i - first_image) * (size_t)capacity * 4;
        for (int32_t d = 0; d < image->count; d++) {
            float *box = results->paste_boxes[image->first + d];
            box[0] = src[4 * d] / frame->scale_x;
            box[1] = src[4 * d + 1] / frame->scale_y;
            box[2] = src[4 * d + 2] / frame->scale_x;
            box[3] = src[4 * d + 3] / frame->scale_y;
        }
    }
}

static rcnn_status take_labels_and_scores(rcnn_session *s, rcnn_results *results, int32_t first_image, int32_t capacity,
                                          rcnn_error *err)
{
    const void *data;
    RCNN_TRY(host_named(s, "det_scores", &data, err));
    for (int32_t i = first_image; i < results->image_count; i++) {
        const rcnn_result_image *image = &results->images[i];
        const float *scores = (const float *)data + (size_t)(i - first_image) * (size_t)capacity;
        for (int32_t d = 0; d < image->count; d++) {
            results->detections[image->first + d].score = scores[d];
        }
    }
    RCNN_TRY(host_named(s, "det_labels", &data, err));
    for (int32_t i = first_image; i < results->image_count; i++) {
        const rcnn_result_image *image = &results->images[i];
        const int32_t *labels = (const int32_t *)data + (size_t)(i - first_image) * (size_t)capacity;
        for (int32_t d = 0; d < image->count; d++) {
            results->detections[image->first + d].label = labels[d];
        }
    }
    return RCNN_OK;
}

/* Everything a run of the current plan left, into results. */
static rcnn_status take_results(rcnn_session *s, rcnn_results *results, rcnn_error *err)
{
    const rcnn_graph *graph = &s->current->graph;
    int32_t first_image = results->image_count;
    int32_t first_detection = results->detection_count;
    RCNN_TRY(take_counts(s, results, err));
    const void *data;
    RCNN_TRY(host_named(s, "det_boxes", &data, err));
    int32_t capacity = graph->values[rcnn_graph_find(graph, "det_boxes")].desc.dim[1];
    take_boxes(results, first_image, capacity, data);
    RCNN_TRY(take_labels_and_scores(s, results, first_image, capacity, err));
    if (!results->has_masks) {
        return RCNN_OK;
    }
    if (s->model->config.rescale_first) {
        RCNN_TRY(host_named(s, "mask_rois", &data, err));
        take_rounded_paste_boxes(s, results, first_image, capacity, data);
    }
    size_t mask = (size_t)results->side * (size_t)results->side;
    size_t live = (size_t)(results->detection_count - first_detection) * mask;
    if (live) { /* packed rows: live masks stand together, in the order of the detections */
        RCNN_TRY(host_value(s, rcnn_graph_find(graph, "masks"), live * sizeof(float), &data, err));
        memcpy(results->soft + (size_t)first_detection * mask, data, live * sizeof(float));
    }
    return RCNN_OK;
}

static rcnn_status run_batch(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_results *results,
                             rcnn_error *err)
{
    int32_t width, height;
    rcnn_plan *plan;
    fill_frame(s, images, count, &width, &height);
    RCNN_TRY(rcnn_session_plan_for(s, count, width, height, &plan, err));
    RCNN_TRY(bind_plan(s, plan, err));
    if (s->vt->begin_run) {
        s->vt->begin_run(s->backend);
    }
    rcnn_status status = rcnn_plan_run(plan, s->vt, s->backend, s->scratch, &s->frame, results->stage_ms, err);
    if (s->vt->end_run) {
        s->vt->end_run(s->backend);
    }
    RCNN_TRY(status);
    double start = rcnn_clock_ms();
    status = take_results(s, results, err);
    results->stage_ms[RCNN_STAGE_postprocess] += rcnn_clock_ms() - start;
    return status;
}

static rcnn_status run_all(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_results *results,
                           rcnn_error *err)
{
    double start = rcnn_clock_ms();
    rcnn_results_reset(results);
    results->has_masks = s->mask_format != RCNN_MASK_NONE;
    results->side = 2 * s->model->config.mask_pool;
    results->paste = s->model->config.paste;
    results->threshold = s->mask_threshold;
    for (int32_t first = 0, batch; first < count; first += batch) {
        batch = count - first < s->max_batch ? count - first : s->max_batch;
        RCNN_TRY(run_batch(s, images + first, batch, results, err));
    }
    double masks = rcnn_clock_ms();
    RCNN_TRY(rcnn_results_make_masks(results, s->mask_format, s->num_threads, err));
    double end = rcnn_clock_ms();
    results->stage_ms[RCNN_STAGE_postprocess] += end - masks;
    results->total_ms = end - start;
    return RCNN_OK;
}

rcnn_status rcnn_session_run(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_results **out,
                             rcnn_error *err)
{
    if (!out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a place for the results, got NULL");
    }
    rcnn_status status = RCNN_OK;
    if (!s || count < 0 || (count > 0 && !images)) {
        status = rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a session and images, got %s and %d at %s",
                           s ? "one" : "NULL", count, images ? "a pointer" : "NULL");
    }
    for (int32_t i = 0; i < count && status == RCNN_OK; i++) {
        status = check_image(&images[i], i, err);
    }
    if (status == RCNN_OK && !*out) {
        *out = rcnn_calloc(1, sizeof **out);
        status = *out ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory for results");
    }
    if (status == RCNN_OK) {
        status = run_all(s, images, count, *out, err);
    }
    if (status != RCNN_OK) {
        rcnn_results_destroy(*out);
        *out = NULL;
    }
    return status;
}

rcnn_status rcnn_session_read_value(rcnn_session *s, const char *name, void *dst, size_t capacity, size_t *size,
                                    rcnn_error *err)
{
    if (!s || !name || !size || (capacity && !dst)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: session, name and size must not be NULL");
    }
    *size = 0;
    rcnn_value_id id = s->current ? rcnn_graph_find(&s->current->graph, name) : RCNN_NO_VALUE;
    if (id == RCNN_NO_VALUE) {
        return rcnn_fail(err, RCNN_ERR_NOT_FOUND, "session: no value '%s' in the last run", name);
    }
    const rcnn_value *value = &s->current->graph.values[id];
    if (!s->keep_values && value->last_use != INT32_MAX) {
        return rcnn_fail(err, RCNN_ERR_NOT_FOUND, "session: the memory of value '%s' was used again", name);
    }
    *size = value->bytes;
    size_t copied = capacity < value->bytes ? capacity : value->bytes;
    if (copied == 0) {
        return RCNN_OK;
    }
    const void *data;
    RCNN_TRY(host_value(s, id, copied, &data, err));
    memcpy(dst, data, copied);
    return RCNN_OK;
}
