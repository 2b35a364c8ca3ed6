/* What goes wrong on a GPU: calls that fail (RCNN_CUDA_FAIL_AT, one child process for each), no memory, no such device.
 * Each gives a status and one line, and nothing crashes. Calls further on are tried in growing steps; the emulator's
 * test_emulated_faults tries every one. Skipped without a GPU. */
#include <stdbool.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/thin.h"
#include "base/clock.h"
#include "backend/backend.h"

#define CHILDREN    6
#define BUDGET_MS   240000.0
#define ALL_UP_TO   60 /* calls tried one by one; then every further one by a sixth more */
#define CALLS_MAX   100000
#define HUGE_SIDE   16384
#define HUGE_IMAGES 64

typedef enum outcome { PASSED = 0, FAILED_WELL = 3, FAILED_BADLY = 4 } outcome;

/* Ends the program where there is no GPU. */
static void need_gpu(void)
{
    static char why[600];
    char text[512] = "";
    if (rcnn_backend_cuda()->probe(text, sizeof text) != RCNN_OK) {
        snprintf(why, sizeof why, "no GPU for the cuda backend: %s", text);
        SKIP(why);
    }
}

static bool is_one_line(const rcnn_error *err, rcnn_status status)
{
    return err->message[0] && !strchr(err->message, '\n') && err->status == status;
}

static outcome use_session(const rcnn_model *model)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(120, 80, 3, &view);
    rcnn_session_options options = thin_options("cuda");
    options.mask_format = RCNN_MASK_RLE;
    rcnn_status status = rcnn_session_create(model, &options, &session, &err);
    for (int i = 0; i < 2 && status == RCNN_OK; i++) {
        status = rcnn_session_run(session, &view, 1, &results, &err);
    }
    const bool told = status == RCNN_OK || is_one_line(&err, status);
    fprintf(stderr, "%s%s\n", status == RCNN_OK ? "" : err.message, told ? "" : " (status and line do not fit)");
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    free(pixels);
    return status == RCNN_OK ? PASSED : told ? FAILED_WELL : FAILED_BADLY;
}

/* What a child runs. */
TEST(child)
{
    if (getenv("RCNN_CUDA_FAIL_AT")) {
        rcnn_model *model = thin_model();
        const outcome result = model ? use_session(model) : FAILED_BADLY;
        rcnn_model_destroy(model);
        exit((int)result);
    }
}

/* ------------------------------------------------------------- failing calls */

typedef struct child {
    pid_t pid;
    int at;
} child;

/* A process of its own, not a fork: CUDA does not survive one. */
static child start(int at, const char *all)
{
    fflush(NULL);
    child c = {.pid = fork(), .at = at};
    if (c.pid == 0) {
        char text[16];
        snprintf(text, sizeof text, "%d", at);
        setenv("RCNN_CUDA_FAIL_AT", text, 1);
        setenv("RCNN_CUDA_FAIL_ALL", all, 1);
        execl("/proc/self/exe", "test_gpu_faults", "child", (char *)NULL);
        _exit(127);
    }
    return c;
}

/* Exit code; negative after a signal. */
static int finish(const child *c)
{
    int status = 0;
    if (c->pid < 0 || waitpid(c->pid, &status, 0) != c->pid) {
        return -1000;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* A session does without a recording, so that one failing call may pass. Past the last call all later ones pass. */
static bool is_past_the_last(int at)
{
    const child c = start(at, "1");
    return finish(&c) == PASSED;
}

static int next_call(int at)
{
    return at < ALL_UP_TO ? at + 1 : at + at / 6;
}

TEST(failing_calls)
{
    need_gpu();
    const double start_ms = rcnn_clock_ms();
    int at = 1, tried = 0;
    bool passed = false;
    while (!passed && at < CALLS_MAX && rcnn_clock_ms() - start_ms < BUDGET_MS) {
        child children[CHILDREN];
        for (int i = 0; i < CHILDREN; i++, at = next_call(at)) {
            children[i] = start(at, "0");
        }
        for (int i = 0; i < CHILDREN; i++, tried++) {
            const int code = finish(&children[i]);
            CHECK_MSG(code == FAILED_WELL || code == PASSED, "call %d: exit code %d", children[i].at, code);
            passed = passed || (code == PASSED && is_past_the_last(children[i].at));
        }
    }
    printf("%d calls tried, up to number %d\n", tried, at);
    CHECK(passed);
}

/* ------------------------------------------------------------- no memory, no device */

TEST(out_of_device_memory)
{
    need_gpu();
    rcnn_error err = {0};
    rcnn_model *model = thin_model();
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_image_view views[HUGE_IMAGES];
    uint8_t *pixels = thin_picture(64, 64, 3, &views[0]);
    for (int i = 1; i < HUGE_IMAGES; i++) {
        views[i] = views[0];
    }
    rcnn_session_options options = thin_options("cuda");
    options.long_side = options.short_side = HUGE_SIDE;
    options.max_batch = HUGE_IMAGES;
    CHECK_OK(rcnn_session_create(model, &options, &session, &err), err);
    REQUIRE(session);
    for (int again = 0; again < 2; again++) { /* what failed has left the session as it was */
        rcnn_status status = rcnn_session_run(session, views, HUGE_IMAGES, &results, &err);
        CHECK_MSG(status == RCNN_ERR_MEMORY || status == RCNN_ERR_UNSUPPORTED || status == RCNN_ERR_LIMIT, "%d: %s",
                  (int)status, err.message);
        CHECK(is_one_line(&err, status) && results == NULL);
        fprintf(stderr, "%s\n", err.message);
    }
    rcnn_session_destroy(session);
    options = thin_options("cuda"); /* the device is whole */
    session = NULL;
    CHECK_OK(rcnn_session_create(model, &options, &session, &err), err);
    CHECK_OK(rcnn_session_run(session, views, 1, &results, &err), err);
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
    free(pixels);
}

TEST(no_such_device)
{
    need_gpu();
    rcnn_model *model = thin_model();
    for (int32_t device = -1; device <= 1000; device += 1001) {
        rcnn_error err = {0};
        rcnn_session *session = NULL;
        rcnn_session_options options = thin_options("cuda");
        options.device = device;
        rcnn_status status = rcnn_session_create(model, &options, &session, &err);
        CHECK_MSG((status == RCNN_ERR_ARGUMENT || status == RCNN_ERR_DEVICE) && !session && is_one_line(&err, status),
                  "device %d: %d: %s", device, (int)status, err.message);
        rcnn_session_destroy(session);
    }
    rcnn_model_destroy(model);
}

TEST_MAIN
