/* What the golden tests share: the list of thin models, their checkpoints, and the reference values that
 * scripts/make_golden.py wrote beside them. It does not compare anything. */
#ifndef RCNN_TESTS_GOLDEN_H
#define RCNN_TESTS_GOLDEN_H

#include "rcnn/rcnn.h"

typedef struct golden_model {
    const char *name;       /* folder under tests/golden/data                                     */
    const char *checkpoint; /* file in it                                                         */
    int32_t exact_image;    /* the framework resizes bytes: the network's input must be bit-equal */
} golden_model;

#define GOLDEN_MODEL_COUNT 8
extern const golden_model golden_models[GOLDEN_MODEL_COUNT];

typedef struct golden_case {
    const golden_model *entry;
    rcnn_weights *reference;
    rcnn_model *model;     /* loaded with the reference's config overrides */
    rcnn_image_view image; /* borrowed from the reference                  */
    int32_t net_width, net_height, padded_width, padded_height;
} golden_case;

/* Opens DATA/<model>/<file> ("reference.safetensors", "large.safetensors") and the model. Returns 0 and prints why
 * when something is missing. Close in either case. */
int golden_open(golden_case *g, const golden_model *entry, const char *file);
void golden_close(golden_case *g);

/* A reference value: its first element and how many rows (dim 0) and elements it has. NULL when the file lacks it. */
const void *golden_find(const golden_case *g, const char *name, int32_t *rows, size_t *elements);
const float *golden_floats(const golden_case *g, const char *name, int32_t *rows, size_t *elements);
const int32_t *golden_ints(const golden_case *g, const char *name, int32_t *rows);

/* The network's input [padded_height][padded_width][3], made of bytes and table where it is kept so; free() it. */
float *golden_image(const golden_case *g);

/* Usable backends, by name; NULL past the end. */
const char *golden_backend(int32_t index);
/* Bits 1u << rcnn_precision of what a usable backend computes in. */
uint32_t golden_precisions(const char *backend);

#endif
