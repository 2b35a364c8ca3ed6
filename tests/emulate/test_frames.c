/* The way of a run to the device and back (frame.c, deliver.c and their kernels): pixels from every kind of memory, slots
 * that were abandoned or failed, and results of which exactly the live part arrives. */
#include "backend/cuda/cuda.h"
#include "emulate/emulated.h"
#include "harness.h"

enum { IMAGES = 3, CAPACITY = 5, SIDE = 7 };

static rcnn_backend *open_backend(void)
{
    const rcnn_backend_options options = {.num_threads = 2};
    rcnn_backend *backend = NULL;
    rcnn_error err = {0};
    CHECK_OK(rcnn_emulated_backend()->open(&options, &backend, &err), err);
    return backend;
}

static void close_backend(rcnn_backend *backend)
{
    rcnn_emulated_backend()->close(backend);
}

/* ------------------------------------------------------------- pixels */

typedef enum place { PLACE_PAGEABLE, PLACE_LOCKED, PLACE_DEVICE } place;

/* Random pixels with `slack` bytes after each row; the last row has none, so that reading past it is seen. */
static uint8_t *make_pixels(rcnn_backend *backend, place where, rcnn_image_view *view, rcnn_pixel_format format,
                            int32_t width, int32_t height, size_t slack, uint64_t *seed)
{
    static const size_t PIXEL_BYTES[] = {3, 3, 1, 4, 4};
    rcnn_error err = {0};
    const size_t row = (size_t)width * PIXEL_BYTES[format], bytes = (row + slack) * (size_t)height - slack;
    void *data = NULL;
    if (where == PLACE_PAGEABLE) {
        data = malloc(bytes);
    } else if (where == PLACE_LOCKED) {
        CHECK_OK(rcnn_cuda_alloc_host(backend, bytes, &data, &err), err);
    } else {
        CHECK_OK(rcnn_cuda_alloc(backend, bytes, &data, &err), err);
    }
    uint8_t *pixels = data;
    for (size_t i = 0; i < bytes; i++) {
        pixels[i] = (uint8_t)(test_random(seed) >> 32);
    }
    *view = (rcnn_image_view){
        .data = pixels, .width = width, .height = height, .stride_bytes = row + slack, .format = format};
    return pixels;
}

static void free_pixels(rcnn_backend *backend, place where, uint8_t *pixels)
{
    if (where == PLACE_PAGEABLE) {
        free(pixels);
    } else if (where == PLACE_LOCKED) {
        rcnn_cuda_free_host(backend, pixels);
    } else {
        rcnn_cuda_free(backend, pixels);
    }
}

static void check_staged_image(const rcnn_cuda_frame_image *got, const rcnn_frame_image *want, place where)
{
    static const size_t PIXEL_BYTES[] = {3, 3, 1, 4, 4};
    const size_t row = (size_t)want->view.width * PIXEL_BYTES[want->view.format];
    CHECK(got->width == want->view.width && got->height == want->view.height &&
          got->format == (int32_t)want->view.format);
    CHECK(got->net_width == want->net_width && got->net_height == want->net_height);
    CHECK(got->scale_x == want->scale_x && got->scale_y == want->scale_y && got->ratio_x == want->ratio_x &&
          got->ratio_y == want->ratio_y);
    CHECK((where == PLACE_DEVICE) == (got->data == want->view.data));
    CHECK(got->stride == (int64_t)(where == PLACE_DEVICE ? want->view.stride_bytes : row));
    int wrong = 0;
    for (int32_t y = 0; y < got->height; y++) {
        wrong += memcmp(got->data + (size_t)y * (size_t)got->stride,
                        want->view.data + (size_t)y * want->view.stride_bytes, row) != 0;
    }
    CHECK_MSG(wrong == 0, "%d of %d rows differ", wrong, got->height);
}

