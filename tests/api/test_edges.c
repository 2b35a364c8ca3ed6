/* The edges of the session's promises: batches of mixed sizes, nothing to detect, largest sizes, sessions that failed
 * before, results objects that wander between sessions. */
#ifdef _OPENMP
#include <omp.h>
#endif

#include "base/memory.h"
#include "model/model.h"
#include "stages/stages.h"
#include "thin.h"

static const rcnn_mask_format FORMATS[] = {RCNN_MASK_NONE, RCNN_MASK_RAW,     RCNN_MASK_CROP,
                                           RCNN_MASK_RLE,  RCNN_MASK_POLYGON, RCNN_MASK_FULL};

#define FORMAT_COUNT (int32_t)(sizeof FORMATS / sizeof FORMATS[0])

static rcnn_model *model_with(const char *const *overrides, int32_t count)
{
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    options.overrides = overrides;
    options.override_count = count;
    CHECK_OK(rcnn_model_load(THIN_MODEL, &options, &model, &err), err);
    return model;
}

static rcnn_session *session_of(const rcnn_model *model, const rcnn_session_options *options)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    CHECK_OK(rcnn_session_create(model, options, &session, &err), err);
    return session;
}

/* Same labels, scores and boxes, up to the rounding of another batch size or backend. */
static int close_results(const rcnn_results *a, int32_t image_a, const rcnn_results *b, int32_t image_b)
{
    if (rcnn_results_count(a, image_a) != rcnn_results_count(b, image_b)) {
        return 0;
    }
    for (int32_t i = 0; i < rcnn_results_count(a, image_a); i++) {
        rcnn_detection x, y;
        if (rcnn_results_get(a, image_a, i, &x) || rcnn_results_get(b, image_b, i, &y) || x.label != y.label ||
            fabsf(x.score - y.score) > 1e-4f || fabsf(x.x1 - y.x1) > 0.05f || fabsf(x.y1 - y.y1) > 0.05f ||
            fabsf(x.x2 - y.x2) > 0.05f || fabsf(x.y2 - y.y2) > 0.05f) {
            return 0;
        }
    }
    return 1;
}

/* ------------------------------------------------------------ mixed sizes */

enum { MIXED = 6 };

static const int32_t MIXED_SIZE[MIXED][2] = {{150, 90}, {90, 150}, {1, 1}, {64, 48}, {400, 3}, {160, 96}};

typedef struct mixed_images {
    rcnn_image_view view[MIXED];
    uint8_t *pixels[MIXED];
} mixed_images;

static mixed_images make_mixed(void)
{
    mixed_images m;
    for (int i = 0; i < MIXED; i++) {
        m.pixels[i] = thin_picture(MIXED_SIZE[i][0], MIXED_SIZE[i][1], 70 + (uint64_t)i, &m.view[i]);
    }
    return m;
}

static void free_mixed(mixed_images *m)
{
    for (int i = 0; i < MIXED; i++) {
        free(m->pixels[i]);
    }
}

static rcnn_results *run_mixed(const rcnn_model *model, const char *backend, int32_t batch, int32_t long_side,
                               const mixed_images *m)
{
    rcnn_error err = {0};
    rcnn_session_options o = thin_options(backend);
    o.max_batch = batch;
    o.long_side = long_side;
    o.mask_format = RCNN_MASK_FULL;
    rcnn_session *session = session_of(model, &o);
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(session, m->view, MIXED, &results, &err), err);
    rcnn_session_destroy(session);
    return results;
}

static void check_inside(const rcnn_results *results, int32_t image)
{
    for (int32_t i = 0; i < rcnn_results_count(results, image); i++) {
        rcnn_detection d;
        CHECK(rcnn_results_get(results, image, i, &d) == RCNN_OK);
        CHECK_MSG(d.x1 >= 0 && d.y1 >= 0 && d.x2 <= (float)MIXED_SIZE[image][0] + 0.01f &&
                      d.y2 <= (float)MIXED_SIZE[image][1] + 0.01f,
                  "image %d detection %d: %g,%g,%g,%g", image, i, (double)d.x1, (double)d.y1, (double)d.x2,
                  (double)d.y2);
    }
}

