/* See device_checks.h. */
#include "gpu/device_checks.h"

#include <cuda_runtime_api.h>

#include "api/thin.h"
#include "session/session.h"

#define PICTURES_MAX 6

/* ------------------------------------------------------------- set-up */

/* A session and pictures of different sizes. */
typedef struct fixture {
    rcnn_model *model;
    rcnn_session *session;
    int32_t picture_count;
    uint8_t *pixels[PICTURES_MAX];
    rcnn_image_view view[PICTURES_MAX];
} fixture;

static rcnn_session_options options_for(const device_bed *bed)
{
    rcnn_session_options options = thin_options(NULL);
    options.precision = bed->precision;
    options.long_side = bed->long_side;
    options.short_side = bed->short_side;
    options.score_threshold = 0.02f;
    options.max_detections = 20;
    return options;
}

static rcnn_session *open_session(const device_bed *bed, const rcnn_model *model, const rcnn_session_options *options)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    CHECK_OK(rcnn_session_create_on(model, options, bed->vt, &session, &err), err);
    return session;
}

static bool set_up(fixture *f, const device_bed *bed, const rcnn_session_options *options)
{
    static const int32_t SIZES[PICTURES_MAX][2] = {{150, 90}, {90, 140}, {64, 64}, {200, 100}, {97, 151}, {31, 57}};
    *f = (fixture){.model = thin_model(), .picture_count = bed->images < PICTURES_MAX ? bed->images : PICTURES_MAX};
    for (int32_t i = 0; i < f->picture_count; i++) {
        f->pixels[i] = thin_picture(SIZES[i][0], SIZES[i][1], 5 + (uint64_t)i, &f->view[i]);
    }
    f->session = f->model ? open_session(bed, f->model, options) : NULL;
    return f->session != NULL;
}

static void tear_down(fixture *f)
{
    rcnn_session_destroy(f->session);
    rcnn_model_destroy(f->model);
    for (int32_t i = 0; i < f->picture_count; i++) {
        free(f->pixels[i]);
    }
}

/* NULL after a failure that was counted. */
static rcnn_results *run(rcnn_session *session, const rcnn_image_view *views, int32_t count)
{
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(session, views, count, &results, &err), err);
    return results;
}

static bool found_something(const rcnn_results *results)
{
    int32_t count = 0;
    for (int32_t i = 0; results && i < rcnn_results_image_count(results); i++) {
        count += rcnn_results_count(results, i);
    }
    return count > 0;
}

/* ------------------------------------------------------------- comparing */

static bool same_mask(rcnn_results *a, int32_t image_a, rcnn_results *b, int32_t image_b, int32_t index,
                      rcnn_mask_format format)
{
    rcnn_mask x, y;
    rcnn_error err = {0};
    if (rcnn_results_get_mask(a, image_a, index, format, &x, &err) != RCNN_OK ||
        rcnn_results_get_mask(b, image_b, index, format, &y, &err) != RCNN_OK) {
        fprintf(stderr, "%s\n", err.message);
        return false;
    }
    if (x.format != y.format || x.x != y.x || x.y != y.y || x.width != y.width || x.height != y.height ||
        x.count != y.count) {
        return false;
    }
    const size_t pixels = (size_t)x.width * (size_t)x.height;
    switch (format) {
    case RCNN_MASK_RAW:
        return memcmp(x.raw, y.raw, pixels * sizeof *x.raw) == 0;
    case RCNN_MASK_RLE:
        return memcmp(x.counts, y.counts, (size_t)x.count * sizeof *x.counts) == 0;
    case RCNN_MASK_POLYGON:
        return x.count == 0 ||
               (memcmp(x.ring_ends, y.ring_ends, (size_t)x.count * sizeof *x.ring_ends) == 0 &&
                memcmp(x.points, y.points, 2 * (size_t)x.ring_ends[x.count - 1] * sizeof *x.points) == 0);
    default:
        return pixels == 0 || memcmp(x.bitmap, y.bitmap, pixels) == 0;
    }
}

