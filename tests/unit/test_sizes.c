/* Target sizes of the three frameworks (spec 2.2, 13.2, 14.1) and the factors that follow from them. */
#include "harness.h"
#include "stages/stages.h"

typedef struct size_case {
    int32_t height, width;
    int32_t round_height, round_width; /* mmdet and detectron2  */
    int32_t floor_height, floor_width; /* torchvision, double   */
} size_case;

static const size_case CASES[] = {
    {480, 640, 800, 1067, 800, 1066}, {427, 640, 800, 1199, 800, 1199},   {426, 640, 800, 1202, 800, 1201},
    {333, 500, 800, 1201, 800, 1201}, {1080, 1920, 750, 1333, 749, 1333}, {2304, 3840, 800, 1333, 799, 1333},
};

static rcnn_frame_image sized(rcnn_size_rule rule, rcnn_scale_rule scale, int32_t width, int32_t height)
{
    rcnn_config config;
    rcnn_config_init(&config);
    config.size_rule = rule;
    config.scale_rule = scale;
    rcnn_frame_image image = {.view = {.width = width, .height = height}};
    rcnn_preprocess_size(&config, 1333, 800, &image);
    return image;
}

TEST(golden_sizes)
{
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        const size_case *c = &CASES[i];
        const rcnn_size_rule rules[] = {RCNN_SIZE_MMDET, RCNN_SIZE_DETECTRON2, RCNN_SIZE_FLOOR};
        for (int r = 0; r < 3; r++) {
            rcnn_frame_image got = sized(rules[r], RCNN_SCALE_DIVIDE, c->width, c->height);
            int32_t want_w = rules[r] == RCNN_SIZE_FLOOR ? c->floor_width : c->round_width;
            int32_t want_h = rules[r] == RCNN_SIZE_FLOOR ? c->floor_height : c->round_height;
            CHECK_MSG(got.net_width == want_w && got.net_height == want_h, "%dx%d rule %d: want %dx%d, got %dx%d",
                      c->width, c->height, (int)rules[r], want_w, want_h, got.net_width, got.net_height);
        }
    }
}

TEST(float32_rule_differs_where_torchvision_0_14_does)
{
    rcnn_frame_image got = sized(RCNN_SIZE_FLOOR_F32, RCNN_SCALE_RATIO_F32, 640, 427);
    CHECK_MSG(got.net_width == 1199 && got.net_height == 799, "got %dx%d", got.net_width, got.net_height);
}

TEST(round_rules_agree)
{
    uint64_t seed = 11;
    for (int i = 0; i < 3000; i++) {
        int32_t w = 16 + (int32_t)(test_random(&seed) % 5000);
        int32_t h = 16 + (int32_t)(test_random(&seed) % 5000);
        rcnn_frame_image a = sized(RCNN_SIZE_MMDET, RCNN_SCALE_DIVIDE, w, h);
        rcnn_frame_image b = sized(RCNN_SIZE_DETECTRON2, RCNN_SCALE_DIVIDE, w, h);
        CHECK_MSG(a.net_width == b.net_width && a.net_height == b.net_height, "%dx%d: %dx%d, %dx%d", w, h, a.net_width,
                  a.net_height, b.net_width, b.net_height);
    }
}

TEST(scale_factors)
{
    rcnn_frame_image a = sized(RCNN_SIZE_MMDET, RCNN_SCALE_DIVIDE, 640, 480);
    CHECK(a.scale_x == (float)(1067.0 / 640.0) && a.scale_y == (float)(800.0 / 480.0));
    rcnn_frame_image b = sized(RCNN_SIZE_FLOOR, RCNN_SCALE_RATIO_F32, 641, 427);
    CHECK(b.ratio_x == 641.0f / (float)b.net_width && b.ratio_y == 427.0f / (float)b.net_height);
    rcnn_frame_image c = sized(RCNN_SIZE_DETECTRON2, RCNN_SCALE_RATIO_F64, 641, 427);
    CHECK(c.ratio_x == (float)(641.0 / c.net_width) && c.ratio_y == (float)(427.0 / c.net_height));
}

TEST(extreme_shapes_stay_at_least_one_pixel)
{
    rcnn_frame_image thin = sized(RCNN_SIZE_FLOOR, RCNN_SCALE_DIVIDE, 65500, 1);
    CHECK(thin.net_width <= 1333 && thin.net_height == 1);
    rcnn_frame_image one = sized(RCNN_SIZE_MMDET, RCNN_SCALE_DIVIDE, 1, 1);
    CHECK(one.net_width == 800 && one.net_height == 800);
}

TEST_MAIN
