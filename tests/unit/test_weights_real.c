/* The real 88 MB checkpoint, where the checkout has it beside itself; otherwise skipped. */
#include "harness.h"

#include <unistd.h>

#include "base/clock.h"
#include "model/convert.h"

#define REAL_FILE RCNN_SOURCE_DIR "/../shared/checkpoints/mask_rcnn_r50_fpn_nuclei_fp16.pth"

TEST(real_checkpoint)
{
    rcnn_weights *w = NULL;
    rcnn_error err = {0};
    rcnn_tensor_info t;
    double best = 1e9;
    if (access(REAL_FILE, R_OK) != 0) {
        SKIP("../shared/checkpoints is absent");
    }
    for (int i = 0; i < 3; i++) {
        rcnn_weights_close(w);
        double start = rcnn_clock_ms();
        CHECK_OK(rcnn_weights_open(REAL_FILE, &w, &err), err);
        double ms = rcnn_clock_ms() - start;
        best = ms < best ? ms : best;
    }
    REQUIRE(w != NULL);
    printf("     opened in %.2f ms\n", best);
    CHECK_MSG(best < 20, "%.1f ms", best);
    CHECK(strcmp(rcnn_weights_format_name(w), "torch-zip") == 0 && rcnn_weights_count(w) == 360);
    CHECK(rcnn_weights_find(w, "backbone.body.conv1.weight", &t) == RCNN_OK && t.dtype == RCNN_F16 && t.rank == 4 &&
          t.shape[0] == 64 && t.shape[1] == 3 && t.shape[2] == 7 && t.shape[3] == 7);
    static float stem[64 * 3 * 7 * 7];
    CHECK_OK(rcnn_tensor_to_f32(&t, stem, &err), err);
    double energy = 0;
    for (size_t i = 0; i < sizeof stem / sizeof stem[0]; i++) {
        energy += (double)stem[i] * (double)stem[i];
    }
    CHECK_MSG(energy > 1 && energy < 1e4, "stem weights: sum of squares %g", energy);
    rcnn_weights_close(w);
}

TEST_MAIN
