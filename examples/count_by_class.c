/* Counts instances per class above a score, without masks: the cheapest way through the library. Shows options, reuse of a
 * results object from run to run, and the time each stage took. Built as examples/example_count_by_class.
 *     count_by_class IMAGE...    (model: $RCNN_MODEL, else models/mask_rcnn_r50_fpn_nuclei.safetensors) */
#include <rcnn/rcnn.h>

#include <stdio.h>
#include <stdlib.h>

static void print_counts(const rcnn_model *model, const rcnn_results *results)
{
    int32_t classes = rcnn_model_class_count(model);
    int32_t *counts = calloc((size_t)classes, sizeof *counts);
    rcnn_detection d;
    for (int32_t i = 0; counts && i < rcnn_results_count(results, 0); i++) {
        rcnn_results_get(results, 0, i, &d);
        counts[d.label]++;
    }
    for (int32_t c = 0; counts && c < classes; c++) {
        if (counts[c]) {
            printf("  %d x %s\n", counts[c], rcnn_model_class_name(model, c));
        }
    }
    for (int32_t s = 0; s < rcnn_stage_count(); s++) {
        printf("  %-12s %8.1f ms\n", rcnn_stage_name(s), rcnn_results_stage_ms(results, s));
    }
    free(counts);
}

int main(int argc, char **argv)
{
    const char *path = getenv("RCNN_MODEL") ? getenv("RCNN_MODEL") : "models/mask_rcnn_r50_fpn_nuclei.safetensors";
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_session_options options;
    int failed = argc < 2;

    rcnn_session_options_init(&options);
    options.mask_format = RCNN_MASK_NONE;
    options.score_threshold = 0.5f;
    options.long_side = 640; /* smaller and faster than the model's own 1333 */
    options.short_side = 480;

    if (rcnn_model_load(path, NULL, &model, &err) || rcnn_session_create(model, &options, &session, &err)) {
        fprintf(stderr, "%s\n", err.message);
        failed = 1;
    }
    for (int i = 1; i < argc && session; i++) {
        rcnn_image *image = NULL;
        rcnn_image_view view;
        if (rcnn_image_load(argv[i], NULL, &image, &err) == RCNN_OK) {
            rcnn_image_get_view(image, &view);
            if (rcnn_session_run(session, &view, 1, &results, &err) == RCNN_OK) {
                printf("%s\n", argv[i]);
                print_counts(model, results);
            }
        }
        if (err.status != RCNN_OK) {
            fprintf(stderr, "%s\n", err.message);
            err.status = RCNN_OK;
            failed = 1;
        }
        rcnn_image_destroy(image);
    }
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    return failed;
}
