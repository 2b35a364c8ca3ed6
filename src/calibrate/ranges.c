/* Choosing ranges from histograms. */
#include "calibrate/ranges.h"

#include <float.h>
#include <math.h>

static double bin_width(const rcnn_histogram *h)
{
    return h->range / RCNN_HISTOGRAM_BINS;
}

double rcnn_range_percentile(const rcnn_histogram *h, double part)
{
    const double wanted = part * (double)h->count;
    double seen = (double)h->zeros;
    for (size_t i = 0; i < RCNN_HISTOGRAM_BINS; i++) {
        seen += (double)h->bins[i];
        if (seen >= wanted) {
            return (double)(i + 1) * bin_width(h);
        }
    }
    return h->range;
}

/* Values are taken to be spread evenly over their bin, in PLACES places. */
double rcnn_range_squared_error(const rcnn_histogram *h, double limit, int32_t code_max)
{
    enum { PLACES = 4 };
    const double step = limit / code_max;
    double sum = 0;
    for (size_t i = 0; i < RCNN_HISTOGRAM_BINS; i++) {
        for (int k = 0; h->bins[i] > 0 && k < PLACES; k++) {
            const double value = ((double)i + (k + 0.5) / PLACES) * bin_width(h);
            const double code = fmin(rint(value / step), code_max);
            const double error = value - code * step;
            sum += (double)h->bins[i] * error * error / PLACES;
        }
    }
    return sum;
}

static double squared_sum(const rcnn_histogram *h)
{
    double sum = 0;
    for (size_t i = 0; i < RCNN_HISTOGRAM_BINS; i++) {
        const double value = ((double)i + 0.5) * bin_width(h);
        sum += (double)h->bins[i] * value * value;
    }
    return sum;
}

/* ----------------------------------------------------------------- entropy */

/* Relative entropy of the first `kept` bins, what is beyond them counted into the last, and the same spread evenly over
 * the bins that are not empty within each of `levels` groups.
 * Source: Migacz, "8-bit inference with TensorRT", GTC 2017. */
static double divergence(const rcnn_histogram *h, size_t kept, size_t levels, double beyond, double total)
{
    double sum = 0;
    for (size_t level = 0; level < levels; level++) {
        const size_t from = level * kept / levels, to = (level + 1) * kept / levels;
        double mass = 0;
        size_t filled = 0;
        for (size_t i = from; i < to; i++) {
            mass += (double)h->bins[i];
            filled += h->bins[i] > 0;
        }
        /* the cut-off mass belongs to the original only: stored codes know nothing of it */
        const double spread = filled ? mass / (double)filled : 0;
        for (size_t i = from; i < to; i++) {
            const double p = (double)h->bins[i] + (i + 1 == kept ? beyond : 0);
            if (p > 0) {
                const double q = h->bins[i] > 0 ? spread / (total - beyond) : 0;
                sum += p / total * log(p / total / fmax(q, 1e-12));
            }
        }
    }
    return sum;
}

double rcnn_range_entropy(const rcnn_histogram *h, int32_t code_max)
{
    const size_t levels = (size_t)code_max + 1;
    double total = 0, within = 0;
    size_t used = 0;
    for (size_t i = 0; i < RCNN_HISTOGRAM_BINS; i++) {
        total += (double)h->bins[i];
        used = h->bins[i] > 0 ? i + 1 : used;
    }
    double least = HUGE_VAL;
    size_t best = used;
    for (size_t kept = 1; kept <= used; kept++) {
        within += (double)h->bins[kept - 1];
        if (kept < levels || within == 0) {
            continue;
        }
        const double d = divergence(h, kept, levels, total - within, total);
        if (d < least) {
            least = d;
            best = kept;
        }
    }
    return (double)best * bin_width(h);
}

/* ------------------------------------------------------------------ choice */

rcnn_range rcnn_range_choose(const rcnn_histogram *h, int32_t code_max)
{
    const double largest = (double)rcnn_histogram_largest(h);
    const struct {
        const char *method;
        double limit;
    } candidates[] = {{"minmax", largest},
                      {"percentile", fmin(rcnn_range_percentile(h, 0.99999), largest)},
                      {"percentile", fmin(rcnn_range_percentile(h, 0.9999), largest)},
                      {"percentile", fmin(rcnn_range_percentile(h, 0.999), largest)},
                      {"entropy", fmin(rcnn_range_entropy(h, code_max), largest)}};
    rcnn_range best = {.method = "float"};
    double least = HUGE_VAL;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        const float scale = (float)(candidates[i].limit / code_max);
        if (!(scale >= FLT_MIN && scale <= FLT_MAX / RCNN_CODE_MAX_UNSIGNED)) {
            continue;
        }
        const double error = rcnn_range_squared_error(h, candidates[i].limit, code_max);
        if (error < least) {
            least = error;
            best = (rcnn_range){.scale = scale, .method = candidates[i].method};
        }
    }
    const double sum = squared_sum(h);
    best.error = best.scale > 0 && sum > 0 ? (float)sqrt(least / sum) : 0;
    return best;
}
