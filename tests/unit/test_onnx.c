/* The exported ONNX file as a protobuf: what stands in it, that it hangs together, and what failures leave behind. What the
 * operators compute is the business of golden.onnx, which needs a runtime. */
#include "harness.h"

#include <dirent.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/model.h"
#if RCNN_HAVE_PROTOBUF_C
#include "export/onnx_subset.pb-c.h"
#endif

#define MODEL_PATH RCNN_SOURCE_DIR "/tests/golden/data/mmdet2/model.pth"

static rcnn_model *load(void)
{
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    CHECK_OK(rcnn_model_load(MODEL_PATH, NULL, &model, &err), err);
    return model;
}

#if !RCNN_HAVE_PROTOBUF_C
TEST(says_what_is_missing)
{
    rcnn_error err = {0};
    rcnn_model *model = load();
    REQUIRE(model);
    CHECK(rcnn_model_export_onnx(model, "never.onnx", NULL, &err) == RCNN_ERR_UNSUPPORTED);
    CHECK(strstr(err.message, "libprotobuf-c-dev") != NULL && strchr(err.message, '\n') == NULL);
    CHECK(access("never.onnx", F_OK) != 0);
    rcnn_model_destroy(model);
}
#else

/* A folder of this test alone, so that left-over files show. */
typedef struct place {
    char folder[64], file[96];
} place;

static place new_place(void)
{
    place p;
    snprintf(p.folder, sizeof p.folder, "/tmp/rcnn_onnx_XXXXXX");
    CHECK(mkdtemp(p.folder) != NULL);
    snprintf(p.file, sizeof p.file, "%s/model.onnx", p.folder);
    return p;
}

static int files_in(const place *p)
{
    int count = 0;
    DIR *folder = opendir(p->folder);
    for (const struct dirent *entry = folder ? readdir(folder) : NULL; entry; entry = readdir(folder)) {
        count += entry->d_name[0] != '.';
    }
    if (folder) {
        closedir(folder);
    }
    return count;
}

static void remove_place(const place *p)
{
    unlink(p->file);
    CHECK(rmdir(p->folder) == 0);
}

static Onnx__ModelProto *read_back(const char *path)
{
    rcnn_error err = {0};
    rcnn_file_map map = {0};
    CHECK_OK(rcnn_file_map_open(path, (size_t)1 << 30, &map, &err), err);
    Onnx__ModelProto *proto = onnx__model_proto__unpack(NULL, map.size, map.data);
    rcnn_file_map_close(&map);
    CHECK(proto != NULL);
    return proto;
}

/* Exports with options and parses the file; NULL after a failed check. */
static Onnx__ModelProto *export_and_read(const rcnn_model *model, const rcnn_onnx_options *options)
{
    rcnn_error err = {0};
    const place p = new_place();
    CHECK_OK(rcnn_model_export_onnx(model, p.file, options, &err), err);
    CHECK(files_in(&p) == 1);
    Onnx__ModelProto *proto = read_back(p.file);
    remove_place(&p);
    return proto;
}

static const Onnx__TensorProto *initializer(const Onnx__GraphProto *graph, const char *name)
{
    for (size_t i = 0; i < graph->n_initializer; i++) {
        if (strcmp(graph->initializer[i]->name, name) == 0) {
            return graph->initializer[i];
        }
    }
    return NULL;
}

/* A value is an input, an initializer, or an output of one of the first `nodes` nodes; -> how often it is one. */
static int definitions(const Onnx__GraphProto *graph, const char *name, size_t nodes)
{
    int count = initializer(graph, name) != NULL;
    for (size_t i = 0; i < graph->n_input; i++) {
        count += strcmp(graph->input[i]->name, name) == 0;
    }
    for (size_t i = 0; i < nodes; i++) {
        for (size_t k = 0; k < graph->node[i]->n_output; k++) {
            count += strcmp(graph->node[i]->output[k], name) == 0;
        }
    }
    return count;
}

/* Every input of a node is made before it, every output only once. */
static void check_order(const Onnx__GraphProto *graph)
{
    for (size_t i = 0; i < graph->n_node; i++) {
        const Onnx__NodeProto *node = graph->node[i];
        for (size_t k = 0; k < node->n_input; k++) {
            CHECK_MSG(node->input[k][0] == '\0' || definitions(graph, node->input[k], i) == 1, "%s of %s",
                      node->input[k], node->name);
        }
        for (size_t k = 0; k < node->n_output; k++) {
            CHECK_MSG(definitions(graph, node->output[k], graph->n_node) == 1, "%s", node->output[k]);
        }
    }
    for (size_t i = 0; i < graph->n_output; i++) {
        CHECK(definitions(graph, graph->output[i]->name, graph->n_node) == 1);
    }
}

