/* Models written in the names of the frameworks: what comes back is the same bit for bit, with and without the config in
 * the file, and the names are those of the frameworks' own files. */
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "golden/golden.h"
#include "harness.h"
#include "model/class_rows.h"
#include "model/layers.h"
#include "model/state_dict.h"
#include "state_dict.h"

static const char *const WORDS[] = {"torchvision", "mmdet", "detectron2"};
enum { NAMINGS = 3 };

static const char *temporary_path(void)
{
    static char path[256];
    const char *directory = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/rcnn_test_state_dict_%d.safetensors", directory ? directory : "/tmp",
             (int)getpid());
    return path;
}

/* The thin models, each with the small sizes of its reference. */
static int open_case(golden_case *g, int32_t index)
{
    const int opened = golden_open(g, &golden_models[index], "reference.safetensors");
    CHECK_MSG(opened, "%s", golden_models[index].name);
    return opened;
}

static bool same_layer(const rcnn_layer *a, const rcnn_layer *b)
{
    return strcmp(a->name, b->name) == 0 && a->kind == b->kind && a->out == b->out && a->in == b->in &&
           a->kh == b->kh && a->groups == b->groups && a->stride == b->stride &&
           memcmp(a->weights, b->weights, rcnn_layer_weight_count(a) * sizeof(float)) == 0 &&
           memcmp(a->bias, b->bias, (size_t)a->out * sizeof(float)) == 0;
}

/* Rows in which two layers of the same shape differ, from *first on. */
static int32_t different_rows(const rcnn_layer *a, const rcnn_layer *b, int32_t *first)
{
    const size_t per_row = rcnn_layer_weight_count(a) / (size_t)a->out;
    int32_t count = 0;
    for (int32_t row = a->out - 1; row >= 0; row--) {
        const size_t at = (size_t)row * per_row;
        if (memcmp(a->weights + at, b->weights + at, per_row * sizeof(float)) != 0 ||
            memcmp(a->bias + row, b->bias + row, sizeof(float)) != 0) {
            count++;
            *first = row;
        }
    }
    return count;
}

/* A model with the background first loses the rows that no prediction uses in a naming that lacks them. */
static void check_layer(const rcnn_model *model, const rcnn_layer *a, const rcnn_layer *b, rcnn_state_dict naming)
{
    const bool loses = model->config.background_first && naming != RCNN_STATE_DICT_TORCHVISION;
    if (!loses || !rcnn_class_rows_concern(a)) {
        CHECK_MSG(same_layer(a, b), "%s in %s", a->name, WORDS[naming]);
        return;
    }
    const bool box = strcmp(a->name, "box.pred") == 0;
    int32_t first = 0;
    REQUIRE(a->out == b->out && a->in == b->in);
    CHECK(different_rows(a, b, &first) == (box ? 4 : 1));
    CHECK(first == (box ? model->config.class_count + 1 : 0) && b->bias[first] == 0);
}

static void check_layers(const rcnn_model *model, const rcnn_model *back, rcnn_state_dict naming)
{
    REQUIRE(model->layer_count == back->layer_count);
    for (int32_t i = 0; i < model->layer_count; i++) {
        check_layer(model, &model->layers[i], &back->layers[i], naming);
    }
}

static rcnn_results *run(const rcnn_model *model, const rcnn_image_view *image)
{
    rcnn_session *session = NULL;
    rcnn_results *results = NULL;
    rcnn_error err = {0};
    rcnn_session_options options;
    rcnn_session_options_init(&options);
    options.backend = golden_backend(0); /* the best there is here */
    CHECK_OK(rcnn_session_create(model, &options, &session, &err), err);
    if (session) {
        CHECK_OK(rcnn_session_run(session, image, 1, &results, &err), err);
    }
    rcnn_session_destroy(session);
    return results;
}

