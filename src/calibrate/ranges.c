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

/* Sums over the first i bins. */
typedef struct prefix_sums {
    double mass[RCNN_HISTOGRAM_BINS + 1];   /* values                 */
    double filled[RCNN_HISTOGRAM_BINS + 1]; /* bins that have any     */
    double own[RCNN_HISTOGRAM_BINS + 1];    /* count * log(count)     */
} prefix_sums;

static double times_log(double x)
{
    return x > 0 ? x * log(x) : 0;
}

static void add_up(const rcnn_histogram *h, prefix_sums *sums)
{
    sums->mass[0] = sums->filled[0] = sums->own[0] = 0;
    for (size_t i = 0; i < RCNN_HISTOGRAM_BINS; i++) {
        const double count = (double)h->bins[i];
        sums->mass[i + 1] = sums->mass[i] + count;
        sums->filled[i + 1] = sums->filled[i] + (count > 0);
        sums->own[i + 1] = sums->own[i] + times_log(count);
    }
}

/* Relative entropy sum of p log(p/q), in counts: p are the first `kept` bins, what is beyond them counted into the last; q
 * is what storing in `levels` levels leaves of them: the mass of each level spread evenly over those of its bins that have
 * any, without what is beyond. Within a level q is one number, so that its bins need no look.
 * Source: Migacz, "8-bit inference with TensorRT", GTC 2017. */
static double divergence(const prefix_sums *sums, size_t kept, size_t levels)
{
    const double within = sums->mass[kept], total = sums->mass[RCNN_HISTOGRAM_BINS], beyond = total - within;
    const double last = within - sums->mass[kept - 1];
    double q_last = 1e-12, stored = 0;
    for (size_t level = 0; level < levels; level++) {
        const size_t from = level * kept / levels, to = (level + 1) * kept / levels;
        const double mass = sums->mass[to] - sums->mass[from], filled = sums->filled[to] - sums->filled[from];
        if (mass > 0) {
            stored += mass * log(mass / filled / within);
            q_last = to == kept && last > 0 ? mass / filled / within : q_last;
        }
    }
    const double own = sums->own[kept] - times_log(last) + times_log(last + beyond) - total * log(total);
    return (own - stored - beyond * log(q_last)) / total;
}

double rcnn_range_entropy(const rcnn_histogram *h, int32_t code_max)
{
    const size_t levels = (size_t)code_max + 1;
    prefix_sums sums;
    add_up(h, &sums);
    size_t used = RCNN_HISTOGRAM_BINS;
    while (used > 0 && h->bins[used - 1] == 0) {
        used--;
    }
    double least = HUGE_VAL;
    size_t best = used;
    for (size_t kept = levels; kept <= used; kept++) {
        const double d = sums.mass[kept] > 0 ? divergence(&sums, kept, levels) : HUGE_VAL;
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
