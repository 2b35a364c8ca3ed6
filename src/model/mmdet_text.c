/* The tolerant scan of mmdetection config text: a finder for values under a path of names, and a table of what to do
 * with them. Work is bounded whatever the text: TEXT_MAX bytes, TRIES_MAX places looked at for each setting. */
#include "model/mmdet_text.h"

#include <string.h>

#include "base/number.h"

#define TEXT_MAX    ((size_t)128 << 10) /* real configs have 5 to 30 KB */
#define TRIES_MAX   16
#define PATH_NAMES  5
#define NUMBERS_MAX 16

typedef struct span {
    const char *begin, *end;
} span;

/* ------------------------------------------------------------ the finder */

static bool is_word_char(char c)
{
    return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_blank(const char *p, const char *end)
{
    while (p < end && is_blank(*p)) {
        p++;
    }
    return p;
}

/* p stands on a quote; returns the place after the string, honouring triple quotes and backslashes. */
static const char *skip_string(const char *p, const char *end)
{
    const char quote = *p;
    const ptrdiff_t width = end - p >= 3 && p[1] == quote && p[2] == quote ? 3 : 1;
    for (p += width; p < end; p++) {
        if (*p == '\\') {
            p++;
        } else if (*p == quote && (width == 1 || (end - p >= 3 && p[1] == quote && p[2] == quote))) {
            return p + width;
        }
    }
    return end;
}

static const char *skip_comment(const char *p, const char *end)
{
    const char *line = memchr(p, '\n', (size_t)(end - p));
    return line ? line : end;
}

/* p stands on an opening bracket; returns the place after its closing one, or end. Kinds of brackets are not told
 * apart: text that mixes them up is not a config. */
static const char *skip_brackets(const char *p, const char *end)
{
    int32_t depth = 0;
    while (p < end) {
        if (*p == '"' || *p == '\'') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '#') {
            p = skip_comment(p, end);
            continue;
        }
        depth += strchr("([{", *p) != NULL;
        depth -= strchr(")]}", *p) != NULL;
        p++;
        if (depth <= 0) {
            return p;
        }
    }
    return end;
}

/* The expression that starts at p, up to the comma, bracket, comment or line end that ends it. */
static span value_at(const char *p, const char *end)
{
    const char *begin = skip_blank(p, end);
    p = begin;
    while (p < end && !strchr(",)]}#\n", *p)) {
        if (*p == '"' || *p == '\'') {
            p = skip_string(p, end);
        } else {
            p = strchr("([{", *p) ? skip_brackets(p, end) : p + 1;
        }
    }
    while (p > begin && is_blank(p[-1])) {
        p--;
    }
    return (span){begin, p};
}

/* After a key: the place behind "=" (not "=="), or behind ":" for a quoted key; NULL when it is no key. */
static const char *after_key(const char *p, const char *end, bool quoted)
{
    p = skip_blank(p, end);
    if (p >= end || *p != (quoted ? ':' : '=') || (p + 1 < end && p[1] == '=')) {
        return NULL;
    }
    return p + 1;
}

/* The next value of `name` in the text at any depth, from *at on, which moves behind the key. */
static bool next_value(span text, const char *name, const char **at, span *value)
{
    const size_t length = strlen(name);
    const char *p = *at;
    while (p < text.end) {
        const bool quoted = *p == '"' || *p == '\'';
        const char *word = quoted ? p + 1 : p;
        const char *next = p + 1;
        if (quoted) {
            next = skip_string(p, text.end);
        } else if (*p == '#') {
            next = skip_comment(p, text.end);
        } else if (is_word_char(*p)) {
            while (next < text.end && is_word_char(*next)) {
                next++;
            }
        }
        const size_t word_length = (size_t)(next - word) - (quoted && next > word ? 1 : 0);
        p = next;
        if (word_length == length && memcmp(word, name, length) == 0) {
            const char *start = after_key(next, text.end, quoted);
            if (start) {
                *at = start;
                *value = value_at(start, text.end);
                return true;
            }
        }
    }
    return false;
}