static rcnn_frame_image random_image(rcnn_image_view view, uint64_t *seed)
{
    return (rcnn_frame_image){.view = view,
                              .net_width = 1 + (int32_t)(test_random(seed) % 900),
                              .net_height = 1 + (int32_t)(test_random(seed) % 900),
                              .scale_x = test_uniform(seed, 0.1f, 9),
                              .scale_y = test_uniform(seed, 0.1f, 9),
                              .ratio_x = test_uniform(seed, 0.1f, 9),
                              .ratio_y = test_uniform(seed, 0.1f, 9)};
}

/* Sizes from one pixel to several pieces of a staged copy, in every format and kind of memory. */
TEST(pixels_arrive_from_every_kind_of_memory)
{
    uint64_t seed = 3;
    rcnn_error err = {0};
    rcnn_backend *backend = open_backend();
    REQUIRE(backend);
    static rcnn_frame frame;
    static const int32_t SIZES[][2] = {{1, 1}, {7, 5}, {333, 200}, {1333, 800}, {60000, 12}};
    for (int round = 0; round < 10; round++) {
        const int32_t slot = round % RCNN_BACKEND_SLOTS;
        uint8_t *pixels[IMAGES];
        place where[IMAGES];
        frame.count = 1 + round % IMAGES;
        for (int32_t i = 0; i < frame.count; i++) {
            const int32_t *size = SIZES[(round + 2 * i) % 5];
            rcnn_image_view view;
            where[i] = (place)((round / 2 + i) % 3);
            pixels[i] = make_pixels(backend, where[i], &view, (rcnn_pixel_format)((round + i) % 5), size[0], size[1],
                                    round % 2 ? 13 : 0, &seed);
            frame.image[i] = random_image(view, &seed);
        }
        CHECK_OK(rcnn_cuda_stage(backend, slot, &frame, &err), err);
        CHECK(backend->frame->count == frame.count && backend->frame->ready == NULL);
        for (int32_t i = 0; i < frame.count; i++) {
            check_staged_image(&backend->frame->image[i], &frame.image[i], where[i]);
        }
        CHECK_OK(rcnn_cuda_finish(backend, slot, &err), err);
        CHECK_OK(rcnn_cuda_wait(backend, slot, &err), err);
        for (int32_t i = 0; i < frame.count; i++) {
            free_pixels(backend, where[i], pixels[i]);
        }
    }
    close_backend(backend);
}

TEST(ready_images_arrive)
{
    uint64_t seed = 4;
    rcnn_error err = {0};
    rcnn_backend *backend = open_backend();
    REQUIRE(backend);
    static rcnn_frame frame;
    enum { WIDTH = 300, HEIGHT = 250, FLOATS = 2 * WIDTH * HEIGHT * 3 };
    float *ready = malloc(FLOATS * sizeof *ready);
    for (int i = 0; i < FLOATS; i++) {
        ready[i] = test_uniform(&seed, -2, 2);
    }
    frame.count = 2;
    frame.ready = ready;
    frame.ready_width = WIDTH;
    frame.ready_height = HEIGHT;
    for (int i = 0; i < 2; i++) {
        frame.image[i] = random_image((rcnn_image_view){.width = 640, .height = 480}, &seed);
    }
    CHECK_OK(rcnn_cuda_stage(backend, 0, &frame, &err), err);
    const rcnn_cuda_frame *got = backend->frame;
    CHECK(got->ready && got->ready != ready && memcmp(got->ready, ready, FLOATS * sizeof *ready) == 0);
    CHECK(got->image[1].width == 640 && got->image[1].height == 480 && got->image[1].data == NULL);
    frame.ready_width = 0;
    CHECK(rcnn_cuda_stage(backend, 1, &frame, &err) == RCNN_ERR_INTERNAL);
    free(ready);
    close_backend(backend);
}

