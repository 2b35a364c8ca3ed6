/* Outlines of a bitmap along pixel edges; see mask.h. Edges are directed with the set pixel on their right-hand side,
 * which makes outer rings clockwise on the screen and holes counter-clockwise. Every ring has an edge that runs right
 * (the top edge of a set pixel), so marking those is enough to find each ring once. */
#include "mask/mask.h"

#include <stdbool.h>
#include <string.h>

typedef struct bitmap_view {
    const uint8_t *pixels;
    int32_t width, height;
} bitmap_view;

/* Clockwise, so that direction + 1 is a turn to the right. */
typedef enum direction { RIGHT = 0, DOWN = 1, LEFT = 2, UP = 3 } direction;

typedef struct rings {
    float *points;
    int32_t *ring_ends;
    int32_t point_capacity, ring_capacity, point_count, ring_count;
} rings;

static bool is_set(const bitmap_view *b, int32_t x, int32_t y)
{
    return x >= 0 && y >= 0 && x < b->width && y < b->height && b->pixels[(size_t)y * (size_t)b->width + (size_t)x];
}

/* Whether the outline has an edge from corner (x,y) in this direction: a set pixel to the right, a clear one to the
 * left. */
static bool has_edge(const bitmap_view *b, int32_t x, int32_t y, direction d)
{
    switch (d) {
    case RIGHT:
        return is_set(b, x, y) && !is_set(b, x, y - 1);
    case DOWN:
        return is_set(b, x - 1, y) && !is_set(b, x, y);
    case LEFT:
        return is_set(b, x - 1, y - 1) && !is_set(b, x - 1, y);
    default:
        return is_set(b, x, y - 1) && !is_set(b, x - 1, y - 1);
    }
}

/* Right first: where two set pixels touch at a corner the ring stays with its own, so pixels are 4-connected. */
static direction next_direction(const bitmap_view *b, int32_t x, int32_t y, direction d)
{
    const direction right = (direction)((d + 1) % 4);
    if (has_edge(b, x, y, right)) {
        return right;
    }
    return has_edge(b, x, y, d) ? d : (direction)((d + 3) % 4);
}

static void add_point(rings *out, int32_t x, int32_t y)
{
    if (out->point_count < out->point_capacity) {
        out->points[2 * (size_t)out->point_count] = (float)x;
        out->points[2 * (size_t)out->point_count + 1] = (float)y;
    }
    out->point_count++;
}

/* Follows one ring from corner (x,y), from which an edge runs right and no edge of the same ring arrives straight. */
static void trace(const bitmap_view *b, const rcnn_mask_region *region, int32_t start_x, int32_t start_y, rings *out,
                  uint8_t *visited)
{
    static const int32_t step_x[] = {1, 0, -1, 0};
    static const int32_t step_y[] = {0, 1, 0, -1};
    const size_t corners = (size_t)b->width + 1;
    int32_t x = start_x, y = start_y;
    direction d = RIGHT;
    add_point(out, region->x + x, region->y + y);
    do {
        if (d == RIGHT) {
            visited[(size_t)y * corners + (size_t)x] = 1;
        }
        x += step_x[d];
        y += step_y[d];
        const direction next = next_direction(b, x, y, d);
        const bool back = x == start_x && y == start_y && next == RIGHT;
        if (next != d && !back) {
            add_point(out, region->x + x, region->y + y);
        }
        d = next;
    } while (!(x == start_x && y == start_y && d == RIGHT));
    if (out->ring_count < out->ring_capacity) {
        out->ring_ends[out->ring_count] = out->point_count;
    }
    out->ring_count++;
}

int32_t rcnn_mask_polygons(const uint8_t *bitmap, const rcnn_mask_region *region, float *points, int32_t point_capacity,
                           int32_t *ring_ends, int32_t ring_capacity, int32_t *point_count, uint8_t *visited)
{
    const bitmap_view b = {.pixels = bitmap, .width = region->width, .height = region->height};
    rings out = {
        .points = points, .ring_ends = ring_ends, .point_capacity = point_capacity, .ring_capacity = ring_capacity};
    const size_t corners = (size_t)b.width + 1;
    memset(visited, 0, corners * ((size_t)b.height + 1));
    for (int32_t y = 0; y < b.height; y++) {
        for (int32_t x = 0; x < b.width; x++) {
            if (!visited[(size_t)y * corners + (size_t)x] && has_edge(&b, x, y, RIGHT)) {
                trace(&b, region, x, y, &out, visited);
            }
        }
    }
    *point_count = out.point_count;
    return out.ring_count;
}
