/* rcnn_config as a table: one row per line of config.def, so that setting, checking, printing and JSON are each one
 * loop. The family presets stand at the end. Reading a config out of a checkpoint is infer.c's work. */
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/number.h"

typedef enum field_type { FIELD_RULE, FIELD_INT, FIELD_BOOL, FIELD_REAL } field_type;

typedef struct field {
    const char *name, *help;
    field_type type;
    int32_t count;            /* values: 1, or the length of a list */
    size_t offset;            /* in rcnn_config                     */
    const char *const *rules; /* value names of a rule              */
    int32_t rule_count;
} field;

#define VALUES(type, ...) static const char *const RULES_##type[] = {__VA_ARGS__};
RCNN_RULES(VALUES)
#undef VALUES
#define RULE_COUNT(type) (int32_t)(sizeof RULES_##type / sizeof RULES_##type[0])

/* Rules are read and written as int32_t. */
#define RULE(type, name, value, help) _Static_assert(sizeof(rcnn_##type) == sizeof(int32_t), "rule is 32 bits wide");
#define INT(name, value, help)
#define BOOL(name, value, help)
#define REAL(name, value, help)
#define INTS(count, name, ...)
#define REALS(count, name, ...)
#include "model/config.def"
#undef RULE
#undef INT
#undef BOOL
#undef REAL
#undef INTS
#undef REALS

/* INTS and REALS carry their help as the last of the variable arguments, which a macro cannot split off: LAST4 and
 * HELP_n names it by position for the two list lengths in use beside 3. */
#define HELP_3(a, b, c, help)       help
#define HELP_4(a, b, c, d, help)    help
#define HELP_5(a, b, c, d, e, help) help

