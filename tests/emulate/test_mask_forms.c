/* mask_forms.cu run on the CPU: run lengths and crops of many masks must be, bit for bit, those of src/mask; the same
 * words in any order of blocks and threads; and a mask that finds no room says so. */
#include <stdbool.h>

#include "backend/cuda/launch.h"
#include "harness.h"
#include "mask/mask.h"

extern void rcnn_emulate_order(int order);

enum { IMAGES_MAX = 4, SIDE_MAX = 112 };

/* A batch of masks in the layout that the kernels read. */
typedef struct batch {
    rcnn_cuda_mask_forms p;
    rcnn_cuda_frame frame;
    int32_t counts[IMAGES_MAX];
    float *masks, *boxes;
    int32_t used;
    size_t words_allocated;
} batch;

/* Exact sizes, so that address sanitizer sees every step over an end. */
static void batch_open(batch *b, int32_t images, int32_t capacity, const int32_t *counts, int32_t side)
{
    memset(b, 0, sizeof *b);
    const size_t rows = (size_t)images * (size_t)capacity;
    int32_t live = 0;
    for (int32_t i = 0; i < images; i++) {
        b->counts[i] = counts[i];
        live += counts[i];
    }
    b->masks = malloc((size_t)live * (size_t)side * (size_t)side * sizeof(float) + 1);
    b->boxes = malloc(rows * 4 * sizeof(float));
    memset(b->boxes, 0xff, rows * 4 * sizeof(float));
    b->p = (rcnn_cuda_mask_forms){.masks = b->masks,
                                  .boxes = b->boxes,
                                  .counts = b->counts,
                                  .n = images,
                                  .capacity = capacity,
                                  .side = side,
                                  .threshold = 0.5f,
                                  .frame = &b->frame,
                                  .forms = malloc(rows * sizeof(rcnn_cuda_form)),
                                  .used = &b->used};
}

static void batch_close(batch *b)
{
    free(b->masks);
    free(b->boxes);
    free(b->p.forms);
    free(b->p.words);
}

static rcnn_paste_spec spec_of(const batch *b, int32_t image)
{
    return (rcnn_paste_spec){.paste = b->p.padded ? RCNN_PASTE_PADDED : RCNN_PASTE_GRID,
                             .side = b->p.side,
                             .width = b->frame.image[image].width,
                             .height = b->frame.image[image].height,
                             .threshold = b->p.threshold};
}

static void paste_box(const batch *b, int32_t image, int32_t index, float box[4])
{
    const rcnn_cuda_frame_image *frame = &b->frame.image[image];
    const float *src = b->boxes + ((size_t)image * (size_t)b->p.capacity + (size_t)index) * 4;
    for (int k = 0; k < 4; k++) {
        box[k] = !b->p.from_rois ? src[k] : src[k] / (k % 2 ? frame->scale_y : frame->scale_x);
    }
}

/* The words of one mask as src/mask makes them: *out is allocated. */
static int32_t expected_words(const batch *b, int32_t image, const float *soft, const float box[4],
                              rcnn_mask_region *region, uint32_t **out)
{
    const rcnn_paste_spec spec = spec_of(b, image);
    rcnn_mask_region_of(&spec, box, region);
    void *scratch = malloc(rcnn_mask_scratch_bytes(&spec, region) + 1);
    const size_t capacity = rcnn_mask_rle_capacity(region);
    int32_t count;
    if (b->p.rle) {
        *out = malloc(capacity * sizeof **out);
        count = rcnn_mask_paste_rle(&spec, soft, box, region, *out, (int32_t)capacity, scratch);
    } else {
        const int32_t pitch = (region->width + 31) / 32;
        uint8_t *pixels = malloc((size_t)region->width * (size_t)region->height + 1);
        count = pitch * region->height;
        *out = calloc((size_t)count + 1, sizeof **out);
        rcnn_mask_paste(&spec, soft, box, region, pixels, scratch);
        for (int32_t y = 0; y < region->height; y++) {
            for (int32_t x = 0; x < region->width; x++) {
                const uint32_t bit = pixels[(size_t)y * (size_t)region->width + (size_t)x];
                (*out)[y * pitch + x / 32] |= bit << (x % 32);
            }
        }
        free(pixels);
    }
    free(scratch);
    return count;
}

