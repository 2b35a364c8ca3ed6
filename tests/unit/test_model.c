/* Loading, folding, naming, inferring and refusing networks, on thin state dicts made in memory. */
#include "harness.h"

#include <unistd.h>

#include "base/memory.h"
#include "model/classes.h"
#include "model/layers.h"
#include "model/quantise.h"
#include "state_dict.h"

static rcnn_status load(state_dict *dict, const rcnn_model_options *options, rcnn_model **model, rcnn_error *err)
{
    rcnn_weights *weights = state_dict_open(dict);
    rcnn_status status = rcnn_model_load_weights(weights, options, model, err);
    rcnn_weights_close(weights);
    return status;
}

static const char *config_value(const rcnn_model *model, const char *key, const char **source)
{
    for (int32_t i = 0; i < rcnn_model_config_count(); i++) {
        const char *name = NULL, *value = NULL;
        CHECK(rcnn_model_config_get(model, i, &name, &value, source) == RCNN_OK);
        if (strcmp(name, key) == 0) {
            return value;
        }
    }
    return "no such key";
}

static bool config_is(const rcnn_model *model, const char *key, const char *value, const char *source)
{
    const char *got_source = NULL;
    const char *got = config_value(model, key, &got_source);
    if (strcmp(got, value) != 0 || strcmp(got_source, source) != 0) {
        fprintf(stderr, "%s: want %s (%s), got %s (%s)\n", key, value, source, got, got_source);
        return false;
    }
    return true;
}

/* ------------------------------------------------------- thin networks */

static double worst_difference(const float *got, const double *want, size_t count)
{
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        const double difference = fabs((double)got[i] - want[i]) / (1 + fabs(want[i]));
        worst = difference > worst ? difference : worst;
    }
    return worst;
}

/* Every layer of the dict is in the model, in order, with the folded values; tolerance: one rounding to float. */
static void check_layers(const rcnn_model *model, const state_dict *dict)
{
    CHECK_MSG(model->layer_count == dict->layer_count, "%d layers, want %d", model->layer_count, dict->layer_count);
    int64_t parameters = 0;
    for (int32_t i = 0; i < dict->layer_count && i < model->layer_count; i++) {
        const dict_layer *want = &dict->layers[i];
        const rcnn_layer *got = &model->layers[i];
        CHECK_MSG(strcmp(got->name, want->name) == 0, "layer %d: %s, want %s", i, got->name, want->name);
        CHECK_MSG(got->out == want->out && rcnn_layer_weight_count(got) == want->weight_count, "%s", want->name);
        CHECK_MSG(got->stride == want->stride && got->groups == want->groups, "%s: stride %d groups %d", want->name,
                  got->stride, got->groups);
        CHECK_MSG(worst_difference(got->weights, want->weights, want->weight_count) < 1e-7, "%s weights", want->name);
        CHECK_MSG(worst_difference(got->bias, want->bias, (size_t)want->out) < 1e-7, "%s bias", want->name);
        CHECK(rcnn_model_layer(model, want->name) == got);
        parameters += (int64_t)want->weight_count + want->out;
    }
    CHECK(rcnn_model_layer(model, "no.such.layer") == NULL);
    CHECK(rcnn_model_parameter_count(model) == parameters);
}

static void check_inferred(const rcnn_model *model, const thin_network *network, rcnn_family family)
{
    const rcnn_config *got = &model->config, *want = &network->config;
    CHECK(got->family == family && got->block == want->block && got->groups == want->groups);
    CHECK(memcmp(got->blocks, want->blocks, sizeof got->blocks) == 0);
    CHECK(got->class_count == want->class_count && got->has_mask == want->has_mask);
    CHECK(got->rpn_convs == want->rpn_convs && got->box_convs == want->box_convs && got->box_fcs == want->box_fcs);
    CHECK(!want->has_mask || got->mask_convs == want->mask_convs);
    CHECK(got->agnostic_box == want->agnostic_box && got->agnostic_mask == want->agnostic_mask);
    CHECK(got->background_first == want->background_first && got->style == want->style);
    CHECK(got->bn_eps == want->bn_eps && got->box_pool == 7);
    CHECK(rcnn_model_class_count(model) == want->class_count && rcnn_model_has_masks(model) == want->has_mask);
}

static void check_network(const thin_network *network, rcnn_family family)
{
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    state_dict_make(dict, network);
    CHECK_OK(load(dict, NULL, &model, &err), err);
    if (model) {
        check_layers(model, dict);
        check_inferred(model, network, family);
    }
    rcnn_model_destroy(model);
    state_dict_free(dict);
}

static const struct {
    rcnn_naming naming;
    rcnn_family family;
} families[] = {{RCNN_NAMING_MMDET, RCNN_FAMILY_MMDET2},
                {RCNN_NAMING_TORCHVISION, RCNN_FAMILY_TORCHVISION},
                {RCNN_NAMING_TORCHVISION_OLD, RCNN_FAMILY_TORCHVISION},
                {RCNN_NAMING_DETECTRON2, RCNN_FAMILY_DETECTRON2}};
enum { FAMILIES = sizeof families / sizeof families[0] };

static void set_blocks(thin_network *n, int32_t a, int32_t b, int32_t c, int32_t d)
{
    const int32_t blocks[4] = {a, b, c, d};
    memcpy(n->config.blocks, blocks, sizeof blocks);
}

TEST(resnet50_like_in_every_naming)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        thin_network n = thin_network_of(families[i].naming);
        set_blocks(&n, 3, 4, 6, 3);
        check_network(&n, families[i].family);
    }
}

TEST(resnet18_like_in_every_naming)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        thin_network n = thin_network_of(families[i].naming);
        set_blocks(&n, 2, 2, 2, 2);
        n.config.block = RCNN_BLOCK_BASIC;
        n.stage1_plain = true;
        check_network(&n, families[i].family);
    }
}

TEST(resnext_in_every_naming)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        thin_network n = thin_network_of(families[i].naming);
        n.config.groups = 4;
        if (families[i].naming == RCNN_NAMING_DETECTRON2) {
            n.config.style = RCNN_STYLE_PYTORCH; /* its ResNeXt weights have the stride in the 3x3 */
        }
        check_network(&n, families[i].family);
    }
}

