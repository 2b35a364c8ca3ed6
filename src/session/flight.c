/* Runs: batches launched and landed. See session.h for what a flight is. */
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/range.h"
#include "model/model.h"
#include "session/session.h"

/* --------------------------------------------------------------------- images */

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

static rcnn_status check_images(const rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_error *err)
{
    if (!s || count < 0 || (count > 0 && !images)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a session and images, got %s and %d at %s",
                         s ? "one" : "NULL", count, images ? "a pointer" : "NULL");
    }
    for (int32_t i = 0; i < count; i++) {
        RCNN_TRY(check_image(&images[i], i, err));
    }
    return RCNN_OK;
}

/* The frame of a batch and the padded shape that holds its images. */
static void fill_frame(const rcnn_session *s, rcnn_frame *frame, const rcnn_image_view *images, int32_t count,
                       int32_t *width, int32_t *height)
{
    *width = 1;
    *height = 1;
    frame->count = count;
    frame->ready = NULL;
    for (int32_t n = 0; n < count; n++) {
        rcnn_frame_image *image = &frame->image[n];
        image->view = images[n];
        int32_t w, h;
        rcnn_session_place_image(s, image, &w, &h);
        *width = w > *width ? w : *width;
        *height = h > *height ? h : *height;
    }
}

/* -------------------------------------------------------------------- results */

void rcnn_session_begin_results(const rcnn_session *s, rcnn_results *results)
{
    rcnn_results_reset(results);
    results->has_masks = s->mask_format != RCNN_MASK_NONE;
    results->side = 2 * s->model->config.mask_pool;
    results->paste = s->model->config.paste;
    results->threshold = s->mask_threshold;
    if (s->vt->stage && s->mask_format > RCNN_MASK_RAW) {
        results->form = s->mask_format == RCNN_MASK_RLE ? RCNN_MASK_RLE : RCNN_MASK_CROP;
    }
}

/* Masks in the session's format and the time of it all. */
static rcnn_status finish_results(const rcnn_session *s, rcnn_results *results, double start_ms, rcnn_error *err)
{
    const double masks = rcnn_clock_ms();
    RCNN_TRY(rcnn_results_make_masks(results, s->mask_format, s->num_threads, err));
    const double end = rcnn_clock_ms();
    results->stage_ms[RCNN_STAGE_postprocess] += end - masks;
    results->total_ms = end - start_ms;
    return RCNN_OK;
}

static rcnn_status need_results(rcnn_results **results, rcnn_error *err)
{
    if (!*results) {
        *results = rcnn_calloc(1, sizeof **results);
    }
    return *results ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory for results");
}

static rcnn_status take(const rcnn_session *s, const rcnn_plan *plan, const rcnn_frame *frame,
                        const rcnn_delivered *delivered, rcnn_results *results, rcnn_error *err)
{
    const double start = rcnn_clock_ms();
    rcnn_status status = rcnn_session_take(s, plan, frame, delivered, results, err);
    results->stage_ms[RCNN_STAGE_download] += rcnn_clock_ms() - start;
    return status;
}

/* -------------------------------------------------------------------- landing */

static rcnn_flight *oldest_flight(rcnn_session *s)
{
    return &s->flights[s->oldest];
}

static void free_oldest(rcnn_session *s)
{
    rcnn_flight *flight = oldest_flight(s);
    flight->state = RCNN_FLIGHT_FREE;
    flight->plan = NULL;
    s->oldest = (s->oldest + 1) % RCNN_SESSION_IN_FLIGHT;
    s->pending--;
}

/* When the host waited for a flight. */
typedef struct rcnn_waiting {
    double begin, end; /* clock */
} rcnn_waiting;

/* ms: between marks, where there are any. What the host waited after the last one is the way of the results: the device
 * ended that long after mark 0, which it reached as soon as it was set, having nothing else to do. */
static rcnn_status add_stage_times(rcnn_session *s, const rcnn_flight *flight, const rcnn_waiting *waiting,
                                   rcnn_results *results, double ms[RCNN_BACKEND_MARKS], rcnn_error *err)
{
    results->stage_ms[RCNN_STAGE_preprocess] += flight->host_ms;
    if (!s->time_stages) {
        return RCNN_OK;
    }
    const rcnn_plan *plan = flight->plan;
    double ended = flight->marked_ms;
    RCNN_TRY(s->vt->marks_ms(s->backend, plan->mark_count, ms, err));
    for (int32_t i = 0; i + 1 < plan->mark_count; i++) {
        results->stage_ms[plan->mark_stage[i]] += ms[i];
        ended += ms[i];
    }
    ended = ended > waiting->begin ? ended : waiting->begin;
    results->stage_ms[RCNN_STAGE_download] += ended < waiting->end ? waiting->end - ended : 0;
    return RCNN_OK;
}

