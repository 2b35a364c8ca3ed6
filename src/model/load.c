/* Loading a model: native files bring their config, others are inferred; then overrides, layers, class names. */
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/options.h"
#include "model/activations.h"
#include "model/class_rows.h"
#include "model/classes.h"
#include "model/infer.h"
#include "model/layers.h"
#include "model/native.h"
#include "model/state_dict.h"

/* How the tensors of a file are called and ordered. */
typedef struct file_kind {
    bool described; /* the file holds our config: a native file, or a state dict that we wrote        */
    rcnn_naming naming;
    bool ordered;          /* its class rows are in the naming's order, whatever the config says       */
    bool background_first; /* that order                                                               */
} file_kind;

static rcnn_status find_kind(const rcnn_weights *weights, file_kind *kind, rcnn_error *err)
{
    const char *word = rcnn_weights_meta(weights, RCNN_STATE_DICT_NAMING_KEY);
    const char *format = rcnn_weights_meta(weights, RCNN_NATIVE_FORMAT_KEY);
    *kind = (file_kind){.naming = RCNN_NAMING_NATIVE};
    kind->described = word || format || rcnn_weights_meta(weights, RCNN_NATIVE_CONFIG_KEY);
    if (word) {
        kind->ordered = true;
        return rcnn_state_dict_find(word, &kind->naming, &kind->background_first, err);
    }
    if (kind->described && (!format || strcmp(format, RCNN_NATIVE_FORMAT_VERSION) != 0)) {
        return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "model: native file: want rcnn_format %s, got %.20s",
                         RCNN_NATIVE_FORMAT_VERSION, format ? format : "none");
    }
    return RCNN_OK;
}

static rcnn_status read_config(const rcnn_weights *weights, rcnn_config *config, rcnn_config_sources *sources,
                               rcnn_native_classes *classes, rcnn_error *err)
{
    const char *json = rcnn_weights_meta(weights, RCNN_NATIVE_CONFIG_KEY);
    if (!json) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "model: native file: want '%s' in its metadata, got none",
                         RCNN_NATIVE_CONFIG_KEY);
    }
    rcnn_config_init(config);
    memset(sources, RCNN_SOURCE_DEFAULT, sizeof *sources);
    return rcnn_native_read_json(json, config, sources, classes, err);
}

static rcnn_status apply_overrides(rcnn_model *model, const rcnn_model_options *options, rcnn_error *err)
{
    rcnn_config *config = &model->config;
    if (options->override_count < 0 || (options->override_count > 0 && !options->overrides)) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "model: overrides: want a list of %d, got %s", options->override_count,
                         options->overrides ? "a negative count" : "NULL");
    }
    RCNN_TRY(rcnn_config_override(config, &model->sources, options->overrides, options->override_count, err));
    /* without masks mmdet 3.x rescales before NMS (spec 12); has_mask may have been overridden just now */
    if (config->family == RCNN_FAMILY_MMDET3 && model->sources.of[RCNN_CONFIG_rescale_first] == RCNN_SOURCE_DEFAULT) {
        config->rescale_first = !config->has_mask;
    }
    return rcnn_config_validate(config, err);
}

/* ------------------------------------------------------------ class names */

static const char *foreign_class_names(const rcnn_weights *weights)
{
    static const char *const keys[] = {
        "meta.CLASSES", "meta.dataset_meta.CLASSES", "meta.dataset_meta.classes", "meta.classes", "CLASSES", "classes"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const char *names = rcnn_weights_meta(weights, keys[i]);
        if (names) {
            return names;
        }
    }
    return NULL;
}

static rcnn_status fill_classes(rcnn_model *model, const char *names, const rcnn_native_classes *native,
                                const rcnn_model_options *options, rcnn_error *err)
{
    RCNN_TRY(rcnn_classes_fill(model, names, err));
    if (native->id_count == model->config.class_count) {
        memcpy(model->category_ids, native->ids, (size_t)native->id_count * sizeof *native->ids);
    } else if (native->id_count > 0) {
        rcnn_log(RCNN_LOG_WARN, "model: the file has %d category ids for %d classes; they are not used",
                 native->id_count, model->config.class_count);
    }
    return options->class_names ? rcnn_classes_rename(model, options->class_names, options->class_name_count, err)
                                : RCNN_OK;
}

