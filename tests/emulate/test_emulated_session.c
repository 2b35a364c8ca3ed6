/* Sessions on the emulated cuda backend: the checks that test_gpu_session runs on a GPU. */
#include "emulate/emulated.h"
#include "gpu/device_checks.h"
#include "harness.h"

#define CHECK_OF(name)                                                                                                 \
    TEST(name)                                                                                                         \
    {                                                                                                                  \
        const device_bed bed = {.vt = rcnn_emulated_backend(),                                                         \
                                .precision = RCNN_PRECISION_AUTO,                                                      \
                                .images = 2,                                                                           \
                                .long_side = 96,                                                                       \
                                .short_side = 64};                                                                     \
        device_check_##name(&bed);                                                                                     \
    }
DEVICE_CHECKS(CHECK_OF)

TEST_MAIN