/* Runs the kernels into `room` words. */
static void run(batch *b, int32_t room, int order)
{
    free(b->p.words);
    b->p.words = malloc((size_t)room * sizeof(uint32_t) + 1);
    b->p.word_capacity = room;
    b->p.scratch = malloc(rcnn_cuda_mask_forms_scratch(&b->p) + 1);
    memset(b->p.forms, 0xee, (size_t)b->p.n * (size_t)b->p.capacity * sizeof *b->p.forms);
    b->used = -1;
    rcnn_emulate_order(order);
    CHECK(rcnn_cuda_mask_forms_launch(&b->p, NULL) == cudaSuccess);
    rcnn_emulate_order(0);
    free(b->p.scratch);
}

static void check_row(const batch *b, const char *what, int32_t image, int32_t index, int32_t row, int32_t *offset)
{
    float box[4];
    rcnn_mask_region region;
    uint32_t *want;
    paste_box(b, image, index, box);
    const float *soft = b->masks + (size_t)row * (size_t)b->p.side * (size_t)b->p.side;
    const int32_t count = expected_words(b, image, soft, box, &region, &want);
    const rcnn_cuda_form *form = &b->p.forms[row];
    CHECK_MSG(form->x == region.x && form->y == region.y && form->width == region.width &&
                  form->height == region.height,
              "%s, mask %d: region %d,%d %dx%d, want %d,%d %dx%d", what, row, form->x, form->y, form->width,
              form->height, region.x, region.y, region.width, region.height);
    if (*offset >= 0 && count <= b->p.word_capacity - *offset) {
        const bool same = form->count == count && form->offset == *offset &&
                          memcmp(b->p.words + form->offset, want, (size_t)count * sizeof *want) == 0;
        CHECK_MSG(same,
                  "%s, mask %d, %s %s of box %g %g %g %g in %dx%d: %d words at %d, want %d at %d, or their content",
                  what, row, b->p.padded ? "padded" : "grid", b->p.rle ? "run lengths" : "crop", (double)box[0],
                  (double)box[1], (double)box[2], (double)box[3], b->frame.image[image].width,
                  b->frame.image[image].height, form->count, form->offset, count, *offset);
        *offset += count;
        CHECK(b->used >= *offset);
    } else {
        CHECK_MSG(form->count == -1, "%s, mask %d: %d words where there is no room", what, row, form->count);
        *offset = -1;
    }
    free(want);
}

static void check_rows(const batch *b, const char *what)
{
    int32_t row = 0, offset = 0;
    for (int32_t image = 0; image < b->p.n; image++) {
        for (int32_t i = 0; i < b->counts[image]; i++, row++) {
            const int32_t before = offset;
            check_row(b, what, image, i, row, &offset);
            CHECK(offset >= 0 || before < 0 || b->used == before);
        }
    }
    CHECK_MSG(offset < 0 || b->used == offset, "%s: used %d, want %d", what, b->used, offset);
}

/* Both forms and both ways of pasting, with room for all. */
static void check_batch(batch *b, const char *what, int32_t room)
{
    for (int variant = 0; variant < 4; variant++) {
        b->p.padded = variant & 1;
        b->p.rle = variant >> 1;
        run(b, room, variant & 1);
        check_rows(b, what);
    }
}

/* ------------------------------------------------------------- masks */

/* Smooth with noise, all noise, all ones, or with values about the threshold. */
static void random_soft(float *soft, int32_t side, int kind, uint64_t *seed)
{
    const float cx = test_uniform(seed, 0, (float)side), cy = test_uniform(seed, 0, (float)side);
    const float radius = test_uniform(seed, 1, (float)side), noise = test_uniform(seed, 0, 0.4f);
    for (int32_t i = 0; i < side * side; i++) {
        const float distance = hypotf((float)(i % side) - cx, (float)(i / side) - cy);
        float value = 1.0f / (1.0f + expf(distance - radius)) + test_uniform(seed, -noise, noise);
        value = kind == 1 ? test_uniform(seed, 0, 1) : kind == 2 ? 1.0f : value;
        value = kind == 3 ? 0.5f + (float)((int32_t)(test_random(seed) % 5) - 2) * 5.9604645e-8f : value;
        soft[i] = fminf(fmaxf(value, 0.0f), 1.0f);
    }
}

