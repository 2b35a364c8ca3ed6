/* Marching squares. The mask's values are samples at cell centres of a side x side grid over the box; a frame of zeros
 * around them closes every ring. Each crossing of a grid edge is left by exactly one directed segment, so rings are
 * found by following next[edge]. */
#include "contour.h"

#include <stdlib.h>
#include <string.h>

typedef struct tracer {
    const float *soft;
    int32_t side, grid; /* grid = side + 2 samples per row, the frame included */
    float level;
    int32_t *next; /* edge -> edge, -1 = no crossing. Edge 2*sample = to the right, 2*sample+1 = downwards */
} tracer;

static float sample(const tracer *t, int32_t x, int32_t y)
{
    bool framed = x < 1 || y < 1 || x > t->side || y > t->side;
    return framed ? 0.0f : t->soft[(y - 1) * t->side + x - 1];
}

static int32_t edge(const tracer *t, int32_t x, int32_t y, int32_t down)
{
    return 2 * (y * t->grid + x) + down;
}

/* Links the crossings of one cell, inside on the left hand as seen on the screen. Corner bits: 1 top-left, 2 top-right, 4 bottom-right,
 * 8 bottom-left; edges: 0 top, 1 right, 2 bottom, 3 left. Saddles are joined when the middle is inside. */
static void link_cell(tracer *t, int32_t x, int32_t y)
{
    static const signed char SEGMENTS[16][4] = {
        {-1, -1, -1, -1}, {3, 0, -1, -1}, {0, 1, -1, -1}, {3, 1, -1, -1},   {1, 2, -1, -1}, {3, 0, 1, 2},
        {0, 2, -1, -1},   {3, 2, -1, -1}, {2, 3, -1, -1}, {2, 0, -1, -1},   {0, 1, 2, 3},   {2, 1, -1, -1},
        {1, 3, -1, -1},   {1, 0, -1, -1}, {0, 3, -1, -1}, {-1, -1, -1, -1},
    };
    static const signed char JOINED[2][4] = {{1, 0, 3, 2}, {0, 3, 2, 1}};
    float corner[4] = {sample(t, x, y), sample(t, x + 1, y), sample(t, x + 1, y + 1), sample(t, x, y + 1)};
    int bits = 0;
    for (int i = 0; i < 4; i++) {
        bits |= (corner[i] >= t->level) << i;
    }
    const signed char *segment = SEGMENTS[bits];
    if ((bits == 5 || bits == 10) && 0.25f * (corner[0] + corner[1] + corner[2] + corner[3]) >= t->level) {
        segment = JOINED[bits == 10];
    }
    int32_t edges[4] = {edge(t, x, y, 0), edge(t, x + 1, y, 1), edge(t, x, y + 1, 0), edge(t, x, y, 1)};
    for (int i = 0; i < 4 && segment[i] >= 0; i += 2) {
        t->next[edges[segment[i]]] = edges[segment[i + 1]];
    }
}

/* Where the level lies on an edge, in image coordinates. */
static void crossing(const tracer *t, int32_t id, const float box[4], float *point)
{
    int32_t down = id & 1, x = id / 2 % t->grid, y = id / 2 / t->grid;
    float a = sample(t, x, y), b = sample(t, x + !down, y + down);
    float along = b != a ? (t->level - a) / (b - a) : 0.5f;
    float column = (float)x - 0.5f + (down ? 0.0f : along), row = (float)y - 0.5f + (down ? along : 0.0f);
    point[0] = box[0] + column * (box[2] - box[0]) / (float)t->side;
    point[1] = box[1] + row * (box[3] - box[1]) / (float)t->side;
}

static void follow_rings(tracer *t, int32_t edge_count, const float box[4], contour *out)
{
    for (int32_t start = 0; start < edge_count; start++) {
        int32_t at = start;
        bool any = false;
        while (at >= 0 && t->next[at] >= 0) {
            int32_t after = t->next[at];
            crossing(t, at, box, &out->points[2 * out->point_count++]);
            t->next[at] = -1;
            at = after;
            any = true;
        }
        if (any) {
            out->ring_ends[out->ring_count++] = out->point_count;
        }
    }
}

bool contour_trace(const float *soft, int32_t side, const float box[4], float level, contour *out)
{
    memset(out, 0, sizeof *out);
    if (side < 1 || side > CONTOUR_SIDE_MAX) {
        return false;
    }
    tracer t = {soft, side, side + 2, level, NULL};
    int32_t edge_count = 2 * t.grid * t.grid, crossings = 0;
    t.next = malloc((size_t)edge_count * sizeof *t.next);
    if (!t.next) {
        return false;
    }
    for (int32_t i = 0; i < edge_count; i++) {
        t.next[i] = -1;
    }
    for (int32_t y = 0; y + 1 < t.grid; y++) {
        for (int32_t x = 0; x + 1 < t.grid; x++) {
            link_cell(&t, x, y);
        }
    }
    for (int32_t i = 0; i < edge_count; i++) {
        crossings += t.next[i] >= 0;
    }
    out->points = malloc(((size_t)crossings * 2 + 1) * sizeof *out->points);
    out->ring_ends = malloc(((size_t)crossings + 1) * sizeof *out->ring_ends);
    bool done = out->points && out->ring_ends;
    if (done) {
        follow_rings(&t, edge_count, box, out);
    } else {
        contour_free(out);
    }
    free(t.next);
    return done;
}

void contour_free(contour *outline)
{
    free(outline->points);
    free(outline->ring_ends);
    memset(outline, 0, sizeof *outline);
}
