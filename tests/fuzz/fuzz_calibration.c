/* Fuzz target: any eight bytes as a pair of scale and sign, and what follows as the record of a calibration. Whatever they
 * are: one line of error, or activations in range with names and methods that end. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "fuzz.h"
#include "model/activations.h"

static void check_model(const rcnn_model *model)
{
    rcnn_activation_info info;
    for (int32_t i = 0; i < rcnn_model_activation_count(model); i++) {
        require(rcnn_model_activation_get(model, i, &info) == RCNN_OK);
        require(rcnn_activation_check(info.name, info.scale, (float)info.is_signed, NULL) == RCNN_OK);
        require(rcnn_activation_known(&model->config, info.name) && strlen(info.method) > 3);
        require(info.min == info.min && info.max == info.max && info.error == info.error);
    }
    require(rcnn_model_activation_get(model, model->activation_count, &info) == RCNN_ERR_ARGUMENT);
    require(rcnn_model_calibration_images(model) >= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const float half[RCNN_ACTIVATION_SCALE_COUNT] = {0.5f, 1};
    float pair[RCNN_ACTIVATION_SCALE_COUNT];
    if (size < sizeof pair) {
        return 0;
    }
    memcpy(pair, data, sizeof pair);
    rcnn_tensor_entry entries[] = {
        {.info = {.name = "activation.p2.scale", .rank = 1, .shape = {2}, .stride = {1}, .data = half}},
        {.info = {.name = "activation.stem.scale", .rank = 1, .shape = {2}, .stride = {1}, .data = pair}}};
    rcnn_tensor_table table = {.entries = entries, .count = 2};
    char *text = rcnn_strndup((const char *)data + sizeof pair, size - sizeof pair);
    rcnn_model *model = rcnn_calloc(1, sizeof *model);
    rcnn_error err = {0};
    if (text && model) {
        atomic_init(&model->references, 1);
        rcnn_config_init(&model->config);
        const rcnn_status status = rcnn_activations_read(model, &table, text, &err);
        require(status == RCNN_OK || (err.message[0] && !strchr(err.message, '\n')));
        check_model(model);
    }
    rcnn_model_destroy(model);
    rcnn_free(text);
    return 0;
}
