/* What the image decoders share: the source, the limits, the pixels they fill, and EXIF orientation. Internal to
 * src/image; the rest of the library uses the public rcnn_image_* calls only. */
#ifndef RCNN_IMAGE_CODEC_H
#define RCNN_IMAGE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Encoded bytes, borrowed for the duration of one decode. */
typedef struct rcnn_image_source {
    const char *name; /* for messages: the path, or "image data" */
    const uint8_t *data;
    size_t size;
    uint64_t max_pixels; /* 1 .. RCNN_IMAGE_PIXELS_MAX */
} rcnn_image_source;

struct rcnn_image {
    uint8_t *pixels; /* RGB8, rows of width*3 bytes, top to bottom; owned, rcnn_free */
    int32_t width, height;
    int32_t orientation; /* EXIF, 1..8; how `pixels` must be turned to stand upright */
    const char *format;  /* public format name, constant                             */
};

/* A decoder fills *image (zeroed by the caller): size, pixels, and orientation where its format carries one that
 * OpenCV honours, else 1. After a failure the caller frees whatever image->pixels holds.
 * Statuses: FORMAT, LIMIT, UNSUPPORTED, MEMORY. */
typedef rcnn_status (*rcnn_image_decoder)(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err);

rcnn_status rcnn_image_decode_jpeg(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err);
/* Size and orientation without pixels, of a file that any decoder of plain JPEGs reads as ours does; see examine.h. */
rcnn_status rcnn_image_read_jpeg_header(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err);
rcnn_status rcnn_image_decode_png(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err);
rcnn_status rcnn_image_decode_webp(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err);
rcnn_status rcnn_image_decode_pnm(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err);

/* Is this size within the named limits? FORMAT for an empty image, LIMIT for a large one. */
rcnn_status rcnn_image_check_size(const rcnn_image_source *source, uint64_t width, uint64_t height, rcnn_error *err);

/* Checks the size, then sets image->width, height and allocates image->pixels (not cleared). */
rcnn_status rcnn_image_allocate(const rcnn_image_source *source, uint64_t width, uint64_t height, rcnn_image *image,
                                rcnn_error *err);

/* Row y of image->pixels. */
static inline uint8_t *rcnn_image_row(const rcnn_image *image, size_t y)
{
    return image->pixels + y * (size_t)image->width * 3;
}

/* The orientation tag of a TIFF block ("II*\0" or "MM\0*"), 1..8; 1 when there is none or the block is malformed. */
int32_t rcnn_exif_orientation(const uint8_t *tiff, size_t size);

/* Turns image->pixels upright according to image->orientation and sets that to 1. Status: MEMORY. */
rcnn_status rcnn_image_turn_upright(const rcnn_image_source *source, rcnn_image *image, rcnn_error *err);

#endif
