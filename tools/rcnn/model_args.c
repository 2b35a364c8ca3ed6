#include "model_args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MODEL    "mask_rcnn_r50_fpn_nuclei.safetensors"
#define NAMES_FILE_BYTES (1 << 20)
#define CLASS_NAMES_MAX  10000

/* --------------------------------------------------------------- the place */

void program_directory(char *path, size_t capacity)
{
    ssize_t length = readlink("/proc/self/exe", path, capacity - 1);
    path[length > 0 ? length : 0] = '\0';
    char *slash = strrchr(path, '/');
    if (slash) {
        *slash = '\0';
    }
}

bool model_find_default(char path[MODEL_PATH_BYTES], rcnn_error *err)
{
    static const char *const PLACES[] = {"%s/../../models/" DEFAULT_MODEL, "%s/../share/rcnn/models/" DEFAULT_MODEL};
    const char *named = getenv("RCNN_MODEL");
    if (named && named[0]) {
        snprintf(path, MODEL_PATH_BYTES, "%s", named);
        return true;
    }
    snprintf(path, MODEL_PATH_BYTES, "models/" DEFAULT_MODEL);
    if (access(path, R_OK) == 0) {
        return true;
    }
    char directory[MODEL_PATH_BYTES - 128];
    program_directory(directory, sizeof directory);
    for (size_t i = 0; directory[0] && i < sizeof PLACES / sizeof PLACES[0]; i++) {
        snprintf(path, MODEL_PATH_BYTES, PLACES[i], directory);
        if (access(path, R_OK) == 0) {
            return true;
        }
    }
    return tool_fail(err,
                     "no model: give one with -m or RCNN_MODEL; looked for models/" DEFAULT_MODEL
                     " here, and in %.100s/../../models and %.100s/../share/rcnn/models",
                     directory, directory);
}

/* ------------------------------------------------------------- class names */

/* The lines of a text in place: count of them, carriage returns and blank lines at the end dropped. */
static int32_t split_lines(char *text, const char **lines)
{
    int32_t count = 0, used = 0;
    for (char *line = text; line && *line && count < CLASS_NAMES_MAX;) {
        char *end = strchr(line, '\n');
        if (end) {
            *end = '\0';
        }
        size_t length = strlen(line);
        if (length && line[length - 1] == '\r') {
            line[--length] = '\0';
        }
        lines[count++] = line;
        used = length ? count : used;
        line = end ? end + 1 : NULL;
    }
    return used;
}

typedef struct class_names {
    char *text;
    const char **lines;
    int32_t count;
} class_names;

static void class_names_free(class_names *names)
{
    free(names->text);
    free(names->lines);
}

static bool read_text(const char *path, char *text, rcnn_error *err)
{
    FILE *file = fopen(path, "r");
    if (!file) {
        return tool_fail(err, "--class-names: '%.300s': %s", path, strerror(errno));
    }
    size_t size = fread(text, 1, NAMES_FILE_BYTES, file);
    bool failed = ferror(file) != 0;
    fclose(file);
    text[size < NAMES_FILE_BYTES ? size : 0] = '\0';
    if (failed || size == NAMES_FILE_BYTES || strlen(text) != size) {
        return tool_fail(err, "--class-names: '%.300s': want text of at most %d bytes, one name a line", path,
                         NAMES_FILE_BYTES - 1);
    }
    return true;
}

static bool class_names_read(const char *path, class_names *out, rcnn_error *err)
{
    out->text = malloc(NAMES_FILE_BYTES + 1);
    out->lines = calloc(CLASS_NAMES_MAX, sizeof *out->lines);
    if (!out->text || !out->lines) {
        return tool_fail(err, "--class-names: out of memory");
    }
    if (!read_text(path, out->text, err)) {
        return false;
    }
    out->count = split_lines(out->text, out->lines);
    return out->count > 0 || tool_fail(err, "--class-names: '%.300s': no names in it", path);
}

/* ----------------------------------------------------------------- loading */

#define RULE_TEXT_BYTES 64

/* --family F is --set family=F, and so on; --set comes after and wins. */
static bool load(const options *opts, const char *path, const class_names *names, rcnn_model **out, rcnn_error *err)
{
    char family[RULE_TEXT_BYTES], style[RULE_TEXT_BYTES];
    const char **overrides = calloc((size_t)opts->list_count + 2, sizeof *overrides);
    if (!overrides) {
        return tool_fail(err, "out of memory");
    }
    rcnn_model_options model_options;
    rcnn_model_options_init(&model_options);
    int32_t count = 0;
    if (opts->value[OPT_FAMILY].set) {
        snprintf(family, sizeof family, "family=%s", opts->value[OPT_FAMILY].text);
        overrides[count++] = family;
    }
    if (opts->value[OPT_STYLE].set) {
        snprintf(style, sizeof style, "style=%s", opts->value[OPT_STYLE].text);
        overrides[count++] = style;
    }
    for (int i = 0; i < opts->list_count; i++) {
        overrides[count++] = opts->lists[i];
    }
    model_options.overrides = overrides;
    model_options.override_count = count;
    if (names->count > 0) {
        model_options.class_names = names->lines;
        model_options.class_name_count = names->count;
    }
    bool done = rcnn_model_load(path, &model_options, out, err) == RCNN_OK;
    free(overrides);
    return done;
}

bool model_load_with_options(const options *opts, const char *path, rcnn_model **out, rcnn_error *err)
{
    class_names names = {NULL, NULL, 0};
    const option_value *file = &opts->value[OPT_CLASS_NAMES];
    *out = NULL;
    bool done = (!file->set || class_names_read(file->text, &names, err)) && load(opts, path, &names, out, err);
    class_names_free(&names);
    return done;
}

const char *model_config_value(const rcnn_model *model, const char *wanted, const char **source)
{
    for (int32_t i = 0; i < rcnn_model_config_count(); i++) {
        const char *key, *value, *from;
        if (rcnn_model_config_get(model, i, &key, &value, &from) == RCNN_OK && strcmp(key, wanted) == 0) {
            if (source) {
                *source = from;
            }
            return value;
        }
    }
    return NULL;
}

bool model_ignores_exif(const rcnn_model *model)
{
    const char *value = model_config_value(model, "apply_exif", NULL);
    return value && (strcmp(value, "0") == 0 || strcmp(value, "false") == 0);
}
