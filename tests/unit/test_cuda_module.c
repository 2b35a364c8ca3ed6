/* How the library finds, refuses and opens the module of the cuda backend: each case in a process of its own, because it
 * is looked for once. The driver is a library without functions (fake_driver), the modules are fake_module.c. */
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend/backend.h"
#include "harness.h"

/* Runs a case in a child whose RCNN_CUDA_MODULE names `module`. */
static void in_child(const char *module, void (*run)(void))
{
    fflush(NULL);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        setenv("RCNN_CUDA_MODULE", module, 1);
        test_failures = 0;
        run();
        fflush(NULL);
        _exit(test_failures ? 1 : 0);
    }
    int status = 0;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* The backend is the stand-in, and says `reason` wherever it is asked. */
static void check_absent(const char *reason)
{
    char text[512] = "";
    rcnn_backend *backend = NULL;
    rcnn_error err = {0};
    const rcnn_backend_options options = {.num_threads = 1};
    const rcnn_backend_vt *vt = rcnn_backend_cuda();
    CHECK(strcmp(vt->name, "cuda") == 0);
    CHECK(vt->probe(text, sizeof text) == RCNN_ERR_DEVICE);
    CHECK_MSG(strstr(text, reason) && !strchr(text, '\n'), "'%s'", text);
    CHECK(vt->open(&options, &backend, &err) == RCNN_ERR_DEVICE && !backend);
    CHECK_MSG(strstr(err.message, text), "'%s'", err.message);
    CHECK(rcnn_backend_device_count(0) == 0);
}

static void missing(void)
{
    check_absent("/nowhere/librcnn_cuda.so: cannot open shared object file");
}

static void stranger(void)
{
    check_absent("is no module of rcnn");
}

static void refusing(void)
{
    check_absent("does not please it");
}

static void other_abi(void)
{
    check_absent("was built for another version of the library");
}

static char logged[256];

static void keep_line(void *context, rcnn_log_level level, const char *line)
{
    (void)context;
    if (level == RCNN_LOG_INFO) {
        snprintf(logged, sizeof logged, "%s", line);
    }
}

static void good(void)
{
    char text[512] = "";
    rcnn_error err;
    const rcnn_backend_vt *found = NULL;
    rcnn_log_set(keep_line, NULL, RCNN_LOG_INFO);
    CHECK(strcmp(rcnn_backend_name(0), "cuda") == 0);
    CHECK_MSG(!logged[0], "the name of a backend opened its module");
    CHECK(rcnn_backend_probe(0, text, sizeof text) == RCNN_OK);
    CHECK(strcmp(text, "a GPU of the test") == 0);
    CHECK(strcmp(logged, "a line of the module") == 0);
    CHECK(rcnn_backend_device_count(0) == 3);
    CHECK_OK(rcnn_backend_find("auto", &found, &err), err);
    CHECK(found == rcnn_backend_cuda());
}

static void *ask(void *context)
{
    *(const rcnn_backend_vt **)context = rcnn_backend_cuda();
    return NULL;
}

static void from_threads(void)
{
    enum { THREADS = 8 };
    pthread_t thread[THREADS];
    const rcnn_backend_vt *vt[THREADS] = {0};
    for (int i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&thread[i], NULL, ask, &vt[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(thread[i], NULL);
        CHECK(vt[i] == rcnn_backend_cuda());
    }
}

TEST(a_missing_module_is_named)
{
    in_child("/nowhere/librcnn_cuda.so", missing);
}

TEST(a_library_that_is_no_module_is_refused)
{
    in_child(FAKE_DRIVER, stranger);
}

TEST(a_module_may_refuse)
{
    in_child(FAKE_REFUSING, refusing);
}

TEST(a_module_of_another_abi_is_refused)
{
    in_child(FAKE_OTHER_ABI, other_abi);
}

TEST(a_module_is_opened_when_asked_for)
{
    in_child(FAKE_GOOD, good);
}

TEST(threads_get_one_table)
{
    in_child(FAKE_GOOD, from_threads);
}

TEST(unknown_names_list_what_there_is)
{
    rcnn_error err;
    const rcnn_backend_vt *found = NULL;
    CHECK(rcnn_backend_find("tpu", &found, &err) == RCNN_ERR_NOT_FOUND && !found);
    CHECK_MSG(strstr(err.message, "auto, cuda, ") && strstr(err.message, "ref"), "'%s'", err.message);
}

TEST_MAIN
