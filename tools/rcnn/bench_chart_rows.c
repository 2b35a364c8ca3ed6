/* Layout: title, note, legend, then one bar a row beside its two lines of name, then the axis. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_chart.h"
#include "utf8.h"

#define CHART_WIDTH 1180.0
#define MARGIN      20.0
#define PLOT_LEFT   320.0
#define PLOT_RIGHT  (CHART_WIDTH - 220) /* behind it: what the bars come to */
#define PLOT_WIDTH  (PLOT_RIGHT - PLOT_LEFT)
#define PITCH       40.0 /* from row to row */
#define BAR         24.0
#define SMALL       11.5
#define NORMAL      13.0
#define FLAT        8.0               /* a row this many times slower than others flattens them */
#define NOT_SPLIT   BENCH_STAGE_COUNT /* colour and legend of what belongs to no stage */

static const colour INK = {0.11, 0.13, 0.16}, QUIET = {0.36, 0.40, 0.45}, GRID = {0.86, 0.88, 0.90}, WHITE = {1, 1, 1};

/* One hue a part of the network; what comes after a head's network is its lighter shade. */
static const colour STAGE_PAINTS[BENCH_STAGE_COUNT + 1] = {
    [BENCH_STAGE_decode] = {0.80, 0.76, 0.62},       [BENCH_STAGE_upload] = {0.60, 0.66, 0.72},
    [BENCH_STAGE_preprocess] = {0.90, 0.66, 0.18},   [BENCH_STAGE_backbone] = {0.16, 0.40, 0.68},
    [BENCH_STAGE_neck] = {0.46, 0.70, 0.90},         [BENCH_STAGE_rpn_head] = {0.16, 0.55, 0.36},
    [BENCH_STAGE_bbox_forward] = {0.45, 0.28, 0.64}, [BENCH_STAGE_bbox_post] = {0.74, 0.62, 0.87},
    [BENCH_STAGE_mask_forward] = {0.74, 0.20, 0.20}, [BENCH_STAGE_mask_post] = {0.95, 0.60, 0.53},
    [BENCH_STAGE_download] = {0.38, 0.44, 0.50},     [NOT_SPLIT] = {0.84, 0.86, 0.88}};

static const char *stage_label(int stage)
{
    return stage == NOT_SPLIT ? "not split by stage" : bench_stage_title((bench_stage)stage);
}

void chart_three_digits(char out[32], double value)
{
    const int decimals = value >= 99.95 ? 0 : value >= 9.995 ? 1 : value >= 0.9995 ? 2 : 3;
    snprintf(out, 32, "%.*f", decimals, value);
}

/* ------------------------------------------------------------------ numbers */

/* Decoding the file lies outside of the call. */
static double stage_ms(const bench_row *row, int stage)
{
    return stage == BENCH_STAGE_decode || row->stage[stage].count == 0 ? 0 : row->stage[stage].median;
}

static double stages_sum(const bench_row *row)
{
    double sum = 0;
    for (int stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
        sum += stage_ms(row, stage);
    }
    return sum;
}

double chart_row_ms(const bench_row *row, chart_kind kind)
{
    const double whole = row->end_to_end.count > 0 ? row->end_to_end.median : 0;
    if (row->skipped[0] || kind == CHART_END_TO_END) {
        return row->skipped[0] ? 0 : whole;
    }
    const double sum = stages_sum(row);
    return sum > 0 ? fmax(sum, row->staged.count > 0 ? row->staged.median : 0) : whole;
}

/* ms that a row's bar and whisker reach. */
static double reach(const bench_row *row, chart_kind kind)
{
    const double ms = chart_row_ms(row, kind);
    return kind == CHART_END_TO_END && ms > 0 ? fmax(ms, row->end_to_end.p90) : ms;
}

static int compare_doubles(const void *left, const void *right)
{
    const double x = *(const double *)left, y = *(const double *)right;
    return (x > y) - (x < y);
}

double chart_closer_limit(chart_kind kind, const bench_row *const *rows, int32_t count)
{
    double *ms = calloc((size_t)count + 1, sizeof *ms), limit = 0;
    int32_t shown = 0, fast = 0;
    for (int32_t i = 0; ms && i < count; i++) {
        ms[shown] = chart_row_ms(rows[i], kind);
        shown += ms[shown] > 0;
    }
    if (shown > 1) {
        qsort(ms, (size_t)shown, sizeof *ms, compare_doubles);
        const double longest = ms[shown - 1], middle = ms[(shown - 1) / 2];
        while (fast < shown && ms[fast] * FLAT < longest) {
            fast++;
        }
        limit = middle * FLAT < longest ? middle * FLAT : fast > 1 ? ms[fast - 1] : 0;
    }
    free(ms);
    return limit;
}

/* A step of 1, 2 or 5 times a power of ten that gives at most 8 ticks. */
static double tick_step(double most)
{
    double step = pow(10, floor(log10(most / 8)));
    static const double times[] = {2, 2.5, 2};
    for (int i = 0; most / step > 8 && i < 3; i++) {
        step *= times[i];
    }
    return step;
}

