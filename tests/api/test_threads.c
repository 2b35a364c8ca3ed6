/* Two threads, a session each, one model: both give what one thread alone gives. Run under the thread sanitizer in CI. */
#include <pthread.h>

#include "thin.h"

#define RUNS 4

typedef struct worker {
    const rcnn_model *model;
    rcnn_results *results;
    int failed;
} worker;

static void *work(void *argument)
{
    worker *w = argument;
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    rcnn_session_options options = thin_options(thin_backend());
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(150, 90, 5, &view);
    options.num_threads = 1;
    options.mask_format = RCNN_MASK_RLE;
    w->failed = rcnn_session_create(w->model, &options, &session, &err) != RCNN_OK;
    for (int i = 0; i < RUNS && !w->failed; i++) {
        w->failed = rcnn_session_run(session, &view, 1, &w->results, &err) != RCNN_OK;
    }
    if (w->failed) {
        fprintf(stderr, "%s\n", err.message);
    }
    rcnn_session_destroy(session);
    free(pixels);
    return NULL;
}

TEST(sessions_on_two_threads_share_a_model)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    worker alone = {.model = model};
    work(&alone);
    worker workers[2] = {{.model = model}, {.model = model}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        CHECK(!workers[i].failed && same_results(alone.results, 0, workers[i].results, 0));
        rcnn_results_destroy(workers[i].results);
    }
    rcnn_results_destroy(alone.results);
    rcnn_model_destroy(model);
}

TEST_MAIN