static rcnn_frame *one_image(const uint8_t *pixels)
{
    static rcnn_frame frame;
    frame = (rcnn_frame){.count = 1};
    frame.image[0].view = (rcnn_image_view){.data = pixels, .width = 4, .height = 2, .stride_bytes = 12};
    return &frame;
}

TEST(slots_serve_again_after_any_end)
{
    static const uint8_t PIXELS[24] = {1, 2, 3};
    rcnn_error err = {0};
    rcnn_backend *backend = open_backend();
    REQUIRE(backend);
    CHECK(rcnn_cuda_wait(backend, 0, &err) == RCNN_ERR_INTERNAL);
    for (int round = 0; round < 3; round++) { /* never waited for */
        CHECK_OK(rcnn_cuda_stage(backend, 0, one_image(PIXELS), &err), err);
    }
    CHECK(rcnn_cuda_wait(backend, 0, &err) == RCNN_ERR_INTERNAL);
    CHECK_OK(rcnn_cuda_stage(backend, 0, one_image(PIXELS), &err), err);
    CHECK_OK(rcnn_cuda_finish(backend, 0, &err), err);
    CHECK_OK(rcnn_cuda_stage(backend, 0, one_image(PIXELS), &err), err);
    CHECK(rcnn_cuda_wait(backend, 0, &err) == RCNN_ERR_INTERNAL); /* the run before was given up */
    CHECK_OK(rcnn_cuda_finish(backend, 0, &err), err);
    CHECK_OK(rcnn_cuda_wait(backend, 0, &err), err);
    CHECK(rcnn_cuda_wait(backend, 0, &err) == RCNN_ERR_INTERNAL);
    close_backend(backend);
}

TEST(nothing_is_allocated_once_slots_are_warm)
{
    static const uint8_t PIXELS[24] = {1, 2, 3};
    rcnn_error err = {0};
    rcnn_backend *backend = open_backend();
    REQUIRE(backend);
    rcnn_cuda_frames_reserve(backend, 5000);
    rcnn_backend_counters warm = {0};
    for (int32_t run = 0; run < 9; run++) {
        if (run == RCNN_BACKEND_SLOTS) {
            warm = backend->counters;
        }
        CHECK_OK(rcnn_cuda_stage(backend, run % RCNN_BACKEND_SLOTS, one_image(PIXELS), &err), err);
        CHECK_OK(rcnn_cuda_finish(backend, run % RCNN_BACKEND_SLOTS, &err), err);
        CHECK_OK(rcnn_cuda_wait(backend, run % RCNN_BACKEND_SLOTS, &err), err);
    }
    CHECK(backend->counters.device_allocations == warm.device_allocations);
    CHECK(backend->counters.host_allocations == warm.host_allocations);
    CHECK(backend->counters.host_syncs == warm.host_syncs + 6);
    close_backend(backend);
}

/* ------------------------------------------------------------- results */

/* A graph of nothing but the values of a delivery, their memory, and what it holds. */
typedef struct results {
    rcnn_backend *backend;
    rcnn_graph graph;
    rcnn_delivery delivery;
    void *value[8];
    void *scratch;
    int32_t counts[IMAGES];
} results;

static rcnn_value_id add_value(results *r, const char *name, rcnn_dtype dtype, int32_t rank, const int32_t *dim,
                               uint64_t *seed)
{
    rcnn_error err = {0};
    rcnn_value_id id = RCNN_NO_VALUE;
    CHECK_OK(rcnn_graph_add_value(&r->graph, name, dtype, rank, dim, &id, &err), err);
    const size_t bytes = r->graph.values[id].bytes;
    r->value[id] = NULL;
    CHECK_OK(rcnn_cuda_alloc(r->backend, bytes, &r->value[id], &err), err);
    for (size_t i = 0; i < bytes / 4; i++) {
        if (dtype == RCNN_F32) {
            ((float *)r->value[id])[i] = test_uniform(seed, 0, 1);
        } else {
            ((int32_t *)r->value[id])[i] = (int32_t)(test_random(seed) >> 40);
        }
    }
    return id;
}

