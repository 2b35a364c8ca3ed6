/* Pictures of an evaluation, by cairo: precision over recall for every IoU threshold, and the confusion matrix. */
#include <cairo.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "eval.h"

#define INK          0.15
#define CURVES_W     1000.0
#define CURVES_H     700.0
#define PLOT_LEFT    90.0
#define PLOT_TOP     70.0
#define PLOT_W       660.0
#define PLOT_H       540.0
#define MATRIX_IOU   0.5
#define MATRIX_SCORE 0.5
#define MATRIX_SIDE  900.0 /* wanted side of the cells together, pixels    */
#define SIDE_MAX     8000  /* cells together, data sets with very many categories */

bool eval_report_available(void)
{
    return true;
}

/* ------------------------------------------------------------------- shared */

/* Dark blue over green to yellow, even steps in brightness. */
static void set_shade(cairo_t *cr, double t)
{
    static const double STOPS[5][3] = {
        {0.27, 0.00, 0.33}, {0.23, 0.32, 0.55}, {0.13, 0.57, 0.55}, {0.37, 0.79, 0.38}, {0.93, 0.80, 0.10}};
    const double at = t < 0 ? 0 : t > 1 ? 4 : 4 * t;
    const int i = at >= 4 ? 3 : (int)at;
    double c[3];
    for (int k = 0; k < 3; k++) {
        c[k] = STOPS[i][k] + (at - i) * (STOPS[i + 1][k] - STOPS[i][k]);
    }
    cairo_set_source_rgb(cr, c[0], c[1], c[2]);
}

static void set_ink(cairo_t *cr)
{
    cairo_set_source_rgb(cr, INK, INK, INK);
}

static double text_width(cairo_t *cr, const char *text)
{
    cairo_text_extents_t extents;
    cairo_text_extents(cr, text, &extents);
    return extents.x_advance;
}

/* Text with its baseline at y; align 0 left, 0.5 centre, 1 right of x. */
static void put_text(cairo_t *cr, double x, double y, double align, const char *text)
{
    cairo_move_to(cr, x - align * text_width(cr, text), y);
    cairo_show_text(cr, text);
}

/* Text that reads upwards, its start at (x, y). */
static void put_text_up(cairo_t *cr, double x, double y, double align, const char *text)
{
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_rotate(cr, -acos(0.0));
    put_text(cr, 0, 0, align, text);
    cairo_restore(cr);
}

static cairo_t *new_picture(double width, double height)
{
    cairo_surface_t *surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)width, (int)height);
    cairo_t *cr = cairo_create(surface);
    cairo_surface_destroy(surface); /* the context keeps it */
    cairo_set_source_rgb(cr, 1, 1, 1);
    cairo_paint(cr);
    cairo_select_font_face(cr, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(cr, 15);
    set_ink(cr);
    return cr;
}

static cairo_status_t write_bytes(void *stream, const unsigned char *data, unsigned int length)
{
    return fwrite(data, 1, length, stream) == length ? CAIRO_STATUS_SUCCESS : CAIRO_STATUS_WRITE_ERROR;
}

/* Writes the picture as directory/name_type.png and ends it. */
static bool save_picture(cairo_t *cr, const char *directory, const char *name, int type, rcnn_error *err)
{
    char path[4200];
    outfile file;
    cairo_status_t status = cairo_status(cr);
    bool done = false;
    snprintf(path, sizeof path, "%s/%s_%s.png", directory, name, eval_type_name(type));
    if (status != CAIRO_STATUS_SUCCESS) {
        tool_fail(err, "'%.300s': cannot draw: %s", path, cairo_status_to_string(status));
    } else if (outfile_open(&file, path, err)) {
        status = cairo_surface_write_to_png_stream(cairo_get_target(cr), write_bytes, file.stream);
        if (status == CAIRO_STATUS_SUCCESS || status == CAIRO_STATUS_WRITE_ERROR) {
            done = outfile_commit(&file, err);
        } else {
            outfile_discard(&file);
            tool_fail(err, "'%.300s': cannot draw: %s", path, cairo_status_to_string(status));
        }
    }
    cairo_destroy(cr);
    return done;
}

/* ------------------------------------------------------------------- curves */