/* The first value found by going down a NULL-terminated path. A name may stand in several places (mmdetection 3.x has
 * two test_cfg): the first that leads all the way counts. */
static bool find_path(span text, const char *const *path, int32_t *tries, span *value)
{
    const char *at = text.begin;
    while (*tries > 0 && next_value(text, path[0], &at, value)) {
        --*tries;
        if (!path[1]) {
            return true;
        }
        span inside = *value;
        if (find_path(inside, path + 1, tries, value)) {
            return true;
        }
    }
    return false;
}

static bool find(const char *text, const char *const *path, span *value)
{
    int32_t tries = TRIES_MAX;
    const size_t length = strlen(text);
    return find_path((span){text, text + (length < TEXT_MAX ? length : TEXT_MAX)}, path, &tries, value);
}

static bool span_is(span value, const char *text)
{
    if (value.end - value.begin >= 2 && (*value.begin == '"' || *value.begin == '\'')) {
        value.begin++;
        value.end--;
    }
    return (size_t)(value.end - value.begin) == strlen(text) && memcmp(value.begin, text, strlen(text)) == 0;
}

/* The numbers of a value, "0.5", "[1, 2]" or "[(1333, 800)]"; -1 when anything else stands there. */
static int32_t read_numbers(span value, double out[NUMBERS_MAX])
{
    int32_t count = 0;
    for (const char *p = value.begin; p < value.end;) {
        if (is_blank(*p) || strchr("()[],", *p)) {
            p++;
            continue;
        }
        const char *begin = p;
        while (p < value.end && !is_blank(*p) && !strchr("()[],", *p)) {
            p++;
        }
        if (count == NUMBERS_MAX || !rcnn_parse_double(begin, (size_t)(p - begin), &out[count])) {
            return -1;
        }
        count++;
    }
    return count;
}

/* ------------------------------------------------------------- the table */

typedef enum conversion { AS_IS, AS_RGB, AS_SIDES, AS_WEIGHTS, AS_STRIDES, AS_SCALE } conversion;

static const struct setting {
    const char *path[PATH_NAMES]; /* the rest NULL */
    conversion conversion;
    rcnn_config_key key;
} SETTINGS[] = {
    /* of several rows for one key the first that is found counts */
    {{"img_norm_cfg", "mean"}, AS_IS, RCNN_CONFIG_mean},
    {{"data_preprocessor", "mean"}, AS_IS, RCNN_CONFIG_mean},
    {{"test_pipeline", "mean"}, AS_IS, RCNN_CONFIG_mean},
    {{"img_norm_cfg", "std"}, AS_IS, RCNN_CONFIG_std},
    {{"data_preprocessor", "std"}, AS_IS, RCNN_CONFIG_std},
    {{"test_pipeline", "std"}, AS_IS, RCNN_CONFIG_std},
    {{"img_norm_cfg", "to_rgb"}, AS_RGB, RCNN_CONFIG_channel_order},
    {{"data_preprocessor", "bgr_to_rgb"}, AS_RGB, RCNN_CONFIG_channel_order},
    {{"test_pipeline", "to_rgb"}, AS_RGB, RCNN_CONFIG_channel_order},
    {{"test_pipeline", "img_scale"}, AS_SIDES, RCNN_CONFIG_long_side},
    {{"test_pipeline", "scale"}, AS_SIDES, RCNN_CONFIG_long_side},
    {{"data_preprocessor", "pad_size_divisor"}, AS_IS, RCNN_CONFIG_size_divisor},
    {{"test_pipeline", "size_divisor"}, AS_IS, RCNN_CONFIG_size_divisor},
    {{"rpn_head", "anchor_generator", "strides"}, AS_STRIDES, RCNN_CONFIG_anchor_sizes},
    {{"rpn_head", "anchor_generator", "scales"}, AS_SCALE, RCNN_CONFIG_anchor_sizes},
    {{"rpn_head", "anchor_generator", "ratios"}, AS_IS, RCNN_CONFIG_anchor_ratios},
    {{"test_cfg", "rpn", "nms_pre"}, AS_IS, RCNN_CONFIG_rpn_pre_nms},
    {{"test_cfg", "rpn", "max_per_img"}, AS_IS, RCNN_CONFIG_rpn_post_nms},
    {{"test_cfg", "rpn", "max_num"}, AS_IS, RCNN_CONFIG_rpn_post_nms},
    {{"test_cfg", "rpn", "iou_threshold"}, AS_IS, RCNN_CONFIG_rpn_nms_iou},
    {{"test_cfg", "rpn", "nms_thr"}, AS_IS, RCNN_CONFIG_rpn_nms_iou},
    {{"test_cfg", "rpn", "min_bbox_size"}, AS_IS, RCNN_CONFIG_rpn_min_size},
    {{"roi_head", "bbox_roi_extractor", "sampling_ratio"}, AS_IS, RCNN_CONFIG_roi_sampling},
    {{"roi_head", "mask_roi_extractor", "output_size"}, AS_IS, RCNN_CONFIG_mask_pool},
    {{"roi_head", "bbox_head", "target_stds"}, AS_WEIGHTS, RCNN_CONFIG_delta_weights},
    {{"test_cfg", "rcnn", "score_thr"}, AS_IS, RCNN_CONFIG_score_threshold},
    {{"test_cfg", "rcnn", "iou_threshold"}, AS_IS, RCNN_CONFIG_box_nms_iou},
    {{"test_cfg", "rcnn", "iou_thr"}, AS_IS, RCNN_CONFIG_box_nms_iou},
    {{"test_cfg", "rcnn", "max_per_img"}, AS_IS, RCNN_CONFIG_max_detections},
};

