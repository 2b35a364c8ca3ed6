/* Run lengths: the text form against pycocotools' bytes, and bitmaps there and back. */
#include "harness.h"
#include "mask/mask.h"
#include "rcnn/rcnn.h"

TEST(string_of_the_documented_example)
{
    const uint32_t counts[] = {6, 1, 40, 4, 5, 4, 5, 4, 21};
    char text[32];
    size_t length = rcnn_rle_to_string(counts, 9, text, sizeof text);
    CHECK(length == 12);
    CHECK_MSG(strcmp(text, "61X13mN000`0") == 0, "got '%s'", text);
    CHECK(rcnn_rle_area(counts, 9) == 13);
}

TEST(string_sizes_and_truncates)
{
    const uint32_t counts[] = {6, 1, 40, 4};
    char text[8] = "xxxxxxx";
    size_t length = rcnn_rle_to_string(counts, 4, NULL, 0);
    CHECK(length == 5);
    CHECK(rcnn_rle_to_string(counts, 4, text, 3) == length);
    CHECK(strcmp(text, "61") == 0);
    CHECK(text[3] == 'x');
    CHECK(rcnn_rle_to_string(counts, 4, text, 6) == length);
    CHECK(strcmp(text, "61X13") == 0);
    CHECK(rcnn_rle_to_string(NULL, 0, text, 8) == 0);
    CHECK(text[0] == '\0');
}

/* The other direction, written from the format's description; only tests need it. */
static int32_t counts_of_string(const char *text, uint32_t *counts)
{
    int32_t count = 0;
    while (*text) {
        int64_t x = 0;
        int shift = 0;
        int c;
        do {
            c = *text++ - 48;
            x |= (int64_t)(c & 31) << shift;
            shift += 5;
        } while (c & 32);
        if (c & 16) {
            x -= (int64_t)1 << shift;
        }
        if (count > 2) {
            x += counts[count - 2];
        }
        counts[count++] = (uint32_t)x;
    }
    return count;
}

TEST(string_reads_back)
{
    uint64_t seed = 3;
    for (int round = 0; round < 200; round++) {
        uint32_t counts[40];
        uint32_t back[40];
        char text[400];
        int32_t count = 1 + (int32_t)(test_random(&seed) % 39);
        for (int32_t i = 0; i < count; i++) {
            counts[i] = (uint32_t)(test_random(&seed) >> (36 + test_random(&seed) % 28));
        }
        CHECK(rcnn_rle_to_string(counts, count, text, sizeof text) < sizeof text);
        CHECK(counts_of_string(text, back) == count);
        CHECK(memcmp(counts, back, (size_t)count * sizeof *counts) == 0);
    }
}

static void fill_bitmap(uint8_t *bitmap, int32_t pixels, uint64_t *seed)
{
    uint64_t density = test_random(seed) % 5; /* 0: empty, 4: full */
    for (int32_t i = 0; i < pixels; i++) {
        bitmap[i] = test_random(seed) % 4 < density;
    }
}

/* decode(rle_of_bitmap(b)) = b standing at its region; counts add up, only the first may be 0. */
TEST(bitmaps_survive)
{
    enum { WIDTH = 13, HEIGHT = 9 };
    uint64_t seed = 7;
    for (int round = 0; round < 500; round++) {
        rcnn_mask_region region = {.x = (int32_t)(test_random(&seed) % WIDTH),
                                   .y = (int32_t)(test_random(&seed) % HEIGHT)};
        region.width = (int32_t)(test_random(&seed) % (uint64_t)(WIDTH - region.x + 1));
        region.height = (int32_t)(test_random(&seed) % (uint64_t)(HEIGHT - region.y + 1));
        uint8_t bitmap[WIDTH * HEIGHT], decoded[WIDTH * HEIGHT], want[WIDTH * HEIGHT] = {0};
        uint32_t counts[WIDTH * (HEIGHT + 1) + 2];
        fill_bitmap(bitmap, region.width * region.height, &seed);
        uint64_t area = 0;
        for (int32_t y = 0; y < region.height; y++) {
            for (int32_t x = 0; x < region.width; x++) {
                uint8_t pixel = bitmap[y * region.width + x];
                want[(region.y + y) * WIDTH + region.x + x] = pixel;
                area += pixel;
            }
        }
        int32_t capacity = (int32_t)rcnn_mask_rle_capacity(&region);
        int32_t count = rcnn_mask_rle_of_bitmap(bitmap, &region, WIDTH, HEIGHT, counts, capacity);
        rcnn_error err = {0};
        REQUIRE(count >= 1 && count <= capacity);
        CHECK_OK(rcnn_rle_decode(counts, count, WIDTH, HEIGHT, decoded, &err), err);
        CHECK(memcmp(want, decoded, sizeof want) == 0);
        CHECK(rcnn_rle_area(counts, count) == area);
        for (int32_t i = 1; i < count; i++) {
            CHECK(counts[i] > 0);
        }
        CHECK(rcnn_mask_rle_of_bitmap(bitmap, &region, WIDTH, HEIGHT, NULL, 0) == count);
    }
}

TEST(decode_refuses_wrong_sums)
{
    const uint32_t counts[] = {5, 2, 4};
    const uint32_t wrapping[] = {0x80000000u, 0x80000000u, 11};
    uint8_t bitmap[12];
    rcnn_error err = {0};
    CHECK_OK(rcnn_rle_decode(counts, 3, 11, 1, bitmap, &err), err);
    CHECK(rcnn_rle_decode(counts, 3, 4, 3, bitmap, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_rle_decode(wrapping, 3, 11, 1, bitmap, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_rle_decode(counts, 3, -11, -1, bitmap, &err) == RCNN_ERR_ARGUMENT);
    CHECK(rcnn_rle_decode(NULL, 0, 11, 1, bitmap, NULL) == RCNN_ERR_ARGUMENT);
}

TEST_MAIN
