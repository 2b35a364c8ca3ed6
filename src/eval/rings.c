/* Polygons to runs, pixel for pixel what COCO's rleFrPoly makes of them, computed another way.
 *
 * The rule. Vertices are moved to a grid 5 times as fine, X = trunc(5 x + 0.5). Each edge is sampled at every
 * integer step t of its longer axis, the other coordinate rounded: trunc(start + slope * t + 0.5). Where two
 * neighbouring samples lie on either side of the line between X = 5c+2 and 5c+3 (the centre of pixel column c),
 * column c has a border at y = ceil((Y + 0.5) / 5 - 0.5), clipped to 0..height, Y the smaller of the two samples' Y.
 * The borders, in column-major order, switch between outside and inside; two at the same place cancel.
 *
 * COCO stores all samples and searches them. Only those at column centres matter, and t is known there: directly
 * along flat edges, by one division and a correction along steep ones. The work follows the columns, not the
 * boundary, and a hostile edge of 10^8 steps costs no more than the image is wide. */
#include "eval/shape.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "eval/spans.h"

typedef struct grid {
    int32_t width, height; /* pixels */
    rcnn_eval_borders *out;
} grid;

/* An edge turned so that its longer axis rises. */
typedef struct edge {
    int32_t x, y, x2, y2;
    double slope;
} edge;

static bool reserve(rcnn_eval_borders *borders, size_t more)
{
    void *at = borders->at;
    size_t need;
    if (!rcnn_add_size(borders->count, more, &need) || !rcnn_grow(&at, &borders->capacity, need, sizeof *borders->at)) {
        return false;
    }
    borders->at = at;
    return true;
}

/* ----------------------------------------------------------------- borders */

/* The border of pixel column c where the boundary passes at upsampled height y; room was reserved. */
static void add_border(const grid *g, int32_t column, int32_t y)
{
    double row = ((double)y + 0.5) / RCNN_EVAL_UPSAMPLE - 0.5;
    row = ceil(row < 0 ? 0 : row > g->height ? g->height : row);
    g->out->at[g->out->count++] = (uint32_t)column * (uint32_t)g->height + (uint32_t)row;
}

/* The columns whose centre line lies between upsampled x and x2 (x <= x2): first .. last, none when last < first. */
static bool columns_between(const grid *g, int32_t x, int32_t x2, int32_t *first, int32_t *last)
{
    *first = x <= 2 ? 0 : (x - 2 + RCNN_EVAL_UPSAMPLE - 1) / RCNN_EVAL_UPSAMPLE;
    *last = x2 < 3 ? -1 : (x2 - 3) / RCNN_EVAL_UPSAMPLE;
    if (*last > g->width - 1) {
        *last = g->width - 1;
    }
    return *first <= *last && reserve(g->out, (size_t)(*last - *first) + 1);
}

static int32_t sample(int32_t start, double slope, int32_t t)
{
    return (int32_t)(start + slope * t + 0.5);
}

static void add_flat_edge(const grid *g, const edge *e, int32_t first, int32_t last)
{
    for (int32_t c = first; c <= last; c++) {
        const int32_t t = RCNN_EVAL_UPSAMPLE * c + 2 - e->x;
        const int32_t y = sample(e->y, e->slope, t), y2 = sample(e->y, e->slope, t + 1);
        add_border(g, c, y < y2 ? y : y2);
    }
}

/* Along a steep edge x(t) is rounded, so the step that crosses is found from the inverse slope and corrected by
 * looking. */
static void add_steep_edge(const grid *g, const edge *e, int32_t first, int32_t last)
{
    const int32_t steps = e->y2 - e->y;
    const bool rising = e->slope > 0;
    for (int32_t c = first; c <= last; c++) {
        const int32_t left =
            RCNN_EVAL_UPSAMPLE * c + 2; /* x(t) <= left on one side of the crossing, > left on the other */
        int32_t t = (int32_t)((left + 0.5 - e->x) / e->slope);
        t = t < 0 ? 0 : t > steps - 1 ? steps - 1 : t;
        while (t > 0 && (sample(e->x, e->slope, t) <= left) != rising) {
            t--;
        }
        while (t < steps - 1 && (sample(e->x, e->slope, t + 1) <= left) == rising) {
            t++;
        }
        add_border(g, c, e->y + t);
    }
}

