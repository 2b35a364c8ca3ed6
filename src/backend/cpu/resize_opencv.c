/* cv2.resize INTER_LINEAR on bytes, bit for bit (spec 2.3). A horizontal sample is below 2^15 after the shift by 4 that
 * the vertical pass begins with, so rows are kept as int16 and the vertical pass is a high multiply. */
#include "backend/cpu/resize.h"

#include <math.h>

typedef struct tap {
    int32_t first, second; /* byte offset in the source row, or source row */
    int16_t a, b;          /* weights in 1/2048                            */
} tap;

static tap tap_at(int32_t position, int32_t in, int32_t out, int zero_at_border)
{
    const double scale = 1.0 / ((double)out / (double)in);
    float at = (float)((position + 0.5) * scale - 0.5);
    int32_t i = (int32_t)floorf(at);
    at -= (float)i;
    if (zero_at_border && (i < 0 || i >= in - 1)) {
        at = 0;
    }
    return (tap){.first = rcnn_cpu_clamp(i, 0, in - 1),
                 .second = rcnn_cpu_clamp(zero_at_border && i < 0 ? 1 : i + 1, 0, in - 1),
                 .a = (int16_t)lrintf((1.0f - at) * 2048.0f),
                 .b = (int16_t)lrintf(at * 2048.0f)};
}

static void plan(const rcnn_cpu_resize_job *job)
{
    tap *columns = job->columns;
    tap *rows = job->rows;
    for (int32_t x = 0; x < job->net_width; x++) {
        columns[x] = tap_at(x, job->view->width, job->net_width, 1);
        columns[x].first *= (int32_t)job->pixel_bytes; /* at most 4 * RCNN_IMAGE_SIDE_MAX */
        columns[x].second *= (int32_t)job->pixel_bytes;
    }
    for (int32_t y = 0; y < job->net_height; y++) {
        rows[y] = tap_at(y, job->view->height, job->net_height, 0);
    }
}

static void horizontal(const rcnn_cpu_resize_job *job, const uint8_t *src, void *row)
{
    const tap *columns = job->columns;
    const size_t c0 = job->channel[0], c1 = job->channel[1], c2 = job->channel[2];
    const int32_t width = job->net_width;
    int16_t *restrict dst = row;
    for (int32_t x = 0; x < width; x++, dst += 3) {
        const uint8_t *p = src + columns[x].first;
        const uint8_t *q = src + columns[x].second;
        const int32_t a = columns[x].a, b = columns[x].b;
        dst[0] = (int16_t)((p[c0] * a + q[c0] * b) >> 4);
        dst[1] = (int16_t)((p[c1] * a + q[c1] * b) >> 4);
        dst[2] = (int16_t)((p[c2] * a + q[c2] * b) >> 4);
    }
}

/* Results are at most 255: weights add up to 2048 and samples are at most 255 * 128. Apart and with restrict, because
 * bytes may alias anything and the loop would not be vectorised. */
static void blend(const int16_t *restrict upper, const int16_t *restrict lower, int16_t a, int16_t b, size_t count,
                  uint8_t *restrict bytes)
{
    for (size_t i = 0; i < count; i++) {
        int16_t high = (int16_t)((a * upper[i]) >> 16);
        int16_t low = (int16_t)((b * lower[i]) >> 16);
        bytes[i] = (uint8_t)((high + low + 2) >> 2);
    }
}

static void vertical(const rcnn_cpu_resize_job *job, int32_t y, rcnn_cpu_row_cache *cache, void *line)
{
    const tap *row = (const tap *)job->rows + y;
    const int16_t *upper = rcnn_cpu_cached_row(&rcnn_cpu_resize_opencv, job, cache, row->first);
    const int16_t *lower = rcnn_cpu_cached_row(&rcnn_cpu_resize_opencv, job, cache, row->second);
    blend(upper, lower, row->a, row->b, (size_t)job->net_width * 3, line);
}

const rcnn_cpu_resizer rcnn_cpu_resize_opencv = {.tap_bytes = sizeof(tap),
                                                 .sample_bytes = sizeof(int16_t),
                                                 .plan = plan,
                                                 .horizontal = horizontal,
                                                 .vertical = vertical};