/* Every detection and every soft mask, bit for bit. Returns how many there are. */
static int32_t check_detections(const rcnn_model *a, const rcnn_model *b, const rcnn_image_view *image)
{
    rcnn_results *results[2] = {run(a, image), run(b, image)};
    const int32_t count = rcnn_results_count(results[0], 0);
    CHECK(rcnn_results_count(results[1], 0) == count);
    for (int32_t i = 0; i < count && rcnn_results_count(results[1], 0) == count; i++) {
        rcnn_detection d[2];
        rcnn_mask mask[2] = {{0}, {0}};
        for (int k = 0; k < 2; k++) {
            CHECK(rcnn_results_get(results[k], 0, i, &d[k]) == RCNN_OK);
            if (rcnn_model_has_masks(a)) {
                CHECK(rcnn_results_get_mask(results[k], 0, i, RCNN_MASK_RAW, &mask[k], NULL) == RCNN_OK);
            }
        }
        CHECK(memcmp(&d[0], &d[1], sizeof d[0]) == 0);
        const size_t pixels = (size_t)mask[0].width * (size_t)mask[0].height;
        CHECK(pixels == 0 || memcmp(mask[0].raw, mask[1].raw, pixels * sizeof(float)) == 0);
    }
    rcnn_results_destroy(results[0]);
    rcnn_results_destroy(results[1]);
    return count;
}

/* The config comes back whole, but for the epsilon that the file's norms were made with. */
static void check_config(const rcnn_model *model, const rcnn_model *back)
{
    for (int32_t i = 0; i < rcnn_model_config_count(); i++) {
        const char *key, *values[2];
        CHECK(rcnn_model_config_get(model, i, &key, &values[0], NULL) == RCNN_OK);
        CHECK(rcnn_model_config_get(back, i, NULL, &values[1], NULL) == RCNN_OK);
        const bool eps = strcmp(key, "bn_eps") == 0;
        CHECK_MSG(eps ? back->config.bn_eps == RCNN_STATE_DICT_EPS : strcmp(values[0], values[1]) == 0, "%s", key);
    }
    for (int32_t i = 0; i < rcnn_model_class_count(model); i++) {
        CHECK(strcmp(rcnn_model_class_name(model, i), rcnn_model_class_name(back, i)) == 0);
        CHECK(rcnn_model_category_id(model, i) == rcnn_model_category_id(back, i));
    }
}

static rcnn_model *round_trip(const rcnn_model *model, rcnn_state_dict naming)
{
    rcnn_model *back = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_model_save_state_dict(model, temporary_path(), naming, &err), err);
    CHECK_OK(rcnn_model_load(temporary_path(), NULL, &back, &err), err);
    return back;
}

TEST(every_model_in_every_naming_comes_back_bit_equal)
{
    int32_t detections = 0;
    for (int32_t i = 0; i < GOLDEN_MODEL_COUNT; i++) {
        golden_case g;
        for (int n = 0; n < NAMINGS && open_case(&g, i); n++) {
            rcnn_model *back = round_trip(g.model, (rcnn_state_dict)n);
            if (back) {
                check_layers(g.model, back, (rcnn_state_dict)n);
                check_config(g.model, back);
                detections += check_detections(g.model, back, &g.image);
            }
            rcnn_model_destroy(back);
            golden_close(&g);
        }
    }
    CHECK_MSG(detections > 50, "%d detections compared", (int)detections);
    remove(temporary_path());
}

/* ------------------------------------------- files without our metadata */

/* Spoils the two metadata keys, as if another program had written the tensors on. */
static void hide_metadata(uint8_t *data, size_t size)
{
    static const char *const keys[] = {"\"rcnn_naming\"", "\"rcnn_config\""};
    for (size_t k = 0; k < 2; k++) {
        const size_t length = strlen(keys[k]);
        for (size_t at = 0; at + length < size; at++) {
            if (memcmp(data + at, keys[k], length) == 0) {
                data[at + 1] = 'x';
                break;
            }
        }
    }
}

static rcnn_model *load_hidden(void)
{
    rcnn_file_map map;
    rcnn_weights *weights = NULL;
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_file_map_open(temporary_path(), SIZE_MAX, &map, &err), err);
    uint8_t *copy = malloc(map.size);
    if (copy) {
        memcpy(copy, map.data, map.size);
        hide_metadata(copy, map.size);
        CHECK_OK(rcnn_weights_open_memory(copy, map.size, &weights, &err), err);
        CHECK_OK(rcnn_model_load_weights(weights, NULL, &model, &err), err);
        rcnn_weights_close(weights);
    }
    free(copy);
    rcnn_file_map_close(&map);
    return model;
}