/* --------------------------------------------------------------------- parts */

/* Swatches with names, as many to a line as fit. Moves *y to the last line's baseline. */
static void put_swatch(chart *c, double *x, double *y, colour paint, const char *name)
{
    const double width = 18 + chart_text_width(name, SMALL, false);
    if (*x + width > CHART_WIDTH - MARGIN) {
        *x = MARGIN;
        *y += 20;
    }
    chart_bar(c, *x, *y - 10, 12, 12, paint, "");
    chart_text(c, *x + 18, *y, SMALL, 0, false, INK, name);
    *x += width + 20;
}

static bool shows_stage(const bench_row *row, int stage)
{
    const double whole = chart_row_ms(row, CHART_STAGES);
    return stage == NOT_SPLIT ? whole > 1.0001 * stages_sum(row) : whole > 0 && stage_ms(row, stage) > 0;
}

static void put_stage_legend(chart *c, const bench_row *const *rows, int32_t count, double *y)
{
    double x = MARGIN;
    for (int stage = 0; stage <= NOT_SPLIT; stage++) {
        int32_t i = 0;
        while (i < count && !shows_stage(rows[i], stage)) {
            i++;
        }
        if (i < count) {
            put_swatch(c, &x, y, STAGE_PAINTS[stage], stage_label(stage));
        }
    }
}

/* Index of a row's subject among those shown, in order of appearance. */
static int32_t subject_index(const bench_row *const *rows, int32_t row)
{
    int32_t index = 0;
    for (int32_t i = 0; i < row && strcmp(rows[i]->subject, rows[row]->subject) != 0; i++) {
        int32_t first = 0;
        while (strcmp(rows[first]->subject, rows[i]->subject) != 0) {
            first++;
        }
        index += first == i;
    }
    return index;
}

static colour subject_paint(int32_t index)
{
    static const colour paints[] = {{0.16, 0.40, 0.68}, {0.85, 0.52, 0.12}, {0.16, 0.55, 0.36},
                                    {0.45, 0.28, 0.64}, {0.74, 0.20, 0.20}, {0.38, 0.44, 0.50}};
    return paints[index % (int32_t)(sizeof paints / sizeof paints[0])];
}

static void put_subject_legend(chart *c, const bench_row *const *rows, int32_t count, double *y)
{
    double x = MARGIN;
    int32_t known = 0;
    for (int32_t i = 0; i < count; i++) {
        if (subject_index(rows, i) == known) {
            put_swatch(c, &x, y, subject_paint(known++), rows[i]->subject);
        }
    }
    chart_text(c, x, *y, SMALL, 0, false, QUIET, "bar: median; whisker: 10th to 90th percentile");
}

/* Two lines left of the bar: the mode, and what it ran by, on and in. */
static void put_name(chart *c, const bench_row *row, double y)
{
    const double room = PLOT_LEFT - MARGIN - 12;
    char how[CHART_TEXT_BYTES], fitted[CHART_TEXT_BYTES];
    const char *const parts[] = {row->subject, row->device, row->precision};
    size_t used = 0;
    how[0] = '\0';
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i][0]) {
            used += (size_t)snprintf(how + used, sizeof how - used, "%s%s", used ? ", " : "", parts[i]);
        }
    }
    if (row->masks[0]) {
        snprintf(how + used, sizeof how - used, ", masks %s", row->masks);
    }
    chart_fit_text(fitted, row->mode, NORMAL, true, room);
    chart_text(c, PLOT_LEFT - 12, y + 16, NORMAL, 1, true, INK, fitted);
    chart_fit_text(fitted, how, SMALL, false, room);
    chart_text(c, PLOT_LEFT - 12, y + 31, SMALL, 1, false, QUIET, fitted);
}

/* White or dark, whichever stands out (relative luminance, roughly). */
static colour ink_on(colour k)
{
    return 0.3 * k.red + 0.59 * k.green + 0.11 * k.blue > 0.53 ? INK : WHITE;
}

static void put_segment(chart *c, double x, double y, double width, int stage, double ms)
{
    char number[32], text[CHART_TEXT_BYTES];
    chart_three_digits(number, ms);
    snprintf(text, sizeof text, "%s: %s ms", stage_label(stage), number);
    chart_bar(c, x, y, width, BAR, STAGE_PAINTS[stage], text);
    if (chart_text_width(number, SMALL, false) + 6 <= width) {
        chart_text(c, x + width / 2, y + BAR / 2 + 4, SMALL, 0.5, false, ink_on(STAGE_PAINTS[stage]), number);
    }
}

static void put_total(chart *c, double x, double y, const bench_row *row, double ms)
{
    char number[32], text[CHART_TEXT_BYTES];
    chart_three_digits(number, ms);
    if (row->images_per_s > 0) {
        char rate[32];
        chart_three_digits(rate, row->images_per_s);
        snprintf(text, sizeof text, "%s ms, %s images/s", number, rate);
    } else {
        snprintf(text, sizeof text, "%s ms", number);
    }
    chart_text(c, x + 8, y + BAR / 2 + 5, NORMAL, 0, false, INK, text);
}

