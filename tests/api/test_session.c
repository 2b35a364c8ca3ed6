/* The session's promises: options are checked, results are sorted and repeatable, a batch equals its images one by one,
 * mask forms agree with each other, results outlive everything. */
#include "thin.h"

typedef struct fixture {
    rcnn_model *model;
    rcnn_session *session;
    uint8_t *pixels;
    rcnn_image_view view;
} fixture;

static int set_up(fixture *f, const rcnn_session_options *options)
{
    rcnn_error err = {0};
    *f = (fixture){.model = thin_model()};
    f->pixels = thin_picture(150, 90, 5, &f->view);
    if (f->model) {
        CHECK_OK(rcnn_session_create(f->model, options, &f->session, &err), err);
    }
    return f->session != NULL;
}

static void tear_down(fixture *f)
{
    rcnn_session_destroy(f->session);
    rcnn_model_destroy(f->model);
    free(f->pixels);
}

TEST(options_are_checked)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    const struct {
        const char *what;
        rcnn_session_options options;
    } bad[] = {
#define BAD(field, value)                                                                                              \
    {                                                                                                                  \
#field,                                                                                                        \
        {                                                                                                              \
            .field = (value)                                                                                           \
        }                                                                                                              \
    }
        BAD(num_threads, -1),
        BAD(max_batch, 65),
        BAD(score_threshold, 1.5f),
        BAD(mask_threshold, 1.0f),
        BAD(max_detections, -3),
        BAD(long_side, 100000),
        BAD(mask_format, (rcnn_mask_format)9),
        BAD(staged, 3),
        BAD(staged, -1),
        BAD(backend, "tpu"),
#undef BAD
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        rcnn_error err = {0};
        rcnn_session *session = (rcnn_session *)(uintptr_t)1;
        rcnn_session_options o = thin_options("ref");
        const rcnn_session_options *b = &bad[i].options;
        o.num_threads = b->num_threads ? b->num_threads : o.num_threads;
        o.max_batch = b->max_batch ? b->max_batch : o.max_batch;
        o.score_threshold = b->score_threshold > 0 ? b->score_threshold : o.score_threshold;
        o.mask_threshold = b->mask_threshold > 0 ? b->mask_threshold : o.mask_threshold;
        o.max_detections = b->max_detections;
        o.long_side = b->long_side ? b->long_side : o.long_side;
        o.mask_format = b->mask_format ? b->mask_format : o.mask_format;
        o.staged = b->staged;
        o.backend = b->backend ? b->backend : o.backend;
        CHECK_MSG(rcnn_session_create(model, &o, &session, &err) != RCNN_OK && session == NULL && err.message[0], "%s",
                  bad[i].what);
        rcnn_session_destroy(session);
    }
    rcnn_model_destroy(model);
}

TEST(newer_callers_are_understood_or_refused)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    struct {
        rcnn_session_options known;
        int64_t later;
    } options;
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    rcnn_session_options_init_sized(&options.known, sizeof options);
    options.known.backend = "ref";
    CHECK_OK(rcnn_session_create(model, &options.known, &session, &err), err);
    rcnn_session_destroy(session);
    options.later = 1;
    CHECK(rcnn_session_create(model, &options.known, &session, &err) == RCNN_ERR_UNSUPPORTED);
    CHECK(session == NULL);
    rcnn_model_destroy(model);
}

