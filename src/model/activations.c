/* Names, tensors and record of activation scales. */
#include "model/activations.h"

#include <float.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

/* ------------------------------------------------------------------- names */

/* Whether `value` is the head with a number of first .. first+count-1 behind it. */
static bool is_numbered(const char *value, const char *head, int32_t first, int32_t count)
{
    const size_t length = strlen(head);
    for (int32_t i = first; i < first + count; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        if (strncmp(value, head, length) == 0 && strcmp(value + length, number) == 0) {
            return true;
        }
    }
    return false;
}

/* layer<s>_<b>_conv<i> but for the last convolution of a stage, which makes c<s+1>, and layer<s>_<b>_shortcut. */
static bool is_in_block(const rcnn_config *config, const char *value)
{
    const int32_t convs = config->block == RCNN_BLOCK_BOTTLENECK ? 3 : 2;
    for (int32_t stage = 1; stage <= 4; stage++) {
        for (int32_t block = 0; block < config->blocks[stage - 1]; block++) {
            char head[RCNN_LAYER_NAME_MAX];
            const int length = snprintf(head, sizeof head, "layer%d_%d_", stage, block);
            if (strncmp(value, head, (size_t)length) != 0) {
                continue;
            }
            const bool last = block == config->blocks[stage - 1] - 1;
            return strcmp(value + length, "shortcut") == 0 ||
                   is_numbered(value + length, "conv", 1, last ? convs - 1 : convs);
        }
    }
    return false;
}

static bool is_rpn(const rcnn_config *config, const char *value)
{
    for (int32_t i = 0; i < config->rpn_convs; i++) {
        char head[RCNN_LAYER_NAME_MAX];
        snprintf(head, sizeof head, "rpn_conv%d_", i);
        if (is_numbered(value, head, 2, 5)) {
            return true;
        }
    }
    return false;
}

bool rcnn_activation_known(const rcnn_config *config, const char *value)
{
    static const char *const single[] = {"stem", "box_features", "mask_features", "mask_deconv"};
    for (size_t i = 0; i < sizeof single / sizeof single[0]; i++) {
        if (strcmp(value, single[i]) == 0) {
            return true;
        }
    }
    return is_in_block(config, value) || is_numbered(value, "c", 2, 4) || is_numbered(value, "lateral", 2, 4) ||
           is_numbered(value, "merge", 2, 3) || is_numbered(value, "p", 2, 4) || is_rpn(config, value) ||
           is_numbered(value, "box_conv", 0, config->box_convs) || is_numbered(value, "box_fc", 0, config->box_fcs) ||
           is_numbered(value, "mask_conv", 0, config->mask_convs);
}

/* ----------------------------------------------------------------- tensors */

rcnn_status rcnn_activation_check(const char *value, float scale, float is_signed, rcnn_error *err)
{
    const bool usable = scale == 0 || (scale >= FLT_MIN && scale <= FLT_MAX / 255);
    if (!usable || !(is_signed == 0 || is_signed == 1)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT,
                         "model: tensor '" RCNN_ACTIVATION_PREFIX "%s" RCNN_ACTIVATION_SUFFIX
                         "': want a scale of 0 or above and a sign of 0 or 1, got %g and %g",
                         value, (double)scale, (double)is_signed);
    }
    return RCNN_OK;
}

/* The value in "activation.<value>.scale", or false for any other name. */
static bool value_of(const char *tensor, char value[RCNN_LAYER_NAME_MAX])
{
    const size_t prefix = strlen(RCNN_ACTIVATION_PREFIX), suffix = strlen(RCNN_ACTIVATION_SUFFIX);
    const size_t length = strlen(tensor);
    if (length < prefix + suffix || strncmp(tensor, RCNN_ACTIVATION_PREFIX, prefix) != 0 ||
        strcmp(tensor + length - suffix, RCNN_ACTIVATION_SUFFIX) != 0) {
        return false;
    }
    snprintf(value, RCNN_LAYER_NAME_MAX, "%.*s", (int)(length - prefix - suffix), tensor + prefix);
    return true;
}

