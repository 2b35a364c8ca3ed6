/* A chart as PNG, by cairo, at twice its size so that text stays sharp in print. */
#include <cairo.h>
#include <math.h>

#include "bench_chart.h"
#include "outfile.h"

#define ZOOM     2.0
#define SIDE_MAX 32000.0 /* cairo's pictures end at 32767 pixels */

bool chart_has_png(void)
{
    return true;
}

static void paint_mark(cairo_t *cr, const chart_mark *m)
{
    cairo_text_extents_t extents;
    cairo_set_source_rgb(cr, m->paint.red, m->paint.green, m->paint.blue);
    cairo_new_path(cr);
    switch (m->kind) {
    case CHART_BAR:
        cairo_rectangle(cr, m->x, m->y, m->width, m->height);
        cairo_fill(cr);
        break;
    case CHART_LINE:
        cairo_set_line_width(cr, m->size);
        cairo_move_to(cr, m->x, m->y);
        cairo_rel_line_to(cr, m->width, m->height);
        cairo_stroke(cr);
        break;
    case CHART_TEXT:
        cairo_select_font_face(cr, "DejaVu Sans", CAIRO_FONT_SLANT_NORMAL,
                               m->bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
        cairo_set_font_size(cr, m->size);
        cairo_text_extents(cr, m->text, &extents);
        cairo_move_to(cr, m->x - m->align * extents.x_advance, m->y);
        cairo_show_text(cr, m->text);
        break;
    }
}

static cairo_status_t write_bytes(void *stream, const unsigned char *data, unsigned int length)
{
    return fwrite(data, 1, length, stream) == length ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

static bool save(cairo_surface_t *surface, const char *path, rcnn_error *err)
{
    outfile file;
    if (!outfile_open(&file, path, err)) {
        return false;
    }
    const cairo_status_t status = cairo_surface_write_to_png_stream(surface, write_bytes, file.stream);
    if (status != CAIRO_STATUS_SUCCESS && status != CAIRO_STATUS_WRITE_ERROR) {
        outfile_discard(&file);
        return tool_fail(err, "'%.300s': cannot draw: %s", path, cairo_status_to_string(status));
    }
    return outfile_commit(&file, err); /* tells of write errors with the system's reason */
}

bool chart_write_png(const chart *c, const char *path, rcnn_error *err)
{
    const double zoom = fmin(ZOOM, SIDE_MAX / c->height);
    cairo_surface_t *surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)(zoom * c->width), (int)(zoom * c->height));
    cairo_t *cr = cairo_create(surface);
    cairo_scale(cr, zoom, zoom);
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    for (int32_t i = 0; i < c->count; i++) {
        paint_mark(cr, &c->marks[i]);
    }
    const cairo_status_t status = cairo_status(cr);
    const bool done = status == CAIRO_STATUS_SUCCESS
                          ? save(surface, path, err)
                          : tool_fail(err, "'%.300s': cannot draw: %s", path, cairo_status_to_string(status));
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    return done;
}