/* One batch holds all sizes: each image keeps its own scale, clipping and mask size, on every backend. */
TEST(sizes_mix_in_one_batch)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    mixed_images m = make_mixed();
    rcnn_results *ref = run_mixed(model, "ref", MIXED, 64, &m);
    rcnn_results *fast = run_mixed(model, thin_backend(), MIXED, 64, &m);
    CHECK(rcnn_results_image_count(ref) == MIXED && rcnn_results_image_count(fast) == MIXED);
    CHECK(rcnn_results_count(fast, 0) > 0 && rcnn_results_count(fast, 1) > 0); /* else the pictures test nothing */
    for (int32_t i = 0; i < MIXED; i++) {
        CHECK_MSG(close_results(ref, i, fast, i), "image %d: %d and %d detections", i, rcnn_results_count(ref, i),
                  rcnn_results_count(fast, i));
        check_inside(fast, i);
        rcnn_error err = {0};
        rcnn_mask mask;
        if (rcnn_results_count(fast, i) > 0) {
            CHECK_OK(rcnn_results_get_mask(fast, i, 0, RCNN_MASK_FULL, &mask, &err), err);
            CHECK(mask.width == MIXED_SIZE[i][0] && mask.height == MIXED_SIZE[i][1]);
        }
    }
    rcnn_results_destroy(ref);
    rcnn_results_destroy(fast);
    free_mixed(&m);
    rcnn_model_destroy(model);
}

static float overlap(const rcnn_detection *a, const rcnn_detection *b)
{
    const float width = fminf(a->x2, b->x2) - fmaxf(a->x1, b->x1);
    const float height = fminf(a->y2, b->y2) - fmaxf(a->y1, b->y1);
    const float both = width > 0 && height > 0 ? width * height : 0;
    return both / ((a->x2 - a->x1) * (a->y2 - a->y1) + (b->x2 - b->x1) * (b->y2 - b->y1) - both);
}

/* How many of the first `count` detections of one image are found again, same label and nearly the same place. */
static int32_t found_again(const rcnn_results *a, const rcnn_results *b, int32_t image, int32_t count)
{
    int32_t found = 0;
    for (int32_t i = 0; i < count; i++) {
        rcnn_detection x, y;
        int hit = 0;
        CHECK(rcnn_results_get(a, image, i, &x) == RCNN_OK);
        for (int32_t j = 0; j < rcnn_results_count(b, image); j++) {
            CHECK(rcnn_results_get(b, image, j, &y) == RCNN_OK);
            hit |= x.label == y.label && overlap(&x, &y) > 0.6f && fabsf(x.score - y.score) < 0.1f;
        }
        found += hit;
    }
    return found;
}

/* Padding to a larger neighbour changes what the network sees past the border, so results near it may move a little
 * (spec 2.6); an image that already has the batch's padded shape must not change at all. */
TEST(mixed_batch_is_close_to_singles)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    mixed_images m = make_mixed();
    m.view[1] = m.view[0]; /* no tall image: the batch is 160x96, the shape of images 0, 1 and 5 */
    rcnn_results *singles = run_mixed(model, thin_backend(), 1, 160, &m);
    rcnn_results *batch = run_mixed(model, thin_backend(), MIXED, 160, &m);
    CHECK(close_results(singles, 0, batch, 0));
    CHECK(close_results(singles, 5, batch, 5));
    CHECK(same_results(batch, 0, batch, 1));
    const int32_t best = rcnn_results_count(singles, 3) < 10 ? rcnn_results_count(singles, 3) : 10;
    const int32_t again = found_again(singles, batch, 3, best);
    CHECK_MSG(best > 0 && again * 10 >= best * 7, "%d of the best %d", again, best);
    rcnn_results_destroy(singles);
    rcnn_results_destroy(batch);
    free_mixed(&m);
    rcnn_model_destroy(model);
}

/* ---------------------------------------------------------------- nothing */

static void check_empty_runs(const rcnn_model *model, float score_threshold)
{
    mixed_images m = make_mixed();
    for (int32_t f = 0; f < FORMAT_COUNT; f++) {
        rcnn_error err = {0};
        rcnn_session_options o = thin_options(thin_backend());
        o.mask_format = FORMATS[f];
        o.score_threshold = score_threshold;
        o.max_batch = 4; /* the last batch is not full */
        rcnn_session *session = session_of(model, &o);
        rcnn_results *results = NULL;
        CHECK_OK(rcnn_session_run(session, m.view, MIXED, &results, &err), err);
        CHECK(rcnn_results_image_count(results) == MIXED);
        for (int32_t i = 0; i < MIXED; i++) {
            rcnn_mask mask;
            CHECK(rcnn_results_count(results, i) == 0);
            CHECK(rcnn_results_get_mask(results, i, 0, RCNN_MASK_RLE, &mask, &err) == RCNN_ERR_ARGUMENT);
        }
        rcnn_results_destroy(results);
        rcnn_session_destroy(session);
    }
    free_mixed(&m);
}

