/* Charts of a benchmark's result. A chart is laid out once, as a list of marks, and then painted as SVG (text, no
 * library) or as PNG (cairo): both show the same. Lengths are pixels, y grows downwards. */
#ifndef RCNN_TOOLS_BENCH_CHART_H
#define RCNN_TOOLS_BENCH_CHART_H

#include <stdio.h>

#include "bench_result.h"
#include "message.h"
#include "palette.h"

#define CHART_TEXT_BYTES 192

typedef enum chart_mark_kind { CHART_BAR, CHART_LINE, CHART_TEXT } chart_mark_kind;

typedef struct chart_mark {
    chart_mark_kind kind;
    double x, y;          /* BAR: top left; LINE: start; TEXT: on the baseline            */
    double width, height; /* BAR: its size; LINE: from start to end, may be negative       */
    double size;          /* LINE: thickness; TEXT: font size                              */
    double align;         /* TEXT: 0 starts at x, 0.5 centred on it, 1 ends there          */
    bool bold;
    colour paint;
    char text[CHART_TEXT_BYTES]; /* TEXT; BAR: what it stands for, shown on pointing at it */
} chart_mark;

typedef struct chart {
    double width, height;
    char title[CHART_TEXT_BYTES]; /* also a mark; here for readers that cannot see */
    chart_mark *marks;
    int32_t count, capacity;
    bool failed; /* out of memory: nothing is added any more */
} chart;

/* bench_chart.c: marks. */
void chart_bar(chart *c, double x, double y, double width, double height, colour paint, const char *text);
void chart_line(chart *c, double x, double y, double width, double height, double thickness, colour paint);
void chart_text(chart *c, double x, double y, double size, double align, bool bold, colour paint, const char *text);
/* Room that a text needs at most, in the widest of the usual sans serif fonts. */
double chart_text_width(const char *text, double size, bool bold);
/* Copies the text cut to `room` pixels, with dots where it was cut. */
void chart_fit_text(char out[CHART_TEXT_BYTES], const char *text, double size, bool bold, double room);
void chart_free(chart *c);

/* bench_chart_svg.c. inside: as a part of an HTML page, without a name space. Write errors stay in the stream. */
void chart_write_svg(const chart *c, bool inside, FILE *out);
/* bench_chart_png.c, or bench_chart_png_none.c where this build cannot draw. */
bool chart_has_png(void);
bool chart_write_png(const chart *c, const char *path, rcnn_error *err);

/* bench_chart_rows.c: one bar a row. */
typedef enum chart_kind {
    CHART_STAGES,    /* segments: stages of the staged runs */
    CHART_END_TO_END /* median with the 10th to 90th percentile */
} chart_kind;

/* ms of a row in such a chart; 0 = it is not shown. A row without stages is shown whole in CHART_STAGES. */
double chart_row_ms(const bench_row *row, chart_kind kind);
/* title and note are shown above; rows that have nothing to show are left out. False when out of memory; the caller
 * frees the chart in any case. */
bool chart_rows(chart *c, chart_kind kind, const bench_row *const *rows, int32_t count, const char *title,
                const char *note);
/* Largest ms that the next closer chart shows, so that slow rows do not flatten the others: 0 when the chart of `count`
 * rows needs none. */
double chart_closer_limit(chart_kind kind, const bench_row *const *rows, int32_t count);
/* "3.21", "0.011", "142": three digits that say something. */
void chart_three_digits(char out[32], double value);

#endif
