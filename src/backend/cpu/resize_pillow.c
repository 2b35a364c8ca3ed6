/* Image.resize BILINEAR on bytes, antialiased, bit for bit (spec 14.2). Pillow leaves a pass out when that side does
 * not change; the weights are then 1 and 0, which gives the same bytes. */
#include "backend/cpu/resize.h"

#include <math.h>

#define WEIGHT_BITS RCNN_CPU_WINDOW_BITS

typedef rcnn_cpu_window window; /* of one axis: source positions, weights in job.weights */

static double support_of(int32_t in, int32_t out)
{
    const double scale = (double)in / (double)out;
    return scale > 1.0 ? scale : 1.0;
}

size_t rcnn_cpu_pillow_weights_max(int32_t in, int32_t out)
{
    /* a window has at most 2 * support + 1 positions, and support is at most in / out + 1 */
    return 2 * (size_t)in + 3 * (size_t)out + 64;
}

static double triangle(int32_t position, double centre, double shrink)
{
    const double distance = fabs((position - centre + 0.5) * shrink);
    return distance < 1.0 ? 1.0 - distance : 0.0;
}

/* Fills the windows of one axis and their weights from weights[used] on; returns the new `used`. */
static size_t plan_axis(int32_t in, int32_t out, window *windows, int32_t *weights, size_t used)
{
    const double scale = (double)in / (double)out;
    const double support = support_of(in, out);
    const double shrink = 1.0 / support;
    for (int32_t i = 0; i < out; i++) {
        const double centre = (i + 0.5) * scale;
        const int32_t first = (int32_t)fmax(centre - support + 0.5, 0.0);
        const int32_t end = (int32_t)fmin(centre + support + 0.5, (double)in);
        double total = 0;
        for (int32_t p = first; p < end; p++) {
            total += triangle(p, centre, shrink);
        }
        windows[i] = (window){.first = first, .count = end - first, .weights = used};
        for (int32_t p = first; p < end; p++) {
            weights[used++] = (int32_t)(0.5 + triangle(p, centre, shrink) / total * (1 << WEIGHT_BITS));
        }
    }
    return used;
}

static void plan(const rcnn_cpu_resize_job *job)
{
    size_t used = plan_axis(job->view->width, job->net_width, job->columns, job->weights, 0);
    plan_axis(job->view->height, job->net_height, job->rows, job->weights, used);
}

static uint8_t rounded(int32_t sum)
{
    return (uint8_t)rcnn_cpu_clamp(sum >> WEIGHT_BITS, 0, 255);
}

static void horizontal(const rcnn_cpu_resize_job *job, const uint8_t *src, void *row)
{
    const rcnn_cpu_pixel_row pixels = {.src = src,
                                       .pixels = (size_t)job->view->width,
                                       .pixel_bytes = job->pixel_bytes,
                                       .channel = {job->channel[0], job->channel[1], job->channel[2]}};
    job->body->sum_windows(&pixels, job->columns, job->weights, job->net_width, row);
}

static void vertical(const rcnn_cpu_resize_job *job, int32_t y, rcnn_cpu_row_cache *cache, void *line)
{
    const window *rows = (const window *)job->rows + y;
    const size_t samples = (size_t)job->net_width * 3;
    int32_t *restrict sums = cache->sums;
    for (size_t i = 0; i < samples; i++) {
        sums[i] = 1 << (WEIGHT_BITS - 1);
    }
    for (int32_t r = 0; r < rows->count; r++) {
        const uint8_t *row = rcnn_cpu_cached_row(&rcnn_cpu_resize_pillow, job, cache, rows->first + r);
        job->body->add_bytes(row, job->weights[rows->weights + (size_t)r], samples, sums);
    }
    uint8_t *restrict bytes = line;
    for (size_t i = 0; i < samples; i++) {
        bytes[i] = rounded(sums[i]);
    }
}

const rcnn_cpu_resizer rcnn_cpu_resize_pillow = {.tap_bytes = sizeof(window),
                                                 .sample_bytes = sizeof(uint8_t),
                                                 .has_weights = 1,
                                                 .plan = plan,
                                                 .horizontal = horizontal,
                                                 .vertical = vertical};