/* Row of class k's score in a box.pred, and of its first delta; k = -1 is the background. */
static int32_t score_row(const rcnn_config *c, int32_t k)
{
    return c->background_first ? k + 1 : k < 0 ? c->class_count : k;
}

static int32_t delta_row(const rcnn_config *c, int32_t k)
{
    return c->class_count + 1 + 4 * (c->background_first ? k + 1 : k);
}

static bool same_rows(const rcnn_layer *a, int32_t row_a, const rcnn_layer *b, int32_t row_b, int32_t rows)
{
    const size_t per_row = rcnn_layer_weight_count(a) / (size_t)a->out;
    return memcmp(a->weights + (size_t)row_a * per_row, b->weights + (size_t)row_b * per_row,
                  (size_t)rows * per_row * sizeof(float)) == 0 &&
           memcmp(a->bias + row_a, b->bias + row_b, (size_t)rows * sizeof(float)) == 0;
}

static void check_class_rows(const rcnn_model *a, const rcnn_model *b)
{
    const rcnn_layer *box[2] = {rcnn_model_layer(a, "box.pred"), rcnn_model_layer(b, "box.pred")};
    const rcnn_layer *mask[2] = {rcnn_model_layer(a, "mask.logits"), rcnn_model_layer(b, "mask.logits")};
    for (int32_t k = -1; k < a->config.class_count; k++) {
        CHECK(same_rows(box[0], score_row(&a->config, k), box[1], score_row(&b->config, k), 1));
        CHECK(k < 0 || same_rows(box[0], delta_row(&a->config, k), box[1], delta_row(&b->config, k), 4));
        CHECK(k < 0 || !mask[0] ||
              same_rows(mask[0], k + a->config.background_first, mask[1], k + b->config.background_first, 1));
    }
}

/* What inference makes of the bare tensors: the framework's family, its order of classes, and the same weights. */
TEST(bare_state_dicts_are_the_frameworks_own)
{
    static const rcnn_family families[] = {RCNN_FAMILY_TORCHVISION, RCNN_FAMILY_MMDET2, RCNN_FAMILY_DETECTRON2};
    for (int32_t i = 0; i < GOLDEN_MODEL_COUNT; i++) {
        golden_case g;
        for (int n = 0; n < NAMINGS && open_case(&g, i); n++) {
            rcnn_error err = {0};
            CHECK_OK(rcnn_model_save_state_dict(g.model, temporary_path(), (rcnn_state_dict)n, &err), err);
            rcnn_model *bare = load_hidden();
            REQUIRE(bare);
            CHECK(bare->config.family == families[n] && bare->config.bn_eps == RCNN_STATE_DICT_EPS);
            CHECK(bare->config.background_first == (n == RCNN_STATE_DICT_TORCHVISION));
            CHECK(bare->layer_count == g.model->layer_count);
            for (int32_t l = 0; l < bare->layer_count; l++) {
                const rcnn_layer *a = &g.model->layers[l], *b = &bare->layers[l];
                CHECK_MSG(rcnn_class_rows_concern(a) || same_rows(a, 0, b, 0, a->out), "%s", a->name);
            }
            check_class_rows(g.model, bare);
            rcnn_model_destroy(bare);
            golden_close(&g);
        }
    }
    remove(temporary_path());
}

/* --------------------------------------------------------------- names */

static bool is_shape_equal(const rcnn_tensor_info *a, const rcnn_tensor_info *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof a->shape[0]) == 0;
}

/* Buffers that detectron2 kept in state dicts once and now makes anew. */
static bool is_old_buffer(const char *name)
{
    return strncmp(name, "pixel_", 6) == 0 || strstr(name, ".cell_anchors.");
}

/* Tensors of `a` that `b` lacks or has in another shape. */
static int32_t count_missing(const rcnn_weights *a, const rcnn_weights *b)
{
    int32_t missing = 0;
    for (int32_t i = 0; i < rcnn_weights_count(a); i++) {
        rcnn_tensor_info x, y;
        CHECK(rcnn_weights_get(a, i, &x) == RCNN_OK);
        if (!is_old_buffer(x.name) && (rcnn_weights_find(b, x.name, &y) != RCNN_OK || !is_shape_equal(&x, &y))) {
            fprintf(stderr, "%s is only in one of the two\n", x.name);
            missing++;
        }
    }
    return missing;
}

