/* The model a command works with: where it comes from and what the options change about it. */
#ifndef RCNN_TOOLS_MODEL_ARGS_H
#define RCNN_TOOLS_MODEL_ARGS_H

#include "message.h"
#include "opts.h"

#define MODEL_PATH_BYTES 4096

/* The path to use when none is named: $RCNN_MODEL, then the default model's places. False with err filled with what
 * was looked for. */
bool model_find_default(char path[MODEL_PATH_BYTES], rcnn_error *err);

/* Directory of the running program, without a slash at the end; "" when the system does not say. */
void program_directory(char *path, size_t capacity);

/* The value of a key of the model config, NULL when there is no such key; *source may be NULL. */
const char *model_config_value(const rcnn_model *model, const char *wanted, const char **source);
/* Whether files shall be decoded without their EXIF orientation, as the model's family reads them. */
bool model_ignores_exif(const rcnn_model *model);

/* Loads a model with --family, --style, --set and --class-names applied. False with err filled. */
bool model_load_with_options(const options *opts, const char *path, rcnn_model **out, rcnn_error *err);

#endif