/* Waits for a running flight and adds what it found. */
static rcnn_status wait_and_take(rcnn_session *s, int32_t slot, rcnn_results *results, rcnn_error *err)
{
    const rcnn_flight *flight = &s->flights[slot];
    rcnn_delivered delivered = {0};
    double ms[RCNN_BACKEND_MARKS];
    rcnn_waiting waiting = {.begin = rcnn_clock_ms()};
    s->current = NULL;
    RCNN_TRY(s->vt->wait(s->backend, slot, err));
    waiting.end = rcnn_clock_ms();
    s->vt->delivered(s->backend, slot, &flight->plan->graph, &flight->plan->delivery, &delivered);
    s->current = flight->number == s->starts ? flight->plan : NULL;
    RCNN_TRY(take(s, flight->plan, &flight->frame, &delivered, results, err));
    RCNN_TRY(add_stage_times(s, flight, &waiting, results, ms, err));
    return s->time_steps ? rcnn_session_keep_steps(s, flight->plan, ms + 1, &delivered, err) : RCNN_OK; /* 0: upload */
}

static rcnn_status land(rcnn_session *s, int32_t slot, rcnn_results *results, rcnn_error *err)
{
    rcnn_range_begin("collect");
    const rcnn_status status = wait_and_take(s, slot, results, err);
    rcnn_range_end();
    return status;
}

/* A flight that somebody will collect lands before that: into results of its own. */
static void land_early(rcnn_session *s, int32_t slot)
{
    rcnn_flight *flight = &s->flights[slot];
    flight->failed = (rcnn_error){.status = RCNN_OK};
    rcnn_status status = need_results(&flight->results, &flight->failed);
    if (status == RCNN_OK) {
        rcnn_session_begin_results(s, flight->results);
        status = land(s, slot, flight->results, &flight->failed);
    } else {
        (void)s->vt->wait(s->backend, slot, NULL);
    }
    if (status == RCNN_OK) {
        status = finish_results(s, flight->results, flight->start_ms, &flight->failed);
    }
    flight->failed.status = status;
    flight->state = RCNN_FLIGHT_LANDED;
    flight->plan = NULL;
}

rcnn_status rcnn_session_land_all(rcnn_session *s, rcnn_error *err)
{
    if (s->run_results) {
        while (s->pending > 0) {
            rcnn_status status = land(s, s->oldest, s->run_results, err);
            free_oldest(s);
            RCNN_TRY(status);
        }
        return RCNN_OK;
    }
    for (int32_t i = 0; i < s->pending; i++) {
        const int32_t slot = (s->oldest + i) % RCNN_SESSION_IN_FLIGHT;
        if (s->flights[slot].state == RCNN_FLIGHT_RUNNING) {
            land_early(s, slot);
        }
    }
    return RCNN_OK;
}

void rcnn_session_abandon(rcnn_session *s)
{
    bool running = false;
    s->step_count = 0;
    while (s->pending > 0) {
        running = running || oldest_flight(s)->state == RCNN_FLIGHT_RUNNING;
        free_oldest(s);
    }
    if (running) {
        (void)s->vt->sync(s->backend, NULL);
    }
}

/* ------------------------------------------------------------------- launching */

/* host_preprocess: the images resized and normalised into the flight's own memory. */
static rcnn_status preprocess_on_host(rcnn_session *s, rcnn_flight *flight, rcnn_error *err)
{
    rcnn_plan *plan = flight->plan->host;
    double stage_ms[RCNN_STAGE_COUNT] = {0};
    RCNN_TRY(rcnn_session_grow(s->host_vt, s->host, &flight->ready, &flight->ready_bytes, plan->graph.arena_bytes, NULL,
                               err));
    RCNN_TRY(rcnn_session_grow(s->host_vt, s->host, &s->host_scratch, &s->host_scratch_bytes, plan->scratch_bytes, NULL,
                               err));
    rcnn_plan_bind(plan, flight->ready);
    if (s->host_vt->begin_run) {
        s->host_vt->begin_run(s->host);
    }
    rcnn_status status = rcnn_plan_run(plan, s->host_vt, s->host, s->host_scratch, &flight->frame, stage_ms, NULL, err);
    if (s->host_vt->end_run) {
        s->host_vt->end_run(s->host);
    }
    flight->frame.ready_width = plan->width;
    flight->frame.ready_height = plan->height;
    flight->frame.ready = plan->value[rcnn_graph_find(&plan->graph, "image")];
    flight->host_ms = stage_ms[RCNN_STAGE_preprocess];
    return status;
}

