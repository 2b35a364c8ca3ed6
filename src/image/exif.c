/* EXIF orientation: finding the tag, turning the pixels. Follows OpenCV 4.6: only the first image directory is read, the
 * first orientation entry wins, its value is taken as 16 bits whatever type the entry names, and a value outside 1..8
 * means upright. Unlike OpenCV, damage in the other entries does not matter, because they are not looked at. */
#include "image/codec.h"

#include <string.h>

#include "base/memory.h"

#define TAG_ORIENTATION 0x0112
#define ENTRY_BYTES     12 /* tag u16, type u16, count u32, value or offset u32 */

/* A little- or big-endian number of `bytes` bytes; false when it would reach past the end. */
static bool read_number(const uint8_t *data, size_t size, size_t offset, size_t bytes, uint32_t *out)
{
    if (offset > size || bytes > size - offset) {
        return false;
    }
    bool little = data[0] == 'I';
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value = value << 8 | data[offset + (little ? bytes - 1 - i : i)];
    }
    *out = value;
    return true;
}

int32_t rcnn_exif_orientation(const uint8_t *tiff, size_t size)
{
    uint32_t mark, directory, entries, tag, value;
    if (size < 2 || tiff[0] != tiff[1] || (tiff[0] != 'I' && tiff[0] != 'M') || !read_number(tiff, size, 2, 2, &mark) ||
        mark != 42 || !read_number(tiff, size, 4, 4, &directory) || !read_number(tiff, size, directory, 2, &entries)) {
        return 1;
    }
    for (size_t i = 0; i < entries; i++) {
        size_t entry = (size_t)directory + 2 + i * ENTRY_BYTES;
        if (!read_number(tiff, size, entry, 2, &tag)) {
            return 1;
        }
        if (tag == TAG_ORIENTATION) {
            return read_number(tiff, size, entry + 8, 2, &value) && value >= 1 && value <= 8 ? (int32_t)value : 1;
        }
    }
    return 1;
}

/* How to walk the stored pixels to write the upright ones in order: where to start, what one step right and one step
 * down in the upright picture mean, in units of stored columns (dx) and rows (dy). */
typedef struct walk {
    bool last_column, last_row; /* start there rather than at the first */
    int right_dx, right_dy, down_dx, down_dy;
} walk;

static const walk walks[9] = {
    [1] = {false, false, 1, 0, 0, 1}, [2] = {true, false, -1, 0, 0, 1}, [3] = {true, true, -1, 0, 0, -1},
    [4] = {false, true, 1, 0, 0, -1}, [5] = {false, false, 0, 1, 1, 0}, [6] = {false, true, 0, -1, 1, 0},
    [7] = {true, true, 0, -1, -1, 0}, [8] = {true, false, 0, 1, -1, 0},
};

#define TILE 32 /* pixels; keeps both the rows read and the rows written in cache when columns become rows */

/* Copies columns x0 .. x1-1 of `rows` rows; `src` points at the stored pixel of (x0, first row). */
static void copy_tile(const uint8_t *src, ptrdiff_t right, ptrdiff_t down, uint8_t *dst, size_t dst_stride,
                      size_t columns, size_t rows)
{
    for (size_t y = 0; y < rows; y++) {
        const uint8_t *from = src + (ptrdiff_t)y * down;
        uint8_t *to = dst + y * dst_stride;
        for (size_t x = 0; x < columns; x++) {
            to[0] = from[0];
            to[1] = from[1];
            to[2] = from[2];
            to += 3;
            from += right;
        }
    }
}

rcnn_status rcnn_image_turn_upright(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err)
{
    if (image->orientation == 1) {
        return RCNN_OK;
    }
    const walk *w = &walks[image->orientation];
    const bool swapped = w->right_dx == 0;
    const size_t width = (size_t)(swapped ? image->height : image->width);
    const size_t height = (size_t)(swapped ? image->width : image->height);
    const size_t stored_stride = (size_t)image->width * 3, stride = width * 3;
    uint8_t *turned = rcnn_malloc_aligned(stride * height); /* cannot overflow: the stored size was checked */
    if (!turned) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "%s: out of memory turning %zux%zu pixels", source->name, width, height);
    }
    const ptrdiff_t right = 3 * w->right_dx + w->right_dy * (ptrdiff_t)stored_stride;
    const ptrdiff_t down = 3 * w->down_dx + w->down_dy * (ptrdiff_t)stored_stride;
    const uint8_t *start = image->pixels + (w->last_column ? stored_stride - 3 : 0) +
                           (w->last_row ? ((size_t)image->height - 1) * stored_stride : 0);
    for (size_t y = 0; y < height; y += TILE) {
        for (size_t x = 0; x < width; x += TILE) {
            copy_tile(start + (ptrdiff_t)x * right + (ptrdiff_t)y * down, right, down, turned + y * stride + x * 3,
                      stride, width - x < TILE ? width - x : TILE, height - y < TILE ? height - y : TILE);
        }
    }
    rcnn_free(image->pixels);
    image->pixels = turned;
    image->width = (int32_t)width;
    image->height = (int32_t)height;
    image->orientation = 1;
    return RCNN_OK;
}