static void results_open(results *r, const int32_t *counts, int32_t capacity, rcnn_mask_format form, uint64_t *seed)
{
    memset(r, 0, sizeof *r);
    r->backend = open_backend();
    rcnn_graph_init(&r->graph);
    const int32_t boxes[] = {IMAGES, capacity, 4}, masks[] = {IMAGES * capacity, SIDE, SIDE};
    rcnn_delivery *d = &r->delivery;
    d->boxes = add_value(r, "boxes", RCNN_F32, 3, boxes, seed);
    d->rois = add_value(r, "rois", RCNN_F32, 3, boxes, seed);
    d->scores = add_value(r, "scores", RCNN_F32, 2, boxes, seed);
    d->labels = add_value(r, "labels", RCNN_I32, 2, boxes, seed);
    d->counts = add_value(r, "counts", RCNN_I32, 1, boxes, seed);
    d->proposal_counts = add_value(r, "proposals", RCNN_I32, 1, boxes, seed);
    d->masks = add_value(r, "masks", RCNN_F32, 3, masks, seed);
    d->form = form;
    d->paste = RCNN_PASTE_GRID;
    d->threshold = 0.5f;
    memcpy(r->counts, counts, sizeof r->counts);
    memcpy(r->value[d->counts], counts, sizeof r->counts);
    for (int32_t i = 0; i < IMAGES * capacity; i++) { /* boxes of the images of `stage` */
        float *box = (float *)r->value[d->boxes] + 4 * i;
        box[2] = box[0] + 20 + 30 * box[2];
        box[3] = box[1] + 10 + 20 * box[3];
    }
    rcnn_error err = {0};
    size_t scratch = 0;
    CHECK_OK(rcnn_cuda_prepare_delivery(r->backend, &r->graph, d, &scratch, &err), err);
    CHECK_OK(rcnn_cuda_alloc(r->backend, scratch, &r->scratch, &err), err);
}

static void results_close(results *r)
{
    for (int32_t id = 0; id < r->graph.value_count; id++) {
        rcnn_cuda_free(r->backend, r->value[id]);
    }
    rcnn_cuda_free(r->backend, r->scratch);
    rcnn_graph_free(&r->graph);
    close_backend(r->backend);
}

static rcnn_frame *frame_of_images(void)
{
    static const uint8_t PIXELS[64 * 48];
    static rcnn_frame frame;
    frame.count = IMAGES;
    for (int32_t i = 0; i < IMAGES; i++) {
        frame.image[i].view = (rcnn_image_view){
            .data = PIXELS, .width = 64 - i, .height = 48, .stride_bytes = 64, .format = RCNN_PIXEL_GRAY8};
        frame.image[i].scale_x = frame.image[i].scale_y = 1;
    }
    return &frame;
}

static rcnn_status run(results *r, int32_t slot, rcnn_delivered *out, rcnn_error *err)
{
    const rcnn_args args = {.value = r->value, .scratch = r->scratch};
    memset(out, 0, sizeof *out);
    RCNN_TRY(rcnn_cuda_stage(r->backend, slot, frame_of_images(), err));
    RCNN_TRY(rcnn_cuda_deliver(r->backend, &r->graph, &r->delivery, &args, err));
    RCNN_TRY(rcnn_cuda_finish(r->backend, slot, err));
    RCNN_TRY(rcnn_cuda_wait(r->backend, slot, err));
    rcnn_cuda_delivered(r->backend, slot, &r->graph, &r->delivery, out);
    return RCNN_OK;
}

