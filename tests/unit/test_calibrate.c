/* Calibration: histograms, ranges, the names and types of int8 graphs, files of calibrated models, and the whole way from
 * pictures to such a file on a thin network. */
#include "api/thin.h"

#include <float.h>
#include <unistd.h>

#include "base/memory.h"
#include "calibrate/ranges.h"
#include "calibrate/sensitivity.h"
#include "model/activations.h"
#include "model/int8_weights.h"
#include "model/layers.h"
#include "model/safetensors.h"
#include "session/session.h"
#include "state_dict.h"

/* --------------------------------------------------------------- histograms */

TEST(extent_of_any_length)
{
    uint64_t seed = 5;
    float values[100];
    for (size_t count = 1; count <= 100; count++) {
        float low = 1, high = -1, min, max;
        for (size_t i = 0; i < count; i++) {
            values[i] = test_uniform(&seed, -1, 1);
            low = fminf(low, values[i]);
            high = fmaxf(high, values[i]);
        }
        CHECK(rcnn_histogram_extent(values, count, &min, &max) && min == low && max == high);
        const float spoilers[] = {NAN, INFINITY, -INFINITY};
        values[test_random(&seed) % count] = spoilers[count % 3];
        CHECK(!rcnn_histogram_extent(values, count, &min, &max));
    }
}

static void add_all(rcnn_histogram *h, const float *values, size_t count)
{
    float min, max;
    REQUIRE(rcnn_histogram_extent(values, count, &min, &max));
    rcnn_histogram_add(h, values, count, min, max);
}

/* The same bins whatever order the values come in: growing afterwards is as good as knowing the range. */
TEST(histogram_grows_without_a_trace)
{
    enum { COUNT = 5000 };
    uint64_t seed = 9;
    static float values[COUNT];
    static rcnn_histogram piecewise, at_once;
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = i % 3 ? test_uniform(&seed, -1, 1) * powf(10, (float)(i / 500) - 5) : 0;
    }
    for (size_t i = 0; i < COUNT; i += 500) {
        add_all(&piecewise, values + i, 500);
    }
    add_all(&at_once, values, COUNT);
    CHECK(memcmp(&piecewise, &at_once, sizeof at_once) == 0);
    const float largest = rcnn_histogram_largest(&at_once);
    CHECK((double)largest < at_once.range && (double)largest >= at_once.range / 2);
    uint64_t counted = at_once.zeros;
    for (size_t i = 0; i < RCNN_HISTOGRAM_BINS; i++) {
        counted += at_once.bins[i];
    }
    CHECK(counted == COUNT && at_once.count == COUNT && at_once.zeros >= COUNT / 3);
}

TEST(histogram_of_extremes)
{
    static rcnn_histogram h;
    const float zeros[3] = {0, -0.0f, 0}, large[2] = {1e37f, 1e38f}, largest[2] = {FLT_MAX, -FLT_MAX},
                smallest[1] = {1e-45f};
    add_all(&h, zeros, 3);
    CHECK(h.range == 0 && h.zeros == 3 && rcnn_range_choose(&h, 255).scale == 0);
    add_all(&h, smallest, 1);
    CHECK(h.range > 0 && rcnn_range_choose(&h, 255).scale == 0); /* no scale can be that small */
    CHECK(strcmp(rcnn_range_choose(&h, 255).method, "float") == 0);
    add_all(&h, large, 2);
    const rcnn_range range = rcnn_range_choose(&h, 127);
    CHECK_MSG(range.scale > 0 && isfinite(range.scale * 255), "%g", (double)range.scale);
    add_all(&h, largest, 2);
    CHECK(h.range > (double)FLT_MAX && h.min == -FLT_MAX && h.max == FLT_MAX && h.count == 8);
    CHECK(rcnn_range_choose(&h, 127).scale == 0); /* nor that large, where files know no sign */
}

/* ------------------------------------------------------------------- ranges */

static float normal(uint64_t *seed)
{
    float sum = 0;
    for (int i = 0; i < 12; i++) {
        sum += test_uniform(seed, -0.5f, 0.5f);
    }
    return sum;
}

enum { SAMPLES = 100000 };
static float samples[SAMPLES];

static void fill_normal(rcnn_histogram *h, bool positive, int32_t rounds)
{
    uint64_t seed = 77;
    *h = (rcnn_histogram){0};
    for (size_t i = 0; i < SAMPLES; i++) {
        const float value = normal(&seed);
        samples[i] = positive && value < 0 ? 0 : value;
    }
    for (int32_t round = 0; round < rounds; round++) {
        add_all(h, samples, SAMPLES);
    }
}

static double true_squared_error(double limit, int32_t code_max, bool is_signed)
{
    double sum = 0;
    const double step = limit / code_max;
    for (size_t i = 0; i < SAMPLES; i++) {
        const double low = is_signed ? -code_max : 0;
        const double code = fmin(fmax(rint((double)samples[i] / step), low), code_max);
        sum += ((double)samples[i] - code * step) * ((double)samples[i] - code * step);
    }
    return sum;
}

TEST(squared_error_is_that_of_storing)
{
    static rcnn_histogram h;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        fill_normal(&h, !is_signed, 1);
        for (double limit = 1; limit < 6; limit += 0.5) {
            const double got = rcnn_range_squared_error(&h, limit, is_signed ? 127 : 255);
            const double want = true_squared_error(limit, is_signed ? 127 : 255, is_signed);
            CHECK_MSG(fabs(got - want) < 0.03 * want, "limit %g: %g, want %g", limit, got, want);
        }
    }
}