static const field FIELDS[RCNN_CONFIG_KEY_COUNT] = {
#define RULE(type, name, value, help)                                                                                  \
    {#name, help, FIELD_RULE, 1, offsetof(rcnn_config, name), RULES_##type, RULE_COUNT(type)},
#define INT(name, value, help)  {#name, help, FIELD_INT, 1, offsetof(rcnn_config, name), NULL, 0},
#define BOOL(name, value, help) {#name, help, FIELD_BOOL, 1, offsetof(rcnn_config, name), NULL, 0},
#define REAL(name, value, help) {#name, help, FIELD_REAL, 1, offsetof(rcnn_config, name), NULL, 0},
#define INTS(count, name, ...)                                                                                         \
    {#name, HELP_##count(__VA_ARGS__), FIELD_INT, count, offsetof(rcnn_config, name), NULL, 0},
#define REALS(count, name, ...)                                                                                        \
    {#name, HELP_##count(__VA_ARGS__), FIELD_REAL, count, offsetof(rcnn_config, name), NULL, 0},
#include "model/config.def"
#undef RULE
#undef INT
#undef BOOL
#undef REAL
#undef INTS
#undef REALS
};

#define LIST_3(a, b, c, help)                                                                                          \
    {                                                                                                                  \
        a, b, c                                                                                                        \
    }
#define LIST_4(a, b, c, d, help)                                                                                       \
    {                                                                                                                  \
        a, b, c, d                                                                                                     \
    }
#define LIST_5(a, b, c, d, e, help)                                                                                    \
    {                                                                                                                  \
        a, b, c, d, e                                                                                                  \
    }

void rcnn_config_init(rcnn_config *config)
{
    *config = (rcnn_config){
#define RULE(type, name, value, help) .name = value,
#define INT(name, value, help)        .name = value,
#define BOOL(name, value, help)       .name = value,
#define REAL(name, value, help)       .name = value,
#define INTS(count, name, ...)        .name = LIST_##count(__VA_ARGS__),
#define REALS(count, name, ...)       .name = LIST_##count(__VA_ARGS__),
#include "model/config.def"
#undef RULE
#undef INT
#undef BOOL
#undef REAL
#undef INTS
#undef REALS
    };
}

/* Allowed range of every number, ends included. Wide enough for any sane network, narrow enough that products of the
 * values stay far from overflow. Rules and booleans need no row. */
static const struct {
    double min, max;
} RANGES[RCNN_CONFIG_KEY_COUNT] = {
    [RCNN_CONFIG_blocks] = {1, 128},           [RCNN_CONFIG_groups] = {1, 1024},
    [RCNN_CONFIG_class_count] = {1, 65535},    [RCNN_CONFIG_rpn_convs] = {1, 16},
    [RCNN_CONFIG_box_convs] = {0, 16},         [RCNN_CONFIG_box_fcs] = {1, 16},
    [RCNN_CONFIG_mask_convs] = {0, 16},        [RCNN_CONFIG_bn_eps] = {0, 1},
    [RCNN_CONFIG_mean] = {-1e6, 1e6},          [RCNN_CONFIG_std] = {1e-6, 1e6},
    [RCNN_CONFIG_long_side] = {32, 65500},     [RCNN_CONFIG_short_side] = {32, 65500},
    [RCNN_CONFIG_size_divisor] = {32, 1024},   [RCNN_CONFIG_anchor_sizes] = {1, 65500},
    [RCNN_CONFIG_anchor_ratios] = {0.01, 100}, [RCNN_CONFIG_rpn_pre_nms] = {1, 100000},
    [RCNN_CONFIG_rpn_post_nms] = {1, 100000},  [RCNN_CONFIG_rpn_nms_iou] = {0, 1},
    [RCNN_CONFIG_rpn_min_size] = {-1, 65500},  [RCNN_CONFIG_roi_sampling] = {0, 16},
    [RCNN_CONFIG_box_pool] = {1, 64},          [RCNN_CONFIG_mask_pool] = {1, RCNN_MASK_POOL_MAX},
    [RCNN_CONFIG_delta_weights] = {1e-3, 1e6}, [RCNN_CONFIG_score_threshold] = {0, 1},
    [RCNN_CONFIG_box_nms_iou] = {0, 1},        [RCNN_CONFIG_max_detections] = {1, 100000},
    [RCNN_CONFIG_box_min_size] = {0, 65500},
};

const char *rcnn_config_name(rcnn_config_key key)
{
    return FIELDS[key].name;
}

const char *rcnn_config_source_name(rcnn_config_source source)
{
    static const char *const names[] = {[RCNN_SOURCE_DEFAULT] = "default",
                                        [RCNN_SOURCE_INFERRED] = "inferred",
                                        [RCNN_SOURCE_FILE] = "file",
                                        [RCNN_SOURCE_OVERRIDE] = "override"};
    return names[source];
}

const char *rcnn_config_help(rcnn_config_key key)
{
    return FIELDS[key].help;
}

static double get_value(const rcnn_config *config, const field *f, int32_t index)
{
    const char *at = (const char *)config + f->offset;
    if (f->type == FIELD_REAL) {
        double real;
        memcpy(&real, at + (size_t)index * sizeof real, sizeof real);
        return real;
    }
    int32_t integer;
    memcpy(&integer, at + (size_t)index * sizeof integer, sizeof integer);
    return integer;
}

static void put_value(rcnn_config *config, const field *f, int32_t index, double value)
{
    char *at = (char *)config + f->offset;
    if (f->type == FIELD_REAL) {
        memcpy(at + (size_t)index * sizeof value, &value, sizeof value);
    } else {
        int32_t integer = (int32_t)value;
        memcpy(at + (size_t)index * sizeof integer, &integer, sizeof integer);
    }
}

/* ------------------------------------------------------------------ text */

/* A word of the input without the white space around it. */
typedef struct word {
    const char *text;
    size_t length;
} word;

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static word trimmed(const char *text, size_t length)
{
    while (length > 0 && is_space(text[0])) {
        text++;
        length--;
    }
    while (length > 0 && is_space(text[length - 1])) {
        length--;
    }
    return (word){text, length};
}

static bool word_is(word w, const char *text)
{
    return strlen(text) == w.length && memcmp(w.text, text, w.length) == 0;
}

/* "pytorch or caffe", "an integer", "3 numbers separated by commas", ... */
static void describe_wanted(const field *f, char *out, size_t capacity)
{
    if (f->type != FIELD_RULE) {
        const char *const one[] = {
            [FIELD_INT] = "an integer", [FIELD_BOOL] = "true or false", [FIELD_REAL] = "a number"};
        if (f->count == 1) {
            snprintf(out, capacity, "%s", one[f->type]);
        } else {
            snprintf(out, capacity, "%d %s separated by commas", f->count,
                     f->type == FIELD_INT ? "integers" : "numbers");
        }
        return;
    }
    size_t used = 0;
    for (int32_t i = 0; i < f->rule_count && used < capacity; i++) {
        const char *joint = i == 0 ? "" : i == f->rule_count - 1 ? " or " : ", ";
        used += (size_t)snprintf(out + used, capacity - used, "%s%s", joint, f->rules[i]);
    }
}

static rcnn_status fail_value(const field *f, const char *value, rcnn_error *err)
{
    char wanted[160];
    describe_wanted(f, wanted, sizeof wanted);
    return rcnn_fail(err, RCNN_ERR_ARGUMENT, "config: '%s': want %s, got '%.80s'", f->name, wanted, value);
}

static bool parse_word(const field *f, word w, double *out)
{
    if (f->type == FIELD_RULE) {
        for (int32_t i = 0; i < f->rule_count; i++) {
            if (word_is(w, f->rules[i])) {
                *out = i;
                return true;
            }
        }
        return false;
    }
    if (f->type == FIELD_BOOL) {
        bool yes = word_is(w, "true") || word_is(w, "1") || word_is(w, "yes") || word_is(w, "on");
        bool no = word_is(w, "false") || word_is(w, "0") || word_is(w, "no") || word_is(w, "off");
        *out = yes;
        return yes || no;
    }
    double number;
    if (!rcnn_parse_double(w.text, w.length, &number)) {
        return false;
    }
    if (f->type == FIELD_INT && (floor(number) != number || fabs(number) > INT32_MAX)) {
        return false;
    }
    *out = number;
    return true;
}

static const field *find_field(word name)
{
    for (int32_t i = 0; i < RCNN_CONFIG_KEY_COUNT; i++) {
        if (word_is(name, FIELDS[i].name)) {
            return &FIELDS[i];
        }
    }
    return NULL;
}

static rcnn_status check_field(const rcnn_config *config, const field *f, rcnn_status status, rcnn_error *err)
{
    const ptrdiff_t key = f - FIELDS;
    if (f->type == FIELD_RULE || f->type == FIELD_BOOL) {
        const int32_t count = f->type == FIELD_BOOL ? 2 : f->rule_count;
        double value = get_value(config, f, 0);
        if (value < 0 || value >= count) {
            return rcnn_fail(err, status, "config: '%s': want 0 .. %d, got %g", f->name, count - 1, value);
        }
        return RCNN_OK;
    }
    for (int32_t i = 0; i < f->count; i++) {
        double value = get_value(config, f, i);
        if (!(value >= RANGES[key].min && value <= RANGES[key].max)) { /* also refuses NaN */
            return rcnn_fail(err, status, "config: '%s': want %g .. %g, got %g", f->name, RANGES[key].min,
                             RANGES[key].max, value);
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_config_set(rcnn_config *config, const char *key, const char *value, rcnn_config_key *which,
                            rcnn_error *err)
{
    const field *f = find_field(trimmed(key, strlen(key)));
    if (!f) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "config: want a key of the model config, got '%.80s'", key);
    }
    rcnn_config changed = *config;
    const char *at = value;
    for (int32_t i = 0; i < f->count; i++) {
        const char *end = strchr(at, ',');
        const bool last = i == f->count - 1;
        double number;
        if (last == (end != NULL)) { /* a list too short or too long */
            return fail_value(f, value, err);
        }
        if (!parse_word(f, trimmed(at, last ? strlen(at) : (size_t)(end - at)), &number)) {
            return fail_value(f, value, err);
        }
        put_value(&changed, f, i, number);
        at = last ? at : end + 1;
    }
    RCNN_TRY(check_field(&changed, f, RCNN_ERR_ARGUMENT, err));
    *config = changed;
    if (which) {
        *which = (rcnn_config_key)(f - FIELDS);
    }
    return RCNN_OK;
}

rcnn_status rcnn_config_put(rcnn_config *config, rcnn_config_key key, const double *values, int32_t count,
                            rcnn_error *err)
{
    const field *f = &FIELDS[key];
    if (count != f->count) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "config: '%s': want %d values, got %d", f->name, f->count, count);
    }
    rcnn_config changed = *config;
    for (int32_t i = 0; i < count; i++) {
        if (f->type != FIELD_REAL && (floor(values[i]) != values[i] || fabs(values[i]) > INT32_MAX)) {
            return rcnn_fail(err, RCNN_ERR_ARGUMENT, "config: '%s': want an integer, got %g", f->name, values[i]);
        }
        put_value(&changed, f, i, values[i]);
    }
    RCNN_TRY(check_field(&changed, f, RCNN_ERR_ARGUMENT, err));
    *config = changed;
    return RCNN_OK;
}

static void add_value(const rcnn_config *config, const field *f, int32_t index, rcnn_text *out)
{
    double value = get_value(config, f, index);
    if (f->type == FIELD_RULE) {
        rcnn_text_add(out, value >= 0 && value < f->rule_count ? f->rules[(int32_t)value] : "?");
    } else if (f->type == FIELD_BOOL) {
        rcnn_text_add(out, value != 0 ? "true" : "false");
    } else if (f->type == FIELD_INT) {
        rcnn_text_printf(out, "%d", (int32_t)value);
    } else {
        rcnn_text_json_number(out, value);
    }
}

void rcnn_config_value_text(const rcnn_config *config, rcnn_config_key key, rcnn_text *out)
{
    const field *f = &FIELDS[key];
    for (int32_t i = 0; i < f->count; i++) {
        rcnn_text_add(out, i ? "," : "");
        add_value(config, f, i, out);
    }
}

/* ------------------------------------------------------------ validation */

rcnn_status rcnn_config_validate(const rcnn_config *config, rcnn_error *err)
{
    for (int32_t key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        RCNN_TRY(check_field(config, &FIELDS[key], RCNN_ERR_FORMAT, err));
    }
    if (config->short_side > config->long_side) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "config: 'short_side': want at most long_side = %d, got %d",
                         config->long_side, config->short_side);
    }
    if (config->size_divisor % 32 != 0) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "config: 'size_divisor': want a multiple of 32, got %d",
                         config->size_divisor);
    }
    if (config->block == RCNN_BLOCK_BASIC && config->groups != 1) {
        return rcnn_fail(err, RCNN_ERR_FORMAT, "config: 'groups': want 1 with basic blocks, got %d", config->groups);
    }
    return RCNN_OK;
}

