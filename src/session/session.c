/* A session: one backend opened for one model. Options, opening, closing, and what can be asked about it. Plans are in
 * plans.c, runs in flight.c. */
#include <string.h>

#include "base/memory.h"
#include "base/options.h"
#include "base/threads.h"
#include "model/model.h"
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

static rcnn_status check_labels(const rcnn_session_options *o, const rcnn_model *model, rcnn_error *err)
{
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

static rcnn_status check_device_options(const rcnn_session_options *o, rcnn_error *err)
{
    if (o->device < 0) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want a device of 0 or more, got %d", o->device);
    }
    if (o->precision < RCNN_PRECISION_AUTO || o->precision > RCNN_PRECISION_INT8) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: no precision %d", (int)o->precision);
    }
    if (o->staged < 0 || o->staged > 2) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want staged 0, 1 or 2, got %d", o->staged);
    }
    if (o->max_plans < 0 || o->max_plans > RCNN_SESSION_PLANS_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want 0..%d plans, got %d", RCNN_SESSION_PLANS_MAX,
                         o->max_plans);
    }
    if (o->plan_megabytes < 0 || o->plan_megabytes > RCNN_SESSION_PLAN_MB_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: want 0..%d megabytes of plans, got %d",
                         RCNN_SESSION_PLAN_MB_MAX, o->plan_megabytes);
    }
    return RCNN_OK;
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
    RCNN_TRY(check_labels(o, model, err));
    return check_device_options(o, err);
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
    s->max_plans = o->max_plans ? o->max_plans : RCNN_SESSION_PLANS_USUAL;
    s->plan_bytes_max = (size_t)(o->plan_megabytes ? o->plan_megabytes : RCNN_SESSION_PLAN_MB_USUAL) << 20;
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

/* ------------------------------------------------------------------- opening */

/* The second half of a backend's table goes together. */
static rcnn_status check_table(const rcnn_backend_vt *vt, rcnn_error *err)
{
    if (vt->abi != RCNN_BACKEND_ABI) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "backend %s: want interface version %d, got %u", vt->name,
                         RCNN_BACKEND_ABI, vt->abi);
    }
    const bool staged =
        vt->stage && vt->finish && vt->wait && vt->prepare_delivery && vt->deliver && vt->delivered && vt->download;
    const bool records = vt->record_end && vt->replay && vt->release_recording;
    if ((!staged && (vt->stage || vt->download)) || (vt->record_begin && !records)) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "backend %s: its table has gaps", vt->name);
    }
    return RCNN_OK;
}

static rcnn_status check_device(const rcnn_session *s, int32_t device, rcnn_error *err)
{
    const int32_t count = s->vt->device_count ? s->vt->device_count() : 1;
    if (count > 0 && device >= count) { /* without any device, open says why */
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: backend %s: want a device of 0..%d, got %d", s->vt->name,
                         count - 1, device);
    }
    return RCNN_OK;
}

static const char *const PRECISION_NAMES[] = {"auto", "fp32", "tf32", "fp16", "bf16", "int8"};

static rcnn_status choose_precision(rcnn_session *s, rcnn_precision wanted, rcnn_error *err)
{
    rcnn_precision automatic = RCNN_PRECISION_FP32;
    const uint32_t have = s->vt->precisions ? s->vt->precisions(s->backend, &automatic) : 1u << RCNN_PRECISION_FP32;
    s->precision = wanted == RCNN_PRECISION_AUTO ? automatic : wanted;
    if (!(have & 1u << s->precision)) {
        char names[64] = "";
        for (int p = RCNN_PRECISION_FP32; p <= RCNN_PRECISION_INT8; p++) {
            if (have & 1u << p) {
                strcat(strcat(names, names[0] ? ", " : ""), PRECISION_NAMES[p]);
            }
        }
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "session: backend %s computes in %s, got precision %s", s->vt->name,
                         names, PRECISION_NAMES[s->precision]);
    }
    if (s->precision == RCNN_PRECISION_INT8 && s->model->activation_count == 0) {
        return rcnn_fail(
            err, RCNN_ERR_ARGUMENT,
            "session: precision int8 wants a calibrated model, got one without activation scales; make one "
            "with rcnn convert IN OUT --precision int8 --calibrate IMAGES");
    }
    s->build.precision = s->precision;
    s->build.bf16_rest = (have & 1u << RCNN_PRECISION_BF16) != 0;
    const bool half = s->precision == RCNN_PRECISION_FP16 || s->precision == RCNN_PRECISION_BF16 ||
                      (s->precision == RCNN_PRECISION_INT8 && s->build.bf16_rest);
    s->build.image_channels = half ? s->vt->half_image_channels : 0;
    return RCNN_OK;
}

/* The backend that resizes and normalises on the host. */
static rcnn_status open_host(rcnn_session *s, rcnn_error *err)
{
    const rcnn_backend_options options = {.device = 0, .num_threads = s->num_threads};
    s->host_vt = &rcnn_backend_cpu;
    return s->host_vt->open(&options, &s->host, err);
}