static const struct expectation { /* what this library assumes; another value is worth a warning */
    const char *path[PATH_NAMES];
    const char *value;
} EXPECTATIONS[] = {
    {{"test_cfg", "rpn", "nms", "type"}, "nms"},
    {{"test_cfg", "rcnn", "nms", "type"}, "nms"},
    {{"test_pipeline", "keep_ratio"}, "True"},
    {{"roi_head", "bbox_roi_extractor", "finest_scale"}, "56"},
    {{"roi_head", "bbox_head", "loss_cls", "use_sigmoid"}, "False"},
};

static bool put(rcnn_config *config, rcnn_config_sources *sources, rcnn_config_key key, const double *values,
                int32_t count)
{
    if (rcnn_config_put(config, key, values, count, NULL) != RCNN_OK) {
        return false;
    }
    sources->of[key] = RCNN_SOURCE_FILE;
    return true;
}

/* "(1333, 800)": the larger bounds the long side. Of several scales the first counts. */
static bool put_sides(rcnn_config *config, rcnn_config_sources *sources, const double *numbers, int32_t count)
{
    if (count < 2) {
        return false;
    }
    const rcnn_config before = *config;
    const bool ordered = numbers[0] >= numbers[1];
    if (put(config, sources, RCNN_CONFIG_long_side, &numbers[ordered ? 0 : 1], 1) &&
        put(config, sources, RCNN_CONFIG_short_side, &numbers[ordered ? 1 : 0], 1)) {
        return true;
    }
    *config = before;
    sources->of[RCNN_CONFIG_long_side] = RCNN_SOURCE_DEFAULT;
    return false;
}

/* Anchor sides are stride times scale, and there is one scale in an R-CNN, 8 unless the scales row says otherwise. */
#define DEFAULT_SCALE 8

static bool put_strides(rcnn_config *config, rcnn_config_sources *sources, const double *numbers, int32_t count)
{
    double sizes[NUMBERS_MAX];
    for (int32_t l = 0; l < count; l++) {
        sizes[l] = numbers[l] * DEFAULT_SCALE;
    }
    return put(config, sources, RCNN_CONFIG_anchor_sizes, sizes, count);
}