static bool add_edge(const grid *g, const int32_t *a, const int32_t *b)
{
    const int32_t dx = abs(b[0] - a[0]), dy = abs(b[1] - a[1]);
    const bool flat = dx >= dy;
    const bool turned = flat ? a[0] > b[0] : a[1] > b[1];
    const int32_t *from = turned ? b : a, *to = turned ? a : b;
    edge e = {.x = from[0], .y = from[1], .x2 = to[0], .y2 = to[1]};
    int32_t first, last;
    if (dx == 0) {
        return true;
    }
    if (!columns_between(g, e.x < e.x2 ? e.x : e.x2, e.x < e.x2 ? e.x2 : e.x, &first, &last)) {
        return first > last;
    }
    if (flat) {
        e.slope = (double)(e.y2 - e.y) / dx;
        add_flat_edge(g, &e, first, last);
    } else {
        e.slope = (double)(e.x2 - e.x) / dy;
        add_steep_edge(g, &e, first, last);
    }
    return true;
}

/* ----------------------------------------------------------------- sorting */

/* Sorts numbers by bytes, lowest first; only as many passes as the largest needs. scratch holds as many numbers. */
static void sort_numbers(uint32_t *numbers, uint32_t *scratch, size_t count)
{
    uint32_t largest = 0;
    for (size_t i = 0; i < count; i++) {
        largest = numbers[i] > largest ? numbers[i] : largest;
    }
    uint32_t *from = numbers, *to = scratch;
    for (unsigned shift = 0; shift < 32 && largest >> shift; shift += 8) {
        size_t start[256] = {0}, sum = 0;
        for (size_t i = 0; i < count; i++) {
            start[from[i] >> shift & 255u]++;
        }
        for (int i = 0; i < 256; i++) {
            const size_t here = start[i];
            start[i] = sum;
            sum += here;
        }
        for (size_t i = 0; i < count; i++) {
            to[start[from[i] >> shift & 255u]++] = from[i];
        }
        uint32_t *other = from;
        from = to;
        to = other;
    }
    if (from != numbers) {
        memcpy(numbers, from, count * sizeof *numbers);
    }
}

/* Sorted borders with pairs at the same place removed; a mask still set at the last pixel ends there. */
static void cancel_pairs(rcnn_eval_borders *borders, size_t first, uint32_t pixels)
{
    size_t kept = first;
    for (size_t i = first; i < borders->count; i++) {
        if (borders->at[i] >= pixels) {
            break;
        }
        if (kept > first && borders->at[kept - 1] == borders->at[i]) {
            kept--;
        } else {
            borders->at[kept++] = borders->at[i];
        }
    }
    if ((kept - first) % 2) {
        borders->at[kept++] = pixels; /* fits: the odd one out was followed by a border that fell away, or by reserve */
    }
    borders->count = kept;
}

/* Appends the runs of one closed ring of upsampled vertices; its vertices are read one by one from the packed form. */
static bool close_ring(const grid *g, rcnn_eval_borders *scratch, size_t first)
{
    rcnn_eval_borders *out = g->out;
    scratch->count = 0;
    if (!reserve(scratch, out->count - first) || !reserve(out, 1)) {
        return false;
    }
    if (out->count > first) {
        sort_numbers(out->at + first, scratch->at, out->count - first);
    }
    cancel_pairs(out, first, (uint32_t)g->width * (uint32_t)g->height);
    return true;
}

/* ----------------------------------------------------------------- packing */

int32_t rcnn_eval_upsample(double value)
{
    return (int32_t)(RCNN_EVAL_UPSAMPLE * value + 0.5);
}

static void pack_number(rcnn_text *bytes, uint32_t value)
{
    char packed[5];
    size_t length = 0;
    for (; value >= 128; value >>= 7) {
        packed[length++] = (char)(unsigned char)(value | 128u);
    }
    packed[length++] = (char)value;
    rcnn_text_add_bytes(bytes, packed, length);
}

static uint32_t unpack_number(const uint8_t **at)
{
    uint32_t value = 0;
    unsigned shift = 0;
    for (; **at & 128u; shift += 7) {
        value |= (uint32_t)(*(*at)++ & 127u) << shift;
    }
    return value | (uint32_t) * (*at)++ << shift;
}

void rcnn_eval_pack_ring(rcnn_text *bytes, const int32_t *vertices, size_t count)
{
    int32_t last[2] = {0, 0};
    pack_number(bytes, (uint32_t)count);
    for (size_t i = 0; i < 2 * count; i++) {
        const int32_t step = vertices[i] - last[i % 2];
        last[i % 2] = vertices[i];
        pack_number(bytes, step < 0 ? ((uint32_t)(-(step + 1)) << 1 | 1u) : (uint32_t)step << 1);
    }
}

static void unpack_vertex(const uint8_t **at, int32_t vertex[2])
{
    for (int i = 0; i < 2; i++) {
        const uint32_t step = unpack_number(at);
        vertex[i] += step & 1u ? -(int32_t)(step >> 1) - 1 : (int32_t)(step >> 1);
    }
}