/* ------------------------------------------------------------------ JSON */

void rcnn_config_to_json(const rcnn_config *config, rcnn_text *out)
{
    rcnn_text_add(out, "{");
    for (int32_t key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        const field *f = &FIELDS[key];
        rcnn_text_printf(out, "%s\"%s\":%s", key ? "," : "", f->name, f->count > 1 ? "[" : "");
        for (int32_t i = 0; i < f->count; i++) {
            const char *quote = f->type == FIELD_RULE ? "\"" : "";
            rcnn_text_add(out, i ? "," : "");
            rcnn_text_add(out, quote);
            add_value(config, f, i, out);
            rcnn_text_add(out, quote);
        }
        rcnn_text_add(out, f->count > 1 ? "]" : "");
    }
    rcnn_text_add(out, "}");
}

/* The reader stands on the value of f, one scalar. */
static rcnn_status read_scalar(rcnn_config *config, const field *f, int32_t index, const rcnn_json *json,
                               rcnn_error *err)
{
    double value = 0;
    bool good = false;
    if (f->type == FIELD_RULE) {
        good = json->token == RCNN_JSON_STRING && parse_word(f, (word){json->text, json->length}, &value);
    } else if (f->type == FIELD_BOOL) {
        good = json->token == RCNN_JSON_TRUE || json->token == RCNN_JSON_FALSE;
        value = json->token == RCNN_JSON_TRUE;
    } else if (f->type == FIELD_INT) {
        good = json->token == RCNN_JSON_NUMBER && json->is_integer && json->integer >= -INT32_MAX &&
               json->integer <= INT32_MAX;
        value = good ? (double)json->integer : 0;
    } else {
        good = json->token == RCNN_JSON_NUMBER;
        value = json->number;
    }
    if (!good) {
        char wanted[160];
        describe_wanted(f, wanted, sizeof wanted);
        return rcnn_fail(err, RCNN_ERR_FORMAT, "config: '%s': want %s, got %s at byte %zu", f->name, wanted,
                         rcnn_json_token_name(json->token), json->offset);
    }
    put_value(config, f, index, value);
    return RCNN_OK;
}

