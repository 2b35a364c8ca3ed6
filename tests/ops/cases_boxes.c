/* Cases of the ops on boxes: rpn_select, nms, roi_align, box_select, detect. Inputs keep away from decisions that hang on
 * the last bit of an exponential (logits sit on a grid of 1/64: equal ones tie exactly, different ones stay apart), so
 * that counts and order must agree exactly while coordinates and scores have a tolerance. */
#include "ops/op_cases.h"

#include <math.h>

#include "harness.h"

#define CASE(fn, type, text, ...)                                                                                      \
    {                                                                                                                  \
        .name = (text), .build = (fn), .params = &(const type)                                                         \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define CASE_LARGE(fn, type, text, ...)                                                                                \
    {                                                                                                                  \
        .name = (text), .size = OP_LARGE, .build = (fn), .params = &(const type)                                       \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define CASE_NUMERIC(fn, type, text, ...)                                                                              \
    {                                                                                                                  \
        .name = (text), .want = RCNN_ERR_NUMERIC, .build = (fn), .params = &(const type)                               \
        {                                                                                                              \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }

enum { FINE = 0, NAN_SCORE, INF_SCORE, NAN_DELTA, INF_DELTA };

static float grid_logit(one_op *t, int32_t half_range)
{
    uint64_t steps = 2 * (uint64_t)half_range * 64 + 1;
    return (float)(test_random(&t->seed) % steps) / 64.0f - (float)half_range;
}

static void frame_of(one_op *t, int32_t images, int32_t width, int32_t height, float zoom)
{
    for (int32_t n = 0; n < images; n++) { /* later images are smaller than the padded input */
        int32_t w = width - 3 * n;
        int32_t h = height - 2 * n;
        one_op_image(t, RCNN_PIXEL_GRAY8, (int32_t)((float)w * zoom) + 1, (int32_t)((float)h * zoom) + 1, w, h, 0);
    }
}

/* A box of sides in [0.5, extent) with its centre inside width x height, cut to the inside when clip is set. */
static void random_box(one_op *t, float width, float height, float extent, bool clip, float *box)
{
    float cx = test_uniform(&t->seed, 0, width);
    float cy = test_uniform(&t->seed, 0, height);
    float w = test_uniform(&t->seed, 0.5f, extent);
    float h = test_uniform(&t->seed, 0.5f, extent);
    box[0] = cx - w / 2;
    box[1] = cy - h / 2;
    box[2] = cx + w / 2;
    box[3] = cy + h / 2;
    for (int k = 0; clip && k < 4; k++) {
        box[k] = fminf(fmaxf(box[k], 0), k % 2 == 0 ? width : height);
    }
}

static rcnn_value_id add_boxes(one_op *t, const char *name, int32_t images, int32_t capacity)
{
    const int32_t dim[3] = {images, capacity, 4};
    return one_op_input(t, name, RCNN_F32, 3, dim);
}

/* boxes, scores, groups, counts as outputs of the given capacity. */
static void add_list_outputs(one_op *t, int32_t images, int32_t capacity)
{
    const int32_t dim[3] = {images, capacity, 4};
    one_op_output(t, "boxes", RCNN_F32, 3, dim);
    one_op_output(t, "scores", RCNN_F32, 2, dim);
    one_op_output(t, "groups", RCNN_I32, 2, dim);
    one_op_output(t, "out_counts", RCNN_I32, 1, dim);
}

/* ------------------------------------------------------------ rpn_select */

typedef struct rpn_params {
    int32_t images, batch, levels;
    int32_t height, width; /* network input; level l has ceil(side / (4 << l)) cells */
    int32_t pre_nms, keep_order;
    rcnn_rank rank;
    float min_size;
    int32_t min_inclusive, multiply, clamp_both;
    float step_y_factor; /* 1 = the stride */
    int32_t half_range;  /* logits lie in +-half_range */
    float delta;         /* deltas lie in +-delta */
    int32_t broken;
} rpn_params;

static void fill_predictions(one_op *t, const rpn_params *p, rcnn_value_id id)
{
    float *pred = t->data[id];
    for (size_t i = 0; i < one_op_elements(t, id); i++) {
        pred[i] = i % 15 < 3 ? grid_logit(t, p->half_range) : test_uniform(&t->seed, -p->delta, p->delta);
    }
    if (p->broken) {
        pred[15 * 3 + 1] = 30.0f; /* anchor 1 of cell 3 is kept for certain; broken deltas belong to it */
    }
    if (p->broken == NAN_SCORE || p->broken == INF_SCORE) {
        pred[15 * 3 + 2] = p->broken == NAN_SCORE ? NAN : INFINITY;
    } else if (p->broken) {
        pred[15 * 3 + 3 + 4 + 2] = p->broken == NAN_DELTA ? NAN : INFINITY;
    }
}

static void build_rpn(one_op *t, const void *pointer)
{
    const rpn_params *p = pointer;
    one_op_begin(t, RCNN_OP_RPN_SELECT, 31);
    frame_of(t, p->images, p->width, p->height, 1.5f);
    int32_t batch = p->batch ? p->batch : p->images;
    int32_t capacity = 0;
    for (int32_t l = 0; l < p->levels; l++) {
        int32_t stride = 4 << l;
        const int32_t dim[4] = {batch, (p->height + stride - 1) / stride, (p->width + stride - 1) / stride, 15};
        int32_t anchors = dim[1] * dim[2] * 3;
        capacity += anchors < p->pre_nms ? anchors : p->pre_nms;
        fill_predictions(t, p, one_op_input(t, "pred", RCNN_F32, 4, dim));
        t->op.u.rpn_select.step_x[l] = (float)stride;
        t->op.u.rpn_select.step_y[l] = floorf((float)stride * p->step_y_factor);
        for (int a = 0; a < 3; a++) {
            float half_w = 4.0f * (float)stride * sqrtf((float)(4 >> a) / 2.0f);
            float half_h = 16.0f * (float)stride * (float)stride / half_w;
            const float base[4] = {-half_w, -half_h, half_w, half_h};
            memcpy(t->op.u.rpn_select.base[l][a], base, sizeof base);
        }
    }
    t->op.u.rpn_select.level_count = p->levels;
    t->op.u.rpn_select.anchor_count = 3;
    t->op.u.rpn_select.rank = p->rank;
    t->op.u.rpn_select.keep_order = p->keep_order;
    t->op.u.rpn_select.pre_nms = p->pre_nms;
    t->op.u.rpn_select.min_size = p->min_size;
    t->op.u.rpn_select.min_inclusive = p->min_inclusive;
    t->op.u.rpn_select.decode =
        (rcnn_decode){.weight = {1, 1, 1, 1}, .multiply = p->multiply, .clamp_both = p->clamp_both};
    add_list_outputs(t, batch, capacity);
    one_op_end(t);
}

#define RPN(text, ...) CASE(build_rpn, rpn_params, text, __VA_ARGS__)
#define SIGM           RCNN_RANK_SIGMOID
#define LOGIT          RCNN_RANK_LOGIT

static const op_case RPN_CASES[] = {
    RPN("mmdet", 1, 0, 5, 96, 128, 100, 1, SIGM, 0, 0, 1, 1, 1, 6, 0.5f, FINE),
    RPN("torchvision", 1, 0, 5, 96, 128, 100, 0, LOGIT, 1e-3f, 1, 0, 0, 0.96f, 6, 0.5f, FINE),
    RPN("detectron2", 1, 0, 5, 96, 128, 100, 0, LOGIT, 0, 0, 0, 0, 1, 6, 0.5f, FINE),
    RPN("many ties", 1, 0, 3, 64, 64, 50, 1, SIGM, 0, 0, 1, 1, 1, 0, 0.2f, FINE),
    RPN("saturated sigmoids tie", 1, 0, 3, 64, 64, 50, 0, SIGM, 0, 0, 1, 1, 1, 60, 0.2f, FINE),
    RPN("all kept in order", 1, 0, 2, 32, 40, 1000, 1, SIGM, 0, 0, 1, 1, 1, 6, 0.5f, FINE),
    RPN("all kept sorted", 1, 0, 2, 32, 40, 1000, 0, SIGM, 0, 0, 1, 1, 1, 6, 0.5f, FINE),
    RPN("one kept", 1, 0, 3, 32, 40, 1, 1, SIGM, 0, 0, 1, 1, 1, 6, 0.5f, FINE),
    RPN("one cell", 1, 0, 1, 3, 4, 2, 1, LOGIT, 0, 0, 1, 1, 1, 6, 0.5f, FINE),
    RPN("wild deltas", 1, 0, 4, 64, 64, 60, 0, LOGIT, 0, 0, 1, 1, 1, 6, 9.0f, FINE),
    RPN("wild deltas, upper clamp only", 1, 0, 4, 64, 64, 60, 0, LOGIT, 1e-3f, 1, 0, 0, 1, 6, 9.0f, FINE),
    RPN("no size test", 1, 0, 4, 64, 64, 60, 0, LOGIT, -1, 0, 0, 0, 1, 6, 9.0f, FINE),
    RPN("large minimum size", 1, 0, 4, 64, 64, 60, 0, LOGIT, 40, 1, 0, 0, 1, 6, 0.5f, FINE),
    RPN("long levels", 1, 0, 2, 300, 400, 100, 1, SIGM, 0, 0, 1, 1, 1, 6, 0.5f, FINE),
    RPN("long levels, many ties", 1, 0, 2, 300, 400, 2000, 0, SIGM, 0, 0, 1, 1, 1, 0, 0.2f, FINE),
    RPN("long levels, 2 images, all kept", 2, 0, 1, 300, 400, 30000, 0, LOGIT, 0, 0, 0, 0, 1, 6, 0.5f, FINE),
    RPN("3 images in a batch of 4", 3, 4, 4, 64, 96, 40, 1, SIGM, 0, 0, 1, 1, 1, 6, 0.5f, FINE),
    CASE_NUMERIC(build_rpn, rpn_params, "NaN logit", 1, 0, 3, 64, 64, 50, 1, SIGM, 0, 0, 1, 1, 1, 6, 0.5f, NAN_SCORE),
    CASE_NUMERIC(build_rpn, rpn_params, "infinite logit", 1, 0, 3, 64, 64, 50, 1, SIGM, 0, 0, 1, 1, 1, 6, 0.5f,
                 INF_SCORE),
    CASE_NUMERIC(build_rpn, rpn_params, "NaN delta", 1, 0, 3, 64, 64, 50, 1, SIGM, 0, 0, 1, 1, 1, 6, 0.5f, NAN_DELTA),
    CASE_NUMERIC(build_rpn, rpn_params, "infinite delta", 1, 0, 3, 64, 64, 50, 0, LOGIT, 0, 0, 0, 0, 1, 6, 0.5f,
                 INF_DELTA),
    CASE_LARGE(build_rpn, rpn_params, "800x1344 mmdet", 1, 0, 5, 800, 1344, 1000, 1, SIGM, 0, 0, 1, 1, 1, 12, 0.5f,
               FINE),
    CASE_LARGE(build_rpn, rpn_params, "800x1344 torchvision", 1, 0, 5, 800, 1344, 1000, 0, LOGIT, 1e-3f, 1, 0, 0, 1, 12,
               0.5f, FINE),
};
OP_CASE_LIST(rpn_select, RPN_CASES);

/* ------------------------------------------------------------------- nms */

typedef struct nms_params {
    int32_t images, capacity, keep, counts[3];
    rcnn_nms_rule rule;
    float iou;
    int32_t groups;
    float extent;   /* canvas side: smaller = more overlap */
    int32_t levels; /* different score values; few = many ties */
    int32_t first_group;
} nms_params;

static void build_nms(one_op *t, const void *pointer)
{
    const nms_params *p = pointer;
    one_op_begin(t, RCNN_OP_NMS, 32);
    t->op.u.nms.rule = p->rule;
    t->op.u.nms.iou = p->iou;
    t->op.u.nms.first_group = p->first_group;
    rcnn_value_id boxes = add_boxes(t, "boxes", p->images, p->capacity);
    const int32_t dim[2] = {p->images, p->capacity};
    rcnn_value_id scores = one_op_input(t, "scores", RCNN_F32, 2, dim);
    rcnn_value_id groups = one_op_input(t, "groups", RCNN_I32, 2, dim);
    for (int32_t i = 0; i < p->images * p->capacity; i++) {
        random_box(t, p->extent, p->extent, 80, true, (float *)t->data[boxes] + (size_t)i * 4);
        ((float *)t->data[scores])[i] = (float)(test_random(&t->seed) % (uint64_t)p->levels) / (float)p->levels;
        ((int32_t *)t->data[groups])[i] = (int32_t)(test_random(&t->seed) % (uint64_t)p->groups);
    }
    if (p->capacity > 8) { /* equal boxes, and boxes without area */
        float *b = t->data[boxes];
        memcpy(b + 4, b, 4 * sizeof *b);
        const float empty[8] = {5, 5, 5, 5, 5, 5, 5, 5};
        memcpy(b + 16, empty, sizeof empty);
    }
    one_op_counts(t, p->images, p->counts, false);
    add_list_outputs(t, p->images, p->keep);
    one_op_end(t);
}

#define NMS(text, ...) CASE(build_nms, nms_params, text, __VA_ARGS__)
#define MMCV           RCNN_NMS_MMCV
#define TV             RCNN_NMS_TORCHVISION

static const op_case NMS_CASES[] = {
    NMS("mmcv 5 levels", 1, 400, 100, {400}, MMCV, 0.7f, 5, 300, 100000, 0),
    NMS("mmcv 80 classes", 1, 400, 100, {400}, MMCV, 0.5f, 80, 200, 100000, 0),
    NMS("mmcv ties", 1, 300, 300, {300}, MMCV, 0.5f, 3, 200, 4, 0),
    NMS("mmcv all tie", 1, 100, 100, {100}, MMCV, 0.5f, 2, 150, 1, 0),
    NMS("mmcv none", 2, 50, 20, {0, 0}, MMCV, 0.5f, 3, 150, 1000, 0),
    NMS("mmcv one", 1, 50, 20, {1}, MMCV, 0.5f, 3, 150, 1000, 0),
    NMS("mmcv 17", 1, 50, 20, {17}, MMCV, 0.5f, 3, 150, 1000, 0),
    NMS("mmcv keep 1", 1, 50, 1, {50}, MMCV, 0.5f, 3, 150, 1000, 0),
    NMS("mmcv 3 images", 3, 100, 40, {100, 0, 63}, MMCV, 0.5f, 5, 150, 1000, 0),
    NMS("mmcv high threshold", 1, 200, 200, {200}, MMCV, 0.95f, 2, 100, 1000, 0),
    NMS("mmcv threshold 0", 1, 200, 200, {200}, MMCV, 0.0f, 2, 400, 1000, 0),
    NMS("torchvision 5 levels", 1, 400, 100, {400}, TV, 0.7f, 5, 300, 100000, 0),
    NMS("torchvision 1000, shifted", 1, 1001, 300, {1000}, TV, 0.5f, 20, 300, 100000, 0),
    NMS("torchvision 1001, by group", 1, 1001, 300, {1001}, TV, 0.5f, 20, 300, 100000, 0),
    NMS("torchvision labels from 1", 1, 900, 300, {900}, TV, 0.5f, 20, 300, 100000, 1),
    NMS("torchvision ties", 1, 1500, 300, {1500}, TV, 0.5f, 3, 300, 4, 0),
    NMS("torchvision none", 2, 50, 20, {0, 0}, TV, 0.5f, 3, 150, 1000, 0),
    NMS("torchvision 3 images", 3, 100, 40, {100, 0, 63}, TV, 0.5f, 5, 150, 1000, 0),
    CASE_LARGE(build_nms, nms_params, "mmcv RPN 4819", 1, 4819, 1000, {4819}, MMCV, 0.7f, 5, 1300, 1 << 24, 0),
    CASE_LARGE(build_nms, nms_params, "mmcv 10001, split", 1, 12000, 100, {10001}, MMCV, 0.5f, 80, 1300, 1 << 24, 0),
    CASE_LARGE(build_nms, nms_params, "torchvision RPN 4819", 1, 4819, 1000, {4819}, TV, 0.7f, 5, 1300, 1 << 24, 0),
};
OP_CASE_LIST(nms, NMS_CASES);

/* ------------------------------------------------------------- roi_align */

enum { ROI_MIXED, ROI_OUTSIDE, ROI_LONG, ROI_EMPTY, ROI_LEVEL_EDGES, ROI_TINY };

typedef struct roi_params {
    int32_t images, rois, counts[3];
    int32_t bins, sampling, aligned;
    rcnn_level_rule rule;
    int32_t height, width, channels; /* of the network input; P2 is a quarter */
    int32_t kind;
} roi_params;

static void fill_roi(one_op *t, const roi_params *p, int32_t i, float *roi)
{
    static const float EDGES[] = {56, 112, 111.99f, 112.01f, 224, 223.99f, 224.01f, 448, 447.99f, 448.01f, 900};
    float w = (float)p->width;
    float h = (float)p->height;
    random_box(t, w, h, p->kind == ROI_TINY ? 3.0f : w / 2, p->kind != ROI_OUTSIDE, roi);
    if (p->kind == ROI_OUTSIDE) { /* across the border, and wholly beyond it */
        float push = (float)(i % 3 - 1) * w;
        roi[0] += push;
        roi[2] += push;
    } else if (p->kind == ROI_LONG) {
        roi[i % 2] = 0;
        roi[i % 2 + 2] = i % 2 ? h : w;
        roi[3 - i % 2] = roi[1 - i % 2] + 4;
    } else if (p->kind == ROI_EMPTY) {
        roi[2] = roi[0];
        roi[3] = i % 2 ? roi[1] : roi[3];
    } else if (p->kind == ROI_LEVEL_EDGES) {
        roi[2] = roi[0] + EDGES[i % 11];
        roi[3] = roi[1] + EDGES[i % 11];
    }
}

static void build_roi(one_op *t, const void *pointer)
{
    const roi_params *p = pointer;
    one_op_begin(t, RCNN_OP_ROI_ALIGN, 33);
    t->op.u.roi_align.level_count = 4;
    t->op.u.roi_align.bins = p->bins;
    t->op.u.roi_align.sampling = p->sampling;
    t->op.u.roi_align.aligned = p->aligned;
    t->op.u.roi_align.level_rule = p->rule;
    for (int32_t l = 0; l < 4; l++) {
        int32_t stride = 4 << l;
        const int32_t dim[4] = {p->images, (p->height + stride - 1) / stride, (p->width + stride - 1) / stride,
                                p->channels};
        t->op.u.roi_align.scale[l] = 1.0f / (float)stride;
        one_op_activation(t, "level", dim, -1, 1);
    }
    rcnn_value_id boxes = add_boxes(t, "rois", p->images, p->rois);
    for (int32_t i = 0; i < p->images * p->rois; i++) {
        fill_roi(t, p, i, (float *)t->data[boxes] + (size_t)i * 4);
    }
    one_op_counts(t, p->images, p->counts, false);
    const int32_t out[4] = {p->images * p->rois, p->bins, p->bins, p->channels};
    one_op_output(t, "dst", RCNN_F32, 4, out);
    one_op_end(t);
}

#define ROI(text, ...) CASE(build_roi, roi_params, text, __VA_ARGS__)
#define LMM            RCNN_LEVEL_MMDET
#define LTV            RCNN_LEVEL_TORCHVISION
#define LD2            RCNN_LEVEL_DETECTRON2

static const op_case ROI_CASES[] = {
    ROI("mmdet 7x7", 1, 20, {20}, 7, 0, 1, LMM, 256, 320, 16, ROI_MIXED),
    ROI("mmdet 14x14", 1, 6, {6}, 14, 0, 1, LMM, 256, 320, 8, ROI_MIXED),
    ROI("torchvision 7x7", 1, 20, {20}, 7, 2, 0, LTV, 256, 320, 16, ROI_MIXED),
    ROI("torchvision 14x14", 1, 6, {6}, 14, 2, 0, LTV, 256, 320, 8, ROI_MIXED),
    ROI("detectron2 7x7", 1, 20, {20}, 7, 0, 1, LD2, 256, 320, 16, ROI_MIXED),
    ROI("channel tails", 1, 6, {6}, 7, 0, 1, LMM, 128, 128, 21, ROI_MIXED),
    ROI("one channel", 1, 6, {6}, 3, 2, 1, LMM, 64, 64, 1, ROI_MIXED),
    ROI("outside, aligned", 1, 24, {24}, 7, 0, 1, LMM, 128, 160, 8, ROI_OUTSIDE),
    ROI("outside, not aligned", 1, 24, {24}, 7, 2, 0, LTV, 128, 160, 8, ROI_OUTSIDE),
    ROI("elongated, adaptive", 1, 12, {12}, 7, 0, 1, LMM, 256, 512, 8, ROI_LONG),
    ROI("elongated, 2 samples", 1, 12, {12}, 7, 2, 0, LTV, 256, 512, 8, ROI_LONG),
    ROI("no area, aligned", 1, 8, {8}, 7, 0, 1, LMM, 64, 64, 8, ROI_EMPTY),
    ROI("no area, not aligned", 1, 8, {8}, 7, 2, 0, LTV, 64, 64, 8, ROI_EMPTY),
    ROI("smaller than a cell", 1, 12, {12}, 7, 0, 1, LMM, 64, 64, 8, ROI_TINY),
    ROI("level edges, mmdet", 1, 11, {11}, 2, 0, 1, LMM, 512, 512, 4, ROI_LEVEL_EDGES),
    ROI("level edges, torchvision", 1, 11, {11}, 2, 2, 0, LTV, 512, 512, 4, ROI_LEVEL_EDGES),
    ROI("level edges, detectron2", 1, 11, {11}, 2, 0, 1, LD2, 512, 512, 4, ROI_LEVEL_EDGES),
    ROI("none", 2, 4, {0, 0}, 7, 0, 1, LMM, 64, 64, 8, ROI_MIXED),
    ROI("3 images, one empty", 3, 5, {3, 0, 5}, 7, 0, 1, LMM, 96, 96, 16, ROI_MIXED),
    ROI("map of one cell", 1, 4, {4}, 7, 0, 1, LMM, 4, 4, 16, ROI_MIXED),
    CASE_LARGE(build_roi, roi_params, "1000 RoIs 7x7x256", 1, 1000, {1000}, 7, 0, 1, LMM, 800, 1344, 256, ROI_MIXED),
    CASE_LARGE(build_roi, roi_params, "1000 RoIs 7x7x256, 2 samples", 1, 1000, {1000}, 7, 2, 0, LTV, 800, 1344, 256,
               ROI_MIXED),
    CASE_LARGE(build_roi, roi_params, "100 RoIs 14x14x256", 1, 100, {100}, 14, 0, 1, LMM, 800, 1344, 256, ROI_MIXED),
};
OP_CASE_LIST(roi_align, ROI_CASES);

/* ------------------------------------------------------------ box_select */

typedef struct select_params {
    int32_t images, rois, counts[3];
    int32_t classes, background_first, agnostic, delta_classes;
    float threshold, min_size;
    int32_t rescale_first, multiply, clamp_both;
    int32_t only_label; /* -1 = all labels wanted */
    float delta;        /* deltas in +-delta      */
    int32_t broken;
} select_params;

static void fill_rows(one_op *t, const select_params *p, rcnn_value_id id)
{
    float *pred = t->data[id];
    int32_t row = p->classes + 1 + 4 * p->delta_classes;
    for (size_t i = 0; i < one_op_elements(t, id); i++) {
        bool is_logit = (int32_t)(i % (size_t)row) <= p->classes;
        pred[i] = is_logit ? grid_logit(t, 4) : test_uniform(&t->seed, -p->delta, p->delta);
    }
    if (p->broken == NAN_SCORE || p->broken == INF_SCORE) {
        pred[row + 1] = p->broken == NAN_SCORE ? NAN : INFINITY;
    } else if (p->broken) { /* label 0 of RoI 1 is a candidate for certain, with a broken delta */
        pred[row] = 40;
        pred[row + p->classes + 1 + 3] = p->broken == NAN_DELTA ? NAN : INFINITY;
    }
}

static void build_select(one_op *t, const void *pointer)
{
    const select_params *p = pointer;
    one_op_begin(t, RCNN_OP_BOX_SELECT, 34);
    frame_of(t, p->images, 333, 200, 0.43f);
    const int32_t pred_dim[2] = {p->images * p->rois, p->classes + 1 + 4 * p->delta_classes};
    fill_rows(t, p, one_op_input(t, "pred", RCNN_F32, 2, pred_dim));
    rcnn_value_id proposals = add_boxes(t, "proposals", p->images, p->rois);
    for (int32_t i = 0; i < p->images * p->rois; i++) {
        random_box(t, 320, 190, 120, true, (float *)t->data[proposals] + (size_t)i * 4);
    }
    t->op.rows = RCNN_NO_VALUE;
    one_op_counts(t, p->images, p->counts, false);
    if (p->only_label >= 0) {
        t->label_wanted = calloc((size_t)p->classes, 1);
        t->label_wanted[p->only_label] = 1;
    }
    t->op.u.box_select.class_count = p->classes;
    t->op.u.box_select.background_first = p->background_first;
    t->op.u.box_select.agnostic = p->agnostic;
    t->op.u.box_select.delta_classes = p->delta_classes;
    t->op.u.box_select.score_threshold = p->threshold;
    t->op.u.box_select.min_size = p->min_size;
    t->op.u.box_select.rescale_first = p->rescale_first;
    t->op.u.box_select.label_wanted = t->label_wanted;
    t->op.u.box_select.decode = (rcnn_decode){.multiply = p->multiply, .clamp_both = p->clamp_both};
    for (int k = 0; k < 4; k++) {
        float weight = k < 2 ? 10.0f : 5.0f;
        t->op.u.box_select.decode.weight[k] = p->multiply ? 1.0f / weight : weight;
    }
    add_list_outputs(t, p->images, p->rois * p->classes);
    one_op_end(t);
}

#define SELECT(text, ...) CASE(build_select, select_params, text, __VA_ARGS__)

static const op_case SELECT_CASES[] = {
    SELECT("mmdet2 80 classes", 1, 30, {30}, 80, 0, 0, 80, 0.05f, 0, 1, 1, 1, -1, 2, FINE),
    SELECT("mmdet3 80 classes", 1, 30, {30}, 80, 0, 0, 80, 0.05f, 0, 0, 1, 1, -1, 2, FINE),
    SELECT("torchvision 90 classes", 1, 30, {30}, 90, 1, 0, 91, 0.05f, 1e-2f, 0, 0, 0, -1, 2, FINE),
    SELECT("torchvision 1 class", 1, 50, {50}, 1, 1, 0, 2, 0.05f, 1e-2f, 0, 0, 0, -1, 2, FINE),
    SELECT("background first, deltas without it", 1, 20, {20}, 7, 1, 0, 7, 0.05f, 0, 0, 0, 0, -1, 2, FINE),
    SELECT("detectron2 80 classes", 1, 30, {30}, 80, 0, 0, 80, 0.05f, 0, 0, 0, 0, -1, 2, FINE),
    SELECT("agnostic", 1, 20, {20}, 20, 0, 1, 1, 0.05f, 0, 1, 1, 1, -1, 2, FINE),
    SELECT("agnostic, background first", 1, 20, {20}, 20, 1, 1, 1, 0.05f, 0, 0, 0, 0, -1, 2, FINE),
    SELECT("one label wanted", 1, 30, {30}, 10, 0, 0, 10, 0.02f, 0, 1, 1, 1, 7, 2, FINE),
    SELECT("wild deltas", 1, 30, {30}, 5, 0, 0, 5, 0.05f, 0, 1, 1, 1, -1, 60, FINE),
    SELECT("wild deltas, minimum size", 1, 30, {30}, 5, 1, 0, 6, 0.05f, 20, 0, 0, 0, -1, 60, FINE),
    SELECT("high threshold", 1, 30, {30}, 80, 0, 0, 80, 0.9f, 0, 1, 1, 1, -1, 2, FINE),
    SELECT("no threshold", 1, 8, {8}, 17, 0, 0, 17, 0, 0, 1, 1, 1, -1, 2, FINE),
    SELECT("none", 2, 10, {0, 0}, 5, 0, 0, 5, 0.05f, 0, 1, 1, 1, -1, 2, FINE),
    SELECT("3 images, one empty", 3, 10, {7, 0, 10}, 5, 0, 0, 5, 0.05f, 0, 1, 1, 1, -1, 2, FINE),
    CASE_NUMERIC(build_select, select_params, "NaN logit", 1, 10, {10}, 5, 0, 0, 5, 0.05f, 0, 1, 1, 1, -1, 2,
                 NAN_SCORE),
    CASE_NUMERIC(build_select, select_params, "infinite logit", 1, 10, {10}, 5, 0, 0, 5, 0.05f, 0, 1, 1, 1, -1, 2,
                 INF_SCORE),
    CASE_NUMERIC(build_select, select_params, "NaN delta", 1, 10, {10}, 5, 0, 0, 5, 0.05f, 0, 1, 1, 1, -1, 2,
                 NAN_DELTA),
    CASE_NUMERIC(build_select, select_params, "infinite delta", 1, 10, {10}, 5, 0, 0, 5, 0.05f, 0, 1, 1, 1, -1, 2,
                 INF_DELTA),
    CASE_LARGE(build_select, select_params, "1000 RoIs, 80 classes", 1, 1000, {1000}, 80, 0, 0, 80, 0.05f, 0, 1, 1, 1,
               -1, 2, FINE),
    CASE_LARGE(build_select, select_params, "1000 RoIs, 90 classes", 1, 1000, {1000}, 90, 1, 0, 91, 0.05f, 1e-2f, 0, 0,
               0, -1, 2, FINE),
};
OP_CASE_LIST(box_select, SELECT_CASES);

/* ---------------------------------------------------------------- detect */

typedef struct detect_params {
    int32_t images, capacity, counts[3];
    rcnn_scale_rule rule;
    int32_t rescale_first, clip_output;
} detect_params;

static void build_detect(one_op *t, const void *pointer)
{
    const detect_params *p = pointer;
    one_op_begin(t, RCNN_OP_DETECT, 35);
    frame_of(t, p->images, 333, 200, 0.43f);
    t->op.u.detect.scale_rule = p->rule;
    t->op.u.detect.rescale_first = p->rescale_first;
    t->op.u.detect.clip_output = p->clip_output;
    rcnn_value_id boxes = add_boxes(t, "boxes", p->images, p->capacity);
    const int32_t dim[3] = {p->images, p->capacity, 4};
    rcnn_value_id scores = one_op_input(t, "scores", RCNN_F32, 2, dim);
    rcnn_value_id labels = one_op_input(t, "labels", RCNN_I32, 2, dim);
    for (int32_t i = 0; i < p->images * p->capacity; i++) {
        float *box = (float *)t->data[boxes] + (size_t)i * 4;
        random_box(t, 333, 200, 90, false, box);
        if (i % 7 == 3) {
            box[2] = box[0]; /* dropped by clip_output */
        }
        ((float *)t->data[scores])[i] = test_uniform(&t->seed, 0.05f, 1);
        ((int32_t *)t->data[labels])[i] = i % 11;
    }
    one_op_counts(t, p->images, p->counts, false);
    one_op_output(t, "image_boxes", RCNN_F32, 3, dim);
    one_op_output(t, "mask_rois", RCNN_F32, 3, dim);
    one_op_output(t, "out_scores", RCNN_F32, 2, dim);
    one_op_output(t, "out_labels", RCNN_I32, 2, dim);
    one_op_output(t, "out_counts", RCNN_I32, 1, dim);
    one_op_end(t);
}

#define DETECT(text, ...) CASE(build_detect, detect_params, text, __VA_ARGS__)

static const op_case DETECT_CASES[] = {
    DETECT("mmdet2", 1, 50, {50}, RCNN_SCALE_DIVIDE, 1, 0),
    DETECT("mmdet3", 1, 50, {41}, RCNN_SCALE_DIVIDE, 0, 0),
    DETECT("torchvision", 1, 50, {50}, RCNN_SCALE_RATIO_F32, 0, 0),
    DETECT("detectron2", 1, 50, {50}, RCNN_SCALE_RATIO_F64, 0, 1),
    DETECT("none", 2, 5, {0, 0}, RCNN_SCALE_RATIO_F64, 0, 1),
    DETECT("3 images, one empty", 3, 9, {9, 0, 4}, RCNN_SCALE_RATIO_F64, 0, 1),
    CASE_LARGE(build_detect, detect_params, "100 detections", 1, 100, {100}, RCNN_SCALE_DIVIDE, 1, 0),
};
OP_CASE_LIST(detect, DETECT_CASES);