TEST(bad_images_are_refused)
{
    fixture f;
    rcnn_session_options o = thin_options(thin_backend());
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    rcnn_image_view bad = f.view;
    bad.width = 0;
    CHECK(rcnn_session_run(f.session, &bad, 1, &results, &err) == RCNN_ERR_ARGUMENT);
    bad = f.view;
    bad.stride_bytes = 10;
    CHECK(rcnn_session_run(f.session, &bad, 1, &results, &err) == RCNN_ERR_ARGUMENT);
    bad = f.view;
    bad.data = NULL;
    CHECK(rcnn_session_run(f.session, &bad, 1, &results, &err) == RCNN_ERR_ARGUMENT);
    bad = f.view;
    bad.width = bad.height = 65000;
    bad.stride_bytes = 65000u * 3u;
    CHECK(rcnn_session_run(f.session, &bad, 1, &results, &err) == RCNN_ERR_LIMIT);
    CHECK(results == NULL);
    CHECK_OK(rcnn_session_run(f.session, NULL, 0, &results, &err), err);
    CHECK(rcnn_results_image_count(results) == 0);
    rcnn_results_destroy(results);
    tear_down(&f);
}

TEST(results_are_sorted_inside_the_image_and_repeat)
{
    fixture f;
    rcnn_session_options o = thin_options(thin_backend());
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_results *first = NULL, *second = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &first, &err), err);
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &second, &err), err);
    int32_t count = rcnn_results_count(first, 0);
    CHECK_MSG(count > 3, "only %d detections: the picture tests nothing", count);
    float last = 1;
    for (int32_t i = 0; i < count; i++) {
        rcnn_detection d;
        CHECK(rcnn_results_get(first, 0, i, &d) == RCNN_OK);
        CHECK(d.score <= last && d.score > 0.05f);
        CHECK(d.x1 >= 0 && d.y1 >= 0 && d.x2 <= 150.01f && d.y2 <= 90.01f && d.label >= 0);
        CHECK(rcnn_model_class_name(f.model, d.label) != NULL);
        last = d.score;
    }
    CHECK(same_results(first, 0, second, 0));
    CHECK(rcnn_results_stage_ms(first, -1) > 0);
    rcnn_results_destroy(first);
    rcnn_results_destroy(second);
    tear_down(&f);
}

TEST(batch_equals_singles)
{
    rcnn_session_options o = thin_options(thin_backend());
    fixture f;
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_image_view views[5];
    uint8_t *pixels[5];
    for (int i = 0; i < 5; i++) {
        pixels[i] = thin_picture(150, 90, 40 + (uint64_t)i, &views[i]);
    }
    rcnn_results *singles = NULL, *batches = NULL;
    CHECK_OK(rcnn_session_run(f.session, views, 5, &singles, &err), err);
    rcnn_session *batched = NULL;
    o.max_batch = 3;
    CHECK_OK(rcnn_session_create(f.model, &o, &batched, &err), err);
    CHECK_OK(rcnn_session_run(batched, views, 5, &batches, &err), err);
    for (int i = 0; i < 5 && singles && batches; i++) {
        CHECK(rcnn_results_count(singles, i) == rcnn_results_count(batches, i));
        for (int32_t d = 0; d < rcnn_results_count(singles, i); d++) {
            rcnn_detection a, b;
            CHECK(rcnn_results_get(singles, i, d, &a) == RCNN_OK && rcnn_results_get(batches, i, d, &b) == RCNN_OK);
            CHECK_MSG(fabsf(a.x1 - b.x1) < 1e-2f && fabsf(a.y2 - b.y2) < 1e-2f && fabsf(a.score - b.score) < 1e-5f,
                      "image %d detection %d", i, d);
        }
    }
    rcnn_results_destroy(singles);
    rcnn_results_destroy(batches);
    rcnn_session_destroy(batched);
    for (int i = 0; i < 5; i++) {
        free(pixels[i]);
    }
    tear_down(&f);
}

