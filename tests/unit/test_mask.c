/* Pasting soft masks: against PyTorch's pixels (data/mask_golden.bin of scripts/make_mask_golden.py), against the
 * formulas evaluated pixel by pixel over the whole image, and the three forms against each other. */
#include <stdbool.h>

#include "harness.h"
#include "mask/mask.h"
#include "rcnn/rcnn.h"

enum { SIDE = 28, CELLS = SIDE * SIDE, IMAGE_MAX = 400 * 400 };

/* Pixels of the whole image, from the region's bitmap. */
static void paste_full(const rcnn_paste_spec *spec, const float *soft, const float box[4], uint8_t *full)
{
    rcnn_mask_region region;
    rcnn_mask_region_of(spec, box, &region);
    size_t pixels = (size_t)region.width * (size_t)region.height;
    uint8_t *bitmap = malloc(pixels + 1);
    void *scratch = malloc(rcnn_mask_scratch_bytes(spec, &region) + 1);
    memset(bitmap, 0xee, pixels + 1);
    rcnn_mask_paste(spec, soft, box, &region, bitmap, scratch);
    CHECK(bitmap[pixels] == 0xee);
    memset(full, 0, (size_t)spec->width * (size_t)spec->height);
    CHECK(region.x >= 0 && region.y >= 0 && region.x + region.width <= spec->width &&
          region.y + region.height <= spec->height);
    for (int32_t y = 0; y < region.height; y++) {
        memcpy(full + (size_t)(region.y + y) * (size_t)spec->width + region.x,
               bitmap + (size_t)y * (size_t)region.width, (size_t)region.width);
    }
    free(scratch);
    free(bitmap);
}

/* -------------------------------------------------------------- golden */

typedef struct golden {
    const uint8_t *at, *end;
    float soft[16][CELLS];
    int32_t side[16];
} golden;

static uint32_t next_u32(golden *g)
{
    uint32_t v = (uint32_t)g->at[0] | (uint32_t)g->at[1] << 8 | (uint32_t)g->at[2] << 16 | (uint32_t)g->at[3] << 24;
    g->at += 4;
    return v;
}

