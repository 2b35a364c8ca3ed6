/* Writes a model as a native file: biases, then the scales of int8 weights and those of activations, then weights, each
 * group in order, so that every tensor lies at a multiple of its element size. Nothing but one layer's encoded weights is held. */
#include <stdbool.h>
#include <stdio.h>

#include "base/memory.h"
#include "model/activations.h"
#include "model/convert.h"
#include "model/int8_weights.h"
#include "model/layers.h"
#include "model/native.h"
#include "model/safetensors.h"

#define NAME_CHARS (RCNN_LAYER_NAME_MAX + 32)

typedef struct saving {
    const rcnn_model *model;
    rcnn_weights_format format;
    const rcnn_activation *activations;
    int32_t activation_count;
    const char *record; /* of the calibration, or NULL */
    rcnn_error *err;
    char (*names)[NAME_CHARS];
    rcnn_safetensors_entry *entries;
    size_t count;
    float *scales;    /* int8: room for those of the layer with most outputs  */
    uint8_t *encoded; /* fp16, int8: room for the weights of the largest layer */
    rcnn_safetensors_writer writer;
} saving;

static void add_entry(saving *s, const rcnn_layer *layer, const char *suffix, rcnn_dtype dtype)
{
    rcnn_safetensors_entry *entry = &s->entries[s->count];
    snprintf(s->names[s->count], NAME_CHARS, "%s%s", layer->name, suffix);
    entry->name = s->names[s->count];
    entry->dtype = dtype;
    entry->rank = 1;
    entry->shape[0] = layer->out;
    s->count++;
}

static void add_weight_entry(saving *s, const rcnn_layer *layer)
{
    static const rcnn_dtype dtypes[] = {
        [RCNN_WEIGHTS_FP32] = RCNN_F32, [RCNN_WEIGHTS_FP16] = RCNN_F16, [RCNN_WEIGHTS_INT8] = RCNN_I8};
    add_entry(s, layer, ".weight", dtypes[s->format]);
    rcnn_safetensors_entry *entry = &s->entries[s->count - 1];
    const int64_t out = layer->out, in = layer->in;
    const bool deconv = layer->kind == RCNN_LAYER_DECONV;
    entry->rank = layer->kind == RCNN_LAYER_FC ? 2 : 4;
    entry->shape[0] = deconv ? in : out;
    entry->shape[1] = deconv ? out : in;
    entry->shape[2] = layer->kh;
    entry->shape[3] = layer->kw;
}

static void add_activation_entry(saving *s, const rcnn_activation *activation)
{
    rcnn_safetensors_entry *entry = &s->entries[s->count];
    snprintf(s->names[s->count], NAME_CHARS, RCNN_ACTIVATION_PREFIX "%s" RCNN_ACTIVATION_SUFFIX, activation->value);
    *entry = (rcnn_safetensors_entry){
        .name = s->names[s->count], .dtype = RCNN_F32, .rank = 1, .shape = {RCNN_ACTIVATION_SCALE_COUNT}};
    s->count++;
}

static void list_entries(saving *s)
{
    for (int32_t i = 0; i < s->model->layer_count; i++) {
        add_entry(s, &s->model->layers[i], ".bias", RCNN_F32);
    }
    for (int32_t i = 0; s->format == RCNN_WEIGHTS_INT8 && i < s->model->layer_count; i++) {
        add_entry(s, &s->model->layers[i], RCNN_SCALE_SUFFIX, RCNN_F32);
    }
    for (int32_t i = 0; i < s->activation_count; i++) {
        add_activation_entry(s, &s->activations[i]);
    }
    for (int32_t i = 0; i < s->model->layer_count; i++) {
        add_weight_entry(s, &s->model->layers[i]);
    }
}

static rcnn_status allocate(saving *s)
{
    size_t largest = 0, most_outputs = 1;
    for (int32_t i = 0; i < s->model->layer_count; i++) {
        const size_t weights = rcnn_layer_weight_count(&s->model->layers[i]);
        largest = weights > largest ? weights : largest;
        const size_t outputs = (size_t)s->model->layers[i].out;
        most_outputs = outputs > most_outputs ? outputs : most_outputs;
    }
    const size_t tensors = 3 * (size_t)s->model->layer_count + (size_t)s->activation_count;
    s->names = rcnn_calloc(tensors, sizeof *s->names);
    s->entries = rcnn_calloc(tensors, sizeof *s->entries);
    s->scales = rcnn_calloc(most_outputs, sizeof *s->scales);
    s->encoded = s->format == RCNN_WEIGHTS_FP32 ? NULL : rcnn_calloc(largest, sizeof(uint16_t));
    if (!s->names || !s->entries || !s->scales || (s->format != RCNN_WEIGHTS_FP32 && !s->encoded)) {
        return rcnn_fail(s->err, RCNN_ERR_MEMORY, "model: out of memory for saving");
    }
    return RCNN_OK;
}