TEST(percentile_counts_zeros_too)
{
    static rcnn_histogram h;
    float values[1000] = {0};
    h = (rcnn_histogram){0};
    for (int i = 0; i < 100; i++) {
        values[i] = (float)(i + 1);
    }
    add_all(&h, values, 1000);                         /* 900 zeros, 1 .. 100; bins are 1/16 wide */
    CHECK(rcnn_range_percentile(&h, 0.9) == 1.0 / 16); /* zeros only: the first border */
    CHECK(rcnn_range_percentile(&h, 0.95) == 50 + 1.0 / 16);
    CHECK(rcnn_range_percentile(&h, 0.999) == 99 + 1.0 / 16);
    CHECK(rcnn_range_percentile(&h, 1) == 100 + 1.0 / 16);
}

TEST(an_outlier_is_clipped)
{
    static rcnn_histogram h;
    for (int is_signed = 0; is_signed < 2; is_signed++) {
        const int32_t code_max = is_signed ? 127 : 255;
        const float outlier = 60;
        fill_normal(&h, !is_signed, 20);
        add_all(&h, &outlier, 1);
        const rcnn_range range = rcnn_range_choose(&h, code_max);
        CHECK_MSG(strcmp(range.method, "minmax") != 0 && range.scale < 20.0f / (float)code_max, "%s %g", range.method,
                  (double)range.scale);
        CHECK(rcnn_range_squared_error(&h, (double)range.scale * code_max, code_max) <
              rcnn_range_squared_error(&h, 60, code_max));
        const double limit = rcnn_range_entropy(&h, code_max);
        CHECK_MSG(limit > 2 && limit < 20, "entropy %g", limit);
    }
}

TEST(an_even_distribution_keeps_its_range)
{
    static rcnn_histogram h;
    uint64_t seed = 3;
    for (size_t i = 0; i < SAMPLES; i++) {
        samples[i] = test_uniform(&seed, 0, 3);
    }
    h = (rcnn_histogram){0};
    add_all(&h, samples, SAMPLES);
    const rcnn_range range = rcnn_range_choose(&h, 255);
    CHECK_MSG(fabsf(range.scale * 255 - 3) < 0.01f, "%s %g", range.method, (double)range.scale * 255);
    /* even steps: error = step / sqrt(12), values = 3 / sqrt(3) */
    CHECK_MSG(fabsf(range.error - range.scale / sqrtf(12) / sqrtf(3)) < 1e-5f, "%g", (double)range.error);
}

/* ------------------------------------------------------------------- graphs */

static rcnn_model *load_network(const thin_network *network)
{
    state_dict *dict = state_dict_new();
    state_dict_make(dict, network);
    rcnn_weights *weights = state_dict_open(dict);
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_model_load_weights(weights, NULL, &model, &err), err);
    rcnn_weights_close(weights);
    state_dict_free(dict);
    return model;
}

static void build(const rcnn_model *model, rcnn_precision precision, int32_t bf16_rest, rcnn_graph *graph)
{
    const rcnn_build_options options = {.batch = 2,
                                        .width = 128,
                                        .height = 64,
                                        .score_threshold = 0.05f,
                                        .max_detections = 10,
                                        .masks = 1,
                                        .precision = precision,
                                        .bf16_rest = bf16_rest};
    rcnn_error err = {0};
    rcnn_graph_init(graph);
    CHECK_OK(rcnn_stages_build(model, &options, graph, &err), err);
}

/* What convolutions and the like make, but for predictions and what poolings hand on. */
static bool is_feature(const rcnn_graph *graph, const rcnn_value *value)
{
    const rcnn_op_kind kind = graph->ops[value->producer].kind;
    const bool made = kind == RCNN_OP_CONV || kind == RCNN_OP_FC || kind == RCNN_OP_DECONV ||
                      kind == RCNN_OP_ROI_ALIGN || kind == RCNN_OP_UPSAMPLE_ADD;
    return made && strncmp(value->name, "rpn_pred", 8) != 0 && strcmp(value->name, "box_pred") != 0;
}

/* Gives the model a scale for every feature of the graph; every `left`th stays in floating point. */
static void give_scales(rcnn_model *model, const rcnn_graph *graph, int32_t left)
{
    rcnn_free(model->activations);
    model->activation_count = 0;
    model->activations = rcnn_calloc((size_t)graph->value_count, sizeof *model->activations);
    REQUIRE(model->activations);
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (!is_feature(graph, &graph->values[v])) {
            continue;
        }
        const int32_t i = model->activation_count++;
        rcnn_activation *a = &model->activations[i];
        snprintf(a->value, sizeof a->value, "%s", graph->values[v].name);
        snprintf(a->method, sizeof a->method, "minmax");
        a->scale = left && i % left == 0 ? 0 : 0.01f * (float)(i + 1);
        a->is_signed = i % 2;
    }
}

static void check_int8_value(const rcnn_model *model, const rcnn_graph *graph, const rcnn_value *value, rcnn_dtype rest)
{
    const rcnn_op *op = &graph->ops[value->producer];
    rcnn_dtype want = RCNN_F32;
    float scale = 0;
    if (op->kind == RCNN_OP_MAXPOOL) {
        want = graph->values[op->input[0]].desc.dtype;
        scale = graph->values[op->input[0]].scale;
    } else if (op->kind == RCNN_OP_PREPROCESS) {
        want = rest;
    } else if (is_feature(graph, value)) {
        const rcnn_activation *a = rcnn_model_activation(model, value->name);
        want = a->scale == 0 ? rest : a->is_signed ? RCNN_I8 : RCNN_U8;
        scale = a->scale;
    } else if (value->desc.dtype == RCNN_I32) {
        want = RCNN_I32; /* counts, groups, labels */
    }
    CHECK_MSG(value->desc.dtype == want && value->scale == scale, "%s: %s, want %s", value->name,
              rcnn_dtype_name(value->desc.dtype), rcnn_dtype_name(want));
}

