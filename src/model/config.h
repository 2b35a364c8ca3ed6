/* rcnn_config: the struct made from config.def, its text forms, and the presets of each family (spec section 1). */
#ifndef RCNN_MODEL_CONFIG_H
#define RCNN_MODEL_CONFIG_H

#include "base/json.h"
#include "base/rules.h"
#include "base/text.h"

#define RCNN_MASK_POOL_MAX 56 /* RoIAlign bins per side for masks: soft masks are twice that, src/mask takes 112 */

typedef struct rcnn_config {
#define RULE(type, name, value, help) rcnn_##type name;
#define INT(name, value, help)        int32_t name;
#define BOOL(name, value, help)       int32_t name;
#define REAL(name, value, help)       double name;
#define INTS(count, name, ...)        int32_t name[count];
#define REALS(count, name, ...)       double name[count];
#include "model/config.def"
#undef RULE
#undef INT
#undef BOOL
#undef REAL
#undef INTS
#undef REALS
} rcnn_config;

typedef enum rcnn_config_key {
#define RULE(type, name, value, help) RCNN_CONFIG_##name,
#define INT(name, value, help)        RCNN_CONFIG_##name,
#define BOOL(name, value, help)       RCNN_CONFIG_##name,
#define REAL(name, value, help)       RCNN_CONFIG_##name,
#define INTS(count, name, ...)        RCNN_CONFIG_##name,
#define REALS(count, name, ...)       RCNN_CONFIG_##name,
#include "model/config.def"
#undef RULE
#undef INT
#undef BOOL
#undef REAL
#undef INTS
#undef REALS
    RCNN_CONFIG_KEY_COUNT
} rcnn_config_key;

typedef enum rcnn_config_source {
    RCNN_SOURCE_DEFAULT,
    RCNN_SOURCE_INFERRED,
    RCNN_SOURCE_FILE,
    RCNN_SOURCE_OVERRIDE
} rcnn_config_source;

/* Where each value came from; indexed by rcnn_config_key. */
typedef struct rcnn_config_sources {
    uint8_t of[RCNN_CONFIG_KEY_COUNT];
} rcnn_config_sources;

/* Defaults of config.def. */
void rcnn_config_init(rcnn_config *config);
/* Sets the rules and constants in which families and styles differ (spec section 1). The network's shape (blocks,
 * counts, class_count, ...) stays, and so does what all families agree on (sides, thresholds, limits, bn_eps).
 * mmdet3 looks at has_mask. */
void rcnn_config_apply_family(rcnn_config *config, rcnn_family family, rcnn_style style);
/* Sets one key from text ("0.05", "caffe", "3,4,6,3", "true"). ARGUMENT names the key, the value and what was wanted. */
rcnn_status rcnn_config_set(rcnn_config *config, const char *key, const char *value, rcnn_config_key *which,
                            rcnn_error *err);
/* Sets one key from `count` numbers, of rules and booleans their value. ARGUMENT when the count or a value is wrong. */
rcnn_status rcnn_config_put(rcnn_config *config, rcnn_config_key key, const double *values, int32_t count,
                            rcnn_error *err);
/* Applies "key=value" lines on top of a config. A new family or style is taken first, whatever its place in the list:
 * every value on which the presets of the old and the new pair differ changes to that of the new one. Then the other
 * lines are set in order. ARGUMENT names the line. */
rcnn_status rcnn_config_override(rcnn_config *config, rcnn_config_sources *sources, const char *const *lines,
                                 int32_t count, rcnn_error *err);
/* Checks every value's range and the values against each other; FORMAT with the key when wrong. */
rcnn_status rcnn_config_validate(const rcnn_config *config, rcnn_error *err);
const char *rcnn_config_name(rcnn_config_key key);
/* "default", "inferred", "file", "override". */
const char *rcnn_config_source_name(rcnn_config_source source);
const char *rcnn_config_help(rcnn_config_key key);
/* Appends the value as text, in the form rcnn_config_set reads. */
void rcnn_config_value_text(const rcnn_config *config, rcnn_config_key key, rcnn_text *out);
/* Appends / reads the config as one JSON object; unknown keys are FORMAT, missing ones keep their value. */
void rcnn_config_to_json(const rcnn_config *config, rcnn_text *out);
rcnn_status rcnn_config_from_json(rcnn_config *config, rcnn_config_sources *sources, const char *json, size_t length,
                                  rcnn_error *err);

#endif
