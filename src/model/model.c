/* The loaded model: life time and getters. */
#include "model/model.h"

#include <string.h>

#include "base/memory.h"
#include "base/options.h"
#include "model/layers.h"

void rcnn_model_options_init_sized(rcnn_model_options *options, size_t struct_size)
{
    const rcnn_model_options defaults = {.struct_size = struct_size};
    rcnn_options_init(options, struct_size, &defaults, sizeof defaults);
}

void rcnn_model_retain(const rcnn_model *model)
{
    /* a model is immutable to its users; the count is the library's own and atomic */
    atomic_fetch_add_explicit(&((rcnn_model *)(uintptr_t)model)->references, 1, memory_order_relaxed);
}

void rcnn_model_destroy(rcnn_model *model)
{
    if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) {
        return;
    }
    rcnn_layers_free(model->layers, model->layer_count);
    for (int32_t i = 0; model->class_names && i < model->config.class_count; i++) {
        rcnn_free(model->class_names[i]);
    }
    rcnn_free(model->class_names);
    rcnn_free(model->category_ids);
    rcnn_free(model->activations);
    rcnn_free(model->calibration);
    rcnn_free(model->config_json);
    for (int32_t key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        rcnn_free(model->config_text[key]);
    }
    rcnn_free(model);
}

const rcnn_layer *rcnn_model_layer(const rcnn_model *model, const char *name)
{
    for (int32_t i = 0; i < model->layer_count; i++) {
        if (strcmp(model->layers[i].name, name) == 0) {
            return &model->layers[i];
        }
    }
    return NULL;
}

const rcnn_activation *rcnn_model_activation(const rcnn_model *model, const char *value)
{
    for (int32_t i = 0; i < model->activation_count; i++) {
        if (strcmp(model->activations[i].value, value) == 0) {
            return &model->activations[i];
        }
    }
    return NULL;
}

int32_t rcnn_model_class_count(const rcnn_model *model)
{
    return model->config.class_count;
}

const char *rcnn_model_class_name(const rcnn_model *model, int32_t label)
{
    return label >= 0 && label < model->config.class_count ? model->class_names[label] : NULL;
}

int32_t rcnn_model_category_id(const rcnn_model *model, int32_t label)
{
    return label >= 0 && label < model->config.class_count ? model->category_ids[label] : -1;
}

int32_t rcnn_model_has_masks(const rcnn_model *model)
{
    return model->config.has_mask;
}

const char *rcnn_model_config_json(const rcnn_model *model)
{
    return model->config_json;
}

int64_t rcnn_model_parameter_count(const rcnn_model *model)
{
    int64_t count = 0;
    for (int32_t i = 0; i < model->layer_count; i++) {
        count += (int64_t)rcnn_layer_weight_count(&model->layers[i]) + model->layers[i].out;
    }
    return count;
}

int32_t rcnn_model_config_count(void)
{
    return RCNN_CONFIG_KEY_COUNT;
}

rcnn_status rcnn_model_config_get(const rcnn_model *model, int32_t index, const char **key, const char **value,
                                  const char **source)
{
    if (!model || index < 0 || index >= RCNN_CONFIG_KEY_COUNT) {
        return RCNN_ERR_ARGUMENT;
    }
    if (key) {
        *key = rcnn_config_name((rcnn_config_key)index);
    }
    if (value) {
        *value = model->config_text[index];
    }
    if (source) {
        *source = rcnn_config_source_name((rcnn_config_source)model->sources.of[index]);
    }
    return RCNN_OK;
}

int32_t rcnn_model_activation_count(const rcnn_model *model)
{
    return model ? model->activation_count : 0;
}

rcnn_status rcnn_model_activation_get(const rcnn_model *model, int32_t index, rcnn_activation_info *out)
{
    if (!model || !out || index < 0 || index >= model->activation_count) {
        return RCNN_ERR_ARGUMENT;
    }
    const rcnn_activation *a = &model->activations[index];
    *out = (rcnn_activation_info){.name = a->value,
                                  .method = a->method,
                                  .scale = a->scale,
                                  .is_signed = a->is_signed,
                                  .min = a->min,
                                  .max = a->max,
                                  .error = a->error,
                                  .sensitivity = a->sensitivity};
    return RCNN_OK;
}

const char *rcnn_model_calibration_json(const rcnn_model *model)
{
    return model->calibration;
}

int32_t rcnn_model_calibration_images(const rcnn_model *model)
{
    return model->calibration_images;
}