static void check_network(const thin_network *network)
{
    rcnn_model *model = load_network(network);
    rcnn_graph graph;
    rcnn_error err = {0};
    REQUIRE(model);
    build(model, RCNN_PRECISION_FP32, 0, &graph);
    for (int32_t v = 0; v < graph.value_count; v++) {
        const rcnn_value *value = &graph.values[v];
        CHECK_MSG(rcnn_activation_known(&model->config, value->name) == is_feature(&graph, value), "%s", value->name);
        CHECK(value->scale == 0);
    }
    for (int32_t round = 0; round < 4; round++) {
        give_scales(model, &graph, round < 2 ? 0 : 5);
        rcnn_graph stored;
        build(model, RCNN_PRECISION_INT8, round % 2, &stored);
        CHECK(stored.precision == RCNN_PRECISION_INT8);
        for (int32_t v = 0; v < stored.value_count; v++) {
            check_int8_value(model, &stored, &stored.values[v], round % 2 ? RCNN_BF16 : RCNN_F32);
        }
        CHECK_OK(rcnn_graph_plan(&stored, 0, &err), err);
        rcnn_graph_free(&stored);
    }
    rcnn_graph_free(&graph);
    rcnn_model_destroy(model);
}

TEST(every_feature_has_a_known_name_and_its_type)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    check_network(&n);
    n.config.blocks[0] = 2;
    n.config.blocks[2] = 3;
    n.config.rpn_convs = 2;
    n.config.mask_convs = 1;
    check_network(&n);
    n = thin_network_of(RCNN_NAMING_TORCHVISION);
    n.config.has_mask = 0;
    n.config.block = RCNN_BLOCK_BASIC;
    check_network(&n);
    n = thin_network_of(RCNN_NAMING_DETECTRON2);
    n.config.box_convs = 2;
    n.config.box_fcs = 1;
    check_network(&n);
}

TEST(names_that_no_network_has)
{
    rcnn_config config;
    rcnn_config_init(&config);
    static const char *const wrong[] = {"",
                                        "image",
                                        "stem_pool",
                                        "c1",
                                        "c6",
                                        "p6",
                                        "p1",
                                        "p02",
                                        "merge5",
                                        "lateral6",
                                        "rpn_pred2",
                                        "masks",
                                        "layer1_2_conv3",
                                        "rpn_conv0_7",
                                        "layer1_3_conv1",
                                        "box_pred",
                                        "box_fc2",
                                        "layer0_0_conv1",
                                        "rpn_conv1_2",
                                        "layer1_0_conv4",
                                        "c2 ",
                                        "stem\n",
                                        "layer1_0_conv",
                                        "mask_conv4",
                                        "layer5_0_conv1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_MSG(!rcnn_activation_known(&config, wrong[i]), "%s", wrong[i]);
    }
    CHECK(rcnn_activation_known(&config, "layer3_5_conv2") && rcnn_activation_known(&config, "layer4_0_shortcut"));
}

/* ------------------------------------------------------------------ weights */

TEST(rounded_weights_are_those_of_the_file)
{
    const thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    rcnn_model *model = load_network(&n), *rounded = NULL, *back = NULL;
    rcnn_error err = {0};
    const char *path = "test_calibrate_weights.safetensors";
    REQUIRE(model);
    CHECK_OK(rcnn_model_with_int8_weights(model, &rounded, &err), err);
    CHECK_OK(rcnn_model_save(model, path, RCNN_WEIGHTS_INT8, &err), err);
    CHECK_OK(rcnn_model_load(path, NULL, &back, &err), err);
    for (int32_t i = 0; rounded && back && i < model->layer_count; i++) {
        const rcnn_layer *a = &rounded->layers[i], *b = &back->layers[i];
        CHECK(memcmp(a->weights, b->weights, rcnn_layer_weight_count(a) * sizeof(float)) == 0);
        CHECK(memcmp(a->bias, b->bias, (size_t)a->out * sizeof(float)) == 0);
    }
    rcnn_model_destroy(model);
    rcnn_model_destroy(rounded);
    rcnn_model_destroy(back);
    remove(path);
}

/* -------------------------------------------------------------------- files */

static const char *file_path(void)
{
    static char path[64];
    snprintf(path, sizeof path, "test_calibrate_%d.safetensors", (int)getpid());
    return path;
}

#define RECORD                                                                                                         \
    "{\"version\":1,\"future\":{\"a\":[1]},\"images\":3,\"values\":[{\"name\":\"stem\",\"min\":0,\"max\":4.5,"         \
    "\"method\":\"entropy\",\"error\":0.25,\"sensitivity\":0.125,\"decision\":\"int8\",\"more\":[{}]}]}"

