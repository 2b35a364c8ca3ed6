/* Decoders of the emulated cuda backend over fake_nvjpeg.c: the checks that test_gpu_decode runs on a GPU, with no
 * difference allowed. Before them, in child processes, what is read once a process: every call failing once, no library. */
#include <sys/wait.h>
#include <unistd.h>

#include "api/thin.h"
#include "emulate/emulated.h"
#include "gpu/decode_checks.h"
#include "session/decoder.h"

#define CALLS_MAX 200

static decode_bed bed(void)
{
    setenv("RCNN_NVJPEG", FAKE_NVJPEG, 1);
    return (decode_bed){.vt = rcnn_emulated_backend(),
                        .model = THIN_MODEL,
                        .picture = RCNN_SOURCE_DIR "/samples/tissue.jpg",
                        .long_side = 96,
                        .short_side = 64};
}

/* ------------------------------------------------------------- failing calls */

typedef enum outcome { PASSED = 0, FAILED_WELL = 3, FAILED_BADLY = 4 } outcome;

static outcome use_decoder(const rcnn_backend_vt *vt, const void *data, size_t size)
{
    rcnn_error err = {0};
    rcnn_decoder *decoder = NULL;
    rcnn_image_view view;
    rcnn_status status = rcnn_decoder_create_on(NULL, vt, &decoder, &err);
    for (int i = 0; i < 2 && status == RCNN_OK; i++) {
        status = rcnn_decoder_run(decoder, data, size, NULL, &view, &err);
    }
    const int told = status == RCNN_OK || (err.message[0] && !strchr(err.message, '\n') && err.status == status);
    rcnn_decoder_destroy(decoder);
    return status == RCNN_OK ? PASSED : told ? FAILED_WELL : FAILED_BADLY;
}

static int run_child(const decode_bed *b, const void *data, size_t size, int at)
{
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) {
        char text[16];
        snprintf(text, sizeof text, "%d", at);
        setenv("RCNN_CUDA_FAIL_AT", text, 1);
        _exit((int)use_decoder(b->vt, data, size));
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* The one call that may fail without consequences is the one for interpolated chroma; past the last call all is well. */
TEST(failing_calls)
{
    static unsigned char data[65536];
    const decode_bed b = bed();
    FILE *file = fopen(RCNN_SOURCE_DIR "/tests/unit/data/image/jpeg_420_17x5.jpg", "rb");
    REQUIRE(file);
    const size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    int failed = 0, passed = 0, at = 1;
    for (; passed < 2 && at < CALLS_MAX; at++) {
        const int code = run_child(&b, data, size, at);
        CHECK_MSG(code == PASSED || code == FAILED_WELL, "call %d: exit code %d", at, code);
        failed += code == FAILED_WELL;
        passed += code == PASSED;
    }
    CHECK_MSG(failed >= 8 && passed == 2, "%d calls failed, %d passed", failed, passed);
}

/* ------------------------------------------------------------- no library */

static int told_that_it_is_absent(const decode_bed *b, const char *file)
{
    char text[512] = "";
    rcnn_error err = {0};
    rcnn_decoder *decoder = NULL;
    setenv("RCNN_NVJPEG", file, 1);
    const rcnn_status probed = b->vt->decoder_probe(text, sizeof text);
    const rcnn_status opened = rcnn_decoder_create_on(NULL, b->vt, &decoder, &err);
    fprintf(stderr, "%s\n", text);
    return probed == RCNN_ERR_DEVICE && opened == RCNN_ERR_DEVICE && !decoder && !strchr(text, '\n') &&
           strstr(err.message, text) != NULL;
}

TEST(absent_library)
{
    static const char *const FILES[] = {"/nowhere/libnvjpeg.so.13", "libm.so.6"}; /* the second is another library */
    const decode_bed b = bed();
    for (int i = 0; i < 2; i++) {
        fflush(NULL);
        const pid_t child = fork();
        if (child == 0) {
            _exit(told_that_it_is_absent(&b, FILES[i]) ? PASSED : FAILED_BADLY);
        }
        int status = -1;
        CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == PASSED);
    }
}

/* ------------------------------------------------------------- the checks */

#define CHECK_OF(name)                                                                                                 \
    TEST(name)                                                                                                         \
    {                                                                                                                  \
        const decode_bed b = bed();                                                                                    \
        decode_check_##name(&b);                                                                                       \
    }
CHECK_OF(pixels)
CHECK_OF(picture)
CHECK_OF(ring)
CHECK_OF(refused)
CHECK_OF(damaged)
CHECK_OF(session)

TEST_MAIN
