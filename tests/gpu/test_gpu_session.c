/* Sessions on the GPU: the checks of device_checks.h in fp32 and in the precision that AUTO gives, and what takes a real
 * device. Skipped without one. */
#include <pthread.h>

#include "api/thin.h"
#include "gpu/device_checks.h"
#include "session/session.h"

/* Ends the program where there is no GPU. */
static const rcnn_backend_vt *cuda(void)
{
    static char why[600];
    char text[512] = "";
    const rcnn_backend_vt *vt = rcnn_backend_cuda();
    if (vt->probe(text, sizeof text) != RCNN_OK) {
        snprintf(why, sizeof why, "no GPU for the cuda backend: %s", text);
        SKIP(why);
    }
    return vt;
}

#define CHECK_OF(name)                                                                                                 \
    TEST(fp32_##name)                                                                                                  \
    {                                                                                                                  \
        const device_bed bed = {                                                                                       \
            .vt = cuda(), .precision = RCNN_PRECISION_FP32, .images = 6, .long_side = 160, .short_side = 96};          \
        device_check_##name(&bed);                                                                                     \
    }                                                                                                                  \
    TEST(auto_##name)                                                                                                  \
    {                                                                                                                  \
        const device_bed bed = {                                                                                       \
            .vt = cuda(), .precision = RCNN_PRECISION_AUTO, .images = 6, .long_side = 160, .short_side = 96};          \
        device_check_##name(&bed);                                                                                     \
    }
DEVICE_CHECKS(CHECK_OF)

TEST(facts)
{
    const rcnn_backend_vt *vt = cuda();
    rcnn_error err = {0};
    rcnn_model *model = thin_model();
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(120, 80, 4, &view);
    char *text = NULL;
    const rcnn_session_options options = thin_options("cuda");
    CHECK(vt->device_count() >= 1);
    CHECK_OK(rcnn_session_create(model, &options, &session, &err), err);
    REQUIRE(session);
    CHECK(rcnn_session_precision(session) == RCNN_PRECISION_FP16);
    CHECK(strcmp(rcnn_session_backend_name(session), "cuda") == 0);
    CHECK_OK(rcnn_session_run(session, &view, 1, &results, &err), err);
    CHECK_OK(rcnn_session_choices(session, &text, &err), err);
    CHECK(text && strstr(text, "mask") && strchr(text, '\n'));
    rcnn_free(text);
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    free(pixels);
}

/* ------------------------------------------------------------- threads */

typedef struct worker {
    const rcnn_model *model;
    const rcnn_image_view *view;
    rcnn_results *results; /* of the last run */
    int failures;
} worker;

static void *work(void *context)
{
    worker *w = context;
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    const rcnn_session_options options = thin_options("cuda");
    w->failures += rcnn_session_create(w->model, &options, &session, &err) != RCNN_OK;
    for (int i = 0; session && i < 20; i++) {
        w->failures += rcnn_session_run(session, w->view, 1, &w->results, &err) != RCNN_OK;
    }
    rcnn_session_destroy(session);
    return NULL;
}

TEST(sessions_of_several_threads_share_the_device)
{
    (void)cuda();
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    worker workers[THREADS];
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(120, 80, 4, &view);
    rcnn_model *model = thin_model();
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (worker){.model = model, .view = &view};
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        CHECK_MSG(workers[i].failures == 0, "thread %d: %d failures", i, workers[i].failures);
        CHECK(workers[i].results && same_results(workers[0].results, 0, workers[i].results, 0));
    }
    for (int i = 0; i < THREADS; i++) {
        rcnn_results_destroy(workers[i].results);
    }
    rcnn_model_destroy(model);
    free(pixels);
}

TEST_MAIN