/* "name type[dim,dim]" */
static void describe(const Onnx__ValueInfoProto *info, char *text, size_t capacity)
{
    const Onnx__TypeProto__Tensor *tensor = info->type->tensor_type;
    size_t at = (size_t)snprintf(text, capacity, "%s %d[", info->name, tensor->elem_type);
    for (size_t i = 0; i < tensor->shape->n_dim && at < capacity; i++) {
        const Onnx__TensorShapeProto__Dimension *dim = tensor->shape->dim[i];
        const char *comma = i > 0 ? "," : "";
        if (dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM) {
            at += (size_t)snprintf(text + at, capacity - at, "%s%s", comma, dim->dim_param);
        } else {
            at += (size_t)snprintf(text + at, capacity - at, "%s%lld", comma, (long long)dim->dim_value);
        }
    }
    if (at < capacity) {
        snprintf(text + at, capacity - at, "]");
    }
}

static void check_value(const Onnx__ValueInfoProto *info, const char *want)
{
    char text[128];
    describe(info, text, sizeof text);
    CHECK_MSG(strcmp(text, want) == 0, "got %s, want %s", text, want);
}

TEST(whole_detector_has_its_inputs_and_outputs)
{
    rcnn_model *model = load();
    REQUIRE(model);
    Onnx__ModelProto *proto = export_and_read(model, NULL);
    REQUIRE(proto);
    CHECK(proto->ir_version == 8 && proto->n_opset_import == 1 && proto->opset_import[0]->version == 17);
    CHECK(strcmp(proto->producer_name, "rcnn") == 0 && strcmp(proto->producer_version, rcnn_version()) == 0);
    REQUIRE(proto->n_metadata_props == 1 && proto->graph->n_input == 1 && proto->graph->n_output == 3);
    CHECK(strcmp(proto->metadata_props[0]->key, "rcnn_config") == 0);
    CHECK(strcmp(proto->metadata_props[0]->value, rcnn_model_config_json(model)) == 0);
    check_value(proto->graph->input[0], "input 1[1,3,height,width]");
    check_value(proto->graph->output[0], "dets 1[detections,5]");
    check_value(proto->graph->output[1], "labels 7[detections]");
    check_value(proto->graph->output[2], "masks 1[detections,28,28]");
    check_order(proto->graph);
    onnx__model_proto__free_unpacked(proto, NULL);
    rcnn_model_destroy(model);
}

/* Weights of layers, as opposed to constants, hold every parameter of the model once, bit for bit. */
TEST(weights_are_the_models)
{
    rcnn_model *model = load();
    REQUIRE(model);
    Onnx__ModelProto *proto = export_and_read(model, NULL);
    REQUIRE(proto);
    int64_t parameters = 0;
    int32_t tensors = 0;
    for (size_t i = 0; i < proto->graph->n_initializer; i++) {
        const Onnx__TensorProto *tensor = proto->graph->initializer[i];
        if (strncmp(tensor->name, "constant_", 9) != 0) {
            parameters += (int64_t)(tensor->raw_data.len / sizeof(float));
            tensors++;
        }
    }
    CHECK(parameters == rcnn_model_parameter_count(model));
    CHECK_MSG(tensors == 2 * (model->layer_count + 2), "%d tensors of %d layers", tensors, model->layer_count);
    for (int32_t i = 0; i < model->layer_count; i++) {
        const rcnn_layer *layer = &model->layers[i];
        const int split = strcmp(layer->name, "rpn.pred") == 0 || strcmp(layer->name, "box.pred") == 0;
        char name[RCNN_LAYER_NAME_MAX + 16];
        snprintf(name, sizeof name, "%.3s.scores.weight", layer->name);
        if (!split) {
            snprintf(name, sizeof name, "%s.weight", layer->name);
        }
        const Onnx__TensorProto *tensor = initializer(proto->graph, name);
        CHECK_MSG(tensor && memcmp(tensor->raw_data.data, layer->weights, tensor->raw_data.len) == 0, "%s", name);
    }
    onnx__model_proto__free_unpacked(proto, NULL);
    rcnn_model_destroy(model);
}

