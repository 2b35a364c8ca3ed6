/* Collecting values. */
#include "calibrate/histogram.h"

#include <math.h>
#include <string.h>

/* Comparisons with a NaN are false, so that a running minimum would pass over it: a sum of 0 * value, which any NaN or
 * infinity turns into NaN, tells. 16 lanes of their own vectorise without reordering sums. */
bool rcnn_histogram_extent(const float *values, size_t count, float *min, float *max)
{
    enum { LANES = 16 };
    float low[LANES], high[LANES], spoilt[LANES] = {0};
    for (size_t k = 0; k < LANES; k++) {
        low[k] = values[0];
        high[k] = values[0];
    }
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (size_t k = 0; k < LANES; k++) {
            const float value = values[i + k];
            low[k] = value < low[k] ? value : low[k];
            high[k] = value > high[k] ? value : high[k];
            spoilt[k] += 0 * value;
        }
    }
    for (; i < count; i++) {
        low[0] = values[i] < low[0] ? values[i] : low[0];
        high[0] = values[i] > high[0] ? values[i] : high[0];
        spoilt[0] += 0 * values[i];
    }
    float any = 0;
    for (size_t k = 0; k < LANES; k++) {
        low[0] = low[k] < low[0] ? low[k] : low[0];
        high[0] = high[k] > high[0] ? high[k] : high[0];
        any += spoilt[k];
    }
    *min = low[0];
    *max = high[0];
    return any == 0;
}

float rcnn_histogram_largest(const rcnn_histogram *h)
{
    return fmaxf(fabsf(h->min), fabsf(h->max));
}

static void double_range(rcnn_histogram *h)
{
    for (size_t i = 0; i < RCNN_HISTOGRAM_BINS / 2; i++) {
        h->bins[i] = h->bins[2 * i] + h->bins[2 * i + 1];
    }
    memset(h->bins + RCNN_HISTOGRAM_BINS / 2, 0, sizeof h->bins / 2);
    h->range *= 2;
}

/* A range of 2^e holds magnitudes below it. */
static void make_room(rcnn_histogram *h, float largest)
{
    if (h->range == 0 && largest > 0) {
        int exponent;
        frexpf(largest, &exponent);
        h->range = ldexp(1, exponent);
    }
    while ((double)largest >= h->range && largest > 0) {
        double_range(h);
    }
}

void rcnn_histogram_add(rcnn_histogram *h, const float *values, size_t count, float min, float max)
{
    if (count == 0) {
        return;
    }
    make_room(h, fmaxf(fabsf(min), fabsf(max)));
    h->min = h->count == 0 || min < h->min ? min : h->min;
    h->max = h->count == 0 || max > h->max ? max : h->max;
    h->count += count;
    if (h->range == 0) {
        h->zeros += count;
        return;
    }
    const double per_unit = RCNN_HISTOGRAM_BINS / h->range;
    for (size_t i = 0; i < count; i++) {
        if (values[i] == 0) {
            h->zeros++;
        } else {
            h->bins[(size_t)(fabs((double)values[i]) * per_unit)]++;
        }
    }
}