static rcnn_status read_field(rcnn_config *config, const field *f, rcnn_json *json, rcnn_error *err)
{
    if (f->count == 1) {
        RCNN_TRY(rcnn_json_next(json, err));
        return read_scalar(config, f, 0, json, err);
    }
    RCNN_TRY(rcnn_json_expect(json, RCNN_JSON_ARRAY_BEGIN, err));
    for (int32_t i = 0; i < f->count; i++) {
        RCNN_TRY(rcnn_json_next(json, err));
        RCNN_TRY(read_scalar(config, f, i, json, err));
    }
    return rcnn_json_expect(json, RCNN_JSON_ARRAY_END, err);
}

static rcnn_status read_object(rcnn_config *config, rcnn_config_sources *sources, rcnn_json *json, rcnn_error *err)
{
    uint8_t seen[RCNN_CONFIG_KEY_COUNT] = {0};
    RCNN_TRY(rcnn_json_expect(json, RCNN_JSON_OBJECT_BEGIN, err));
    for (;;) {
        RCNN_TRY(rcnn_json_next(json, err));
        if (json->token == RCNN_JSON_OBJECT_END) {
            return rcnn_json_expect(json, RCNN_JSON_END, err);
        }
        const field *f = find_field((word){json->text, json->length});
        if (!f) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "config: want a key of the model config, got '%.80s' at byte %zu",
                             json->text, json->offset);
        }
        const ptrdiff_t key = f - FIELDS;
        if (seen[key]) {
            return rcnn_fail(err, RCNN_ERR_FORMAT, "config: '%s' stands twice, again at byte %zu", f->name,
                             json->offset);
        }
        seen[key] = 1;
        RCNN_TRY(read_field(config, f, json, err));
        RCNN_TRY(check_field(config, f, RCNN_ERR_FORMAT, err));
        if (sources) {
            sources->of[key] = RCNN_SOURCE_FILE;
        }
    }
}

