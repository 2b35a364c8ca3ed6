/* COCO's compressed run-length text, and spans: checking, spreading, intersecting. */
#include "eval/shape.h"

#include "base/memory.h"
#include "eval/spans.h"

void rcnn_eval_canvas_free(rcnn_eval_canvas *canvas)
{
    rcnn_free(canvas->borders.at);
    rcnn_free(canvas->ring.at);
    rcnn_free(canvas->merged.at);
    *canvas = (rcnn_eval_canvas){0};
}

/* ------------------------------------------------------------ reading text */

/* Walks over the counts of a text. Five bits a character, low ones first; bit 5 says that more follow, bit 4 of the
 * last is the sign. From the fourth count on the text holds differences to the count before the last. */
typedef struct run_reader {
    const char *text;
    size_t length, at;
    int64_t last[2]; /* counts i-1 and i-2 */
    uint32_t index;
} run_reader;

#define GROUPS_MAX 7 /* 7 * 5 bits hold any difference of two 31 bit counts */

/* The next count, unchecked for its sign; false at a character that does not belong. */
static bool next_run(run_reader *r, int64_t *out)
{
    uint64_t bits = 0;
    unsigned group = 0, shift = 0;
    do {
        group = r->at < r->length ? (unsigned)(unsigned char)r->text[r->at] - 48u : 64u;
        if (group > 63u || shift == 5 * GROUPS_MAX) {
            return false;
        }
        bits |= (uint64_t)(group & 31u) << shift;
        shift += 5;
        r->at++;
    } while (group & 32u);
    int64_t value = (int64_t)bits - (group & 16u ? (int64_t)1 << shift : 0);
    if (r->index > 2) {
        value += r->last[1];
    }
    r->last[1] = r->last[0];
    r->last[0] = value;
    r->index++;
    *out = value;
    return true;
}

rcnn_eval_runs_state rcnn_eval_runs_check(const char *text, size_t length, uint64_t pixels, uint64_t *sum)
{
    run_reader r = {.text = text, .length = length};
    *sum = 0;
    while (r.at < r.length) {
        int64_t count;
        if (!next_run(&r, &count)) {
            return RCNN_EVAL_RUNS_CHARACTER;
        }
        if (count < 0) {
            return RCNN_EVAL_RUNS_NEGATIVE;
        }
        *sum += (uint64_t)count;
        if (*sum > pixels) {
            return RCNN_EVAL_RUNS_SUM;
        }
    }
    return *sum == pixels ? RCNN_EVAL_RUNS_GOOD : RCNN_EVAL_RUNS_SUM;
}

/* --------------------------------------------------------------- spreading */

/* Widens the box of the spans by one run [from, to). */
static void add_run_to_box(rcnn_eval_spans *s, uint32_t from, uint32_t to, int32_t height)
{
    int32_t x = (int32_t)(from / (uint32_t)height), last = (int32_t)((to - 1) / (uint32_t)height);
    int32_t y = x == last ? (int32_t)(from % (uint32_t)height) : 0; /* a run over two columns touches top and bottom */
    int32_t bottom = x == last ? y + (int32_t)(to - from) : height;
    if (s->area == 0) {
        s->x = x;
        s->y = y;
    }
    s->y = y < s->y ? y : s->y;
    s->y2 = bottom > s->y2 ? bottom : s->y2;
    s->x2 = last + 1;
    s->area += to - from;
}

void rcnn_eval_spans_measure(const uint32_t *borders, int32_t height, rcnn_eval_spans *s)
{
    for (size_t i = s->first; i < s->first + s->count; i += 2) {
        add_run_to_box(s, borders[i], borders[i + 1], height);
    }
}

bool rcnn_eval_runs_spread(rcnn_eval_borders *borders, const char *text, size_t length, rcnn_eval_spans *out)
{
    void *grown = borders->at;
    if (!rcnn_grow(&grown, &borders->capacity, borders->count + length + 1, sizeof *borders->at)) {
        return false;
    }
    borders->at = grown;
    *out = (rcnn_eval_spans){.first = borders->count};
    run_reader r = {.text = text, .length = length};
    uint32_t *to = borders->at + borders->count, *first = to;
    uint32_t at = 0;
    int64_t count;
    for (bool set = false; r.at < length && next_run(&r, &count); set = !set) {
        if (set && count > 0) {
            if (to > first && to[-1] == at) {
                to--; /* the gap before was empty: one run */
            } else {
                *to++ = at;
            }
            *to++ = at + (uint32_t)count;
        }
        at += (uint32_t)count;
    }
    out->count = (size_t)(to - first);
    borders->count += out->count;
    return true;
}

/* ------------------------------------------------------------ intersecting */

/* First even index whose run ends behind `pixel`. */
static size_t skip_to(const uint32_t *borders, size_t count, uint32_t pixel)
{
    size_t low = 0, high = count / 2;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (borders[2 * middle + 1] <= pixel) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return 2 * low;
}

uint32_t rcnn_eval_intersection(const uint32_t *borders, const rcnn_eval_spans *a, const rcnn_eval_spans *b)
{
    if (a->count == 0 || b->count == 0) {
        return 0;
    }
    const uint32_t *p = borders + a->first, *q = borders + b->first;
    const uint32_t *const p_end = p + a->count, *const q_end = q + b->count;
    const uint32_t p_start = p[0], q_start = q[0];
    p += skip_to(p, a->count, q_start);
    q += skip_to(q, b->count, p_start);
    uint32_t total = 0;
    while (p < p_end && q < q_end) {
        const uint32_t from = p[0] > q[0] ? p[0] : q[0];
        const uint32_t p_to = p[1], q_to = q[1];
        const uint32_t to = p_to < q_to ? p_to : q_to;
        total += to > from ? to - from : 0;
        p += 2 * (p_to <= q_to); /* without branches: which run ends first is a coin toss */
        q += 2 * (q_to <= p_to);
    }
    return total;
}
