/* Any bytes as an annotation file; and, up to a NUL byte, as one with a result file behind it. Whatever is read is
 * evaluated, so that masks that passed the checks are also drawn. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "rcnn/rcnn.h"

/* A file may state images of 2^31 pixels; drawing costs by the column, so keep the search on small ones. */
static int is_small(const rcnn_eval_truth *truth)
{
    for (int32_t i = 0; i < rcnn_eval_truth_image_count(truth); i++) {
        rcnn_eval_image image;
        if (rcnn_eval_truth_image(truth, i, &image) != RCNN_OK || strlen(image.file_name) > 1u << 20) {
            abort();
        }
        if (image.width > 4096 || image.height > 4096) {
            return 0;
        }
    }
    return rcnn_eval_truth_category_count(truth) < 100;
}

static void evaluate(const rcnn_eval_detections *detections)
{
    for (int type = 0; type < 2; type++) {
        rcnn_eval *eval = NULL;
        rcnn_error err = {0};
        rcnn_eval_options options;
        rcnn_eval_options_init(&options);
        options.iou_type = type ? RCNN_IOU_SEGM : RCNN_IOU_BBOX;
        options.num_threads = 1;
        if (rcnn_eval_run(detections, &options, &eval, &err) != RCNN_OK && err.message[0] == '\0') {
            abort();
        }
        for (int i = 0; eval && i < RCNN_EVAL_STAT_COUNT; i++) {
            const double value = rcnn_eval_stat(eval, i);
            if (!(value == -1 || (value >= 0 && value <= 1))) {
                abort();
            }
        }
        rcnn_eval_destroy(eval);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    rcnn_eval_truth *truth = NULL;
    rcnn_eval_detections *detections = NULL;
    rcnn_error err = {0};
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    const size_t first = end ? (size_t)(end - data) : size;
    const rcnn_status status = rcnn_eval_truth_parse("truth", data, first, 1, &truth, &err);
    if ((status == RCNN_OK) != (truth != NULL) || (status != RCNN_OK) != (err.message[0] != '\0')) {
        abort();
    }
    if (truth && is_small(truth)) {
        const char *results = end ? (const char *)end + 1 : "[]";
        const size_t length = end ? size - first - 1 : 2;
        if (rcnn_eval_detections_parse(truth, "results", results, length, &detections, &err) == RCNN_OK) {
            evaluate(detections);
        }
    }
    rcnn_eval_detections_destroy(detections);
    rcnn_eval_truth_destroy(truth);
    return 0;
}