TEST(mask_forms_agree)
{
    rcnn_session_options o = thin_options(thin_backend());
    fixture f;
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &results, &err), err);
    uint8_t *expanded = calloc(150 * 90, 1);
    for (int32_t i = 0; i < rcnn_results_count(results, 0); i++) {
        rcnn_mask full, crop, rle, raw, polygon;
        CHECK_OK(rcnn_results_get_mask(results, 0, i, RCNN_MASK_FULL, &full, &err), err);
        CHECK_OK(rcnn_results_get_mask(results, 0, i, RCNN_MASK_CROP, &crop, &err), err);
        CHECK_OK(rcnn_results_get_mask(results, 0, i, RCNN_MASK_RLE, &rle, &err), err);
        CHECK_OK(rcnn_results_get_mask(results, 0, i, RCNN_MASK_RAW, &raw, &err), err);
        CHECK_OK(rcnn_results_get_mask(results, 0, i, RCNN_MASK_POLYGON, &polygon, &err), err);
        CHECK(full.width == 150 && full.height == 90 && raw.width == 28 && raw.height == 28);
        CHECK_OK(rcnn_rle_decode(rle.counts, rle.count, 150, 90, expanded, &err), err);
        CHECK(memcmp(expanded, full.bitmap, 150 * 90) == 0);
        uint64_t set = 0;
        for (int p = 0; p < 150 * 90; p++) {
            set += full.bitmap[p];
        }
        CHECK(set == rcnn_rle_area(rle.counts, rle.count));
        CHECK((polygon.count > 0) == (set > 0));
        for (int32_t y = 0; y < crop.height; y++) {
            CHECK(memcmp(crop.bitmap + (size_t)y * (size_t)crop.width,
                         full.bitmap + (size_t)(crop.y + y) * 150 + (size_t)crop.x, (size_t)crop.width) == 0);
        }
    }
    free(expanded);
    rcnn_results_destroy(results);
    tear_down(&f);
}

TEST(labels_scores_and_counts_are_filtered)
{
    rcnn_session_options o = thin_options(thin_backend());
    fixture f;
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_results *all = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &all, &err), err);
    rcnn_detection top;
    REQUIRE(rcnn_results_get(all, 0, 0, &top) == RCNN_OK);
    rcnn_session *picky = NULL;
    o.labels = &top.label;
    o.label_count = 1;
    o.max_detections = 2;
    o.score_threshold = 0.1f;
    o.mask_format = RCNN_MASK_NONE;
    CHECK_OK(rcnn_session_create(f.model, &o, &picky, &err), err);
    rcnn_results *few = NULL;
    CHECK_OK(rcnn_session_run(picky, &f.view, 1, &few, &err), err);
    CHECK(rcnn_results_count(few, 0) >= 1 && rcnn_results_count(few, 0) <= 2);
    for (int32_t i = 0; i < rcnn_results_count(few, 0); i++) {
        rcnn_detection d;
        CHECK(rcnn_results_get(few, 0, i, &d) == RCNN_OK && d.label == top.label && d.score > 0.1f);
    }
    rcnn_mask mask;
    CHECK(rcnn_results_get_mask(few, 0, 0, RCNN_MASK_RLE, &mask, &err) == RCNN_ERR_UNSUPPORTED);
    rcnn_results_destroy(all);
    rcnn_results_destroy(few);
    rcnn_session_destroy(picky);
    tear_down(&f);
}

TEST(no_detections_is_an_ordinary_answer)
{
    rcnn_session_options o = thin_options(thin_backend());
    o.score_threshold = 1.0f;
    fixture f;
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &results, &err), err);
    CHECK(rcnn_results_image_count(results) == 1 && rcnn_results_count(results, 0) == 0);
    rcnn_results_destroy(results);
    tear_down(&f);
}

TEST(results_outlive_session_and_model)
{
    rcnn_session_options o = thin_options(thin_backend());
    o.mask_format = RCNN_MASK_RAW;
    fixture f;
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &results, &err), err);
    tear_down(&f);
    rcnn_mask mask;
    REQUIRE(rcnn_results_count(results, 0) > 0);
    CHECK_OK(rcnn_results_get_mask(results, 0, 0, RCNN_MASK_RLE, &mask, &err), err);
    CHECK(mask.count > 0);
    rcnn_results_destroy(results);
}