/* Detections and raw masks of one image, byte for byte. */
static bool same_image(rcnn_results *a, int32_t image_a, rcnn_results *b, int32_t image_b)
{
    if (!a || !b || !same_results(a, image_a, b, image_b)) {
        return false;
    }
    for (int32_t i = 0; i < rcnn_results_count(a, image_a); i++) {
        if (!same_mask(a, image_a, b, image_b, i, RCNN_MASK_RAW)) {
            return false;
        }
    }
    return true;
}

static float largest(float a, float b, float c, float d)
{
    return fmaxf(fmaxf(a, b), fmaxf(c, d));
}

/* Every detection of `a` above a score has one in `b` of its label within a tolerance. */
static int32_t missing_detections(const rcnn_results *a, int32_t image_a, const rcnn_results *b, int32_t image_b,
                                  float floor_score, float box, float score)
{
    int32_t missing = 0;
    for (int32_t i = 0; i < rcnn_results_count(a, image_a); i++) {
        rcnn_detection x, y;
        bool found = rcnn_results_get(a, image_a, i, &x) != RCNN_OK || x.score < floor_score;
        for (int32_t j = 0; j < rcnn_results_count(b, image_b) && !found; j++) {
            found = rcnn_results_get(b, image_b, j, &y) == RCNN_OK && y.label == x.label &&
                    fabsf(x.score - y.score) <= score &&
                    largest(fabsf(x.x1 - y.x1), fabsf(x.y1 - y.y1), fabsf(x.x2 - y.x2), fabsf(x.y2 - y.y2)) <= box;
        }
        missing += !found;
    }
    return missing;
}

/* ------------------------------------------------------------- the checks */

void device_check_same_bytes_in_every_run(const device_bed *bed)
{
    fixture f;
    const rcnn_session_options options = options_for(bed);
    if (set_up(&f, bed, &options)) {
        rcnn_session *other = open_session(bed, f.model, &options);
        rcnn_results *first = run(f.session, f.view, f.picture_count);
        CHECK(found_something(first));
        for (int again = 0; again < 3; again++) {
            rcnn_results *results = run(again == 2 ? other : f.session, f.view, f.picture_count);
            for (int32_t i = 0; i < f.picture_count; i++) {
                CHECK_MSG(same_image(first, i, results, i), "run %d, image %d", again, i);
            }
            rcnn_results_destroy(results);
        }
        rcnn_results_destroy(first);
        rcnn_session_destroy(other);
    }
    tear_down(&f);
}

/* Pictures of one size, so that the padding is the same. Engines may differ with the batch: fp32 is compared with the
 * tolerance of sums in another order; in half precision the thin model's decisions would differ. */
void device_check_batch_equals_singles(const device_bed *bed)
{
    fixture f;
    device_bed exact = *bed;
    exact.precision = RCNN_PRECISION_FP32;
    rcnn_session_options options = options_for(&exact);
    options.max_batch = 4;
    if (set_up(&f, &exact, &options)) {
        for (int32_t i = 0; i < f.picture_count; i++) {
            free(f.pixels[i]);
            f.pixels[i] = thin_picture(150, 90, 5 + (uint64_t)i, &f.view[i]);
        }
        rcnn_results *batch = run(f.session, f.view, f.picture_count);
        CHECK(batch && rcnn_results_image_count(batch) == f.picture_count);
        for (int32_t i = 0; batch && i < f.picture_count; i++) {
            rcnn_results *single = run(f.session, &f.view[i], 1);
            int32_t missing = missing_detections(single, 0, batch, i, 0.1f, 0.05f, 1e-3f) +
                              missing_detections(batch, i, single, 0, 0.1f, 0.05f, 1e-3f);
            CHECK_MSG(missing == 0, "image %d: %d detections differ", i, missing);
            rcnn_results_destroy(single);
        }
        rcnn_results_destroy(batch);
    }
    tear_down(&f);
}