TEST(scales_and_record_survive_every_format)
{
    const thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    rcnn_model *model = load_network(&n);
    const rcnn_activation given[] = {
        {.value = "stem", .scale = 0.5f}, {.value = "p2", .scale = 0.25f, .is_signed = 1}, {.value = "mask_deconv"}};
    rcnn_error err = {0};
    REQUIRE(model);
    CHECK(rcnn_model_activation_count(model) == 0 && rcnn_model_calibration_json(model) == NULL);
    CHECK_OK(rcnn_model_save_calibrated(model, file_path(), RCNN_WEIGHTS_INT8, given, 3, RECORD, &err), err);
    for (int format = RCNN_WEIGHTS_FP32; format <= RCNN_WEIGHTS_INT8; format++) {
        rcnn_model *back = NULL;
        rcnn_activation_info info;
        CHECK_OK(rcnn_model_load(file_path(), NULL, &back, &err), err);
        REQUIRE(back);
        CHECK(rcnn_model_calibration_images(back) == 3);
        CHECK(rcnn_model_activation_count(back) == 3 && strcmp(rcnn_model_calibration_json(back), RECORD) == 0);
        for (int32_t i = 0; i < 3; i++) {
            const rcnn_activation *a = rcnn_model_activation(back, given[i].value);
            CHECK(a && a->scale == given[i].scale && a->is_signed == given[i].is_signed);
            CHECK(rcnn_model_activation_get(back, i, &info) == RCNN_OK && info.name && info.method);
        }
        const rcnn_activation *stem = rcnn_model_activation(back, "stem");
        CHECK(stem->max == 4.5f && stem->error == 0.25f && stem->sensitivity == 0.125f);
        CHECK(strcmp(stem->method, "entropy") == 0);
        CHECK(strcmp(rcnn_model_activation(back, "p2")->method, "unknown") == 0);
        CHECK(strcmp(rcnn_model_activation(back, "mask_deconv")->method, "float") == 0);
        CHECK(rcnn_model_activation(back, "c2") == NULL);
        CHECK(rcnn_model_activation_get(back, 3, &info) == RCNN_ERR_ARGUMENT);
        CHECK(rcnn_model_activation_get(back, -1, &info) == RCNN_ERR_ARGUMENT);
        CHECK_OK(rcnn_model_save(back, file_path(), (rcnn_weights_format)format, &err), err);
        rcnn_model_destroy(back);
    }
    rcnn_model_destroy(model);
    remove(file_path());
}

TEST(scales_of_masks_are_unused_without_masks)
{
    const thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    rcnn_model *model = load_network(&n), *back = NULL;
    const rcnn_activation given = {.value = "mask_deconv", .scale = 1};
    const char *const line = "has_mask=false";
    rcnn_error err = {0};
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    options.overrides = &line;
    options.override_count = 1;
    REQUIRE(model);
    CHECK_OK(rcnn_model_save_calibrated(model, file_path(), RCNN_WEIGHTS_FP32, &given, 1, NULL, &err), err);
    CHECK_OK(rcnn_model_load(file_path(), &options, &back, &err), err);
    CHECK(back && !back->config.has_mask && back->activation_count == 1);
    rcnn_model_destroy(back);
    rcnn_model_destroy(model);
    remove(file_path());
}

/* A tensor that a hostile file has beside those of an honest one. */
typedef struct extra {
    const char *name;
    rcnn_dtype dtype;
    int32_t rank;
    int64_t shape[2];
    float values[4];
} extra;

enum { ENTRIES_MAX = 512 };

static void write_with(const rcnn_weights *honest, const extra *more, const char *record)
{
    static rcnn_safetensors_entry entries[ENTRIES_MAX];
    rcnn_safetensors_writer writer = {0};
    rcnn_error err = {0};
    const size_t count = (size_t)rcnn_weights_count(honest);
    rcnn_tensor_info info;
    REQUIRE(count < ENTRIES_MAX);
    for (size_t i = 0; i < count; i++) {
        REQUIRE(rcnn_weights_get(honest, (int32_t)i, &info) == RCNN_OK);
        entries[i] = (rcnn_safetensors_entry){.name = info.name, .dtype = info.dtype, .rank = info.rank};
        memcpy(entries[i].shape, info.shape, sizeof info.shape);
    }
    if (more) {
        entries[count] = (rcnn_safetensors_entry){
            .name = more->name, .dtype = more->dtype, .rank = more->rank, .shape = {more->shape[0], more->shape[1]}};
    }
    const rcnn_safetensors_pair pairs[] = {{"rcnn_format", "1"},
                                           {"rcnn_config", rcnn_weights_meta(honest, "rcnn_config")},
                                           {RCNN_CALIBRATION_KEY, record}};
    CHECK_OK(rcnn_safetensors_begin(&writer, file_path(), pairs, record ? 3 : 2, entries, count + (more ? 1 : 0), &err),
             err);
    for (size_t i = 0; i < count; i++) {
        REQUIRE(rcnn_weights_get(honest, (int32_t)i, &info) == RCNN_OK);
        size_t elements = 1;
        for (int32_t d = 0; d < info.rank; d++) {
            elements *= (size_t)info.shape[d];
        }
        CHECK_OK(rcnn_safetensors_append(&writer, info.data, elements * rcnn_dtype_bytes(info.dtype), &err), err);
    }
    if (more) {
        const size_t elements = (size_t)(more->shape[0] * (more->rank > 1 ? more->shape[1] : 1));
        CHECK_OK(rcnn_safetensors_append(&writer, more->values, elements * rcnn_dtype_bytes(more->dtype), &err), err);
    }
    CHECK_OK(rcnn_safetensors_commit(&writer, &err), err);
}

static void check_refused(const rcnn_weights *honest, const extra *more, const char *record, rcnn_status status,
                          const char *text)
{
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    write_with(honest, more, record);
    const rcnn_status got = rcnn_model_load(file_path(), NULL, &model, &err);
    CHECK_MSG(got == status && strstr(err.message, text) && !strchr(err.message, '\n'), "%s: %d %s", text, (int)got,
              err.message);
    CHECK(!model);
}