/* [N][capacity] elements: those below the counts are there, the others as the fresh block had them. */
static void check_list(const results *r, const char *name, const void *got, rcnn_value_id id, size_t element)
{
    static const unsigned char ZEROS[16];
    const size_t capacity = (size_t)r->graph.values[id].desc.dim[1];
    REQUIRE(got);
    int wrong = 0, spilled = 0;
    for (size_t n = 0; n < IMAGES; n++) {
        for (size_t i = 0; i < capacity; i++) {
            const size_t at = (n * capacity + i) * element;
            const unsigned char *g = (const unsigned char *)got + at, *w = (const unsigned char *)r->value[id] + at;
            const bool live = i < (size_t)r->counts[n];
            wrong += live && memcmp(g, w, element) != 0;
            spilled += !live && memcmp(g, ZEROS, element) != 0;
        }
    }
    CHECK_MSG(wrong == 0 && spilled == 0, "%s: %d elements wrong, %d copied that are not live", name, wrong, spilled);
}

static void check_delivered(const results *r, const rcnn_delivered *got)
{
    const rcnn_delivery *d = &r->delivery;
    check_list(r, "boxes", got->boxes, d->boxes, 16);
    check_list(r, "rois", got->rois, d->rois, 16);
    check_list(r, "scores", got->scores, d->scores, 4);
    check_list(r, "labels", got->labels, d->labels, 4);
    CHECK(got->counts && memcmp(got->counts, r->counts, sizeof r->counts) == 0);
    CHECK(got->proposal_counts &&
          memcmp(got->proposal_counts, r->value[d->proposal_counts], IMAGES * sizeof(int32_t)) == 0);
    const size_t live = (size_t)(r->counts[0] + r->counts[1] + r->counts[2]);
    const size_t all = (size_t)r->graph.values[d->masks].desc.dim[0], cells = (size_t)SIDE * SIDE;
    REQUIRE(got->masks);
    CHECK(memcmp(got->masks, r->value[d->masks], live * cells * sizeof(float)) == 0);
    CHECK(live == all || got->masks[live * cells] == 0.0f);
}

TEST(the_live_part_of_results_arrives)
{
    static const int32_t COUNTS[][IMAGES] = {{2, 0, 5}, {0, 0, 0}, {5, 5, 5}, {1, 3, 2}};
    static const int32_t CAPACITIES[] = {CAPACITY, 8}; /* lists that start at any word, and at 16 bytes */
    uint64_t seed = 8;
    for (int round = 0; round < 8; round++) {
        results r;
        rcnn_delivered got;
        rcnn_error err = {0};
        results_open(&r, COUNTS[round / 2], CAPACITIES[round % 2], RCNN_MASK_RAW, &seed);
        rcnn_emulate_order(round);
        CHECK_OK(run(&r, round % RCNN_BACKEND_SLOTS, &got, &err), err);
        check_delivered(&r, &got);
        CHECK(!got.forms && !got.words);
        results_close(&r);
    }
    rcnn_emulate_order(0);
}

TEST(mask_forms_arrive)
{
    static const int32_t COUNTS[IMAGES] = {2, 0, 4};
    uint64_t seed = 9;
    for (int crop = 0; crop < 2; crop++) {
        results r;
        rcnn_delivered got;
        rcnn_error err = {0};
        results_open(&r, COUNTS, CAPACITY, crop ? RCNN_MASK_POLYGON : RCNN_MASK_RLE, &seed);
        CHECK_OK(run(&r, 0, &got, &err), err);
        check_delivered(&r, &got);
        REQUIRE(got.forms && got.words);
        int32_t offset = 0;
        for (int32_t row = 0; row < 6; row++) {
            const rcnn_delivered_form *form = &got.forms[row];
            const int32_t width = row < 2 ? 64 : 62;
            CHECK(form->offset == offset && form->count > 0 && form->width > 0 && form->height > 0);
            offset += form->count;
            uint64_t pixels = 0;
            for (int32_t i = 0; i < form->count; i++) {
                pixels += got.words[form->offset + i];
            }
            CHECK(crop ? form->count == (form->width + 31) / 32 * form->height : pixels == (uint64_t)width * 48);
        }
        CHECK(got.words[offset] == 0); /* nothing after the last */
        results_close(&r);
    }
}