TEST(faster_rcnn_in_every_naming)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        thin_network n = thin_network_of(families[i].naming);
        n.config.has_mask = 0;
        check_network(&n, families[i].family);
    }
}

TEST(torchvision_v2)
{
    thin_network n = thin_network_of(RCNN_NAMING_TORCHVISION);
    n.config.rpn_convs = 2;
    n.config.box_convs = 4;
    n.config.box_fcs = 1;
    n.head_norms = true;
    check_network(&n, RCNN_FAMILY_TORCHVISION);
}

TEST(heads_of_other_depths)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        thin_network n = thin_network_of(families[i].naming);
        const bool old = families[i].naming == RCNN_NAMING_TORCHVISION_OLD;
        n.config.rpn_convs = old ? 1 : 3;
        n.config.box_convs = old ? 0 : 2;
        n.config.box_fcs = 3;
        n.config.mask_convs = 1;
        check_network(&n, families[i].family);
    }
}

TEST(agnostic_heads)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        thin_network n = thin_network_of(families[i].naming);
        n.config.agnostic_box = n.config.agnostic_mask = 1;
        check_network(&n, families[i].family);
    }
}

TEST(one_class_is_not_agnostic)
{
    for (size_t i = 0; i < FAMILIES; i++) {
        thin_network n = thin_network_of(families[i].naming);
        n.config.class_count = 1;
        check_network(&n, families[i].family);
    }
}

/* ------------------------------------------------------------------ names */

static bool table_has(const rcnn_config *config, rcnn_naming naming, const char *tensor)
{
    static const char *const suffixes[] = {".weight", ".bias", ".running_mean", ".running_var"};
    rcnn_layer_spec *specs = NULL;
    int32_t count = 0;
    bool found = false;
    CHECK(rcnn_names_list(config, &specs, &count, NULL) == RCNN_OK);
    for (int32_t i = 0; i < count * RCNN_PARTS_MAX && !found; i++) {
        rcnn_tensor_names names;
        if (!rcnn_names_tensor_to_write(&specs[i / RCNN_PARTS_MAX], i % RCNN_PARTS_MAX, naming, config, &names)) {
            continue;
        }
        for (size_t k = 0; k < 4 && !found; k++) {
            char conv[200], norm[200];
            snprintf(conv, sizeof conv, "%s%s", names.conv, suffixes[k]);
            snprintf(norm, sizeof norm, "%s%s", names.norm, suffixes[k]);
            found = (k < 2 && strcmp(conv, tensor) == 0) || strcmp(norm, tensor) == 0;
        }
    }
    rcnn_free(specs);
    return found;
}

/* The names as they stand in spec section 15, written out by hand. */
TEST(names_of_the_specification)
{
    static const struct {
        rcnn_naming naming;
        const char *name;
    } rows[] = {
        {RCNN_NAMING_MMDET, "backbone.conv1.weight"},
        {RCNN_NAMING_MMDET, "backbone.bn1.running_var"},
        {RCNN_NAMING_MMDET, "backbone.layer3.5.conv2.weight"},
        {RCNN_NAMING_MMDET, "backbone.layer4.2.bn3.running_mean"},
        {RCNN_NAMING_MMDET, "backbone.layer1.0.downsample.0.weight"},
        {RCNN_NAMING_MMDET, "backbone.layer1.0.downsample.1.bias"},
        {RCNN_NAMING_MMDET, "neck.lateral_convs.0.conv.bias"},
        {RCNN_NAMING_MMDET, "neck.fpn_convs.3.conv.weight"},
        {RCNN_NAMING_MMDET, "rpn_head.rpn_conv.weight"},
        {RCNN_NAMING_MMDET, "rpn_head.rpn_cls.bias"},
        {RCNN_NAMING_MMDET, "rpn_head.rpn_reg.weight"},
        {RCNN_NAMING_MMDET, "roi_head.bbox_head.shared_fcs.0.weight"},
        {RCNN_NAMING_MMDET, "roi_head.bbox_head.shared_fcs.1.bias"},
        {RCNN_NAMING_MMDET, "roi_head.bbox_head.fc_cls.weight"},
        {RCNN_NAMING_MMDET, "roi_head.bbox_head.fc_reg.bias"},
        {RCNN_NAMING_MMDET, "roi_head.mask_head.convs.3.conv.weight"},
        {RCNN_NAMING_MMDET, "roi_head.mask_head.upsample.weight"},
        {RCNN_NAMING_MMDET, "roi_head.mask_head.conv_logits.bias"},
        {RCNN_NAMING_TORCHVISION_OLD, "backbone.body.layer2.3.bn1.weight"},
        {RCNN_NAMING_TORCHVISION_OLD, "backbone.fpn.inner_blocks.2.weight"},
        {RCNN_NAMING_TORCHVISION_OLD, "backbone.fpn.layer_blocks.0.bias"},
        {RCNN_NAMING_TORCHVISION_OLD, "rpn.head.conv.weight"},
        {RCNN_NAMING_TORCHVISION_OLD, "roi_heads.box_head.fc7.weight"},
        {RCNN_NAMING_TORCHVISION_OLD, "roi_heads.mask_head.mask_fcn1.weight"},
        {RCNN_NAMING_TORCHVISION_OLD, "roi_heads.mask_predictor.conv5_mask.weight"},
        {RCNN_NAMING_DETECTRON2, "backbone.bottom_up.stem.conv1.weight"},
        {RCNN_NAMING_DETECTRON2, "backbone.bottom_up.stem.conv1.norm.running_var"},
        {RCNN_NAMING_DETECTRON2, "backbone.bottom_up.res2.0.shortcut.weight"},
        {RCNN_NAMING_DETECTRON2, "backbone.bottom_up.res5.2.conv3.norm.bias"},
        {RCNN_NAMING_DETECTRON2, "backbone.bottom_up.res4.0.shortcut.norm.weight"},
        {RCNN_NAMING_DETECTRON2, "backbone.fpn_lateral2.weight"},
        {RCNN_NAMING_DETECTRON2, "backbone.fpn_output5.bias"},
        {RCNN_NAMING_DETECTRON2, "proposal_generator.rpn_head.conv.weight"},
        {RCNN_NAMING_DETECTRON2, "proposal_generator.rpn_head.objectness_logits.weight"},
        {RCNN_NAMING_DETECTRON2, "proposal_generator.rpn_head.anchor_deltas.bias"},
        {RCNN_NAMING_DETECTRON2, "roi_heads.box_head.fc1.weight"},
        {RCNN_NAMING_DETECTRON2, "roi_heads.box_head.fc2.bias"},
        {RCNN_NAMING_DETECTRON2, "roi_heads.box_predictor.cls_score.weight"},
        {RCNN_NAMING_DETECTRON2, "roi_heads.box_predictor.bbox_pred.weight"},
        {RCNN_NAMING_DETECTRON2, "roi_heads.mask_head.mask_fcn4.weight"},
        {RCNN_NAMING_DETECTRON2, "roi_heads.mask_head.deconv.weight"},
        {RCNN_NAMING_DETECTRON2, "roi_heads.mask_head.predictor.bias"},
        {RCNN_NAMING_NATIVE, "backbone.layer1.0.shortcut.weight"},
        {RCNN_NAMING_NATIVE, "rpn.pred.weight"},
        {RCNN_NAMING_NATIVE, "box.fc1.bias"},
        {RCNN_NAMING_NATIVE, "mask.deconv.weight"},
    };
    rcnn_config config;
    rcnn_config_init(&config);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK_MSG(table_has(&config, rows[i].naming, rows[i].name), "%s", rows[i].name);
    }
    CHECK(!table_has(&config, RCNN_NAMING_MMDET, "backbone.layer3.6.conv2.weight"));
}

