/* The plans of a session: one per number of images and padded shape, the least recently used makes room. Their memory is
 * shared; when it grows, what was recorded for the old memory is recorded again at its next use. */
#include "base/clock.h"
#include "base/memory.h"
#include "model/model.h"
#include "session/session.h"

void rcnn_session_place_image(const rcnn_session *s, rcnn_frame_image *image, int32_t *width, int32_t *height)
{
    const int32_t divisor = s->model->config.size_divisor;
    rcnn_preprocess_size(&s->model->config, s->long_side, s->short_side, image);
    *width = (image->net_width + divisor - 1) / divisor * divisor;
    *height = (image->net_height + divisor - 1) / divisor * divisor;
}

/* ------------------------------------------------------------------ forgetting */

static void drop_recording(rcnn_session *s, rcnn_plan *plan)
{
    if (plan->recording) {
        s->vt->release_recording(s->backend, plan->recording);
        plan->recording = NULL;
    }
}

static void destroy_plan(rcnn_session *s, rcnn_plan *plan)
{
    drop_recording(s, plan);
    rcnn_plan_destroy(plan->host, s->host_vt);
    rcnn_plan_destroy(plan, s->vt);
}

static void forget_plan(rcnn_session *s, int32_t index)
{
    if (s->current == s->plans[index]) {
        s->current = NULL;
    }
    destroy_plan(s, s->plans[index]);
    s->plans[index] = s->plans[--s->plan_count];
}

void rcnn_session_forget_plans(rcnn_session *s)
{
    while (s->plan_count > 0) {
        forget_plan(s, s->plan_count - 1);
    }
}

/* The least recently used plan other than `kept`; -1 = there is no other. */
static int32_t oldest_plan(const rcnn_session *s, const rcnn_plan *kept)
{
    int32_t oldest = -1;
    for (int32_t i = 0; i < s->plan_count; i++) {
        if (s->plans[i] != kept && (oldest < 0 || s->plans[i]->last_used < s->plans[oldest]->last_used)) {
            oldest = i;
        }
    }
    return oldest;
}

static size_t recorded_bytes(const rcnn_session *s)
{
    size_t bytes = 0;
    for (int32_t i = 0; i < s->plan_count; i++) {
        bytes += s->plans[i]->recording && s->vt->recording_bytes ? s->vt->recording_bytes(s->plans[i]->recording) : 0;
    }
    return bytes;
}

static void evict_for_bytes(rcnn_session *s, const rcnn_plan *kept)
{
    while (recorded_bytes(s) > s->plan_bytes_max) {
        const int32_t oldest = oldest_plan(s, kept);
        if (oldest < 0) {
            return;
        }
        forget_plan(s, oldest);
        s->plans_evicted++;
    }
}

/* ---------------------------------------------------------------------- making */

static void fill_delivery(const rcnn_session *s, rcnn_plan *plan)
{
    const rcnn_graph *graph = &plan->graph;
    const rcnn_config *config = &s->model->config;
    const int32_t masks = s->mask_format != RCNN_MASK_NONE;
    plan->delivery =
        (rcnn_delivery){.boxes = rcnn_graph_find(graph, "det_boxes"),
                        .rois = RCNN_NO_VALUE,
                        .scores = rcnn_graph_find(graph, "det_scores"),
                        .labels = rcnn_graph_find(graph, "det_labels"),
                        .counts = rcnn_graph_find(graph, "det_counts"),
                        .proposal_counts = s->time_steps ? rcnn_graph_find(graph, "proposal_counts") : RCNN_NO_VALUE,
                        .masks = masks ? rcnn_graph_find(graph, "masks") : RCNN_NO_VALUE,
                        .form = s->mask_format,
                        .paste = config->paste,
                        .threshold = s->mask_threshold,
                        .from_rois = masks && config->rescale_first};
    if (plan->delivery.from_rois) {
        plan->delivery.rois = rcnn_graph_find(graph, "mask_rois");
    }
}

/* What a backend with memory of its own needs beyond the steps. */
static rcnn_status finish_device_plan(rcnn_session *s, const rcnn_build_options *build, rcnn_plan *plan,
                                      rcnn_error *err)
{
    size_t scratch = 0;
    RCNN_TRY(s->vt->prepare_delivery(s->backend, &plan->graph, &plan->delivery, &scratch, err));
    plan->scratch_bytes = scratch > plan->scratch_bytes ? scratch : plan->scratch_bytes;
    if (!s->host_vt) {
        return RCNN_OK;
    }
    rcnn_build_options pixels = *build;
    pixels.preprocess_only = 1;
    pixels.precision = RCNN_PRECISION_FP32;
    pixels.image_channels = 0;
    return rcnn_plan_create(s->model, &pixels, 0, s->host_vt, s->host, &plan->host, err);
}

