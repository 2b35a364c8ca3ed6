/* The model config: defaults and presets against spec section 1, text and JSON forms, ranges, overrides, and the scan
 * of mmdetection config text. */
#include "harness.h"

#include "base/memory.h"
#include "model/config.h"
#include "model/mmdet_text.h"

static bool three(const double *values, double a, double b, double c)
{
    return values[0] == a && values[1] == b && values[2] == c;
}

static rcnn_config preset(rcnn_family family, rcnn_style style)
{
    rcnn_config c;
    rcnn_config_init(&c);
    rcnn_config_apply_family(&c, family, style);
    return c;
}

/* --------------------------------------------------------------- presets */

/* The rows of spec section 1 that are the same for every family. */
static void check_common(const rcnn_config *c)
{
    CHECK(c->long_side == 1333 && c->short_side == 800 && c->size_divisor == 32);
    CHECK(c->bn_eps == 1e-5);
    CHECK(c->rpn_pre_nms == 1000 && c->rpn_post_nms == 1000 && c->rpn_nms_iou == 0.7);
    CHECK(c->score_threshold == 0.05 && c->box_nms_iou == 0.5 && c->max_detections == 100);
    CHECK(c->box_pool == 7 && c->mask_pool == 14);
    CHECK(three(c->anchor_ratios, 0.5, 1, 2));
    CHECK(c->anchor_sizes[0] == 32 && c->anchor_sizes[4] == 512);
    CHECK(c->delta_weights[0] == 10 && c->delta_weights[3] == 5);
    rcnn_error err = {0};
    CHECK_OK(rcnn_config_validate(c, &err), err);
}

TEST(mmdet_pytorch_preset)
{
    for (int family = RCNN_FAMILY_MMDET2; family <= RCNN_FAMILY_MMDET3; family++) {
        rcnn_config c = preset((rcnn_family)family, RCNN_STYLE_PYTORCH);
        check_common(&c);
        CHECK(c.channel_order == RCNN_CHANNELS_RGB && !c.unit_range && c.apply_exif);
        CHECK(three(c.mean, 123.675, 116.28, 103.53) && three(c.std, 58.395, 57.12, 57.375));
        CHECK(c.resize == RCNN_RESIZE_OPENCV && c.size_rule == RCNN_SIZE_MMDET);
        CHECK(!c.background_first && !c.anchor_round && c.anchor_step == RCNN_ANCHOR_STEP_STRIDE);
        CHECK(c.rpn_rank == RCNN_RANK_SIGMOID && c.rpn_keep_order && c.rpn_min_size == 0 && !c.rpn_min_inclusive);
        CHECK(c.nms_rule == RCNN_NMS_MMCV && c.clamp_both && c.level_rule == RCNN_LEVEL_MMDET);
        CHECK(c.roi_aligned && c.roi_sampling == 0 && c.delta_multiply && c.box_min_size == 0);
        CHECK(c.scale_rule == RCNN_SCALE_DIVIDE && !c.clip_output && c.paste == RCNN_PASTE_GRID);
        CHECK(c.rescale_first == (family == RCNN_FAMILY_MMDET2));
    }
}

TEST(mmdet2_pytorch_preset_is_the_default)
{
    rcnn_config defaults, c = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_PYTORCH);
    rcnn_text a = {0}, b = {0};
    rcnn_config_init(&defaults);
    rcnn_config_to_json(&defaults, &a);
    rcnn_config_to_json(&c, &b);
    CHECK(a.data && b.data && strcmp(a.data, b.data) == 0);
    rcnn_text_free(&a);
    rcnn_text_free(&b);
}

TEST(mmdet3_without_masks_rescales_first)
{
    rcnn_config c;
    rcnn_config_init(&c);
    c.has_mask = 0;
    rcnn_config_apply_family(&c, RCNN_FAMILY_MMDET3, RCNN_STYLE_PYTORCH);
    CHECK(c.rescale_first == 1);
}