TEST(session_keeps_the_model)
{
    rcnn_session_options o = thin_options(thin_backend());
    fixture f;
    REQUIRE(set_up(&f, &o));
    rcnn_model_destroy(f.model);
    f.model = NULL;
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &results, &err), err);
    rcnn_results_destroy(results);
    tear_down(&f);
}

TEST(many_shapes_in_one_session)
{
    rcnn_session_options o = thin_options(thin_backend());
    o.mask_format = RCNN_MASK_RLE;
    fixture f;
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_results *reference = NULL, *results = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &reference, &err), err);
    for (int32_t i = 0; i < 24; i++) { /* more shapes than plans are kept */
        rcnn_image_view view;
        uint8_t *pixels = thin_picture(20 + 31 * i, 400 - 13 * i, 3, &view);
        CHECK_OK(rcnn_session_run(f.session, &view, 1, &results, &err), err);
        free(pixels);
    }
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &results, &err), err);
    CHECK(same_results(reference, 0, results, 0));
    rcnn_results_destroy(reference);
    rcnn_results_destroy(results);
    tear_down(&f);
}

TEST(plan_and_values_can_be_read)
{
    rcnn_session_options o = thin_options(thin_backend());
    o.keep_values = 1;
    fixture f;
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    char *json = NULL;
    CHECK_OK(rcnn_session_plan_json(f.session, 150, 90, &json, &err), err);
    CHECK(json && strstr(json, "\"arena_bytes\"") && strstr(json, "backbone.stem"));
    rcnn_free(json);
    size_t size = 0;
    CHECK(rcnn_session_read_value(f.session, "image", NULL, 0, &size, &err) == RCNN_ERR_NOT_FOUND);
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &results, &err), err);
    CHECK_OK(rcnn_session_read_value(f.session, "image", NULL, 0, &size, &err), err);
    CHECK(size == 96u * 160u * 3u * 4u);
    CHECK(rcnn_session_read_value(f.session, "nothing", NULL, 0, &size, &err) == RCNN_ERR_NOT_FOUND);
    rcnn_results_destroy(results);
    tear_down(&f);
}

/* Names are part of what reports and scripts read. */
TEST(stages_by_name)
{
    static const char *const NAMES[] = {"upload",   "preprocess", "backbone",  "neck",        "rpn",     "roi_pool",
                                        "box_head", "box_post",   "mask_head", "postprocess", "download"};
    const int32_t count = (int32_t)(sizeof NAMES / sizeof NAMES[0]);
    CHECK(rcnn_stage_count() == count);
    for (int32_t i = 0; i < count && i < rcnn_stage_count(); i++) {
        CHECK_MSG(strcmp(rcnn_stage_name(i), NAMES[i]) == 0, "stage %d is %s", i, rcnn_stage_name(i));
    }
    CHECK(rcnn_stage_name(-1) == NULL && rcnn_stage_name(count) == NULL);
    fixture f;
    rcnn_session_options o = thin_options(thin_backend());
    REQUIRE(set_up(&f, &o));
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &results, &err), err);
    CHECK(rcnn_results_stage_ms(results, 0) == 0); /* the pixels are in the backend's memory already */
    for (int32_t i = 1; i < count; i++) {
        CHECK_MSG(rcnn_results_stage_ms(results, i) > 0 || strcmp(NAMES[i], "postprocess") == 0, "%s took no time",
                  NAMES[i]); /* raw masks are ready before that */
    }
    CHECK(rcnn_results_stage_ms(results, count) == 0 && rcnn_results_stage_ms(results, -2) == 0);
    rcnn_results_destroy(results);
    tear_down(&f);
}