void device_check_one_wait_a_run_and_no_allocation(const device_bed *bed)
{
    fixture f;
    const rcnn_session_options options = options_for(bed);
    if (set_up(&f, bed, &options)) {
        rcnn_session_counters before, after;
        rcnn_error err = {0};
        rcnn_results *results = NULL;
        for (int warm = 0; warm < RCNN_SESSION_IN_FLIGHT; warm++) { /* every slot once */
            CHECK_OK(rcnn_session_run(f.session, f.view, 1, &results, &err), err);
        }
        rcnn_session_get_counters(f.session, &before);
        for (int i = 0; i < 5; i++) {
            CHECK_OK(rcnn_session_run(f.session, f.view, 1, &results, &err), err);
        }
        rcnn_session_get_counters(f.session, &after);
        CHECK_MSG(after.host_syncs - before.host_syncs == 5, "%d waits in 5 runs",
                  (int)(after.host_syncs - before.host_syncs));
        CHECK_MSG(after.device_allocations == before.device_allocations, "%d allocations of device memory",
                  (int)(after.device_allocations - before.device_allocations));
        CHECK_MSG(after.host_allocations == before.host_allocations, "%d allocations of page-locked memory",
                  (int)(after.host_allocations - before.host_allocations));
        CHECK(after.device_bytes == before.device_bytes && after.device_bytes > 0);
        CHECK(after.plans_made == 1 && after.plans_evicted == 0);
        rcnn_results_destroy(results);
    }
    tear_down(&f);
}

void device_check_collected_in_order(const device_bed *bed)
{
    fixture f;
    const rcnn_session_options options = options_for(bed);
    if (set_up(&f, bed, &options)) {
        rcnn_error err = {0};
        rcnn_results *results = NULL;
        rcnn_results *want[PICTURES_MAX] = {0};
        CHECK(rcnn_session_collect(f.session, &results, &err) == RCNN_ERR_NOT_FOUND);
        for (int32_t i = 0; i < f.picture_count; i++) {
            want[i] = run(f.session, &f.view[i], 1);
        }
        int32_t submitted = 0, collected = 0;
        while (collected < 4 * f.picture_count) { /* the picture is the number's rest */
            while (submitted < 4 * f.picture_count && rcnn_session_pending(f.session) < RCNN_SESSION_IN_FLIGHT) {
                CHECK_OK(rcnn_session_submit(f.session, &f.view[submitted % f.picture_count], 1, &err), err);
                submitted++;
            }
            if (rcnn_session_pending(f.session) == RCNN_SESSION_IN_FLIGHT) {
                CHECK(rcnn_session_submit(f.session, f.view, 1, &err) == RCNN_ERR_LIMIT);
                CHECK(rcnn_session_run(f.session, f.view, 1, &results, &err) == RCNN_ERR_ARGUMENT);
                results = NULL;
            }
            rcnn_status status = rcnn_session_collect(f.session, &results, &err);
            CHECK_MSG(status == RCNN_OK, "%s", err.message);
            if (status != RCNN_OK) {
                break;
            }
            CHECK_MSG(same_image(results, 0, want[collected % f.picture_count], 0), "run %d", collected);
            collected++;
        }
        CHECK(rcnn_session_pending(f.session) == 0);
        rcnn_results_destroy(results);
        for (int32_t i = 0; i < f.picture_count; i++) {
            rcnn_results_destroy(want[i]);
        }
    }
    tear_down(&f);
}

/* Ordinary host memory has been copied when submit returns. */
void device_check_submitted_pixels_may_change(const device_bed *bed)
{
    fixture f;
    const rcnn_session_options options = options_for(bed);
    if (set_up(&f, bed, &options)) {
        rcnn_error err = {0};
        rcnn_results *want = run(f.session, f.view, 1), *results = NULL;
        CHECK_OK(rcnn_session_submit(f.session, f.view, 1, &err), err);
        memset(f.pixels[0], 7, f.view[0].stride_bytes * (size_t)f.view[0].height);
        CHECK_OK(rcnn_session_collect(f.session, &results, &err), err);
        CHECK(same_image(results, 0, want, 0));
        rcnn_results_destroy(results);
        rcnn_results_destroy(want);
    }
    tear_down(&f);
}

typedef enum place { PLACE_PAGE_LOCKED, PLACE_DEVICE, PLACE_COUNT } place;