TEST(mmdet_caffe_preset)
{
    rcnn_config c = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_CAFFE);
    check_common(&c);
    CHECK(c.channel_order == RCNN_CHANNELS_BGR && c.style == RCNN_STYLE_CAFFE);
    CHECK(three(c.mean, 103.53, 116.28, 123.675) && three(c.std, 1, 1, 1));
    CHECK(c.resize == RCNN_RESIZE_OPENCV && c.rpn_rank == RCNN_RANK_SIGMOID && c.rescale_first);
}

TEST(torchvision_preset)
{
    rcnn_config c = preset(RCNN_FAMILY_TORCHVISION, RCNN_STYLE_PYTORCH);
    check_common(&c);
    CHECK(c.channel_order == RCNN_CHANNELS_RGB && c.unit_range && !c.apply_exif);
    CHECK(three(c.mean, 0.485, 0.456, 0.406) && three(c.std, 0.229, 0.224, 0.225));
    CHECK(c.resize == RCNN_RESIZE_FLOAT && c.size_rule == RCNN_SIZE_FLOOR);
    CHECK(c.background_first && c.anchor_round && c.anchor_step == RCNN_ANCHOR_STEP_RATIO);
    CHECK(c.rpn_rank == RCNN_RANK_LOGIT && !c.rpn_keep_order && c.rpn_min_size == 1e-3 && c.rpn_min_inclusive);
    CHECK(c.nms_rule == RCNN_NMS_TORCHVISION && !c.clamp_both && c.level_rule == RCNN_LEVEL_TORCHVISION);
    CHECK(!c.roi_aligned && c.roi_sampling == 2 && !c.delta_multiply && c.box_min_size == 1e-2);
    CHECK(c.scale_rule == RCNN_SCALE_RATIO_F32 && !c.clip_output && c.paste == RCNN_PASTE_PADDED);
    CHECK(!c.rescale_first);
}

TEST(detectron2_preset)
{
    rcnn_config c = preset(RCNN_FAMILY_DETECTRON2, RCNN_STYLE_CAFFE);
    check_common(&c);
    CHECK(c.channel_order == RCNN_CHANNELS_BGR && !c.unit_range && c.apply_exif);
    CHECK(three(c.mean, 103.53, 116.28, 123.675) && three(c.std, 1, 1, 1));
    CHECK(c.resize == RCNN_RESIZE_PILLOW && c.size_rule == RCNN_SIZE_DETECTRON2);
    CHECK(!c.background_first && !c.anchor_round && c.anchor_step == RCNN_ANCHOR_STEP_STRIDE);
    CHECK(c.rpn_rank == RCNN_RANK_LOGIT && !c.rpn_keep_order && c.rpn_min_size == 0 && !c.rpn_min_inclusive);
    CHECK(c.nms_rule == RCNN_NMS_TORCHVISION && !c.clamp_both && c.level_rule == RCNN_LEVEL_DETECTRON2);
    CHECK(c.roi_aligned && c.roi_sampling == 0 && !c.delta_multiply && c.box_min_size == 0);
    CHECK(c.scale_rule == RCNN_SCALE_RATIO_F64 && c.clip_output && c.paste == RCNN_PASTE_GRID && !c.rescale_first);
}

/* A preset leaves nothing of the one before it. */
TEST(presets_do_not_depend_on_history)
{
    for (int from = 0; from < 8; from++) {
        for (int to = 0; to < 8; to++) {
            rcnn_config c = preset((rcnn_family)(from / 2), (rcnn_style)(from % 2));
            rcnn_config want = preset((rcnn_family)(to / 2), (rcnn_style)(to % 2));
            rcnn_config_apply_family(&c, (rcnn_family)(to / 2), (rcnn_style)(to % 2));
            rcnn_text a = {0}, b = {0};
            rcnn_config_to_json(&c, &a);
            rcnn_config_to_json(&want, &b);
            CHECK_MSG(strcmp(a.data, b.data) == 0, "from %d to %d", from, to);
            rcnn_text_free(&a);
            rcnn_text_free(&b);
        }
    }
}

/* ------------------------------------------------------------------ text */