static void random_box(float *box, const rcnn_cuda_frame_image *image, float scale, uint64_t *seed)
{
    for (int k = 0; k < 2; k++) {
        const float size = (float)(k ? image->height : image->width);
        box[k] = test_uniform(seed, -0.4f * size, 0.9f * size);
        box[k + 2] = box[k] + scale * test_uniform(seed, 0.01f, 1.5f * size);
    }
}

TEST(random_masks_in_batches)
{
    uint64_t seed = 71;
    for (int round = 0; round < 40; round++) {
        batch b;
        int32_t counts[3];
        for (int i = 0; i < 3; i++) {
            counts[i] = (int32_t)(test_random(&seed) % 6);
        }
        const int32_t side = round % 5 == 0 ? 14 : round % 5 == 1 ? 7 : 28;
        batch_open(&b, 3, 5, counts, side);
        b.p.threshold = round % 3 ? 0.5f : test_uniform(&seed, 0.05f, 0.95f);
        b.p.from_rois = round % 2;
        int32_t row = 0;
        for (int i = 0; i < 3; i++) {
            rcnn_cuda_frame_image *image = &b.frame.image[i];
            image->width = 1 + (int32_t)(test_random(&seed) % 200);
            image->height = 1 + (int32_t)(test_random(&seed) % 150);
            image->scale_x = test_uniform(&seed, 0.5f, 3);
            image->scale_y = test_uniform(&seed, 0.5f, 3);
            for (int32_t k = 0; k < counts[i]; k++, row++) {
                random_soft(b.masks + row * side * side, side, (int)(test_random(&seed) % 4), &seed);
                random_box(b.boxes + (i * 5 + k) * 4, image, row % 5 ? 1.0f : 0.05f, &seed);
            }
        }
        check_batch(&b, "random", 1 << 20);
        batch_close(&b);
    }
}

/* One image of the given size with one mask a box. */
static void check_boxes(const char *what, int32_t width, int32_t height, const float (*boxes)[4], int32_t count,
                        int32_t side, int kind, float threshold)
{
    uint64_t seed = 5;
    batch b;
    batch_open(&b, 1, count, &count, side);
    b.p.threshold = threshold;
    b.frame.image[0].width = width;
    b.frame.image[0].height = height;
    memcpy(b.boxes, boxes, (size_t)count * 4 * sizeof(float));
    for (int32_t i = 0; i < count; i++) {
        random_soft(b.masks + (size_t)i * (size_t)(side * side), side, kind, &seed);
    }
    check_batch(&b, what, 1 << 22);
    batch_close(&b);
}

TEST(masks_that_fill_the_image)
{
    const float boxes[][4] = {{0, 0, 90, 60},         {-10, 0, 50, 60},     {40, -30, 200, 200},
                              {-300, -300, 400, 400}, {0, 0.4f, 90, 59.6f}, {89, 0, 90, 60}};
    for (int kind = 0; kind < 4; kind++) {
        check_boxes("filling", 90, 60, boxes, 6, 28, kind, 0.5f);
        check_boxes("filling, low threshold", 90, 60, boxes, 6, 28, kind, 0.01f);
    }
    const float pixel[][4] = {{0, 0, 1, 1}, {-5, -5, 5, 5}, {0.2f, 0.2f, 0.4f, 0.4f}};
    check_boxes("one pixel", 1, 1, pixel, 3, 28, 2, 0.5f);
}

