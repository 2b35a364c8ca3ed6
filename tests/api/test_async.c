/* Sessions on a backend with memory of its own: the same promises as on the others, and those of submit and collect,
 * recordings, room for plans and failures on the way. The device is tests/api/fake_device.c, which computes with ref, so
 * that every result must have ref's bits, and which notes what a real device would punish. */
#include "base/memory.h"
#include "fake_device.h"
#include "session/session.h"
#include "thin.h"

#define NO_IMAGE_WIDTH 0

static const rcnn_mask_format FORMATS[] = {RCNN_MASK_NONE, RCNN_MASK_RAW,     RCNN_MASK_CROP,
                                           RCNN_MASK_RLE,  RCNN_MASK_POLYGON, RCNN_MASK_FULL};
#define FORMAT_COUNT (int32_t)(sizeof FORMATS / sizeof FORMATS[0])

/* ------------------------------------------------------------------- support */

static rcnn_session_options small_options(void)
{
    rcnn_session_options options = thin_options("ref");
    options.long_side = 96;
    options.short_side = 64;
    options.num_threads = 1;
    options.max_detections = 20;
    return options;
}

static void begin(void)
{
    fake = (fake_control){0};
}

/* Nothing left behind and nothing done that a real device would punish. */
static void end(void)
{
    CHECK_MSG(!fake.misuse[0], "%s", fake.misuse);
    CHECK_MSG(!fake.open_devices && !fake.live_kernels && !fake.live_recordings && !fake.live_blocks,
              "left: %d devices, %d kernels, %d recordings, %d blocks", fake.open_devices, fake.live_kernels,
              fake.live_recordings, fake.live_blocks);
}

static rcnn_session *on_fake(const rcnn_model *model, const rcnn_session_options *options)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    CHECK_OK(rcnn_session_create_on(model, options, &fake_device_vt, &session, &err), err);
    return session;
}

static rcnn_session *on_ref(const rcnn_model *model, const rcnn_session_options *options)
{
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    CHECK_OK(rcnn_session_create(model, options, &session, &err), err);
    return session;
}

enum { PICTURES = 7 };

/* Four padded shapes; the last is small. */
static const int32_t SIZES[PICTURES][2] = {{90, 60}, {60, 90}, {90, 60}, {80, 55}, {90, 60}, {64, 64}, {90, 14}};

typedef struct pictures {
    rcnn_image_view view[PICTURES];
    uint8_t *pixels[PICTURES];
} pictures;

static pictures make_pictures(void)
{
    pictures p;
    for (int i = 0; i < PICTURES; i++) {
        p.pixels[i] = thin_picture(SIZES[i][0], SIZES[i][1], 11 + (uint64_t)i, &p.view[i]);
    }
    return p;
}

static void free_pictures(pictures *p)
{
    for (int i = 0; i < PICTURES; i++) {
        free(p->pixels[i]);
    }
}

static rcnn_results *run(rcnn_session *session, const rcnn_image_view *views, int32_t count)
{
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_run(session, views, count, &results, &err), err);
    return results;
}

static int same_mask(const rcnn_mask *a, const rcnn_mask *b)
{
    const size_t area = (size_t)a->width * (size_t)a->height;
    if (a->x != b->x || a->y != b->y || a->width != b->width || a->height != b->height || a->count != b->count) {
        return 0;
    }
    switch (a->format) {
    case RCNN_MASK_RAW:
        return memcmp(a->raw, b->raw, area * sizeof *a->raw) == 0;
    case RCNN_MASK_RLE:
        return memcmp(a->counts, b->counts, (size_t)a->count * sizeof *a->counts) == 0;
    case RCNN_MASK_POLYGON: {
        const int32_t points = a->count ? a->ring_ends[a->count - 1] : 0;
        return memcmp(a->ring_ends, b->ring_ends, (size_t)a->count * sizeof *a->ring_ends) == 0 &&
               memcmp(a->points, b->points, 2 * (size_t)points * sizeof *a->points) == 0;
    }
    default:
        return area == 0 || memcmp(a->bitmap, b->bitmap, area) == 0;
    }
}

/* Same detections and masks, in `format` and, to see that others can be made too, in all. */
static int same_in(rcnn_results *a, int32_t image_a, rcnn_results *b, int32_t image_b, rcnn_mask_format format)
{
    if (!a || !b || !same_results(a, image_a, b, image_b)) {
        return 0;
    }
    for (int32_t f = 1; f < FORMAT_COUNT && format != RCNN_MASK_NONE; f++) {
        const rcnn_mask_format wanted = f == 1 ? format : FORMATS[f]; /* the session's own first */
        for (int32_t i = 0; i < rcnn_results_count(a, image_a); i++) {
            rcnn_mask x, y;
            if (rcnn_results_get_mask(a, image_a, i, wanted, &x, NULL) != RCNN_OK ||
                rcnn_results_get_mask(b, image_b, i, wanted, &y, NULL) != RCNN_OK || !same_mask(&x, &y)) {
                return 0;
            }
        }
    }
    return 1;
}

/* ------------------------------------------------------------------- results */

