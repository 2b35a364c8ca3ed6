#include "bench_scene.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define NUCLEUS_RADIUS 26.0      /* pixels, in a picture of SCENE_AREA */
#define SCENE_AREA     1066400.0 /* 1333 x 800 */
#define WAVES          4         /* of an outline */
#define TRIES          60        /* for a free place, per nucleus */
#define PI             3.14159265358979323846

typedef struct nucleus {
    double x, y, radius, aspect, angle, glow;
    double phase[WAVES];
} nucleus;

double scene_random(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (double)((x * 0x2545f4914f6cdd1dull) >> 11) * 0x1p-53;
}

static double between(uint64_t *state, double low, double high)
{
    return low + (high - low) * scene_random(state);
}

static bool make_view(int32_t width, int32_t height, rcnn_image_view *view, rcnn_error *err)
{
    const size_t stride = (size_t)width * 3;
    uint8_t *pixels = malloc(stride * (size_t)height);
    *view = (rcnn_image_view){
        .data = pixels, .width = width, .height = height, .stride_bytes = stride, .format = RCNN_PIXEL_RGB8};
    return pixels || tool_fail(err, "out of memory for a picture of %dx%d", (int)width, (int)height);
}

void scene_free(rcnn_image_view *view)
{
    free((void *)(uintptr_t)view->data);
    view->data = NULL;
}

/* ------------------------------------------------------------- rendering */

/* Centres that keep their distance; fewer when there is no room. */
static int32_t place(nucleus *list, int32_t count, double width, double height, uint64_t *state)
{
    const double usual = NUCLEUS_RADIUS * sqrt(width * height / SCENE_AREA);
    int32_t placed = 0;
    for (int32_t tries = 0; placed < count && tries < count * TRIES; tries++) {
        nucleus n = {.radius = usual * between(state, 0.75, 1.3)};
        n.x = between(state, 0, width);
        n.y = between(state, 0, height);
        bool free_place = true;
        for (int32_t i = 0; i < placed && free_place; i++) {
            free_place = hypot(n.x - list[i].x, n.y - list[i].y) > n.radius + list[i].radius;
        }
        if (!free_place) {
            continue;
        }
        n.aspect = between(state, 1.0, 1.25);
        n.angle = between(state, 0, PI);
        n.glow = between(state, 0.25, 0.7);
        for (int k = 0; k < WAVES; k++) {
            n.phase[k] = between(state, 0, 2 * PI);
        }
        list[placed++] = n;
    }
    return placed;
}

/* Light of a nucleus at a pixel: a wobbly ellipse with a soft edge, darker towards it. */
static double light_at(const nucleus *n, double x, double y)
{
    const double dx = x - n->x, dy = y - n->y, c = cos(n->angle), s = sin(n->angle);
    const double u = (dx * c + dy * s) / (n->radius * n->aspect), v = (dy * c - dx * s) / (n->radius / n->aspect);
    const double theta = atan2(v, u);
    double edge = 1;
    for (int k = 0; k < WAVES; k++) {
        edge += 0.12 / (k + 2) * cos((k + 2) * theta + n->phase[k]);
    }
    const double r = hypot(u, v) / edge;
    const double inside = fmin(fmax((1 - r) * n->radius / 2.5 + 0.5, 0), 1);
    const double speckle = 1 + 0.12 * sin(x * 0.9 + n->phase[0]) * sin(y * 0.8 + n->phase[1]);
    return inside * n->glow * (1 - 0.35 * fmin(r * r, 1)) * speckle;
}

static void draw(const nucleus *n, float *light, int32_t width, int32_t height)
{
    const double reach = n->radius * 1.8 + 4;
    const int32_t x0 = (int32_t)fmax(n->x - reach, 0), x1 = (int32_t)fmin(n->x + reach + 1, width);
    const int32_t y0 = (int32_t)fmax(n->y - reach, 0), y1 = (int32_t)fmin(n->y + reach + 1, height);
    for (int32_t y = y0; y < y1; y++) {
        for (int32_t x = x0; x < x1; x++) {
            float *at = &light[(size_t)y * (size_t)width + (size_t)x];
            *at = fmaxf(*at, (float)light_at(n, x + 0.5, y + 0.5));
        }
    }
}

/* Grey with the noise of a sensor: the sum of three uniform numbers has about the form of a normal one. */
static void expose(const float *light, rcnn_image_view *view, uint64_t *state)
{
    uint8_t *out = (uint8_t *)(uintptr_t)view->data;
    const size_t count = (size_t)view->width * (size_t)view->height;
    for (size_t i = 0; i < count; i++) {
        const double noise = scene_random(state) + scene_random(state) + scene_random(state) - 1.5;
        const double grey = fmin(fmax((double)light[i] * 255 + 2 * noise, 0), 255);
        memset(&out[3 * i], (int)grey, 3);
    }
}

bool scene_render(int32_t width, int32_t height, int32_t count, uint64_t seed, rcnn_image_view *view, rcnn_error *err)
{
    uint64_t state = seed;
    const size_t pixels = (size_t)width * (size_t)height;
    nucleus *list = calloc((size_t)count, sizeof *list);
    float *light = malloc(pixels * sizeof *light);
    bool done = make_view(width, height, view, err);
    if (done && (!list || !light)) {
        scene_free(view);
        done = tool_fail(err, "out of memory for a picture of %dx%d", (int)width, (int)height);
    }
    if (done) {
        for (size_t i = 0; i < pixels; i++) {
            light[i] = 0.05f;
        }
        const int32_t placed = place(list, count, width, height, &state);
        for (int32_t i = 0; i < placed; i++) {
            draw(&list[i], light, width, height);
        }
        expose(light, view, &state);
    }
    free(list);
    free(light);
    return done;
}

/* ------------------------------------------------------------- resizing */

typedef struct tap {
    int32_t low, high;
    double share; /* of high */
} tap;

/* Where pixel i of `to` lies among `from` pixels; pixel centres are half integers. */
static tap tap_of(int32_t i, int32_t from, int32_t to)
{
    const double at = fmax((i + 0.5) * from / to - 0.5, 0);
    const int32_t low = (int32_t)at < from ? (int32_t)at : from - 1;
    return (tap){low, low + 1 < from ? low + 1 : low, at - low};
}

bool scene_resize(const rcnn_image_view *from, int32_t width, int32_t height, rcnn_image_view *view, rcnn_error *err)
{
    if (!make_view(width, height, view, err)) {
        return false;
    }
    uint8_t *out = (uint8_t *)(uintptr_t)view->data;
    for (int32_t y = 0; y < height; y++) {
        const tap v = tap_of(y, from->height, height);
        const uint8_t *above = from->data + (size_t)v.low * from->stride_bytes;
        const uint8_t *below = from->data + (size_t)v.high * from->stride_bytes;
        for (int32_t x = 0; x < width; x++) {
            const tap h = tap_of(x, from->width, width);
            for (int32_t c = 0; c < 3; c++) {
                const double top = above[3 * h.low + c] + h.share * (above[3 * h.high + c] - above[3 * h.low + c]);
                const double bottom = below[3 * h.low + c] + h.share * (below[3 * h.high + c] - below[3 * h.low + c]);
                *out++ = (uint8_t)(top + v.share * (bottom - top) + 0.5);
            }
        }
    }
    return true;
}