rcnn_status rcnn_config_from_json(rcnn_config *config, rcnn_config_sources *sources, const char *text, size_t length,
                                  rcnn_error *err)
{
    rcnn_json json;
    rcnn_json_open(&json, "config", text, length);
    rcnn_config read = *config;
    rcnn_status status = read_object(&read, sources, &json, err);
    rcnn_json_close(&json);
    if (status == RCNN_OK) {
        *config = read;
    }
    return status;
}

/* --------------------------------------------------------------- presets */

/* Spec section 1 and the rules it stands for. Only what differs between families is here: thresholds, sizes and
 * counts are the same in all of them and keep whatever the file said. */
static void apply_mmdet(rcnn_config *c)
{
    c->background_first = 0;
    c->unit_range = 0;
    c->resize = RCNN_RESIZE_OPENCV;
    c->size_rule = RCNN_SIZE_MMDET;
    c->apply_exif = 1;
    c->anchor_round = 0;
    c->anchor_step = RCNN_ANCHOR_STEP_STRIDE;
    c->rpn_rank = RCNN_RANK_SIGMOID;
    c->rpn_keep_order = 1;
    c->rpn_min_size = 0;
    c->rpn_min_inclusive = 0;
    c->nms_rule = RCNN_NMS_MMCV;
    c->clamp_both = 1;
    c->level_rule = RCNN_LEVEL_MMDET;
    c->roi_aligned = 1;
    c->roi_sampling = 0;
    c->delta_multiply = 1;
    c->box_min_size = 0;
    /* mmdet 3.x keeps network coordinates until the masks are made; without masks it rescales as 2.x does (spec 12). */
    c->rescale_first = c->family == RCNN_FAMILY_MMDET2 || !c->has_mask;
    c->scale_rule = RCNN_SCALE_DIVIDE;
    c->clip_output = 0;
    c->paste = RCNN_PASTE_GRID;
}