TEST(set_reads_every_type)
{
    rcnn_config c;
    rcnn_config_key which;
    rcnn_error err = {0};
    rcnn_config_init(&c);
    CHECK_OK(rcnn_config_set(&c, "style", " caffe ", &which, &err), err);
    CHECK(c.style == RCNN_STYLE_CAFFE && which == RCNN_CONFIG_style);
    CHECK_OK(rcnn_config_set(&c, "blocks", "3, 8,36,3", NULL, &err), err);
    CHECK(c.blocks[1] == 8 && c.blocks[2] == 36);
    CHECK_OK(rcnn_config_set(&c, "mean", "1,2.5,-3e1", NULL, &err), err);
    CHECK(three(c.mean, 1, 2.5, -30));
    CHECK_OK(rcnn_config_set(&c, "has_mask", "false", NULL, &err), err);
    CHECK(c.has_mask == 0);
    CHECK_OK(rcnn_config_set(&c, "has_mask", "1", NULL, &err), err);
    CHECK(c.has_mask == 1);
    CHECK_OK(rcnn_config_set(&c, "bn_eps", "0", NULL, &err), err);
    CHECK(c.bn_eps == 0);
    CHECK_OK(rcnn_config_set(&c, "long_side", "1600", NULL, &err), err);
    CHECK(c.long_side == 1600);
}