static void *place_pixels(place where, const void *pixels, size_t bytes)
{
    void *memory = NULL;
    CHECK((where == PLACE_DEVICE ? cudaMalloc(&memory, bytes) : cudaHostAlloc(&memory, bytes, cudaHostAllocDefault)) ==
          cudaSuccess);
    CHECK(memory && cudaMemcpy(memory, pixels, bytes, cudaMemcpyDefault) == cudaSuccess);
    CHECK(cudaStreamSynchronize(NULL) == cudaSuccess); /* the copy returns once the pixels are on their way */
    return memory;
}

static void free_pixels(place where, void *memory)
{
    CHECK((where == PLACE_DEVICE ? cudaFree(memory) : cudaFreeHost(memory)) == cudaSuccess);
}

/* With rows of their own pitch and an address that is no multiple of anything. */
void device_check_device_and_page_locked_pixels(const device_bed *bed)
{
    fixture f;
    const rcnn_session_options options = options_for(bed);
    if (set_up(&f, bed, &options)) {
        rcnn_results *want = run(f.session, f.view, 1);
        const rcnn_image_view plain = f.view[0];
        for (int padding = 0; padding <= 5; padding += 5) {
            const size_t stride = plain.stride_bytes + (size_t)padding;
            const size_t bytes = (size_t)padding + stride * (size_t)plain.height;
            uint8_t *copy = calloc(1, bytes);
            for (int32_t y = 0; copy && y < plain.height; y++) {
                memcpy(copy + (size_t)padding + (size_t)y * stride, plain.data + (size_t)y * plain.stride_bytes,
                       plain.stride_bytes);
            }
            for (int where = 0; where < PLACE_COUNT; where++) {
                uint8_t *memory = place_pixels((place)where, copy, bytes);
                rcnn_image_view view = plain;
                view.data = memory + padding;
                view.stride_bytes = stride;
                rcnn_results *results = run(f.session, &view, 1);
                CHECK_MSG(same_image(results, 0, want, 0), "%s memory, %d bytes of padding",
                          where == PLACE_DEVICE ? "device" : "page-locked", padding);
                rcnn_results_destroy(results);
                free_pixels((place)where, memory);
            }
            free(copy);
        }
        rcnn_results_destroy(want);
    }
    tear_down(&f);
}

static void *to_host(const void *device, size_t bytes)
{
    void *host = malloc(bytes + 1);
    CHECK(host && device && cudaMemcpy(host, device, bytes, cudaMemcpyDefault) == cudaSuccess);
    return host;
}

static void compare_on_device(const rcnn_device_results *d, rcnn_results *results)
{
    const size_t lists = (size_t)d->images * (size_t)d->capacity, pixels = (size_t)d->side * (size_t)d->side;
    float *boxes = to_host(d->boxes, lists * 16), *scores = to_host(d->scores, lists * 4);
    int32_t *labels = to_host(d->labels, lists * 4), *counts = to_host(d->counts, (size_t)d->images * 4);
    float *masks = to_host(d->masks, lists * pixels * sizeof(float));
    size_t row = 0;
    for (int32_t n = 0; n < d->images; n++) {
        CHECK(counts[n] == rcnn_results_count(results, n));
        for (int32_t i = 0; i < counts[n]; i++, row++) {
            const size_t at = (size_t)n * (size_t)d->capacity + (size_t)i;
            rcnn_detection found;
            rcnn_mask mask;
            rcnn_error err = {0};
            CHECK(rcnn_results_get(results, n, i, &found) == RCNN_OK);
            CHECK_OK(rcnn_results_get_mask(results, n, i, RCNN_MASK_RAW, &mask, &err), err);
            CHECK(found.x1 == boxes[4 * at] && found.y1 == boxes[4 * at + 1] && found.x2 == boxes[4 * at + 2] &&
                  found.y2 == boxes[4 * at + 3]);
            CHECK(found.score == scores[at] && found.label == labels[at]);
            CHECK(mask.width == d->side && memcmp(mask.raw, masks + row * pixels, pixels * sizeof(float)) == 0);
        }
    }
    free(boxes);
    free(scores);
    free(labels);
    free(counts);
    free(masks);
}

