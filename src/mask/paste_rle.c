/* A soft mask straight to column-major run lengths, without a bitmap.
 *
 * Down a column the value is piecewise linear between mask rows. A stretch of pixels between two mask rows whose values
 * are both clearly above or below the threshold is one run, whatever its length; only stretches that cross it are
 * looked at pixel by pixel. Work follows the outline and the mask's 28 rows, not the area. */
#include "mask/runs.h"
#include "mask/sample.h"

#include <string.h>

/* Pixels that lie between the same two mask rows. */
typedef struct stretch {
    int32_t cell, from, to; /* region rows from .. to-1 */
} stretch;

#define STRETCHES_MAX (FRAMED_SIDE_MAX + 2)

typedef struct column_job {
    const rcnn_paste_spec *spec;
    const rcnn_mask_tap *rows;
    const stretch *stretches;
    int32_t stretch_count;
    float surely_set, surely_clear;
} column_job;

/* Cells ascend with y, apart from pixels outside the mask, which share one. */
static int32_t find_stretches(const rcnn_mask_tap *rows, int32_t height, stretch *stretches)
{
    int32_t count = 0;
    for (int32_t y = 0; y < height; y++) {
        if (count == 0 || stretches[count - 1].cell != rows[y].cell) {
            stretches[count++] = (stretch){.cell = rows[y].cell, .from = y};
        }
        stretches[count - 1].to = y + 1;
    }
    return count;
}

static void add_column(const column_job *job, const float *values, rcnn_mask_runs *runs)
{
    for (int32_t s = 0; s < job->stretch_count; s++) {
        const stretch *part = &job->stretches[s];
        const float upper = values[part->cell], lower = values[part->cell + 1];
        if (upper < job->surely_clear && lower < job->surely_clear) {
            rcnn_mask_runs_add(runs, false, part->to - part->from);
        } else if (upper >= job->surely_set && lower >= job->surely_set) {
            rcnn_mask_runs_add(runs, true, part->to - part->from);
        } else {
            for (int32_t y = part->from; y < part->to; y++) {
                const float value = job->rows[y].a * upper + job->rows[y].b * lower;
                rcnn_mask_runs_add(runs, rcnn_mask_is_set(job->spec, value), 1);
            }
        }
    }
}

/* framed[i][j] = soft[j - 1][i - 1], zero outside: columns of the mask become contiguous. */
static void frame_transposed(const float *soft, int32_t side, float framed[FRAMED_SIDE_MAX][FRAMED_SIDE_MAX])
{
    const size_t cells = (size_t)FRAMED_SIDE(side);
    for (size_t i = 0; i < cells; i++) {
        memset(framed[i], 0, cells * sizeof framed[i][0]);
    }
    for (int32_t j = 0; j < side; j++) {
        for (int32_t i = 0; i < side; i++) {
            framed[i + 1][j + 1] = soft[(size_t)j * (size_t)side + (size_t)i];
        }
    }
}

int32_t rcnn_mask_paste_rle(const rcnn_paste_spec *spec, const float *soft, const float box[4],
                            const rcnn_mask_region *region, uint32_t *counts, int32_t capacity, void *scratch)
{
    rcnn_mask_runs runs = {.counts = counts, .capacity = capacity};
    const int64_t pixels = (int64_t)spec->width * spec->height;
    if (region->width == 0 || region->height == 0) {
        rcnn_mask_runs_add(&runs, false, pixels);
        return rcnn_mask_runs_end(&runs);
    }
    rcnn_mask_tap *columns = scratch; /* the taps of rcnn_mask_paste fit, with its padding to spare */
    rcnn_mask_tap *rows = columns + region->width;
    rcnn_mask_taps(spec, box[0], box[2], region->x, region->width, columns);
    rcnn_mask_taps(spec, box[1], box[3], region->y, region->height, rows);
    float framed[FRAMED_SIDE_MAX][FRAMED_SIDE_MAX];
    frame_transposed(soft, spec->side, framed);
    stretch stretches[STRETCHES_MAX];
    /* weights are non-negative and add up to 1 within rounding, hence the margins */
    const column_job job = {.spec = spec,
                            .rows = rows,
                            .stretches = stretches,
                            .stretch_count = find_stretches(rows, region->height, stretches),
                            .surely_set = spec->threshold * 1.000001f,
                            .surely_clear = spec->threshold * 0.999999f};
    int64_t done = 0;
    for (int32_t x = 0; x < region->width; x++) {
        float values[FRAMED_SIDE_MAX];
        const float *left = framed[columns[x].cell], *right = framed[columns[x].cell + 1];
        for (int32_t j = 0; j < FRAMED_SIDE(spec->side); j++) {
            values[j] = columns[x].a * left[j] + columns[x].b * right[j];
        }
        const int64_t top = (int64_t)(region->x + x) * spec->height + region->y;
        rcnn_mask_runs_add(&runs, false, top - done);
        add_column(&job, values, &runs);
        done = top + region->height;
    }
    rcnn_mask_runs_add(&runs, false, pixels - done);
    return rcnn_mask_runs_end(&runs);
}