static rcnn_status open_backend(rcnn_session *s, const rcnn_session_options *o, rcnn_error *err)
{
    const rcnn_backend_options options = {.device = o->device, .num_threads = s->num_threads, .tune = o->tune != 0};
    RCNN_TRY(check_table(s->vt, err));
    RCNN_TRY(check_device(s, o->device, err));
    RCNN_TRY(s->vt->open(&options, &s->backend, err));
    RCNN_TRY(choose_precision(s, o->precision, err));
    const bool clock = !s->vt->stage, marks = s->vt->stage && s->vt->mark && s->vt->marks_ms;
    s->time_stages = o->staged > 0 && marks;
    s->time_steps = o->staged > 1 && (clock || marks);
    return o->host_preprocess && s->vt->stage ? open_host(s, err) : RCNN_OK;
}

static rcnn_status create(const rcnn_model *model, const rcnn_session_options *options, const rcnn_backend_vt *vt,
                          rcnn_session **out, rcnn_error *err)
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
    s->vt = vt;
    rcnn_status status = apply_options(s, &o, err);
    if (status == RCNN_OK && !s->vt) {
        status = rcnn_backend_find(o.backend ? o.backend : "auto", &s->vt, err);
    }
    if (status == RCNN_OK) {
        status = open_backend(s, &o, err);
    }
    if (status != RCNN_OK) {
        rcnn_session_destroy(s);
        return status;
    }
    *out = s;
    return RCNN_OK;
}

rcnn_status rcnn_session_create(const rcnn_model *model, const rcnn_session_options *options, rcnn_session **out,
                                rcnn_error *err)
{
    return create(model, options, NULL, out, err);
}

rcnn_status rcnn_session_create_on(const rcnn_model *model, const rcnn_session_options *options,
                                   const rcnn_backend_vt *vt, rcnn_session **out, rcnn_error *err)
{
    return create(model, options, vt, out, err);
}

static void close_host(rcnn_session *s)
{
    for (int32_t i = 0; i < RCNN_SESSION_IN_FLIGHT; i++) {
        rcnn_results_destroy(s->flights[i].results);
        if (s->flights[i].ready) {
            s->host_vt->release_memory(s->host, s->flights[i].ready);
        }
    }
    if (s->host_scratch) {
        s->host_vt->release_memory(s->host, s->host_scratch);
    }
    if (s->host) {
        s->host_vt->close(s->host);
    }
}

void rcnn_session_destroy(rcnn_session *s)
{
    if (!s) {
        return;
    }
    rcnn_session_abandon(s);
    rcnn_session_forget_plans(s);
    close_host(s);
    if (s->arena) {
        s->vt->release_memory(s->backend, s->arena);
    }
    if (s->scratch) {
        s->vt->release_memory(s->backend, s->scratch);
    }
    if (s->backend) {
        s->vt->close(s->backend);
    }
    rcnn_free(s->plans);
    rcnn_free(s->steps);
    rcnn_free(s->label_wanted);
    rcnn_free(s->staging);
    rcnn_model_destroy((rcnn_model *)(uintptr_t)s->model);
    rcnn_free(s);
}

/* ------------------------------------------------------------------- asking */

const char *rcnn_session_backend_name(const rcnn_session *s)
{
    return s ? s->vt->name : NULL;
}

rcnn_precision rcnn_session_precision(const rcnn_session *s)
{
    return s ? s->precision : RCNN_PRECISION_AUTO;
}

void rcnn_session_get_counters(const rcnn_session *s, rcnn_session_counters *out)
{
    rcnn_backend_counters device = {0};
    if (!out) {
        return;
    }
    if (s && s->vt->counters) {
        s->vt->counters(s->backend, &device);
    }
    *out = (rcnn_session_counters){.device_bytes = device.bytes_held,
                                   .host_syncs = device.host_syncs,
                                   .device_allocations = device.device_allocations,
                                   .host_allocations = device.host_allocations,
                                   .plans_made = s ? s->plans_made : 0,
                                   .plans_evicted = s ? s->plans_evicted : 0};
}

#define CHOICES_BYTES 262144

rcnn_status rcnn_session_choices(rcnn_session *s, char **text, rcnn_error *err)
{
    if (text) {
        *text = NULL;
    }
    if (!s || !text) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: session and text must not be NULL");
    }
    if (!s->vt->describe_choices) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "session: backend %s has one kernel an op", s->vt->name);
    }
    char *full = rcnn_calloc(1, CHOICES_BYTES);
    if (!full) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory");
    }
    s->vt->describe_choices(s->backend, full, CHOICES_BYTES);
    char *fitted = rcnn_realloc(full, strlen(full) + 1);
    *text = fitted ? fitted : full;
    return RCNN_OK;
}
