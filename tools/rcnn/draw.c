/* The overlay picture, by cairo. Layers from below: image, fills of large instances before small ones, outlines, boxes,
 * labels in the order of the scores, legend. Sizes of lines and letters follow the picture, and in a crowd they shrink
 * so that the picture stays a picture of the objects. */
#include "canvas.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "outfile.h"

#define PICTURE_SIDE_GOAL 1440 /* small images are enlarged by a whole factor up to this          */
#define PICTURE_SIDE_MAX  8192 /* larger images are reduced by a whole factor                      */
#define ZOOM_MAX          8
#define CROWD             40 /* from so many instances on, labels only where they cover nothing */
#define MASK_LEVEL        0.5f

int draw_available(void)
{
    return 1;
}

/* ------------------------------------------------------------------- image */

static int32_t longer_side(const picture *p)
{
    return p->view.width > p->view.height ? p->view.width : p->view.height;
}

static int32_t zoom_of(const picture *p)
{
    int32_t side = longer_side(p);
    int32_t zoom = p->zoom ? p->zoom : PICTURE_SIDE_GOAL / side;
    while (zoom > 1 && (zoom > ZOOM_MAX || (int64_t)zoom * side > PICTURE_SIDE_MAX)) {
        zoom--;
    }
    return zoom < 1 ? 1 : zoom;
}

/* Mean of the step x step image pixels that make one picture pixel. */
static uint32_t mean_pixel(const rcnn_image_view *view, int32_t x, int32_t y, int32_t step)
{
    uint32_t sum[3] = {0, 0, 0}, count = 0;
    for (int32_t j = y * step; j < (y + 1) * step && j < view->height; j++) {
        for (int32_t i = x * step; i < (x + 1) * step && i < view->width; i++, count++) {
            const uint8_t *pixel = view->data + (size_t)j * view->stride_bytes + 3 * (size_t)i;
            for (int k = 0; k < 3; k++) {
                sum[k] += pixel[k];
            }
        }
    }
    return (sum[0] / count) << 16 | (sum[1] / count) << 8 | sum[2] / count;
}

/* The image as a cairo surface, reduced `step` times. */
static cairo_surface_t *image_surface(const rcnn_image_view *view, int32_t step)
{
    int32_t width = (view->width + step - 1) / step, height = (view->height + step - 1) / step;
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, width, height);
    if (cairo_surface_status(surface) != CAIRO_STATUS_SUCCESS) {
        return surface;
    }
    unsigned char *data = cairo_image_surface_get_data(surface);
    size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    for (int32_t y = 0; y < height; y++) {
        for (int32_t x = 0; x < width; x++) {
            uint32_t pixel = mean_pixel(view, x, y, step);
            memcpy(data + (size_t)y * stride + 4 * (size_t)x, &pixel, sizeof pixel);
        }
    }
    cairo_surface_mark_dirty(surface);
    return surface;
}

static void paint_image(canvas *c, int32_t step, int32_t zoom)
{
    cairo_surface_t *image = image_surface(&c->p->view, step);
    cairo_save(c->cr);
    cairo_scale(c->cr, zoom, zoom);
    cairo_set_source_surface(c->cr, image, 0, 0);
    cairo_pattern_set_filter(cairo_get_source(c->cr), CAIRO_FILTER_BILINEAR);
    cairo_pattern_set_extend(cairo_get_source(c->cr), CAIRO_EXTEND_PAD);
    cairo_rectangle(c->cr, 0, 0, c->width / zoom, c->height / zoom);
    cairo_fill(c->cr);
    cairo_restore(c->cr);
    cairo_surface_destroy(image);
}

/* ------------------------------------------------------------------ canvas */

static double clamp(double value, double low, double high)
{
    return value < low ? low : value > high ? high : value;
}

static double box_area(const rectangle *box)
{
    return box->width * box->height;
}

/* Insertion by falling area; detections are few and nearly any order comes in. */
static void sort_items(canvas *c)
{
    for (int32_t i = 0; i < c->p->count; i++) {
        int32_t at = i;
        for (; at > 0 && box_area(&c->boxes[c->order[at - 1]]) < box_area(&c->boxes[i]); at--) {
            c->order[at] = c->order[at - 1];
        }
        c->order[at] = i;
    }
}

