/* JPEG files read into a GPU's memory, by one thread. */
#ifndef RCNN_TOOLS_GPU_READER_H
#define RCNN_TOOLS_GPU_READER_H

#include <stdbool.h>

#include "rcnn/rcnn.h"

typedef struct gpu_reader {
    rcnn_decoder *decoder;
    unsigned char *bytes; /* of the file */
    size_t capacity;
} gpu_reader;

/* `keep` pictures stay valid at once. False with err filled. */
bool gpu_reader_open(gpu_reader *r, int32_t device, int32_t keep, rcnn_error *err);
/* False when the CPU is to read the file, with a line of why in the log. */
bool gpu_reader_read(gpu_reader *r, const char *path, int32_t ignore_exif, rcnn_image_view *out);
/* Also when never opened. */
void gpu_reader_close(gpu_reader *r);

#endif
