/* One picture of two runs: A on the left, B on the right, what differs in a warning colour. */
#ifndef RCNN_TOOLS_VERIFY_PICTURE_H
#define RCNN_TOOLS_VERIFY_PICTURE_H

#include "verify.h"

/* Writes the picture of an image (RGB8) and its two results to path. False with err filled. */
bool verify_picture(const verify_image *image, const rcnn_image_view *view, rcnn_results *const results[2],
                    const verify_limits *limits, const char *path, rcnn_error *err);

#endif