TEST(set_refuses_and_names_the_key)
{
    static const struct {
        const char *key, *value, *text;
    } bad[] = {
        {"colour", "1", "colour"},
        {"", "1", "want a key"},
        {"style", "tensorflow", "pytorch or caffe"},
        {"family", "MMDET2", "mmdet2, mmdet3, torchvision or detectron2"},
        {"long_side", "12.5", "an integer"},
        {"long_side", "", "long_side"},
        {"long_side", "0", "32 .. 65500"},
        {"long_side", "1e10", "an integer"},
        {"blocks", "3,4,6", "4 integers"},
        {"blocks", "3,4,6,3,1", "4 integers"},
        {"blocks", "3,4,6,0", "1 .. 128"},
        {"mean", "1,2,x", "3 numbers"},
        {"mean", "1,2,nan", "mean"},
        {"std", "1,0,1", "std"},
        {"has_mask", "maybe", "true or false"},
        {"bn_eps", "-1e-9", "bn_eps"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rcnn_config c;
        rcnn_error err = {0};
        rcnn_config_init(&c);
        CHECK_MSG(rcnn_config_set(&c, bad[i].key, bad[i].value, NULL, &err) == RCNN_ERR_ARGUMENT, "%s=%s", bad[i].key,
                  bad[i].value);
        CHECK_MSG(strstr(err.message, bad[i].text), "%s=%s gave: %s", bad[i].key, bad[i].value, err.message);
        rcnn_config fresh;
        rcnn_config_init(&fresh);
        CHECK(memcmp(c.blocks, fresh.blocks, sizeof c.blocks) == 0 && three(c.mean, 123.675, 116.28, 103.53));
    }
}

TEST(value_text_reads_back)
{
    rcnn_config c = preset(RCNN_FAMILY_TORCHVISION, RCNN_STYLE_CAFFE);
    c.bn_eps = 0.1 + 0.2; /* needs all 17 digits */
    for (int key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        rcnn_text a = {0}, b = {0};
        rcnn_error err = {0};
        rcnn_config copy;
        rcnn_config_init(&copy);
        rcnn_config_value_text(&c, (rcnn_config_key)key, &a);
        CHECK_OK(rcnn_config_set(&copy, rcnn_config_name((rcnn_config_key)key), a.data, NULL, &err), err);
        rcnn_config_value_text(&copy, (rcnn_config_key)key, &b);
        CHECK(strcmp(a.data, b.data) == 0);
        CHECK(rcnn_config_help((rcnn_config_key)key)[0] != '\0');
        rcnn_text_free(&a);
        rcnn_text_free(&b);
    }
}

TEST(validate_checks_values_against_each_other)
{
    rcnn_error err = {0};
    rcnn_config c;
    rcnn_config_init(&c);
    c.short_side = 2000;
    CHECK(rcnn_config_validate(&c, &err) == RCNN_ERR_FORMAT && strstr(err.message, "short_side"));
    rcnn_config_init(&c);
    c.size_divisor = 48;
    CHECK(rcnn_config_validate(&c, &err) == RCNN_ERR_FORMAT && strstr(err.message, "size_divisor"));
    rcnn_config_init(&c);
    c.block = RCNN_BLOCK_BASIC;
    c.groups = 32;
    CHECK(rcnn_config_validate(&c, &err) == RCNN_ERR_FORMAT && strstr(err.message, "groups"));
    rcnn_config_init(&c);
    c.std[1] = NAN;
    CHECK(rcnn_config_validate(&c, &err) == RCNN_ERR_FORMAT && strstr(err.message, "std"));
    rcnn_config_init(&c);
    c.family = (rcnn_family)9;
    CHECK(rcnn_config_validate(&c, &err) == RCNN_ERR_FORMAT && strstr(err.message, "family"));
}

/* The table of keys in docs/weights-format.md is what the program says of itself. */
TEST(the_document_lists_every_key)
{
    enum { ROOM = 1 << 16 };
    FILE *stream = fopen(RCNN_SOURCE_DIR "/docs/weights-format.md", "r");
    char *document = calloc(1, ROOM);
    REQUIRE(stream && document);
    CHECK(fread(document, 1, ROOM - 1, stream) > 0);
    fclose(stream);
    rcnn_config c;
    rcnn_config_init(&c);
    for (int key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        rcnn_text value = {0}, row = {0};
        rcnn_config_value_text(&c, (rcnn_config_key)key, &value);
        rcnn_text_printf(&row, "| `%s` | `%s` | %s |", rcnn_config_name((rcnn_config_key)key), value.data,
                         rcnn_config_help((rcnn_config_key)key));
        CHECK_MSG(strstr(document, row.data), "want the row %s", row.data);
        rcnn_text_free(&value);
        rcnn_text_free(&row);
    }
    free(document);
}

/* ------------------------------------------------------------------ JSON */

TEST(json_round_trip)
{
    rcnn_config c = preset(RCNN_FAMILY_DETECTRON2, RCNN_STYLE_PYTORCH), back;
    rcnn_config_sources sources = {{0}};
    rcnn_error err = {0};
    rcnn_text a = {0}, b = {0};
    c.class_count = 7;
    c.agnostic_box = 1;
    c.bn_eps = 1.0 / 3;
    rcnn_config_to_json(&c, &a);
    rcnn_config_init(&back);
    CHECK_OK(rcnn_config_from_json(&back, &sources, a.data, a.length, &err), err);
    rcnn_config_to_json(&back, &b);
    CHECK(strcmp(a.data, b.data) == 0);
    for (int key = 0; key < RCNN_CONFIG_KEY_COUNT; key++) {
        CHECK(sources.of[key] == RCNN_SOURCE_FILE);
    }
    rcnn_text_free(&a);
    rcnn_text_free(&b);
}

TEST(json_missing_keys_keep_their_value)
{
    static const char text[] = "{\"style\":\"caffe\"}";
    rcnn_config c;
    rcnn_config_sources sources = {{0}};
    rcnn_error err = {0};
    rcnn_config_init(&c);
    CHECK_OK(rcnn_config_from_json(&c, &sources, text, sizeof text - 1, &err), err);
    CHECK(c.style == RCNN_STYLE_CAFFE && c.class_count == 80);
    CHECK(sources.of[RCNN_CONFIG_style] == RCNN_SOURCE_FILE && sources.of[RCNN_CONFIG_blocks] == RCNN_SOURCE_DEFAULT);
}

TEST(json_refusals)
{
    static const struct {
        const char *json, *text;
    } bad[] = {
        {"{\"colour\":1}", "colour"},
        {"{\"style\":\"caffe\",\"style\":\"caffe\"}", "twice"},
        {"{\"style\":\"x\"}", "pytorch or caffe"},
        {"{\"style\":0}", "style"},
        {"{\"blocks\":[3,4,6]}", "blocks"},
        {"{\"blocks\":[3,4,6,3,3]}", "]"},
        {"{\"blocks\":3}", ""},
        {"{\"groups\":1.5}", "groups"},
        {"{\"groups\":1e99}", "groups"},
        {"{\"groups\":0}", "groups"},
        {"{\"has_mask\":1}", "has_mask"},
        {"{\"bn_eps\":\"0\"}", "bn_eps"},
        {"{\"bn_eps\":0", ""},
        {"[]", ""},
        {"", ""},
        {"{} x", ""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rcnn_config c;
        rcnn_error err = {0};
        rcnn_config_init(&c);
        rcnn_status status = rcnn_config_from_json(&c, NULL, bad[i].json, strlen(bad[i].json), &err);
        CHECK_MSG(status == RCNN_ERR_FORMAT && strstr(err.message, bad[i].text), "%s gave %d: %s", bad[i].json,
                  (int)status, err.message);
        CHECK(c.style == RCNN_STYLE_PYTORCH && c.groups == 1);
    }
}

TEST(json_survives_failing_allocations)
{
    rcnn_config c;
    rcnn_config_init(&c);
    for (uint64_t nth = 1; nth < 1000; nth++) {
        rcnn_text text = {0};
        rcnn_error err = {0};
        rcnn_memory_fail_from(nth);
        rcnn_config_to_json(&c, &text);
        rcnn_status status =
            text.failed ? RCNN_ERR_MEMORY : rcnn_config_from_json(&c, NULL, text.data, text.length, &err);
        rcnn_memory_fail_from(0);
        rcnn_text_free(&text);
        if (status == RCNN_OK) {
            CHECK(nth > 1);
            return;
        }
        CHECK(status == RCNN_ERR_MEMORY);
    }
    CHECK_MSG(false, "it never ran through");
}

/* ------------------------------------------------------------- overrides */

static rcnn_status override(rcnn_config *c, rcnn_config_sources *sources, const char *a, const char *b, rcnn_error *err)
{
    const char *lines[2] = {a, b};
    return rcnn_config_override(c, sources, lines, b ? 2 : 1, err);
}

TEST(a_new_family_comes_first_wherever_it_stands)
{
    rcnn_config_sources sources = {{0}};
    rcnn_error err = {0};
    rcnn_config c = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_PYTORCH);
    CHECK_OK(override(&c, &sources, "rpn_min_size=2", "family=torchvision", &err), err);
    CHECK(c.family == RCNN_FAMILY_TORCHVISION && c.rpn_min_size == 2 && c.paste == RCNN_PASTE_PADDED);
    CHECK(sources.of[RCNN_CONFIG_family] == RCNN_SOURCE_OVERRIDE);
    CHECK(sources.of[RCNN_CONFIG_rpn_min_size] == RCNN_SOURCE_OVERRIDE);
    CHECK(sources.of[RCNN_CONFIG_paste] == RCNN_SOURCE_DEFAULT);
}

TEST(a_new_style_changes_only_what_styles_differ_in)
{
    rcnn_config_sources sources = {{0}};
    rcnn_error err = {0};
    rcnn_config c = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_PYTORCH);
    c.score_threshold = 0.3;
    c.mean[0] = 1; /* as a file may have said for the other style */
    sources.of[RCNN_CONFIG_score_threshold] = RCNN_SOURCE_FILE;
    sources.of[RCNN_CONFIG_mean] = RCNN_SOURCE_FILE;
    CHECK_OK(override(&c, &sources, "style=caffe", NULL, &err), err);
    CHECK(c.score_threshold == 0.3 && sources.of[RCNN_CONFIG_score_threshold] == RCNN_SOURCE_FILE);
    CHECK(three(c.mean, 103.53, 116.28, 123.675) && sources.of[RCNN_CONFIG_mean] == RCNN_SOURCE_DEFAULT);
    CHECK(c.channel_order == RCNN_CHANNELS_BGR);
}

