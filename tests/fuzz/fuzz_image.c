/* Any bytes as an image, and as a JPEG that is only looked at. The size limit keeps one input fast; the pixels of a success
 * are all read, so that sanitizers see rows that were never written or lie outside. PNG files run a second time with their
 * checksums made right, or almost every change would end at the first checksum. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "fuzz.h"
#include "image/examine.h"
#include "rcnn/rcnn.h"

#define PNG_SIGNATURE_BYTES 8

/* What may go to a decoder on a device has the size that our own decoder finds. */
static void examine(const uint8_t *data, size_t size, const rcnn_image_options *options, const rcnn_image *image)
{
    rcnn_error err = {0};
    int32_t width = 0, height = 0;
    rcnn_status status = rcnn_image_examine_jpeg(data, size, options, &width, &height, &err);
    if (err.status != status || (status == RCNN_OK && (width < 1 || height < 1 || (int64_t)width * height > 1 << 18))) {
        abort();
    }
    if (status == RCNN_OK && image) {
        rcnn_image_view view;
        rcnn_image_get_view(image, &view);
        if (view.width != width || view.height != height) {
            abort();
        }
    }
}

static void decode(const uint8_t *data, size_t size)
{
    rcnn_error err;
    rcnn_image *image = NULL;
    rcnn_image_options options;
    rcnn_image_options_init(&options);
    options.max_pixels = 1 << 18;
    rcnn_status status = rcnn_image_decode(data, size, &options, &image, &err);
    if ((status == RCNN_OK) != (image != NULL) || err.status != status) {
        abort();
    }
    examine(data, size, &options, image);
    if (image) {
        rcnn_image_view view;
        rcnn_image_get_view(image, &view);
        volatile uint32_t sum = 0;
        for (int32_t y = 0; y < view.height; y++) {
            for (int32_t i = 0; i < view.width * 3; i++) {
                sum += view.data[(size_t)y * view.stride_bytes + (size_t)i];
            }
        }
        (void)sum;
        rcnn_image_destroy(image);
    }
}

/* Rewrites the checksum of every whole chunk. */
static void repair_checksums(uint8_t *png, size_t size)
{
    size_t at = PNG_SIGNATURE_BYTES;
    while (size - at >= 12) {
        size_t length = (size_t)png[at] << 24 | (size_t)png[at + 1] << 16 | (size_t)png[at + 2] << 8 | png[at + 3];
        if (length > size - at - 12) {
            return;
        }
        uint32_t sum = (uint32_t)crc32(0, png + at + 4, (uInt)length + 4);
        at += 8 + length;
        for (int i = 0; i < 4; i++) {
            png[at++] = (uint8_t)(sum >> (24 - 8 * i));
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    decode(data, size);
    if (size >= PNG_SIGNATURE_BYTES && memcmp(data, "\x89PNG\r\n\x1a\n", PNG_SIGNATURE_BYTES) == 0) {
        uint8_t *copy = malloc(size);
        if (copy) {
            memcpy(copy, data, size);
            repair_checksums(copy, size);
            decode(copy, size);
            free(copy);
        }
    }
    return 0;
}