static rcnn_status encode_fp16(saving *s, const rcnn_layer *layer, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint16_t half = rcnn_f32_to_f16(layer->weights[i]);
        if ((half & 0x7c00) == 0x7c00) {
            return rcnn_fail(s->err, RCNN_ERR_NUMERIC,
                             "model: layer '%s': want weights within +-65504 for fp16, got %g", layer->name,
                             (double)layer->weights[i]);
        }
        s->encoded[2 * i] = (uint8_t)half;
        s->encoded[2 * i + 1] = (uint8_t)(half >> 8);
    }
    return RCNN_OK;
}

static rcnn_status append_weights(saving *s, const rcnn_layer *layer)
{
    const size_t count = rcnn_layer_weight_count(layer);
    if (s->format == RCNN_WEIGHTS_FP32) {
        return rcnn_safetensors_append(&s->writer, layer->weights, count * sizeof(float), s->err);
    }
    if (s->format == RCNN_WEIGHTS_FP16) {
        RCNN_TRY(encode_fp16(s, layer, count));
        return rcnn_safetensors_append(&s->writer, s->encoded, count * sizeof(uint16_t), s->err);
    }
    rcnn_quantise_layer(layer, s->scales, (int8_t *)s->encoded);
    return rcnn_safetensors_append(&s->writer, s->encoded, count, s->err);
}

/* Scales stand before the weights they belong to, so that layers are quantised twice rather than kept. */
static rcnn_status append_all(saving *s)
{
    const rcnn_model *m = s->model;
    for (int32_t i = 0; i < m->layer_count; i++) {
        RCNN_TRY(
            rcnn_safetensors_append(&s->writer, m->layers[i].bias, (size_t)m->layers[i].out * sizeof(float), s->err));
    }
    for (int32_t i = 0; s->format == RCNN_WEIGHTS_INT8 && i < m->layer_count; i++) {
        rcnn_quantise_layer(&m->layers[i], s->scales, (int8_t *)s->encoded);
        RCNN_TRY(rcnn_safetensors_append(&s->writer, s->scales, (size_t)m->layers[i].out * sizeof(float), s->err));
    }
    for (int32_t i = 0; i < s->activation_count; i++) {
        const float pair[RCNN_ACTIVATION_SCALE_COUNT] = {s->activations[i].scale, (float)s->activations[i].is_signed};
        RCNN_TRY(rcnn_safetensors_append(&s->writer, pair, sizeof pair, s->err));
    }
    for (int32_t i = 0; i < m->layer_count; i++) {
        RCNN_TRY(append_weights(s, &m->layers[i]));
    }
    return RCNN_OK;
}

static rcnn_status write_file(saving *s, const char *path)
{
    const rcnn_safetensors_pair metadata[] = {{RCNN_NATIVE_FORMAT_KEY, RCNN_NATIVE_FORMAT_VERSION},
                                              {RCNN_NATIVE_CONFIG_KEY, s->model->config_json},
                                              {RCNN_CALIBRATION_KEY, s->record}};
    const size_t pairs = s->record ? 3 : 2;
    RCNN_TRY(rcnn_safetensors_begin(&s->writer, path, metadata, pairs, s->entries, s->count, s->err));
    rcnn_status status = append_all(s);
    if (status != RCNN_OK) {
        rcnn_safetensors_abort(&s->writer);
        return status;
    }
    return rcnn_safetensors_commit(&s->writer, s->err);
}

rcnn_status rcnn_model_save_calibrated(const rcnn_model *model, const char *path, rcnn_weights_format format,
                                       const rcnn_activation *activations, int32_t count, const char *record,
                                       rcnn_error *err)
{
    saving s = {.model = model,
                .format = format,
                .activations = activations,
                .activation_count = count,
                .record = record,
                .err = err};
    rcnn_status status = allocate(&s);
    if (status == RCNN_OK) {
        list_entries(&s);
        status = write_file(&s, path);
    }
    rcnn_free(s.names);
    rcnn_free(s.entries);
    rcnn_free(s.scales);
    rcnn_free(s.encoded);
    return status;
}

/* A calibrated model stays calibrated, whatever type its weights are written in. */
rcnn_status rcnn_model_save(const rcnn_model *model, const char *path, rcnn_weights_format format, rcnn_error *err)
{
    if (!model || !path || (int)format < RCNN_WEIGHTS_FP32 || format > RCNN_WEIGHTS_INT8) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "model: save: want a model, a path and a format, got %s",
                         !model  ? "no model"
                         : !path ? "no path"
                                 : "an unknown format");
    }
    return rcnn_model_save_calibrated(model, path, format, model->activations, model->activation_count,
                                      model->calibration, err);
}