TEST(no_detections_in_any_mask_format)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    check_empty_runs(model, 1.0f);
    rcnn_model_destroy(model);
}

TEST(no_proposals_in_any_mask_format)
{
    const char *const huge[] = {"rpn_min_size=60000"};
    rcnn_model *model = model_with(huge, 1);
    REQUIRE(model);
    check_empty_runs(model, -1);
    rcnn_model_destroy(model);
}

/* ------------------------------------------------------------- thresholds */

TEST(threshold_zero_keeps_every_candidate)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    rcnn_error err = {0};
    rcnn_session_options o = thin_options(thin_backend());
    o.score_threshold = 0;
    o.max_detections = 3000;
    rcnn_session *session = session_of(model, &o);
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(64, 48, 3, &view);
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(session, &view, 1, &results, &err), err);
    rcnn_detection last;
    const int32_t count = rcnn_results_count(results, 0);
    CHECK_MSG(count > 20 && count <= 3000, "%d detections", count);
    CHECK(rcnn_results_get(results, 0, count - 1, &last) == RCNN_OK && last.score > 0 && last.score < 0.05f);
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    free(pixels);
    rcnn_model_destroy(model);
}

TEST(several_labels_are_the_rest_left_out)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    const int32_t classes = rcnn_model_class_count(model);
    REQUIRE(classes >= 3);
    rcnn_error err = {0};
    rcnn_session_options o = thin_options(thin_backend());
    o.max_detections = 10000; /* so that left out labels make no room for others */
    rcnn_session *all = session_of(model, &o);
    const int32_t labels[] = {classes - 1, 0, 0}; /* any order, twice is once */
    o.labels = labels;
    o.label_count = 3;
    rcnn_session *some = session_of(model, &o);
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(150, 90, 5, &view);
    rcnn_results *a = NULL, *b = NULL;
    CHECK_OK(rcnn_session_run(all, &view, 1, &a, &err), err);
    CHECK_OK(rcnn_session_run(some, &view, 1, &b, &err), err);
    int32_t at = 0;
    for (int32_t i = 0; i < rcnn_results_count(a, 0); i++) {
        rcnn_detection x, y;
        CHECK(rcnn_results_get(a, 0, i, &x) == RCNN_OK);
        if (x.label == 0 || x.label == classes - 1) {
            CHECK(rcnn_results_get(b, 0, at, &y) == RCNN_OK && x.label == y.label && x.score == y.score);
            at++;
        }
    }
    CHECK(at > 0 && at == rcnn_results_count(b, 0) && at < rcnn_results_count(a, 0));
    rcnn_results_destroy(a);
    rcnn_results_destroy(b);
    rcnn_session_destroy(all);
    rcnn_session_destroy(some);
    free(pixels);
    rcnn_model_destroy(model);
}

TEST(bad_label_lists_are_refused)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    const int32_t beyond = rcnn_model_class_count(model);
    rcnn_session_options o = thin_options("ref");
    o.labels = &beyond;
    o.label_count = 1;
    CHECK(rcnn_session_create(model, &o, &session, &err) == RCNN_ERR_ARGUMENT && !session);
    o.label_count = -1;
    CHECK(rcnn_session_create(model, &o, &session, &err) == RCNN_ERR_ARGUMENT && !session);
    o.labels = NULL;
    o.label_count = 1;
    CHECK(rcnn_session_create(model, &o, &session, &err) == RCNN_ERR_ARGUMENT && !session);
    o = thin_options("ref");
    o.struct_size = SIZE_MAX; /* never initialised */
    CHECK(rcnn_session_create(model, &o, &session, &err) == RCNN_ERR_ARGUMENT && !session);
    rcnn_model_destroy(model);
}

/* ------------------------------------------------------------------ sizes */