/* The names that torchvision itself gives its models, listed from its state_dict(): each is one of the table's, and
 * the table has as many layers as the list has. */
static void check_listed_names(const char *file, const rcnn_config *config)
{
    char path[1024], line[256];
    snprintf(path, sizeof path, RCNN_SOURCE_DIR "/tests/unit/data/names/%s", file);
    FILE *stream = fopen(path, "r");
    REQUIRE(stream);
    int32_t layers = 0, count = 0;
    rcnn_layer_spec *specs = NULL;
    while (fgets(line, sizeof line, stream)) {
        char *space = strchr(line, ' ');
        if (line[0] == '#' || !space) {
            continue;
        }
        /* a layer's weight has rank 2 or 4; two rows are merged with the row before them */
        layers += strchr(space, 'x') != NULL && !strstr(line, "bbox_pred");
        *space = '\0';
        CHECK_MSG(table_has(config, RCNN_NAMING_TORCHVISION, line), "%s", line);
    }
    fclose(stream);
    CHECK(rcnn_names_list(config, &specs, &count, NULL) == RCNN_OK);
    CHECK_MSG(count == layers, "%d layers, the list has %d", count, layers);
    rcnn_free(specs);
}

TEST(names_of_torchvision_models)
{
    rcnn_config config;
    rcnn_config_init(&config);
    check_listed_names("torchvision_mask_v1.txt", &config);
    config.rpn_convs = 2;
    config.box_convs = 4;
    config.box_fcs = 1;
    check_listed_names("torchvision_mask_v2.txt", &config);
}

/* ------------------------------------------------------------ inference */

TEST(mmdet_versions)
{
    static const struct {
        const char *key, *value;
        rcnn_family family;
    } cases[] = {{"meta.mmdet_version", "2.28.1", RCNN_FAMILY_MMDET2},
                 {"meta.mmdet_version", "3.0.0rc0", RCNN_FAMILY_MMDET3},
                 {"meta.cfg", "x = 1", RCNN_FAMILY_MMDET3},
                 {"meta.dataset_meta.classes", "a\nb\nc", RCNN_FAMILY_MMDET3},
                 {"meta.config", "x = 1", RCNN_FAMILY_MMDET2}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        thin_network n = thin_network_of(RCNN_NAMING_MMDET);
        state_dict *dict = state_dict_new();
        rcnn_model *model = NULL;
        rcnn_error err = {0};
        state_dict_make(dict, &n);
        state_dict_meta(dict, cases[i].key, cases[i].value);
        CHECK_OK(load(dict, NULL, &model, &err), err);
        CHECK_MSG(model && model->config.family == cases[i].family, "%s", cases[i].key);
        CHECK(model && model->config.rescale_first == (cases[i].family == RCNN_FAMILY_MMDET2));
        rcnn_model_destroy(model);
        state_dict_free(dict);
    }
}

TEST(mmdet_config_text_decides_style_and_pixels)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    n.config.style = RCNN_STYLE_CAFFE;
    state_dict_make(dict, &n);
    state_dict_meta(dict, "meta.config",
                    "model = dict(backbone=dict(style='caffe'), test_cfg=dict(rcnn=dict(score_thr=0.2)))");
    state_dict_meta(dict, "meta.CLASSES", "cat\ndog\nowl");
    CHECK_OK(load(dict, NULL, &model, &err), err);
    REQUIRE(model);
    check_layers(model, dict); /* strides in the first 1x1 */
    CHECK(config_is(model, "style", "caffe", "file"));
    CHECK(config_is(model, "score_threshold", "0.2", "file"));
    CHECK(config_is(model, "channel_order", "bgr", "default"));
    CHECK(config_is(model, "family", "mmdet2", "inferred"));
    CHECK(config_is(model, "max_detections", "100", "default"));
    CHECK(strcmp(rcnn_model_class_name(model, 2), "owl") == 0 && rcnn_model_category_id(model, 2) == 3);
    CHECK(!rcnn_model_class_name(model, 3) && !rcnn_model_class_name(model, -1));
    rcnn_model_destroy(model);
    state_dict_free(dict);
}

static void add_pixels(state_dict *dict, const char *name, float a, float b, float c)
{
    const int64_t shape[3] = {3, 1, 1};
    const float values[3] = {a, b, c};
    memcpy(state_dict_add(dict, name, 3, shape)->data, values, sizeof values);
}

TEST(detectron2_pixel_tensors_decide_order_and_style)
{
    thin_network n = thin_network_of(RCNN_NAMING_DETECTRON2);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    n.config.style = RCNN_STYLE_PYTORCH;
    state_dict_make(dict, &n);
    add_pixels(dict, "pixel_mean", 123.675f, 116.28f, 103.53f);
    add_pixels(dict, "pixel_std", 58.395f, 57.12f, 57.375f);
    CHECK_OK(load(dict, NULL, &model, &err), err);
    REQUIRE(model);
    check_layers(model, dict);
    CHECK(config_is(model, "mean", "123.675,116.28,103.53", "file"));
    CHECK(config_is(model, "std", "58.395,57.12,57.375", "file"));
    CHECK(config_is(model, "channel_order", "rgb", "inferred") && config_is(model, "style", "pytorch", "inferred"));
    rcnn_model_destroy(model);
    state_dict_free(dict);
}

