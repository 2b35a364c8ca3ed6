/* Whole runs through the public interface against the reference implementations (end_to_end.h has the gates), on every
 * backend that works here and, where it computes in more than fp32, in each precision. Every model runs a small picture
 * and one that fills all pyramid levels. */
#include "end_to_end.h"
#include "harness.h"

static void check_all(const char *file)
{
    end_to_end how = {.keep_values = 1};
    for (int32_t k = 0; (how.backend = golden_backend(k)) != NULL; k++) {
        const uint32_t precisions = golden_precisions(how.backend);
        for (int p = RCNN_PRECISION_FP32; p <= RCNN_PRECISION_BF16; p++) {
            how.precision = (rcnn_precision)p;
            for (int32_t i = 0; precisions >> p & 1u && i < GOLDEN_MODEL_COUNT; i++) {
                end_to_end_check(&golden_models[i], file, &how);
            }
        }
    }
}

TEST(small_pictures)
{
    check_all("reference.safetensors");
}
TEST(all_pyramid_levels)
{
    check_all("large.safetensors");
}

TEST_MAIN
