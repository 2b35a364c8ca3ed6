/* Every CUDA call of a session fails once on the emulated backend, each in a child process: a status and a line come
 * back, nothing crashes, and with address sanitizer nothing leaks. The same with all later calls failing too, for some of
 * them. RCNN_TEST_EVERY_CALL=1: also for all, and for all with the sanitizer, which takes minutes. */
#include <sys/wait.h>
#include <unistd.h>

#include "api/thin.h"
#include "emulate/emulated.h"
#include "session/session.h"

#define CALLS_MAX 5000

#ifdef __SANITIZE_ADDRESS__
#define SLOW 5
#else
#define SLOW 1
#endif

typedef enum outcome { PASSED = 0, FAILED_WELL = 3, FAILED_BADLY = 4 } outcome;

/* Makes a session, runs two pictures through it and takes it down. */
static outcome use_session(const rcnn_model *model, const rcnn_image_view *views)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_session_options options = thin_options(NULL);
    options.long_side = options.short_side = 32;
    options.mask_format = RCNN_MASK_RLE;
    options.max_detections = 3;
    rcnn_status status = rcnn_session_create_on(model, &options, rcnn_emulated_backend(), &session, &err);
    for (int i = 0; i < 2 && status == RCNN_OK; i++) {
        status = rcnn_session_run(session, &views[i], 1, &results, &err);
    }
    const bool told = status == RCNN_OK || (err.message[0] && !strchr(err.message, '\n') && err.status == status);
    if (!told) {
        fprintf(stderr, "status %d, message '%s'\n", (int)status, err.message);
    }
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    return status == RCNN_OK ? PASSED : told ? FAILED_WELL : FAILED_BADLY;
}

/* Exit code of a child whose call number `at` fails; negative after a signal. */
static int run_child(const rcnn_model *model, const rcnn_image_view *views, int at, const char *all)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        char text[16];
        snprintf(text, sizeof text, "%d", at);
        setenv("RCNN_CUDA_FAIL_AT", text, 1);
        setenv("RCNN_CUDA_FAIL_ALL", all, 1);
        exit((int)use_session(model, views));
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* Every step-th call. */
static void check_calls(const char *all, int step)
{
    rcnn_image_view views[2];
    rcnn_model *model = thin_model();
    uint8_t *first = thin_picture(40, 30, 3, &views[0]), *second = thin_picture(30, 45, 4, &views[1]);
    const char *every = getenv("RCNN_TEST_EVERY_CALL");
    int at = 1, code = FAILED_WELL;
    for (; model && code != PASSED && at < CALLS_MAX; at += every && *every == '1' ? 1 : step) {
        code = run_child(model, views, at, all);
        CHECK_MSG(code == FAILED_WELL || code == PASSED, "call %d: exit code %d", at, code);
    }
    printf("up to call %d\n", at);
    CHECK_MSG(at > 100 && code == PASSED, "%d calls, the last child ended with %d", at, code);
    rcnn_model_destroy(model);
    free(first);
    free(second);
}

TEST(calls_fail_once)
{
    check_calls("0", SLOW);
}
TEST(calls_fail_and_all_after_them)
{
    check_calls("1", 7 * SLOW);
}

TEST_MAIN