static float next_f32(golden *g)
{
    uint32_t bits = next_u32(g);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void read_soft_mask(golden *g, uint32_t m)
{
    g->side[m] = (int32_t)next_u32(g);
    for (int32_t i = 0; i < g->side[m] * g->side[m]; i++, g->at += 2) {
        g->soft[m][i] = (float)(g->at[0] | g->at[1] << 8) / 65536.0f;
    }
}

/* Number of pixels that differ from PyTorch's. */
static int check_golden_case(golden *g, uint8_t *full)
{
    uint32_t m = next_u32(g);
    rcnn_paste_spec spec = {.side = g->side[m]};
    spec.paste = next_u32(g) ? RCNN_PASTE_PADDED : RCNN_PASTE_GRID;
    spec.width = (int32_t)next_u32(g);
    spec.height = (int32_t)next_u32(g);
    spec.threshold = next_f32(g);
    float box[4];
    for (int k = 0; k < 4; k++) {
        box[k] = next_f32(g);
    }
    paste_full(&spec, g->soft[m], box, full);
    int pixels = spec.width * spec.height;
    int wrong = 0;
    for (int i = 0; i < pixels; i++) {
        wrong += full[i] != (g->at[i / 8] >> (i % 8) & 1);
    }
    g->at += (pixels + 7) / 8;
    CHECK_MSG(wrong == 0, "mask %u paste %d %dx%d threshold %g box %g %g %g %g: %d pixels differ", m, (int)spec.paste,
              spec.width, spec.height, (double)spec.threshold, (double)box[0], (double)box[1], (double)box[2],
              (double)box[3], wrong);
    return wrong;
}

static golden shared_golden;

TEST(same_pixels_as_pytorch)
{
    golden *g = &shared_golden;
    FILE *file = fopen(RCNN_SOURCE_DIR "/tests/unit/data/mask_golden.bin", "rb");
    REQUIRE(file);
    uint8_t *bytes = malloc(1 << 20);
    size_t size = fread(bytes, 1, 1 << 20, file);
    fclose(file);
    g->at = bytes + 4;
    g->end = bytes + size;
    CHECK(size > 12 && memcmp(bytes, "RMG1", 4) == 0);
    uint32_t masks = next_u32(g);
    uint32_t cases = next_u32(g);
    CHECK(masks <= 16 && cases >= 50);
    for (uint32_t m = 0; m < masks; m++) {
        read_soft_mask(g, m);
    }
    uint8_t *full = malloc(IMAGE_MAX);
    for (uint32_t i = 0; i < cases; i++) {
        check_golden_case(g, full);
    }
    CHECK(g->at == g->end);
    free(full);
    free(bytes);
}

/* ---------------------------------------------------------- properties */

typedef struct random_case {
    rcnn_paste_spec spec;
    float soft[CELLS], box[4];
} random_case;

/* A smooth random mask on a box that may hang over any edge. */
static void random_soft(float *soft, int32_t side, uint64_t *seed)
{
    float cx = test_uniform(seed, 0, (float)side), cy = test_uniform(seed, 0, (float)side);
    float radius = test_uniform(seed, 1, (float)side), noise = test_uniform(seed, 0, 0.6f);
    for (int32_t i = 0; i < side * side; i++) {
        float distance = hypotf((float)(i % side) - cx, (float)(i / side) - cy);
        float value = 1.0f / (1.0f + expf(distance - radius)) + test_uniform(seed, -noise, noise);
        soft[i] = fminf(fmaxf(value, 0.0f), 1.0f);
    }
}

static random_case make_case(uint64_t *seed, int round)
{
    random_case c = {.spec = {.paste = round % 2 ? RCNN_PASTE_PADDED : RCNN_PASTE_GRID,
                              .side = round % 5 == 0 ? 14 : SIDE,
                              .width = 20 + (int32_t)(test_random(seed) % 150),
                              .height = 20 + (int32_t)(test_random(seed) % 150),
                              .threshold = round % 3 ? 0.5f : test_uniform(seed, 0.05f, 0.95f)}};
    random_soft(c.soft, c.spec.side, seed);
    float scale = round % 7 == 0 ? 0.05f : 1.0f; /* some boxes of a few pixels */
    for (int k = 0; k < 2; k++) {
        float size = (float)(k ? c.spec.height : c.spec.width);
        c.box[k] = test_uniform(seed, -0.4f * size, 0.9f * size);
        c.box[k + 2] = c.box[k] + scale * test_uniform(seed, 0.01f, 1.5f * size);
    }
    return c;
}

static void check_rle_equals_bitmap(const random_case *c)
{
    rcnn_mask_region region;
    rcnn_mask_region_of(&c->spec, c->box, &region);
    int32_t capacity = (int32_t)rcnn_mask_rle_capacity(&region);
    uint8_t *bitmap = malloc((size_t)region.width * (size_t)region.height + 1);
    void *scratch = malloc(rcnn_mask_scratch_bytes(&c->spec, &region) + 1);
    uint32_t *want = malloc((size_t)capacity * sizeof *want), *got = malloc((size_t)capacity * sizeof *got);
    rcnn_mask_paste(&c->spec, c->soft, c->box, &region, bitmap, scratch);
    int32_t want_count = rcnn_mask_rle_of_bitmap(bitmap, &region, c->spec.width, c->spec.height, want, capacity);
    int32_t count = rcnn_mask_paste_rle(&c->spec, c->soft, c->box, &region, got, capacity, scratch);
    CHECK(count == want_count && count <= capacity);
    CHECK(memcmp(want, got, (size_t)want_count * sizeof *want) == 0);
    memset(got, 0, (size_t)capacity * sizeof *got);
    CHECK(rcnn_mask_paste_rle(&c->spec, c->soft, c->box, &region, got, capacity / 2, scratch) == want_count);
    CHECK(capacity / 2 >= capacity || got[capacity / 2] == 0);
    free(got);
    free(want);
    free(scratch);
    free(bitmap);
}

TEST(rle_equals_rle_of_the_bitmap)
{
    uint64_t seed = 21;
    for (int round = 0; round < 400; round++) {
        random_case c = make_case(&seed, round);
        check_rle_equals_bitmap(&c);
    }
}

/* Spec 10 in double over the whole image; pixels within rounding of the threshold are left out. */
static double grid_value(const random_case *c, double x, double y)
{
    const int side = c->spec.side;
    double u = ((x + 0.5 - (double)c->box[0]) / ((double)c->box[2] - (double)c->box[0]) * side) - 0.5;
    double v = ((y + 0.5 - (double)c->box[1]) / ((double)c->box[3] - (double)c->box[1]) * side) - 0.5;
    double sum = 0;
    for (int k = 0; k < 4; k++) {
        double i = floor(u) + k % 2, j = floor(v) + k / 2;
        if (i >= 0 && j >= 0 && i < side && j < side) {
            sum += (1 - fabs(u - i)) * (1 - fabs(v - j)) * (double)c->soft[(int)j * side + (int)i];
        }
    }
    return sum;
}

TEST(grid_equals_its_formula_over_the_whole_image)
{
    uint64_t seed = 33;
    uint8_t *full = malloc(IMAGE_MAX);
    for (int round = 0; round < 200; round += 2) {
        random_case c = make_case(&seed, round);
        paste_full(&c.spec, c.soft, c.box, full);
        int wrong = 0;
        for (int i = 0; i < c.spec.width * c.spec.height; i++) {
            double value = grid_value(&c, i % c.spec.width, i / c.spec.width);
            /* coordinates of a box of a few pixels far from 0 carry 1e-5 of a pixel, many of which make a cell there */
            bool close = fabs(value - (double)c.spec.threshold) < 1e-3;
            wrong += !close && full[i] != (value >= (double)c.spec.threshold);
        }
        CHECK_MSG(wrong == 0, "round %d: %d pixels differ", round, wrong);
    }
    free(full);
}

/* A full mask of ones sets exactly the pixels whose centre is in the box at threshold 0.5; below it, some outside. */
TEST(grid_of_ones_is_the_box)
{
    random_case c = {.spec = {.paste = RCNN_PASTE_GRID, .side = SIDE, .width = 60, .height = 50, .threshold = 0.5f},
                     .box = {10.5f, 5.25f, 39.5f, 30.75f}};
    for (int i = 0; i < CELLS; i++) {
        c.soft[i] = 1.0f;
    }
    rcnn_mask_region region;
    rcnn_mask_region_of(&c.spec, c.box, &region);
    CHECK(region.x == 10 && region.width == 30 && region.y == 5 && region.height == 26);
    c.spec.threshold = 0.01f;
    rcnn_mask_region_of(&c.spec, c.box, &region);
    CHECK(region.x == 10 && region.width == 30 && region.y == 5 && region.height == 26);
    c.box[0] = -20;
    c.box[2] = 36; /* cells are 2 pixels wide: low thresholds reach 1 pixel further */
    rcnn_mask_region_of(&c.spec, c.box, &region);
    CHECK(region.x == 0 && region.width == 37);
    c.spec.threshold = 0.9f;
    rcnn_mask_region_of(&c.spec, c.box, &region);
    CHECK(region.x == 0 && region.width == 35);
}

TEST(boxes_without_pixels_are_empty)
{
    const float boxes[][4] = {{5, 5, 5, 9},        {5, 5, 9, 5},     {9, 5, 5, 9},         {NAN, 1, 5, 5},
                              {1, 1, INFINITY, 5}, {50, 1, 60, 5},   {1, -30, 5, -20},     {1e30f, 1, 2e30f, 5},
                              {5.1f, 5, 5.3f, 9},  {-9, -9, -3, -3}, {-3e38f, 1, 3e38f, 5}};
    for (size_t i = 0; i < sizeof boxes / sizeof *boxes; i++) {
        for (int paste = 0; paste < 2; paste++) {
            rcnn_paste_spec spec = {.paste = paste ? RCNN_PASTE_PADDED : RCNN_PASTE_GRID,
                                    .side = SIDE,
                                    .width = 40,
                                    .height = 30,
                                    .threshold = 0.5f};
            rcnn_mask_region region = {-1, -1, -1, -1};
            rcnn_mask_region_of(&spec, boxes[i], &region);
            bool spans = i == 10 || (paste && i == 8); /* wider than float can say; a pixel of the integer box */
            CHECK_MSG(spans || (region.width == 0 && region.height == 0), "box %zu paste %d: %d x %d", i, paste,
                      region.width, region.height);
            CHECK(region.x >= 0 && region.x + region.width <= 40 && region.y >= 0 && region.y + region.height <= 30);
            if (region.width == 0) {
                uint32_t counts[2] = {0};
                static const float soft[CELLS];
                CHECK(rcnn_mask_paste_rle(&spec, soft, boxes[i], &region, counts, 2, NULL) == 1);
                CHECK(counts[0] == 1200);
            }
        }
    }
}

/* ------------------------------------------------------------ polygons */

typedef struct outline {
    float points[2 * 4096];
    int32_t ends[2048];
    int32_t point_count, ring_count;
} outline;

static outline shared_outline;

static void trace(const uint8_t *bitmap, const rcnn_mask_region *region, outline *out)
{
    uint8_t *visited = malloc((size_t)(region->width + 1) * (size_t)(region->height + 1));
    int32_t asked;
    int32_t rings = rcnn_mask_polygons(bitmap, region, NULL, 0, NULL, 0, &asked, visited);
    out->ring_count =
        rcnn_mask_polygons(bitmap, region, out->points, 4096, out->ends, 2048, &out->point_count, visited);
    CHECK(rings == out->ring_count && asked == out->point_count && asked <= 4096 && rings <= 2048);
    free(visited);
}

/* Signed area of a ring; positive = clockwise on the screen (y down). */
static double ring_area(const outline *o, int32_t ring)
{
    int32_t from = ring ? o->ends[ring - 1] : 0;
    int32_t count = o->ends[ring] - from;
    double twice = 0;
    for (int32_t i = 0; i < count; i++) {
        const float *p = o->points + 2 * (from + i);
        const float *q = o->points + 2 * (from + (i + 1) % count);
        twice += (double)p[0] * (double)q[1] - (double)q[0] * (double)p[1];
    }
    return twice / 2;
}

/* Even-odd rule at the pixel's centre: crossings of vertical edges to its left. */
static int inside(const outline *o, double x, double y)
{
    int crossings = 0;
    for (int32_t ring = 0; ring < o->ring_count; ring++) {
        int32_t from = ring ? o->ends[ring - 1] : 0;
        int32_t count = o->ends[ring] - from;
        for (int32_t i = 0; i < count; i++) {
            const float *p = o->points + 2 * (from + i);
            const float *q = o->points + 2 * (from + (i + 1) % count);
            crossings += (double)p[0] < x && ((double)p[1] > y) != ((double)q[1] > y);
        }
    }
    return crossings % 2;
}

/* Edges follow the axes, in turn: only corners are listed. */
static void check_corners(const outline *o)
{
    for (int32_t ring = 0; ring < o->ring_count; ring++) {
        int32_t from = ring ? o->ends[ring - 1] : 0;
        int32_t count = o->ends[ring] - from;
        CHECK(count >= 4 && count % 2 == 0);
        for (int32_t i = 0; i < count; i++) {
            const float *p = o->points + 2 * (from + i);
            const float *q = o->points + 2 * (from + (i + 1) % count);
            CHECK(i % 2 == 0 ? p[1] == q[1] && p[0] != q[0] : p[0] == q[0] && p[1] != q[1]);
        }
    }
}

TEST(outline_of_a_ring_of_pixels)
{
    const uint8_t bitmap[] = {1, 1, 1, 1, 0, 1, 1, 1, 1};
    const rcnn_mask_region region = {.x = 10, .y = 20, .width = 3, .height = 3};
    const float want[] = {10, 20, 13, 20, 13, 23, 10, 23};
    outline *o = &shared_outline;
    trace(bitmap, &region, o);
    CHECK(o->ring_count == 2 && o->point_count == 8);
    CHECK(memcmp(o->points, want, sizeof want) == 0);
    CHECK(ring_area(o, 0) == 9 && ring_area(o, 1) == -1);
}

TEST(pixels_that_touch_at_a_corner_are_two_rings)
{
    const uint8_t bitmap[] = {1, 0, 0, 1};
    const uint8_t other[] = {0, 1, 1, 0};
    const rcnn_mask_region region = {.width = 2, .height = 2};
    trace(bitmap, &region, &shared_outline);
    CHECK(shared_outline.ring_count == 2 && shared_outline.point_count == 8);
    trace(other, &region, &shared_outline);
    CHECK(shared_outline.ring_count == 2 && shared_outline.point_count == 8);
}

TEST(outlines_fill_to_the_same_bitmap)
{
    enum { WIDTH = 23, HEIGHT = 17 };
    uint64_t seed = 77;
    outline *o = &shared_outline;
    for (int round = 0; round < 200; round++) {
        const rcnn_mask_region region = {
            .x = round % 9, .y = round % 4, .width = 1 + round % WIDTH, .height = 1 + round % HEIGHT};
        uint8_t bitmap[WIDTH * HEIGHT];
        uint64_t density = test_random(&seed) % 9;
        double area = 0;
        for (int32_t i = 0; i < region.width * region.height; i++) {
            bitmap[i] = test_random(&seed) % 8 < density;
            area += bitmap[i];
        }
        trace(bitmap, &region, o);
        check_corners(o);
        double sum = 0;
        for (int32_t ring = 0; ring < o->ring_count; ring++) {
            sum += ring_area(o, ring);
        }
        CHECK(sum == area);
        for (int32_t i = 0; i < region.width * region.height; i++) {
            double x = region.x + i % region.width + 0.5, y = region.y + i / region.width + 0.5;
            CHECK(inside(o, x, y) == bitmap[i]);
        }
    }
}

TEST_MAIN