static void place_boxes(canvas *c)
{
    int32_t small = 0;
    for (int32_t i = 0; i < c->p->count; i++) {
        const rcnn_detection *d = &c->p->items[i].detection;
        double x1 = clamp(c->scale * (double)d->x1, 0, c->width), y1 = clamp(c->scale * (double)d->y1, 0, c->height);
        double x2 = clamp(c->scale * (double)d->x2, x1, c->width), y2 = clamp(c->scale * (double)d->y2, y1, c->height);
        c->boxes[i] = (rectangle){x1, y1, x2 - x1, y2 - y1};
        small += box_area(&c->boxes[i]) < 0.001 * c->width * c->height;
    }
    c->crowded = c->p->count > CROWD || small > CROWD / 2;
}

static bool prepare_items(canvas *c)
{
    size_t count = (size_t)c->p->count + 1;
    c->outlines = calloc(count, sizeof *c->outlines);
    c->boxes = calloc(count, sizeof *c->boxes);
    c->order = calloc(count, sizeof *c->order);
    if (!c->outlines || !c->boxes || !c->order) {
        return false;
    }
    for (int32_t i = 0; i < c->p->count; i++) {
        const picture_item *it = &c->p->items[i];
        const float box[4] = {it->detection.x1, it->detection.y1, it->detection.x2, it->detection.y2};
        if (it->soft && !contour_trace(it->soft, it->side, box, MASK_LEVEL, &c->outlines[i])) {
            return false;
        }
    }
    place_boxes(c);
    sort_items(c);
    double side = c->width > c->height ? c->width : c->height;
    c->line = clamp(side / (c->crowded ? 760 : 600), 1.0, 6.0);
    c->font = clamp(side / (c->crowded ? 100 : 72), 9.0, 48.0);
    return true;
}

static void canvas_free(canvas *c)
{
    for (int32_t i = 0; c->outlines && i < c->p->count; i++) {
        contour_free(&c->outlines[i]);
    }
    free(c->outlines);
    free(c->boxes);
    free(c->order);
    cairo_destroy(c->cr);
    cairo_surface_destroy(c->surface);
}

static cairo_status_t write_bytes(void *stream, const unsigned char *data, unsigned int length)
{
    return fwrite(data, 1, length, stream) == length ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static bool write_png(canvas *c, const char *path, rcnn_error *err)
{
    outfile file;
    if (!outfile_open(&file, path, err)) {
        return false;
    }
    cairo_status_t status = cairo_surface_write_to_png_stream(c->surface, write_bytes, file.stream);
    if (status != CAIRO_STATUS_SUCCESS && status != CAIRO_STATUS_WRITE_ERROR) {
        outfile_discard(&file);
        return tool_fail(err, "'%.300s': %s", path, cairo_status_to_string(status));
    }
    return outfile_commit(&file, err);
}

static bool paint(canvas *c, double strip, int32_t step, int32_t zoom)
{
    if (!prepare_items(c)) {
        return false;
    }
    paint_image(c, step, zoom);
    cairo_save(c->cr);
    cairo_rectangle(c->cr, 0, 0, c->width, c->height);
    cairo_clip(c->cr);
    canvas_paint_masks(c);
    canvas_paint_boxes(c);
    int32_t missing = canvas_paint_labels(c);
    cairo_restore(c->cr);
    if (strip > 0 && missing >= 0) {
        canvas_paint_legend(c, strip, missing);
    }
    return missing >= 0;
}

bool draw_picture(const picture *p, const char *path, rcnn_error *err)
{
    int32_t zoom = zoom_of(p), step = (longer_side(p) + PICTURE_SIDE_MAX - 1) / PICTURE_SIDE_MAX;
    canvas c = {.p = p, .scale = (double)zoom / (double)step};
    c.width = zoom * ((p->view.width + step - 1) / step);
    c.height = zoom * ((p->view.height + step - 1) / step);
    double strip = p->legend ? canvas_legend_height(c.width) : 0.0;
    c.surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)c.width, (int)(c.height + strip));
    c.cr = cairo_create(c.surface);
    bool done = cairo_status(c.cr) == CAIRO_STATUS_SUCCESS && paint(&c, strip, step, zoom) &&
                cairo_status(c.cr) == CAIRO_STATUS_SUCCESS;
    if (done) {
        done = write_png(&c, path, err);
    } else {
        tool_fail(err, "'%.300s': cannot draw: %s", path,
                  cairo_status(c.cr) ? cairo_status_to_string(cairo_status(c.cr)) : "out of memory");
    }
    canvas_free(&c);
    return done;
}