TEST(torchvision_eps_is_zero_only_for_old_names_without_counters)
{
    const int64_t one = 1;
    for (int counters = 0; counters < 2; counters++) {
        thin_network n = thin_network_of(RCNN_NAMING_TORCHVISION_OLD);
        state_dict *dict = state_dict_new();
        rcnn_model *model = NULL;
        rcnn_error err = {0};
        state_dict_make(dict, &n);
        if (counters) {
            state_dict_add(dict, "backbone.body.bn1.num_batches_tracked", 1, &one);
        }
        CHECK_OK(load(dict, NULL, &model, &err), err);
        CHECK(model && model->config.bn_eps == (counters ? 1e-5 : 0));
        rcnn_model_destroy(model);
        state_dict_free(dict);
    }
}

TEST(class_names_and_ids)
{
    thin_network n = thin_network_of(RCNN_NAMING_TORCHVISION);
    for (int32_t classes = 80; classes <= 90; classes += 10) {
        state_dict *dict = state_dict_new();
        rcnn_model *model = NULL;
        rcnn_error err = {0};
        n.config.class_count = classes;
        state_dict_make(dict, &n);
        CHECK_OK(load(dict, NULL, &model, &err), err);
        REQUIRE(model);
        const int32_t last = classes - 1;
        CHECK(strcmp(rcnn_model_class_name(model, 0), "person") == 0 && rcnn_model_category_id(model, 0) == 1);
        CHECK(strcmp(rcnn_model_class_name(model, last), "toothbrush") == 0);
        CHECK(rcnn_model_category_id(model, last) == 90);
        /* the twelfth COCO class has id 13; torchvision keeps a place for the id 12 that has no class */
        CHECK(strcmp(rcnn_model_class_name(model, 11), classes == 80 ? "stop sign" : "N/A") == 0);
        CHECK(rcnn_model_category_id(model, 11) == (classes == 80 ? 13 : 12));
        rcnn_model_destroy(model);
        state_dict_free(dict);
    }
}

TEST(coco_ids_are_those_of_the_specification)
{
    static const int32_t runs[][2] = {{1, 11},  {13, 25}, {27, 28}, {31, 44}, {46, 65},
                                      {67, 67}, {70, 70}, {72, 82}, {84, 90}};
    int32_t label = 0;
    for (size_t r = 0; r < sizeof runs / sizeof runs[0]; r++) {
        for (int32_t id = runs[r][0]; id <= runs[r][1]; id++) {
            CHECK(rcnn_coco_id(label++) == id);
        }
    }
    CHECK(label == RCNN_COCO_CLASSES);
}

TEST(eighty_classes_of_another_data_set_are_not_coco)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    char names[80 * 8] = "";
    for (int i = 0; i < 80; i++) {
        char name[8];
        snprintf(name, sizeof name, "%sc%d", i ? "\n" : "", i);
        strcat(names, name);
    }
    n.config.class_count = 80;
    state_dict_make(dict, &n);
    state_dict_meta(dict, "meta.CLASSES", names);
    CHECK_OK(load(dict, NULL, &model, &err), err);
    CHECK(model && strcmp(rcnn_model_class_name(model, 79), "c79") == 0 && rcnn_model_category_id(model, 79) == 80);
    rcnn_model_destroy(model);
    state_dict_free(dict);
}

/* -------------------------------------------------------------- options */

TEST(overrides_and_names)
{
    static const char *const lines[] = {"score_threshold=0.5", "style=caffe"};
    static const char *const names[] = {"a", "b", "c"};
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    options.overrides = lines;
    options.override_count = 2;
    options.class_names = names;
    options.class_name_count = 3;
    n.config.style = RCNN_STYLE_CAFFE;
    state_dict_make(dict, &n);
    CHECK_OK(load(dict, &options, &model, &err), err);
    REQUIRE(model);
    check_layers(model, dict);
    CHECK(config_is(model, "style", "caffe", "override") && config_is(model, "score_threshold", "0.5", "override"));
    CHECK(config_is(model, "std", "1,1,1", "default"));
    CHECK(strcmp(rcnn_model_class_name(model, 1), "b") == 0);
    rcnn_model_destroy(model);
    options.class_name_count = 2;
    CHECK(load(dict, &options, &model, &err) == RCNN_ERR_ARGUMENT && strstr(err.message, "want 3, got 2"));
    CHECK(model == NULL);
    state_dict_free(dict);
}

TEST(masks_can_be_left_out)
{
    static const char *const lines[] = {"has_mask=false"};
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    options.overrides = lines;
    options.override_count = 1;
    state_dict_make(dict, &n);
    state_dict_meta(dict, "meta.cfg", "");
    CHECK_OK(load(dict, &options, &model, &err), err);
    REQUIRE(model);
    CHECK(!rcnn_model_has_masks(model) && !rcnn_model_layer(model, "mask.deconv"));
    CHECK(model->config.family == RCNN_FAMILY_MMDET3 && model->config.rescale_first == 1);
    rcnn_model_destroy(model);
    state_dict_free(dict);
}

TEST(options_of_other_library_versions)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    struct {
        rcnn_model_options options;
        uint64_t later;
    } newer;
    memset(&newer, 0, sizeof newer);
    rcnn_model_options_init_sized(&newer.options, sizeof newer);
    state_dict_make(dict, &n);
    CHECK_OK(load(dict, &newer.options, &model, &err), err);
    rcnn_model_destroy(model);
    newer.later = 1;
    CHECK(load(dict, &newer.options, &model, &err) == RCNN_ERR_UNSUPPORTED);
    newer.options.struct_size = 0;
    CHECK(load(dict, &newer.options, &model, &err) == RCNN_ERR_ARGUMENT);
    state_dict_free(dict);
}

TEST(model_outlives_one_of_two_owners)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    state_dict_make(dict, &n);
    CHECK_OK(load(dict, NULL, &model, &err), err);
    REQUIRE(model);
    rcnn_model_retain(model);
    rcnn_model_destroy(model);
    CHECK(rcnn_model_class_count(model) == 3);
    rcnn_model_destroy(model);
    rcnn_model_destroy(NULL);
    state_dict_free(dict);
}