TEST(parts_and_opsets)
{
    rcnn_model *model = load();
    REQUIRE(model);
    rcnn_onnx_options options;
    rcnn_onnx_options_init(&options);
    options.part = RCNN_ONNX_BACKBONE;
    options.opset = 16;
    Onnx__ModelProto *proto = export_and_read(model, &options);
    REQUIRE(proto && proto->graph->n_input == 1 && proto->graph->n_output == 15);
    CHECK(proto->ir_version == 8 && proto->opset_import[0]->version == 16);
    check_value(proto->graph->output[0], "p2 1[1,16,height_p2,width_p2]");
    check_value(proto->graph->output[9], "rpn_scores6 1[1,3,height_p6,width_p6]");
    check_value(proto->graph->output[14], "rpn_deltas6 1[1,12,height_p6,width_p6]");
    check_order(proto->graph);
    onnx__model_proto__free_unpacked(proto, NULL);

    options.part = RCNN_ONNX_HEADS;
    options.opset = 21;
    proto = export_and_read(model, &options);
    REQUIRE(proto && proto->graph->n_input == 7 && proto->graph->n_output == 3);
    CHECK(proto->ir_version == 10 && proto->opset_import[0]->version == 21);
    check_value(proto->graph->input[4], "rois 1[rois,4]");
    check_value(proto->graph->input[6], "mask_labels 7[mask_rois]");
    check_value(proto->graph->output[0], "scores 1[rois,6]");
    check_value(proto->graph->output[1], "deltas 1[rois,20]");
    check_order(proto->graph);
    onnx__model_proto__free_unpacked(proto, NULL);

    rcnn_onnx_options_init(&options);
    options.image_size_input = 1;
    proto = export_and_read(model, &options);
    REQUIRE(proto && proto->graph->n_input == 2);
    check_value(proto->graph->input[1], "image_size 1[2]");
    onnx__model_proto__free_unpacked(proto, NULL);
    rcnn_model_destroy(model);
}

static void check_refused(const rcnn_model *model, const rcnn_onnx_options *options, rcnn_status want)
{
    rcnn_error err = {0};
    const place p = new_place();
    CHECK(rcnn_model_export_onnx(model, p.file, options, &err) == want);
    CHECK(err.status == want && err.message[0] != '\0');
    CHECK(files_in(&p) == 0);
    remove_place(&p);
}

TEST(refuses_bad_arguments)
{
    rcnn_error err = {0};
    rcnn_model *model = load();
    REQUIRE(model);
    rcnn_onnx_options options;
    for (int opset = 15; opset <= 22; opset += 7) {
        rcnn_onnx_options_init(&options);
        options.opset = opset;
        check_refused(model, &options, RCNN_ERR_ARGUMENT);
    }
    rcnn_onnx_options_init(&options);
    options.part = (rcnn_onnx_part)3;
    check_refused(model, &options, RCNN_ERR_ARGUMENT);
    options.part = RCNN_ONNX_HEADS;
    options.image_size_input = 1;
    check_refused(model, &options, RCNN_ERR_ARGUMENT);
    check_refused(NULL, NULL, RCNN_ERR_ARGUMENT);
    CHECK(rcnn_model_export_onnx(model, NULL, NULL, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_model_export_onnx(model, "/no/such/folder/model.onnx", NULL, &err) == RCNN_ERR_NOT_FOUND);
    CHECK(rcnn_model_export_onnx(model, "/no/such/folder/model.onnx", NULL, NULL) == RCNN_ERR_NOT_FOUND);
    rcnn_model_destroy(model);
}

TEST(survives_every_failed_allocation)
{
    rcnn_model *model = load();
    REQUIRE(model);
    const place p = new_place();
    rcnn_status status = RCNN_ERR_MEMORY;
    uint64_t nth = 0;
    while (status == RCNN_ERR_MEMORY && nth < 10000) {
        rcnn_error err = {0};
        rcnn_memory_fail_from(++nth);
        status = rcnn_model_export_onnx(model, p.file, NULL, &err);
        rcnn_memory_fail_from(0);
        CHECK(status == RCNN_OK || files_in(&p) == 0);
    }
    CHECK_MSG(status == RCNN_OK && nth > 10, "status %d at allocation %d", (int)status, (int)nth);
    remove_place(&p);
    rcnn_model_destroy(model);
}
#endif

TEST_MAIN