TEST(the_same_family_again_changes_nothing)
{
    rcnn_config_sources sources = {{0}};
    rcnn_error err = {0};
    rcnn_config c = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_PYTORCH);
    c.mean[0] = 1;
    CHECK_OK(override(&c, &sources, "family=mmdet2", "style=pytorch", &err), err);
    CHECK(c.mean[0] == 1);
}

TEST(bad_override_lines)
{
    static const char *const bad[] = {
        "style",  "=caffe", "nothing=1",
        "style=", NULL,     "a_key_that_is_far_longer_than_any_key_of_the_model_config_could_be=1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rcnn_config_sources sources = {{0}};
        rcnn_error err = {0};
        rcnn_config c = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_PYTORCH);
        CHECK(override(&c, &sources, bad[i], NULL, &err) == RCNN_ERR_ARGUMENT);
        CHECK(err.message[0]);
    }
}

/* ------------------------------------------------------ mmdetection text */

/* Shortened from what mmdetection 2.x writes for a caffe-style Mask R-CNN. */
static const char mmdet2_text[] =
    "model = dict(\n"
    "    type='MaskRCNN',\n"
    "    backbone=dict(type='ResNet', depth=50, norm_cfg=dict(type='BN', requires_grad=False), style='caffe'),\n"
    "    rpn_head=dict(anchor_generator=dict(type='AnchorGenerator', scales=[4], ratios=[0.3, 1.0, 3.0],\n"
    "        strides=[4, 8, 16, 32, 64]), bbox_coder=dict(target_stds=[1.0, 1.0, 1.0, 1.0])),\n"
    "    roi_head=dict(bbox_roi_extractor=dict(roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=2)),\n"
    "        bbox_head=dict(bbox_coder=dict(target_stds=[0.05, 0.05, 0.1, 0.1])),\n"
    "        mask_roi_extractor=dict(roi_layer=dict(output_size=28))),\n"
    "    train_cfg=dict(rpn_proposal=dict(nms_pre=2000, max_per_img=2000), rcnn=dict(x=1)),\n"
    "    test_cfg=dict(  # a comment with ' a quote and test_cfg=dict(rpn=dict(nms_pre=7))\n"
    "        rpn=dict(nms_pre=500, max_per_img=300, nms=dict(type='nms', iou_threshold=0.65), min_bbox_size=-1),\n"
    "        rcnn=dict(score_thr=0.01, nms=dict(type='soft_nms', iou_threshold=0.4), max_per_img=200)))\n"
    "img_norm_cfg = dict(mean=[103.53, 116.28, 123.675], std=[1.0, 1.0, 1.0], to_rgb=False)\n"
    "train_pipeline = [dict(type='Resize', img_scale=(9999, 99))]\n"
    "test_pipeline = [dict(type='MultiScaleFlipAug', img_scale=(600, 1000),\n"
    "    transforms=[dict(type='Resize', keep_ratio=True), dict(type='Pad', size_divisor=64)])]\n";

