/* The three resize kernels behind preprocess, all in the same shape: a horizontal pass makes a row of samples from one
 * source row, a vertical pass makes a network row from a few of those. Rows are worked off from top to bottom by each
 * thread, and a small cache keeps the horizontal rows that the next network row needs again. */
#ifndef RCNN_BACKEND_CPU_RESIZE_H
#define RCNN_BACKEND_CPU_RESIZE_H

#include "backend/cpu/body.h"
#include "graph/graph.h"

/* One image of a run. */
typedef struct rcnn_cpu_resize_job {
    const rcnn_cpu_body *body;
    const rcnn_image_view *view;
    size_t pixel_bytes;
    size_t channel[3];       /* byte of network channel c within a source pixel      */
    const float (*lut)[256]; /* normalised value of a byte, by network channel       */
    int32_t net_width, net_height;
    void *columns, *rows; /* the kernel's tap tables [net_width], [net_height]    */
    int32_t *weights;     /* Pillow: weights of the columns' windows, then the rows' */
} rcnn_cpu_resize_job;

#define RCNN_CPU_CACHED_ROWS 16 /* windows up to this high are computed once; higher ones again per network row */

typedef struct rcnn_cpu_row_cache {
    unsigned char *rows; /* [RCNN_CPU_CACHED_ROWS][row_bytes] */
    size_t row_bytes;
    int32_t source[RCNN_CPU_CACHED_ROWS]; /* source row in each slot, -1 = none */
    void *line;                           /* [net_width * 3] int32: the vertical pass's own */
} rcnn_cpu_row_cache;

typedef struct rcnn_cpu_resizer {
    size_t tap_bytes;                             /* an entry of columns or rows                              */
    size_t sample_bytes;                          /* a sample of a horizontal row                             */
    int32_t has_weights;                          /* wants job.weights                                        */
    void (*plan)(const rcnn_cpu_resize_job *job); /* fills the tables                */
    void (*horizontal)(const rcnn_cpu_resize_job *job, const uint8_t *src, void *row);
    void (*vertical)(const rcnn_cpu_resize_job *job, int32_t y, rcnn_cpu_row_cache *cache, float *dst);
} rcnn_cpu_resizer;

extern const rcnn_cpu_resizer rcnn_cpu_resize_opencv, rcnn_cpu_resize_pillow, rcnn_cpu_resize_float;

/* Most weights that one axis of a Pillow job needs for `in` source and `out` network pixels. */
size_t rcnn_cpu_pillow_weights_max(int32_t in, int32_t out);

/* The horizontal row of source row y, from the cache or made now. Valid until CACHED_ROWS other rows were asked for. */
const void *rcnn_cpu_cached_row(const rcnn_cpu_resizer *resizer, const rcnn_cpu_resize_job *job,
                                rcnn_cpu_row_cache *cache, int32_t y);

static inline int32_t rcnn_cpu_clamp(int32_t value, int32_t low, int32_t high)
{
    return value < low ? low : value > high ? high : value;
}

/* dst [width*3] = normalised values of bytes [width*3]. */
static inline void rcnn_cpu_apply_lut(const float (*lut)[256], const uint8_t *bytes, int32_t width, float *dst)
{
    for (size_t i = 0; i < (size_t)width * 3; i += 3) {
        dst[i] = lut[0][bytes[i]];
        dst[i + 1] = lut[1][bytes[i + 1]];
        dst[i + 2] = lut[2][bytes[i + 2]];
    }
}

#endif
