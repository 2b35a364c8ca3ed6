/* The trained checkpoint on real pictures, against what torchvision found in them (data/nuclei.safetensors, from
 * scripts/oracle_nuclei.py by way of `compare_nuclei.py expect`; it holds numbers only), on every backend but ref in fp32
 * and, where it has that, in fp16. Pictures and checkpoint stand in ../shared beside the source tree; without them the test
 * is skipped. */
#include "golden.h"
#include "harness.h"

#define SHARED      RCNN_SOURCE_DIR "/../shared/"
#define CHECKPOINT  SHARED "checkpoints/mask_rcnn_r50_fpn_nuclei_fp16.pth"
#define SCORE_FLOOR 0.5f

/* With half precision numbers carry some 1e-3 of their size: a score next to the floor may pass it. */
typedef struct gates {
    float box, score, margin; /* margin: detections this close to the floor may come or go */
    double area;              /* of the mask's area, plus 2 pixels */
} gates;

static const gates *gates_of(rcnn_precision precision)
{
    static const gates SINGLE = {.box = 0.05f, .score = 1e-4f, .area = 0.01};
    static const gates HALF = {.box = 1.0f, .score = 0.03f, .margin = 0.03f, .area = 0.05};
    return precision == RCNN_PRECISION_FP32 ? &SINGLE : &HALF;
}

static rcnn_model *load_model(void)
{
    static const char *const overrides[] = {"size_rule=floor_f32", "max_detections=400"};
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    rcnn_model_options options;
    rcnn_model_options_init(&options);
    options.overrides = overrides;
    options.override_count = 2;
    CHECK_OK(rcnn_model_load(CHECKPOINT, &options, &model, &err), err);
    return model;
}

static rcnn_session *open_session(const rcnn_model *model, const char *backend, rcnn_precision precision)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    rcnn_session_options options;
    rcnn_session_options_init(&options);
    options.backend = backend;
    options.precision = precision;
    options.num_threads = 2;
    options.score_threshold = SCORE_FLOOR;
    options.mask_format = RCNN_MASK_RLE;
    CHECK_OK(rcnn_session_create(model, &options, &session, &err), err);
    return session;
}

/* The expected detection nearest to a box: rows of x1 y1 x2 y2 score area. */
static const float *nearest(const rcnn_tensor_info *want, const float *box)
{
    const float *best = NULL;
    float best_distance = INFINITY;
    for (int32_t i = 0; i < (int32_t)want->shape[0]; i++) {
        const float *row = (const float *)want->data + 6 * i;
        float distance = 0;
        for (int32_t k = 0; k < 4; k++) {
            distance = fmaxf(distance, fabsf(box[k] - row[k]));
        }
        if (distance < best_distance) {
            best = row;
            best_distance = distance;
        }
    }
    return best;
}

static void check_detection(const gates *allowed, rcnn_results *results, int32_t i, const rcnn_tensor_info *expected)
{
    rcnn_error err = {0};
    rcnn_detection d = {0};
    rcnn_mask mask = {0};
    CHECK(rcnn_results_get(results, 0, i, &d) == RCNN_OK);
    CHECK_OK(rcnn_results_get_mask(results, 0, i, RCNN_MASK_RLE, &mask, &err), err);
    const float got[5] = {d.x1, d.y1, d.x2, d.y2, d.score};
    const float *want = nearest(expected, got);
    REQUIRE(want != NULL);
    if (d.score <= SCORE_FLOOR + allowed->margin && fabsf(got[0] - want[0]) > allowed->box) {
        return; /* below the floor in the reference */
    }
    for (int32_t k = 0; k < 5; k++) {
        CHECK_MSG(fabsf(got[k] - want[k]) <= (k < 4 ? allowed->box : allowed->score),
                  "%s: detection %d, number %d: %.6f, want %.6f", expected->name, i, k, (double)got[k],
                  (double)want[k]);
    }
    double area = (double)rcnn_rle_area(mask.counts, mask.count);
    CHECK_MSG(fabs(area - (double)want[5]) <= allowed->area * (double)want[5] + 2,
              "%s: detection %d: mask of %.0f pixels, want %.0f", expected->name, i, area, (double)want[5]);
}

static void check_picture(const gates *allowed, rcnn_session *session, const rcnn_tensor_info *want)
{
    char path[512];
    rcnn_error err = {0};
    rcnn_image *image = NULL;
    rcnn_image_view view;
    rcnn_results *results = NULL;
    snprintf(path, sizeof path, SHARED "nuclei/img/%s", want->name);
    CHECK_OK(rcnn_image_load(path, NULL, &image, &err), err);
    REQUIRE(image != NULL);
    rcnn_image_get_view(image, &view);
    CHECK_OK(rcnn_session_run(session, &view, 1, &results, &err), err);
    int32_t count = rcnn_results_count(results, 0);
    printf("%s: %d detections above %.1f in %.0f ms\n", want->name, count, (double)SCORE_FLOOR,
           results ? rcnn_results_stage_ms(results, -1) : 0.0);
    const int32_t spare = allowed->margin > 0 ? 1 + (int32_t)want->shape[0] / 50 : 0;
    CHECK_MSG(abs(count - (int32_t)want->shape[0]) <= spare, "%s: %d detections, want %d", want->name, count,
              (int32_t)want->shape[0]);
    for (int32_t i = 0; i < count; i++) {
        check_detection(allowed, results, i, want);
    }
    rcnn_results_destroy(results);
    rcnn_image_destroy(image);
}

static void check_pictures(const rcnn_model *model, const rcnn_weights *expected, const char *backend,
                           rcnn_precision precision)
{
    rcnn_session *session = open_session(model, backend, precision);
    printf("%s, %s\n", backend, precision == RCNN_PRECISION_FP32 ? "fp32" : "fp16");
    for (int32_t i = 0; session && i < rcnn_weights_count(expected); i++) {
        rcnn_tensor_info want;
        CHECK(rcnn_weights_get(expected, i, &want) == RCNN_OK);
        check_picture(gates_of(precision), session, &want);
    }
    rcnn_session_destroy(session);
}

TEST(real_pictures_match_torchvision)
{
    rcnn_error err = {0};
    rcnn_weights *expected = NULL;
    const char *backend;
    FILE *checkpoint = fopen(CHECKPOINT, "rb");
    if (!checkpoint) {
        SKIP("no ../shared/checkpoints beside the source tree: the nuclei test needs its checkpoint and pictures");
    }
    fclose(checkpoint);
    if (!golden_backend(1)) {
        SKIP("only the ref backend is built in: too slow for the nuclei pictures");
    }
    CHECK_OK(rcnn_weights_open(RCNN_SOURCE_DIR "/tests/golden/data/nuclei.safetensors", &expected, &err), err);
    rcnn_model *model = load_model();
    for (int32_t k = 0; model && expected && (backend = golden_backend(k)) != NULL; k++) {
        if (strcmp(backend, "ref") == 0) {
            continue;
        }
        check_pictures(model, expected, backend, RCNN_PRECISION_FP32);
        if (golden_precisions(backend) >> RCNN_PRECISION_FP16 & 1u) {
            check_pictures(model, expected, backend, RCNN_PRECISION_FP16);
        }
    }
    rcnn_model_destroy(model);
    rcnn_weights_close(expected);
}

TEST_MAIN