TEST(network_inputs_over_the_limit)
{
    const char *const huge[] = {"long_side=65500", "short_side=65500"};
    rcnn_model *model = model_with(huge, 2);
    REQUIRE(model);
    rcnn_error err = {0};
    rcnn_session_options o = thin_options("ref");
    o.long_side = 0;
    o.short_side = 0;
    rcnn_session *session = session_of(model, &o);
    char *json = (char *)(uintptr_t)1;
    CHECK(rcnn_session_plan_json(session, 65500, 65500, &json, &err) == RCNN_ERR_LIMIT && !json);
    rcnn_image_view view = {.width = 65500, .height = 4, .stride_bytes = 65500, .format = RCNN_PIXEL_GRAY8};
    uint8_t *pixels = calloc(4, 65500);
    view.data = pixels;
    rcnn_results *results = NULL;
    CHECK(rcnn_session_run(session, &view, 1, &results, &err) == RCNN_ERR_LIMIT && !results);
    free(pixels);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
}

/* All maxima together: terabytes, planned without an overflow. */
TEST(largest_plan)
{
    const char *const most[] = {"rpn_pre_nms=100000", "rpn_post_nms=100000", "mask_pool=56", "box_nms_iou=1"};
    rcnn_model *model = model_with(most, 4);
    REQUIRE(model);
    rcnn_error err = {0};
    rcnn_session_options o = thin_options("ref");
    o.max_batch = 64;
    o.max_detections = 100000;
    o.long_side = o.short_side = 16384;
    rcnn_session *session = session_of(model, &o);
    char *json = NULL;
    CHECK_OK(rcnn_session_plan_json(session, 16384, 16384, &json, &err), err);
    const char *arena = json ? strstr(json, "\"arena_bytes\":") : NULL;
    REQUIRE(arena);
    const double bytes = strtod(arena + strlen("\"arena_bytes\":"), NULL);
    CHECK_MSG(bytes > 64.0 * 16384 * 16384 * 3 * 4 && bytes < 1e15, "%g bytes", bytes);
    rcnn_free(json);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
}

TEST(more_candidates_than_can_be_counted)
{
    const char *const most[] = {"rpn_pre_nms=100000", "rpn_post_nms=100000"};
    rcnn_model *model = model_with(most, 2);
    REQUIRE(model);
    const int32_t classes = model->config.class_count;
    model->config.class_count = 65535; /* no thin file has that many */
    const rcnn_build_options options = {.batch = 1, .width = 4096, .height = 4096, .max_detections = 100};
    rcnn_error err = {0};
    rcnn_graph graph;
    rcnn_graph_init(&graph);
    CHECK(rcnn_stages_build(model, &options, &graph, &err) == RCNN_ERR_LIMIT);
    CHECK(strstr(err.message, "65535"));
    rcnn_graph_free(&graph);
    model->config.class_count = classes;
    rcnn_model_destroy(model);
}

/* What src/mask can paste bounds what a file may ask for. */
/* What kernels read and write: live rows, values between fused ops not at all, a value read twice once. */
TEST(cost_of_kernels)
{
    rcnn_model *model = thin_model();
    rcnn_graph graph;
    rcnn_error err = {0};
    const rcnn_build_options options = {.batch = 1, .width = 96, .height = 64, .max_detections = 10, .masks = 1};
    rcnn_graph_init(&graph);
    CHECK_OK(rcnn_stages_build(model, &options, &graph, &err), err);
    int32_t first = 0;
    while (first < graph.op_count && strcmp(graph.ops[first].name, "mask.conv0") != 0) {
        first++;
    }
    REQUIRE(first + 1 < graph.op_count && graph.ops[first + 1].kind == RCNN_OP_CONV);
    const rcnn_op *a = &graph.ops[first], *b = a + 1;
    const double flop = 2.0 * (double)(rcnn_op_macs(&graph, a) + rcnn_op_macs(&graph, b));
    const double value = (double)graph.values[a->input[0]].bytes; /* as large as what either makes */
    const double weights = 2.0 * 4.0 * (a->w.out * a->w.in * 9 + a->w.out);
    rcnn_cost cost = rcnn_graph_cost(&graph, first, 2, NULL, 0);
    CHECK_MSG(cost.flop == flop && cost.bytes == 2 * value + weights, "fused: %g, %g", cost.flop, cost.bytes);
    rcnn_live_rows live = {a->rows, 5};
    cost = rcnn_graph_cost(&graph, first, 2, &live, 1);
    CHECK_MSG(fabs(cost.flop / flop - 0.5) < 1e-9 && fabs(cost.bytes - value - weights) < 1, "half live: %g, %g",
              cost.flop, cost.bytes);
    live.rows = -1;
    CHECK(rcnn_graph_cost(&graph, first, 2, &live, 1).flop == flop);
    rcnn_graph_fuse(&graph, first, 2, 1);
    cost = rcnn_graph_cost(&graph, first, 2, NULL, 0);
    CHECK_MSG(cost.flop == flop && cost.bytes == 4 * value + weights, "kept: %g, %g", cost.flop, cost.bytes);
    rcnn_graph_free(&graph);
    rcnn_model_destroy(model);
}

