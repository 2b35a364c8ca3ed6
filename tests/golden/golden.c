/* Reading of the golden data; see golden.h. Failures are printed and returned: the counter of failed checks belongs to
 * the test's own file. */
#include "golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/backend.h"

#define DATA                RCNN_SOURCE_DIR "/tests/golden/data/"
#define GOLDEN_OVERRIDE_MAX 16

const golden_model golden_models[GOLDEN_MODEL_COUNT] = {
    {"torchvision_v1", "model.pth", 0}, {"torchvision_v2", "model.pth", 0}, {"torchvision_r18_faster", "model.pth", 0},
    {"mmdet2", "model.pth", 1},         {"mmdet2_caffe", "model.pth", 1},   {"mmdet3_resnext", "model.pth", 1},
    {"mmdet3_faster", "model.pth", 1},  {"detectron2", "model.pkl", 1},
};

static int32_t meta_number(const rcnn_weights *weights, const char *key)
{
    const char *text = rcnn_weights_meta(weights, key);
    return text ? (int32_t)strtol(text, NULL, 10) : 0;
}

/* The overrides stand one a line in the reference's metadata. */
static int load_model(golden_case *g)
{
    char path[512];
    char text[512];
    const char *lines[GOLDEN_OVERRIDE_MAX];
    rcnn_error err = {0};
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    const char *overrides = rcnn_weights_meta(g->reference, "overrides");
    snprintf(text, sizeof text, "%s", overrides ? overrides : "");
    for (char *line = strtok(text, "\n"); line && options.override_count < GOLDEN_OVERRIDE_MAX;
         line = strtok(NULL, "\n")) {
        lines[options.override_count++] = line;
    }
    options.overrides = lines;
    snprintf(path, sizeof path, DATA "%s/%s", g->entry->name, g->entry->checkpoint);
    if (rcnn_model_load(path, &options, &g->model, &err) != RCNN_OK) {
        fprintf(stderr, "%s\n", err.message);
    }
    return g->model != NULL;
}

int golden_open(golden_case *g, const golden_model *entry, const char *file)
{
    char path[512];
    rcnn_error err = {0};
    rcnn_tensor_info input;
    *g = (golden_case){.entry = entry};
    snprintf(path, sizeof path, DATA "%s/%s", entry->name, file);
    if (rcnn_weights_open(path, &g->reference, &err) != RCNN_OK) {
        fprintf(stderr, "%s\n", err.message);
    }
    if (!g->reference || rcnn_weights_find(g->reference, "input", &input) != RCNN_OK || !load_model(g)) {
        return 0;
    }
    g->image = (rcnn_image_view){.data = input.data,
                                 .width = (int32_t)input.shape[1],
                                 .height = (int32_t)input.shape[0],
                                 .stride_bytes = (size_t)input.shape[1] * 3,
                                 .format = RCNN_PIXEL_RGB8};
    g->net_width = meta_number(g->reference, "net_width");
    g->net_height = meta_number(g->reference, "net_height");
    g->padded_width = meta_number(g->reference, "padded_width");
    g->padded_height = meta_number(g->reference, "padded_height");
    return 1;
}

void golden_close(golden_case *g)
{
    rcnn_model_destroy(g->model);
    rcnn_weights_close(g->reference);
    *g = (golden_case){0};
}

const void *golden_find(const golden_case *g, const char *name, int32_t *rows, size_t *elements)
{
    rcnn_tensor_info info;
    if (rcnn_weights_find(g->reference, name, &info) != RCNN_OK) {
        return NULL;
    }
    size_t count = 1;
    for (int32_t i = 0; i < info.rank; i++) {
        count *= (size_t)info.shape[i];
    }
    *rows = (int32_t)info.shape[0];
    *elements = count;
    return info.data;
}

const float *golden_floats(const golden_case *g, const char *name, int32_t *rows, size_t *elements)
{
    rcnn_tensor_info info;
    if (rcnn_weights_find(g->reference, name, &info) != RCNN_OK || info.dtype != RCNN_F32) {
        return NULL;
    }
    return golden_find(g, name, rows, elements);
}

const int32_t *golden_ints(const golden_case *g, const char *name, int32_t *rows)
{
    rcnn_tensor_info info;
    size_t elements;
    if (rcnn_weights_find(g->reference, name, &info) != RCNN_OK || info.dtype != RCNN_I32) {
        return NULL;
    }
    return golden_find(g, name, rows, &elements);
}

float *golden_image(const golden_case *g)
{
    int32_t rows;
    size_t elements;
    size_t row = (size_t)g->padded_width * 3;
    float *image = calloc((size_t)g->padded_height * row, sizeof *image);
    const float *whole = golden_floats(g, "image", &rows, &elements);
    const uint8_t *bytes = golden_find(g, "image_u8", &rows, &elements);
    const float *table = golden_floats(g, "image_lut", &rows, &elements);
    if (image && whole) {
        memcpy(image, whole, (size_t)g->padded_height * row * sizeof *image);
    } else if (image && bytes && table) {
        for (int32_t y = 0; y < g->net_height; y++) {
            for (int32_t i = 0; i < g->net_width * 3; i++) {
                image[(size_t)y * row + (size_t)i] = table[i % 3 * 256 + bytes[y * g->net_width * 3 + i]];
            }
        }
    }
    return image;
}

const char *golden_backend(int32_t index)
{
    char text[512];
    for (int32_t i = 0; i < rcnn_backend_count(); i++) {
        if (rcnn_backend_probe(i, text, sizeof text) == RCNN_OK && index-- == 0) {
            return rcnn_backend_name(i);
        }
    }
    return NULL;
}

uint32_t golden_precisions(const char *backend)
{
    const rcnn_backend_options options = {.num_threads = 1};
    const rcnn_backend_vt *vt = NULL;
    rcnn_backend *opened = NULL;
    rcnn_precision automatic;
    rcnn_error err = {0};
    uint32_t precisions = 1u << RCNN_PRECISION_FP32;
    if (rcnn_backend_find(backend, &vt, &err) == RCNN_OK && vt->precisions &&
        vt->open(&options, &opened, &err) == RCNN_OK) {
        precisions = vt->precisions(opened, &automatic);
        vt->close(opened);
    }
    return precisions;
}
