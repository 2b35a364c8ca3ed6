/* Detects in the images named on the command line and prints one line per detection. Built as examples/example_detect.
 *     detect IMAGE...            (model: $RCNN_MODEL, else models/mask_rcnn_r50_fpn_nuclei.safetensors) */
#include <rcnn/rcnn.h>

#include <stdio.h>
#include <stdlib.h>

static int detect_file(const rcnn_model *model, rcnn_session *session, const char *path)
{
    rcnn_error err = {0};
    rcnn_image *image = NULL;
    rcnn_results *results = NULL;
    rcnn_image_view view;
    int failed = 1;

    if (rcnn_image_load(path, NULL, &image, &err) == RCNN_OK) {
        rcnn_image_get_view(image, &view);
        if (rcnn_session_run(session, &view, 1, &results, &err) == RCNN_OK) {
            failed = 0;
        }
    }
    if (failed) {
        fprintf(stderr, "%s\n", err.message);
    }
    for (int32_t i = 0; i < rcnn_results_count(results, 0); i++) {
        rcnn_detection d;
        rcnn_mask mask;
        rcnn_results_get(results, 0, i, &d);
        printf("%s: %s %.3f at %.1f,%.1f %.1f,%.1f", path, rcnn_model_class_name(model, d.label), (double)d.score,
               (double)d.x1, (double)d.y1, (double)d.x2, (double)d.y2);
        if (rcnn_results_get_mask(results, 0, i, RCNN_MASK_RLE, &mask, NULL) == RCNN_OK) {
            printf(", %llu pixels", (unsigned long long)rcnn_rle_area(mask.counts, mask.count));
        }
        printf("\n");
    }
    rcnn_results_destroy(results);
    rcnn_image_destroy(image);
    return failed;
}

int main(int argc, char **argv)
{
    const char *path = getenv("RCNN_MODEL") ? getenv("RCNN_MODEL") : "models/mask_rcnn_r50_fpn_nuclei.safetensors";
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    int failed = argc < 2;

    if (argc < 2) {
        fprintf(stderr, "usage: detect IMAGE...\n");
    } else if (rcnn_model_load(path, NULL, &model, &err) || rcnn_session_create(model, NULL, &session, &err)) {
        fprintf(stderr, "%s\n", err.message);
        failed = 1;
    }
    for (int i = 1; i < argc && session; i++) {
        failed |= detect_file(model, session, argv[i]);
    }
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    return failed;
}
