/* Stage by stage against the reference implementation (stages.h), on every backend that works here, in every precision
 * it has. */
#include "stages.h"

#include "harness.h"

static void check_on(const golden_model *entry, const char *backend)
{
    rcnn_error err = {0};
    const rcnn_backend_vt *vt = NULL;
    const uint32_t precisions = golden_precisions(backend);
    CHECK_OK(rcnn_backend_find(backend, &vt, &err), err);
    for (int p = RCNN_PRECISION_FP32; vt && p <= RCNN_PRECISION_BF16; p++) {
        if (precisions >> p & 1u) {
            stages_check(entry, vt, (rcnn_precision)p);
        }
    }
}

static void check_model(const char *name)
{
    const char *backend;
    for (int32_t i = 0; i < GOLDEN_MODEL_COUNT; i++) {
        for (int32_t k = 0; strcmp(golden_models[i].name, name) == 0 && (backend = golden_backend(k)) != NULL; k++) {
            check_on(&golden_models[i], backend);
        }
    }
}

TEST(torchvision_v1)
{
    check_model("torchvision_v1");
}
TEST(torchvision_v2)
{
    check_model("torchvision_v2");
}
TEST(torchvision_r18_faster)
{
    check_model("torchvision_r18_faster");
}
TEST(mmdet2)
{
    check_model("mmdet2");
}
TEST(mmdet2_caffe)
{
    check_model("mmdet2_caffe");
}
TEST(mmdet3_resnext)
{
    check_model("mmdet3_resnext");
}
TEST(mmdet3_faster)
{
    check_model("mmdet3_faster");
}
TEST(detectron2)
{
    check_model("detectron2");
}

TEST_MAIN
