/* What stands on the device after a run: intermediate values by name, and where the results are. */
#include <string.h>

#include "base/memory.h"
#include "model/convert.h"
#include "model/model.h"
#include "session/session.h"

static rcnn_status reserve_staging(rcnn_session *s, size_t bytes, rcnn_error *err)
{
    void *staging = s->staging;
    const bool grown = rcnn_grow(&staging, &s->staging_capacity, bytes, 1);
    s->staging = staging;
    return grown ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory for %zu bytes", bytes);
}

/* The first `bytes` of a value of the current plan in host memory: in place, or downloaded. */
static rcnn_status host_value(rcnn_session *s, rcnn_value_id id, size_t bytes, const void **out, rcnn_error *err)
{
    *out = s->current->value[id];
    if (!s->vt->download) {
        return RCNN_OK;
    }
    RCNN_TRY(reserve_staging(s, bytes, err));
    RCNN_TRY(s->vt->download(s->backend, s->staging, s->current->value[id], bytes, err));
    *out = s->staging;
    return RCNN_OK;
}

/* How a value is handed out: half floats and bytes as floats, the image without a fourth channel. */
typedef struct rcnn_value_view {
    rcnn_dtype dtype;
    float scale;             /* of bytes */
    size_t pixels;           /* runs of channels */
    int32_t inner, channels; /* handed out, and in memory */
} rcnn_value_view;

static rcnn_value_view view_of(const rcnn_session *s, const rcnn_value *value)
{
    rcnn_value_view view = {
        .dtype = value->desc.dtype, .scale = value->scale, .channels = value->desc.dim[value->desc.rank - 1]};
    view.pixels = value->bytes / rcnn_dtype_bytes(view.dtype) / (size_t)view.channels;
    const bool image = s->build.image_channels > 3 && strcmp(value->name, "image") == 0;
    view.inner = image ? 3 : view.channels;
    return view;
}

static float widen_one(const rcnn_value_view *view, const uint8_t *at)
{
    uint16_t half;
    switch (view->dtype) {
    case RCNN_I8:
        return (float)(*at < 128 ? *at : *at - 256) * view->scale;
    case RCNN_U8:
        return (float)*at * view->scale;
    case RCNN_F16:
        memcpy(&half, at, sizeof half);
        return rcnn_f16_to_f32(half);
    default:
        memcpy(&half, at, sizeof half);
        return rcnn_bf16_to_f32(half);
    }
}

/* dst gets the first `count` elements. */
static void widen(const rcnn_value_view *view, const void *src, size_t count, float *dst)
{
    const size_t bytes = rcnn_dtype_bytes(view->dtype);
    for (size_t i = 0; i < count; i++) {
        const size_t pixel = i / (size_t)view->inner;
        const size_t at = pixel * (size_t)view->channels + i % (size_t)view->inner;
        const float value = widen_one(view, (const uint8_t *)src + bytes * at);
        memcpy(dst + i, &value, sizeof value);
    }
}

static rcnn_status read_narrow(rcnn_session *s, rcnn_value_id id, void *dst, size_t capacity, size_t *size,
                               rcnn_error *err)
{
    const rcnn_value *value = &s->current->graph.values[id];
    const rcnn_value_view view = view_of(s, value);
    const size_t elements = view.pixels * (size_t)view.inner;
    *size = elements * sizeof(float);
    const size_t wanted = capacity / sizeof(float) < elements ? capacity / sizeof(float) : elements;
    if (wanted == 0) {
        return RCNN_OK;
    }
    const void *data;
    RCNN_TRY(host_value(s, id, value->bytes, &data, err));
    widen(&view, data, wanted, dst);
    return RCNN_OK;
}

rcnn_status rcnn_session_read_value(rcnn_session *s, const char *name, void *dst, size_t capacity, size_t *size,
                                    rcnn_error *err)
{
    if (!s || !name || !size || (capacity && !dst)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: session, name and size must not be NULL");
    }
    *size = 0;
    if (s->pending > 0) {
        return rcnn_fail(err, RCNN_ERR_NOT_FOUND, "session: %d runs are under way, collect them first", s->pending);
    }
    rcnn_value_id id = s->current ? rcnn_graph_find(&s->current->graph, name) : RCNN_NO_VALUE;
    if (id == RCNN_NO_VALUE) {
        return rcnn_fail(err, RCNN_ERR_NOT_FOUND, "session: no value '%s' in the last run", name);
    }
    const rcnn_value *value = &s->current->graph.values[id];
    if (!s->keep_values && value->last_use != INT32_MAX) {
        return rcnn_fail(err, RCNN_ERR_NOT_FOUND, "session: the memory of value '%s' was used again", name);
    }
    if (value->desc.dtype == RCNN_F16 || value->desc.dtype == RCNN_BF16 || value->scale > 0) {
        return read_narrow(s, id, dst, capacity, size, err);
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

rcnn_status rcnn_session_device_results(rcnn_session *s, rcnn_device_results *out, rcnn_error *err)
{
    if (out) {
        *out = (rcnn_device_results){0};
    }
    if (!s || !out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "session: session and out must not be NULL");
    }
    if (!s->vt->stage) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "session: backend %s works in host memory", s->vt->name);
    }
    if (!s->current || s->pending > 0) {
        return rcnn_fail(err, RCNN_ERR_NOT_FOUND, "session: want a finished run and none under way, got %d under way",
                         s->pending);
    }
    const rcnn_plan *plan = s->current;
    const rcnn_delivery *d = &plan->delivery;
    *out = (rcnn_device_results){.boxes = plan->value[d->boxes],
                                 .scores = plan->value[d->scores],
                                 .labels = plan->value[d->labels],
                                 .counts = plan->value[d->counts],
                                 .masks = d->masks == RCNN_NO_VALUE ? NULL : plan->value[d->masks],
                                 .images = plan->batch,
                                 .capacity = plan->graph.values[d->boxes].desc.dim[1],
                                 .side = d->masks == RCNN_NO_VALUE ? 0 : plan->graph.values[d->masks].desc.dim[1]};
    return RCNN_OK;
}
