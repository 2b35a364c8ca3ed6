/* Writes a model as the state dict of another framework. The network was folded when it was loaded, so that each batch
 * norm the framework has is written as one that changes nothing: gamma 1, mean 0, beta the folded bias, and a variance v
 * with v + eps = 1 up to half an ulp of v. Folding it again scales by 1/sqrt(v + eps), which is within 2^-26 of 1; the
 * product with a float weight then rounds back to that weight, so that the file loads to the same bits. (A bias of -0
 * comes back as 0.) What a framework cannot say in names stands as the model's config in the metadata. */
#include "model/state_dict.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "model/class_rows.h"
#include "model/layers.h"
#include "model/native.h"
#include "model/safetensors.h"

enum { TENSORS_PER_PART = 7 }; /* weight, bias; or weight, four of the norm, its counter */

/* What a framework's modules look like, as far as it differs. */
static const struct framework {
    const char *word;
    rcnn_naming naming;
    rcnn_family family;
    bool counters;         /* its batch norm counts batches: num_batches_tracked            */
    bool background_first; /* also: deltas and masks have rows for the background           */
    bool heads_normed;     /* heads with convolutions are batch normed, and the pyramid too */
} FRAMEWORKS[] = {
    [RCNN_STATE_DICT_TORCHVISION] = {"torchvision", RCNN_NAMING_TORCHVISION, RCNN_FAMILY_TORCHVISION, true, true, true},
    [RCNN_STATE_DICT_MMDET] = {"mmdet", RCNN_NAMING_MMDET, RCNN_FAMILY_MMDET2, true, false, false},
    [RCNN_STATE_DICT_DETECTRON2] = {"detectron2", RCNN_NAMING_DETECTRON2, RCNN_FAMILY_DETECTRON2, false, false, false},
};
#define FRAMEWORK_COUNT (sizeof FRAMEWORKS / sizeof FRAMEWORKS[0])

rcnn_status rcnn_state_dict_find(const char *word, rcnn_naming *naming, bool *background_first, rcnn_error *err)
{
    for (size_t i = 0; i < FRAMEWORK_COUNT; i++) {
        if (strcmp(word, FRAMEWORKS[i].word) == 0) {
            *naming = FRAMEWORKS[i].naming;
            *background_first = FRAMEWORKS[i].background_first;
            return RCNN_OK;
        }
    }
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED,
                     "model: state dict: want " RCNN_STATE_DICT_NAMING_KEY " torchvision, mmdet or detectron2, got "
                     "'%.40s'",
                     word);
}

/* ---------------------------------------------------------------- writing */

typedef struct writing {
    const rcnn_model *model;
    const struct framework *framework;
    rcnn_error *err;
    rcnn_layer_spec *specs;
    int32_t spec_count;
    rcnn_layer *converted; /* [spec_count], weights NULL where the model's own layer is written */
    char (*names)[RCNN_TENSOR_NAME_MAX + 32];
    rcnn_safetensors_entry *entries;
    const void **data;               /* of each entry, borrowed */
    float *ones, *zeros, *variances; /* as long as the longest bias */
    size_t count;
    rcnn_safetensors_writer writer;
} writing;

static const int64_t NO_BATCHES = 0; /* num_batches_tracked of every norm */

static void add(writing *w, const char *base, const char *suffix, const rcnn_safetensors_entry *shape, const void *data)
{
    snprintf(w->names[w->count], sizeof w->names[0], "%s%s", base, suffix);
    w->entries[w->count] = *shape;
    w->entries[w->count].name = w->names[w->count];
    w->data[w->count++] = data;
}

static void add_vector(writing *w, const char *base, const char *suffix, int32_t length, const float *data)
{
    add(w, base, suffix, &(rcnn_safetensors_entry){.dtype = RCNN_F32, .rank = 1, .shape = {length}}, data);
}