static rcnn_weights *honest_file(void)
{
    const thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    rcnn_model *model = load_network(&n);
    const rcnn_activation given = {.value = "stem", .scale = 0.5f};
    rcnn_weights *weights = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_model_save_calibrated(model, "test_calibrate_honest.safetensors", RCNN_WEIGHTS_FP32, &given, 1, NULL,
                                        &err),
             err);
    CHECK_OK(rcnn_weights_open("test_calibrate_honest.safetensors", &weights, &err), err);
    rcnn_model_destroy(model);
    remove("test_calibrate_honest.safetensors");
    return weights;
}

TEST(hostile_scales)
{
    static const struct {
        extra tensor;
        rcnn_status status;
        const char *text;
    } cases[] = {
        {{"activation.p2.scale", RCNN_F32, 1, {2}, {NAN, 0}}, RCNN_ERR_NUMERIC, "activation.p2.scale"},
        {{"activation.p2.scale", RCNN_F32, 1, {2}, {INFINITY, 0}}, RCNN_ERR_NUMERIC, "activation.p2.scale"},
        {{"activation.p2.scale", RCNN_F32, 1, {2}, {-1, 0}}, RCNN_ERR_FORMAT, "want a scale of 0 or above"},
        {{"activation.p2.scale", RCNN_F32, 1, {2}, {1e37f, 0}}, RCNN_ERR_FORMAT, "got 1e+37"},
        {{"activation.p2.scale", RCNN_F32, 1, {2}, {1e-40f, 0}}, RCNN_ERR_FORMAT, "want a scale"},
        {{"activation.p2.scale", RCNN_F32, 1, {2}, {1, 0.5f}}, RCNN_ERR_FORMAT, "sign of 0 or 1"},
        {{"activation.p2.scale", RCNN_F32, 1, {2}, {1, NAN}}, RCNN_ERR_NUMERIC, "activation.p2.scale"},
        {{"activation.p2.scale", RCNN_F32, 1, {1}, {1}}, RCNN_ERR_FORMAT, "want shape [2], got [1]"},
        {{"activation.p2.scale", RCNN_F32, 1, {3}, {1, 1, 1}}, RCNN_ERR_FORMAT, "want shape [2], got [3]"},
        {{"activation.p2.scale", RCNN_F32, 2, {1, 2}, {1, 1}}, RCNN_ERR_FORMAT, "want shape [2]"},
        {{"activation.p2.scale", RCNN_I32, 1, {2}, {1, 1}}, RCNN_ERR_FORMAT, "activation.p2.scale"},
        {{"activation.p6.scale", RCNN_F32, 1, {2}, {1, 1}}, RCNN_ERR_FORMAT, "no such activation"},
        {{"activation..scale", RCNN_F32, 1, {2}, {1, 1}}, RCNN_ERR_FORMAT, "no such activation"},
        {{"activation.rpn_pred2.scale", RCNN_F32, 1, {2}, {1, 1}}, RCNN_ERR_FORMAT, "no such activation"},
        {{"activation.layer1_0_conv1layer1_0_conv1layer1_0_conv1layer1_0_conv1layer1_0_conv1.scale",
          RCNN_F32,
          1,
          {2},
          {1, 1}},
         RCNN_ERR_FORMAT,
         "no such activation"},
    };
    rcnn_weights *honest = honest_file();
    REQUIRE(honest);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_refused(honest, &cases[i].tensor, NULL, cases[i].status, cases[i].text);
    }
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    const extra other = {"activation.p2.zero_point", RCNN_F32, 1, {1}, {0}}; /* unknown tensors are passed over */
    write_with(honest, &other, NULL);
    CHECK_OK(rcnn_model_load(file_path(), NULL, &model, &err), err);
    CHECK(model && model->activation_count == 1 && !model->calibration);
    rcnn_model_destroy(model);
    rcnn_weights_close(honest);
    remove(file_path());
}

TEST(hostile_records)
{
    static const struct {
        const char *record;
        rcnn_status status;
        const char *text;
    } cases[] = {
        {"", RCNN_ERR_FORMAT, "rcnn_calibration"},
        {"[]", RCNN_ERR_FORMAT, "rcnn_calibration"},
        {"{}", RCNN_ERR_FORMAT, "want 'version'"},
        {"{\"version\":2}", RCNN_ERR_UNSUPPORTED, "want version 1, got 2"},
        {"{\"version\":\"1\"}", RCNN_ERR_FORMAT, "rcnn_calibration"},
        {"{\"version\":1", RCNN_ERR_FORMAT, "rcnn_calibration"},
        {"{\"version\":1} x", RCNN_ERR_FORMAT, "rcnn_calibration"},
        {"{\"version\":1,\"images\":-1}", RCNN_ERR_FORMAT, "a count of images"},
        {"{\"version\":1,\"images\":1e300}", RCNN_ERR_FORMAT, "a count of images"},
        {"{\"version\":1,\"values\":{}}", RCNN_ERR_FORMAT, "rcnn_calibration"},
        {"{\"version\":1,\"values\":[3]}", RCNN_ERR_FORMAT, "an object for each value"},
        {"{\"version\":1,\"values\":[{}]}", RCNN_ERR_FORMAT, "no tensor for its value ''"},
        {"{\"version\":1,\"values\":[{\"name\":\"c2\"}]}", RCNN_ERR_FORMAT, "no tensor for its value 'c2'"},
        {"{\"version\":1,\"values\":[{\"name\":3}]}", RCNN_ERR_FORMAT, "rcnn_calibration"},
        {"{\"version\":1,\"values\":[{\"name\":\"stem\",\"max\":1e39}]}", RCNN_ERR_FORMAT, "a float holds"},
        {"{\"version\":1,\"values\":[{\"name\":\"stem\",\"max\":null}]}", RCNN_ERR_FORMAT, "a float holds"},
        {"{\"version\":1,\"values\":[{\"name\":\"stem\",\"min\":1e999}]}", RCNN_ERR_LIMIT, "rcnn_calibration"},
        {"{\"version\":1,\"values\":[{\"name\":\"stem\",\"error\":NaN}]}", RCNN_ERR_FORMAT, "rcnn_calibration"},
        {"{\"version\":1,\"values\":[{\"name\":\"stem\",\"method\":\"magic\"}]}", RCNN_ERR_FORMAT, "want a method"},
        {"{\"version\":1,\"values\":[{\"name\":\"stem\",\"method\":7}]}", RCNN_ERR_FORMAT, "want a method"},
    };
    rcnn_weights *honest = honest_file();
    REQUIRE(honest);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_refused(honest, NULL, cases[i].record, cases[i].status, cases[i].text);
    }
    rcnn_weights_close(honest);
    remove(file_path());
}

