/* The strip below a picture: what was found, how often, above which score, and how much of it bears no label. */
#include "canvas.h"

#include <math.h>
#include <stdio.h>

#include "utf8.h"

static double legend_font(double width)
{
    double size = width / 64;
    return size < 10 ? 10 : size > 28 ? 28 : size;
}

double canvas_legend_height(double width)
{
    return ceil(2.0 * legend_font(width));
}

/* Text at *x when it fits before the right margin; moves *x behind it. */
static bool legend_text(canvas *c, double *x, double baseline, const char *text)
{
    double width = canvas_text_width(c, text);
    if (*x + width > c->width - 4) {
        return false;
    }
    cairo_set_source_rgb(c->cr, 0.93, 0.94, 0.96);
    cairo_move_to(c->cr, *x, baseline);
    cairo_show_text(c->cr, text);
    *x += width;
    return true;
}

static int32_t count_label(const picture *p, int32_t label, const char **name)
{
    int32_t count = 0;
    for (int32_t i = 0; i < p->count; i++) {
        if (p->items[i].detection.label == label) {
            count++;
            *name = p->items[i].name;
        }
    }
    return count;
}

/* One entry per class that occurs, in label order, with its colour when colours mean classes. */
static void legend_classes(canvas *c, double *x, double baseline, double font)
{
    for (int32_t label = 0; label < c->p->class_count; label++) {
        const char *raw = NULL;
        int32_t count = count_label(c->p, label, &raw);
        char name[64], text[96];
        if (count == 0) {
            continue;
        }
        utf8_copy_printable(name, sizeof name, raw ? raw : "class");
        snprintf(text, sizeof text, "%s: %d", name, (int)count);
        double swatch = c->p->class_count > 1 ? 1.1 * font : 0.0;
        double at = *x + swatch;
        if (!legend_text(c, &at, baseline, text)) {
            (void)legend_text(c, x, baseline, "...");
            return;
        }
        if (swatch > 0) {
            canvas_set_colour(c, palette_colour(label), 1.0);
            cairo_rectangle(c->cr, *x, baseline - 0.75 * font, 0.8 * font, 0.8 * font);
            cairo_fill(c->cr);
        }
        *x = at + font;
    }
}

void canvas_paint_legend(canvas *c, double strip, int32_t missing)
{
    double font = legend_font(c->width), x = 0.6 * font;
    double baseline = c->height + 0.5 * strip + 0.36 * font;
    char text[96];
    cairo_set_source_rgb(c->cr, 0.11, 0.12, 0.14);
    cairo_rectangle(c->cr, 0, c->height, c->width, strip);
    cairo_fill(c->cr);
    cairo_select_font_face(c->cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(c->cr, font);
    if (c->p->note) {
        (void)legend_text(c, &x, baseline, c->p->note);
        return;
    }
    if (c->p->count == 0) {
        (void)legend_text(c, &x, baseline, "nothing found");
        x += font;
    }
    legend_classes(c, &x, baseline, font);
    snprintf(text, sizeof text, "score above %g", c->p->score_threshold);
    if (legend_text(c, &x, baseline, text) && missing > 0) {
        x += font;
        snprintf(text, sizeof text, "%d drawn without a label for want of room", (int)missing);
        (void)legend_text(c, &x, baseline, text);
    }
}