TEST(mask_side_is_bounded)
{
    const char *const large[] = {"mask_pool=57"};
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    options.overrides = large;
    options.override_count = 1;
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    CHECK(rcnn_model_load(THIN_MODEL, &options, &model, &err) == RCNN_ERR_ARGUMENT && !model);
    const char *const largest[] = {"mask_pool=56"};
    model = model_with(largest, 1);
    REQUIRE(model);
    mixed_images m = make_mixed();
    rcnn_session_options o = thin_options(thin_backend());
    o.mask_format = RCNN_MASK_RLE;
    o.max_detections = 3;
    rcnn_session *session = session_of(model, &o);
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(session, m.view, 1, &results, &err), err);
    rcnn_mask mask;
    REQUIRE(rcnn_results_count(results, 0) > 0);
    CHECK_OK(rcnn_results_get_mask(results, 0, 0, RCNN_MASK_CROP, &mask, &err), err);
    CHECK_OK(rcnn_results_get_mask(results, 0, 0, RCNN_MASK_RAW, &mask, &err), err);
    CHECK(mask.width == 112);
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    free_mixed(&m);
    rcnn_model_destroy(model);
}

/* ------------------------------------------------------------ life of runs */

static int same_masks(rcnn_results *a, rcnn_results *b)
{
    for (int32_t i = 0; i < rcnn_results_count(a, 0); i++) {
        rcnn_error err = {0};
        rcnn_mask x, y;
        CHECK_OK(rcnn_results_get_mask(a, 0, i, RCNN_MASK_RLE, &x, &err), err);
        CHECK_OK(rcnn_results_get_mask(b, 0, i, RCNN_MASK_RLE, &y, &err), err);
        if (x.count != y.count || memcmp(x.counts, y.counts, (size_t)x.count * sizeof *x.counts) != 0) {
            return 0;
        }
    }
    return 1;
}

/* Another mask side, no masks at all, and back: each run through the same results object equals one of its own. */
TEST(results_wander_between_sessions)
{
    const char *const small[] = {"mask_pool=7"};
    rcnn_model *models[2] = {thin_model(), model_with(small, 1)};
    REQUIRE(models[0] && models[1]);
    mixed_images m = make_mixed();
    rcnn_results *wandering = NULL;
    for (int32_t turn = 0; turn < 2 * FORMAT_COUNT; turn++) {
        rcnn_error err = {0};
        rcnn_session_options o = thin_options(thin_backend());
        o.mask_format = FORMATS[turn % FORMAT_COUNT];
        rcnn_session *session = session_of(models[turn % 2], &o);
        rcnn_results *own = NULL;
        CHECK_OK(rcnn_session_run(session, &m.view[turn % 2], 1, &own, &err), err);
        CHECK_OK(rcnn_session_run(session, &m.view[turn % 2], 1, &wandering, &err), err);
        CHECK_MSG(same_results(own, 0, wandering, 0), "turn %d", turn);
        CHECK_MSG(o.mask_format == RCNN_MASK_NONE || same_masks(own, wandering), "turn %d", turn);
        rcnn_results_destroy(own);
        rcnn_session_destroy(session);
    }
    rcnn_results_destroy(wandering);
    free_mixed(&m);
    rcnn_model_destroy(models[0]);
    rcnn_model_destroy(models[1]);
}