TEST(boxes_at_and_over_every_limit)
{
    const float boxes[][4] = {{5, 5, 5, 9},
                              {9, 5, 5, 9},
                              {NAN, 1, 5, 5},
                              {1, 1, INFINITY, 5},
                              {-INFINITY, 1, 9, 5},
                              {50, 1, 60, 5},
                              {1, -30, 5, -20},
                              {1e30f, 1, 2e30f, 5},
                              {5.1f, 5, 5.3f, 9},
                              {-3e38f, 1, 3e38f, 5},
                              {-3e38f, -3e38f, 3e38f, 3e38f},
                              {10, 10, 10.000001f, 10.000001f},
                              {3, 3, 3.4e38f, 3.4e38f},
                              {1e-40f, 1e-40f, 2e-40f, 30},
                              {-1e9f, -1e9f, 1e9f, 1e9f},
                              {39.5f, 29.5f, 40, 30}};
    const float thresholds[] = {0.5f, 0.05f, 0.6f, 0.99f};
    for (int i = 0; i < 4; i++) {
        check_boxes("limits", 40, 30, boxes, 16, 28, 2, thresholds[i]);
        check_boxes("limits", 40, 30, boxes, 16, 28, 0, thresholds[i]);
    }
}

/* More columns than all segments have threads, more rows than the table of weights. */
TEST(large_images)
{
    const float wide[][4] = {{0, 0, 2200, 6}, {-100, -1, 2500, 4}, {700, 0, 705, 7}, {3, 1, 1900, 6}};
    const float high[][4] = {{0, 0, 5, 2600}, {1, -200, 7, 2300}, {0, 2000, 4, 2100}, {0, 1500, 3, 4000}};
    for (int kind = 0; kind < 2; kind++) {
        check_boxes("wide", 2200, 7, wide, 4, 28, kind, 0.5f);
        check_boxes("high", 6, 2600, high, 4, 28, kind, 0.5f);
    }
}

TEST(sides_up_to_the_largest)
{
    const float boxes[][4] = {{3, 4, 150, 90}, {10, 20, 12, 22}};
    check_boxes("side 112", 160, 100, boxes, 2, SIDE_MAX, 0, 0.5f);
    check_boxes("side 1", 160, 100, boxes, 2, 1, 2, 0.5f);
    check_boxes("side 2", 160, 100, boxes, 2, 2, 1, 0.5f);
}

TEST(soft_values_that_are_no_numbers)
{
    uint64_t seed = 17;
    batch b;
    const int32_t count = 2;
    batch_open(&b, 1, 2, &count, 28);
    b.frame.image[0].width = 70;
    b.frame.image[0].height = 50;
    for (int32_t i = 0; i < 2; i++) {
        random_soft(b.masks + i * 784, 28, 0, &seed);
        random_box(b.boxes + i * 4, &b.frame.image[0], 1, &seed);
        for (int k = 0; k < 40; k++) {
            b.masks[i * 784 + (int32_t)(test_random(&seed) % 784)] = NAN;
        }
    }
    check_batch(&b, "NaN", 1 << 16);
    batch_close(&b);
}

TEST(no_masks)
{
    batch b;
    const int32_t counts[2] = {0, 0};
    batch_open(&b, 2, 3, counts, 28);
    check_batch(&b, "none", 10);
    CHECK(b.used == 0);
    batch_close(&b);
}

/* Room for none, some and all but one word. */
TEST(masks_without_room_are_left_to_the_host)
{
    uint64_t seed = 29;
    batch b;
    const int32_t counts[2] = {7, 300}; /* more than the placing block has threads */
    batch_open(&b, 2, 300, counts, 7);
    for (int i = 0; i < 2; i++) {
        b.frame.image[i].width = 60 - 10 * i;
        b.frame.image[i].height = 40 + 5 * i;
    }
    for (int32_t row = 0; row < 307; row++) {
        const int32_t image = row >= 7;
        random_soft(b.masks + row * 49, 7, 0, &seed);
        random_box(b.boxes + (image ? 300 + row - 7 : row) * 4, &b.frame.image[image], 0.3f, &seed);
    }
    for (int rle = 0; rle < 2; rle++) {
        b.p.rle = rle;
        run(&b, 1 << 20, 0);
        check_rows(&b, "all");
        const int32_t all = b.used;
        const int32_t rooms[] = {0, 1, all / 3, all - 1, all};
        for (int i = 0; i < 5; i++) {
            run(&b, rooms[i], i & 1);
            check_rows(&b, "some");
            CHECK(b.used <= rooms[i]);
        }
    }
    batch_close(&b);
}

TEST_MAIN