static void draw_axes(cairo_t *cr)
{
    cairo_set_line_width(cr, 1);
    for (int i = 0; i <= 10; i++) {
        const double x = PLOT_LEFT + PLOT_W * i / 10, y = PLOT_TOP + PLOT_H - PLOT_H * i / 10;
        char text[8];
        snprintf(text, sizeof text, "%.1f", i / 10.0);
        cairo_set_source_rgb(cr, 0.88, 0.88, 0.88);
        cairo_move_to(cr, x, PLOT_TOP);
        cairo_line_to(cr, x, PLOT_TOP + PLOT_H);
        cairo_move_to(cr, PLOT_LEFT, y);
        cairo_line_to(cr, PLOT_LEFT + PLOT_W, y);
        cairo_stroke(cr);
        set_ink(cr);
        put_text(cr, x, PLOT_TOP + PLOT_H + 22, 0.5, text);
        put_text(cr, PLOT_LEFT - 10, y + 5, 1, text);
    }
    put_text(cr, PLOT_LEFT + PLOT_W / 2, PLOT_TOP + PLOT_H + 52, 0.5, "recall");
    put_text_up(cr, PLOT_LEFT - 52, PLOT_TOP + PLOT_H / 2, 0.5, "precision");
}

/* Draws one threshold; returns its average precision, -1 when there are no annotations. */
static double draw_curve(cairo_t *cr, const rcnn_eval *eval, int iou)
{
    double sum = 0;
    if (rcnn_eval_precision(eval, -1, iou, 0) < 0) {
        return -1;
    }
    cairo_new_path(cr); /* drawing text leaves a point behind */
    for (int r = 0; r < RCNN_EVAL_RECALL_COUNT; r++) {
        const double p = rcnn_eval_precision(eval, -1, iou, r);
        cairo_line_to(cr, PLOT_LEFT + PLOT_W * r / (RCNN_EVAL_RECALL_COUNT - 1), PLOT_TOP + PLOT_H * (1 - p));
        sum += p;
    }
    set_shade(cr, iou / (RCNN_EVAL_IOU_COUNT - 1.0));
    cairo_set_line_width(cr, 2.5);
    cairo_stroke(cr);
    return sum / RCNN_EVAL_RECALL_COUNT;
}

static void draw_curve_legend(cairo_t *cr, int iou, double ap)
{
    const double x = PLOT_LEFT + PLOT_W + 25, y = PLOT_TOP + 40 + 26 * iou;
    char text[32];
    set_shade(cr, iou / (RCNN_EVAL_IOU_COUNT - 1.0));
    cairo_set_line_width(cr, 4);
    cairo_move_to(cr, x, y - 5);
    cairo_line_to(cr, x + 26, y - 5);
    cairo_stroke(cr);
    set_ink(cr);
    snprintf(text, sizeof text, "%.2f", 0.5 + 0.05 * iou);
    put_text(cr, x + 38, y, 0, text);
    snprintf(text, sizeof text, ap < 0 ? "-" : "%.3f", ap);
    put_text(cr, x + 170, y, 1, text);
}

static bool write_curves(eval_job *j, int type, const char *directory)
{
    cairo_t *cr = new_picture(CURVES_W, CURVES_H);
    char title[160];
    snprintf(title, sizeof title, "Precision and recall, %s: %d images, at most %d detections, AP %.3f",
             eval_type_name(type), (int)j->images, (int)j->max_dets[2], rcnn_eval_stat(j->evals[type], 0));
    cairo_set_font_size(cr, 18);
    put_text(cr, PLOT_LEFT, 40, 0, title);
    cairo_set_font_size(cr, 15);
    draw_axes(cr);
    put_text(cr, PLOT_LEFT + PLOT_W + 63, PLOT_TOP + 12, 0, "IoU");
    put_text(cr, PLOT_LEFT + PLOT_W + 195, PLOT_TOP + 12, 1, "AP");
    for (int iou = RCNN_EVAL_IOU_COUNT; iou-- > 0;) { /* the loosest, uppermost curve is drawn last */
        draw_curve_legend(cr, iou, draw_curve(cr, j->evals[type], iou));
    }
    return save_picture(cr, directory, "precision_recall", type, &j->err);
}

/* ------------------------------------------------------------------- matrix */

typedef struct matrix_picture {
    const eval_job *job;
    const int64_t *counts; /* [side][side] */
    int32_t side;
    double cell, left, top; /* pixels */
    bool labels;
} matrix_picture;

static const char *class_name(const matrix_picture *m, int32_t index, const char *other)
{
    int64_t id;
    const char *name = other;
    if (index < m->side - 1 && rcnn_eval_truth_category(m->job->truth, index, &id, &name) != RCNN_OK) {
        name = "?";
    }
    return name;
}

/* One cell: shade by its share of the row, the count as text where it fits. */
static void draw_cell(cairo_t *cr, const matrix_picture *m, int32_t row, int32_t column, int64_t row_sum)
{
    const int64_t count = m->counts[(size_t)row * (size_t)m->side + (size_t)column];
    const double share = row_sum > 0 ? (double)count / (double)row_sum : 0;
    const double x = m->left + m->cell * column, y = m->top + m->cell * row;
    char text[24];
    cairo_set_source_rgb(cr, 1 - 0.88 * share, 1 - 0.65 * share, 1 - 0.36 * share);
    cairo_rectangle(cr, x, y, m->cell, m->cell);
    cairo_fill(cr);
    snprintf(text, sizeof text, "%lld", (long long)count);
    if (count == 0 || text_width(cr, text) > m->cell - 4) {
        return;
    }
    cairo_set_source_rgb(cr, share > 0.5 ? 1 : INK, share > 0.5 ? 1 : INK, share > 0.5 ? 1 : INK);
    put_text(cr, x + m->cell / 2, y + m->cell / 2 + 5, 0.5, text);
}