/* Out of memory while a new shape is planned: the run fails, the session does not. */
TEST(session_runs_after_failed_runs)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    mixed_images m = make_mixed();
    rcnn_session_options o = thin_options(thin_backend());
    o.mask_format = RCNN_MASK_RLE;
    rcnn_session *session = session_of(model, &o);
    rcnn_session *fresh = session_of(model, &o);
    rcnn_results *results = NULL, *reference = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_session_run(fresh, &m.view[1], 1, &reference, &err), err);
    int32_t failures = 0;
    for (uint64_t n = 1; n < 400; n += 7) {
        CHECK_OK(rcnn_session_run(session, &m.view[3], 1, &results, &err), err);
        rcnn_memory_fail_from(n);
        rcnn_status status = rcnn_session_run(session, &m.view[1], 1, &results, &err);
        rcnn_memory_fail_from(0);
        CHECK((status == RCNN_OK) == (results != NULL));
        CHECK(status == RCNN_OK || status == RCNN_ERR_MEMORY);
        failures += status != RCNN_OK;
        CHECK_OK(rcnn_session_run(session, &m.view[3], 1, &results, &err), err);
        if (status == RCNN_OK) {
            break;
        }
    }
    CHECK(failures > 3);
    CHECK_OK(rcnn_session_run(session, &m.view[1], 1, &results, &err), err);
    CHECK(same_results(results, 0, reference, 0) && same_masks(results, reference));
    rcnn_results_destroy(results);
    rcnn_results_destroy(reference);
    rcnn_session_destroy(session);
    rcnn_session_destroy(fresh);
    free_mixed(&m);
    rcnn_model_destroy(model);
}

/* The host program's own parallel regions keep their thread count, whatever becomes of a run. */
TEST(thread_count_of_the_caller_stays)
{
#ifdef _OPENMP
    rcnn_model *model = thin_model();
    REQUIRE(model);
    mixed_images m = make_mixed();
    const int before = omp_get_max_threads();
    omp_set_num_threads(3);
    rcnn_session_options o = thin_options(thin_backend());
    o.num_threads = 1;
    rcnn_session *session = session_of(model, &o);
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(session, m.view, MIXED, &results, &err), err);
    CHECK(omp_get_max_threads() == 3);
    rcnn_results_destroy(results);
    results = NULL;
    rcnn_memory_fail_from(1);
    CHECK(rcnn_session_run(session, m.view, 1, &results, &err) == RCNN_ERR_MEMORY);
    rcnn_memory_fail_from(0);
    CHECK(omp_get_max_threads() == 3);
    omp_set_num_threads(before);
    rcnn_session_destroy(session);
    free_mixed(&m);
    rcnn_model_destroy(model);
#endif
}

TEST(wrong_arguments_take_the_results_too)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    rcnn_session_options o = thin_options("ref");
    rcnn_session *session = session_of(model, &o);
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(session, NULL, 0, &results, &err), err);
    CHECK(rcnn_session_run(session, NULL, 1, &results, &err) == RCNN_ERR_ARGUMENT && results == NULL);
    CHECK_OK(rcnn_session_run(session, NULL, 0, &results, &err), err);
    CHECK(rcnn_session_run(NULL, NULL, 0, &results, &err) == RCNN_ERR_ARGUMENT && results == NULL);
    CHECK(rcnn_session_run(session, NULL, 0, NULL, &err) == RCNN_ERR_ARGUMENT);
    rcnn_session_destroy(session);
    rcnn_model_destroy(model);
}

/* Plans of other shapes push out the one whose values stand in memory: they are gone, not stale. */
TEST(forgotten_plans_have_no_values)
{
    rcnn_model *model = thin_model();
    REQUIRE(model);
    rcnn_session_options o = thin_options("ref");
    o.keep_values = 1;
    o.long_side = 4096;
    o.short_side = 64;
    o.max_plans = 16;
    rcnn_session *session = session_of(model, &o);
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    rcnn_image_view view;
    uint8_t *pixels = thin_picture(64, 64, 1, &view);
    size_t size = 0;
    CHECK_OK(rcnn_session_run(session, &view, 1, &results, &err), err);
    CHECK_OK(rcnn_session_read_value(session, "image", NULL, 0, &size, &err), err);
    for (int32_t i = 1; i <= 20; i++) { /* more shapes than plans are kept */
        char *json = NULL;
        CHECK_OK(rcnn_session_plan_json(session, 64, 64 + 32 * i, &json, &err), err);
        rcnn_free(json);
    }
    CHECK(rcnn_session_read_value(session, "image", NULL, 0, &size, &err) == RCNN_ERR_NOT_FOUND);
    CHECK_OK(rcnn_session_run(session, &view, 1, &results, &err), err);
    CHECK_OK(rcnn_session_read_value(session, "image", NULL, 0, &size, &err), err);
    rcnn_results_destroy(results);
    rcnn_session_destroy(session);
    free(pixels);
    rcnn_model_destroy(model);
}

TEST(rle_decode_refuses_missing_counts)
{
    uint8_t pixels[4];
    rcnn_error err = {0};
    CHECK(rcnn_rle_decode(NULL, 2, 2, 2, pixels, &err) == RCNN_ERR_ARGUMENT);
}

TEST_MAIN