static void check_names(const golden_case *g, rcnn_state_dict naming)
{
    char path[512];
    rcnn_weights *theirs = NULL, *ours = NULL;
    rcnn_error err = {0};
    snprintf(path, sizeof path, RCNN_SOURCE_DIR "/tests/golden/data/%s/%s", g->entry->name, g->entry->checkpoint);
    CHECK_OK(rcnn_model_save_state_dict(g->model, temporary_path(), naming, &err), err);
    CHECK_OK(rcnn_weights_open(path, &theirs, &err), err);
    CHECK_OK(rcnn_weights_open(temporary_path(), &ours, &err), err);
    if (theirs && ours) {
        CHECK_MSG(count_missing(theirs, ours) == 0, "%s: some are missing", g->entry->name);
        CHECK_MSG(count_missing(ours, theirs) == 0, "%s: some are too many", g->entry->name);
    }
    rcnn_weights_close(theirs);
    rcnn_weights_close(ours);
}

/* The checkpoints of the golden data have the names that the frameworks' own modules gave them: written in the same
 * naming, a model has the same tensors of the same shapes and none more. torchvision_r18_faster has torchvision's old
 * names, which are never written. */
TEST(names_are_those_of_the_frameworks_files)
{
    int32_t checked = 0;
    for (int32_t i = 0; i < GOLDEN_MODEL_COUNT; i++) {
        golden_case g;
        for (int n = 0; n < NAMINGS; n++) {
            const char *name = golden_models[i].name;
            if (strncmp(name, WORDS[n], strlen(WORDS[n])) != 0 || strcmp(name, "torchvision_r18_faster") == 0) {
                continue;
            }
            if (open_case(&g, i)) {
                check_names(&g, (rcnn_state_dict)n);
                checked++;
            }
            golden_close(&g);
        }
    }
    CHECK(checked == 7);
    remove(temporary_path());
}

/* --------------------------------------------------- other architectures */

static rcnn_model *load_thin(const thin_network *network)
{
    state_dict *dict = state_dict_new();
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    state_dict_make(dict, network);
    rcnn_weights *weights = state_dict_open(dict);
    CHECK_OK(rcnn_model_load_weights(weights, NULL, &model, &err), err);
    rcnn_weights_close(weights);
    state_dict_free(dict);
    return model;
}

static void check_refusal(const thin_network *network, const char *text)
{
    rcnn_error err = {0};
    rcnn_model *model = load_thin(network);
    REQUIRE(model);
    const rcnn_status status = rcnn_model_save_state_dict(model, temporary_path(), RCNN_STATE_DICT_TORCHVISION, &err);
    CHECK_MSG(status == RCNN_ERR_UNSUPPORTED && strstr(err.message, text), "%d %s", (int)status, err.message);
    CHECK(access(temporary_path(), F_OK) != 0);
    for (int n = RCNN_STATE_DICT_MMDET; n < NAMINGS; n++) {
        rcnn_model *back = round_trip(model, (rcnn_state_dict)n);
        if (back) {
            check_layers(model, back, (rcnn_state_dict)n);
        }
        rcnn_model_destroy(back);
        remove(temporary_path());
    }
    rcnn_model_destroy(model);
}

TEST(what_torchvision_cannot_say)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    n.config.agnostic_box = 1;
    check_refusal(&n, "one box regression");
    n = thin_network_of(RCNN_NAMING_MMDET);
    n.config.agnostic_mask = 1;
    check_refusal(&n, "one mask");
    n = thin_network_of(RCNN_NAMING_MMDET);
    n.config.box_fcs = 1;
    check_refusal(&n, "two fully connected");
}