/* ------------------------------------------------------------- refusals */

TEST(other_detectors_are_refused_by_name)
{
    static const struct {
        const char *tensor, *text;
    } others[] = {
        {"roi_head.bbox_head.0.fc_cls.weight", "Cascade R-CNN"},
        {"bbox_head.fc_cls.weight", "mmdetection 1.x"},
        {"bbox_head.retina_cls.weight", "RetinaNet"},
        {"bbox_head.multi_level_conv_cls.0.weight", "YOLOX"},
        {"bbox_head.conv_centerness.weight", "FCOS"},
        {"roi_head.mask_iou_head.fcs.0.weight", "Mask Scoring"},
        {"roi_head.point_head.fcs.0.conv.weight", "PointRend"},
        {"roi_head.bbox_head.cls_fcs.0.weight", "separate class and box branches"},
        {"neck.downsample_convs.0.conv.weight", "PAFPN"},
        {"backbone.layer2.0.conv2.conv_offset.weight", "deformable"},
        {"backbone.bottom_up.res4.0.conv2_offset.weight", "deformable"},
        {"backbone.stem.0.weight", "deep stem"},
        {"backbone.patch_embed.projection.weight", "transformer"},
        {"roi_heads.box_predictor.0.cls_score.weight", "Cascade R-CNN of detectron2"},
        {"roi_heads.res5.0.conv1.weight", "C4"},
        {"transformer.encoder.layers.0.linear1.weight", "DETR"},
        {"model.0.conv.weight", "YOLO"},
        {"head.classification_head.cls_logits.weight", "single-stage"},
        {"res2_0_branch2a_w", "Caffe2"},
        {"layer1.0.conv1.weight", "bare ResNet"},
        {"something.else", "got 1 tensors such as 'something.else'"},
    };
    const int64_t one = 1;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        state_dict *dict = state_dict_new();
        rcnn_model *model = NULL;
        rcnn_error err = {0};
        state_dict_add(dict, others[i].tensor, 1, &one);
        CHECK(load(dict, NULL, &model, &err) == RCNN_ERR_UNSUPPORTED && !model);
        CHECK_MSG(strstr(err.message, others[i].text), "%s gave: %s", others[i].tensor, err.message);
        state_dict_free(dict);
    }
}

TEST(mmdet_1_is_refused_by_its_version_too)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    state_dict_make(dict, &n);
    state_dict_meta(dict, "meta.mmdet_version", "1.2.0");
    CHECK(load(dict, NULL, &model, &err) == RCNN_ERR_UNSUPPORTED && strstr(err.message, "1.2.0"));
    state_dict_free(dict);
}

/* Changes one thing in a good network and expects a status and words of the message. */
typedef void (*spoil_fn)(state_dict *dict);
static void check_spoilt(rcnn_naming naming, spoil_fn spoil, const char *override, rcnn_status status, const char *a,
                         const char *b)
{
    thin_network n = thin_network_of(naming);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    options.overrides = &override;
    options.override_count = override ? 1 : 0;
    state_dict_make(dict, &n);
    spoil(dict);
    rcnn_status got = load(dict, &options, &model, &err);
    CHECK_MSG(got == status && strstr(err.message, a) && strstr(err.message, b), "%d: %s", (int)got, err.message);
    CHECK(model == NULL);
    state_dict_free(dict);
}

static void nothing(state_dict *dict)
{
    (void)dict;
}

static void remove_conv(state_dict *dict)
{
    state_dict_remove(dict, "neck.lateral_convs.2.conv.weight");
}

static void remove_mean(state_dict *dict)
{
    state_dict_remove(dict, "backbone.layer2.0.bn1.running_mean");
}

static void remove_norm(state_dict *dict)
{
    state_dict_remove(dict, "backbone.layer2.0.bn1.weight");
}

static void remove_bias(state_dict *dict)
{
    state_dict_remove(dict, "rpn_head.rpn_cls.bias");
}

static void remove_shortcut(state_dict *dict)
{
    state_dict_remove(dict, "backbone.layer2.0.downsample.0.weight");
}

static void put_nan(state_dict *dict)
{
    state_dict_find(dict, "roi_head.bbox_head.fc_cls.weight")->data[5] = NAN;
}

static void put_infinity(state_dict *dict)
{
    state_dict_find(dict, "backbone.bn1.bias")->data[1] = INFINITY;
}

static void put_negative_variance(state_dict *dict)
{
    state_dict_find(dict, "backbone.layer1.0.bn2.running_var")->data[3] = -0.5f;
}

static void put_zero_variance(state_dict *dict)
{
    state_dict_find(dict, "backbone.body.bn1.running_var")->data[0] = 0;
}

static void put_overflow(state_dict *dict)
{
    state_dict_find(dict, "backbone.bn1.weight")->data[0] = 3e38f;
    state_dict_find(dict, "backbone.conv1.weight")->data[0] = 3e38f;
}

/* Halves the first dimension of a tensor. */
static void shrink(state_dict *dict, const char *name)
{
    dict_tensor *t = state_dict_find(dict, name);
    t->shape[0] /= 2;
    t->count /= 2;
}

static void shrink_conv1(state_dict *dict)
{
    shrink(dict, "backbone.layer3.0.conv1.weight");
}

static void shrink_anchors(state_dict *dict)
{
    dict_tensor *t = state_dict_find(dict, "rpn_head.rpn_cls.weight");
    t->shape[0] = 1;
    t->count /= 3;
}

static void shrink_deltas(state_dict *dict)
{
    shrink(dict, "roi_head.bbox_head.fc_reg.weight");
}

static void group_norm(state_dict *dict)
{
    state_dict_remove(dict, "backbone.bottom_up.res2.0.conv1.norm.running_mean");
    state_dict_remove(dict, "backbone.bottom_up.res2.0.conv1.norm.running_var");
}

