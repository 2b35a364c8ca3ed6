/* The COCO classes and the rules for naming those of a model. */
#include "model/classes.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"

static const struct {
    const char *name;
    int32_t id;
} COCO[RCNN_COCO_CLASSES] = {
    {"person", 1},         {"bicycle", 2},       {"car", 3},
    {"motorcycle", 4},     {"airplane", 5},      {"bus", 6},
    {"train", 7},          {"truck", 8},         {"boat", 9},
    {"traffic light", 10}, {"fire hydrant", 11}, {"stop sign", 13},
    {"parking meter", 14}, {"bench", 15},        {"bird", 16},
    {"cat", 17},           {"dog", 18},          {"horse", 19},
    {"sheep", 20},         {"cow", 21},          {"elephant", 22},
    {"bear", 23},          {"zebra", 24},        {"giraffe", 25},
    {"backpack", 27},      {"umbrella", 28},     {"handbag", 31},
    {"tie", 32},           {"suitcase", 33},     {"frisbee", 34},
    {"skis", 35},          {"snowboard", 36},    {"sports ball", 37},
    {"kite", 38},          {"baseball bat", 39}, {"baseball glove", 40},
    {"skateboard", 41},    {"surfboard", 42},    {"tennis racket", 43},
    {"bottle", 44},        {"wine glass", 46},   {"cup", 47},
    {"fork", 48},          {"knife", 49},        {"spoon", 50},
    {"bowl", 51},          {"banana", 52},       {"apple", 53},
    {"sandwich", 54},      {"orange", 55},       {"broccoli", 56},
    {"carrot", 57},        {"hot dog", 58},      {"pizza", 59},
    {"donut", 60},         {"cake", 61},         {"chair", 62},
    {"couch", 63},         {"potted plant", 64}, {"bed", 65},
    {"dining table", 67},  {"toilet", 70},       {"tv", 72},
    {"laptop", 73},        {"mouse", 74},        {"remote", 75},
    {"keyboard", 76},      {"cell phone", 77},   {"microwave", 78},
    {"oven", 79},          {"toaster", 80},      {"sink", 81},
    {"refrigerator", 82},  {"book", 84},         {"clock", 85},
    {"vase", 86},          {"scissors", 87},     {"teddy bear", 88},
    {"hair drier", 89},    {"toothbrush", 90},
};

const char *rcnn_coco_name(int32_t label)
{
    return COCO[label].name;
}

int32_t rcnn_coco_id(int32_t label)
{
    return COCO[label].id;
}

static const char *coco_name_of_id(int32_t id)
{
    for (int32_t i = 0; i < RCNN_COCO_CLASSES; i++) {
        if (COCO[i].id == id) {
            return COCO[i].name;
        }
    }
    return "N/A";
}

rcnn_status rcnn_classes_set(rcnn_model *model, int32_t label, const char *name, size_t length, rcnn_error *err)
{
    if (length > RCNN_CLASS_NAME_MAX) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "model: name of class %d: want at most %d bytes, got %zu", label,
                         RCNN_CLASS_NAME_MAX, length);
    }
    char *copy = rcnn_strndup(name, length);
    if (!copy) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory for class names");
    }
    rcnn_free(model->class_names[label]);
    model->class_names[label] = copy;
    return RCNN_OK;
}

static rcnn_status set_default_name(rcnn_model *model, int32_t label, rcnn_error *err)
{
    const rcnn_config *c = &model->config;
    char numbered[32];
    const char *name = numbered;
    snprintf(numbered, sizeof numbered, "class_%d", label + 1);
    if (c->class_count == RCNN_COCO_CLASSES) {
        name = rcnn_coco_name(label);
    } else if (c->class_count == RCNN_COCO_ID_MAX && c->family == RCNN_FAMILY_TORCHVISION) {
        name = coco_name_of_id(label + 1);
    }
    return rcnn_classes_set(model, label, name, strlen(name), err);
}

static int32_t line_count(const char *text)
{
    int32_t lines = 1;
    for (; *text; text++) {
        lines += *text == '\n';
    }
    return lines;
}

static rcnn_status set_names(rcnn_model *model, const char *names, rcnn_error *err)
{
    for (int32_t i = 0; i < model->config.class_count; i++) {
        const size_t length = strcspn(names, "\n");
        RCNN_TRY(rcnn_classes_set(model, i, names, length, err));
        names += length + (names[length] == '\n');
    }
    return RCNN_OK;
}

/* mmdetection's 80 names differ from COCO's own in spelling between versions, so that a handful is compared. */
static bool names_are_coco(const rcnn_model *model)
{
    int32_t same = 0;
    for (int32_t i = 0; i < RCNN_COCO_CLASSES; i++) {
        same += strcmp(model->class_names[i], rcnn_coco_name(i)) == 0;
    }
    return same >= RCNN_COCO_CLASSES / 2;
}

rcnn_status rcnn_classes_fill(rcnn_model *model, const char *names, rcnn_error *err)
{
    const int32_t count = model->config.class_count;
    model->class_names = rcnn_calloc((size_t)count, sizeof *model->class_names);
    model->category_ids = rcnn_calloc((size_t)count, sizeof *model->category_ids);
    if (!model->class_names || !model->category_ids) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "model: out of memory for %d class names", count);
    }
    if (names && line_count(names) != count) {
        rcnn_log(RCNN_LOG_WARN, "model: the file names %d classes, the network has %d; its names are not used",
                 line_count(names), count);
        names = NULL;
    }
    if (names) {
        RCNN_TRY(set_names(model, names, err));
    }
    for (int32_t i = 0; i < count && !names; i++) {
        RCNN_TRY(set_default_name(model, i, err));
    }
    const bool coco = count == RCNN_COCO_CLASSES && names_are_coco(model);
    for (int32_t i = 0; i < count; i++) {
        model->category_ids[i] = coco ? rcnn_coco_id(i) : i + 1;
    }
    return RCNN_OK;
}

rcnn_status rcnn_classes_rename(rcnn_model *model, const char *const *names, int32_t count, rcnn_error *err)
{
    if (count != model->config.class_count) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "model: class names: want %d, got %d", model->config.class_count,
                         count);
    }
    for (int32_t i = 0; i < count; i++) {
        if (!names[i] || strchr(names[i], '\n')) {
            return rcnn_fail(err, RCNN_ERR_ARGUMENT, "model: class name %d: want one line of text, got %s", i,
                             names[i] ? "several" : "NULL");
        }
        RCNN_TRY(rcnn_classes_set(model, i, names[i], strlen(names[i]), err));
    }
    return RCNN_OK;
}