TEST(one_class_and_plain_first_stage)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    n.config.class_count = 1;
    n.config.block = RCNN_BLOCK_BASIC;
    n.stage1_plain = true;
    rcnn_model *model = load_thin(&n);
    REQUIRE(model);
    for (int naming = 0; naming < NAMINGS; naming++) {
        rcnn_model *back = round_trip(model, (rcnn_state_dict)naming);
        if (back) {
            check_layers(model, back, (rcnn_state_dict)naming);
        }
        rcnn_model_destroy(back);
    }
    rcnn_model_destroy(model);
    remove(temporary_path());
}

/* The claim of state_dict.c: whatever a weight is, the identity norms give back its bits. */
TEST(identity_norm_keeps_every_bit)
{
    const float one = 1, zero = 0, variance = (float)(1 - RCNN_STATE_DICT_EPS);
    uint64_t seed = 7;
    int32_t changed = 0;
    for (int32_t i = 0; i < 4000000; i++) {
        uint32_t bits = (uint32_t)(test_random(&seed) >> 32);
        float weight, folded, bias = 0;
        memcpy(&weight, &bits, sizeof weight);
        if (!isfinite(weight)) {
            continue;
        }
        folded = weight;
        const float *const norm[4] = {&one, &weight, &zero, &variance};
        rcnn_fold_batch_norm(&folded, &bias, 1, 1, norm, RCNN_STATE_DICT_EPS);
        changed += memcmp(&folded, &weight, sizeof folded) != 0 || bias != weight;
    }
    CHECK_MSG(changed == 0, "%d changed", (int)changed);
}

/* -------------------------------------------------------------- refusals */

TEST(unknown_naming_in_a_file)
{
    state_dict *dict = state_dict_new();
    const int64_t shape = 1;
    rcnn_model *model = NULL;
    rcnn_error err = {0};
    state_dict_add(dict, "conv1.weight", 1, &shape);
    state_dict_meta(dict, "rcnn_naming", "caffe2");
    rcnn_weights *weights = state_dict_open(dict);
    CHECK(rcnn_model_load_weights(weights, NULL, &model, &err) == RCNN_ERR_UNSUPPORTED &&
          strstr(err.message, "caffe2"));
    rcnn_weights_close(weights);
    state_dict_meta(dict, "rcnn_naming", "mmdet");
    dict->meta[0][0] = "other";
    weights = state_dict_open(dict);
    CHECK(rcnn_model_load_weights(weights, NULL, &model, &err) == RCNN_ERR_FORMAT &&
          strstr(err.message, "rcnn_config"));
    rcnn_weights_close(weights);
    state_dict_free(dict);
}

TEST(save_refusals)
{
    rcnn_error err = {0};
    const thin_network n = thin_network_of(RCNN_NAMING_DETECTRON2);
    rcnn_model *model = load_thin(&n);
    REQUIRE(model);
    CHECK(rcnn_model_save_state_dict(model, temporary_path(), (rcnn_state_dict)3, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_model_save_state_dict(NULL, temporary_path(), RCNN_STATE_DICT_MMDET, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_model_save_state_dict(model, NULL, RCNN_STATE_DICT_MMDET, NULL) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_model_save_state_dict(model, "/no/such/folder/x", RCNN_STATE_DICT_MMDET, &err) != RCNN_OK);
    rcnn_model_destroy(model);
}

TEST(every_allocation_may_fail)
{
    thin_network n = thin_network_of(RCNN_NAMING_MMDET);
    rcnn_model *model = load_thin(&n);
    REQUIRE(model);
    uint64_t nth = 1;
    for (; nth < 100000; nth++) {
        rcnn_error err = {0};
        rcnn_model *back = NULL;
        rcnn_memory_fail_from(nth);
        rcnn_status status = rcnn_model_save_state_dict(model, temporary_path(), RCNN_STATE_DICT_TORCHVISION, &err);
        if (status == RCNN_OK) {
            status = rcnn_model_load(temporary_path(), NULL, &back, &err);
        }
        rcnn_memory_fail_from(0);
        rcnn_model_destroy(back);
        if (status == RCNN_OK) {
            break;
        }
        CHECK_MSG(status == RCNN_ERR_MEMORY, "allocation %d: %d %s", (int)nth, (int)status, err.message);
    }
    CHECK(nth > 20 && nth < 100000);
    rcnn_model_destroy(model);
    remove(temporary_path());
}

TEST_MAIN
