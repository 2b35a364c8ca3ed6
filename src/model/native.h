/* The native model file: what stands in its __metadata__ beside the tensors (docs/weights-format.md). */
#ifndef RCNN_MODEL_NATIVE_H
#define RCNN_MODEL_NATIVE_H

#include "base/text.h"
#include "model/model.h"

#define RCNN_NATIVE_FORMAT_KEY     "rcnn_format"
#define RCNN_NATIVE_CONFIG_KEY     "rcnn_config"
#define RCNN_NATIVE_FORMAT_VERSION "1"

/* Appends {"rcnn_version":..., "config":{...}, "class_names":[...], "category_ids":[...]}. */
void rcnn_native_write_json(const rcnn_model *model, rcnn_text *out);

/* Class names and ids of a native file, before the class count of the config is final. */
typedef struct rcnn_native_classes {
    char *names;  /* newline-separated; NULL when absent */
    int32_t *ids; /* NULL when absent                    */
    int32_t name_count, id_count;
} rcnn_native_classes;

/* Reads that JSON into config, sources and *classes (release with rcnn_native_classes_free, also after a failure).
 * Keys it does not know are passed over: newer files may say more. FORMAT, MEMORY. */
rcnn_status rcnn_native_read_json(const char *json, rcnn_config *config, rcnn_config_sources *sources,
                                  rcnn_native_classes *classes, rcnn_error *err);
void rcnn_native_classes_free(rcnn_native_classes *classes);

#endif
