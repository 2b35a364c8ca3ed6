/* The labels of a picture. labels.c says where they fit, this measures and paints them. */
#include "canvas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "utf8.h"

double canvas_text_width(canvas *c, const char *text)
{
    cairo_text_extents_t extents;
    cairo_text_extents(c->cr, text, &extents);
    return extents.x_advance;
}

static void rounded_rectangle(canvas *c, const rectangle *r, double radius)
{
    double right = r->x + r->width - radius, bottom = r->y + r->height - radius, pi = acos(-1.0);
    cairo_new_path(c->cr);
    cairo_arc(c->cr, right, r->y + radius, radius, -pi / 2, 0);
    cairo_arc(c->cr, right, bottom, radius, 0, pi / 2);
    cairo_arc(c->cr, r->x + radius, bottom, radius, pi / 2, pi);
    cairo_arc(c->cr, r->x + radius, r->y + radius, radius, pi, 1.5 * pi);
    cairo_close_path(c->cr);
}

static void paint_label(canvas *c, const rectangle *place, colour k, const char *text)
{
    cairo_font_extents_t font;
    cairo_font_extents(c->cr, &font);
    rounded_rectangle(c, place, 0.2 * c->font);
    canvas_set_colour(c, k, 0.88);
    cairo_fill(c->cr);
    double shade = palette_wants_black_text(k) ? 0.0 : 1.0;
    cairo_set_source_rgb(c->cr, shade, shade, shade);
    cairo_move_to(c->cr, place->x + 0.3 * c->font, place->y + 0.5 * (place->height + font.ascent - font.descent));
    cairo_show_text(c->cr, text);
}

/* Class and score, else the score alone, else nothing. In a crowd a label must not be wider than its box, may cover
 * little of other boxes, and does not repeat the name of the only class. */
static bool label_item(canvas *c, label_board *board, int32_t item)
{
    const picture_item *it = &c->p->items[item];
    char name[64], text[2][80];
    /* Text that is not UTF-8 would put cairo into an error state that ends all drawing. */
    utf8_copy_printable(name, sizeof name, it->name ? it->name : "");
    bool nameless = !name[0] || (c->crowded && c->p->class_count == 1);
    snprintf(text[0], sizeof text[0], "%s %.2f", name, (double)it->detection.score);
    snprintf(text[1], sizeof text[1], "%.2f", (double)it->detection.score);
    for (int tier = nameless ? 1 : 0; tier < 2; tier++) {
        double width = canvas_text_width(c, text[tier]) + 0.6 * c->font, height = 1.25 * c->font;
        rectangle place;
        if (c->crowded && (width > c->boxes[item].width || 2 * height > c->boxes[item].height)) {
            continue;
        }
        if (labels_place(board, item, width, height, c->crowded ? 0.5 : 1.0, &place)) {
            paint_label(c, &place, canvas_item_colour(c, item), text[tier]);
            return true;
        }
    }
    return false;
}

/* Returns the number of instances left without a label, -1 when out of memory. */
int32_t canvas_paint_labels(canvas *c)
{
    label_board board = {c->width, c->height, c->boxes, c->p->count, NULL, 0};
    int32_t missing = 0;
    board.placed = malloc(((size_t)c->p->count + 1) * sizeof *board.placed);
    if (!board.placed) {
        return -1;
    }
    cairo_select_font_face(c->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_BOLD);
    cairo_set_font_size(c->cr, c->font);
    for (int32_t i = 0; i < c->p->count; i++) {
        missing += c->p->items[i].mark != PICTURE_SAME && !label_item(c, &board, i);
    }
    free(board.placed);
    return missing;
}