static bool put_scale(rcnn_config *config, rcnn_config_sources *sources, const double *numbers, int32_t count)
{
    double sizes[5];
    for (int32_t l = 0; l < 5; l++) {
        sizes[l] = config->anchor_sizes[l] / DEFAULT_SCALE * numbers[0];
    }
    return count == 1 && put(config, sources, RCNN_CONFIG_anchor_sizes, sizes, 5);
}

static bool put_weights(rcnn_config *config, rcnn_config_sources *sources, const double *numbers, int32_t count)
{
    double weights[NUMBERS_MAX];
    for (int32_t i = 0; i < count; i++) {
        weights[i] = 1 / numbers[i]; /* a zero gives infinity, which put refuses */
    }
    return put(config, sources, RCNN_CONFIG_delta_weights, weights, count);
}

static bool apply(const struct setting *s, span value, rcnn_config *config, rcnn_config_sources *sources)
{
    double numbers[NUMBERS_MAX];
    if (s->conversion == AS_RGB) {
        numbers[0] = span_is(value, "True") ? RCNN_CHANNELS_RGB : RCNN_CHANNELS_BGR;
        return (span_is(value, "True") || span_is(value, "False")) && put(config, sources, s->key, numbers, 1);
    }
    const int32_t count = read_numbers(value, numbers);
    if (count < 1) {
        return false;
    }
    switch (s->conversion) {
    case AS_SIDES:
        return put_sides(config, sources, numbers, count);
    case AS_STRIDES:
        return put_strides(config, sources, numbers, count);
    case AS_SCALE:
        return put_scale(config, sources, numbers, count);
    case AS_WEIGHTS:
        return put_weights(config, sources, numbers, count);
    default:
        return put(config, sources, s->key, numbers, count);
    }
}

bool rcnn_mmdet_text_style(const char *text, rcnn_style *out)
{
    static const char *const path[] = {"backbone", "style", NULL};
    span value;
    if (!find(text, path, &value)) {
        return false;
    }
    *out = span_is(value, "caffe") ? RCNN_STYLE_CAFFE : RCNN_STYLE_PYTORCH;
    return span_is(value, "caffe") || span_is(value, "pytorch");
}

static void warn_value(const struct setting *s, span value)
{
    rcnn_log(RCNN_LOG_WARN, "model: config text: cannot use %s = %.*s for '%s'; keeping the default",
             s->path[s->path[2] ? 2 : 1], value.end - value.begin > 60 ? 60 : (int)(value.end - value.begin),
             value.begin, rcnn_config_name(s->key));
}

void rcnn_mmdet_text_read(const char *text, rcnn_config *config, rcnn_config_sources *sources)
{
    span value;
    if (strlen(text) > TEXT_MAX) {
        rcnn_log(RCNN_LOG_WARN, "model: config text: only the first %zu bytes are looked at", TEXT_MAX);
    }
    for (size_t i = 0; i < sizeof SETTINGS / sizeof SETTINGS[0]; i++) {
        const struct setting *s = &SETTINGS[i];
        const bool done = sources->of[s->key] == RCNN_SOURCE_FILE && s->conversion != AS_SCALE;
        if (!done && find(text, s->path, &value) && !apply(s, value, config, sources)) {
            warn_value(s, value);
        }
    }
    for (size_t i = 0; i < sizeof EXPECTATIONS / sizeof EXPECTATIONS[0]; i++) {
        const struct expectation *e = &EXPECTATIONS[i];
        if (find(text, e->path, &value) && !span_is(value, e->value)) {
            rcnn_log(RCNN_LOG_WARN, "model: config text: %s.%s%s%s is %.*s, but only %s is done here", e->path[0],
                     e->path[1], e->path[2] ? "." : "", e->path[2] ? e->path[2] : "",
                     value.end - value.begin > 60 ? 60 : (int)(value.end - value.begin), value.begin, e->value);
        }
    }
}