/* "kernels" of the plan: [first op, number of ops] in order. */
static int32_t kernels_of_plan(rcnn_session *session, const rcnn_image_view *view, int32_t ops[512])
{
    rcnn_error err = {0};
    char *json = NULL;
    int32_t count = 0, length = 0, first, more;
    CHECK_OK(rcnn_session_plan_json(session, view->width, view->height, &json, &err), err);
    const char *at = json ? strstr(json, "\"kernels\":[") : NULL;
    at = at ? at + strlen("\"kernels\":[") : "";
    while (count < 512 && sscanf(at, "[%d,%d]%n", &first, &more, &length) == 2) {
        ops[count++] = more;
        at += length + (at[length] == ',');
    }
    rcnn_free(json);
    return count;
}

static void check_steps(rcnn_session *session, const rcnn_image_view *view)
{
    int32_t ops[512];
    const int32_t count = kernels_of_plan(session, view, ops);
    double end = 0, gflop = 0;
    int32_t stage = 0;
    CHECK_MSG(count > 20 && rcnn_session_step_count(session) == count, "%d kernels, %d timed", count,
              rcnn_session_step_count(session));
    for (int32_t i = 0; i < rcnn_session_step_count(session) && i < count; i++) {
        rcnn_step_time step;
        CHECK(rcnn_session_step_get(session, i, &step) == RCNN_OK);
        while (stage < rcnn_stage_count() && strcmp(step.stage, rcnn_stage_name(stage)) != 0) {
            stage++;
        }
        CHECK_MSG(stage < rcnn_stage_count(), "kernel %d of stage %s comes late", i, step.stage);
        CHECK_MSG(step.name[0] && step.ops == ops[i] && (strstr(step.name, "..") != NULL) == (ops[i] > 1),
                  "kernel %d: '%s', %d ops of %d", i, step.name, step.ops, ops[i]);
        CHECK_MSG(step.ms >= 0 && fabs(step.begin_ms - end) < 1e-9 && step.gbyte > 0 && step.gflop >= 0, "kernel %s",
                  step.name);
        end = step.begin_ms + step.ms;
        gflop += step.gflop;
    }
    CHECK(gflop > 0);
}

/* Timing every kernel changes no result. */
TEST(kernels_are_timed)
{
    const char *const backends[] = {"ref", thin_backend()};
    for (int i = 0; i < 2; i++) {
        fixture f;
        rcnn_session_options o = thin_options(backends[i]);
        o.staged = 2;
        REQUIRE(set_up(&f, &o));
        rcnn_error err = {0};
        rcnn_session *plain = NULL;
        rcnn_results *timed = NULL, *want = NULL;
        rcnn_step_time step;
        o.staged = 0;
        CHECK_OK(rcnn_session_create(f.model, &o, &plain, &err), err);
        CHECK(rcnn_session_step_count(f.session) == 0 && rcnn_session_step_count(NULL) == 0);
        CHECK(rcnn_session_step_get(f.session, 0, &step) == RCNN_ERR_ARGUMENT);
        CHECK_OK(rcnn_session_run(f.session, &f.view, 1, &timed, &err), err);
        CHECK_OK(rcnn_session_run(plain, &f.view, 1, &want, &err), err);
        CHECK(rcnn_session_step_count(plain) == 0);
        CHECK(rcnn_results_count(want, 0) > 3 && same_results(timed, 0, want, 0));
        check_steps(f.session, &f.view);
        CHECK(rcnn_session_step_get(f.session, -1, &step) == RCNN_ERR_ARGUMENT);
        CHECK(rcnn_session_step_get(f.session, rcnn_session_step_count(f.session), &step) == RCNN_ERR_ARGUMENT);
        CHECK(rcnn_session_step_get(f.session, 0, NULL) == RCNN_ERR_ARGUMENT);
        CHECK_OK(rcnn_session_submit(f.session, &f.view, 1, &err), err);
        CHECK(rcnn_session_step_count(f.session) == 0); /* under way */
        CHECK_OK(rcnn_session_collect(f.session, &timed, &err), err);
        check_steps(f.session, &f.view);
        rcnn_results_destroy(timed);
        rcnn_results_destroy(want);
        rcnn_session_destroy(plain);
        tear_down(&f);
    }
}

TEST_MAIN
