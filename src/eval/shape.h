/* Masks of the evaluator: kept packed (a few bytes per vertex or run), spread out into runs only while a pair of image
 * and category is at work. No bitmap is ever made. */
#ifndef RCNN_EVAL_SHAPE_H
#define RCNN_EVAL_SHAPE_H

#include <stdbool.h>

#include "base/status.h"
#include "base/text.h"

#define RCNN_EVAL_PIXELS_MAX     0x7fffffff /* width * height of an image with masks, as COCO's own run lengths allow */
#define RCNN_EVAL_UPSAMPLE       5   /* polygons are walked on a grid this much finer than the pixels           */
#define RCNN_EVAL_COORDINATE_MAX 1e7 /* largest polygon or box coordinate, pixels                               */

typedef enum rcnn_eval_shape_kind {
    RCNN_EVAL_SHAPE_NONE,
    RCNN_EVAL_SHAPE_RUNS, /* COCO's compressed run-length text, checked                                  */
    RCNN_EVAL_SHAPE_RINGS /* per ring: vertex count, then differences of the upsampled vertices; varints */
} rcnn_eval_shape_kind;

/* A packed mask: where it lies in the bytes of its store. */
typedef struct rcnn_eval_shape {
    size_t offset;
    uint32_t bytes;
    uint8_t kind;
} rcnn_eval_shape;

/* Growing array of run borders: a mask sets the pixels [at[0],at[1]), [at[2],at[3]), .. of the column-major order,
 * strictly rising. */
typedef struct rcnn_eval_borders {
    uint32_t *at;
    size_t count, capacity;
} rcnn_eval_borders;

/* A mask spread out into borders first .. first+count-1 of an array. */
typedef struct rcnn_eval_spans {
    size_t first, count;
    uint32_t area;        /* set pixels                                   */
    int32_t x, y, x2, y2; /* tight box, right and bottom exclusive; 0 for an empty mask */
} rcnn_eval_spans;

/* What spreading needs: the borders of the masks in hand, and scratch of single rings. Zeroed = empty. */
typedef struct rcnn_eval_canvas {
    rcnn_eval_borders borders, ring, merged;
} rcnn_eval_canvas;

void rcnn_eval_canvas_free(rcnn_eval_canvas *canvas);

/* Appends the spans of a packed shape (bytes of the store, image size) to canvas->borders. The shape was checked when
 * packed. False when out of memory. */
bool rcnn_eval_shape_spread(rcnn_eval_canvas *canvas, const uint8_t *bytes, const rcnn_eval_shape *shape, int32_t width,
                            int32_t height, rcnn_eval_spans *out);
/* The same for a box x, y, width, height drawn as a polygon. */
bool rcnn_eval_box_spread(rcnn_eval_canvas *canvas, const double box[4], int32_t width, int32_t height,
                          rcnn_eval_spans *out);

/* The upsampled integer coordinate, COCO's rounding; |value| <= RCNN_EVAL_COORDINATE_MAX. */
int32_t rcnn_eval_upsample(double value);
/* Appends one ring of `count` upsampled x,y vertices; text->failed when out of memory. */
void rcnn_eval_pack_ring(rcnn_text *bytes, const int32_t *vertices, size_t count);

/* What a run-length text says about itself. */
typedef enum rcnn_eval_runs_state {
    RCNN_EVAL_RUNS_GOOD,
    RCNN_EVAL_RUNS_CHARACTER, /* a character outside 0..o, or a count cut short or of more than 32 bits */
    RCNN_EVAL_RUNS_NEGATIVE,  /* a count below 0                                                        */
    RCNN_EVAL_RUNS_SUM        /* the counts do not add up to the pixels                                 */
} rcnn_eval_runs_state;
/* Checks a compressed run-length text against the number of pixels; *sum gets the total of the counts read. */
rcnn_eval_runs_state rcnn_eval_runs_check(const char *text, size_t length, uint64_t pixels, uint64_t *sum);

/* Pixels that two masks share. */
uint32_t rcnn_eval_intersection(const uint32_t *borders, const rcnn_eval_spans *a, const rcnn_eval_spans *b);

#endif
