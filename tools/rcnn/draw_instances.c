/* The layers of a picture that show instances: translucent fills, outlines, boxes. */
#include "canvas.h"

static const colour SAME = {0.35, 0.72, 0.62}, DIFFERS = {0.95, 0.25, 0.15};

colour canvas_item_colour(const canvas *c, int32_t index)
{
    if (c->p->items[index].mark != PICTURE_PLAIN) {
        return c->p->items[index].mark == PICTURE_SAME ? SAME : DIFFERS;
    }
    return palette_colour(c->p->class_count > 1 ? c->p->items[index].detection.label : index);
}

void canvas_set_colour(canvas *c, colour k, double alpha)
{
    cairo_set_source_rgba(c->cr, k.red, k.green, k.blue, alpha);
}

static void path_outline(canvas *c, const contour *outline)
{
    int32_t point = 0;
    cairo_new_path(c->cr);
    for (int32_t ring = 0; ring < outline->ring_count; ring++) {
        cairo_new_sub_path(c->cr);
        for (; point < outline->ring_ends[ring]; point++) {
            cairo_line_to(c->cr, c->scale * (double)outline->points[2 * point],
                          c->scale * (double)outline->points[2 * point + 1]);
        }
        cairo_close_path(c->cr);
    }
}

/* A dark line below a coloured one stays visible on any background. */
static void stroke_with_halo(canvas *c, colour k, double width, double alpha)
{
    cairo_set_source_rgba(c->cr, 0, 0, 0, 0.45 * alpha);
    cairo_set_line_width(c->cr, 1.9 * width);
    cairo_stroke_preserve(c->cr);
    canvas_set_colour(c, k, alpha);
    cairo_set_line_width(c->cr, width);
    cairo_stroke(c->cr);
}

void canvas_paint_masks(canvas *c)
{
    cairo_set_fill_rule(c->cr, CAIRO_FILL_RULE_EVEN_ODD);
    cairo_set_line_join(c->cr, CAIRO_LINE_JOIN_ROUND);
    for (int32_t i = 0; i < c->p->count; i++) {
        int32_t item = c->order[i];
        path_outline(c, &c->outlines[item]);
        canvas_set_colour(c, canvas_item_colour(c, item), 0.36);
        cairo_fill(c->cr);
    }
    for (int32_t i = 0; i < c->p->count; i++) {
        int32_t item = c->order[i];
        path_outline(c, &c->outlines[item]);
        stroke_with_halo(c, canvas_item_colour(c, item), c->line, 1.0);
    }
}

void canvas_paint_boxes(canvas *c)
{
    cairo_set_line_join(c->cr, CAIRO_LINE_JOIN_MITER);
    for (int32_t i = 0; i < c->p->count; i++) {
        int32_t item = c->order[i];
        const rectangle *box = &c->boxes[item];
        bool masked = c->outlines[item].ring_count > 0;
        cairo_new_path(c->cr);
        cairo_rectangle(c->cr, box->x, box->y, box->width, box->height);
        if (masked) { /* the outline speaks; the box is a hint */
            canvas_set_colour(c, canvas_item_colour(c, item), c->crowded ? 0.45 : 0.75);
            cairo_set_line_width(c->cr, c->crowded ? 0.5 * c->line : 0.7 * c->line);
            cairo_stroke(c->cr);
        } else {
            stroke_with_halo(c, canvas_item_colour(c, item), c->line, 1.0);
        }
    }
}
