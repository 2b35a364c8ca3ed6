/* What the API tests share: a thin model from the golden data and a seeded picture. */
#ifndef RCNN_TESTS_API_THIN_H
#define RCNN_TESTS_API_THIN_H

#include "harness.h"
#include "rcnn/rcnn.h"

#define THIN_MODEL RCNN_SOURCE_DIR "/tests/golden/data/mmdet2/model.pth"

static inline rcnn_model *thin_model(void)
{
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    CHECK_OK(rcnn_model_load(THIN_MODEL, NULL, &model, &err), err);
    return model;
}

/* Smooth random colours: something the network answers to in many places. Free with free(). */
static inline uint8_t *thin_picture(int32_t width, int32_t height, uint64_t seed, rcnn_image_view *view)
{
    uint8_t *data = malloc((size_t)width * (size_t)height * 3);
    float phase[12];
    for (int i = 0; i < 12; i++) {
        phase[i] = test_uniform(&seed, 0.02f, 0.3f);
    }
    for (int32_t y = 0; data && y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            for (int c = 0; c < 3; c++) {
                float value = sinf((float)x * phase[c] + (float)y * phase[c + 3]) + sinf((float)x * phase[c + 6]) +
                              sinf((float)y * phase[c + 9]);
                data[((size_t)y * (size_t)width + (size_t)x) * 3 + (size_t)c] = (uint8_t)(128.0f + 40.0f * value);
            }
        }
    }
    *view = (rcnn_image_view){
        .data = data, .width = width, .height = height, .stride_bytes = (size_t)width * 3, .format = RCNN_PIXEL_RGB8};
    return data;
}

/* On the CPU in fp32, so that results can be compared with those of ref: what `auto` chooses there depends on the
 * processor. */
static inline rcnn_session_options thin_options(const char *backend)
{
    rcnn_session_options options;
    rcnn_session_options_init(&options);
    options.backend = backend;
    if (backend && strcmp(backend, "cpu") == 0) {
        options.precision = RCNN_PRECISION_FP32;
    }
    options.long_side = 160;
    options.short_side = 96;
    options.num_threads = 2;
    return options;
}

/* "cpu" where it was built, else "ref". */
static inline const char *thin_backend(void)
{
    char text[256];
    for (int32_t i = 0; i < rcnn_backend_count(); i++) {
        if (strcmp(rcnn_backend_name(i), "cpu") == 0 && rcnn_backend_probe(i, text, sizeof text) == RCNN_OK) {
            return "cpu";
        }
    }
    return "ref";
}

static inline int same_results(const rcnn_results *a, int32_t image_a, const rcnn_results *b, int32_t image_b)
{
    if (rcnn_results_count(a, image_a) != rcnn_results_count(b, image_b)) {
        return 0;
    }
    for (int32_t i = 0; i < rcnn_results_count(a, image_a); i++) {
        rcnn_detection x, y;
        if (rcnn_results_get(a, image_a, i, &x) || rcnn_results_get(b, image_b, i, &y) || memcmp(&x, &y, sizeof x)) {
            return 0;
        }
    }
    return 1;
}

#endif
