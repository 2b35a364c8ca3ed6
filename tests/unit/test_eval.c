/* The evaluator against pycocotools: recorded runs of a small data set (scripts/make_eval_golden.py), polygons drawn
 * pixel for pixel, and properties: threads, failing allocations, detections added instead of read. */
#include "harness.h"

#include "base/memory.h"
#include "eval/match.h"
#include "eval_expected.h"

#define DATA      RCNN_SOURCE_DIR "/tests/unit/data/eval/"
#define TOLERANCE 1e-9

static rcnn_error err;

typedef struct files {
    rcnn_eval_truth *truth;
    rcnn_eval_detections *detections;
} files;

static int load(files *f, const char *truth, const char *detections)
{
    char path[512];
    *f = (files){NULL, NULL};
    snprintf(path, sizeof path, DATA "%s.json", truth);
    CHECK_OK(rcnn_eval_truth_load(path, 1, &f->truth, &err), err);
    snprintf(path, sizeof path, DATA "%s.json", detections);
    if (f->truth) {
        CHECK_OK(rcnn_eval_detections_load(f->truth, path, &f->detections, &err), err);
    }
    return f->detections != NULL;
}

static void unload(files *f)
{
    rcnn_eval_detections_destroy(f->detections);
    rcnn_eval_truth_destroy(f->truth);
}

static rcnn_eval *evaluate(const rcnn_eval_detections *detections, rcnn_iou_type type, const double *max_dets,
                           int32_t threads)
{
    rcnn_eval_options options;
    rcnn_eval *eval = NULL;
    rcnn_eval_options_init(&options);
    options.iou_type = type;
    options.num_threads = threads;
    for (int i = 0; max_dets && i < 3; i++) {
        options.max_dets[i] = (int32_t)max_dets[i];
    }
    CHECK_OK(rcnn_eval_run(detections, &options, &eval, &err), err);
    return eval;
}

static void check_run(const expected_run *run)
{
    files f;
    if (load(&f, "gt", run->detections)) {
        rcnn_eval *eval = evaluate(f.detections, run->iou_type, run->max_dets, 2);
        for (int i = 0; eval && i < RCNN_EVAL_STAT_COUNT; i++) {
            const double got = rcnn_eval_stat(eval, i);
            CHECK_MSG(fabs(got - run->stats[i]) <= TOLERANCE, "%s %d: %s is %.17g, wanted %.17g", run->detections,
                      (int)run->iou_type, rcnn_eval_stat_name(i), got, run->stats[i]);
        }
        CHECK(run->category_count == rcnn_eval_truth_category_count(f.truth));
        for (int k = 0; eval && k < run->category_count; k++) {
            const double got = rcnn_eval_category_stat(eval, k, 0);
            CHECK_MSG(fabs(got - run->category_ap[k]) <= TOLERANCE, "%s: category %d is %.17g, wanted %.17g",
                      run->detections, k, got, run->category_ap[k]);
        }
        rcnn_eval_destroy(eval);
    }
    unload(&f);
}

TEST(numbers_of_pycocotools)
{
    expected_run runs[EXPECTED_RUNS_MAX];
    const int count = expected_read(DATA "expected.json", runs);
    REQUIRE(count == 8);
    for (int i = 0; i < count; i++) {
        check_run(&runs[i]);
    }
}

/* Annotation i is a polygon, detection i the runs that pycocotools makes of it. */
TEST(polygons_are_drawn_as_by_pycocotools)
{
    files f;
    REQUIRE(load(&f, "polygons_gt", "polygons_dt"));
    const rcnn_eval_store *drawn = &f.truth->annotations, *wanted = &f.detections->store;
    rcnn_eval_canvas canvas = {0};
    CHECK(drawn->count == 400 && wanted->count == 400);
    for (size_t i = 0; i < drawn->count && i < wanted->count; i++) {
        const rcnn_eval_picture *image = &f.truth->images[drawn->items[i].image];
        rcnn_eval_spans a, b;
        canvas.borders.count = 0;
        REQUIRE(rcnn_eval_shape_spread(&canvas, (const uint8_t *)drawn->bytes.data, &drawn->items[i].shape,
                                       image->width, image->height, &a));
        REQUIRE(rcnn_eval_shape_spread(&canvas, (const uint8_t *)wanted->bytes.data, &wanted->items[i].shape,
                                       image->width, image->height, &b));
        const uint32_t *borders = canvas.borders.at;
        CHECK_MSG(a.count == b.count &&
                      (a.count == 0 || memcmp(borders + a.first, borders + b.first, a.count * sizeof *borders) == 0),
                  "polygon %zu: %u pixels, wanted %u", i + 1, a.area, b.area);
        CHECK(rcnn_eval_intersection(borders, &a, &b) == a.area);
    }
    rcnn_eval_canvas_free(&canvas);
    unload(&f);
}