/* `rows` outputs of a layer from `first` on; a transposed convolution is never split. */
static void add_weight(writing *w, const char *base, const rcnn_layer *layer, int32_t first, int32_t rows)
{
    const bool deconv = layer->kind == RCNN_LAYER_DECONV;
    const size_t per_row = rcnn_layer_weight_count(layer) / (size_t)layer->out;
    const rcnn_safetensors_entry shape = {
        .dtype = RCNN_F32,
        .rank = layer->kind == RCNN_LAYER_FC ? 2 : 4,
        .shape = {deconv ? layer->in : rows, deconv ? layer->out : layer->in, layer->kh, layer->kw}};
    add(w, base, ".weight", &shape, layer->weights + (size_t)first * per_row);
}

static void add_identity_norm(writing *w, const char *norm, const rcnn_layer *layer)
{
    add_vector(w, norm, ".weight", layer->out, w->ones);
    add_vector(w, norm, ".bias", layer->out, layer->bias);
    add_vector(w, norm, ".running_mean", layer->out, w->zeros);
    add_vector(w, norm, ".running_var", layer->out, w->variances);
}

/* Whether the framework puts a batch norm behind a layer. Backbones always have one; in torchvision the heads with
 * convolutions (its v2 models) bring norms to the pyramid and the mask head too, but not to the RPN. */
static bool is_normed(const writing *w, const rcnn_layer_spec *spec)
{
    if (spec->row <= RCNN_ROW_SHORTCUT) {
        return true;
    }
    const bool may = spec->row == RCNN_ROW_LATERAL || spec->row == RCNN_ROW_OUTPUT || spec->row == RCNN_ROW_BOX_CONV ||
                     spec->row == RCNN_ROW_MASK_CONV;
    return may && w->framework->heads_normed && w->model->config.box_convs > 0;
}

static int32_t rows_of_part(const writing *w, const rcnn_layer_spec *spec, int32_t part, const rcnn_layer *layer)
{
    if (spec->parts == 1) {
        return layer->out;
    }
    const int32_t scores = spec->row == RCNN_ROW_RPN_SCORES ? 3 : w->model->config.class_count + 1;
    return part == 0 ? scores : layer->out - scores;
}

/* The layer as the file holds it; NULL when the network has none there (a plain first stage). */
static const rcnn_layer *layer_of(const writing *w, int32_t spec)
{
    if (w->converted[spec].weights) {
        return &w->converted[spec];
    }
    char name[RCNN_LAYER_NAME_MAX];
    rcnn_names_layer(&w->specs[spec], name);
    return rcnn_model_layer(w->model, name);
}

static rcnn_status names_of(const writing *w, int32_t spec, int32_t part, rcnn_tensor_names *names)
{
    if (rcnn_names_tensor_to_write(&w->specs[spec], part, w->framework->naming, &w->model->config, names) &&
        (names->norm[0] || !is_normed(w, &w->specs[spec]))) {
        return RCNN_OK;
    }
    char layer[RCNN_LAYER_NAME_MAX];
    rcnn_names_layer(&w->specs[spec], layer);
    return rcnn_fail(w->err, RCNN_ERR_UNSUPPORTED, "model: state dict: %s has no name for layer '%s'",
                     w->framework->word, layer);
}

/* The counters come first, as they are wider than the floats after them. */
static rcnn_status list_counters(writing *w)
{
    rcnn_tensor_names names;
    for (int32_t i = 0; w->framework->counters && i < w->spec_count; i++) {
        if (is_normed(w, &w->specs[i]) && layer_of(w, i)) {
            RCNN_TRY(names_of(w, i, 0, &names));
            add(w, names.norm, ".num_batches_tracked", &(rcnn_safetensors_entry){.dtype = RCNN_I64}, &NO_BATCHES);
        }
    }
    return RCNN_OK;
}

static rcnn_status list_layer(writing *w, int32_t spec, const rcnn_layer *layer)
{
    rcnn_tensor_names names;
    int32_t first = 0;
    for (int32_t part = 0; part < w->specs[spec].parts; part++) {
        const int32_t rows = rows_of_part(w, &w->specs[spec], part, layer);
        RCNN_TRY(names_of(w, spec, part, &names));
        add_weight(w, names.conv, layer, first, rows);
        if (is_normed(w, &w->specs[spec])) {
            add_identity_norm(w, names.norm, layer);
        } else {
            add_vector(w, names.conv, ".bias", rows, layer->bias + first);
        }
        first += rows;
    }
    return RCNN_OK;
}