static rcnn_status start_on_device(rcnn_session *s, int32_t slot, rcnn_error *err)
{
    rcnn_flight *flight = &s->flights[slot];
    flight->number = ++s->starts;
    if (s->time_stages) {
        flight->marked_ms = rcnn_clock_ms();
        RCNN_TRY(s->vt->mark(s->backend, 0, err));
    }
    RCNN_TRY(s->vt->stage(s->backend, slot, &flight->frame, err));
    if (flight->plan->recording) {
        RCNN_TRY(s->vt->replay(s->backend, flight->plan->recording, err));
    } else {
        RCNN_TRY(rcnn_session_enqueue(s, flight->plan, &flight->frame, err));
    }
    return s->vt->finish(s->backend, slot, err);
}

/* The flight's frame and plan, ready to start. May land the flights before it. */
static rcnn_status board(rcnn_session *s, rcnn_flight *flight, const rcnn_image_view *images, int32_t count,
                         rcnn_error *err)
{
    int32_t width, height;
    fill_frame(s, &flight->frame, images, count, &width, &height);
    RCNN_TRY(rcnn_session_plan_for(s, count, width, height, &flight->plan, err));
    return rcnn_session_ready_plan(s, flight->plan, &flight->frame, err);
}

/* Launches a batch of at least one image on a backend with memory of its own; there is a free slot. */
static rcnn_status take_off(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_error *err)
{
    const int32_t slot = (s->oldest + s->pending) % RCNN_SESSION_IN_FLIGHT; /* the same however many land meanwhile */
    rcnn_flight *flight = &s->flights[slot];
    flight->start_ms = rcnn_clock_ms();
    flight->host_ms = 0;
    if (s->time_stages) { /* the marks of a recording hold one run */
        RCNN_TRY(rcnn_session_land_all(s, err));
    }
    RCNN_TRY(board(s, flight, images, count, err));
    if (s->host_vt) {
        RCNN_TRY(preprocess_on_host(s, flight, err));
    }
    s->current = NULL; /* values of earlier runs are overwritten from here on */
    if (s->vt->begin_run) {
        s->vt->begin_run(s->backend);
    }
    rcnn_status status = start_on_device(s, slot, err);
    if (s->vt->end_run) {
        s->vt->end_run(s->backend);
    }
    if (status != RCNN_OK) {
        (void)s->vt->sync(s->backend, NULL); /* what was started still reads the caller's pixels */
        return status;
    }
    flight->state = RCNN_FLIGHT_RUNNING;
    s->pending++;
    return RCNN_OK;
}

static rcnn_status launch(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_error *err)
{
    rcnn_range_begin("submit");
    const rcnn_status status = take_off(s, images, count, err);
    rcnn_range_end();
    return status;
}

void rcnn_session_delivered(const rcnn_plan *plan, rcnn_delivered *out)
{
    const rcnn_delivery *d = &plan->delivery;
    *out = (rcnn_delivered){.boxes = plan->value[d->boxes],
                            .rois = d->rois == RCNN_NO_VALUE ? NULL : plan->value[d->rois],
                            .scores = plan->value[d->scores],
                            .labels = plan->value[d->labels],
                            .counts = plan->value[d->counts],
                            .proposal_counts =
                                d->proposal_counts == RCNN_NO_VALUE ? NULL : plan->value[d->proposal_counts],
                            .masks = d->masks == RCNN_NO_VALUE ? NULL : plan->value[d->masks]};
}

/* A batch on a backend that works in host memory, from pixels to results. */
static rcnn_status run_on_host(rcnn_session *s, rcnn_flight *flight, const rcnn_image_view *images, int32_t count,
                               rcnn_results *results, rcnn_error *err)
{
    double step_ms[RCNN_PLAN_TIMED_STEPS_MAX];
    RCNN_TRY(board(s, flight, images, count, err));
    const rcnn_plan *plan = flight->plan;
    s->current = flight->plan;
    if (s->vt->begin_run) {
        s->vt->begin_run(s->backend);
    }
    rcnn_status status = rcnn_plan_run(plan, s->vt, s->backend, s->scratch, &flight->frame, results->stage_ms,
                                       s->time_steps ? step_ms : NULL, err);
    if (s->vt->end_run) {
        s->vt->end_run(s->backend);
    }
    RCNN_TRY(status);
    rcnn_delivered delivered;
    rcnn_session_delivered(plan, &delivered);
    RCNN_TRY(take(s, plan, &flight->frame, &delivered, results, err));
    return s->time_steps ? rcnn_session_keep_steps(s, plan, step_ms, &delivered, err) : RCNN_OK;
}

/* ------------------------------------------------------------------------- run */