static void apply_torchvision(rcnn_config *c)
{
    c->background_first = 1;
    c->unit_range = 1;
    c->resize = RCNN_RESIZE_FLOAT;
    c->size_rule = RCNN_SIZE_FLOOR;
    c->apply_exif = 0;
    c->anchor_round = 1;
    c->anchor_step = RCNN_ANCHOR_STEP_RATIO;
    c->rpn_rank = RCNN_RANK_LOGIT;
    c->rpn_keep_order = 0;
    c->rpn_min_size = 1e-3;
    c->rpn_min_inclusive = 1;
    c->nms_rule = RCNN_NMS_TORCHVISION;
    c->clamp_both = 0;
    c->level_rule = RCNN_LEVEL_TORCHVISION;
    c->roi_aligned = 0;
    c->roi_sampling = 2;
    c->delta_multiply = 0;
    c->box_min_size = 1e-2;
    c->rescale_first = 0;
    c->scale_rule = RCNN_SCALE_RATIO_F32;
    c->clip_output = 0;
    c->paste = RCNN_PASTE_PADDED;
}

static void apply_detectron2(rcnn_config *c)
{
    c->background_first = 0;
    c->unit_range = 0;
    c->resize = RCNN_RESIZE_PILLOW;
    c->size_rule = RCNN_SIZE_DETECTRON2;
    c->apply_exif = 1;
    c->anchor_round = 0;
    c->anchor_step = RCNN_ANCHOR_STEP_STRIDE;
    c->rpn_rank = RCNN_RANK_LOGIT;
    c->rpn_keep_order = 0;
    c->rpn_min_size = 0;
    c->rpn_min_inclusive = 0;
    c->nms_rule = RCNN_NMS_TORCHVISION;
    c->clamp_both = 0;
    c->level_rule = RCNN_LEVEL_DETECTRON2;
    c->roi_aligned = 1;
    c->roi_sampling = 0;
    c->delta_multiply = 0;
    c->box_min_size = 0;
    c->rescale_first = 0;
    c->scale_rule = RCNN_SCALE_RATIO_F64;
    c->clip_output = 1;
    c->paste = RCNN_PASTE_GRID;
}