TEST(intersection_and_measures_agree_with_bitmaps)
{
    uint64_t seed = 77;
    enum { W = 9, H = 7, PIXELS = W * H };
    for (int round = 0; round < 500; round++) {
        uint8_t bits[2][PIXELS];
        uint32_t borders[4 * PIXELS], shared = 0;
        rcnn_eval_spans spans[2] = {{0}, {0}};
        size_t used = 0;
        for (int m = 0; m < 2; m++) {
            spans[m].first = used;
            for (int i = 0; i < PIXELS; i++) {
                const int last = i ? bits[m][i - 1] : 0;
                bits[m][i] = (uint8_t)(test_random(&seed) % 4 == 0 ? !last : last);
                if (bits[m][i] != last) {
                    borders[used++] = (uint32_t)i;
                }
            }
            if (bits[m][PIXELS - 1]) {
                borders[used++] = PIXELS;
            }
            spans[m].count = used - spans[m].first;
            for (size_t i = 0; i < spans[m].count; i += 2) {
                spans[m].area += borders[spans[m].first + i + 1] - borders[spans[m].first + i];
            }
        }
        for (int i = 0; i < PIXELS; i++) {
            shared += bits[0][i] && bits[1][i];
        }
        CHECK(rcnn_eval_intersection(borders, &spans[0], &spans[1]) == shared);
        CHECK(rcnn_eval_intersection(borders, &spans[1], &spans[0]) == shared);
    }
}

TEST(threads_do_not_change_a_bit)
{
    files f;
    REQUIRE(load(&f, "gt", "dt_segm"));
    rcnn_eval *one = evaluate(f.detections, RCNN_IOU_SEGM, NULL, 1),
              *three = evaluate(f.detections, RCNN_IOU_SEGM, NULL, 3);
    for (int i = 0; i < RCNN_EVAL_STAT_COUNT; i++) {
        CHECK(rcnn_eval_stat(one, i) == rcnn_eval_stat(three, i));
    }
    for (int t = 0; t < RCNN_EVAL_IOU_COUNT; t++) {
        for (int r = 0; r < RCNN_EVAL_RECALL_COUNT; r++) {
            CHECK(rcnn_eval_precision(one, -1, t, r) == rcnn_eval_precision(three, -1, t, r));
        }
    }
    rcnn_eval_destroy(one);
    rcnn_eval_destroy(three);
    unload(&f);
}

TEST(mean_of_the_curves_is_the_average_precision)
{
    files f;
    REQUIRE(load(&f, "gt", "dt_bbox"));
    rcnn_eval *eval = evaluate(f.detections, RCNN_IOU_BBOX, NULL, 2);
    double sum = 0;
    for (int t = 0; t < RCNN_EVAL_IOU_COUNT; t++) {
        for (int r = 0; r < RCNN_EVAL_RECALL_COUNT; r++) {
            sum += rcnn_eval_precision(eval, -1, t, r);
            CHECK(r == 0 || rcnn_eval_precision(eval, -1, t, r) <= rcnn_eval_precision(eval, -1, t, r - 1));
        }
    }
    CHECK(fabs(sum / (RCNN_EVAL_IOU_COUNT * RCNN_EVAL_RECALL_COUNT) - rcnn_eval_stat(eval, 0)) < 1e-12);
    CHECK(rcnn_eval_precision(eval, -2, 0, 0) == -1 && rcnn_eval_precision(eval, 0, 10, 0) == -1);
    CHECK(rcnn_eval_stat(eval, 12) == -1 && rcnn_eval_stat_name(12) == NULL && rcnn_eval_stat(NULL, 0) == -1);
    rcnn_eval_destroy(eval);
    unload(&f);
}