/* Appends the runs of the packed ring at *at, which moves behind it. */
static bool spread_ring(const grid *g, rcnn_eval_borders *scratch, const uint8_t **at)
{
    const size_t first = g->out->count;
    uint32_t count = unpack_number(at);
    int32_t start[2] = {0, 0}, here[2], next[2];
    if (count > 0) {
        unpack_vertex(at, start);
    }
    memcpy(here, start, sizeof here);
    memcpy(next, start, sizeof next);
    for (uint32_t i = 1; i < count; i++) {
        unpack_vertex(at, next);
        if (!add_edge(g, here, next)) {
            return false;
        }
        memcpy(here, next, sizeof here);
    }
    return add_edge(g, here, start) && close_ring(g, scratch, first);
}

/* ------------------------------------------------------------------- union */

/* A list of runs being read. */
typedef struct run_list {
    const uint32_t *at, *end;
} run_list;

/* The runs of both lists in order of their starts; runs that touch become one. Returns the borders written. */
static size_t unite(run_list a, run_list b, uint32_t *out)
{
    size_t count = 0;
    while (a.at < a.end || b.at < b.end) {
        run_list *from = b.at == b.end || (a.at < a.end && a.at[0] <= b.at[0]) ? &a : &b;
        if (count > 0 && from->at[0] <= out[count - 1]) {
            out[count - 1] = from->at[1] > out[count - 1] ? from->at[1] : out[count - 1];
        } else {
            out[count++] = from->at[0];
            out[count++] = from->at[1];
        }
        from->at += 2;
    }
    return count;
}

/* Unites the runs from `first` on with those of canvas->ring. */
static bool unite_ring(rcnn_eval_canvas *canvas, size_t first)
{
    rcnn_eval_borders *all = &canvas->borders, *ring = &canvas->ring, *merged = &canvas->merged;
    merged->count = 0;
    if (!reserve(merged, all->count - first + ring->count) || !reserve(all, ring->count)) {
        return false;
    }
    if (ring->count == 0) {
        return true;
    }
    const run_list a = {all->at + first, all->at + all->count}, b = {ring->at, ring->at + ring->count};
    const size_t count = unite(a, b, merged->at);
    memcpy(all->at + first, merged->at, count * sizeof *merged->at);
    all->count = first + count;
    return true;
}

static bool spread_rings(rcnn_eval_canvas *canvas, const uint8_t *at, const uint8_t *end, int32_t width, int32_t height)
{
    const size_t first = canvas->borders.count;
    const grid whole = {width, height, &canvas->borders}, single = {width, height, &canvas->ring};
    if (at < end && !spread_ring(&whole, &canvas->merged, &at)) {
        return false;
    }
    while (at < end) {
        canvas->ring.count = 0;
        if (!spread_ring(&single, &canvas->merged, &at) || !unite_ring(canvas, first)) {
            return false;
        }
    }
    return true;
}

bool rcnn_eval_shape_spread(rcnn_eval_canvas *canvas, const uint8_t *bytes, const rcnn_eval_shape *shape, int32_t width,
                            int32_t height, rcnn_eval_spans *out)
{
    const uint8_t *at = bytes + shape->offset;
    *out = (rcnn_eval_spans){.first = canvas->borders.count};
    if (shape->kind == RCNN_EVAL_SHAPE_RUNS) {
        if (!rcnn_eval_runs_spread(&canvas->borders, (const char *)at, shape->bytes, out)) {
            return false;
        }
    } else if (!spread_rings(canvas, at, at + shape->bytes, width, height)) {
        return false;
    }
    out->count = canvas->borders.count - out->first;
    rcnn_eval_spans_measure(canvas->borders.at, height, out);
    return true;
}

bool rcnn_eval_box_spread(rcnn_eval_canvas *canvas, const double box[4], int32_t width, int32_t height,
                          rcnn_eval_spans *out)
{
    const grid g = {width, height, &canvas->borders};
    const int32_t left = rcnn_eval_upsample(box[0]), right = rcnn_eval_upsample(box[0] + box[2]);
    const int32_t top = rcnn_eval_upsample(box[1]), bottom = rcnn_eval_upsample(box[1] + box[3]);
    const int32_t corners[4][2] = {{left, top}, {left, bottom}, {right, bottom}, {right, top}};
    *out = (rcnn_eval_spans){.first = canvas->borders.count};
    for (int i = 0; i < 4; i++) {
        if (!add_edge(&g, corners[i], corners[(i + 1) % 4])) {
            return false;
        }
    }
    if (!close_ring(&g, &canvas->merged, out->first)) {
        return false;
    }
    out->count = canvas->borders.count - out->first;
    rcnn_eval_spans_measure(canvas->borders.at, height, out);
    return true;
}
