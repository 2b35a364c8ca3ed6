/* The modes that `rcnn bench` knows, and the lists of modes and sizes on its command line. */
#ifndef RCNN_TOOLS_BENCH_MODES_H
#define RCNN_TOOLS_BENCH_MODES_H

#include "message.h"

#define BENCH_MODES_MAX  16
#define BENCH_SIZES_MAX  8
#define BENCH_BATCH_MAX  8
#define BENCH_SIDE_LEAST 32
#define BENCH_SIDE_MOST  8192 /* also keeps width * height * 3 far from any limit of the library */

typedef struct bench_mode {
    const char *name;
    rcnn_precision gpu_precision, cpu_precision;
    rcnn_mask_format masks;
    int32_t batch;
    bool host_preprocess; /* with a GPU; without one always so */
    bool cpu_default;
    const char *help;
} bench_mode;

typedef struct bench_size {
    int32_t width, height;
} bench_size;

int32_t bench_mode_count(void);
const bench_mode *bench_mode_get(int32_t index);

/* "a,b", "all", or NULL: those that make sense on the device. Repeated names count once. False with err filled. */
bool bench_modes_read(const char *text, bool gpu, const bench_mode *out[BENCH_MODES_MAX], int32_t *count,
                      rcnn_error *err);
/* "1333x800,3840x2304", sides of BENCH_SIDE_LEAST..BENCH_SIDE_MOST; NULL: the study's. False with err filled. */
bool bench_sizes_read(const char *text, bool gpu, bench_size out[BENCH_SIZES_MAX], int32_t *count, rcnn_error *err);

#endif