static rcnn_status check_step_count(const rcnn_session *s, const rcnn_plan *plan, rcnn_error *err)
{
    if (s->time_steps && plan->step_count > RCNN_PLAN_TIMED_STEPS_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "session: want at most %d kernels to be timed, got %d",
                         RCNN_PLAN_TIMED_STEPS_MAX, plan->step_count);
    }
    return RCNN_OK;
}

static rcnn_status make_plan(rcnn_session *s, const rcnn_build_options *build, rcnn_plan **out, rcnn_error *err)
{
    rcnn_plan *plan;
    RCNN_TRY(rcnn_plan_create(s->model, build, s->keep_values, s->vt, s->backend, &plan, err));
    fill_delivery(s, plan);
    rcnn_status status = check_step_count(s, plan, err);
    if (status == RCNN_OK && s->vt->stage) {
        status = finish_device_plan(s, build, plan, err);
    }
    if (status != RCNN_OK) {
        destroy_plan(s, plan);
        return status;
    }
    *out = plan;
    return RCNN_OK;
}

static rcnn_plan *find_plan(const rcnn_session *s, int32_t batch, int32_t width, int32_t height)
{
    for (int32_t i = 0; i < s->plan_count; i++) {
        if (s->plans[i]->batch == batch && s->plans[i]->width == width && s->plans[i]->height == height) {
            return s->plans[i];
        }
    }
    return NULL;
}

/* Room in the list for one more plan. */
static rcnn_status make_room(rcnn_session *s, rcnn_error *err)
{
    while (s->plan_count >= s->max_plans) {
        forget_plan(s, oldest_plan(s, NULL));
        s->plans_evicted++;
    }
    void *plans = s->plans;
    const bool grown = rcnn_grow(&plans, &s->plan_capacity, (size_t)s->plan_count + 1, sizeof(rcnn_plan *));
    s->plans = plans;
    return grown ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory for a plan");
}

rcnn_status rcnn_session_plan_for(rcnn_session *s, int32_t batch, int32_t width, int32_t height, rcnn_plan **out,
                                  rcnn_error *err)
{
    *out = find_plan(s, batch, width, height);
    if (*out) {
        (*out)->last_used = ++s->run_count;
        return RCNN_OK;
    }
    if (width > RCNN_NET_SIDE_MAX || height > RCNN_NET_SIDE_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "session: want a network input of at most %dx%d, got %dx%d",
                         RCNN_NET_SIDE_MAX, RCNN_NET_SIDE_MAX, width, height);
    }
    RCNN_TRY(rcnn_session_land_all(s, err));
    RCNN_TRY(make_room(s, err));
    rcnn_build_options build = s->build;
    build.batch = batch;
    build.width = width;
    build.height = height;
    rcnn_plan *plan;
    double start = rcnn_clock_ms();
    RCNN_TRY(make_plan(s, &build, &plan, err));
    plan->last_used = ++s->run_count;
    s->plans[s->plan_count++] = plan;
    s->plans_made++;
    rcnn_log(RCNN_LOG_DEBUG,
             "session: planned %d of %dx%d, %d ops as %d kernels, arena %.1f MB, scratch %.1f MB, in %.1f ms", batch,
             width, height, plan->graph.op_count, plan->step_count, (double)plan->graph.arena_bytes / 1e6,
             (double)plan->scratch_bytes / 1e6, rcnn_clock_ms() - start);
    *out = plan;
    return RCNN_OK;
}

/* --------------------------------------------------------------------- readying */

rcnn_status rcnn_session_grow(const rcnn_backend_vt *vt, rcnn_backend *backend, void **block, size_t *have, size_t need,
                              bool *grown, rcnn_error *err)
{
    if (need <= *have) {
        return RCNN_OK;
    }
    if (grown) {
        *grown = true;
    }
    if (*block) {
        vt->release_memory(backend, *block);
    }
    *block = NULL;
    *have = 0;
    RCNN_TRY(vt->alloc(backend, need, block, err));
    *have = need;
    return RCNN_OK;
}

/* Memory for a plan, shared with all other plans of the session. */
static rcnn_status bind_plan(rcnn_session *s, rcnn_plan *plan, rcnn_error *err)
{
    bool grown = false;
    s->current = NULL; /* whatever stood in the arena may be gone from here on */
    rcnn_status status =
        rcnn_session_grow(s->vt, s->backend, &s->arena, &s->arena_bytes, plan->graph.arena_bytes, &grown, err);
    if (status == RCNN_OK) {
        status = rcnn_session_grow(s->vt, s->backend, &s->scratch, &s->scratch_bytes, plan->scratch_bytes, &grown, err);
    }
    s->generation += grown;
    RCNN_TRY(status);
    rcnn_plan_bind(plan, s->arena);
    plan->generation = s->generation;
    return RCNN_OK;
}