/* ----------------------------------------------------------------- the whole */

static rcnn_calibration_options small_options(void)
{
    rcnn_calibration_options options;
    rcnn_calibration_options_init(&options);
    options.num_threads = 2;
    options.long_side = 160;
    options.short_side = 96;
    return options;
}

static int32_t count_steps(void *context, int32_t done, int32_t total)
{
    int32_t *last = context;
    CHECK_MSG(done >= *last && done <= total, "%d after %d of %d", done, *last, total);
    *last = done;
    return 0;
}

static int32_t cancel(void *context, int32_t done, int32_t total)
{
    (void)total;
    return done >= *(int32_t *)context;
}

static void check_calibrated(const rcnn_model *model)
{
    int32_t bytes = 0;
    CHECK(rcnn_model_activation_count(model) > 30);
    for (int32_t i = 0; i < rcnn_model_activation_count(model); i++) {
        rcnn_activation_info a;
        REQUIRE(rcnn_model_activation_get(model, i, &a) == RCNN_OK);
        bytes += a.scale > 0;
        CHECK_MSG(a.max >= a.min && a.error >= 0 && a.error < 0.2f && a.sensitivity >= 0, "%s", a.name);
        CHECK_MSG(a.is_signed || a.min >= 0, "%s: %g", a.name, (double)a.min);
        CHECK_MSG(a.scale == 0 || a.scale * (a.is_signed ? 127 : 255) <= 1.0001f * fmaxf(-a.min, a.max), "%s", a.name);
        CHECK_MSG((a.scale > 0) == (strcmp(a.method, "float") != 0), "%s: %s", a.name, a.method);
    }
    CHECK(bytes > 10);
    CHECK(strstr(rcnn_model_calibration_json(model), "\"images\":2") != NULL);
}

/* Ranges hold what the file's network makes of the first picture, as far as the weights' rounding lets them. */
static void check_runs(const rcnn_model *model, const rcnn_image_view *view)
{
    rcnn_session_options options = thin_options(thin_backend());
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_error err = {0};
    options.keep_values = 1;
    CHECK_OK(rcnn_session_create(model, &options, &session, &err), err);
    REQUIRE(session);
    CHECK_OK(rcnn_session_run(session, view, 1, &results, &err), err);
    for (int32_t i = 0; i < rcnn_model_activation_count(model); i++) {
        rcnn_activation_info a;
        size_t size;
        REQUIRE(rcnn_model_activation_get(model, i, &a) == RCNN_OK);
        CHECK_OK(rcnn_session_read_value(session, a.name, NULL, 0, &size, &err), err);
        CHECK(size > 0);
    }
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
}

TEST(from_pictures_to_a_file)
{
    rcnn_model *model = thin_model(), *back = NULL;
    rcnn_image_view first, second;
    uint8_t *pixels[2] = {thin_picture(150, 90, 3, &first), thin_picture(64, 200, 4, &second)};
    rcnn_calibration *c = NULL;
    rcnn_calibration_options options = small_options();
    rcnn_error err = {0};
    int32_t last = 0;
    options.progress = count_steps;
    options.progress_context = &last;
    REQUIRE(model);
    CHECK_OK(rcnn_calibration_create(model, &options, &c, &err), err);
    REQUIRE(c);
    rcnn_model_destroy(model); /* the calibration keeps it */
    CHECK(rcnn_calibration_save(c, file_path(), &err) == RCNN_ERR_ARGUMENT &&
          strstr(err.message, "at least one image"));
    CHECK_OK(rcnn_calibration_add(c, &first, &err), err);
    rcnn_image_view bad = first;
    bad.width = 0;
    CHECK(rcnn_calibration_add(c, &bad, &err) == RCNN_ERR_ARGUMENT && rcnn_calibration_add(c, NULL, &err));
    CHECK_OK(rcnn_calibration_add(c, &second, &err), err);
    CHECK_OK(rcnn_calibration_save(c, file_path(), &err), err);
    CHECK(last > 30);
    last = 0;
    CHECK(rcnn_calibration_save(c, "/no/such/folder/x", &err) != RCNN_OK && rcnn_calibration_save(c, NULL, &err));
    rcnn_calibration_destroy(c);
    CHECK_OK(rcnn_model_load(file_path(), NULL, &back, &err), err);
    REQUIRE(back);
    check_calibrated(back);
    check_runs(back, &first);
    rcnn_model_destroy(back);
    free(pixels[0]);
    free(pixels[1]);
    remove(file_path());
}

