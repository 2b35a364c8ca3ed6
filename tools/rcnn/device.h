/* Devices and precisions as they are written on the command line: "auto", "cpu", "ref", "cuda", "cuda:1", "cuda:0,2". */
#ifndef RCNN_TOOLS_DEVICE_H
#define RCNN_TOOLS_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "rcnn/rcnn.h"

#define DEVICES_MAX       16 /* GPUs of one run */
#define DEVICE_NAME_BYTES 16
#define DEVICE_WANTED     "auto, cuda[:N[,M...]], cpu or ref"

typedef struct device_choice {
    char backend[DEVICE_NAME_BYTES];
    int32_t count; /* >= 1 */
    int32_t index[DEVICES_MAX];
} device_choice;

/* The first `length` characters of text. False when they are none of DEVICE_WANTED; whether there is such a GPU is the
 * library's to say. Only cuda takes numbers, each once. */
bool device_parse(const char *text, size_t length, device_choice *out);

/* "auto", "fp32", ...; NULL when out of range. */
const char *precision_name(int32_t precision);

#endif