static void apply_pixels(rcnn_config *c)
{
    static const double rgb_mean[3] = {123.675, 116.28, 103.53}, rgb_std[3] = {58.395, 57.12, 57.375};
    static const double bgr_mean[3] = {103.53, 116.28, 123.675}, bgr_std[3] = {1, 1, 1};
    static const double unit_mean[3] = {0.485, 0.456, 0.406}, unit_std[3] = {0.229, 0.224, 0.225};
    const bool torchvision = c->family == RCNN_FAMILY_TORCHVISION;
    /* detectron2 reads BGR whatever the style; its std is 1 for the MSRA weights and otherwise stands in the file. */
    const bool bgr = c->family == RCNN_FAMILY_DETECTRON2 || (!torchvision && c->style == RCNN_STYLE_CAFFE);
    c->channel_order = bgr ? RCNN_CHANNELS_BGR : RCNN_CHANNELS_RGB;
    memcpy(c->mean, torchvision ? unit_mean : bgr ? bgr_mean : rgb_mean, sizeof c->mean);
    memcpy(c->std, torchvision ? unit_std : bgr ? bgr_std : rgb_std, sizeof c->std);
}

void rcnn_config_apply_family(rcnn_config *config, rcnn_family family, rcnn_style style)
{
    config->family = family;
    config->style = style;
    if (family == RCNN_FAMILY_TORCHVISION) {
        apply_torchvision(config);
    } else if (family == RCNN_FAMILY_DETECTRON2) {
        apply_detectron2(config);
    } else {
        apply_mmdet(config);
    }
    apply_pixels(config);
    const double weights[4] = {10, 10, 5, 5};
    memcpy(config->delta_weights, weights, sizeof weights);
}

/* ------------------------------------------------------------- overrides */

static bool same_value(const rcnn_config *a, const rcnn_config *b, const field *f)
{
    for (int32_t i = 0; i < f->count; i++) {
        if (get_value(a, f, i) != get_value(b, f, i)) {
            return false;
        }
    }
    return true;
}

/* Moves a config from the preset it was made with to that of another family or style. What the file or the network
 * decided and the presets agree on stays. */
static void change_preset(rcnn_config *config, rcnn_config_sources *sources, rcnn_family family, rcnn_style style)
{
    rcnn_config old = *config, new = *config;
    rcnn_config_apply_family(&old, config->family, config->style);
    rcnn_config_apply_family(&new, family, style);
    for (int32_t key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        const field *f = &FIELDS[key];
        if (same_value(&old, &new, f)) {
            continue;
        }
        for (int32_t i = 0; i < f->count; i++) {
            put_value(config, f, i, get_value(&new, f, i));
        }
        sources->of[key] = RCNN_SOURCE_DEFAULT;
    }
}

static rcnn_status set_line(rcnn_config *config, const char *line, rcnn_config_key *which, rcnn_error *err)
{
    const char *equals = line ? strchr(line, '=') : NULL;
    char key[64];
    if (!equals || (size_t)(equals - line) >= sizeof key) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "config: override: want key=value, got '%.80s'", line ? line : "NULL");
    }
    memcpy(key, line, (size_t)(equals - line));
    key[equals - line] = '\0';
    return rcnn_config_set(config, key, equals + 1, which, err);
}

rcnn_status rcnn_config_override(rcnn_config *config, rcnn_config_sources *sources, const char *const *lines,
                                 int32_t count, rcnn_error *err)
{
    rcnn_config_key which;
    rcnn_config wanted = *config;
    for (int32_t i = 0; i < count; i++) {
        RCNN_TRY(set_line(&wanted, lines[i], &which, err));
    }
    if (wanted.family != config->family || wanted.style != config->style) {
        change_preset(config, sources, wanted.family, wanted.style);
    }
    for (int32_t i = 0; i < count; i++) {
        RCNN_TRY(set_line(config, lines[i], &which, err));
        sources->of[which] = RCNN_SOURCE_OVERRIDE;
    }
    return RCNN_OK;
}