TEST(broken_networks)
{
    const rcnn_naming mmdet = RCNN_NAMING_MMDET;
    check_spoilt(mmdet, remove_conv, NULL, RCNN_ERR_FORMAT, "neck.lateral_convs.2.conv.weight", "none");
    check_spoilt(mmdet, remove_mean, NULL, RCNN_ERR_UNSUPPORTED, "backbone.layer2.0.bn1.running_mean", "");
    check_spoilt(mmdet, remove_norm, NULL, RCNN_ERR_FORMAT, "backbone.layer2.0.bn1.weight", "neither");
    check_spoilt(mmdet, remove_bias, NULL, RCNN_ERR_FORMAT, "rpn_head.rpn_cls.bias", "none");
    check_spoilt(mmdet, remove_shortcut, NULL, RCNN_ERR_FORMAT, "backbone.layer2.0.downsample.0.weight", "none");
    check_spoilt(mmdet, put_nan, NULL, RCNN_ERR_NUMERIC, "roi_head.bbox_head.fc_cls.weight", "nan at element 5");
    check_spoilt(mmdet, put_infinity, NULL, RCNN_ERR_NUMERIC, "backbone.bn1.bias", "inf");
    check_spoilt(mmdet, put_negative_variance, NULL, RCNN_ERR_FORMAT, "layer1.0.bn2.running_var", "-0.5 at 3");
    check_spoilt(RCNN_NAMING_TORCHVISION_OLD, put_zero_variance, NULL, RCNN_ERR_FORMAT, "bn1.running_var",
                 "bn_eps is 0");
    check_spoilt(mmdet, put_overflow, NULL, RCNN_ERR_NUMERIC, "backbone.stem", "overflow");
    check_spoilt(mmdet, shrink_conv1, NULL, RCNN_ERR_FORMAT, "backbone.layer3.0", "want shape");
    check_spoilt(mmdet, shrink_anchors, NULL, RCNN_ERR_FORMAT, "rpn_cls.weight", "want shape [3,8,1,1], got [1,8,1,1]");
    check_spoilt(mmdet, shrink_deltas, NULL, RCNN_ERR_FORMAT, "fc_reg.weight", "want shape [12,12], got [6,12]");
    check_spoilt(RCNN_NAMING_DETECTRON2, group_norm, NULL, RCNN_ERR_UNSUPPORTED, "res2.0.conv1.norm", "running_mean");
}

TEST(overrides_that_do_not_fit_the_tensors)
{
    const rcnn_naming mmdet = RCNN_NAMING_MMDET;
    check_spoilt(mmdet, nothing, "class_count=5", RCNN_ERR_FORMAT, "fc_cls.weight", "want shape [6,12], got [4,12]");
    check_spoilt(mmdet, nothing, "blocks=1,1,2,1", RCNN_ERR_FORMAT, "backbone.layer3.1.conv1.weight", "none");
    check_spoilt(mmdet, nothing, "block=basic", RCNN_ERR_FORMAT, "backbone.layer1.0.conv1.weight", "3,3");
    check_spoilt(mmdet, nothing, "groups=3", RCNN_ERR_FORMAT, "multiple of 3", "got 4");
    check_spoilt(mmdet, nothing, "family=torchvision", RCNN_ERR_FORMAT, "fc_reg.weight", "[16,12], got [12,12]");
    check_spoilt(mmdet, nothing, "nonsense=1", RCNN_ERR_ARGUMENT, "nonsense", "");
    check_spoilt(mmdet, nothing, "short_side=2000", RCNN_ERR_FORMAT, "short_side", "");
}

/* ------------------------------------------------------------- arithmetic */

TEST(folding_golden_values)
{
    float weights[4] = {3, -1, 0.5f, 8}, bias[2] = {2, 0};
    const float gamma[2] = {2, -3}, beta[2] = {1, 0.25f}, mean[2] = {5, -1}, var[2] = {15, 8};
    const float *const norm[4] = {gamma, beta, mean, var};
    rcnn_fold_batch_norm(weights, bias, 2, 2, norm, 1.0); /* scales 2/4 and -3/3 */
    CHECK(weights[0] == 1.5f && weights[1] == -0.5f && weights[2] == -0.5f && weights[3] == -8);
    CHECK(bias[0] == 1 + (2 - 5) * 0.5f); /* beta + (bias - mean) * scale */
    CHECK(bias[1] == 0.25f - 1.0f);
}

/* The bias is a difference of nearly equal numbers here: in float32 nothing of it would be right. */
TEST(folding_is_done_in_double)
{
    float weights[1] = {1}, bias[1] = {0};
    const float gamma[1] = {1}, beta[1] = {1}, mean[1] = {1.4142135f}, var[1] = {2};
    const float *const norm[4] = {gamma, beta, mean, var};
    rcnn_fold_batch_norm(weights, bias, 1, 1, norm, 0);
    CHECK(weights[0] == (float)sqrt(0.5));
    CHECK(bias[0] == (float)(1 - (double)mean[0] * sqrt(0.5)));
    CHECK(bias[0] != 1 - mean[0] * weights[0]);
}

TEST(int8_rounds_half_to_even)
{
    const float weights[8] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f, -127};
    const int8_t want[8] = {127, 0, 2, 2, 0, -2, -126, -127};
    int8_t codes[8];
    CHECK(rcnn_quantise_channel(weights, 8, 8, 8, codes) == 1);
    CHECK(memcmp(codes, want, sizeof want) == 0);
}

TEST(int8_of_zeros_and_of_the_smallest_numbers)
{
    const float zeros[3] = {0, -0.0f, 0}, tiny[3] = {1e-40f, -1e-42f, 0};
    int8_t codes[3] = {9, 9, 9};
    CHECK(rcnn_quantise_channel(zeros, 3, 3, 3, codes) == 1 && codes[0] == 0 && codes[2] == 0);
    CHECK(rcnn_quantise_channel(tiny, 3, 3, 3, codes) == 1 && codes[0] == 0);
}

static double int8_error(const float *weights, const int8_t *codes, size_t count, float scale)
{
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const double error = (double)weights[i] - (double)codes[i] * (double)scale;
        sum += error * error;
    }
    return sum;
}

