/* COCO's own example, 45 images of val2014 with made-up detections: the twelve numbers published with it. The files lie
 * beside the project; without them this is skipped. */
#include "harness.h"

#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "rcnn/rcnn.h"

#define FOLDER RCNN_SOURCE_DIR "/../shared/coco_eval/"

static void read_expected(double expected[2][RCNN_EVAL_STAT_COUNT])
{
    rcnn_file_map map;
    rcnn_json json;
    rcnn_error err = {0};
    int type = -1, count = 0;
    REQUIRE(rcnn_file_map_open(FOLDER "expected_stats.json", 1 << 20, &map, &err) == RCNN_OK);
    rcnn_json_open(&json, "expected_stats.json", map.data, map.size);
    while (rcnn_json_next(&json, &err) == RCNN_OK && json.token != RCNN_JSON_END) {
        if (json.token == RCNN_JSON_KEY) {
            type = strcmp(json.text, "segm") == 0;
            count = 0;
        } else if (json.token == RCNN_JSON_NUMBER && type >= 0 && count < RCNN_EVAL_STAT_COUNT) {
            expected[type][count++] = json.number;
        }
    }
    CHECK(count == RCNN_EVAL_STAT_COUNT);
    rcnn_json_close(&json);
    rcnn_file_map_close(&map);
}

TEST(twelve_numbers_of_coco)
{
    static const char *const DETECTIONS[2] = {FOLDER "dt45_bbox.json", FOLDER "dt45_segm.json"};
    double expected[2][RCNN_EVAL_STAT_COUNT] = {{0}};
    if (access(FOLDER "gt45.json", R_OK) != 0) {
        SKIP("no ../shared/coco_eval beside the project");
    }
    read_expected(expected);
    for (int type = 0; type < 2; type++) {
        rcnn_error err = {0};
        rcnn_eval_truth *truth = NULL;
        rcnn_eval_detections *detections = NULL;
        rcnn_eval *eval = NULL;
        rcnn_eval_options options;
        rcnn_eval_options_init(&options);
        options.iou_type = type ? RCNN_IOU_SEGM : RCNN_IOU_BBOX;
        CHECK_OK(rcnn_eval_truth_load(FOLDER "gt45.json", type, &truth, &err), err);
        REQUIRE(truth);
        CHECK_OK(rcnn_eval_detections_load(truth, DETECTIONS[type], &detections, &err), err);
        REQUIRE(detections);
        CHECK_OK(rcnn_eval_run(detections, &options, &eval, &err), err);
        for (int i = 0; i < RCNN_EVAL_STAT_COUNT; i++) {
            const double got = rcnn_eval_stat(eval, i);
            CHECK_MSG(fabs(got - expected[type][i]) <= 1e-9, "%s %s: %.17g, wanted %.17g", type ? "segm" : "bbox",
                      rcnn_eval_stat_name(i), got, expected[type][i]);
        }
        rcnn_eval_destroy(eval);
        rcnn_eval_detections_destroy(detections);
        rcnn_eval_truth_destroy(truth);
    }
}

TEST_MAIN
