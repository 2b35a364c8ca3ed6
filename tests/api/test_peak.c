/* A device's own speed through the public interface: numbers where there is a test of it, reasons where not. */
#include "harness.h"

#include "rcnn/rcnn.h"

TEST(the_cpu_has_a_peak)
{
    double tflops = -1, gb_s = -1;
    rcnn_error err = {0};
#if RCNN_HAVE_ONEDNN
    CHECK_OK(rcnn_device_peak("cpu", 0, 2, RCNN_PRECISION_FP32, &tflops, &gb_s, &err), err);
    CHECK_MSG(tflops > 0 && isfinite(tflops), "%g TFLOP/s", tflops);
    CHECK_MSG(gb_s > 0 && isfinite(gb_s), "%g GB/s", gb_s);
#else
    CHECK(rcnn_device_peak("cpu", 0, 2, RCNN_PRECISION_FP32, &tflops, &gb_s, &err) == RCNN_ERR_NOT_FOUND);
#endif
}

TEST(what_has_none_says_so)
{
    double tflops = -1, gb_s = -1;
    rcnn_error err = {0};
    CHECK(rcnn_device_peak("ref", 0, 0, RCNN_PRECISION_AUTO, &tflops, &gb_s, &err) == RCNN_ERR_UNSUPPORTED);
    CHECK(strstr(err.message, "ref") && tflops == 0 && gb_s == 0);
    CHECK(rcnn_device_peak("tpu", 0, 0, RCNN_PRECISION_AUTO, &tflops, &gb_s, &err) == RCNN_ERR_NOT_FOUND);
    CHECK(rcnn_device_peak(NULL, 0, 0, RCNN_PRECISION_AUTO, &tflops, &gb_s, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_device_peak("ref", 0, -1, RCNN_PRECISION_AUTO, &tflops, &gb_s, &err) == RCNN_ERR_ARGUMENT);
#if RCNN_HAVE_ONEDNN
    CHECK(rcnn_device_peak("cpu", 1, 0, RCNN_PRECISION_AUTO, &tflops, &gb_s, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_device_peak("cpu", 0, 0, RCNN_PRECISION_INT8, &tflops, &gb_s, &err) == RCNN_ERR_UNSUPPORTED);
    CHECK(rcnn_device_peak("cpu", 0, 0, RCNN_PRECISION_TF32, &tflops, &gb_s, &err) == RCNN_ERR_UNSUPPORTED);
#endif
}

TEST_MAIN