static rcnn_status run_batch(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_results *results,
                             rcnn_error *err)
{
    if (!s->vt->stage) {
        return run_on_host(s, oldest_flight(s), images, count, results, err);
    }
    if (s->pending == RCNN_SESSION_IN_FLIGHT) {
        rcnn_status status = land(s, s->oldest, results, err);
        free_oldest(s);
        RCNN_TRY(status);
    }
    return launch(s, images, count, err);
}

static rcnn_status run_all(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_results *results,
                           rcnn_error *err)
{
    const double start = rcnn_clock_ms();
    rcnn_session_begin_results(s, results);
    s->run_results = results;
    s->step_count = 0;
    rcnn_status status = RCNN_OK;
    for (int32_t first = 0, batch; first < count && status == RCNN_OK; first += batch) {
        batch = count - first < s->max_batch ? count - first : s->max_batch;
        status = run_batch(s, images + first, batch, results, err);
    }
    if (status == RCNN_OK) {
        status = rcnn_session_land_all(s, err);
    }
    s->run_results = NULL;
    if (status != RCNN_OK) {
        rcnn_session_abandon(s);
        return status;
    }
    return finish_results(s, results, start, err);
}

static rcnn_status discard_on_failure(rcnn_results **out, rcnn_status status)
{
    if (status != RCNN_OK) {
        rcnn_results_destroy(*out);
        *out = NULL;
    }
    return status;
}

rcnn_status rcnn_session_run(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_results **out,
                             rcnn_error *err)
{
    if (!out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a place for the results, got NULL");
    }
    rcnn_status status = check_images(s, images, count, err);
    if (status == RCNN_OK && s->pending > 0) {
        status = rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: %d runs are under way, collect them first", s->pending);
    }
    if (status == RCNN_OK) {
        status = need_results(out, err);
    }
    if (status == RCNN_OK) {
        status = run_all(s, images, count, *out, err);
    }
    return discard_on_failure(out, status);
}

/* ----------------------------------------------------------- submit and collect */

/* A run that needs no device lands where it is launched. */
static rcnn_status submit_landed(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_error *err)
{
    rcnn_flight *flight = &s->flights[(s->oldest + s->pending) % RCNN_SESSION_IN_FLIGHT];
    const double start = rcnn_clock_ms();
    RCNN_TRY(need_results(&flight->results, err));
    rcnn_session_begin_results(s, flight->results);
    if (count > 0) {
        RCNN_TRY(run_on_host(s, flight, images, count, flight->results, err));
    }
    RCNN_TRY(finish_results(s, flight->results, start, err));
    flight->failed = (rcnn_error){.status = RCNN_OK};
    flight->state = RCNN_FLIGHT_LANDED;
    s->pending++;
    return RCNN_OK;
}

rcnn_status rcnn_session_submit(rcnn_session *s, const rcnn_image_view *images, int32_t count, rcnn_error *err)
{
    RCNN_TRY(check_images(s, images, count, err));
    if (count > s->max_batch) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want at most max_batch = %d images, got %d", s->max_batch,
                         count);
    }
    if (s->pending == RCNN_SESSION_IN_FLIGHT) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "session: want at most %d runs under way, collect one first",
                         RCNN_SESSION_IN_FLIGHT);
    }
    s->step_count = 0;
    return s->vt->stage && count > 0 ? launch(s, images, count, err) : submit_landed(s, images, count, err);
}

static rcnn_status collect_oldest(rcnn_session *s, rcnn_results **out, rcnn_error *err)
{
    rcnn_flight *flight = oldest_flight(s);
    if (flight->state == RCNN_FLIGHT_LANDED) {
        if (flight->failed.status != RCNN_OK) {
            return rcnn_fail(err, flight->failed.status, "%s", flight->failed.message);
        }
        rcnn_results *landed = flight->results;
        flight->results = *out; /* its memory serves a later flight */
        *out = landed;
        return RCNN_OK;
    }
    rcnn_status status = need_results(out, err);
    if (status != RCNN_OK) {
        (void)s->vt->wait(s->backend, s->oldest, NULL);
        return status;
    }
    rcnn_session_begin_results(s, *out);
    RCNN_TRY(land(s, s->oldest, *out, err));
    return finish_results(s, *out, flight->start_ms, err);
}

rcnn_status rcnn_session_collect(rcnn_session *s, rcnn_results **out, rcnn_error *err)
{
    if (!out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a place for the results, got NULL");
    }
    if (!s) {
        return discard_on_failure(out, rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a session, got NULL"));
    }
    if (s->pending == 0) {
        return discard_on_failure(out, rcnn_fail(err, RCNN_ERR_NOT_FOUND, "session: no run is under way"));
    }
    rcnn_status status = collect_oldest(s, out, err);
    free_oldest(s);
    return discard_on_failure(out, status);
}

int32_t rcnn_session_pending(const rcnn_session *s)
{
    return s ? s->pending : 0;
}