/* The texts that getters hand out. */
static rcnn_status fill_texts(rcnn_model *model, rcnn_error *err)
{
    rcnn_text json = {0};
    rcnn_native_write_json(model, &json);
    model->config_json = rcnn_text_take(&json);
    bool complete = model->config_json != NULL;
    for (int32_t key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        rcnn_text text = {0};
        rcnn_config_value_text(&model->config, (rcnn_config_key)key, &text);
        model->config_text[key] = rcnn_text_take(&text);
        complete = complete && model->config_text[key];
    }
    return complete ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory for the config's text");
}

/* ----------------------------------------------------------------- loading */

/* The layers as the config wants them; the class rows of the file may have another order. */
static rcnn_status build_layers(rcnn_model *model, const rcnn_tensor_table *table, const file_kind *kind,
                                rcnn_error *err)
{
    rcnn_config in_file = model->config;
    if (kind->ordered) {
        in_file.background_first = kind->background_first;
    }
    RCNN_TRY(rcnn_layers_build(&in_file, table, kind->naming, &model->layers, &model->layer_count, err));
    return in_file.background_first == model->config.background_first
               ? RCNN_OK
               : rcnn_class_rows_convert_all(model->layers, model->layer_count, &model->config,
                                             model->config.background_first, err);
}

static rcnn_status load_parts(rcnn_model *model, const rcnn_weights *weights, const rcnn_model_options *options,
                              rcnn_tensor_table *table, rcnn_native_classes *native, rcnn_error *err)
{
    file_kind kind;
    RCNN_TRY(rcnn_tensor_table_open(table, weights, err));
    RCNN_TRY(find_kind(weights, &kind, err));
    RCNN_TRY(kind.described ? read_config(weights, &model->config, &model->sources, native, err)
                            : rcnn_infer(table, &kind.naming, &model->config, &model->sources, err));
    RCNN_TRY(apply_overrides(model, options, err));
    RCNN_TRY(build_layers(model, table, &kind, err));
    if (kind.described && kind.naming == RCNN_NAMING_NATIVE) {
        RCNN_TRY(rcnn_activations_read(model, table, rcnn_weights_meta(weights, RCNN_CALIBRATION_KEY), err));
    }
    rcnn_tensor_table_log_unused(table);
    RCNN_TRY(fill_classes(model, kind.described ? native->names : foreign_class_names(weights), native, options, err));
    return fill_texts(model, err);
}

rcnn_status rcnn_model_load_weights(const rcnn_weights *weights, const rcnn_model_options *given, rcnn_model **out,
                                    rcnn_error *err)
{
    if (!weights || !out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "model: load: want weights and a place for the model, got NULL");
    }
    *out = NULL;
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    RCNN_TRY(rcnn_options_read("model", given, &options, sizeof options, err));
    rcnn_model *model = rcnn_calloc(1, sizeof *model);
    if (!model) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory");
    }
    atomic_init(&model->references, 1);
    rcnn_tensor_table table = {0};
    rcnn_native_classes native = {0};
    rcnn_status status = load_parts(model, weights, &options, &table, &native, err);
    rcnn_tensor_table_free(&table);
    rcnn_native_classes_free(&native);
    if (status != RCNN_OK) {
        rcnn_model_destroy(model);
        return status;
    }
    *out = model;
    return RCNN_OK;
}

rcnn_status rcnn_model_load(const char *path, const rcnn_model_options *options, rcnn_model **out, rcnn_error *err)
{
    if (!path || !out) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "model: load: want a path and a place for the model, got NULL");
    }
    *out = NULL;
    rcnn_weights *weights;
    rcnn_error inner = {0};
    RCNN_TRY(rcnn_weights_open(path, &weights, err));
    rcnn_status status = rcnn_model_load_weights(weights, options, out, &inner);
    rcnn_weights_close(weights);
    /* what the loader says begins with "model: "; here the file's name is known and says more */
    const char *text = strncmp(inner.message, "model: ", 7) == 0 ? inner.message + 7 : inner.message;
    return status == RCNN_OK ? RCNN_OK : rcnn_fail(err, status, "%s: %s", path, text);
}