TEST(int8_error_bound_and_clipping)
{
    enum { COUNT = 1000 };
    uint64_t seed = 99;
    for (int outlier = 0; outlier < 2; outlier++) {
        float weights[COUNT];
        int8_t codes[COUNT];
        for (size_t i = 0; i < COUNT; i++) {
            weights[i] = test_uniform(&seed, -1, 1);
        }
        weights[7] = outlier ? 1.4f : 1.0f;
        const float full = weights[7] / 127;
        const float scale = rcnn_quantise_channel(weights, COUNT, COUNT, COUNT, codes);
        /* without clipping each error is at most half a step, and on average a step squared over 12 */
        CHECK(scale <= full && scale >= 0.7f * full);
        CHECK(int8_error(weights, codes, COUNT, scale) <= COUNT * (double)full * (double)full / 12 * 1.1);
        for (size_t i = 0; i < COUNT; i++) {
            const float error = fabsf(weights[i] - (float)codes[i] * scale);
            CHECK(error <= scale * 0.5001f || abs(codes[i]) == 127);
        }
    }
}

/* One outlier at 1.5 times the range of 200000 others: clipping it costs less than a coarser step for all. */
TEST(int8_clips_an_outlier_when_that_pays)
{
    enum { COUNT = 200000 };
    float *weights = malloc(COUNT * sizeof *weights);
    int8_t *codes = malloc(COUNT);
    uint64_t seed = 5;
    REQUIRE(weights && codes);
    for (size_t i = 0; i < COUNT; i++) {
        weights[i] = test_uniform(&seed, -1, 1);
    }
    weights[0] = 1.5f;
    const float scale = rcnn_quantise_channel(weights, COUNT, COUNT, COUNT, codes);
    CHECK(scale < 1.5f / 127 && codes[0] == 127);
    free(weights);
    free(codes);
}

/* A transposed convolution keeps its output channels second: runs with a stride. */
TEST(int8_of_strided_channels)
{
    const float weights[8] = {1, 2, 100, 50, 3, 4, 25, 127}; /* [in 2][out 2][2] */
    int8_t codes[8];
    const float first = rcnn_quantise_channel(weights, 4, 2, 4, codes);
    const float second = rcnn_quantise_channel(weights + 2, 4, 2, 4, codes + 2);
    CHECK(second == 1 && codes[2] == 100 && codes[3] == 50 && codes[6] == 25 && codes[7] == 127);
    CHECK(first < 0.04f && codes[5] == 127 && abs(codes[0] - 32) <= 2);
}

/* ----------------------------------------------------------- native files */

static const char *temporary_path(void)
{
    static char path[256];
    const char *directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/rcnn_test_model_%d.safetensors", directory ? directory : "/tmp", (int)getpid());
    return path;
}

static rcnn_model *load_thin(rcnn_naming naming)
{
    thin_network n = thin_network_of(naming);
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    state_dict_make(dict, &n);
    CHECK_OK(load(dict, NULL, &model, &err), err);
    state_dict_free(dict);
    return model;
}

/* Largest error of a stored weight, relative to what the format allows. */
static bool weights_within(const rcnn_layer *a, const rcnn_layer *b, rcnn_weights_format format)
{
    const size_t count = rcnn_layer_weight_count(a);
    float most = 0;
    for (size_t i = 0; i < count; i++) {
        most = fabsf(a->weights[i]) > most ? fabsf(a->weights[i]) : most;
    }
    for (size_t i = 0; i < count; i++) {
        const float error = fabsf(a->weights[i] - b->weights[i]);
        const float bound = format == RCNN_WEIGHTS_FP32   ? 0
                            : format == RCNN_WEIGHTS_FP16 ? fabsf(a->weights[i]) / 2048 + 3e-8f
                                                          : 0.31f * most; /* clipping may go to 0.7 */
        if (error > bound) {
            return false;
        }
    }
    return true;
}

static double relative_rms(const rcnn_layer *a, const rcnn_layer *b)
{
    double error = 0, size = 0;
    for (size_t i = 0; i < rcnn_layer_weight_count(a); i++) {
        const double difference = (double)a->weights[i] - (double)b->weights[i];
        error += difference * difference;
        size += (double)a->weights[i] * (double)a->weights[i];
    }
    return sqrt(error / size);
}

TEST(native_round_trip)
{
    for (size_t f = 0; f < FAMILIES; f++) {
        rcnn_model *model = load_thin(families[f].naming);
        REQUIRE(model);
        for (int format = RCNN_WEIGHTS_FP32; format <= RCNN_WEIGHTS_INT8; format++) {
            rcnn_model *back = NULL;
            rcnn_error err = {0};
            CHECK_OK(rcnn_model_save(model, temporary_path(), (rcnn_weights_format)format, &err), err);
            CHECK_OK(rcnn_model_load(temporary_path(), NULL, &back, &err), err);
            REQUIRE(back);
            CHECK(strcmp(rcnn_model_config_json(model), rcnn_model_config_json(back)) == 0);
            CHECK(back->layer_count == model->layer_count);
            for (int32_t i = 0; i < model->layer_count; i++) {
                const rcnn_layer *a = &model->layers[i], *b = &back->layers[i];
                CHECK(strcmp(a->name, b->name) == 0 && a->stride == b->stride && a->groups == b->groups);
                CHECK(memcmp(a->bias, b->bias, (size_t)a->out * sizeof(float)) == 0);
                CHECK_MSG(weights_within(a, b, (rcnn_weights_format)format), "%s, format %d", a->name, format);
                CHECK_MSG(format != RCNN_WEIGHTS_INT8 || relative_rms(a, b) < 0.01, "%s: %g", a->name,
                          relative_rms(a, b));
            }
            CHECK(config_is(back, "paste", config_value(model, "paste", &(const char *){NULL}), "file"));
            rcnn_model_destroy(back);
        }
        rcnn_model_destroy(model);
    }
    remove(temporary_path());
}

/* int8 codes written again give the same codes: a file does not decay when it is converted twice. */
TEST(int8_is_stable)
{
    rcnn_model *model = load_thin(RCNN_NAMING_MMDET), *once = NULL, *twice = NULL;
    rcnn_error err = {0};
    REQUIRE(model);
    CHECK_OK(rcnn_model_save(model, temporary_path(), RCNN_WEIGHTS_INT8, &err), err);
    CHECK_OK(rcnn_model_load(temporary_path(), NULL, &once, &err), err);
    CHECK_OK(rcnn_model_save(once, temporary_path(), RCNN_WEIGHTS_INT8, &err), err);
    CHECK_OK(rcnn_model_load(temporary_path(), NULL, &twice, &err), err);
    for (int32_t i = 0; once && twice && i < once->layer_count; i++) {
        CHECK_MSG(relative_rms(&once->layers[i], &twice->layers[i]) < 1e-6, "%s", once->layers[i].name);
    }
    rcnn_model_destroy(model);
    rcnn_model_destroy(once);
    rcnn_model_destroy(twice);
    remove(temporary_path());
}

