/* A real checkpoint of 88 MB: a torchvision Mask R-CNN trained on nuclei, beside the source tree in ../shared. Expected
 * numbers: PyTorch 1.13, batch norm folded in float64 by the formula of spec section 3. Skipped when it is not there. */
#include "harness.h"

#include <unistd.h>

#include "model/layers.h"

#define CHECKPOINT RCNN_SOURCE_DIR "/../shared/checkpoints/mask_rcnn_r50_fpn_nuclei_fp16.pth"

static const struct {
    const char *name;
    int32_t rows;
    size_t count;
    double sum, squares; /* of the weights            */
    double third;        /* weight number count / 3   */
    double bias_sum, last_bias;
} expected[] = {
    {"backbone.stem", 64, 9408, 5.08491190872, 26.4229225192, 0.0834010616, 3.20820368081, 0.185669481},
    {"backbone.layer2.0.shortcut", 512, 131072, -43.0388417202, 326.347826537, 0.0415600836, 35.786336313, -1.72072992},
    {"backbone.layer4.2.conv3", 2048, 1048576, 684.023737276, 1527.2663156, -0.0390572064, -313.618157967, 0.901077314},
    {"rpn.pred", 15, 3840, -2.85000175238, 0.359149371262, -0.000220894814, -0.157378196716, -0.0163879395},
    {"box.pred", 10, 10240, -0.0235887765884, 2.49461627606, -0.0145111084, 0.0102643966675, -0.00172901154},
    {"mask.deconv", 256, 262144, -274.741663814, 505.59447935, -0.0119400024, -0.529163599014, 0.0243835449},
};

static bool close_to(double got, double want)
{
    return fabs(got - want) <= 1e-6 * (1e-3 + fabs(want)); /* one float32 rounding of each weight, summed */
}

TEST(folded_values_equal_pytorch)
{
    if (access(CHECKPOINT, R_OK) != 0) {
        SKIP("no ../shared/checkpoints/mask_rcnn_r50_fpn_nuclei_fp16.pth");
    }
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_model_load(CHECKPOINT, NULL, &model, &err), err);
    REQUIRE(model);
    /* 43,975,515 with the weight and bias of each batch norm, of whose 26,560 channels folding leaves one bias */
    CHECK(rcnn_model_parameter_count(model) == 43975515 - 26560);
    CHECK(model->config.family == RCNN_FAMILY_TORCHVISION && model->config.bn_eps == 1e-5);
    CHECK(model->config.blocks[2] == 6 && model->config.class_count == 1 && model->config.has_mask);
    CHECK(strcmp(rcnn_model_class_name(model, 0), "class_1") == 0 && rcnn_model_category_id(model, 0) == 1);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        const rcnn_layer *layer = rcnn_model_layer(model, expected[i].name);
        REQUIRE(layer);
        const size_t count = rcnn_layer_weight_count(layer);
        double sum = 0, squares = 0, bias_sum = 0;
        for (size_t k = 0; k < count; k++) {
            sum += (double)layer->weights[k];
            squares += (double)layer->weights[k] * (double)layer->weights[k];
        }
        for (int32_t k = 0; k < layer->out; k++) {
            bias_sum += (double)layer->bias[k];
        }
        CHECK_MSG(layer->out == expected[i].rows && count == expected[i].count, "%s", layer->name);
        CHECK_MSG(close_to(sum, expected[i].sum), "%s: %.12g", layer->name, sum);
        CHECK_MSG(close_to(squares, expected[i].squares), "%s: %.12g", layer->name, squares);
        CHECK_MSG(close_to(bias_sum, expected[i].bias_sum), "%s: %.12g", layer->name, bias_sum);
        CHECK_MSG(close_to((double)layer->weights[count / 3], expected[i].third), "%s", layer->name);
        CHECK_MSG(close_to((double)layer->bias[layer->out - 1], expected[i].last_bias), "%s", layer->name);
    }
    rcnn_model_destroy(model);
}

TEST_MAIN