static void draw_grid(cairo_t *cr, const matrix_picture *m)
{
    const double length = m->cell * m->side;
    cairo_set_source_rgb(cr, 0.8, 0.8, 0.8);
    cairo_set_line_width(cr, 1);
    for (int32_t i = 0; i <= m->side; i += m->labels ? 1 : m->side) {
        cairo_move_to(cr, m->left, m->top + m->cell * i);
        cairo_line_to(cr, m->left + length, m->top + m->cell * i);
        cairo_move_to(cr, m->left + m->cell * i, m->top);
        cairo_line_to(cr, m->left + m->cell * i, m->top + length);
    }
    cairo_stroke(cr);
}

static void draw_labels(cairo_t *cr, const matrix_picture *m)
{
    const double size = m->cell * 0.85 < 15 ? m->cell * 0.85 : 15;
    cairo_set_font_size(cr, size);
    set_ink(cr);
    for (int32_t i = 0; i < m->side && m->labels; i++) {
        const double at = m->cell * (i + 0.5) + size * 0.35;
        put_text(cr, m->left - 8, m->top + at, 1, class_name(m, i, "nothing there"));
        put_text_up(cr, m->left + at, m->top - 8, 0, class_name(m, i, "missed"));
    }
}

static void draw_matrix(cairo_t *cr, const matrix_picture *m, const char *title)
{
    cairo_set_font_size(cr, 18);
    put_text(cr, 20, 34, 0, title);
    cairo_set_font_size(cr, 15);
    put_text(cr, 20, 58, 0, "rows: annotated as, columns: detected as; shade: share of the row");
    for (int32_t row = 0; row < m->side; row++) {
        int64_t sum = 0;
        for (int32_t column = 0; column < m->side; column++) {
            sum += m->counts[(size_t)row * (size_t)m->side + (size_t)column];
        }
        for (int32_t column = 0; column < m->side; column++) {
            draw_cell(cr, m, row, column, sum);
        }
    }
    draw_grid(cr, m);
    draw_labels(cr, m);
}

/* Width of the widest class name at the labels' size. */
static double label_width(const matrix_picture *m)
{
    cairo_t *cr = new_picture(1, 1);
    double widest = 0;
    cairo_set_font_size(cr, m->cell * 0.85 < 15 ? m->cell * 0.85 : 15);
    for (int32_t i = 0; i < m->side && m->labels; i++) {
        widest = fmax(widest, text_width(cr, class_name(m, i, "nothing there")));
    }
    cairo_destroy(cr);
    return fmin(widest, 400);
}

static bool write_matrix(eval_job *j, int type, const char *directory, int64_t *counts)
{
    rcnn_eval_options wanted;
    eval_options(j, type, &wanted);
    if (rcnn_eval_confusion(j->detections, &wanted, MATRIX_IOU, MATRIX_SCORE, counts, &j->err) != RCNN_OK) {
        return false;
    }
    matrix_picture m = {.job = j, .counts = counts, .side = rcnn_eval_truth_category_count(j->truth) + 1};
    m.cell = fmin(fmax(floor(MATRIX_SIDE / m.side), 11), 80);
    if (m.cell * m.side > SIDE_MAX) {
        m.cell = fmax(floor((double)SIDE_MAX / m.side), 1);
    }
    m.labels = m.cell >= 8;
    const double label = label_width(&m);
    m.left = label + 40;
    m.top = label + 90;
    char title[160];
    snprintf(title, sizeof title, "Confusion, %s: IoU from %.2f, score from %.2f", eval_type_name(type), MATRIX_IOU,
             MATRIX_SCORE);
    cairo_t *cr = new_picture(fmax(m.left + m.cell * m.side + 30, 560), m.top + m.cell * m.side + 30);
    draw_matrix(cr, &m, title);
    return save_picture(cr, directory, "confusion", type, &j->err);
}

bool eval_write_report(eval_job *job, const char *directory)
{
    const size_t side = (size_t)rcnn_eval_truth_category_count(job->truth) + 1;
    int64_t *counts = calloc(side * side, sizeof *counts);
    bool done = counts || tool_fail(&job->err, "--report: out of memory");
    for (int type = 0; done && type < EVAL_TYPES; type++) {
        if (job->evals[type]) {
            done = write_curves(job, type, directory) && write_matrix(job, type, directory, counts);
        }
    }
    free(counts);
    return done;
}
