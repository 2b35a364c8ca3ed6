/* Whether a JPEG file may be left to a decoder that knows less than ours. */
#ifndef RCNN_IMAGE_EXAMINE_H
#define RCNN_IMAGE_EXAMINE_H

#include "base/status.h"

/* Reads a JPEG file up to its first scan, and looks for its end. OK: it is Huffman coded, 8 bits, grey or YCbCr, upright
 * (or options say to ignore that), within the limits and not cut short; its size is in width and height. UNSUPPORTED: it
 * is no JPEG, or one that wants our own decoder, which may refuse it as well. Other statuses are those of
 * rcnn_image_decode. options NULL = defaults. */
rcnn_status rcnn_image_examine_jpeg(const void *data, size_t size, const rcnn_image_options *options, int32_t *width,
                                    int32_t *height, rcnn_error *err);

#endif
