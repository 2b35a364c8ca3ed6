/* The model is written as a native file in memory (docs/weights-format.md) and read by the loader that reads all others. */
#include "bench_random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_scene.h"

#define SEED         20220222
#define CLASSES      80
#define LAYERS_MAX   96
#define HEADER_BYTES (1 << 15)
#define METADATA                                                                                                       \
    "{\"__metadata__\":{\"rcnn_format\":\"1\",\"rcnn_config\":\"{\\\"rcnn_version\\\":\\\"0\\\",\\\"config\\\":{}}\"}"

typedef struct layer {
    char name[48];
    int32_t rank, dim[4];
    int32_t split;  /* rows before it have gain[0], the others gain[1] */
    double gain[2]; /* times the spread that keeps the size of activations (He and others, 2015) */
} layer;

typedef struct network {
    layer layers[LAYERS_MAX];
    int32_t count;
} network;

/* ------------------------------------------------------------- layers */

static layer *add(network *n, const char *name, int32_t rank, int32_t out, int32_t in, int32_t side, double gain)
{
    layer *l = &n->layers[n->count++];
    *l = (layer){.rank = rank, .dim = {out, in, side, side}, .gain = {gain, gain}};
    snprintf(l->name, sizeof l->name, "%s", name);
    return l;
}

/* Each block adds little to what passes by it, so that 16 of them do not let it grow. */
static void add_backbone(network *n)
{
    static const int32_t BLOCKS[] = {3, 4, 6, 3};
    char name[48];
    int32_t in = 64;
    add(n, "backbone.stem", 4, 64, 3, 7, 1);
    for (int32_t s = 0; s < 4; s++) {
        const int32_t planes = 64 << s;
        for (int32_t b = 0; b < BLOCKS[s]; b++) {
            for (int32_t c = 1; c <= 3; c++) {
                snprintf(name, sizeof name, "backbone.layer%d.%d.conv%d", (int)s + 1, (int)b, (int)c);
                add(n, name, 4, c == 3 ? 4 * planes : planes, c == 1 ? in : planes, c == 2 ? 3 : 1, c == 3 ? 0.4 : 1);
            }
            if (b == 0) {
                snprintf(name, sizeof name, "backbone.layer%d.0.shortcut", (int)s + 1);
                add(n, name, 4, 4 * planes, in, 1, 0.7);
            }
            in = 4 * planes;
        }
    }
}

static void add_heads(network *n)
{
    char name[48];
    for (int32_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "fpn.lateral%d", (int)i);
        add(n, name, 4, 256, 256 << i, 1, 0.7);
        snprintf(name, sizeof name, "fpn.output%d", (int)i);
        add(n, name, 4, 256, 256, 3, 0.7);
    }
    add(n, "rpn.conv0", 4, 256, 256, 3, 1);
    layer *rpn = add(n, "rpn.pred", 4, 15, 256, 1, 1); /* 3 logits, 12 deltas */
    rpn->split = 3;
    rpn->gain[1] = 0.2;
    add(n, "box.fc0", 2, 1024, 256 * 49, 1, 1);
    add(n, "box.fc1", 2, 1024, 1024, 1, 1);
    layer *box = add(n, "box.pred", 2, CLASSES + 1 + 4 * CLASSES, 1024, 1, 2);
    box->split = CLASSES + 1;
    box->gain[1] = 0.5;
    for (int32_t i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "mask.conv%d", (int)i);
        add(n, name, 4, 256, 256, 3, 1);
    }
    add(n, "mask.deconv", 4, 256, 256, 2, 1);
    add(n, "mask.logits", 4, CLASSES, 256, 1, 2);
}

/* ------------------------------------------------------------- the file */

static size_t count_weights(const layer *l)
{
    return (size_t)l->dim[0] * (size_t)l->dim[1] * (size_t)l->dim[2] * (size_t)l->dim[3];
}

/* Adds a tensor's entry at byte *offset of the data, and moves it. */
static int add_entry(char *text, int used, const layer *l, bool bias, size_t *offset)
{
    const size_t count = bias ? (size_t)l->dim[0] : count_weights(l);
    used += snprintf(text + used, (size_t)(HEADER_BYTES - used), ",\"%s.%s\":{\"dtype\":\"F32\",\"shape\":[%d", l->name,
                     bias ? "bias" : "weight", (int)l->dim[0]);
    for (int32_t i = 1; i < (bias ? 1 : l->rank); i++) {
        used += snprintf(text + used, (size_t)(HEADER_BYTES - used), ",%d", (int)l->dim[i]);
    }
    used += snprintf(text + used, (size_t)(HEADER_BYTES - used), "],\"data_offsets\":[%zu,%zu]}", *offset,
                     *offset + count * sizeof(float));
    *offset += count * sizeof(float);
    return used;
}

/* Biases first, as in every native file. */
static int write_header(const network *n, char *text, size_t *data_bytes)
{
    int used = snprintf(text, HEADER_BYTES, METADATA);
    *data_bytes = 0;
    for (int bias = 1; bias >= 0; bias--) {
        for (int32_t i = 0; i < n->count; i++) {
            used = add_entry(text, used, &n->layers[i], bias != 0, data_bytes);
        }
    }
    used += snprintf(text + used, (size_t)(HEADER_BYTES - used), "}");
    while (used % 8 != 0) {
        text[used++] = ' ';
    }
    return used;
}

/* Uniform numbers; biases stay zero. The deconvolution's inputs meet one of its four taps each. */
static void write_weights(const network *n, float *out)
{
    uint64_t state = SEED;
    for (int32_t i = 0; i < n->count; i++) {
        out += n->layers[i].dim[0];
    }
    for (int32_t i = 0; i < n->count; i++) {
        const layer *l = &n->layers[i];
        const bool deconv = strcmp(l->name, "mask.deconv") == 0;
        const size_t row = count_weights(l) / (size_t)l->dim[0];
        const double bound = sqrt(6.0 / (deconv ? l->dim[0] : (double)row));
        for (int32_t r = 0; r < l->dim[0]; r++) {
            const double gain = bound * l->gain[r >= l->split];
            for (size_t k = 0; k < row; k++) {
                *out++ = (float)(gain * (2 * scene_random(&state) - 1));
            }
        }
    }
}

static bool read_file(const void *file, size_t size, rcnn_model **out, rcnn_error *err)
{
    rcnn_weights *weights;
    if (rcnn_weights_open_memory(file, size, &weights, err) != RCNN_OK) {
        return false;
    }
    const bool done = rcnn_model_load_weights(weights, NULL, out, err) == RCNN_OK;
    rcnn_weights_close(weights);
    return done;
}

bool random_model_make(rcnn_model **out, rcnn_error *err)
{
    network *n = calloc(1, sizeof *n);
    char *header = calloc(1, HEADER_BYTES), *file = NULL;
    size_t data_bytes = 0;
    uint64_t length = 0;
    *out = NULL;
    if (n && header) {
        add_backbone(n);
        add_heads(n);
        length = (uint64_t)write_header(n, header, &data_bytes);
        file = calloc(1, sizeof length + length + data_bytes);
    }
    bool done = file != NULL || tool_fail(err, "out of memory for %zu bytes of random weights", data_bytes);
    if (done) {
        memcpy(file, &length, sizeof length);
        memcpy(file + sizeof length, header, length);
        write_weights(n, (float *)(void *)(file + sizeof length + length));
        done = read_file(file, sizeof length + length + data_bytes, out, err);
    }
    free(n);
    free(header);
    free(file);
    return done;
}
