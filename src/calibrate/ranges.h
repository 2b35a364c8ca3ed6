/* How far an activation's codes should reach. A range that takes in the largest value ever seen makes the steps coarse for
 * all others; a smaller one clips. Three ways to choose are tried and the one with the least squared error is taken. */
#ifndef RCNN_CALIBRATE_RANGES_H
#define RCNN_CALIBRATE_RANGES_H

#include "calibrate/histogram.h"

#define RCNN_CODE_MAX_SIGNED   127
#define RCNN_CODE_MAX_UNSIGNED 255

typedef struct rcnn_range {
    float scale;        /* 0: no scale, all values are zero or too small */
    float error;        /* root of the squared error over that of the squared values: 0.01 = 1 % */
    const char *method; /* "minmax", "percentile", "entropy"; "float" without scale */
} rcnn_range;

/* The best of: the largest magnitude; percentiles 99.9, 99.99 and 99.999 of the magnitudes; least relative entropy. Codes
 * are 0 .. code_max with or without a sign. */
rcnn_range rcnn_range_choose(const rcnn_histogram *histogram, int32_t code_max);

/* The parts, for tests. Largest magnitude that `part` (0..1] of all values stay within, to the next bin's border. */
double rcnn_range_percentile(const rcnn_histogram *histogram, double part);
/* The limit under which the distribution, cut and stored in code_max + 1 levels, differs least from the original. */
double rcnn_range_entropy(const rcnn_histogram *histogram, int32_t code_max);
/* Sum of squared differences that storing with codes up to `limit` makes. */
double rcnn_range_squared_error(const rcnn_histogram *histogram, double limit, int32_t code_max);

#endif
