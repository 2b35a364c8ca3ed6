/* torch interpolate, bilinear, align_corners=False, of normalised floats (spec 13.3). */
#include "backend/cpu/resize.h"

#include <math.h>

typedef struct tap {
    int32_t first, second; /* byte offset in the source row, or source row */
    float a, b;
} tap;

static tap tap_at(int32_t position, int32_t in, int32_t out)
{
    const float scale = (float)in / (float)out;
    const float at = fmaxf(((float)position + 0.5f) * scale - 0.5f, 0.0f);
    const int32_t first = rcnn_cpu_clamp((int32_t)at, 0, in - 1);
    const float b = at - (float)first;
    return (tap){.first = first, .second = first < in - 1 ? first + 1 : first, .a = 1.0f - b, .b = b};
}

static void plan(const rcnn_cpu_resize_job *job)
{
    tap *columns = job->columns;
    tap *rows = job->rows;
    for (int32_t x = 0; x < job->net_width; x++) {
        columns[x] = tap_at(x, job->view->width, job->net_width);
        columns[x].first *= (int32_t)job->pixel_bytes; /* at most 4 * RCNN_IMAGE_SIDE_MAX */
        columns[x].second *= (int32_t)job->pixel_bytes;
    }
    for (int32_t y = 0; y < job->net_height; y++) {
        rows[y] = tap_at(y, job->view->height, job->net_height);
    }
}

static void horizontal(const rcnn_cpu_resize_job *job, const uint8_t *src, void *row)
{
    const tap *columns = job->columns;
    const size_t c0 = job->channel[0], c1 = job->channel[1], c2 = job->channel[2];
    const float *lut0 = job->lut[0], *lut1 = job->lut[1], *lut2 = job->lut[2];
    const int32_t width = job->net_width;
    float *restrict dst = row;
    for (int32_t x = 0; x < width; x++, dst += 3) {
        const uint8_t *p = src + columns[x].first;
        const uint8_t *q = src + columns[x].second;
        const float a = columns[x].a, b = columns[x].b;
        dst[0] = a * lut0[p[c0]] + b * lut0[q[c0]];
        dst[1] = a * lut1[p[c1]] + b * lut1[q[c1]];
        dst[2] = a * lut2[p[c2]] + b * lut2[q[c2]];
    }
}

static void vertical(const rcnn_cpu_resize_job *job, int32_t y, rcnn_cpu_row_cache *cache, void *line)
{
    const tap *row = (const tap *)job->rows + y;
    const float *restrict upper = rcnn_cpu_cached_row(&rcnn_cpu_resize_float, job, cache, row->first);
    const float *restrict lower = rcnn_cpu_cached_row(&rcnn_cpu_resize_float, job, cache, row->second);
    float *restrict dst = line;
    const float a = row->a, b = row->b;
    for (size_t i = 0; i < (size_t)job->net_width * 3; i++) {
        dst[i] = a * upper[i] + b * lower[i];
    }
}

const rcnn_cpu_resizer rcnn_cpu_resize_float = {.tap_bytes = sizeof(tap),
                                                .sample_bytes = sizeof(float),
                                                .gives_floats = 1,
                                                .plan = plan,
                                                .horizontal = horizontal,
                                                .vertical = vertical};
