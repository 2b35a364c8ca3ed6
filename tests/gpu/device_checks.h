/* What a session promises on a backend with memory of its own, as checks that run on the GPU (test_gpu_session) and on
 * the emulator (test_emulated_session). Failures are counted in test_failures of harness.h. */
#ifndef RCNN_TESTS_GPU_DEVICE_CHECKS_H
#define RCNN_TESTS_GPU_DEVICE_CHECKS_H

#include "backend/backend.h"

typedef struct device_bed {
    const rcnn_backend_vt *vt;
    rcnn_precision precision;
    int32_t images;                /* how many a check takes where more find more, at least 2 */
    int32_t long_side, short_side; /* of the network's input                                  */
} device_bed;

#define DEVICE_CHECKS(CHECK_OF)                                                                                        \
    CHECK_OF(same_bytes_in_every_run)                                                                                  \
    CHECK_OF(batch_equals_singles)                                                                                     \
    CHECK_OF(one_wait_a_run_and_no_allocation)                                                                         \
    CHECK_OF(collected_in_order)                                                                                       \
    CHECK_OF(submitted_pixels_may_change)                                                                              \
    CHECK_OF(device_and_page_locked_pixels)                                                                            \
    CHECK_OF(results_on_the_device)                                                                                    \
    CHECK_OF(evicted_plans_come_back)                                                                                  \
    CHECK_OF(mask_forms_equal_the_cpus)                                                                                \
    CHECK_OF(nothing_found)                                                                                            \
    CHECK_OF(staged_runs)                                                                                              \
    CHECK_OF(host_preprocessing)

#define DEVICE_CHECK_OF(name) void device_check_##name(const device_bed *bed);
DEVICE_CHECKS(DEVICE_CHECK_OF)
#undef DEVICE_CHECK_OF

#endif