/* The time since the mark before is that of a stage, or of a part of one. */
static rcnn_status mark_end(rcnn_session *s, rcnn_plan *plan, rcnn_stage stage, rcnn_error *err)
{
    if (!s->time_stages) {
        return RCNN_OK;
    }
    plan->mark_stage[plan->mark_count - 1] = stage;
    return s->vt->mark(s->backend, plan->mark_count++, err);
}

rcnn_status rcnn_session_enqueue(rcnn_session *s, rcnn_plan *plan, const rcnn_frame *frame, rcnn_error *err)
{
    const rcnn_args args = {.value = plan->value, .scratch = s->scratch, .frame = frame};
    plan->mark_count = 1; /* mark 0 is set when a run starts */
    RCNN_TRY(mark_end(s, plan, RCNN_STAGE_upload, err));
    for (int32_t i = 0; i < plan->step_count; i++) {
        const rcnn_plan_step *step = &plan->steps[i];
        RCNN_TRY(rcnn_plan_enqueue_step(plan, s->vt, i, &args, err));
        if (s->time_steps || i + 1 == plan->step_count || plan->steps[i + 1].stage != step->stage) {
            RCNN_TRY(mark_end(s, plan, step->stage, err));
        }
    }
    RCNN_TRY(s->vt->deliver(s->backend, &plan->graph, &plan->delivery, &args, err));
    return mark_end(s, plan, RCNN_STAGE_postprocess, err);
}

static rcnn_status run_without_images(rcnn_session *s, rcnn_plan *plan, int32_t slot, rcnn_error *err)
{
    static const rcnn_frame nothing = {.count = 0};
    RCNN_TRY(s->vt->stage(s->backend, slot, &nothing, err));
    RCNN_TRY(rcnn_session_enqueue(s, plan, &nothing, err));
    RCNN_TRY(s->vt->finish(s->backend, slot, err));
    return s->vt->wait(s->backend, slot, err);
}

/* A plan runs once before it is recorded: what a backend's libraries load, allocate or prepare at a kernel's first launch
 * is over by then. Nothing is under way. */
static rcnn_status warm_up(rcnn_session *s, rcnn_plan *plan, rcnn_error *err)
{
    if (plan->warm) {
        return RCNN_OK;
    }
    const int32_t slot = (s->oldest + s->pending) % RCNN_SESSION_IN_FLIGHT; /* of the run that wants the recording */
    const rcnn_status status = run_without_images(s, plan, slot, err);
    if (status != RCNN_OK) {
        (void)s->vt->sync(s->backend, NULL);
    }
    plan->warm = status == RCNN_OK;
    return status;
}

static rcnn_status capture(rcnn_session *s, rcnn_plan *plan, const rcnn_frame *frame, rcnn_error *err)
{
    RCNN_TRY(s->vt->record_begin(s->backend, err));
    rcnn_status status = rcnn_session_enqueue(s, plan, frame, err);
    rcnn_status ended =
        s->vt->record_end(s->backend, status == RCNN_OK ? &plan->recording : NULL, status == RCNN_OK ? err : NULL);
    return status != RCNN_OK ? status : ended;
}

/* What has run and yet cannot be recorded goes on running without. */
static rcnn_status record(rcnn_session *s, rcnn_plan *plan, const rcnn_frame *frame, rcnn_error *err)
{
    const double start = rcnn_clock_ms();
    rcnn_error why = {0};
    drop_recording(s, plan);
    RCNN_TRY(warm_up(s, plan, err));
    plan->unrecordable = capture(s, plan, frame, &why) != RCNN_OK;
    if (plan->unrecordable) {
        rcnn_log(RCNN_LOG_WARN, "session: %d of %dx%d runs unrecorded, which is slower: %s", plan->batch, plan->width,
                 plan->height, why.message);
        return RCNN_OK;
    }
    rcnn_log(RCNN_LOG_DEBUG, "session: recorded %d of %dx%d, %.1f MB, in %.1f ms", plan->batch, plan->width,
             plan->height, s->vt->recording_bytes ? (double)s->vt->recording_bytes(plan->recording) / 1e6 : 0.0,
             rcnn_clock_ms() - start);
    evict_for_bytes(s, plan);
    return RCNN_OK;
}

rcnn_status rcnn_session_ready_plan(rcnn_session *s, rcnn_plan *plan, const rcnn_frame *frame, rcnn_error *err)
{
    const bool recorded = s->vt->stage && s->vt->record_begin && !s->keep_values && !plan->unrecordable;
    const bool bound = plan->generation == s->generation && plan->generation != 0;
    if (bound && (plan->recording || !recorded)) {
        return RCNN_OK;
    }
    RCNN_TRY(rcnn_session_land_all(s, err));
    RCNN_TRY(bind_plan(s, plan, err));
    return recorded ? record(s, plan, frame, err) : RCNN_OK;
}