static rcnn_status read_tensor(const rcnn_config *config, rcnn_tensor_entry *entry, rcnn_activation *out,
                               rcnn_error *err)
{
    float pair[RCNN_ACTIVATION_SCALE_COUNT];
    const rcnn_shape want = {.rank = 1, .dim = {RCNN_ACTIVATION_SCALE_COUNT}};
    if (!rcnn_activation_known(config, out->value)) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "model: tensor '%.100s': the network has no such activation",
                         entry->info.name);
    }
    RCNN_TRY(rcnn_tensor_check_shape(entry, &want, err));
    RCNN_TRY(rcnn_tensor_read(entry, pair, err));
    RCNN_TRY(rcnn_activation_check(out->value, pair[0], pair[1], err));
    out->scale = pair[0];
    out->is_signed = pair[1] == 1;
    snprintf(out->method, sizeof out->method, "%s", out->scale > 0 ? "unknown" : "float");
    return RCNN_OK;
}

static rcnn_status read_tensors(rcnn_model *model, const rcnn_tensor_table *table, rcnn_error *err)
{
    char value[RCNN_LAYER_NAME_MAX];
    int32_t count = 0;
    for (int32_t i = 0; i < table->count; i++) {
        count += value_of(table->entries[i].info.name, value);
    }
    if (count == 0) {
        return RCNN_OK;
    }
    model->activations = rcnn_calloc((size_t)count, sizeof *model->activations);
    if (!model->activations) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory for %d activation scales", count);
    }
    for (int32_t i = 0; i < table->count; i++) {
        if (value_of(table->entries[i].info.name, value)) {
            rcnn_activation *activation = &model->activations[model->activation_count];
            memcpy(activation->value, value, sizeof value);
            RCNN_TRY(read_tensor(&model->config, &table->entries[i], activation, err));
            model->activation_count++;
        }
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------------ record */

typedef struct record_reader {
    rcnn_json json;
    rcnn_model *model;
    rcnn_error *err;
} record_reader;

static rcnn_status fail_token(const record_reader *r, const char *wanted)
{
    return rcnn_fail(r->err, RCNN_ERR_FORMAT, "model: " RCNN_CALIBRATION_KEY ": want %s, got %s at byte %zu", wanted,
                     rcnn_json_token_name(r->json.token), r->json.offset);
}

static bool text_is(const record_reader *r, const char *text)
{
    return r->json.length == strlen(text) && memcmp(r->json.text, text, r->json.length) == 0;
}

static rcnn_status read_number(record_reader *r, float *out)
{
    RCNN_TRY(rcnn_json_next(&r->json, r->err));
    if (r->json.token != RCNN_JSON_NUMBER ||
        !(r->json.number >= (double)-FLT_MAX && r->json.number <= (double)FLT_MAX)) {
        return fail_token(r, "a number that a float holds");
    }
    *out = (float)r->json.number;
    return RCNN_OK;
}

static rcnn_status read_method(record_reader *r, rcnn_activation *out)
{
    static const char *const methods[] = {"minmax", "percentile", "entropy", "float"};
    RCNN_TRY(rcnn_json_next(&r->json, r->err));
    for (size_t i = 0; r->json.token == RCNN_JSON_STRING && i < sizeof methods / sizeof methods[0]; i++) {
        if (text_is(r, methods[i])) {
            snprintf(out->method, sizeof out->method, "%s", methods[i]);
            return RCNN_OK;
        }
    }
    return fail_token(r, "a method (minmax, percentile, entropy, float)");
}

/* One object of "values", copied to the activation that it names. */
static rcnn_status read_value(record_reader *r)
{
    rcnn_activation read = {0};
    for (;;) {
        RCNN_TRY(rcnn_json_next(&r->json, r->err));
        if (r->json.token == RCNN_JSON_OBJECT_END) {
            break;
        }
        if (text_is(r, "name")) {
            RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_STRING, r->err));
            snprintf(read.value, sizeof read.value, "%s", r->json.text);
        } else if (text_is(r, "method")) {
            RCNN_TRY(read_method(r, &read));
        } else if (text_is(r, "min") || text_is(r, "max") || text_is(r, "error") || text_is(r, "sensitivity")) {
            float *const place = text_is(r, "min")     ? &read.min
                                 : text_is(r, "max")   ? &read.max
                                 : text_is(r, "error") ? &read.error
                                                       : &read.sensitivity;
            RCNN_TRY(read_number(r, place));
        } else {
            RCNN_TRY(rcnn_json_skip(&r->json, r->err));
        }
    }
    for (int32_t i = 0; i < r->model->activation_count; i++) {
        rcnn_activation *activation = &r->model->activations[i];
        if (strcmp(activation->value, read.value) == 0) {
            read.scale = activation->scale;
            read.is_signed = activation->is_signed;
            if (!read.method[0]) {
                memcpy(read.method, activation->method, sizeof read.method);
            }
            *activation = read;
            return RCNN_OK;
        }
    }
    return rcnn_fail(r->err, RCNN_ERR_FORMAT, "model: " RCNN_CALIBRATION_KEY ": there is no tensor for its value '%s'",
                     read.value);
}