static void check_like_ref(const char *file, rcnn_mask_format format, int32_t unmade)
{
    rcnn_error err = {0};
    rcnn_model *model = NULL;
    char path[512];
    snprintf(path, sizeof path, RCNN_SOURCE_DIR "/tests/golden/data/%s/model.pth", file);
    CHECK_OK(rcnn_model_load(path, NULL, &model, &err), err);
    REQUIRE(model);
    begin();
    fake.unmade_forms = unmade;
    pictures p = make_pictures();
    rcnn_session_options o = small_options();
    o.mask_format = format;
    o.max_batch = 2;
    rcnn_session *device = on_fake(model, &o), *ref = on_ref(model, &o);
    rcnn_results *got = run(device, p.view, PICTURES), *want = run(ref, p.view, PICTURES);
    int32_t found = 0;
    for (int32_t i = 0; i < PICTURES; i++) {
        found += rcnn_results_count(want, i);
        CHECK_MSG(same_in(got, i, want, i, format), "%s, format %d, image %d: %d and %d detections", file, (int)format,
                  i, rcnn_results_count(got, i), rcnn_results_count(want, i));
    }
    CHECK_MSG(found > 20, "%d detections test little", found);
    rcnn_results_destroy(got);
    rcnn_results_destroy(want);
    rcnn_session_destroy(device);
    rcnn_session_destroy(ref);
    rcnn_model_destroy(model);
    free_pictures(&p);
    end();
}

TEST(every_mask_format_equals_ref)
{
    for (int32_t f = 0; f < FORMAT_COUNT; f++) {
        check_like_ref("mmdet2", FORMATS[f], 0); /* pastes to rounded boxes */
    }
    check_like_ref("torchvision_v1", RCNN_MASK_RLE, 0); /* pastes by the other rule */
    check_like_ref("torchvision_v1", RCNN_MASK_FULL, 0);
}

TEST(masks_without_room_on_the_device_are_made_here)
{
    check_like_ref("mmdet2", RCNN_MASK_RLE, 3);
    check_like_ref("mmdet2", RCNN_MASK_CROP, 3);
    check_like_ref("torchvision_v1", RCNN_MASK_RLE, 1);
    check_like_ref("torchvision_v1", RCNN_MASK_POLYGON, 1);
}

TEST(results_outlive_the_device)
{
    begin();
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    rcnn_session_options o = small_options();
    o.mask_format = RCNN_MASK_RLE;
    rcnn_session *device = on_fake(model, &o), *ref = on_ref(model, &o);
    rcnn_results *got = run(device, p.view, 1), *want = run(ref, p.view, 1);
    rcnn_session_destroy(device);
    rcnn_session_destroy(ref);
    rcnn_model_destroy(model);
    free_pictures(&p);
    CHECK(same_in(got, 0, want, 0, RCNN_MASK_RLE));
    rcnn_results_destroy(got);
    rcnn_results_destroy(want);
    end();
}