static void put_stages(chart *c, const bench_row *row, double y, double scale)
{
    const double whole = chart_row_ms(row, CHART_STAGES), rest = whole - stages_sum(row);
    double x = PLOT_LEFT;
    char number[32], text[48];
    for (int stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
        const double ms = stage_ms(row, stage);
        if (ms > 0) {
            put_segment(c, x, y, scale * ms, stage, ms);
            x += scale * ms;
        }
    }
    if (shows_stage(row, NOT_SPLIT)) {
        put_segment(c, x, y, scale * rest, NOT_SPLIT, rest);
    }
    chart_three_digits(number, row->staged.count > 0 && stages_sum(row) > 0 ? row->staged.median : whole);
    snprintf(text, sizeof text, "%s ms", number);
    chart_text(c, PLOT_LEFT + scale * whole + 8, y + BAR / 2 + 5, NORMAL, 0, false, INK, text);
}

static void put_median(chart *c, const bench_row *row, double y, double scale, colour paint)
{
    const bench_times *t = &row->end_to_end;
    const double low = PLOT_LEFT + scale * fmin(t->p10 > 0 ? t->p10 : t->median, t->median);
    const double high = PLOT_LEFT + scale * reach(row, CHART_END_TO_END);
    char number[32], text[CHART_TEXT_BYTES];
    chart_three_digits(number, t->median);
    snprintf(text, sizeof text, "median %s ms of %d calls", number, (int)t->count);
    chart_bar(c, PLOT_LEFT, y, scale * t->median, BAR, paint, text);
    chart_line(c, low, y + BAR / 2, high - low, 0, 1.5, INK);
    chart_line(c, low, y + BAR / 2 - 5, 0, 10, 1.5, INK);
    chart_line(c, high, y + BAR / 2 - 5, 0, 10, 1.5, INK);
    put_total(c, high, y, row, t->median);
}

static void put_axis(chart *c, double top, double bottom, double most, int32_t batch)
{
    const double step = tick_step(most);
    char text[64];
    for (int i = 0; i * step <= most * (1 + 1e-9); i++) {
        const double x = PLOT_LEFT + PLOT_WIDTH * (i * step / most);
        chart_line(c, x, top, 0, bottom - top, 1, GRID);
        snprintf(text, sizeof text, "%.6g", i * step);
        chart_text(c, x, bottom + 16, SMALL, 0.5, false, QUIET, text);
    }
    if (batch == 1) {
        snprintf(text, sizeof text, "ms per image");
    } else {
        snprintf(text, sizeof text, "ms per call of %d images", (int)batch);
    }
    chart_text(c, PLOT_LEFT + PLOT_WIDTH / 2, bottom + 36, NORMAL, 0.5, false, INK, text);
}

/* --------------------------------------------------------------------- whole */

static void put_heads(chart *c, const char *title, const char *note, double *y)
{
    char fitted[CHART_TEXT_BYTES];
    *y = 30;
    utf8_copy_printable(c->title, sizeof c->title, title);
    chart_fit_text(fitted, title, 17, true, CHART_WIDTH - 2 * MARGIN);
    chart_text(c, MARGIN, *y, 17, 0, true, INK, fitted);
    if (note[0]) {
        *y += 21;
        chart_fit_text(fitted, note, NORMAL, false, CHART_WIDTH - 2 * MARGIN);
        chart_text(c, MARGIN, *y, NORMAL, 0, false, QUIET, fitted);
    }
    *y += 27;
}

bool chart_rows(chart *c, chart_kind kind, const bench_row *const *rows, int32_t count, const char *title,
                const char *note)
{
    double most = 0, y;
    int32_t shown = 0;
    memset(c, 0, sizeof *c);
    c->width = CHART_WIDTH;
    for (int32_t i = 0; i < count; i++) {
        most = fmax(most, reach(rows[i], kind));
        shown += chart_row_ms(rows[i], kind) > 0;
    }
    put_heads(c, title, note, &y);
    if (kind == CHART_STAGES) {
        put_stage_legend(c, rows, count, &y);
    } else {
        put_subject_legend(c, rows, count, &y);
    }
    const double top = y + 14, bottom = top + PITCH * shown + 4, scale = most > 0 ? PLOT_WIDTH / most : 0;
    c->height = bottom + 50;
    if (most > 0) {
        put_axis(c, top, bottom, most, rows[0]->batch);
    }
    y = top + 4;
    for (int32_t i = 0; i < count; i++) {
        if (chart_row_ms(rows[i], kind) <= 0) {
            continue;
        }
        put_name(c, rows[i], y);
        if (kind == CHART_STAGES) {
            put_stages(c, rows[i], y + (PITCH - BAR) / 2, scale);
        } else {
            put_median(c, rows[i], y + (PITCH - BAR) / 2, scale, subject_paint(subject_index(rows, i)));
        }
        y += PITCH;
    }
    return !c->failed;
}