static int warnings;
static void count_warnings(void *context, rcnn_log_level level, const char *line)
{
    (void)context;
    (void)line;
    warnings += level == RCNN_LOG_WARN;
}

TEST(mmdet2_config_text)
{
    rcnn_config c = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_CAFFE);
    rcnn_config_sources sources = {{0}};
    rcnn_style style;
    CHECK(rcnn_mmdet_text_style(mmdet2_text, &style) && style == RCNN_STYLE_CAFFE);
    warnings = 0;
    rcnn_log_set(count_warnings, NULL, RCNN_LOG_WARN);
    rcnn_mmdet_text_read(mmdet2_text, &c, &sources);
    rcnn_log_set(NULL, NULL, RCNN_LOG_ERROR);
    CHECK(warnings == 1); /* soft_nms */
    CHECK(three(c.mean, 103.53, 116.28, 123.675) && three(c.std, 1, 1, 1));
    CHECK(c.channel_order == RCNN_CHANNELS_BGR && sources.of[RCNN_CONFIG_channel_order] == RCNN_SOURCE_FILE);
    CHECK(c.long_side == 1000 && c.short_side == 600 && c.size_divisor == 64);
    CHECK(c.anchor_sizes[0] == 16 && c.anchor_sizes[4] == 256 && three(c.anchor_ratios, 0.3, 1, 3));
    CHECK(c.rpn_pre_nms == 500 && c.rpn_post_nms == 300 && c.rpn_nms_iou == 0.65 && c.rpn_min_size == -1);
    CHECK(c.roi_sampling == 2 && c.mask_pool == 28);
    CHECK(c.delta_weights[0] == 20 && c.delta_weights[2] == 10);
    CHECK(c.score_threshold == 0.01 && c.box_nms_iou == 0.4 && c.max_detections == 200);
}

