/* COCO run lengths of bitmaps, their text form, and back (spec 11). */
#include "mask/runs.h"
#include "mask/mask.h"

#include <string.h>

size_t rcnn_mask_rle_capacity(const rcnn_mask_region *region)
{
    /* a column has at most (height + 1) / 2 runs of ones, each after one of zeros; and the zeros at the end */
    return ((size_t)region->height + 1) * (size_t)region->width + 2;
}

int32_t rcnn_mask_rle_of_bitmap(const uint8_t *bitmap, const rcnn_mask_region *region, int32_t width, int32_t height,
                                uint32_t *counts, int32_t capacity)
{
    rcnn_mask_runs runs = {.counts = counts, .capacity = capacity};
    int64_t done = 0;
    for (int32_t x = 0; x < region->width && region->height > 0; x++) {
        const int64_t top = (int64_t)(region->x + x) * height + region->y;
        rcnn_mask_runs_add(&runs, false, top - done);
        for (int32_t y = 0; y < region->height; y++) {
            rcnn_mask_runs_add(&runs, bitmap[(size_t)y * (size_t)region->width + (size_t)x] != 0, 1);
        }
        done = top + region->height;
    }
    rcnn_mask_runs_add(&runs, false, (int64_t)width * height - done);
    return rcnn_mask_runs_end(&runs);
}

/* Five bits a character, low ones first; bit 5 says that more follow. Counts from the fourth on are differences to the
 * count of the same kind before. Source: pycocotools rleToString. */
size_t rcnn_rle_to_string(const uint32_t *counts, int32_t count, char *dst, size_t capacity)
{
    size_t length = 0;
    for (int32_t i = 0; i < count; i++) {
        int64_t x = counts[i];
        if (i > 2) {
            x -= counts[i - 2];
        }
        int more = 1;
        while (more) {
            int bits = (int)(x & 31);
            x = (x - bits) / 32; /* an arithmetic shift by 5, spelled so that C defines it */
            more = bits & 16 ? x != -1 : x != 0;
            if (length + 1 < capacity) {
                dst[length] = (char)(bits + (more ? 32 : 0) + 48);
            }
            length++;
        }
    }
    if (capacity > 0) {
        dst[length < capacity ? length : capacity - 1] = '\0';
    }
    return length;
}

uint64_t rcnn_rle_area(const uint32_t *counts, int32_t count)
{
    uint64_t area = 0;
    for (int32_t i = 1; i < count; i += 2) {
        area += counts[i];
    }
    return area;
}

/* Sets pixels from .. to-1 of the column-major order. */
static void set_run(uint8_t *dst, size_t width, size_t height, uint64_t from, uint64_t to)
{
    size_t x = (size_t)(from / height);
    size_t y = (size_t)(from % height);
    for (uint64_t i = from; i < to; i++) {
        dst[y * width + x] = 1;
        if (++y == height) {
            y = 0;
            x++;
        }
    }
}

rcnn_status rcnn_rle_decode(const uint32_t *counts, int32_t count, int32_t width, int32_t height, uint8_t *dst,
                            rcnn_error *err)
{
    uint64_t total = 0;
    for (int32_t i = 0; counts && i < count; i++) {
        total += counts[i];
    }
    if (width < 1 || height < 1 || !dst || total != (uint64_t)width * (uint64_t)height) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT,
                         "rle: want runs that add up to %d x %d pixels, got %d that add up to %llu", width, height,
                         count, (unsigned long long)total);
    }
    memset(dst, 0, (size_t)total);
    uint64_t at = 0;
    for (int32_t i = 0; i < count; i++) {
        if (i % 2 == 1) {
            set_run(dst, (size_t)width, (size_t)height, at, at + counts[i]);
        }
        at += counts[i];
    }
    return RCNN_OK;
}