TEST(faults_arrive_once)
{
    static const int32_t COUNTS[IMAGES] = {1, 1, 1};
    uint64_t seed = 10;
    results r;
    rcnn_delivered got;
    rcnn_error err = {0};
    results_open(&r, COUNTS, CAPACITY, RCNN_MASK_RAW, &seed);
    const rcnn_args args = {.value = r.value, .scratch = r.scratch};
    const int32_t op = rcnn_cuda_fault_id(r.backend, "rpn");
    CHECK_OK(rcnn_cuda_stage(r.backend, 0, frame_of_images(), &err), err);
    *r.backend->fault = (rcnn_cuda_fault){RCNN_CUDA_FAULT_RPN_DELTA, op, 2, 1, 0};
    CHECK_OK(rcnn_cuda_deliver(r.backend, &r.graph, &r.delivery, &args, &err), err);
    CHECK_OK(rcnn_cuda_finish(r.backend, 0, &err), err);
    CHECK(rcnn_cuda_wait(r.backend, 0, &err) == RCNN_ERR_NUMERIC);
    CHECK(strstr(err.message, "rpn") && strstr(err.message, "image 2"));
    CHECK_OK(run(&r, 0, &got, &err), err);
    check_delivered(&r, &got);
    results_close(&r);
}

/* A larger delivery prepared while a run is under way moves its results only at the next stage. */
TEST(results_stay_while_room_grows)
{
    static const int32_t COUNTS[IMAGES] = {1, 4, 0};
    uint64_t seed = 11;
    results r;
    rcnn_delivered got;
    rcnn_error err = {0};
    results_open(&r, COUNTS, CAPACITY, RCNN_MASK_RAW, &seed);
    const rcnn_args args = {.value = r.value, .scratch = r.scratch};
    CHECK_OK(rcnn_cuda_stage(r.backend, 1, frame_of_images(), &err), err);
    rcnn_cuda_frames_reserve(r.backend, 1 << 20);
    CHECK_OK(rcnn_cuda_deliver(r.backend, &r.graph, &r.delivery, &args, &err), err);
    CHECK_OK(rcnn_cuda_finish(r.backend, 1, &err), err);
    CHECK_OK(rcnn_cuda_wait(r.backend, 1, &err), err);
    rcnn_cuda_delivered(r.backend, 1, &r.graph, &r.delivery, &got);
    check_delivered(&r, &got);
    CHECK_OK(run(&r, 1, &got, &err), err);
    check_delivered(&r, &got);
    results_close(&r);
}

TEST(a_delivery_needs_preparing)
{
    static const int32_t COUNTS[IMAGES] = {1, 4, 0};
    uint64_t seed = 12;
    results r;
    rcnn_error err = {0};
    size_t scratch;
    results_open(&r, COUNTS, CAPACITY, RCNN_MASK_RAW, &seed);
    const rcnn_args args = {.value = r.value, .scratch = r.scratch};
    rcnn_delivery larger = r.delivery;
    larger.form = RCNN_MASK_CROP;
    CHECK(rcnn_cuda_deliver(r.backend, &r.graph, &larger, &args, &err) == RCNN_ERR_INTERNAL);
    larger.counts = RCNN_NO_VALUE;
    CHECK(rcnn_cuda_prepare_delivery(r.backend, &r.graph, &larger, &scratch, &err) == RCNN_ERR_INTERNAL);
    larger = r.delivery;
    larger.form = RCNN_MASK_CROP;
    larger.from_rois = 1;
    larger.rois = RCNN_NO_VALUE;
    CHECK(rcnn_cuda_prepare_delivery(r.backend, &r.graph, &larger, &scratch, &err) == RCNN_ERR_INTERNAL);
    results_close(&r);
}

TEST_MAIN