TEST(no_images_and_no_detections)
{
    begin();
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    for (int32_t f = 0; f < FORMAT_COUNT; f++) {
        rcnn_session_options o = small_options();
        o.mask_format = FORMATS[f];
        o.score_threshold = 1;
        rcnn_session *device = on_fake(model, &o);
        rcnn_results *results = run(device, p.view, 0);
        CHECK(rcnn_results_image_count(results) == 0);
        rcnn_results_destroy(results);
        results = run(device, p.view, PICTURES);
        CHECK(rcnn_results_image_count(results) == PICTURES && rcnn_results_count(results, 3) == 0);
        rcnn_results_destroy(results);
        rcnn_session_destroy(device);
    }
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

/* ------------------------------------------------------------ one wait a batch */

TEST(a_batch_costs_one_wait_and_later_ones_no_memory)
{
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    for (int32_t f = 0; f < FORMAT_COUNT; f++) {
        begin();
        rcnn_session_options o = small_options();
        o.mask_format = FORMATS[f];
        rcnn_session *device = on_fake(model, &o);
        rcnn_error err = {0};
        rcnn_results *results = run(device, p.view, PICTURES);
        CHECK_OK(rcnn_session_run(device, p.view, PICTURES, &results, &err), err);
        rcnn_session_counters before, after;
        rcnn_session_get_counters(device, &before);
        const uint64_t own = rcnn_memory_allocation_count(), direct = fake.direct_enqueues;
        CHECK_OK(rcnn_session_run(device, p.view, PICTURES, &results, &err), err);
        CHECK_MSG(rcnn_memory_allocation_count() == own, "format %d: %llu allocations", (int)FORMATS[f],
                  (unsigned long long)(rcnn_memory_allocation_count() - own));
        rcnn_session_get_counters(device, &after);
        CHECK(after.host_syncs - before.host_syncs == PICTURES && fake.syncs == 0);
        CHECK(after.device_allocations == before.device_allocations && after.device_bytes == before.device_bytes);
        CHECK(after.plans_made == before.plans_made && fake.direct_enqueues == direct);
        rcnn_results_destroy(results);
        rcnn_session_destroy(device);
        end();
    }
    free_pictures(&p);
    rcnn_model_destroy(model);
}

/* ------------------------------------------------------------ submit, collect */

static void check_flights(rcnn_session *session, const rcnn_model *model, const rcnn_session_options *o)
{
    rcnn_error err = {0};
    rcnn_session *ref = on_ref(model, o);
    pictures p = make_pictures();
    rcnn_results *want = run(ref, p.view, PICTURES), *got = NULL;
    int32_t sent = 0, back = 0;
    while (back < PICTURES) {
        if (sent < PICTURES && rcnn_session_pending(session) < RCNN_SESSION_IN_FLIGHT) {
            uint8_t *copy = NULL; /* gone as soon as submit returns */
            rcnn_image_view view = p.view[sent];
            const size_t bytes = view.stride_bytes * (size_t)view.height;
            copy = malloc(bytes);
            memcpy(copy, view.data, bytes);
            view.data = copy;
            CHECK_OK(rcnn_session_submit(session, &view, 1, &err), err);
            memset(copy, 0x5a, bytes);
            free(copy);
            sent++;
            continue;
        }
        CHECK_OK(rcnn_session_collect(session, &got, &err), err);
        CHECK_MSG(rcnn_results_image_count(got) == 1 && same_in(got, 0, want, back, o->mask_format), "image %d", back);
        CHECK(rcnn_results_stage_ms(got, -1) > 0);
        back++;
    }
    CHECK(rcnn_session_pending(session) == 0);
    rcnn_results_destroy(got);
    rcnn_results_destroy(want);
    rcnn_session_destroy(ref);
    free_pictures(&p);
}

TEST(submit_and_collect_keep_order_and_copy_pixels)
{
    rcnn_model *model = thin_model();
    rcnn_session_options o = small_options();
    o.mask_format = RCNN_MASK_RLE;
    begin();
    rcnn_session *device = on_fake(model, &o);
    check_flights(device, model, &o);
    check_flights(device, model, &o); /* with all plans made: three runs really are under way */
    CHECK(fake.waits == 2 * PICTURES + fake.warm_ups && fake.syncs == 0);
    rcnn_session_destroy(device);
    end();
    rcnn_session *ref = on_ref(model, &o);
    check_flights(ref, model, &o);
    rcnn_session_destroy(ref);
    rcnn_model_destroy(model);
}

TEST(runs_really_are_under_way)
{
    begin();
    rcnn_model *model = thin_model();
    rcnn_session_options o = small_options();
    rcnn_session *device = on_fake(model, &o);
    pictures p = make_pictures();
    rcnn_error err = {0};
    rcnn_results_destroy(run(device, p.view, 1));
    const uint64_t kernels = fake.kernels_run, waits = fake.waits;
    for (int i = 0; i < RCNN_SESSION_IN_FLIGHT; i++) {
        CHECK_OK(rcnn_session_submit(device, p.view, 1, &err), err);
    }
    CHECK(fake.kernels_run == kernels && fake.waits == waits && rcnn_session_pending(device) == RCNN_SESSION_IN_FLIGHT);
    rcnn_session_destroy(device); /* with all of them pending */
    CHECK(fake.syncs == 1);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

static void check_flight_limits(rcnn_session *session, const pictures *p)
{
    rcnn_error err = {0};
    rcnn_results *results = NULL;
    CHECK(rcnn_session_collect(session, &results, &err) == RCNN_ERR_NOT_FOUND && !results);
    CHECK(rcnn_session_collect(session, NULL, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_session_submit(session, p->view, 2, &err) == RCNN_ERR_ARGUMENT); /* max_batch is 1 */
    CHECK(rcnn_session_submit(session, NULL, 1, &err) == RCNN_ERR_ARGUMENT);
    CHECK_OK(rcnn_session_submit(session, p->view, 0, &err), err);
    CHECK_OK(rcnn_session_submit(session, p->view, 1, &err), err);
    CHECK_OK(rcnn_session_submit(session, p->view + 1, 1, &err), err);
    CHECK(rcnn_session_submit(session, p->view, 1, &err) == RCNN_ERR_LIMIT);
    CHECK(rcnn_session_run(session, p->view, 1, &results, &err) == RCNN_ERR_ARGUMENT && !results);
    size_t size;
    CHECK(rcnn_session_read_value(session, "masks", NULL, 0, &size, &err) == RCNN_ERR_NOT_FOUND);
    for (int i = 0; i < 3; i++) {
        CHECK(rcnn_session_pending(session) == 3 - i);
        CHECK_OK(rcnn_session_collect(session, &results, &err), err);
        CHECK(rcnn_results_image_count(results) == (i > 0));
    }
    CHECK_OK(rcnn_session_run(session, p->view, 2, &results, &err), err);
    CHECK_OK(rcnn_session_read_value(session, "masks", NULL, 0, &size, &err), err);
    rcnn_results_destroy(results);
}

TEST(limits_of_submit_and_collect)
{
    begin();
    rcnn_model *model = thin_model();
    rcnn_session_options o = small_options();
    pictures p = make_pictures();
    rcnn_session *device = on_fake(model, &o), *ref = on_ref(model, &o);
    check_flight_limits(device, &p);
    check_flight_limits(ref, &p);
    rcnn_error err = {0};
    rcnn_results *none = NULL;
    CHECK(rcnn_session_submit(NULL, p.view, 1, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_session_collect(NULL, &none, &err) == RCNN_ERR_ARGUMENT && !none);
    CHECK(rcnn_session_pending(NULL) == 0);
    rcnn_session_destroy(device);
    rcnn_session_destroy(ref);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

/* The device notes a fault in the second of three runs: that one fails, wherever it landed, its neighbours do not. */
static void check_fault(const rcnn_model *model, const pictures *p, int32_t third)
{
    begin();
    rcnn_session_options o = small_options();
    rcnn_session *device = on_fake(model, &o);
    rcnn_session *ref = on_ref(model, &o);
    rcnn_results *want = run(ref, p->view, PICTURES), *got = NULL;
    rcnn_error err = {0};
    rcnn_results_destroy(run(device, p->view, 4)); /* the shapes of 0, 1 and 3 are known, that of 6 is not */
    const int32_t order[3] = {0, 3, third};
    fake.fault_at_width = SIZES[3][0];
    for (int i = 0; i < 3; i++) {
        CHECK_OK(rcnn_session_submit(device, &p->view[order[i]], 1, &err), err);
    }
    for (int i = 0; i < 3; i++) {
        const rcnn_status status = rcnn_session_collect(device, &got, &err);
        CHECK(status == (i == 1 ? RCNN_ERR_NUMERIC : RCNN_OK) && (got != NULL) == (i != 1));
        CHECK(i == 1 ? strstr(err.message, "fake") != NULL : same_results(got, 0, want, order[i]));
    }
    rcnn_results_destroy(got);
    got = NULL;
    CHECK(rcnn_session_run(device, p->view, PICTURES, &got, &err) == RCNN_ERR_NUMERIC && !got);
    fake.fault_at_width = NO_IMAGE_WIDTH;
    got = run(device, p->view, PICTURES);
    CHECK(same_in(got, 3, want, 3, RCNN_MASK_RAW));
    rcnn_results_destroy(got);
    rcnn_results_destroy(want);
    rcnn_session_destroy(device);
    rcnn_session_destroy(ref);
    end();
}

TEST(a_fault_fails_its_own_run)
{
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    check_fault(model, &p, 1);
    check_fault(model, &p, 6); /* a new shape: the two before it land early */
    free_pictures(&p);
    rcnn_model_destroy(model);
}

/* --------------------------------------------------------------- plans, memory */

TEST(recordings_are_made_once_and_again_when_memory_moves)
{
    begin();
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    rcnn_session_options o = small_options();
    rcnn_session *device = on_fake(model, &o), *ref = on_ref(model, &o);
    const int32_t order[] = {6, 6, 0, 6, 0, 6, 1, 0, 6}; /* 6 is small: 0 makes memory grow, 1 is as large as 0 */
    const uint64_t recordings[] = {1, 1, 2, 3, 3, 3, 4, 4, 4};
    const uint64_t warm_ups[] = {1, 1, 2, 2, 2, 2, 3, 3, 3}; /* once a plan */
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        rcnn_results *got = run(device, &p.view[order[i]], 1), *want = run(ref, &p.view[order[i]], 1);
        CHECK_MSG(same_results(got, 0, want, 0), "run %zu", i);
        CHECK_MSG(fake.recordings == recordings[i] && fake.replays == i + 1, "run %zu: %llu recordings", i,
                  (unsigned long long)fake.recordings);
        CHECK(fake.warm_ups == warm_ups[i]);
        rcnn_results_destroy(got);
        rcnn_results_destroy(want);
    }
    rcnn_session_destroy(device);
    rcnn_session_destroy(ref);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

static uint64_t evicted(const rcnn_session *session)
{
    rcnn_session_counters counters;
    rcnn_session_get_counters(session, &counters);
    return counters.plans_evicted;
}

TEST(the_least_recently_used_plan_makes_room)
{
    begin();
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    rcnn_session_options o = small_options();
    o.max_plans = 2;
    rcnn_session *device = on_fake(model, &o);
    const int32_t order[] = {0, 1, 0, 6, 0, 1, 6};
    const uint64_t after[] = {0, 0, 0, 1, 1, 2, 3};
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        rcnn_results_destroy(run(device, &p.view[order[i]], 1));
        CHECK_MSG(evicted(device) == after[i], "run %zu: %llu evicted", i, (unsigned long long)evicted(device));
        CHECK(fake.live_recordings <= 2);
    }
    rcnn_session_destroy(device);
    o.max_plans = 0;
    o.plan_megabytes = 2;
    fake.recording_bytes = 1 << 20; /* two fit */
    device = on_fake(model, &o);
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        rcnn_results_destroy(run(device, &p.view[order[i]], 1));
        CHECK_MSG(evicted(device) == after[i], "run %zu: %llu evicted", i, (unsigned long long)evicted(device));
    }
    rcnn_session_destroy(device);
    fake.recording_bytes = 3 << 20; /* not even one fits: it is kept while it is the only one */
    device = on_fake(model, &o);
    rcnn_results_destroy(run(device, p.view, 1));
    rcnn_results_destroy(run(device, p.view, 1));
    CHECK(evicted(device) == 0);
    rcnn_session_destroy(device);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

/* One plan only, new shapes while runs are under way: all results come, in order. */
TEST(plans_change_under_runs)
{
    begin();
    rcnn_model *model = thin_model();
    rcnn_session_options o = small_options();
    o.max_plans = 1;
    o.mask_format = RCNN_MASK_CROP;
    rcnn_session *device = on_fake(model, &o);
    check_flights(device, model, &o);
    char *json = NULL;
    rcnn_error err = {0};
    pictures p = make_pictures();
    CHECK_OK(rcnn_session_submit(device, p.view, 1, &err), err);
    CHECK_OK(rcnn_session_plan_json(device, 200, 30, &json, &err), err); /* a new plan: the run lands */
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_collect(device, &results, &err), err);
    CHECK(rcnn_results_count(results, 0) > 0);
    rcnn_results_destroy(results);
    rcnn_free(json);
    rcnn_session_destroy(device);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

/* --------------------------------------------------------------- other options */

TEST(kept_values_can_be_read)
{
    begin();
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    rcnn_session_options o = small_options();
    o.keep_values = 1;
    rcnn_session *device = on_fake(model, &o), *ref = on_ref(model, &o);
    rcnn_results_destroy(run(device, p.view, 1));
    rcnn_results_destroy(run(ref, p.view, 1));
    CHECK(fake.recordings == 0 && fake.direct_enqueues > 0);
    const char *const names[] = {"image", "c2", "p6", "proposals", "det_boxes", "masks"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t size[2];
        rcnn_error err = {0};
        CHECK_OK(rcnn_session_read_value(device, names[i], NULL, 0, &size[0], &err), err);
        CHECK_OK(rcnn_session_read_value(ref, names[i], NULL, 0, &size[1], &err), err);
        CHECK(size[0] == size[1] && size[0] > 0);
        void *got = calloc(1, size[0]), *want = calloc(1, size[0]);
        CHECK_OK(rcnn_session_read_value(device, names[i], got, size[0], &size[0], &err), err);
        CHECK_OK(rcnn_session_read_value(ref, names[i], want, size[0], &size[1], &err), err);
        CHECK_MSG(strcmp(names[i], "image") || memcmp(got, want, size[0]) == 0, "%s", names[i]);
        free(got);
        free(want);
    }
    rcnn_session_destroy(device);
    rcnn_session_destroy(ref);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

TEST(preprocessing_on_the_host)
{
    begin();
    rcnn_model *model = thin_model();
    rcnn_session_options o = small_options();
    o.host_preprocess = 1;
    o.mask_format = RCNN_MASK_RLE;
    rcnn_session *device = on_fake(model, &o);
    check_flights(device, model, &o); /* every backend preprocesses to the same bits */
    pictures p = make_pictures();
    rcnn_results *results = run(device, p.view, PICTURES);
    CHECK(rcnn_results_stage_ms(results, RCNN_STAGE_preprocess) > 0);
    CHECK(rcnn_results_stage_ms(results, RCNN_STAGE_backbone) == 0);
    CHECK(rcnn_results_stage_ms(results, RCNN_STAGE_upload) == 0 &&
          rcnn_results_stage_ms(results, RCNN_STAGE_download) > 0);
    rcnn_results_destroy(results);
    rcnn_session_destroy(device);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

TEST(time_of_stages)
{
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    for (int32_t keep = 0; keep < 2; keep++) {
        begin();
        rcnn_session_options o = small_options();
        o.staged = 1;
        o.keep_values = keep;
        rcnn_session *device = on_fake(model, &o);
        rcnn_results *results = run(device, p.view, 3);
        const rcnn_plan *plan = device->current;
        double want[RCNN_STAGE_COUNT] = {0}; /* the fake's clock counts kernels */
        for (int32_t i = 0; plan && i < plan->step_count; i++) {
            want[plan->steps[i].stage] += 3;
        }
        for (int32_t s = 0; s < RCNN_STAGE_postprocess; s++) {
            CHECK_MSG(rcnn_results_stage_ms(results, s) == want[s], "stage %d: %g, want %g", s,
                      rcnn_results_stage_ms(results, s), want[s]);
        }
        rcnn_results_destroy(results);
        check_flights(device, model, &o);
        rcnn_session_destroy(device);
        end();
    }
    free_pictures(&p);
    rcnn_model_destroy(model);
}

/* One kernel of the plan as the last run timed it: the fake's clock counts kernels. */
static void check_step(const rcnn_session *device, int32_t index, const rcnn_live_rows live[2])
{
    const rcnn_plan *plan = device->current;
    const rcnn_plan_step *step = &plan->steps[index];
    const rcnn_cost cost = rcnn_graph_cost(&plan->graph, step->first, step->count, live, 2);
    rcnn_step_time got;
    CHECK(rcnn_session_step_get(device, index, &got) == RCNN_OK);
    CHECK_MSG(got.ms == 1 && got.begin_ms == index && got.ops == step->count, "%s: %g ms from %g on, %d ops", got.name,
              got.ms, got.begin_ms, got.ops);
    const char *first = plan->graph.ops[step->first].name;
    CHECK_MSG(strncmp(got.name, first, strlen(first)) == 0 &&
                  strcmp(got.stage, rcnn_stage_name((int32_t)step->stage)) == 0,
              "%s of %s", got.name, got.stage);
    CHECK_MSG(got.gflop == cost.flop * 1e-9 && got.gbyte == cost.bytes * 1e-9, "%s: %g GFLOP, %g GB", got.name,
              got.gflop, got.gbyte);
}

TEST(time_of_kernels)
{
    begin();
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    rcnn_session_options o = small_options();
    o.staged = 2;
    o.max_detections = 100;
    rcnn_session *device = on_fake(model, &o);
    rcnn_results *results = run(device, p.view, 3);
    const rcnn_plan *plan = device->current;
    REQUIRE(plan && plan->recording);
    CHECK(rcnn_session_step_count(device) == plan->step_count && plan->step_count < plan->graph.op_count);
    const rcnn_value_id proposals = rcnn_graph_find(&plan->graph, "proposal_counts");
    int32_t found = 0;
    size_t size;
    rcnn_error err = {0};
    CHECK_OK(rcnn_session_read_value(device, "proposal_counts", &found, sizeof found, &size, &err), err);
    CHECK(found > 0 && rcnn_results_count(results, 2) > 0 && rcnn_results_count(results, 2) < 100);
    const rcnn_live_rows live[2] = {{plan->delivery.counts, rcnn_results_count(results, 2)}, {proposals, found}};
    for (int32_t i = 0; i < rcnn_session_step_count(device); i++) {
        check_step(device, i, live);
    }
    rcnn_results_destroy(results);
    CHECK_OK(rcnn_session_submit(device, p.view, 1, &err), err);
    CHECK(rcnn_session_step_count(device) == 0);
    results = NULL;
    CHECK_OK(rcnn_session_collect(device, &results, &err), err);
    CHECK(rcnn_session_step_count(device) == plan->step_count);
    fake.fail_at = 1;
    CHECK(rcnn_session_run(device, p.view, 1, &results, &err) == RCNN_ERR_DEVICE);
    CHECK(rcnn_session_step_count(device) == 0);
    check_flights(device, model, &o);
    rcnn_session_destroy(device);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

TEST(results_on_the_device)
{
    begin();
    rcnn_model *model = thin_model();
    pictures p = make_pictures();
    rcnn_session_options o = small_options();
    rcnn_session *device = on_fake(model, &o), *ref = on_ref(model, &o);
    rcnn_device_results where;
    rcnn_error err = {0};
    CHECK(rcnn_session_device_results(device, &where, &err) == RCNN_ERR_NOT_FOUND);
    rcnn_results_destroy(run(device, p.view, 1));
    CHECK_OK(rcnn_session_device_results(device, &where, &err), err);
    CHECK(where.images == 1 && where.capacity == 20 && where.side == 28 && where.boxes && where.masks && where.counts);
    CHECK_OK(rcnn_session_submit(device, p.view, 1, &err), err);
    CHECK(rcnn_session_device_results(device, &where, &err) == RCNN_ERR_NOT_FOUND && !where.boxes);
    rcnn_results *results = NULL;
    CHECK_OK(rcnn_session_collect(device, &results, &err), err);
    CHECK_OK(rcnn_session_device_results(device, &where, &err), err);
    CHECK(rcnn_session_device_results(ref, &where, &err) == RCNN_ERR_UNSUPPORTED);
    CHECK(rcnn_session_device_results(NULL, &where, &err) == RCNN_ERR_ARGUMENT);
    CHECK_OK(rcnn_session_submit(device, p.view, 1, &err), err);
    fake.fail_at = 2; /* staged, but not replayed: the arena is nobody's */
    CHECK(rcnn_session_submit(device, p.view, 1, &err) == RCNN_ERR_DEVICE);
    CHECK_OK(rcnn_session_collect(device, &results, &err), err);
    CHECK(rcnn_session_device_results(device, &where, &err) == RCNN_ERR_NOT_FOUND);
    rcnn_results_destroy(results);
    char *text = NULL;
    CHECK_OK(rcnn_session_choices(device, &text, &err), err);
    CHECK(text && strstr(text, "everything: ref"));
    rcnn_free(text);
    CHECK(rcnn_session_choices(ref, &text, &err) == RCNN_ERR_UNSUPPORTED && !text);
    rcnn_session_destroy(device);
    rcnn_session_destroy(ref);
    free_pictures(&p);
    rcnn_model_destroy(model);
    end();
}

TEST(precisions)
{
    begin();
    rcnn_model *model = thin_model();
    rcnn_session_options o = small_options();
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    o.precision = RCNN_PRECISION_FP16;
    CHECK(rcnn_session_create(model, &o, &session, &err) == RCNN_ERR_UNSUPPORTED && !session);
    CHECK_MSG(strstr(err.message, "ref") && strstr(err.message, "fp32") && strstr(err.message, "fp16"), "%s",
              err.message);
    o.precision = RCNN_PRECISION_FP32;
    session = on_ref(model, &o);
    CHECK(rcnn_session_precision(session) == RCNN_PRECISION_FP32);
    rcnn_session_destroy(session);
    o.precision = RCNN_PRECISION_AUTO;
    fake.precisions = 1u << RCNN_PRECISION_FP32 | 1u << RCNN_PRECISION_FP16;
    fake.automatic = RCNN_PRECISION_FP16;
    session = on_fake(model, &o);
    CHECK(rcnn_session_precision(session) == RCNN_PRECISION_FP16);
    char *json = NULL;
    CHECK_OK(rcnn_session_plan_json(session, 90, 60, &json, &err), err);
    CHECK(json && strstr(json, "\"precision\":\"fp16\"") && strstr(json, "\"dtype\":\"f16\"") &&
          strstr(json, "\"kernels\":[[0,1],[1,1],[2,1],[3,2],") && strstr(json, "\"shape\":[1,64,96,4]"));
    rcnn_free(json);
    rcnn_session_destroy(session);
    o.precision = RCNN_PRECISION_BF16;
    session = NULL;
    CHECK(rcnn_session_create_on(model, &o, &fake_device_vt, &session, &err) == RCNN_ERR_UNSUPPORTED && !session);
    rcnn_model_destroy(model);
    end();
}

/* Features are half floats; what decides about boxes and masks is not. */
TEST(half_precision_graphs)
{
    rcnn_model *model = thin_model();
    rcnn_error err = {0};
    rcnn_graph graph;
    const rcnn_build_options options = {.batch = 2,
                                        .width = 96,
                                        .height = 64,
                                        .max_detections = 10,
                                        .masks = 1,
                                        .precision = RCNN_PRECISION_BF16,
                                        .image_channels = 4};
    rcnn_graph_init(&graph);
    CHECK_OK(rcnn_stages_build(model, &options, &graph, &err), err);
    CHECK(graph.precision == RCNN_PRECISION_BF16);
    for (int32_t i = 0; i < graph.op_count; i++) {
        const rcnn_op *op = &graph.ops[i];
        const rcnn_value *out = &graph.values[op->output[0]];
        bool half = op->kind == RCNN_OP_PREPROCESS || op->kind == RCNN_OP_CONV || op->kind == RCNN_OP_MAXPOOL ||
                    op->kind == RCNN_OP_UPSAMPLE_ADD || op->kind == RCNN_OP_ROI_ALIGN || op->kind == RCNN_OP_FC ||
                    op->kind == RCNN_OP_DECONV;
        half = half && strncmp(out->name, "rpn_pred", 8) != 0 && strcmp(out->name, "box_pred") != 0;
        CHECK_MSG((out->desc.dtype == RCNN_BF16) == half, "%s has element type %d", out->name, (int)out->desc.dtype);
    }
    const rcnn_value *image = &graph.values[rcnn_graph_find(&graph, "image")];
    CHECK(image->desc.dim[3] == 4 && image->bytes == 2u * 64u * 96u * 4u * 2u);
    CHECK(graph.ops[1].kind == RCNN_OP_CONV && graph.ops[1].w.in == 3);
    rcnn_graph_free(&graph);
    rcnn_model_destroy(model);
}

TEST(device_options_are_checked)
{
    begin();
    rcnn_model *model = thin_model();
    rcnn_error err = {0};
    rcnn_session *session = NULL;
    rcnn_session_options bad[6];
    for (int i = 0; i < 6; i++) {
        bad[i] = small_options();
    }
    bad[0].device = -1;
    bad[1].device = 2; /* there are two */
    bad[2].precision = (rcnn_precision)99;
    bad[3].max_plans = -1;
    bad[4].plan_megabytes = -1;
    bad[5].max_plans = 1 << 20;
    for (int i = 0; i < 6; i++) {
        CHECK_MSG(rcnn_session_create_on(model, &bad[i], &fake_device_vt, &session, &err) == RCNN_ERR_ARGUMENT &&
                      !session && err.message[0],
                  "options %d", i);
    }
    rcnn_session_options second = small_options();
    second.device = 1;
    session = on_fake(model, &second);
    rcnn_session_destroy(session);
    CHECK(rcnn_session_create(model, &second, &session, &err) == RCNN_ERR_ARGUMENT && !session);
    rcnn_backend_vt gaps = fake_device_vt;
    gaps.wait = NULL;
    second.device = 0;
    CHECK(rcnn_session_create_on(model, &second, &gaps, &session, &err) == RCNN_ERR_INTERNAL && !session);
    gaps = fake_device_vt;
    gaps.abi++;
    CHECK(rcnn_session_create_on(model, &second, &gaps, &session, &err) == RCNN_ERR_INTERNAL && !session);
    rcnn_model_destroy(model);
    end();
}

/* A device that cannot record enqueues every run. */
TEST(backends_without_recordings)
{
    begin();
    rcnn_model *model = thin_model();
    rcnn_session_options o = small_options();
    rcnn_backend_vt plain = fake_device_vt;
    plain.record_begin = NULL;
    plain.mark = NULL;
    plain.counters = NULL;
    o.staged = 1; /* no marks: no times, but results */
    rcnn_error err = {0};
    rcnn_session *device = NULL;
    CHECK_OK(rcnn_session_create_on(model, &o, &plain, &device, &err), err);
    check_flights(device, model, &o);
    CHECK(fake.recordings == 0 && fake.direct_enqueues > 0);
    rcnn_session_destroy(device);
    rcnn_model_destroy(model);
    end();
}

static uint64_t refusals;

static rcnn_status refuse_to_record(rcnn_backend *device, rcnn_error *err)
{
    (void)device;
    refusals++;
    return rcnn_fail(err, RCNN_ERR_UNSUPPORTED, "fake: nothing is recorded today");
}

/* A device that fails to record is asked once a plan. */
TEST(plans_that_cannot_be_recorded)
{
    begin();
    rcnn_model *model = thin_model();
    rcnn_session_options o = small_options();
    rcnn_backend_vt refusing = fake_device_vt;
    refusing.record_begin = refuse_to_record;
    rcnn_error err = {0};
    rcnn_session *device = NULL;
    CHECK_OK(rcnn_session_create_on(model, &o, &refusing, &device, &err), err);
    check_flights(device, model, &o);
    check_flights(device, model, &o);
    CHECK(fake.recordings == 0 && fake.direct_enqueues > 0 && refusals == device->plans_made);
    rcnn_session_destroy(device);
    rcnn_model_destroy(model);
    end();
}

/* -------------------------------------------------------------------- failures */

typedef struct fault_case {
    rcnn_model *model;
    rcnn_session *device;
    pictures p;
} fault_case;

/* Two shapes in several batches, then submits; the status of the first thing that failed. */
static rcnn_status try_everything(fault_case *c, rcnn_error *err)
{
    rcnn_results *results = NULL;
    rcnn_status status = rcnn_session_run(c->device, c->p.view, 3, &results, err);
    CHECK((status == RCNN_OK) == (results != NULL));
    if (status == RCNN_OK) {
        CHECK(rcnn_results_image_count(results) == 3 && rcnn_results_count(results, 2) == 0);
        status = rcnn_session_submit(c->device, &c->p.view[0], 1, err);
    }
    if (status == RCNN_OK) {
        status = rcnn_session_submit(c->device, &c->p.view[6], 1, err); /* a new shape */
    }
    while (rcnn_session_pending(c->device) > 0) { /* also after a failed submit */
        rcnn_error later = {0};
        const rcnn_status collected = rcnn_session_collect(c->device, &results, &later);
        CHECK((collected == RCNN_OK) == (results != NULL));
        if (status == RCNN_OK && collected != RCNN_OK) {
            status = collected;
            *err = later;
        }
    }
    rcnn_results_destroy(results);
    return status;
}

static void set_up_faults(fault_case *c)
{
    *c = (fault_case){.model = thin_model(), .p = make_pictures()};
}

static void tear_down_faults(fault_case *c)
{
    rcnn_model_destroy(c->model);
    free_pictures(&c->p);
}

/* Every call of the device fails once, the nth, in a session's whole life; it goes on working afterwards. */
static void sweep_device(const rcnn_session_options *o)
{
    fault_case c;
    set_up_faults(&c);
    uint64_t failures = 0;
    bool passed = false;
    for (uint64_t n = 1; !passed && n < 3000; n++) {
        begin();
        fake.dry = 1;
        rcnn_error err = {0};
        fake.fail_at = n;
        rcnn_status status = rcnn_session_create_on(c.model, o, &fake_device_vt, &c.device, &err);
        CHECK((status == RCNN_OK) == (c.device != NULL));
        status = status == RCNN_OK ? try_everything(&c, &err) : status;
        passed = fake.fail_at > 0; /* not reached */
        failures += status != RCNN_OK;
        const bool well = passed || fake.unrecorded > 0; /* runs do without a recording */
        CHECK_MSG((status == RCNN_OK) == well && (well || (status == RCNN_ERR_DEVICE && err.message[0])),
                  "call %llu: status %d '%s'", (unsigned long long)n, (int)status, err.message);
        fake.fail_at = 0;
        if (c.device) {
            err = (rcnn_error){0};
            CHECK_OK(try_everything(&c, &err), err);
        }
        rcnn_session_destroy(c.device);
        end();
    }
    CHECK(passed && failures > 100);
    tear_down_faults(&c);
}

TEST(every_call_of_the_device_may_fail)
{
    rcnn_session_options o = small_options();
    o.mask_format = RCNN_MASK_RLE;
    sweep_device(&o);
    o.keep_values = 1;
    o.staged = 1;
    sweep_device(&o);
}

TEST(every_allocation_may_fail)
{
    rcnn_session_options o = small_options();
    o.mask_format = RCNN_MASK_POLYGON;
    o.host_preprocess = 1;
    fault_case c;
    set_up_faults(&c);
    bool passed = false;
    for (uint64_t n = 1; !passed && n < 20000; n++) {
        begin();
        fake.dry = 1;
        rcnn_error err = {0};
        c.device = NULL;
        rcnn_memory_fail_from(n);
        rcnn_status status = rcnn_session_create_on(c.model, &o, &fake_device_vt, &c.device, &err);
        status = status == RCNN_OK ? try_everything(&c, &err) : status;
        rcnn_memory_fail_from(0);
        passed = status == RCNN_OK;
        CHECK_MSG(passed || (status == RCNN_ERR_MEMORY && err.message[0]), "allocation %llu: status %d '%s'",
                  (unsigned long long)n, (int)status, err.message);
        if (c.device) {
            err = (rcnn_error){0};
            CHECK_OK(try_everything(&c, &err), err);
        }
        rcnn_session_destroy(c.device);
        end();
    }
    CHECK(passed);
    tear_down_faults(&c);
}

TEST_MAIN