void device_check_results_on_the_device(const device_bed *bed)
{
    fixture f;
    rcnn_session_options options = options_for(bed);
    options.max_batch = 2;
    if (set_up(&f, bed, &options)) {
        rcnn_error err = {0};
        rcnn_device_results device;
        CHECK(rcnn_session_device_results(f.session, &device, &err) == RCNN_ERR_NOT_FOUND);
        rcnn_results *results = run(f.session, f.view, 2);
        CHECK_OK(rcnn_session_device_results(f.session, &device, &err), err);
        if (results && device.counts) {
            CHECK(device.images == 2 && device.capacity == options.max_detections);
            compare_on_device(&device, results);
        }
        rcnn_results_destroy(results);
    }
    tear_down(&f);
}

void device_check_evicted_plans_come_back(const device_bed *bed)
{
    fixture f;
    rcnn_session_options options = options_for(bed);
    rcnn_session_counters counters;
    options.max_plans = 1;
    if (set_up(&f, bed, &options)) {
        rcnn_results *first[PICTURES_MAX] = {0};
        for (int round = 0; round < 2; round++) {
            for (int32_t i = 0; i < f.picture_count; i++) {
                rcnn_results *results = run(f.session, &f.view[i], 1);
                if (round == 0) {
                    first[i] = results;
                    continue;
                }
                CHECK_MSG(same_image(results, 0, first[i], 0), "image %d", i);
                rcnn_results_destroy(results);
            }
        }
        rcnn_session_get_counters(f.session, &counters);
        CHECK_MSG(counters.plans_evicted >= 2, "%d plans evicted", (int)counters.plans_evicted);
        for (int32_t i = 0; i < f.picture_count; i++) {
            rcnn_results_destroy(first[i]);
        }
    }
    tear_down(&f);
}

/* One model and picture: the device's form of every mask against the one made by the CPU from the same raw masks. */
static void compare_forms(const device_bed *bed, const rcnn_model *model, const char *name, const rcnn_image_view *view)
{
    static const rcnn_mask_format FORMS[] = {RCNN_MASK_CROP, RCNN_MASK_RLE, RCNN_MASK_POLYGON, RCNN_MASK_FULL};
    rcnn_session_options options = options_for(bed);
    rcnn_session *raw_session = open_session(bed, model, &options);
    rcnn_results *raw = raw_session ? run(raw_session, view, 1) : NULL;
    CHECK_MSG(found_something(raw), "%s finds nothing", name);
    for (size_t k = 0; raw && k < sizeof FORMS / sizeof *FORMS; k++) {
        options.mask_format = FORMS[k];
        rcnn_session *session = open_session(bed, model, &options);
        rcnn_results *results = session ? run(session, view, 1) : NULL;
        CHECK(same_image(results, 0, raw, 0));
        for (int32_t i = 0; results && i < rcnn_results_count(results, 0); i++) {
            CHECK_MSG(same_mask(results, 0, raw, 0, i, FORMS[k]), "%s, %dx%d: form %d of mask %d", name, view->width,
                      view->height, (int)FORMS[k], i);
        }
        rcnn_results_destroy(results);
        rcnn_session_destroy(session);
    }
    rcnn_results_destroy(raw);
    rcnn_session_destroy(raw_session);
}

void device_check_mask_forms_equal_the_cpus(const device_bed *bed)
{
    static const char *const MODELS[] = {"mmdet2/model.pth", "torchvision_v1/model.pth", "detectron2/model.pkl",
                                         "mmdet3_resnext/model.pth"};
    static const int32_t SIZES[][2] = {{150, 90}, {33, 64}, {700, 450}, {1024, 31}};
    const size_t sizes = sizeof SIZES / sizeof *SIZES;
    for (size_t m = 0; m < sizeof MODELS / sizeof *MODELS; m++) {
        char path[512];
        rcnn_error err = {0};
        rcnn_model *model = NULL;
        snprintf(path, sizeof path, RCNN_SOURCE_DIR "/tests/golden/data/%s", MODELS[m]);
        CHECK_OK(rcnn_model_load(path, NULL, &model, &err), err);
        for (size_t s = bed->images > 2 ? 0 : m; model && s < (bed->images > 2 ? sizes : m + 1); s++) {
            rcnn_image_view view;
            uint8_t *pixels = thin_picture(SIZES[s][0], SIZES[s][1], 3 + s, &view);
            compare_forms(bed, model, MODELS[m], &view);
            free(pixels);
        }
        rcnn_model_destroy(model);
    }
}

