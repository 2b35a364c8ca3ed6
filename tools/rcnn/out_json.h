/* Detections as JSON, written image by image so that memory does not grow with the number of images. */
#ifndef RCNN_TOOLS_OUT_JSON_H
#define RCNN_TOOLS_OUT_JSON_H

#include <stdbool.h>
#include <stdio.h>

#include "stream.h"

typedef struct json_writer {
    FILE *stream;
    const rcnn_model *model;
    rcnn_mask_format masks; /* form of "segmentation"; NONE leaves it out */
    size_t images;          /* written so far                             */
    char *text;             /* scratch of one run-length text             */
    size_t text_capacity;
} json_writer;

/* What stands in "info". */
typedef struct json_info {
    const char *model, *backend, *precision, *masks;
    double score_threshold;
} json_info;

/* JSON text of a string, quotes included; bytes that are not UTF-8 become U+FFFD. */
void json_string(FILE *out, const char *text);
/* The shortest decimal that reads back as the same float; null when not finite. */
void json_float(FILE *out, float value);

/* The stream is borrowed. Write errors stay in the stream (ferror). */
void json_begin(json_writer *json, const json_info *info);
/* One image with its detections; timing_ms has its share of the time of its batch, and reading and drawing. False with err
 * filled when a mask could not be made. */
bool json_image(json_writer *json, const stream_item *item, double draw_ms, rcnn_error *err);
/* Completes the text and frees the scratch. */
void json_end(json_writer *json);

#endif