static rcnn_status read_values(record_reader *r)
{
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_ARRAY_BEGIN, r->err));
    for (;;) {
        RCNN_TRY(rcnn_json_next(&r->json, r->err));
        if (r->json.token == RCNN_JSON_ARRAY_END) {
            return RCNN_OK;
        }
        if (r->json.token != RCNN_JSON_OBJECT_BEGIN) {
            return fail_token(r, "an object for each value");
        }
        RCNN_TRY(read_value(r));
    }
}

static rcnn_status read_version(record_reader *r)
{
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_NUMBER, r->err));
    if (!r->json.is_integer || r->json.integer != RCNN_CALIBRATION_VERSION) {
        return rcnn_fail(r->err, RCNN_ERR_UNSUPPORTED, "model: " RCNN_CALIBRATION_KEY ": want version %d, got %g",
                         RCNN_CALIBRATION_VERSION, r->json.number);
    }
    return RCNN_OK;
}

static rcnn_status read_images(record_reader *r)
{
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_NUMBER, r->err));
    if (!r->json.is_integer || r->json.integer < 0 || r->json.integer > INT32_MAX) {
        return fail_token(r, "a count of images");
    }
    r->model->calibration_images = (int32_t)r->json.integer;
    return RCNN_OK;
}

static rcnn_status read_record(record_reader *r)
{
    bool versioned = false;
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_OBJECT_BEGIN, r->err));
    for (;;) {
        RCNN_TRY(rcnn_json_next(&r->json, r->err));
        if (r->json.token == RCNN_JSON_OBJECT_END) {
            break;
        }
        if (text_is(r, "version")) {
            RCNN_TRY(read_version(r));
            versioned = true;
        } else if (text_is(r, "images")) {
            RCNN_TRY(read_images(r));
        } else if (text_is(r, "values")) {
            RCNN_TRY(read_values(r));
        } else {
            RCNN_TRY(rcnn_json_skip(&r->json, r->err));
        }
    }
    RCNN_TRY(rcnn_json_expect(&r->json, RCNN_JSON_END, r->err));
    return versioned ? RCNN_OK
                     : rcnn_fail(r->err, RCNN_ERR_FORMAT, "model: " RCNN_CALIBRATION_KEY ": want 'version', got none");
}

rcnn_status rcnn_activations_read(rcnn_model *model, const rcnn_tensor_table *table, const char *record,
                                  rcnn_error *err)
{
    RCNN_TRY(read_tensors(model, table, err));
    if (!record) {
        return RCNN_OK;
    }
    record_reader r = {.model = model, .err = err};
    rcnn_json_open(&r.json, "model: " RCNN_CALIBRATION_KEY, record, strlen(record));
    rcnn_status status = read_record(&r);
    rcnn_json_close(&r.json);
    RCNN_TRY(status);
    model->calibration = rcnn_strdup(record);
    return model->calibration ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory for its calibration");
}
