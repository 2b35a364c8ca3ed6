/* What must hold of the ops whatever the numbers: properties, and small cases worked out by hand from the spec. They run on
 * ref, which the op list then carries to every other backend. */
#include "backend/ref/boxes.h"
#include "harness.h"
#include "ops/op_cases.h"

/* Builds nothing: runs t on ref and reports. */
static bool ran(const one_op *t, one_op_run *run)
{
    rcnn_error err = {0};
    rcnn_status status = one_op_on_ref(t, run, &err);
    CHECK_OK(status, err);
    return status == RCNN_OK;
}

static bool near_box(const float *got, const float *want, float tolerance)
{
    for (int k = 0; k < 4; k++) {
        if (!(fabsf(got[k] - want[k]) <= tolerance)) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- decode */

TEST(decode_golden)
{
    static const float BOXES[4][4] = {{0, 0, 1, 1}, {0, 0, 1, 1}, {0, 0, 1, 1}, {5, 5, 5, 5}};
    static const float DELTAS[4][4] = {{0, 0, 0, 0}, {1, 1, 1, 1}, {0, 0, 2, -1}, {.7f, -1.9f, -.5f, .3f}};
    static const float WANT[4][4] = {
        {0, 0, 1, 1}, {0.1409f, 0.1409f, 2.8591f, 2.8591f}, {0, 0.3161f, 4.1945f, 0.6839f}, {5, 5, 5, 5}};
    for (int multiply = 0; multiply <= 1; multiply++) {
        const rcnn_decode decode = {.weight = {1, 1, 1, 1}, .multiply = multiply, .clamp_both = 1};
        for (int i = 0; i < 4; i++) {
            float box[4];
            rcnn_ref_decode(&decode, BOXES[i], DELTAS[i], box);
            rcnn_ref_clip(box, 32, 32);
            CHECK_MSG(near_box(box, WANT[i], 1e-4f), "row %d: got %g %g %g %g", i, (double)box[0], (double)box[1],
                      (double)box[2], (double)box[3]);
        }
    }
}

TEST(decode_of_encode_is_the_box)
{
    uint64_t seed = 77;
    for (int i = 0; i < 2000; i++) {
        const rcnn_decode decode = {.weight = {10, 10, 5, 5}, .multiply = 0, .clamp_both = i % 2};
        float anchor[4];
        float box[4];
        float delta[4];
        float got[4];
        for (int k = 0; k < 2; k++) {
            anchor[k] = test_uniform(&seed, -50, 900);
            anchor[k + 2] = anchor[k] + test_uniform(&seed, 8, 400);
            box[k] = test_uniform(&seed, -50, 900);
            box[k + 2] = box[k] + test_uniform(&seed, 8, 400);
            float side = anchor[k + 2] - anchor[k];
            delta[k] = (box[k] + box[k + 2] - anchor[k] - anchor[k + 2]) / 2 / side * decode.weight[k];
            delta[k + 2] = logf((box[k + 2] - box[k]) / side) * decode.weight[k + 2];
        }
        rcnn_ref_decode(&decode, anchor, delta, got);
        CHECK_MSG(near_box(got, box, 2e-3f), "i %d: want %g.., got %g..", i, (double)box[0], (double)got[0]);
    }
}

TEST(decode_clamps_growth)
{
    const float box[4] = {0, 0, 1, 1};
    const float delta[4] = {0, 0, 100, -100};
    float got[4];
    rcnn_ref_decode(&(rcnn_decode){.weight = {1, 1, 1, 1}, .clamp_both = 1}, box, delta, got);
    CHECK(fabsf(got[2] - got[0] - 62.5f) < 1e-4f); /* 1000/16 */
    CHECK(fabsf(got[3] - got[1] - 0.016f) < 1e-6f);
    rcnn_ref_decode(&(rcnn_decode){.weight = {1, 1, 1, 1}, .clamp_both = 0}, box, delta, got);
    CHECK(fabsf(got[2] - got[0] - 62.5f) < 1e-4f);
    CHECK(got[3] == got[1]);
}

/* ------------------------------------------------------------ box_select */

/* background_first: logits and deltas start with an entry of the background. */
static void begin_select(one_op *t, int32_t classes, int32_t background_first, const float *row,
                         const float proposal[4])
{
    const int32_t count = 1;
    const int32_t pred_dim[2] = {1, classes + 1 + 4 * (classes + background_first)};
    const int32_t box_dim[3] = {1, 1, 4};
    const int32_t out_dim[3] = {1, classes, 4};
    one_op_begin(t, RCNN_OP_BOX_SELECT, 1);
    one_op_image(t, RCNN_PIXEL_GRAY8, 1333, 800, 1333, 800, 0);
    memcpy(t->data[one_op_input(t, "pred", RCNN_F32, 2, pred_dim)], row, (size_t)pred_dim[1] * sizeof *row);
    memcpy(t->data[one_op_input(t, "proposals", RCNN_F32, 3, box_dim)], proposal, 4 * sizeof *proposal);
    one_op_counts(t, 1, &count, false);
    t->op.u.box_select.class_count = classes;
    t->op.u.box_select.background_first = background_first;
    t->op.u.box_select.delta_classes = classes + background_first;
    t->op.u.box_select.score_threshold = -1;
    t->op.u.box_select.decode = (rcnn_decode){.weight = {0.1f, 0.1f, 0.2f, 0.2f}, .multiply = 1, .clamp_both = 1};
    one_op_output(t, "boxes", RCNN_F32, 3, out_dim);
    one_op_output(t, "scores", RCNN_F32, 2, out_dim);
    one_op_output(t, "labels", RCNN_I32, 2, out_dim);
    one_op_output(t, "out_counts", RCNN_I32, 1, &count);
    one_op_end(t);
}

TEST(box_stage_golden)
{
    const float row[6] = {0, 0, .5f, -1, .8f, 10};
    const float proposal[4] = {100, 50, 260, 210};
    const float want[4] = {94.1191f, 0, 281.8809f, 705.1245f};
    one_op t;
    one_op_run run;
    begin_select(&t, 1, 0, row, proposal);
    if (ran(&t, &run)) {
        CHECK(near_box(run.result[0], want, 1e-3f));
        CHECK(*(float *)run.result[1] == 0.5f);
    }
    one_op_close(&run);
    one_op_free(&t);
}

TEST(background_first_shifts_logits_and_deltas)
{
    const float row[3 + 12] = {0, 1, 2, /* background */ 9, 9, 9, 9, /* label 0 */ 0,
                               0, 0, 0, /* label 1 */ 5,    0, 0, 0};
    const float proposal[4] = {100, 50, 260, 210};
    const float want[2][4] = {{100, 50, 260, 210}, {180, 50, 340, 210}}; /* dx 5 * 0.1 of a width of 160 */
    one_op t;
    one_op_run run;
    begin_select(&t, 2, 1, row, proposal);
    if (ran(&t, &run)) {
        CHECK(*(int32_t *)run.result[3] == 2);
        for (int i = 0; i < 2; i++) {
            CHECK(((int32_t *)run.result[2])[i] == i);
            CHECK(near_box((float *)run.result[0] + (size_t)i * 4, want[i], 1e-4f));
            CHECK(fabsf(((float *)run.result[1])[i] - expf(row[i + 1]) / (1 + expf(1) + expf(2))) < 1e-6f);
        }
    }
    one_op_close(&run);
    one_op_free(&t);
}

TEST(softmax_sums_to_one)
{
    const float proposal[4] = {100, 50, 260, 210};
    uint64_t seed = 3;
    for (int round = 0; round < 20; round++) {
        float row[81 + 320] = {0};
        double total = 0;
        for (int i = 0; i < 81; i++) {
            row[i] = test_uniform(&seed, -30, 30) + (round % 2 ? 500.0f : 0.0f); /* large logits must not overflow */
        }
        for (int i = 0; i < 81; i++) {
            total += exp((double)row[i] - (double)row[80]);
        }
        one_op t;
        one_op_run run;
        begin_select(&t, 80, 0, row, proposal);
        if (ran(&t, &run)) {
            double sum = 1 / total; /* the background's share */
            const float *scores = run.result[1];
            for (int i = 0; i < 80; i++) {
                CHECK(fabs((double)scores[i] - exp((double)row[i] - (double)row[80]) / total) < 1e-6);
                sum += (double)scores[i];
            }
            CHECK(fabs(sum - 1) < 1e-5);
        }
        one_op_close(&run);
        one_op_free(&t);
    }
}

/* ------------------------------------------------------------ rpn_select */

/* One level of 1x2 cells: equal logits stay in anchor order, and the best four of six are kept. */
TEST(rpn_order_by_hand)
{
    static const float LOGITS[6] = {1, 3, 3, 2, 5, 0};
    static const int WANT[4] = {4, 1, 2, 3};
    const int32_t pred_dim[4] = {1, 1, 2, 15};
    const int32_t dim[3] = {1, 4, 4};
    one_op t;
    one_op_run run;
    one_op_begin(&t, RCNN_OP_RPN_SELECT, 1);
    one_op_image(&t, RCNN_PIXEL_GRAY8, 64, 20, 64, 20, 0); /* wider than high: the lower edge clips */
    float *pred = t.data[one_op_input(&t, "pred", RCNN_F32, 4, pred_dim)];
    t.op.u.rpn_select.level_count = 1;
    t.op.u.rpn_select.anchor_count = 3;
    t.op.u.rpn_select.step_x[0] = 16;
    t.op.u.rpn_select.step_y[0] = 16;
    t.op.u.rpn_select.pre_nms = 4;
    t.op.u.rpn_select.keep_order = 1;
    t.op.u.rpn_select.decode = (rcnn_decode){.weight = {1, 1, 1, 1}, .multiply = 1, .clamp_both = 1};
    for (int i = 0; i < 6; i++) {
        pred[i / 3 * 15 + i % 3] = LOGITS[i];
        const float base[4] = {2.0f + (float)(i % 3), 4, 10, 30};
        memcpy(t.op.u.rpn_select.base[0][i % 3], base, sizeof base);
    }
    one_op_output(&t, "boxes", RCNN_F32, 3, dim);
    one_op_output(&t, "scores", RCNN_F32, 2, dim);
    one_op_output(&t, "groups", RCNN_I32, 2, dim);
    one_op_output(&t, "out_counts", RCNN_I32, 1, dim);
    one_op_end(&t);
    if (ran(&t, &run)) {
        CHECK(*(int32_t *)run.result[3] == 4);
        for (int k = 0; k < 4; k++) {
            const float x = (float)(WANT[k] / 3 * 16);
            const float want[4] = {2.0f + (float)(WANT[k] % 3) + x, 4, 10 + x, 20};
            CHECK(near_box((float *)run.result[0] + (size_t)k * 4, want, 1e-5f));
            CHECK(fabsf(((float *)run.result[1])[k] - 1 / (1 + expf(-LOGITS[WANT[k]]))) < 1e-6f);
        }
    }
    one_op_close(&run);
    one_op_free(&t);
}

/* ------------------------------------------------------------------- nms */

#define NMS_BOXES 300

typedef struct nms_input {
    float boxes[NMS_BOXES][4], scores[NMS_BOXES];
    int32_t groups[NMS_BOXES], count;
} nms_input;

static void build_nms(one_op *t, const nms_input *in, rcnn_nms_rule rule, float iou)
{
    const int32_t dim[3] = {1, NMS_BOXES, 4};
    one_op_begin(t, RCNN_OP_NMS, 1);
    t->op.u.nms.rule = rule;
    t->op.u.nms.iou = iou;
    memcpy(t->data[one_op_input(t, "boxes", RCNN_F32, 3, dim)], in->boxes, sizeof in->boxes);
    memcpy(t->data[one_op_input(t, "scores", RCNN_F32, 2, dim)], in->scores, sizeof in->scores);
    memcpy(t->data[one_op_input(t, "groups", RCNN_I32, 2, dim)], in->groups, sizeof in->groups);
    one_op_counts(t, 1, &in->count, false);
    one_op_output(t, "out_boxes", RCNN_F32, 3, dim);
    one_op_output(t, "out_scores", RCNN_F32, 2, dim);
    one_op_output(t, "out_groups", RCNN_I32, 2, dim);
    one_op_output(t, "out_counts", RCNN_I32, 1, dim);
    one_op_end(t);
}

static nms_input run_nms(const nms_input *in, rcnn_nms_rule rule, float iou)
{
    one_op t;
    one_op_run run;
    nms_input out = {.count = 0};
    build_nms(&t, in, rule, iou);
    if (ran(&t, &run)) {
        memcpy(out.boxes, run.result[0], sizeof out.boxes);
        memcpy(out.scores, run.result[1], sizeof out.scores);
        memcpy(out.groups, run.result[2], sizeof out.groups);
        out.count = *(int32_t *)run.result[3];
    }
    one_op_close(&run);
    one_op_free(&t);
    return out;
}

static double iou_of(const float *a, const float *b)
{
    double w = fmax(0, fmin((double)a[2], (double)b[2]) - fmax((double)a[0], (double)b[0]));
    double h = fmax(0, fmin((double)a[3], (double)b[3]) - fmax((double)a[1], (double)b[1]));
    double both = ((double)a[2] - (double)a[0]) * ((double)a[3] - (double)a[1]) +
                  ((double)b[2] - (double)b[0]) * ((double)b[3] - (double)b[1]);
    return w * h / fmax(both - w * h, 1e-30);
}

/* Index of the input box with these coordinates (they are all different), or -1. */
static int index_of(const nms_input *in, const float *box)
{
    for (int i = 0; i < in->count; i++) {
        if (memcmp(in->boxes[i], box, sizeof in->boxes[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static void check_nms(const nms_input *in, const nms_input *out, double iou)
{
    CHECK(out->count > 0 && out->count <= in->count);
    int previous = -1;
    for (int i = 0; i < out->count; i++) {
        int index = index_of(in, out->boxes[i]);
        CHECK(index >= 0 && in->scores[index] == out->scores[i] && in->groups[index] == out->groups[i]);
        if (i > 0) {
            CHECK(out->scores[i - 1] > out->scores[i] || (out->scores[i - 1] == out->scores[i] && previous < index));
        }
        previous = index;
        for (int j = 0; j < i; j++) {
            CHECK(out->groups[i] != out->groups[j] || iou_of(out->boxes[i], out->boxes[j]) <= iou + 1e-4);
        }
    }
    for (int i = 0; i < in->count; i++) { /* what was left out overlaps a kept box that came before it */
        bool explained = false;
        for (int j = 0; j < out->count && !explained; j++) {
            explained = memcmp(in->boxes[i], out->boxes[j], sizeof in->boxes[i]) == 0 ||
                        (out->groups[j] == in->groups[i] && out->scores[j] >= in->scores[i] &&
                         iou_of(in->boxes[i], out->boxes[j]) > iou - 1e-4);
        }
        CHECK(explained);
    }
}

TEST(nms_keeps_a_sorted_idempotent_subset)
{
    uint64_t seed = 9;
    for (int round = 0; round < 12; round++) {
        const rcnn_nms_rule rule = round % 2 ? RCNN_NMS_MMCV : RCNN_NMS_TORCHVISION;
        const float iou = 0.3f + 0.1f * (float)(round / 3);
        nms_input in = {.count = NMS_BOXES - round};
        for (int i = 0; i < NMS_BOXES; i++) {
            in.boxes[i][0] = test_uniform(&seed, 0, 150);
            in.boxes[i][1] = test_uniform(&seed, 0, 150);
            in.boxes[i][2] = in.boxes[i][0] + test_uniform(&seed, 5, 60);
            in.boxes[i][3] = in.boxes[i][1] + test_uniform(&seed, 5, 60);
            in.scores[i] = (float)(test_random(&seed) % 40) / 40.0f; /* many ties */
            in.groups[i] = (int32_t)(test_random(&seed) % 4);
        }
        nms_input out = run_nms(&in, rule, iou);
        check_nms(&in, &out, (double)iou);
        nms_input again = run_nms(&out, rule, iou);
        CHECK(again.count == out.count && memcmp(again.boxes, out.boxes, (size_t)out.count * sizeof out.boxes[0]) == 0);
    }
}

TEST(nms_threshold_is_strict)
{
    /* IoU exactly 1/2: not over a threshold of 0.5, over one just below */
    const nms_input in = {.boxes = {{0, 0, 4, 4}, {0, 0, 4, 2}}, .scores = {0.9f, 0.8f}, .count = 2};
    for (int rule = 0; rule < 2; rule++) {
        CHECK(run_nms(&in, (rcnn_nms_rule)rule, 0.5f).count == 2);
        CHECK(run_nms(&in, (rcnn_nms_rule)rule, 0.499f).count == 1);
    }
    const nms_input empty = {.boxes = {{3, 3, 3, 3}, {3, 3, 3, 3}}, .scores = {0.9f, 0.8f}, .count = 2};
    CHECK(run_nms(&empty, RCNN_NMS_MMCV, 0.5f).count == 2); /* 0 > 0 is false */
    CHECK(run_nms(&empty, RCNN_NMS_TORCHVISION, 0.5f).count == 2);
}

/* ------------------------------------------------------------- roi_align */

typedef float (*map_fn)(int32_t level, int32_t y, int32_t x);

static void build_roi(one_op *t, map_fn map, rcnn_level_rule rule, int32_t sampling, int32_t aligned, int32_t bins,
                      int32_t rois, const float (*boxes)[4])
{
    const int32_t roi_dim[3] = {1, rois, 4};
    const int32_t out[4] = {rois, bins, bins, 1};
    one_op_begin(t, RCNN_OP_ROI_ALIGN, 1);
    t->op.u.roi_align.level_count = 4;
    t->op.u.roi_align.bins = bins;
    t->op.u.roi_align.sampling = sampling;
    t->op.u.roi_align.aligned = aligned;
    t->op.u.roi_align.level_rule = rule;
    for (int32_t l = 0; l < 4; l++) {
        const int32_t dim[4] = {1, 1024 / (4 << l), 1024 / (4 << l), 1};
        float *data = t->data[one_op_input(t, "level", RCNN_F32, 4, dim)];
        t->op.u.roi_align.scale[l] = 1.0f / (float)(4 << l);
        for (int32_t i = 0; i < dim[1] * dim[2]; i++) {
            data[i] = map(l, i / dim[2], i % dim[2]);
        }
    }
    memcpy(t->data[one_op_input(t, "rois", RCNN_F32, 3, roi_dim)], boxes, (size_t)rois * sizeof *boxes);
    one_op_counts(t, 1, &rois, false);
    one_op_output(t, "dst", RCNN_F32, 4, out);
    one_op_end(t);
}

static float map_constant(int32_t level, int32_t y, int32_t x)
{
    (void)level, (void)y, (void)x;
    return 0.75f;
}

static float map_ramp(int32_t level, int32_t y, int32_t x)
{
    (void)level;
    return 0.5f * (float)x - 0.25f * (float)y + 3.0f;
}

static float map_level(int32_t level, int32_t y, int32_t x)
{
    (void)y, (void)x;
    return (float)level;
}

TEST(roi_align_of_a_constant_is_the_constant)
{
    static const float ROIS[4][4] = {{10, 20, 90, 50}, {100, 100, 420, 300}, {3, 3, 1000, 1000}, {200, 10, 201, 900}};
    for (int mode = 0; mode < 4; mode++) {
        one_op t;
        one_op_run run;
        build_roi(&t, map_constant, RCNN_LEVEL_MMDET, mode % 2 * 2, mode / 2, 7, 4, ROIS);
        if (ran(&t, &run)) {
            for (int i = 0; i < 4 * 49; i++) {
                CHECK(fabsf(((float *)run.result[0])[i] - 0.75f) < 1e-5f);
            }
        }
        one_op_close(&run);
        one_op_free(&t);
    }
}

/* The samples of a bin lie evenly about its centre, so the average of a linear map is its value there. */
TEST(roi_align_of_a_ramp_is_exact_at_bin_centres)
{
    static const float ROIS[3][4] = {{30, 40, 95.5f, 71}, {40, 60, 99, 120.25f}, {64, 64, 72, 100}};
    for (int mode = 0; mode < 4; mode++) {
        const float shift = mode / 2 ? 0.5f : 0.0f;
        one_op t;
        one_op_run run;
        build_roi(&t, map_ramp, RCNN_LEVEL_MMDET, mode % 2 * 2, mode / 2, 7, 3, ROIS);
        if (ran(&t, &run)) {
            for (int i = 0; i < 3 * 49; i++) {
                const float *roi = ROIS[i / 49];
                float x = roi[0] / 4 - shift + ((float)(i % 7) + 0.5f) * (roi[2] - roi[0]) / 28;
                float y = roi[1] / 4 - shift + ((float)(i % 49 / 7) + 0.5f) * (roi[3] - roi[1]) / 28;
                float want = 0.5f * x - 0.25f * y + 3.0f;
                CHECK(fabsf(((float *)run.result[0])[i] - want) < 1e-4f);
            }
        }
        one_op_close(&run);
        one_op_free(&t);
    }
}

TEST(roi_levels_at_their_boundaries)
{
    static const float SIDES[10] = {0, 55, 111, 112, 113, 223, 224, 447, 448, 1000};
    static const float WANT[10] = {0, 0, 0, 1, 1, 1, 2, 2, 3, 3};
    float rois[10][4];
    for (int i = 0; i < 10; i++) {
        const float roi[4] = {8, 8, 8 + SIDES[i], 8 + SIDES[i]};
        memcpy(rois[i], roi, sizeof roi);
    }
    for (int rule = 0; rule < 3;
         rule++) { /* not aligned: an empty RoI counts as one cell, so that it shows its level */
        one_op t;
        one_op_run run;
        build_roi(&t, map_level, (rcnn_level_rule)rule, 2, 0, 1, 10, (const float(*)[4])rois);
        if (ran(&t, &run)) {
            for (int i = 0; i < 10; i++) {
                float got = ((float *)run.result[0])[i];
                CHECK_MSG(got == WANT[i], "rule %d, side %g: level %g", rule, (double)SIDES[i], (double)got);
            }
        }
        one_op_close(&run);
        one_op_free(&t);
    }
}

/* One bin of 2x2 samples; in each RoI two of the four lie more than a cell outside and count as 0, the other two are
 * clamped to the border (P2 is 256x256 cells of 4 pixels). */
TEST(roi_samples_clamp_within_one_cell_of_the_map)
{
    static const float ROIS[4][4] = {{40, -6, 44, -2}, {-6, 40, -2, 44}, {40, 1023, 44, 1027}, {1023, 40, 1027, 44}};
    one_op t;
    one_op_run run;
    build_roi(&t, map_constant, RCNN_LEVEL_MMDET, 2, 0, 1, 4, ROIS);
    if (ran(&t, &run)) {
        for (int i = 0; i < 4; i++) {
            CHECK_MSG(((float *)run.result[0])[i] == 0.375f, "RoI %d: %g", i, (double)((float *)run.result[0])[i]);
        }
    }
    one_op_close(&run);
    one_op_free(&t);
}

/* ---------------------------------------------------------------- detect */

static void build_detect(one_op *t, rcnn_scale_rule rule, int32_t rescale_first, int32_t clip)
{
    static const float BOXES[3][4] = {{10, 20, 110, 220}, {-5, -5, 0, 10}, {190, 390, 205, 405}};
    const int32_t count = 3;
    const int32_t dim[3] = {1, 3, 4};
    one_op_begin(t, RCNN_OP_DETECT, 1);
    one_op_image(t, RCNN_PIXEL_GRAY8, 100, 100, 200, 400, 0); /* network is 2x wider and 4x higher */
    t->op.u.detect.scale_rule = rule;
    t->op.u.detect.rescale_first = rescale_first;
    t->op.u.detect.clip_output = clip;
    memcpy(t->data[one_op_input(t, "boxes", RCNN_F32, 3, dim)], BOXES, sizeof BOXES);
    float *scores = t->data[one_op_input(t, "scores", RCNN_F32, 2, dim)];
    int32_t *labels = t->data[one_op_input(t, "labels", RCNN_I32, 2, dim)];
    for (int i = 0; i < 3; i++) {
        scores[i] = 0.9f - 0.1f * (float)i;
        labels[i] = i + 5;
    }
    one_op_counts(t, 1, &count, false);
    one_op_output(t, "image_boxes", RCNN_F32, 3, dim);
    one_op_output(t, "mask_rois", RCNN_F32, 3, dim);
    one_op_output(t, "out_scores", RCNN_F32, 2, dim);
    one_op_output(t, "out_labels", RCNN_I32, 2, dim);
    one_op_output(t, "out_counts", RCNN_I32, 1, dim);
    one_op_end(t);
}

TEST(detect_by_hand)
{
    static const struct {
        rcnn_scale_rule rule;
        int32_t rescale_first, clip, count;
        float image[4], mask[4], last[4]; /* first box both ways, last image box */
        int32_t last_label;
    } CASES[] = {
        {RCNN_SCALE_DIVIDE, 1, 0, 3, {10, 20, 110, 220}, {20, 80, 220, 880}, {190, 390, 205, 405}, 7},
        {RCNN_SCALE_DIVIDE, 0, 0, 3, {5, 5, 55, 55}, {10, 20, 110, 220}, {95, 97.5f, 102.5f, 101.25f}, 7},
        {RCNN_SCALE_RATIO_F32, 0, 0, 3, {5, 5, 55, 55}, {10, 20, 110, 220}, {95, 97.5f, 102.5f, 101.25f}, 7},
        {RCNN_SCALE_RATIO_F64, 0, 1, 2, {5, 5, 55, 55}, {10, 20, 110, 220}, {95, 97.5f, 100, 100}, 7},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        one_op t;
        one_op_run run;
        build_detect(&t, CASES[i].rule, CASES[i].rescale_first, CASES[i].clip);
        if (ran(&t, &run)) {
            int32_t last = CASES[i].count - 1;
            CHECK(*(int32_t *)run.result[4] == CASES[i].count);
            CHECK(near_box(run.result[0], CASES[i].image, 0));
            CHECK(near_box(run.result[1], CASES[i].mask, 0));
            CHECK(near_box((float *)run.result[0] + (size_t)last * 4, CASES[i].last, 0));
            CHECK(((int32_t *)run.result[3])[last] == CASES[i].last_label);
            CHECK(((float *)run.result[2])[last] == 0.9f - 0.1f * 2.0f);
        }
        one_op_close(&run);
        one_op_free(&t);
    }
}

/* ------------------------------------------------------------ preprocess */

/* The same picture in every pixel format; without colour for the sake of GRAY8. */
static void build_grey_picture(one_op *t, rcnn_pixel_format format, rcnn_resize resize)
{
    static const int32_t PIXEL_BYTES[] = {3, 3, 1, 4, 4};
    const int32_t dim[4] = {1, 32, 32, 3};
    one_op_begin(t, RCNN_OP_PREPROCESS, 1);
    t->op.u.preprocess.resize = resize;
    for (int i = 0; i < 3 * 256; i++) {
        t->op.u.preprocess.lut[i / 256][i % 256] = (float)(i % 256);
    }
    one_op_image(t, format, 23, 17, 31, 29, 0);
    for (int i = 0; i < 23 * 17; i++) {
        memset(t->pixels[0] + i * PIXEL_BYTES[format], i * 37 % 256, (size_t)PIXEL_BYTES[format]);
    }
    one_op_output(t, "image", RCNN_F32, 4, dim);
    one_op_end(t);
}

TEST(pixel_formats_agree)
{
    for (int resize = 0; resize < 3; resize++) {
        float first[32 * 32 * 3];
        for (int format = 0; format < 5; format++) {
            one_op t;
            one_op_run run;
            build_grey_picture(&t, (rcnn_pixel_format)format, (rcnn_resize)resize);
            if (ran(&t, &run)) {
                if (format == 0) {
                    memcpy(first, run.result[0], sizeof first);
                }
                CHECK_MSG(memcmp(first, run.result[0], sizeof first) == 0, "resize %d format %d", resize, format);
            }
            one_op_close(&run);
            one_op_free(&t);
        }
    }
}

TEST(channels_follow_format_and_order)
{
    static const uint8_t PIXEL[5][4] = {
        {10, 20, 30, 0}, {30, 20, 10, 0}, {10, 0, 0, 0}, {10, 20, 30, 99}, {30, 20, 10, 99}};
    for (int i = 0; i < 10; i++) {
        const rcnn_pixel_format format = (rcnn_pixel_format)(i / 2);
        one_op t;
        one_op_run run;
        const int32_t dim[4] = {1, 1, 1, 3};
        one_op_begin(&t, RCNN_OP_PREPROCESS, 1);
        t.op.u.preprocess.order = i % 2 ? RCNN_CHANNELS_BGR : RCNN_CHANNELS_RGB;
        for (int v = 0; v < 3 * 256; v++) { /* channel c of the network adds 1000 * c */
            t.op.u.preprocess.lut[v / 256][v % 256] = (float)(v % 256 + v / 256 * 1000);
        }
        one_op_image(&t, format, 1, 1, 1, 1, 0);
        memcpy(t.pixels[0], PIXEL[format], format == RCNN_PIXEL_GRAY8 ? 1 : format >= RCNN_PIXEL_RGBA8 ? 4 : 3);
        one_op_output(&t, "image", RCNN_F32, 4, dim);
        one_op_end(&t);
        if (ran(&t, &run)) {
            const float *got = run.result[0];
            bool grey = format == RCNN_PIXEL_GRAY8;
            CHECK(got[0] == (grey || i % 2 == 0 ? 10 : 30));
            CHECK(got[1] == 1000 + (grey ? 10 : 20));
            CHECK(got[2] == 2000 + (grey || i % 2 ? 10 : 30));
        }
        one_op_close(&run);
        one_op_free(&t);
    }
}

/* ----------------------------------------------------------------- batch */

static int32_t batch_of(const one_op *t)
{
    if (t->counts != RCNN_NO_VALUE) {
        return t->graph.values[t->counts].desc.dim[0];
    }
    return t->graph.values[t->op.output[0]].desc.dim[0];
}

/* Live packed rows before image n. */
static size_t rows_before(const one_op *t, int32_t n)
{
    size_t rows = 0;
    for (int32_t i = 0; i < n; i++) {
        rows += (size_t)((const int32_t *)t->data[t->counts])[i];
    }
    return rows;
}

/* Bytes of image n's part of a value: packed rows start at the live rows before it. */
static size_t part_offset(const one_op *t, rcnn_value_id id, int32_t n, bool packed)
{
    const rcnn_value *value = &t->graph.values[id];
    if (!packed) {
        return value->bytes / (size_t)batch_of(t) * (size_t)n;
    }
    return value->bytes / (size_t)value->desc.dim[0] * rows_before(t, n);
}

/* Does input i of the op hold packed rows? */
static bool is_packed(const one_op *t, int32_t i)
{
    return (t->op.rows != RCNN_NO_VALUE || t->op.kind == RCNN_OP_BOX_SELECT) && t->counts != RCNN_NO_VALUE &&
           (i == 0 || t->op.kind == RCNN_OP_CONV);
}

/* The op on image n of the batch alone. */
static void build_part(const one_op *batch, int32_t n, one_op *part)
{
    const int32_t images = batch_of(batch);
    one_op_begin(part, batch->op.kind, 1);
    part->op = batch->op;
    part->op.input_count = 0;
    part->op.output_count = 0;
    part->op.rows = RCNN_NO_VALUE;
    for (int32_t i = 0; i < batch->op.input_count; i++) {
        const rcnn_value *value = &batch->graph.values[batch->op.input[i]];
        int32_t dim[4];
        memcpy(dim, value->desc.dim, sizeof dim);
        dim[0] /= images;
        rcnn_value_id id = one_op_input(part, value->name, value->desc.dtype, value->desc.rank, dim);
        const char *from = (const char *)batch->data[batch->op.input[i]];
        size_t offset = part_offset(batch, batch->op.input[i], n, is_packed(batch, i));
        size_t bytes = part->graph.values[id].bytes;
        memcpy(part->data[id], from + offset, bytes < value->bytes - offset ? bytes : value->bytes - offset);
        part->counts = batch->op.input[i] == batch->counts ? id : part->counts;
    }
    if (batch->op.rows != RCNN_NO_VALUE) {
        const int32_t count = ((const int32_t *)batch->data[batch->counts])[n];
        part->op.rows = part->counts != RCNN_NO_VALUE ? part->counts : one_op_counts(part, 1, &count, true);
    }
    for (int32_t i = 0; i < batch->op.output_count; i++) {
        const rcnn_value *value = &batch->graph.values[batch->op.output[i]];
        int32_t dim[4];
        memcpy(dim, value->desc.dim, sizeof dim);
        dim[0] /= images;
        one_op_output(part, value->name, value->desc.dtype, value->desc.rank, dim);
    }
    part->frame.count = 1;
    part->frame.image[0] = batch->frame.image[n];
    one_op_end(part);
}

static void compare_part(const one_op *batch, const one_op_run *whole, int32_t n, const one_op *part,
                         const one_op_run *alone, const char *name)
{
    for (int32_t i = 0; i < part->op.output_count; i++) {
        bool packed = one_op_live_of(batch, i) == ONE_OP_ROWS;
        size_t offset = part_offset(batch, batch->op.output[i], n, packed);
        const char *here = (const char *)whole->result[i] + offset;
        const size_t e = one_op_first_difference(part, alone->result, i, here, alone->result[i]);
        CHECK_MSG(e == SIZE_MAX, "%s: output %d of image %d, element %zu", name, i, n, e);
    }
}

/* Every small case of the op list that has several images. Returns 1 when it was one. */
static int check_batch(const op_case *c)
{
    one_op batch;
    one_op_run whole;
    c->build(&batch, c->params);
    const int32_t images = batch_of(&batch);
    bool fits = images > 1 && c->want == RCNN_OK && c->size == OP_SMALL;
    for (int32_t i = 0; i < batch.op.input_count; i++) { /* packed capacity is not always a multiple of the images */
        fits = fits && batch.graph.values[batch.op.input[i]].desc.dim[0] % images == 0;
    }
    if (fits && ran(&batch, &whole)) {
        for (int32_t n = 0; n < images; n++) {
            bool has_image = batch.frame.image[0].view.data == NULL || n < batch.frame.count;
            if (!has_image) {
                continue;
            }
            one_op part;
            one_op_run alone;
            build_part(&batch, n, &part);
            if (ran(&part, &alone)) {
                compare_part(&batch, &whole, n, &part, &alone, c->name);
            }
            one_op_close(&alone);
            one_op_free(&part);
        }
        one_op_close(&whole);
    }
    one_op_free(&batch);
    return fits;
}

TEST(a_batch_is_its_images)
{
    static const op_case_list *const LISTS[] = {
#define OP(KIND, name, help) &op_cases_##name,
#include "graph/ops.def"
#undef OP
    };
    for (size_t l = 0; l < sizeof LISTS / sizeof LISTS[0]; l++) {
        int checked = 0;
        for (int32_t i = 0; i < LISTS[l]->count; i++) {
            checked += LISTS[l]->cases[i].size == OP_SMALL ? check_batch(&LISTS[l]->cases[i]) : 0;
        }
        CHECK_MSG(checked > 0, "op list %zu has no case with several images", l);
    }
}

TEST_MAIN
