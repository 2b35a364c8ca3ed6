/* Detects in a stream of images by the two halves of a run: with a GPU, up to RCNN_SESSION_IN_FLIGHT images are under way
 * while the next file is read and an earlier result is printed. On a CPU submit does the work itself, and nothing else
 * changes. Built as examples/example_stream.
 *     stream IMAGE...            (model: $RCNN_MODEL, else models/mask_rcnn_r50_fpn_nuclei.safetensors) */
#include <rcnn/rcnn.h>

#include <stdio.h>
#include <stdlib.h>

/* The runs under way, oldest first: results come back in the order of submit. */
typedef struct queue {
    rcnn_session *session;
    rcnn_results *results; /* of the last collect; its memory serves the next one */
    const char *path[RCNN_SESSION_IN_FLIGHT];
    int count;
} queue;

/* Waits for the oldest run and prints what it found. */
static int collect_one(queue *q)
{
    rcnn_error err = {0};
    const char *path = q->path[0];
    q->count--;
    for (int i = 0; i < q->count; i++) {
        q->path[i] = q->path[i + 1];
    }
    if (rcnn_session_collect(q->session, &q->results, &err) != RCNN_OK) { /* later ones have results of their own */
        fprintf(stderr, "%s: %s\n", path, err.message);
        return 1;
    }
    printf("%s: %d found, %.1f ms from submit to collect\n", path, rcnn_results_count(q->results, 0),
           rcnn_results_stage_ms(q->results, -1));
    return 0;
}

/* Reads a file and starts its run; there is room for it. Its pixels stand in ordinary memory, so they have been copied when
 * submit returns. */
static int submit_one(queue *q, const char *path)
{
    rcnn_error err = {0};
    rcnn_image *image = NULL;
    rcnn_image_view view;
    rcnn_status status = rcnn_image_load(path, NULL, &image, &err);
    if (status == RCNN_OK) {
        rcnn_image_get_view(image, &view);
        status = rcnn_session_submit(q->session, &view, 1, &err);
    }
    rcnn_image_destroy(image);
    if (status != RCNN_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    q->path[q->count++] = path;
    return 0;
}

int main(int argc, char **argv)
{
    const char *path = getenv("RCNN_MODEL") ? getenv("RCNN_MODEL") : "models/mask_rcnn_r50_fpn_nuclei.safetensors";
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    queue q = {.session = NULL};
    rcnn_session_options options;
    int failed = argc < 2;

    rcnn_session_options_init(&options);
    options.mask_format = RCNN_MASK_RLE;
    options.score_threshold = 0.5f;
    options.long_side = 480; /* smaller and faster than the model's own 1333 */
    options.short_side = 320;

    if (argc < 2) {
        fprintf(stderr, "usage: stream IMAGE...\n");
    } else if (rcnn_model_load(path, NULL, &model, &err) || rcnn_session_create(model, &options, &q.session, &err)) {
        fprintf(stderr, "%s\n", err.message);
        failed = 1;
    }
    for (int i = 1; i < argc && q.session; i++) {
        if (q.count == RCNN_SESSION_IN_FLIGHT) {
            failed |= collect_one(&q);
        }
        failed |= submit_one(&q, argv[i]);
    }
    while (q.count > 0) {
        failed |= collect_one(&q);
    }
    rcnn_results_destroy(q.results);
    rcnn_session_destroy(q.session);
    rcnn_model_destroy(model);
    return failed;
}