static rcnn_status list_entries(writing *w)
{
    RCNN_TRY(list_counters(w));
    for (int32_t i = 0; i < w->spec_count; i++) {
        const rcnn_layer *layer = layer_of(w, i);
        if (layer) {
            RCNN_TRY(list_layer(w, i, layer));
        }
    }
    return RCNN_OK;
}

static rcnn_status write_tensors(writing *w)
{
    for (size_t i = 0; i < w->count; i++) {
        const rcnn_safetensors_entry *entry = &w->entries[i];
        size_t bytes = entry->dtype == RCNN_I64 ? sizeof NO_BATCHES : sizeof(float);
        for (int32_t d = 0; d < entry->rank; d++) {
            bytes *= (size_t)entry->shape[d]; /* of a tensor in memory: cannot overflow */
        }
        RCNN_TRY(rcnn_safetensors_append(&w->writer, w->data[i], bytes, w->err));
    }
    return RCNN_OK;
}

static rcnn_status write_file(writing *w, const char *path)
{
    /* the config of what is written: an eps other than that of the norms in the file would fold them wrongly */
    rcnn_model described = {
        .config = w->model->config, .class_names = w->model->class_names, .category_ids = w->model->category_ids};
    rcnn_text json = {0};
    described.config.bn_eps = RCNN_STATE_DICT_EPS;
    rcnn_native_write_json(&described, &json);
    const rcnn_safetensors_pair metadata[] = {{"format", "pt"}, /* what PyTorch's own loaders look for */
                                              {RCNN_STATE_DICT_NAMING_KEY, w->framework->word},
                                              {RCNN_NATIVE_CONFIG_KEY, json.data}};
    rcnn_status status = json.failed
                             ? rcnn_fail(w->err, RCNN_ERR_MEMORY, "model: out of memory for the config's text")
                             : rcnn_safetensors_begin(&w->writer, path, metadata, 3, w->entries, w->count, w->err);
    rcnn_text_free(&json);
    RCNN_TRY(status);
    status = write_tensors(w);
    if (status != RCNN_OK) {
        rcnn_safetensors_abort(&w->writer);
        return status;
    }
    return rcnn_safetensors_commit(&w->writer, w->err);
}

/* ------------------------------------------------------------ preparation */

/* torchvision's box head is either of two kinds, and neither of its predictors shares rows between classes. */
static rcnn_status check_architecture(const writing *w)
{
    const rcnn_config *c = &w->model->config;
    if (w->framework->naming != RCNN_NAMING_TORCHVISION) {
        return RCNN_OK;
    }
    const char *what = c->agnostic_box                        ? "one box regression for all classes"
                       : c->agnostic_mask                     ? "one mask for all classes"
                       : c->box_convs == 0 && c->box_fcs != 2 ? "a box head without convolutions that has other "
                                                                "than two fully connected layers"
                                                              : NULL;
    return what ? rcnn_fail(w->err, RCNN_ERR_UNSUPPORTED, "model: state dict: torchvision has no names for %s", what)
                : RCNN_OK;
}

static rcnn_status allocate(writing *w)
{
    size_t longest = 1;
    for (int32_t i = 0; i < w->model->layer_count; i++) {
        const size_t outputs = (size_t)w->model->layers[i].out;
        longest = outputs > longest ? outputs : longest;
    }
    const size_t tensors = (size_t)w->spec_count * RCNN_PARTS_MAX * TENSORS_PER_PART;
    w->converted = rcnn_calloc((size_t)w->spec_count, sizeof *w->converted);
    w->names = rcnn_calloc(tensors, sizeof *w->names);
    w->entries = rcnn_calloc(tensors, sizeof *w->entries);
    w->data = rcnn_calloc(tensors, sizeof *w->data);
    w->ones = rcnn_calloc(longest, sizeof *w->ones);
    w->zeros = rcnn_calloc(longest, sizeof *w->zeros);
    w->variances = rcnn_calloc(longest, sizeof *w->variances);
    if (!w->converted || !w->names || !w->entries || !w->data || !w->ones || !w->zeros || !w->variances) {
        return rcnn_fail(w->err, RCNN_ERR_MEMORY, "model: out of memory for saving");
    }
    for (size_t i = 0; i < longest; i++) {
        w->ones[i] = 1;
        w->variances[i] = (float)(1 - RCNN_STATE_DICT_EPS);
    }
    return RCNN_OK;
}

