/* Fuzz target: everything that reads a model config out of a file or off the command line. The same bytes are taken as
 * the JSON of a native file, as mmdetection's config text, and as lines key=value. Whatever they are, a config that was
 * accepted is in range and comes back the same from its own text. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "fuzz.h"
#include "model/config.h"
#include "model/mmdet_text.h"
#include "model/native.h"

#define LINES_MAX 64

static void check_round_trip(const rcnn_config *config)
{
    rcnn_text first = {0}, second = {0};
    rcnn_config back;
    rcnn_config_init(&back);
    rcnn_config_to_json(config, &first);
    require(rcnn_config_from_json(&back, NULL, first.data, first.length, NULL) == RCNN_OK);
    rcnn_config_to_json(&back, &second);
    require(strcmp(first.data, second.data) == 0);
    rcnn_text_free(&first);
    rcnn_text_free(&second);
}

static void try_json(const char *text, size_t size)
{
    rcnn_config config;
    rcnn_config_sources sources = {{0}};
    rcnn_native_classes classes;
    rcnn_error err = {0};
    rcnn_config_init(&config);
    if (rcnn_config_from_json(&config, &sources, text, size, &err) == RCNN_OK) {
        check_round_trip(&config);
    } else {
        require(err.message[0] != '\0');
    }
    rcnn_config_init(&config);
    if (rcnn_native_read_json(text, &config, &sources, &classes, NULL) == RCNN_OK) {
        check_round_trip(&config);
    }
    rcnn_native_classes_free(&classes);
}

static void try_mmdet_text(const char *text)
{
    rcnn_config config;
    rcnn_config_sources sources = {{0}};
    rcnn_style style = RCNN_STYLE_PYTORCH;
    (void)rcnn_mmdet_text_style(text, &style);
    rcnn_config_init(&config);
    rcnn_config_apply_family(&config, RCNN_FAMILY_MMDET2, style);
    rcnn_mmdet_text_read(text, &config, &sources);
    check_round_trip(&config);
}

static void try_lines(char *text)
{
    const char *lines[LINES_MAX];
    int32_t count = 0;
    rcnn_config config;
    rcnn_config_sources sources = {{0}};
    rcnn_error err = {0};
    for (char *line = text; line && count < LINES_MAX;) {
        char *end = strchr(line, '\n');
        if (end) {
            *end = '\0';
        }
        lines[count++] = line;
        line = end ? end + 1 : NULL;
    }
    rcnn_config_init(&config);
    if (rcnn_config_override(&config, &sources, lines, count, &err) == RCNN_OK) {
        check_round_trip(&config);
    } else {
        require(err.message[0] != '\0');
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    try_json(text, size);
    try_mmdet_text(text);
    try_lines(text);
    free(text);
    return 0;
}
