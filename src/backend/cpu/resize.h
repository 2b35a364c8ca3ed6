/* The three resize kernels behind preprocess, all in the same shape: a horizontal pass makes a row of samples from one
 * source row, a vertical pass makes a line of resized samples from a few of those, which is then stored as elements of
 * the image. Rows are worked off from top to bottom by each thread, and a small cache keeps the horizontal rows that the
 * next line needs again. */
#ifndef RCNN_BACKEND_CPU_RESIZE_H
#define RCNN_BACKEND_CPU_RESIZE_H

#include "backend/cpu/body.h"
#include "graph/graph.h"

/* One image of a run. */
typedef struct rcnn_cpu_resize_job {
    const rcnn_cpu_body *body;
    const rcnn_image_view *view;
    size_t pixel_bytes;
    size_t channel[3];         /* byte of network channel c within a source pixel      */
    const float (*lut)[256];   /* normalised value of a byte, by network channel       */
    uint16_t (*bf16_lut)[256]; /* the same as BF16, for images of that type */
    rcnn_dtype type;           /* of the image: F32 or BF16 */
    size_t channels;           /* of the image: 3, or 4 of which the last is zero */
    int32_t net_width, net_height;
    void *columns, *rows; /* the kernel's tap tables [net_width], [net_height]    */
    int32_t *weights;     /* Pillow: weights of the columns' windows, then the rows' */
} rcnn_cpu_resize_job;

#define RCNN_CPU_CACHED_ROWS 16 /* windows up to this high are computed once; higher ones again per network row */

typedef struct rcnn_cpu_row_cache {
    unsigned char *rows; /* [RCNN_CPU_CACHED_ROWS][row_bytes] */
    size_t row_bytes;
    int32_t source[RCNN_CPU_CACHED_ROWS]; /* source row in each slot, -1 = none */
    int32_t *sums;                        /* [net_width * 3]: the vertical pass's own */
    void *line;                           /* [net_width * 3] bytes or floats: what the vertical pass made */
} rcnn_cpu_row_cache;

typedef struct rcnn_cpu_resizer {
    size_t tap_bytes;                             /* an entry of columns or rows                              */
    size_t sample_bytes;                          /* a sample of a horizontal row                             */
    int32_t has_weights;                          /* wants job.weights                                        */
    int32_t gives_floats;                         /* its lines are normalised floats, else bytes to be looked up */
    void (*plan)(const rcnn_cpu_resize_job *job); /* fills the tables                */
    void (*horizontal)(const rcnn_cpu_resize_job *job, const uint8_t *src, void *row);
    void (*vertical)(const rcnn_cpu_resize_job *job, int32_t y, rcnn_cpu_row_cache *cache, void *line);
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

/* Stores a line as net_width pixels of the image. */
void rcnn_cpu_store_bytes(const rcnn_cpu_resize_job *job, const uint8_t *line, void *dst);
/* Stores a source row of net_width pixels. */
void rcnn_cpu_store_pixels(const rcnn_cpu_resize_job *job, const uint8_t *row, void *dst);
void rcnn_cpu_store_floats(const rcnn_cpu_resize_job *job, const float *line, void *dst);

#endif