TEST(mmdet3_config_text)
{
    static const char text[] =
        "test_cfg = dict(type='TestLoop')\n"
        "model = dict(data_preprocessor=dict(type='DetDataPreprocessor', mean=[1, 2, 3], std=[4, 5, 6],\n"
        "  bgr_to_rgb=True, pad_size_divisor=32), backbone={'type': 'ResNet', 'style': \"pytorch\"},\n"
        "  test_cfg=dict(rpn=dict(nms_pre=900), rcnn=dict(score_thr=0.07)))\n"
        "test_pipeline = [dict(type='Resize', scale=(1200, 700), keep_ratio=True)]\n";
    rcnn_config c = preset(RCNN_FAMILY_MMDET3, RCNN_STYLE_PYTORCH);
    rcnn_config_sources sources = {{0}};
    rcnn_style style;
    CHECK(rcnn_mmdet_text_style(text, &style) && style == RCNN_STYLE_PYTORCH);
    rcnn_mmdet_text_read(text, &c, &sources);
    CHECK(three(c.mean, 1, 2, 3) && three(c.std, 4, 5, 6) && c.channel_order == RCNN_CHANNELS_RGB);
    CHECK(c.long_side == 1200 && c.short_side == 700);
    CHECK(c.rpn_pre_nms == 900 && c.score_threshold == 0.07 && c.max_detections == 100);
    CHECK(sources.of[RCNN_CONFIG_max_detections] == RCNN_SOURCE_DEFAULT);
}

TEST(unreadable_config_text_keeps_defaults)
{
    static const char *const texts[] = {
        "",
        "test_cfg",
        "test_cfg=",
        "test_cfg=dict(rpn=dict(nms_pre=",
        "test_cfg=dict(rpn=dict(nms_pre=1/3))",
        "test_cfg=dict(rpn=dict(nms_pre=-5,nms_thr='x'))",
        "img_norm_cfg=dict(mean=[1,2],std=[0,0,0],to_rgb=maybe)",
        "test_pipeline=[dict(img_scale=1333)]",
        "test_pipeline=[dict(img_scale=(1000, 3))]",
        "'''unclosed test_cfg=dict(",
        "roi_head=dict(bbox_head=dict(target_stds=[0,0,0,0]))",
        "test_cfg=dict(rcnn=dict(score_thr==0.5))",
        ")))test_cfg=((((((",
        "img_norm_cfg=dict(mean=[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18])",
    };
    rcnn_text want = {0};
    rcnn_config fresh = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_PYTORCH);
    rcnn_config_to_json(&fresh, &want);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        rcnn_config c = fresh;
        rcnn_config_sources sources = {{0}};
        rcnn_text got = {0};
        rcnn_mmdet_text_read(texts[i], &c, &sources);
        rcnn_config_to_json(&c, &got);
        CHECK_MSG(strcmp(got.data, want.data) == 0, "%s", texts[i]);
        rcnn_text_free(&got);
    }
    rcnn_text_free(&want);
}

/* Nested look-alikes make a careless scan quadratic or worse; this one gives up after a fixed number of places. */
TEST(hostile_config_text_is_bounded)
{
    enum { COPIES = 60000 };
    static const char piece[] = "test_cfg=dict(rpn=(";
    char *text = malloc(COPIES * (sizeof piece - 1) + 1);
    REQUIRE(text);
    for (size_t i = 0; i < COPIES; i++) {
        memcpy(text + i * (sizeof piece - 1), piece, sizeof piece);
    }
    rcnn_config c = preset(RCNN_FAMILY_MMDET2, RCNN_STYLE_PYTORCH);
    rcnn_config_sources sources = {{0}};
    rcnn_mmdet_text_read(text, &c, &sources);
    CHECK(c.rpn_pre_nms == 1000);
    free(text);
}

TEST_MAIN
