#include "verify_picture.h"

#include <stdlib.h>
#include <string.h>

#include "draw.h"

#define GAP 8 /* pixels between the two sides */

typedef struct pair_picture {
    const verify_image *image;
    const verify_limits *limits;
    uint8_t *pixels;
    picture_item *items; /* those that differ first, so that they get their labels first */
    int32_t count, differing[2], shown[2];
    int32_t width; /* of both sides with the gap */
} pair_picture;

/* Both sides show the same image. */
static bool copy_pixels(pair_picture *p, const rcnn_image_view *view)
{
    const size_t row = 3 * (size_t)p->width, half = 3 * (size_t)view->width;
    p->pixels = malloc(row * (size_t)view->height);
    for (int32_t y = 0; p->pixels && y < view->height; y++) {
        uint8_t *to = p->pixels + (size_t)y * row;
        const uint8_t *from = view->data + (size_t)y * view->stride_bytes;
        memcpy(to, from, half);
        memset(to + half, 255, row - 2 * half);
        memcpy(to + row - half, from, half);
    }
    return p->pixels != NULL;
}

/* A detection differs when it is alone, or its match is outside the limits. */
static bool differs(const pair_picture *p, int side, int32_t item)
{
    for (int32_t i = 0; i < p->image->match_count; i++) {
        const match *m = &p->image->matches[i];
        if ((side ? m->b : m->a) == item) {
            return !match_within(m, p->limits);
        }
    }
    return true;
}

/* Shown is what counts: above the score, or matched to one above it. */
static bool is_shown(const pair_picture *p, int side, int32_t item)
{
    for (int32_t i = 0; i < p->image->match_count; i++) {
        const match *m = &p->image->matches[i];
        if ((side ? m->b : m->a) == item) {
            return match_counts(p->image, m, p->limits);
        }
    }
    return item_is_lost(p->image, side, item, p->limits);
}

static bool add_item(pair_picture *p, int side, int32_t item, rcnn_results *results, bool marked, rcnn_error *err)
{
    picture_item *out = &p->items[p->count++];
    const float offset = side ? (float)(p->image->width + GAP) : 0;
    rcnn_mask mask;
    *out = (picture_item){.detection = p->image->side[side].items[item],
                          .name = side ? "B" : "A",
                          .mark = marked ? PICTURE_DIFFERS : PICTURE_SAME};
    out->detection.x1 += offset;
    out->detection.x2 += offset;
    rcnn_error none = {0};
    if (rcnn_results_get_mask(results, 0, item, RCNN_MASK_RAW, &mask, &none) == RCNN_OK) {
        out->soft = mask.raw;
        out->side = mask.width;
    } else if (none.status != RCNN_ERR_UNSUPPORTED) { /* a run without masks has none to show */
        *err = none;
        return false;
    }
    p->shown[side]++;
    p->differing[side] += marked;
    return true;
}

static bool add_items(pair_picture *p, rcnn_results *const results[2], bool marked, rcnn_error *err)
{
    for (int side = 0; side < 2; side++) {
        for (int32_t i = 0; i < p->image->side[side].count; i++) {
            if (is_shown(p, side, i) && differs(p, side, i) == marked &&
                !add_item(p, side, i, results[side], marked, err)) {
                return false;
            }
        }
    }
    return true;
}

static bool draw_pair(const pair_picture *p, const rcnn_image_view *view, const char *path, rcnn_error *err)
{
    char note[160];
    snprintf(note, sizeof note, "A left: %d, %d differ; B right: %d, %d differ", (int)p->shown[0], (int)p->differing[0],
             (int)p->shown[1], (int)p->differing[1]);
    const picture whole = {.view = {.data = p->pixels,
                                    .width = p->width,
                                    .height = view->height,
                                    .stride_bytes = 3 * (size_t)p->width,
                                    .format = RCNN_PIXEL_RGB8},
                           .items = p->items,
                           .count = p->count,
                           .class_count = 1,
                           .score_threshold = p->limits->score,
                           .legend = true,
                           .note = note};
    return draw_picture(&whole, path, err);
}

bool verify_picture(const verify_image *image, const rcnn_image_view *view, rcnn_results *const results[2],
                    const verify_limits *limits, const char *path, rcnn_error *err)
{
    pair_picture p = {.image = image, .limits = limits, .width = 2 * view->width + GAP};
    p.items = calloc((size_t)image->side[0].count + (size_t)image->side[1].count + 1, sizeof *p.items);
    bool done = p.items && copy_pixels(&p, view);
    if (!done) {
        tool_fail(err, "'%.300s': out of memory", path);
    }
    done = done && add_items(&p, results, true, err) && add_items(&p, results, false, err) &&
           draw_pair(&p, view, path, err);
    free(p.items);
    free(p.pixels);
    return done;
}