/* Every annotation found perfectly: all numbers that exist are 1, and the confusion matrix is diagonal. */
TEST(perfect_detections_score_one)
{
    static const char TRUTH[] =
        "{\"images\":[{\"id\":7,\"width\":40,\"height\":30}],\"categories\":[{\"id\":3,\"name\":"
        "\"a\"},{\"id\":9,\"name\":\"b\"}],\"annotations\":["
        "{\"id\":1,\"image_id\":7,\"category_id\":3,\"area\":4,\"bbox\":[1,1,2,2],\"iscrowd\":0,"
        "\"segmentation\":{\"size\":[30,40],\"counts\":[31,2,28,2,1137]}},"
        "{\"id\":2,\"image_id\":7,\"category_id\":9,\"area\":60,\"bbox\":[0,0,2,30],"
        "\"segmentation\":{\"size\":[30,40],\"counts\":[0,60,1140]}}]}";
    static const uint32_t MASKS[2][5] = {{31, 2, 28, 2, 1137}, {0, 60, 1140}};
    rcnn_eval_truth *truth = NULL;
    rcnn_eval_detections *d = NULL;
    CHECK_OK(rcnn_eval_truth_parse("truth", TRUTH, sizeof TRUTH - 1, 1, &truth, &err), err);
    REQUIRE(truth);
    CHECK_OK(rcnn_eval_detections_create(truth, &d, &err), err);
    CHECK_OK(rcnn_eval_detections_add(d, 0, 0, (double[]){1, 1, 2, 2}, 0.9, MASKS[0], 5, &err), err);
    CHECK_OK(rcnn_eval_detections_add(d, 0, 1, (double[]){0, 0, 2, 30}, 0.8, MASKS[1], 3, &err), err);
    CHECK(rcnn_eval_detections_add(d, 0, 0, (double[]){0, 0, -1, 1}, 0.9, NULL, 0, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_eval_detections_add(d, 0, 0, (double[]){0, 0, NAN, 1}, 0.9, NULL, 0, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_eval_detections_add(d, 0, 2, (double[]){0, 0, 1, 1}, 0.9, NULL, 0, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_eval_detections_add(d, 0, 0, (double[]){0, 0, 1, 1}, 0.9, MASKS[0], 4, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_eval_detections_count(d) == 2);
    for (int type = 0; type < 2; type++) {
        rcnn_eval *eval = evaluate(d, (rcnn_iou_type)type, NULL, 1);
        for (int i = 0; i < RCNN_EVAL_STAT_COUNT; i++) {
            const int empty = i == 4 || i == 5 || i == 10 || i == 11; /* no medium or large ones */
            CHECK(fabs(rcnn_eval_stat(eval, i) - (empty ? -1 : 1)) < 1e-12);
        }
        rcnn_eval_destroy(eval);
        int64_t matrix[9];
        rcnn_eval_options options;
        rcnn_eval_options_init(&options);
        options.iou_type = (rcnn_iou_type)type;
        CHECK_OK(rcnn_eval_confusion(d, &options, 0.5, 0.85, matrix, &err), err);
        const int64_t wanted[9] = {1, 0, 0, 0, 0, 1, 0, 0, 0}; /* the second scores too low: missed */
        CHECK(memcmp(matrix, wanted, sizeof wanted) == 0);
    }
    rcnn_eval_detections_destroy(d);
    rcnn_eval_truth_destroy(truth);
}

TEST(no_detections_is_zero_and_no_annotations_is_minus_one)
{
    files f;
    rcnn_eval_detections *none = NULL;
    REQUIRE(load(&f, "gt", "dt_bbox"));
    CHECK_OK(rcnn_eval_detections_parse(f.truth, "none", "[]", 2, &none, &err), err);
    rcnn_eval *eval = evaluate(none, RCNN_IOU_BBOX, NULL, 1);
    CHECK(rcnn_eval_stat(eval, 0) == 0 && rcnn_eval_stat(eval, 8) == 0);
    CHECK(rcnn_eval_category_stat(eval, rcnn_eval_truth_category_count(f.truth) - 1, 0) == -1);
    rcnn_eval_destroy(eval);
    rcnn_eval_detections_destroy(none);
    unload(&f);
}

TEST(options_are_checked)
{
    files f;
    rcnn_eval_options options;
    rcnn_eval *eval = NULL;
    REQUIRE(load(&f, "gt", "dt_bbox"));
    rcnn_eval_options_init(&options);
    options.max_dets[1] = 200;
    CHECK(rcnn_eval_run(f.detections, &options, &eval, &err) == RCNN_ERR_ARGUMENT && !eval);
    rcnn_eval_options_init(&options);
    options.iou_type = (rcnn_iou_type)5;
    CHECK(rcnn_eval_run(f.detections, &options, &eval, &err) == RCNN_ERR_ARGUMENT);
    rcnn_eval_options_init(&options);
    options.num_threads = -1;
    CHECK(rcnn_eval_run(f.detections, &options, &eval, &err) == RCNN_ERR_ARGUMENT);
    unload(&f);
}

/* Loads and evaluates; false when something failed, with nothing left behind. */
static int whole_run(void)
{
    rcnn_eval_truth *truth = NULL;
    rcnn_eval_detections *detections = NULL;
    rcnn_eval *eval = NULL;
    rcnn_eval_options options;
    rcnn_eval_options_init(&options);
    options.iou_type = RCNN_IOU_SEGM;
    options.num_threads = 1;
    err = (rcnn_error){0};
    const int failed = rcnn_eval_truth_load(DATA "gt.json", 1, &truth, &err) ||
                       rcnn_eval_detections_load(truth, DATA "dt_segm.json", &detections, &err) ||
                       rcnn_eval_run(detections, &options, &eval, &err);
    CHECK(failed == (eval == NULL));
    CHECK(!failed || err.status == RCNN_ERR_MEMORY);
    rcnn_eval_destroy(eval);
    rcnn_eval_detections_destroy(detections);
    rcnn_eval_truth_destroy(truth);
    return !failed;
}

TEST(every_failing_allocation_is_a_status)
{
    uint64_t nth = 1;
    for (int done = 0; !done && nth < 10000; nth++) {
        rcnn_memory_fail_from(nth);
        done = whole_run();
        rcnn_memory_fail_from(0);
    }
    CHECK_MSG(nth > 50 && nth < 10000, "%llu allocations", (unsigned long long)nth);
}

TEST_MAIN