TEST(limits_decide_what_stays_in_floating_point)
{
    rcnn_model *model = thin_model();
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(100, 80, 3, &view);
    const float limits[] = {1e-7f, 1};
    REQUIRE(model);
    for (int i = 0; i < 2; i++) {
        rcnn_calibration_options options = small_options();
        rcnn_calibration *c = NULL;
        rcnn_model *back = NULL;
        rcnn_error err = {0};
        options.max_error = limits[i];
        CHECK_OK(rcnn_calibration_create(model, &options, &c, &err), err);
        CHECK_OK(rcnn_calibration_add(c, &view, &err), err);
        CHECK_OK(rcnn_calibration_save(c, file_path(), &err), err);
        CHECK_OK(rcnn_model_load(file_path(), NULL, &back, &err), err);
        REQUIRE(back);
        for (int32_t k = 0; k < back->activation_count; k++) {
            const rcnn_activation *a = &back->activations[k];
            CHECK_MSG(i == 0 ? a->scale == 0 || a->sensitivity <= limits[0] : a->scale > 0 || a->max == 0, "%s: %g %g",
                      a->value, (double)a->scale, (double)a->sensitivity);
        }
        rcnn_model_destroy(back);
        rcnn_calibration_destroy(c);
    }
    rcnn_model_destroy(model);
    free(pixels);
    remove(file_path());
}

TEST(cancelling_leaves_no_file)
{
    rcnn_model *model = thin_model();
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(100, 80, 3, &view);
    REQUIRE(model);
    for (int32_t stop = 0; stop <= 40; stop += 20) {
        rcnn_calibration_options options = small_options();
        rcnn_calibration *c = NULL;
        rcnn_error err = {0};
        options.progress = cancel;
        options.progress_context = &stop;
        CHECK_OK(rcnn_calibration_create(model, &options, &c, &err), err);
        CHECK_OK(rcnn_calibration_add(c, &view, &err), err);
        CHECK(rcnn_calibration_save(c, file_path(), &err) == RCNN_ERR_CANCELLED && err.message[0]);
        CHECK(access(file_path(), F_OK) != 0);
        rcnn_calibration_destroy(c);
    }
    rcnn_model_destroy(model);
    free(pixels);
}

