/* Results: growing arrays that keep their memory from run to run. Mask formats are made in result_masks.c. */
#include "session/results.h"

#include <string.h>

void rcnn_results_reset(rcnn_results *results)
{
    results->image_count = 0;
    results->detection_count = 0;
    results->total_ms = 0;
    results->form = RCNN_MASK_NONE;
    results->word_count = 0;
    memset(results->stage_ms, 0, sizeof results->stage_ms);
    for (int32_t f = 0; f <= RCNN_MASK_FULL; f++) {
        results->stores[f].ready = 0;
    }
}

bool rcnn_results_grow(void **array, size_t *capacity, size_t need, size_t item)
{
    void *pointer;
    memcpy(&pointer, array, sizeof pointer);
    bool grown = rcnn_grow(&pointer, capacity, need, item);
    memcpy(array, &pointer, sizeof pointer);
    return grown;
}

rcnn_status rcnn_results_reserve(rcnn_results *results, int32_t more, rcnn_error *err)
{
    if (more > INT32_MAX - results->detection_count) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "results: want at most %d detections of all images, got more", INT32_MAX);
    }
    size_t count = (size_t)results->detection_count + (size_t)more;
    size_t soft = results->has_masks ? count * (size_t)results->side * (size_t)results->side : 0;
    if (!RCNN_RESULTS_GROW(results->images, results->image_capacity, (size_t)results->image_count + 1) ||
        !RCNN_RESULTS_GROW(results->detections, results->detection_capacity, count) ||
        !RCNN_RESULTS_GROW(results->paste_boxes, results->paste_capacity, count) ||
        !RCNN_RESULTS_GROW(results->soft, results->soft_capacity, soft)) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "results: out of memory for %zu detections", count);
    }
    return RCNN_OK;
}

void rcnn_results_destroy(rcnn_results *results)
{
    if (!results) {
        return;
    }
    for (int32_t f = 0; f <= RCNN_MASK_FULL; f++) {
        rcnn_free(results->stores[f].masks);
        rcnn_free(results->stores[f].data);
    }
    rcnn_free(results->images);
    rcnn_free(results->detections);
    rcnn_free(results->paste_boxes);
    rcnn_free(results->soft);
    rcnn_free(results->forms);
    rcnn_free(results->words);
    rcnn_free(results->scratch);
    rcnn_free(results->slots);
    rcnn_free(results->visited);
    rcnn_free(results);
}

int32_t rcnn_results_image_count(const rcnn_results *results)
{
    return results ? results->image_count : 0;
}

int32_t rcnn_results_count(const rcnn_results *results, int32_t image)
{
    return results && image >= 0 && image < results->image_count ? results->images[image].count : 0;
}

rcnn_status rcnn_results_get(const rcnn_results *results, int32_t image, int32_t index, rcnn_detection *out)
{
    if (!out || index < 0 || index >= rcnn_results_count(results, image)) {
        return RCNN_ERR_ARGUMENT;
    }
    *out = results->detections[results->images[image].first + index];
    return RCNN_OK;
}

double rcnn_results_stage_ms(const rcnn_results *results, int32_t stage)
{
    if (!results || stage < -1 || stage >= RCNN_STAGE_COUNT) {
        return 0;
    }
    return stage == -1 ? results->total_ms : results->stage_ms[stage];
}