TEST(native_file_with_overrides)
{
    static const char *const lines[] = {"max_detections=7", "style=caffe"};
    static const char *const names[] = {"eins", "zwei \"2\"", "drei"};
    rcnn_model *model = load_thin(RCNN_NAMING_MMDET), *back = NULL;
    rcnn_error err = {0};
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    REQUIRE(model);
    CHECK_OK(rcnn_model_save(model, temporary_path(), RCNN_WEIGHTS_FP16, &err), err);
    options.overrides = lines;
    options.override_count = 2;
    options.class_names = names;
    options.class_name_count = 3;
    CHECK_OK(rcnn_model_load(temporary_path(), &options, &back, &err), err);
    REQUIRE(back);
    CHECK(config_is(back, "max_detections", "7", "override") && config_is(back, "blocks", "1,1,1,1", "file"));
    CHECK(rcnn_model_layer(back, "backbone.layer2.0.conv1")->stride == 2);
    CHECK(rcnn_model_layer(back, "backbone.layer2.0.conv2")->stride == 1);
    CHECK_OK(rcnn_model_save(back, temporary_path(), RCNN_WEIGHTS_FP16, &err), err);
    rcnn_model_destroy(back);
    CHECK_OK(rcnn_model_load(temporary_path(), NULL, &back, &err), err);
    CHECK(back && strcmp(rcnn_model_class_name(back, 1), "zwei \"2\"") == 0 && back->config.max_detections == 7);
    rcnn_model_destroy(back);
    rcnn_model_destroy(model);
    remove(temporary_path());
}

static void check_native_refusal(const char *format, const char *config, rcnn_status status, const char *text)
{
    state_dict *dict = state_dict_new();
    const int64_t one = 1;
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    state_dict_add(dict, "backbone.stem.weight", 1, &one);
    if (format) {
        state_dict_meta(dict, "rcnn_format", format);
    }
    if (config) {
        state_dict_meta(dict, "rcnn_config", config);
    }
    rcnn_status got = load(dict, NULL, &model, &err);
    CHECK_MSG(got == status && strstr(err.message, text), "%d: %s", (int)got, err.message);
    state_dict_free(dict);
}

TEST(native_refusals)
{
    check_native_refusal("2", "{}", RCNN_ERR_UNSUPPORTED, "rcnn_format 1, got 2");
    check_native_refusal(NULL, "{}", RCNN_ERR_UNSUPPORTED, "got none");
    check_native_refusal("1", NULL, RCNN_ERR_FORMAT, "rcnn_config");
    check_native_refusal("1", "{}", RCNN_ERR_FORMAT, "want 'config'");
    check_native_refusal("1", "{\"config\":{\"colour\":1}}", RCNN_ERR_FORMAT, "colour");
    check_native_refusal("1", "{\"config\":{},\"class_names\":[1]}", RCNN_ERR_FORMAT, "class names");
    check_native_refusal("1", "{\"config\":{},\"category_ids\":[-1]}", RCNN_ERR_FORMAT, "category ids");
    check_native_refusal("1", "{\"config\":{}", RCNN_ERR_FORMAT, "");
    check_native_refusal("1", "{\"future\":{\"a\":[1]},\"config\":{}}", RCNN_ERR_FORMAT,
                         "want shape [*,3,7,7], got [1]");
}

TEST(save_refusals)
{
    rcnn_error err = {0};
    rcnn_model *model = load_thin(RCNN_NAMING_MMDET);
    REQUIRE(model);
    CHECK(rcnn_model_save(model, "/no/such/folder/x.safetensors", RCNN_WEIGHTS_FP32, &err) != RCNN_OK &&
          err.message[0]);
    CHECK(rcnn_model_save(model, temporary_path(), (rcnn_weights_format)3, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_model_save(NULL, temporary_path(), RCNN_WEIGHTS_FP32, &err) == RCNN_ERR_ARGUMENT);
    model->layers[0].weights[0] = 1e6f; /* no half holds it; this test may look inside */
    CHECK(rcnn_model_save(model, temporary_path(), RCNN_WEIGHTS_FP16, &err) == RCNN_ERR_NUMERIC);
    CHECK(strstr(err.message, "backbone.stem") && access(temporary_path(), F_OK) != 0);
    rcnn_model_destroy(model);
}

TEST(load_refusals)
{
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    CHECK(rcnn_model_load("no/such/file.pth", NULL, &model, &err) == RCNN_ERR_NOT_FOUND && err.message[0]);
    CHECK(rcnn_model_load(NULL, NULL, &model, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_model_load_weights(NULL, NULL, &model, NULL) == RCNN_ERR_ARGUMENT);
}

/* --------------------------------------------------------- failing memory */

TEST(every_allocation_may_fail)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    state_dict *dict = state_dict_new();
    state_dict_make(dict, &n);
    state_dict_meta(dict, "meta.config", "model = dict(backbone=dict(style='pytorch'))");
    rcnn_weights *weights = state_dict_open(dict);
    uint64_t nth = 1;
    for (; nth < 100000; nth++) {
        rcnn_model *model = NULL;
        rcnn_error err = {0};
        rcnn_memory_fail_from(nth);
        rcnn_status status = rcnn_model_load_weights(weights, NULL, &model, &err);
        if (status == RCNN_OK) {
            status = rcnn_model_save(model, temporary_path(), RCNN_WEIGHTS_INT8, &err);
        }
        if (status == RCNN_OK) {
            rcnn_model *back = NULL;
            status = rcnn_model_load(temporary_path(), NULL, &back, &err);
            rcnn_model_destroy(back);
        }
        rcnn_memory_fail_from(0);
        rcnn_model_destroy(model);
        if (status == RCNN_OK) {
            break;
        }
        CHECK_MSG(status == RCNN_ERR_MEMORY, "allocation %llu: %d %s", (unsigned long long)nth, (int)status,
                  err.message);
    }
    CHECK(nth > 100 && nth < 100000);
    remove(temporary_path());
    rcnn_weights_close(weights);
    state_dict_free(dict);
}

TEST_MAIN