void device_check_nothing_found(const device_bed *bed)
{
    for (int form = RCNN_MASK_NONE; form <= RCNN_MASK_FULL; form++) {
        fixture f;
        rcnn_session_options options = options_for(bed);
        options.score_threshold = 1;
        options.mask_format = (rcnn_mask_format)form;
        if (set_up(&f, bed, &options)) {
            for (int again = 0; again < 2; again++) {
                memset(f.pixels[0], 0, f.view[0].stride_bytes * (size_t)f.view[0].height);
                rcnn_results *results = run(f.session, f.view, 2);
                CHECK(results && rcnn_results_image_count(results) == 2 && rcnn_results_count(results, 0) == 0 &&
                      rcnn_results_count(results, 1) == 0);
                rcnn_results_destroy(results);
            }
        }
        tear_down(&f);
    }
}

static void check_times(const rcnn_session *session, const rcnn_results *results, bool of_kernels)
{
    for (int32_t s = 0; s < rcnn_stage_count(); s++) {
        CHECK_MSG(rcnn_results_stage_ms(results, s) >= 0, "stage %s", rcnn_stage_name(s));
    }
    CHECK(rcnn_results_stage_ms(results, -1) > 0);
    const rcnn_plan *plan = session->current;
    CHECK(plan && rcnn_session_step_count(session) == (of_kernels ? plan->step_count : 0));
    for (int32_t i = 0; i < rcnn_session_step_count(session); i++) {
        rcnn_step_time step;
        CHECK(rcnn_session_step_get(session, i, &step) == RCNN_OK);
        CHECK_MSG(step.ms >= 0 && step.begin_ms >= 0 && step.gbyte > 0 && step.ops == plan->steps[i].count &&
                      strcmp(step.stage, rcnn_stage_name((int32_t)plan->steps[i].stage)) == 0,
                  "kernel %s of %s", step.name, step.stage);
    }
}

/* Timing stage by stage or kernel by kernel changes no result. */
void device_check_staged_runs(const device_bed *bed)
{
    fixture f;
    rcnn_session_options options = options_for(bed);
    if (set_up(&f, bed, &options)) {
        rcnn_results *want = run(f.session, f.view, 1);
        for (options.staged = 1; options.staged <= 2; options.staged++) {
            rcnn_session *staged = open_session(bed, f.model, &options);
            for (int again = 0; staged && again < 2; again++) {
                rcnn_results *results = run(staged, f.view, 1);
                CHECK(same_image(results, 0, want, 0));
                check_times(staged, results, options.staged == 2);
                rcnn_results_destroy(results);
            }
            rcnn_session_destroy(staged);
        }
        rcnn_results_destroy(want);
    }
    tear_down(&f);
}

/* The thin model resizes bytes as OpenCV does: the device and the CPU give the same image bit for bit. */
void device_check_host_preprocessing(const device_bed *bed)
{
    fixture f;
    rcnn_session_options options = options_for(bed);
    options.max_batch = 2;
    if (set_up(&f, bed, &options)) {
        options.host_preprocess = 1;
        rcnn_session *host = open_session(bed, f.model, &options);
        rcnn_results *want = run(f.session, f.view, 2);
        rcnn_results *results = host ? run(host, f.view, 2) : NULL;
        CHECK(same_image(results, 0, want, 0));
        CHECK(same_image(results, 1, want, 1));
        rcnn_results_destroy(results);
        rcnn_results_destroy(want);
        rcnn_session_destroy(host);
    }
    tear_down(&f);
}
