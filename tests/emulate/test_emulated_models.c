/* Whole models on the emulated cuda backend against the reference implementations, stage by stage and end to end, in fp32
 * and in half precision. */
#include "emulate/emulated.h"
#include "golden/end_to_end.h"
#include "golden/stages.h"
#include "harness.h"

static void check_models(rcnn_precision precision)
{
    const end_to_end how = {.backend = "emul", .vt = rcnn_emulated_backend(), .precision = precision, .keep_values = 1};
    for (int32_t i = 0; i < GOLDEN_MODEL_COUNT; i++) {
        stages_check(&golden_models[i], how.vt, precision);
        end_to_end_check(&golden_models[i], "reference.safetensors", &how);
    }
}

TEST(fp32)
{
    check_models(RCNN_PRECISION_FP32);
}
TEST(fp16)
{
    check_models(RCNN_PRECISION_FP16);
}
TEST(bf16)
{
    check_models(RCNN_PRECISION_BF16);
}

TEST_MAIN
