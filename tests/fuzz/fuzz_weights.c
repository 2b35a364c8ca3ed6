/* Any bytes as a weights file: opened from memory, and everything that opens is read to the last element. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "model/convert.h"

#define ELEMENTS_MAX ((size_t)1 << 21) /* of all tensors together; a shared storage would repeat the same reads */

static volatile float sink;

static size_t read_tensor(const rcnn_tensor_info *t, size_t budget)
{
    size_t count = rcnn_tensor_element_count(t);
    if (count > budget) {
        return 0;
    }
    float *values = malloc((count ? count : 1) * sizeof *values); /* exact: a write past the end shows */
    if (!values) {
        return 0;
    }
    if (rcnn_tensor_to_f32(t, values, NULL) == RCNN_OK && count > 0) {
        sink = values[count - 1];
    }
    free(values);
    return count;
}

static void read_texts(const rcnn_weights *w)
{
    for (int32_t i = 0; i < rcnn_weights_meta_count(w); i++) {
        const char *key, *value;
        if (rcnn_weights_meta_get(w, i, &key, &value) == RCNN_OK) {
            sink = (float)(strlen(key) + strlen(value)) + (rcnn_weights_meta(w, key) ? 1.0f : 0.0f);
        }
    }
    for (int32_t i = 0; i < rcnn_weights_global_count(w); i++) {
        const char *name;
        int32_t known;
        if (rcnn_weights_global_get(w, i, &name, &known) == RCNN_OK) {
            sink = (float)strlen(name);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rcnn_weights *w;
    rcnn_error err = {0};
    if (rcnn_weights_open_memory(data, size, &w, &err) != RCNN_OK) {
        return 0;
    }
    size_t budget = ELEMENTS_MAX;
    for (int32_t i = 0; i < rcnn_weights_count(w); i++) {
        rcnn_tensor_info t, found;
        if (rcnn_weights_get(w, i, &t) != RCNN_OK || rcnn_weights_find(w, t.name, &found) != RCNN_OK ||
            found.data != t.data) {
            abort();
        }
        budget -= read_tensor(&t, budget);
    }
    read_texts(w);
    rcnn_weights_close(w);
    return 0;
}
