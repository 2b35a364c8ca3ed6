/* The distribution of an activation over all calibration images: how often each magnitude occurred. */
#ifndef RCNN_CALIBRATE_HISTOGRAM_H
#define RCNN_CALIBRATE_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RCNN_HISTOGRAM_BINS 2048

/* Bin i counts the magnitudes in [i, i+1) * range / RCNN_HISTOGRAM_BINS. Zeros stand apart: half of what a ReLU gives is
 * zero, every code stores it exactly, and in bin 0 it would pass for small values. */
typedef struct rcnn_histogram {
    double range;          /* a power of two; 0 before the first value that is not zero */
    uint64_t zeros, count; /* count: all values, zeros among them */
    float min, max;        /* of the values; both 0 before the first */
    uint64_t bins[RCNN_HISTOGRAM_BINS];
} rcnn_histogram;

/* Smallest and largest of count >= 1 values; false when one is NaN or infinite. */
bool rcnn_histogram_extent(const float *values, size_t count, float *min, float *max);
/* Counts finite values whose extent is min .. max. The range doubles, and bins join in pairs, until the largest magnitude
 * fits. */
void rcnn_histogram_add(rcnn_histogram *histogram, const float *values, size_t count, float min, float max);
/* Largest magnitude seen. */
float rcnn_histogram_largest(const rcnn_histogram *histogram);

#endif