TEST(bad_options_are_refused)
{
    rcnn_model *model = thin_model();
    rcnn_calibration *c = NULL;
    rcnn_error err = {0};
    REQUIRE(model);
    for (int i = 0; i < 6; i++) {
        rcnn_calibration_options options = small_options();
        options.max_error = i == 0 ? -1 : i == 1 ? NAN : i == 2 ? 1.5f : 0;
        options.num_threads = i == 3 ? -1 : 1;
        options.long_side = i == 4 ? 1 << 20 : 160;
        options.struct_size = i == 5 ? 0 : sizeof options;
        CHECK_MSG(rcnn_calibration_create(model, &options, &c, &err) == RCNN_ERR_ARGUMENT && err.message[0] && !c, "%d",
                  i);
    }
    CHECK(rcnn_calibration_create(NULL, NULL, &c, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_calibration_create(model, NULL, NULL, &err) == RCNN_ERR_ARGUMENT);
    rcnn_calibration_destroy(NULL);
    rcnn_model_destroy(model);
}

/* ------------------------------------------------------------- sensitivity */

static rcnn_sensitivity *open_thin(rcnn_model **model, uint8_t **pixels)
{
    rcnn_image_view view;
    rcnn_session_options options = thin_options(thin_backend());
    rcnn_sensitivity *s = NULL;
    rcnn_error err = {0};
    *model = thin_model();
    *pixels = thin_picture(150, 90, 3, &view);
    options.precision = RCNN_PRECISION_BF16; /* not heeded: it measures in fp32, whatever `auto` means here */
    CHECK_OK(rcnn_sensitivity_open(*model, &options, &view, &s, &err), err);
    return s;
}

static double largest_of(const double errors[RCNN_SENSITIVITY_PARTS])
{
    double largest = 0;
    for (int32_t i = 0; i < RCNN_SENSITIVITY_PARTS; i++) {
        largest = errors[i] > largest ? errors[i] : largest;
    }
    return largest;
}

TEST(sensitivity_grows_with_the_steps_and_leaves_no_trace)
{
    rcnn_model *model;
    uint8_t *pixels;
    rcnn_sensitivity *s = open_thin(&model, &pixels);
    rcnn_error err = {0};
    static const char *const values[] = {"stem", "c3", "p2", "rpn_conv0_2", "box_fc0", "mask_conv0", "mask_deconv"};
    REQUIRE(s);
    for (size_t v = 0; v < sizeof values / sizeof values[0]; v++) {
        rcnn_activation a = {.is_signed = values[v][0] == 'p'};
        double before = 0, error, errors[RCNN_SENSITIVITY_PARTS];
        snprintf(a.value, sizeof a.value, "%s", values[v]);
        CHECK_OK(rcnn_sensitivity_measure(s, &a, 1, &(const uint8_t){0}, errors, &err), err);
        error = largest_of(errors);
        CHECK_MSG(error == 0, "%s: %g", values[v], error); /* what was measured before is gone */
        const float scales[] = {1e-6f, 1e-2f, 1e3f};
        for (int i = 1; i < 3; i++) { /* fine steps, then one so coarse that only zero is left */
            a.scale = scales[i];
            CHECK_OK(rcnn_sensitivity_measure(s, &a, 1, &(const uint8_t){1}, errors, &err), err);
            error = largest_of(errors);
            CHECK_MSG(error > before && isfinite(error), "%s: %g after %g", values[v], error, before);
            before = error;
        }
    }
    rcnn_sensitivity_close(s);
    rcnn_model_destroy(model);
    free(pixels);
}

/* --------------------------------------------------------- failing memory */

static rcnn_status whole_way(const rcnn_model *model, const rcnn_image_view *view)
{
    const rcnn_calibration_options options = small_options();
    rcnn_calibration *c = NULL;
    rcnn_status status = rcnn_calibration_create(model, &options, &c, NULL);
    if (status == RCNN_OK) {
        status = rcnn_calibration_add(c, view, NULL);
    }
    if (status == RCNN_OK) {
        status = rcnn_calibration_save(c, file_path(), NULL);
    }
    rcnn_calibration_destroy(c);
    return status;
}

TEST(allocations_may_fail)
{
    rcnn_model *model = thin_model();
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(64, 64, 3, &view);
    REQUIRE(model);
    const uint64_t before = rcnn_memory_allocation_count();
    CHECK(whole_way(model, &view) == RCNN_OK);
    const uint64_t all = rcnn_memory_allocation_count() - before;
    remove(file_path());
    for (uint64_t left = 1; left < all; left += 1 + left) { /* the calibration's own come last, after the runs */
        rcnn_memory_fail_from(all - left);
        const rcnn_status status = whole_way(model, &view);
        rcnn_memory_fail_from(0);
        CHECK_MSG(status == RCNN_ERR_MEMORY, "allocation %llu of %llu: %d", (unsigned long long)(all - left),
                  (unsigned long long)all, (int)status);
        CHECK(access(file_path(), F_OK) != 0);
    }
    rcnn_model_destroy(model);
    free(pixels);
}

/* ----------------------------------------------------------------- sessions */

TEST(int8_wants_a_calibrated_model)
{
    rcnn_model *model = thin_model();
    rcnn_session_options options = thin_options(thin_backend());
    rcnn_session *session = NULL;
    rcnn_error err = {0};
    REQUIRE(model);
    options.precision = RCNN_PRECISION_INT8;
    const rcnn_status status = rcnn_session_create(model, &options, &session, &err);
    CHECK(status == RCNN_ERR_UNSUPPORTED || (status == RCNN_ERR_ARGUMENT && strstr(err.message, "--calibrate")));
    CHECK(!session);
    rcnn_model_destroy(model);
}

/* A session of that precision on the file at file_path(), keeping values; NULL where the backend lacks the precision. */
static rcnn_session *open_file(rcnn_precision precision)
{
    rcnn_model *model = NULL;
    rcnn_session *session = NULL;
    rcnn_error err = {0};
    rcnn_session_options options = thin_options(thin_backend());
    options.precision = precision;
    options.keep_values = 1;
    CHECK_OK(rcnn_model_load(file_path(), NULL, &model, &err), err);
    const rcnn_status status = model ? rcnn_session_create(model, &options, &session, &err) : RCNN_OK;
    CHECK_MSG(status == RCNN_OK || status == RCNN_ERR_UNSUPPORTED, "%s", err.message);
    rcnn_model_destroy(model);
    return session;
}

static float *read_floats(rcnn_session *session, const char *name, size_t *count)
{
    rcnn_error err = {0};
    size_t bytes = 0;
    CHECK_OK(rcnn_session_read_value(session, name, NULL, 0, &bytes, &err), err);
    float *values = malloc(bytes + 1);
    if (!values) {
        exit(1);
    }
    CHECK_OK(rcnn_session_read_value(session, name, values, bytes, &bytes, &err), err);
    *count = bytes / sizeof *values;
    return values;
}

/* Relative root mean square of the difference; what is read of the bytes must be codes. */
static double difference(rcnn_session *floats, rcnn_session *bytes, const char *name)
{
    size_t count, other;
    float *a = read_floats(floats, name, &count), *b = read_floats(bytes, name, &other);
    const rcnn_activation *stored = rcnn_model_activation(bytes->model, name);
    double sum = 0, squares = 0;
    CHECK_MSG(count == other && count > 0, "%s: %zu and %zu values", name, count, other);
    for (size_t i = 0; i < count && i < other; i++) {
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        squares += (double)a[i] * (double)a[i];
        if (stored && stored->scale > 0) {
            const float code = rintf(b[i] / stored->scale);
            CHECK(b[i] == code * stored->scale && code <= (stored->is_signed ? 127 : 255) &&
                  code >= (stored->is_signed ? -127 : 0));
        }
    }
    free(a);
    free(b);
    return sqrt(sum / squares);
}

TEST(int8_runs_stay_near_fp32)
{
    static const char *const values[] = {"stem", "stem_pool", "c2",          "c5",        "merge2",
                                         "p2",   "p6",        "rpn_conv0_3", "rpn_pred2", "rpn_pred5"};
    rcnn_model *model = thin_model();
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(150, 90, 3, &view);
    REQUIRE(model && whole_way(model, &view) == RCNN_OK);
    rcnn_session *floats = open_file(RCNN_PRECISION_FP32), *bytes = open_file(RCNN_PRECISION_INT8);
    if (bytes) {
        rcnn_results *results = NULL;
        rcnn_error err = {0};
        char *json = NULL;
        CHECK_OK(rcnn_session_run(floats, &view, 1, &results, &err), err);
        rcnn_results_destroy(results);
        results = NULL;
        CHECK_OK(rcnn_session_run(bytes, &view, 1, &results, &err), err);
        for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
            const double error = difference(floats, bytes, values[i]);
            CHECK_MSG(error < 0.15, "%s: %g", values[i], error);
        }
        CHECK_OK(rcnn_session_plan_json(bytes, 150, 90, &json, &err), err);
        CHECK(json && strstr(json, "\"precision\":\"int8\"") && strstr(json, "\"dtype\":\"u8\",\"scale\":"));
        rcnn_free(json);
        rcnn_results_destroy(results);
    }
    rcnn_session_destroy(floats);
    rcnn_session_destroy(bytes);
    rcnn_model_destroy(model);
    free(pixels);
    remove(file_path());
}

TEST_MAIN
