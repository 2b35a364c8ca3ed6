/* RoIAlign over pyramid levels (spec 6.1, 6.2, 13.8, 14.5), RoIs in parallel; where there are few, rows of their bins.
 *
 * The samples of a bin form a grid and bilinear weights are products, so a bin is sum over rows y and columns x of
 * wy[y] * wx[x] * map[y][x]. The weights of all samples of a bin that fall on one row (or column) are added up first:
 * 2x2 samples in a bin of 1.5 cells touch 3x3 pixels instead of reading 4x4 taps, 4x4 samples 5x5 instead of 8x8. Each
 * pixel is then read once per bin, all channels at a time. */
#include "backend/cpu/op.h"

#include <math.h>

#include "backend/cpu/elements.h"

#define SAMPLES_MAX 65536 /* per bin side; beyond any map, bounds the work for boxes far outside */

/* Taps of every bin along one axis: bin b has count[b] of them from b * side on. */
typedef struct axis_taps {
    int32_t *at, *count;
    float *weight;
    int32_t side; /* most taps a bin can have: the longest map side */
} axis_taps;

typedef struct roi_axis {
    float start, bin; /* on the map */
    int32_t samples;  /* per bin    */
    int32_t size;     /* of the map */
} roi_axis;

static axis_taps take_axis(const rcnn_cpu_kernel *k, rcnn_cpu_scratch *scratch)
{
    axis_taps taps = {.side = 1};
    for (int32_t l = 0; l < k->op.u.roi_align.level_count; l++) {
        taps.side = k->src[l].dim[1] > taps.side ? k->src[l].dim[1] : taps.side;
        taps.side = k->src[l].dim[2] > taps.side ? k->src[l].dim[2] : taps.side;
    }
    const size_t bins = (size_t)k->op.u.roi_align.bins;
    taps.at = rcnn_cpu_take(scratch, bins * (size_t)taps.side, sizeof *taps.at);
    taps.weight = rcnn_cpu_take(scratch, bins * (size_t)taps.side, sizeof *taps.weight);
    taps.count = rcnn_cpu_take(scratch, bins, sizeof *taps.count);
    return taps;
}

static int32_t level_of(const rcnn_op *op, const float *roi)
{
    const float side = sqrtf((roi[2] - roi[0]) * (roi[3] - roi[1]));
    const float last = (float)(op->u.roi_align.level_count - 1);
    float level;
    if (op->u.roi_align.level_rule == RCNN_LEVEL_MMDET) {
        level = floorf(log2f(side / 56.0f + 1e-6f));
    } else if (op->u.roi_align.level_rule == RCNN_LEVEL_TORCHVISION) {
        level = floorf(4.0f + log2f(side / 224.0f) + 1e-6f) - 2.0f;
    } else {
        level = floorf(4.0f + log2f(side / 224.0f + 1e-8f)) - 2.0f;
    }
    return level > 0 ? (int32_t)fminf(level, last) : 0; /* also for NaN and -infinity */
}

static roi_axis axis_of(const rcnn_op *op, float low, float high, float scale, int32_t size)
{
    const float shift = op->u.roi_align.aligned ? 0.5f : 0.0f;
    const float bins = (float)op->u.roi_align.bins;
    roi_axis axis = {.start = low * scale - shift, .samples = op->u.roi_align.sampling, .size = size};
    float length = high * scale - shift - axis.start;
    if (!op->u.roi_align.aligned) {
        length = fmaxf(length, 1.0f);
    }
    axis.bin = length / bins;
    if (axis.samples <= 0) {
        axis.samples = (int32_t)fmaxf(0.0f, fminf(ceilf(axis.bin), (float)SAMPLES_MAX));
    }
    return axis;
}

/* Samples come in ascending order, so a pixel that was met before is the last tap or the one before it. */
static int32_t add_tap(int32_t *at, float *weight, int32_t count, int32_t pixel, float w)
{
    for (int32_t i = count - 1; i >= 0 && i >= count - 2; i--) {
        if (at[i] == pixel) {
            weight[i] += w;
            return count;
        }
    }
    at[count] = pixel;
    weight[count] = w;
    return count + 1;
}

/* Taps of bin b: each sample gives its two neighbours; samples over 1 pixel outside give nothing, nearer ones clamp. */
static int32_t fill_bin(const roi_axis *axis, int32_t b, int32_t *at, float *weight)
{
    int32_t count = 0;
    for (int32_t s = 0; s < axis->samples; s++) {
        float position = axis->start + (float)b * axis->bin + ((float)s + 0.5f) * axis->bin / (float)axis->samples;
        if (!(position >= -1.0f && position <= (float)axis->size)) {
            continue;
        }
        position = fmaxf(position, 0.0f);
        const int32_t low = (int32_t)position;
        if (low >= axis->size - 1) {
            count = add_tap(at, weight, count, axis->size - 1, 1.0f);
            continue;
        }
        const float fraction = position - (float)low;
        count = add_tap(at, weight, count, low, 1.0f - fraction);
        count = add_tap(at, weight, count, low + 1, fraction);
    }
    return count;
}

/* Bins from .. to-1, with weights that add up to `total` inside the map. */
static void fill_axis(const roi_axis *axis, int32_t from, int32_t to, float total, axis_taps *taps)
{
    const float share = axis->samples > 0 ? total / (float)axis->samples : 0.0f;
    for (int32_t b = from; b < to; b++) {
        const size_t first = (size_t)b * (size_t)taps->side;
        taps->count[b] = fill_bin(axis, b, taps->at + first, taps->weight + first);
        for (int32_t i = 0; i < taps->count[b]; i++) {
            taps->weight[first + (size_t)i] *= share;
        }
    }
}

