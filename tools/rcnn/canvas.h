/* The picture while it is being drawn: shared by draw.c, which sets it up, and the layers it calls. */
#ifndef RCNN_TOOLS_CANVAS_H
#define RCNN_TOOLS_CANVAS_H

#include <cairo.h>

#include "contour.h"
#include "draw.h"
#include "labels.h"
#include "palette.h"

typedef struct canvas {
    const picture *p;
    cairo_surface_t *surface;
    cairo_t *cr;
    double scale;         /* picture pixels per image pixel */
    double width, height; /* of the image part              */
    double line, font;
    bool crowded;
    contour *outlines; /* per item                       */
    rectangle *boxes;  /* per item, picture pixels       */
    int32_t *order;    /* items by falling box area      */
} canvas;

/* One colour per class; with a single class one per instance. */
colour canvas_item_colour(const canvas *c, int32_t index);
void canvas_set_colour(canvas *c, colour k, double alpha);

/* draw_instances.c: fills, outlines and boxes. */
void canvas_paint_masks(canvas *c);
void canvas_paint_boxes(canvas *c);

/* draw_labels.c: returns the number of instances left without a label, -1 when out of memory. */
int32_t canvas_paint_labels(canvas *c);

/* draw_legend.c: the strip below the image. */
double canvas_legend_height(double width);
void canvas_paint_legend(canvas *c, double strip, int32_t missing);
/* Width of a text in the current font. */
double canvas_text_width(canvas *c, const char *text);

#endif