/* Gives the layers with class rows the order of the framework. */
static rcnn_status convert_layers(writing *w)
{
    const bool first = w->framework->background_first;
    for (int32_t i = 0; i < w->spec_count && first != (w->model->config.background_first != 0); i++) {
        const rcnn_layer *layer = layer_of(w, i);
        if (layer && rcnn_class_rows_concern(layer)) {
            RCNN_TRY(rcnn_class_rows_convert(layer, &w->model->config, first, &w->converted[i], w->err));
        }
    }
    return RCNN_OK;
}

/* Names the settings that the user has to carry to the framework by hand: those in which the model differs from what
 * the framework does when nothing is said. */
static void log_settings(const writing *w)
{
    const rcnn_config *own = &w->model->config;
    const bool other_mmdet = w->framework->family == RCNN_FAMILY_MMDET2 && own->family == RCNN_FAMILY_MMDET3;
    rcnn_config usual = *own;
    rcnn_config_apply_family(&usual, other_mmdet ? RCNN_FAMILY_MMDET3 : w->framework->family,
                             w->framework->family == RCNN_FAMILY_TORCHVISION ? RCNN_STYLE_PYTORCH : own->style);
    usual.family = own->family;
    usual.background_first = own->background_first; /* converted */
    rcnn_text list = {0};
    for (int32_t key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        rcnn_text mine = {0}, theirs = {0};
        rcnn_config_value_text(own, (rcnn_config_key)key, &mine);
        rcnn_config_value_text(&usual, (rcnn_config_key)key, &theirs);
        if (mine.data && theirs.data && strcmp(mine.data, theirs.data) != 0) {
            rcnn_text_printf(&list, "%s%s=%s", list.length ? " " : "", rcnn_config_name((rcnn_config_key)key),
                             mine.data);
        }
        rcnn_text_free(&mine);
        rcnn_text_free(&theirs);
    }
    if (list.data) {
        rcnn_log(RCNN_LOG_WARN, "model: state dict: its names do not say, so set in %s: %s", w->framework->word,
                 list.data);
    }
    rcnn_text_free(&list);
}

static void writing_free(writing *w)
{
    for (int32_t i = 0; w->converted && i < w->spec_count; i++) {
        rcnn_free(w->converted[i].weights);
        rcnn_free(w->converted[i].bias);
    }
    rcnn_free(w->converted);
    rcnn_free(w->specs);
    rcnn_free(w->names);
    rcnn_free(w->entries);
    rcnn_free(w->data);
    rcnn_free(w->ones);
    rcnn_free(w->zeros);
    rcnn_free(w->variances);
}

static rcnn_status prepare(writing *w)
{
    RCNN_TRY(check_architecture(w));
    RCNN_TRY(rcnn_names_list(&w->model->config, &w->specs, &w->spec_count, w->err));
    RCNN_TRY(allocate(w));
    RCNN_TRY(convert_layers(w));
    return list_entries(w);
}

rcnn_status rcnn_model_save_state_dict(const rcnn_model *model, const char *path, rcnn_state_dict naming,
                                       rcnn_error *err)
{
    if (!model || !path || (int)naming < 0 || (size_t)naming >= FRAMEWORK_COUNT) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "model: save: want a model, a path and a naming, got %s",
                         !model  ? "no model"
                         : !path ? "no path"
                                 : "an unknown naming");
    }
    writing w = {.model = model, .framework = &FRAMEWORKS[naming], .err = err};
    rcnn_status status = prepare(&w);
    if (status == RCNN_OK) {
        status = write_file(&w, path);
    }
    if (status == RCNN_OK) {
        log_settings(&w);
    }
    writing_free(&w);
    return status;
}