static rcnn_cpu_taps taps_of_bin(const axis_taps *taps, int32_t b)
{
    const size_t first = (size_t)b * (size_t)taps->side;
    return (rcnn_cpu_taps){.at = taps->at + first, .weight = taps->weight + first, .count = taps->count[b]};
}

static rcnn_cpu_map map_of(const rcnn_cpu_kernel *k, const rcnn_args *args, int32_t level, int32_t n)
{
    const rcnn_tensor_desc *desc = &k->src[level];
    const void *maps = rcnn_cpu_input(k, args, level);
    return (rcnn_cpu_map){.at = rcnn_cpu_at(desc->dtype, maps, (size_t)n * rcnn_cpu_row_elements(desc)),
                          .width = (size_t)desc->dim[2],
                          .channels = (size_t)desc->dim[3],
                          .type = desc->dtype,
                          .dst_type = k->dst[0].dtype};
}

/* A piece of the work: the rows from .. to-1 of bins of a packed row. */
typedef struct piece {
    int32_t packed, from, to;
} piece;

/* dst [bins][bins][C]: of the whole RoI. */
static void align_piece(const rcnn_cpu_kernel *k, const rcnn_args *args, const piece *p, rcnn_cpu_scratch *scratch,
                        void *dst)
{
    const int32_t levels = k->op.u.roi_align.level_count, bins = k->op.u.roi_align.bins;
    const rcnn_cpu_row at = rcnn_cpu_row_at(rcnn_cpu_input(k, args, levels + 1), p->packed);
    const float *rois =
        (const float *)rcnn_cpu_input(k, args, levels) + (size_t)at.n * (size_t)k->src[levels].dim[1] * 4;
    const float *roi = rois + (size_t)at.r * 4;
    const int32_t level = level_of(&k->op, roi);
    const float scale = k->op.u.roi_align.scale[level];
    const rcnn_cpu_map map = map_of(k, args, level, at.n);
    const roi_axis x = axis_of(&k->op, roi[0], roi[2], scale, k->src[level].dim[2]);
    const roi_axis y = axis_of(&k->op, roi[1], roi[3], scale, k->src[level].dim[1]);
    axis_taps columns = take_axis(k, scratch), rows = take_axis(k, scratch);
    fill_axis(&x, 0, bins, 1.0f, &columns);
    fill_axis(&y, p->from, p->to, k->src_scale[level] / k->dst_scale[0], &rows);
    for (int32_t bin = p->from * bins; bin < p->to * bins; bin++) {
        const rcnn_cpu_taps row_taps = taps_of_bin(&rows, bin / bins);
        const rcnn_cpu_taps column_taps = taps_of_bin(&columns, bin % bins);
        k->body->weigh(&map, &row_taps, &column_taps, rcnn_cpu_to(map.dst_type, dst, (size_t)bin * map.channels));
    }
}

/* RoIs differ in cost by 100 and more: pieces are dealt out as threads come free, and there should be some for each. */
#define PIECES_PER_THREAD 4

static int32_t pieces_per_roi(const rcnn_cpu_kernel *k, int32_t live)
{
    const int32_t wanted = k->threads > 1 ? k->threads * PIECES_PER_THREAD / live + 1 : 1;
    return wanted < k->op.u.roi_align.bins ? wanted : k->op.u.roi_align.bins;
}

/* Each piece writes bins of its own, so the bytes do not depend on who did what, nor on the number of pieces. */
static rcnn_status enqueue(rcnn_kernel *kernel, const rcnn_args *args, rcnn_error *err)
{
    (void)err;
    const rcnn_cpu_kernel *k = rcnn_cpu_kernel_of(kernel);
    const int32_t levels = k->op.u.roi_align.level_count, bins = k->op.u.roi_align.bins;
    const int32_t live = rcnn_cpu_live_rows(rcnn_cpu_input(k, args, levels + 1), k->src[levels].dim[0]);
    if (live == 0) {
        return RCNN_OK;
    }
    const int32_t parts = pieces_per_roi(k, live);
    const size_t row_elements = rcnn_cpu_row_elements(&k->dst[0]);
    void *dst = rcnn_cpu_output(k, args, 0);
#pragma omp parallel for num_threads(k->threads) schedule(dynamic, 1)
    for (int32_t i = 0; i < live * parts; i++) {
        const int32_t part = i % parts;
        const piece p = {.packed = i / parts, .from = bins * part / parts, .to = bins * (part + 1) / parts};
        rcnn_cpu_scratch own = {.base =
                                    (unsigned char *)args->scratch + (size_t)rcnn_cpu_thread_index() * k->thread_bytes};
        align_piece(k, args, &p, &own, rcnn_cpu_to(k->dst[0].dtype, dst, (size_t)p.packed * row_elements));
    }
    return RCNN_OK;
}

rcnn_status rcnn_cpu_prepare_roi_align(rcnn_backend *backend, const rcnn_graph *graph, const rcnn_op *op,
                                       rcnn_kernel **out, size_t *scratch_bytes, rcnn_error *err)
{
    rcnn_cpu_kernel *k;
    *out = NULL;
    *scratch_bytes = 0;
    RCNN_TRY(rcnn_cpu_kernel_create(backend, graph, op, enqueue, &k, err));
    rcnn_cpu_scratch own = {0};
    take_axis(k, &own);
    take_axis(k, &own);
    k->thread_bytes = own.used;
    *scratch_bytes = (size_t)k->threads * k->thread_bytes;
    *out = &k->head;
    return RCNN_OK;
}
