/* Two results compared row by row. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_rank.h"
#include "bench_report.h"
#include "utf8.h"

#define P_MAX     0.01 /* faster and slower need a smaller p              */
#define SAME_BAND 0.02 /* and medians at least this far apart, relatively */

typedef enum verdict { VERDICT_FASTER, VERDICT_SLOWER, VERDICT_SAME, VERDICT_UNCLEAR, VERDICT_COUNT } verdict;

static const char *const VERDICT_NAMES[] = {"faster", "slower", "same", "unclear"};

enum {
    COL_MODE,
    COL_SUBJECT,
    COL_SIZE,
    COL_DEVICE,
    COL_PRECISION,
    COL_N,
    COL_A,
    COL_B,
    COL_RATIO,
    COL_P,
    COL_VERDICT,
    COLUMNS
};

#define CELL_BYTES 128

typedef char table_line[COLUMNS][CELL_BYTES];

typedef struct comparison {
    const bench_result *side[2];
    bool *taken;       /* per row of side 1 */
    table_line *lines; /* the heads first   */
    int32_t line_count;
    int32_t verdicts[VERDICT_COUNT];
} comparison;

/* ------------------------------------------------------------------ one row */

static bool same_row(const bench_row *x, const bench_row *y)
{
    return strcmp(x->subject, y->subject) == 0 && strcmp(x->mode, y->mode) == 0 && strcmp(x->device, y->device) == 0 &&
           strcmp(x->precision, y->precision) == 0 && x->width == y->width && x->height == y->height &&
           x->batch == y->batch;
}

static bool all_positive(const bench_times *t)
{
    bool positive = true;
    for (int32_t i = 0; i < t->count; i++) {
        positive = positive && t->samples[i] > 0;
    }
    return positive;
}

/* Why two rows cannot be tested; NULL when they can. */
static const char *find_obstacle(const bench_row *a, const bench_row *b)
{
    if (a->skipped[0] || b->skipped[0]) {
        return a->skipped[0] && b->skipped[0] ? "skipped in both" : a->skipped[0] ? "skipped in A" : "skipped in B";
    }
    if (a->end_to_end.count == 0 || b->end_to_end.count == 0) {
        return a->end_to_end.count ? "not measured in B" : "not measured in A";
    }
    if (!a->end_to_end.samples || !b->end_to_end.samples) {
        return a->end_to_end.samples ? "no samples in B" : "no samples in A";
    }
    return all_positive(&a->end_to_end) && all_positive(&b->end_to_end) ? NULL : "a sample is 0";
}

static verdict judge(const rank_test *test, double medians)
{
    if (test->p < P_MAX && fabs(medians - 1) >= SAME_BAND) {
        return medians < 1 ? VERDICT_FASTER : VERDICT_SLOWER;
    }
    const bool inside = test->low >= 1 - SAME_BAND && test->high <= 1 + SAME_BAND;
    return test->low > 0 && inside ? VERDICT_SAME : VERDICT_UNCLEAR;
}

/* Why the test gave no verdict. */
static const char *why_unclear(const rank_test *test)
{
    if (test->low <= 0) {
        return "too few samples";
    }
    return test->p < P_MAX ? "differs, but by less than 2 %" : "the samples scatter too much";
}

static void put_median(char cell[CELL_BYTES], const bench_times *t)
{
    if (t->count > 0) {
        snprintf(cell, CELL_BYTES, t->median < 10 ? "%.3f" : "%.2f", t->median);
    } else {
        snprintf(cell, CELL_BYTES, "-");
    }
}

static void put_test(comparison *c, table_line *line, const rank_test *test, double medians)
{
    const verdict v = judge(test, medians);
    c->verdicts[v]++;
    if (test->low > 0) {
        snprintf((*line)[COL_RATIO], CELL_BYTES, "%.3f [%.3f, %.3f]", test->ratio, test->low, test->high);
    } else {
        snprintf((*line)[COL_RATIO], CELL_BYTES, "%.3f", test->ratio);
    }
    snprintf((*line)[COL_P], CELL_BYTES, "%.2g%s", test->p, test->exact ? " exact" : "");
    if (v == VERDICT_UNCLEAR) {
        snprintf((*line)[COL_VERDICT], CELL_BYTES, "unclear: %s", why_unclear(test));
    } else if (v == VERDICT_SAME) {
        snprintf((*line)[COL_VERDICT], CELL_BYTES, "same");
    } else {
        snprintf((*line)[COL_VERDICT], CELL_BYTES, "%s by %.1f %%", VERDICT_NAMES[v],
                 100 * (v == VERDICT_FASTER ? 1 / medians - 1 : medians - 1));
    }
}

static bool compare_rows(comparison *c, const bench_row *a, const bench_row *b)
{
    table_line *line = &c->lines[c->line_count++];
    const char *obstacle = find_obstacle(a, b);
    utf8_copy_printable((*line)[COL_MODE], CELL_BYTES, a->mode);
    utf8_copy_printable((*line)[COL_SUBJECT], CELL_BYTES, a->subject);
    utf8_copy_printable((*line)[COL_DEVICE], CELL_BYTES, a->device);
    utf8_copy_printable((*line)[COL_PRECISION], CELL_BYTES, a->precision);
    snprintf((*line)[COL_SIZE], CELL_BYTES, "%dx%d b%d", (int)a->width, (int)a->height, (int)a->batch);
    snprintf((*line)[COL_N], CELL_BYTES, "%d/%d", (int)a->end_to_end.count, (int)b->end_to_end.count);
    put_median((*line)[COL_A], &a->end_to_end);
    put_median((*line)[COL_B], &b->end_to_end);
    snprintf((*line)[COL_RATIO], CELL_BYTES, "-");
    snprintf((*line)[COL_P], CELL_BYTES, "-");
    if (obstacle) {
        c->verdicts[VERDICT_UNCLEAR]++;
        snprintf((*line)[COL_VERDICT], CELL_BYTES, "unclear: %s", obstacle);
        return true;
    }
    rank_test test;
    if (!rank_compare(a->end_to_end.samples, a->end_to_end.count, b->end_to_end.samples, b->end_to_end.count, &test)) {
        return false;
    }
    put_test(c, line, &test, b->end_to_end.median / a->end_to_end.median);
    return true;
}

/* ---------------------------------------------------------------- all rows */

static void put_heads(comparison *c)
{
    static const char *const heads[COLUMNS] = {"mode", "subject", "size",       "device", "precision", "n A/B",
                                               "A ms", "B ms",    "B/A [95 %]", "p",      "B is"};
    for (int i = 0; i < COLUMNS; i++) {
        snprintf(c->lines[0][i], CELL_BYTES, "%s", heads[i]);
    }
    c->line_count = 1;
}

/* Index of the first row of B, not taken yet, that stands for the same as row a; row_count when there is none. */
static int32_t find_partner(const comparison *c, const bench_row *a)
{
    int32_t i = 0;
    while (i < c->side[1]->row_count && (c->taken[i] || !same_row(a, &c->side[1]->rows[i]))) {
        i++;
    }
    return i;
}

static int32_t text_columns(const char *text)
{
    int32_t columns = 0;
    for (; *text; text++) {
        columns += ((unsigned char)*text & 0xc0) != 0x80; /* one a character */
    }
    return columns;
}

static void print_cell(FILE *out, const char *cell, int32_t width, int column)
{
    const int pad = (int)(width - text_columns(cell));
    if (column == COLUMNS - 1) {
        fputs(cell, out);
    } else if (column >= COL_N && column <= COL_B) {
        fprintf(out, "%*s%s  ", pad, "", cell);
    } else {
        fprintf(out, "%s%*s  ", cell, pad, "");
    }
}

static void print_table(FILE *out, const comparison *c)
{
    int32_t width[COLUMNS] = {0};
    for (int32_t i = 0; i < c->line_count; i++) {
        for (int k = 0; k < COLUMNS; k++) {
            const int32_t columns = text_columns(c->lines[i][k]);
            width[k] = columns > width[k] ? columns : width[k];
        }
    }
    for (int32_t i = 0; i < c->line_count; i++) {
        for (int k = 0; k < COLUMNS; k++) {
            print_cell(out, c->lines[i][k], width[k], k);
        }
        fputc('\n', out);
    }
}

static void print_lonely(FILE *out, const bench_row *row, char side)
{
    fprintf(out, "only in %c: %s, %s, %dx%d b%d, %s, %s\n", side, row->mode, row->subject, (int)row->width,
            (int)row->height, (int)row->batch, row->device, row->precision);
}

static const char *fact_value(const bench_result *r, const char *name)
{
    for (int32_t i = 0; i < r->fact_count; i++) {
        if (strcmp(r->facts[i].name, name) == 0) {
            return r->facts[i].value;
        }
    }
    return NULL;
}

/* What was not the same around the measurements. */
static void print_differences(FILE *out, const comparison *c)
{
    const bench_result *a = c->side[0], *b = c->side[1];
    for (int32_t i = 0; i < a->fact_count; i++) {
        const char *other = fact_value(b, a->facts[i].name);
        if (other && strcmp(other, a->facts[i].value) != 0) {
            fprintf(out, "differs: %s: A '%s', B '%s'\n", a->facts[i].name, a->facts[i].value, other);
        }
    }
    if (a->random_weights || b->random_weights) {
        fprintf(out, "random weights in %s: what was found, and times that depend on it, mean little\n",
                a->random_weights && b->random_weights ? "A and B"
                : a->random_weights                    ? "A"
                                                       : "B");
    }
    if (!a->complete || !b->complete) {
        fprintf(out, "stopped before its end: %s\n",
                !a->complete && !b->complete ? "A and B"
                : a->complete                ? "B"
                                             : "A");
    }
}

static void print_method(FILE *out)
{
    fprintf(
        out,
        "Mann-Whitney U test, two-sided, on the end-to-end samples: exact where said, else the normal approximation\n"
        "with ties and continuity corrected. B/A: median of all quotients of a sample of B and one of A, and its 95 "
        "%%\n"
        "interval (Hodges-Lehmann). faster, slower: p < %g and medians at least %g %% apart. same: the interval lies\n"
        "within %g %% of 1. All else is unclear. What differs between one run of the program and the next is not in "
        "p.\n",
        P_MAX, 100 * SAME_BAND, 100 * SAME_BAND);
}

static bool compare_all(comparison *c, FILE *out)
{
    const bench_result *a = c->side[0], *b = c->side[1];
    put_heads(c);
    for (int32_t i = 0; i < a->row_count; i++) {
        const int32_t partner = find_partner(c, &a->rows[i]);
        if (partner == b->row_count) {
            print_lonely(out, &a->rows[i], 'A');
            continue;
        }
        c->taken[partner] = true;
        if (!compare_rows(c, &a->rows[i], &b->rows[partner])) {
            return false;
        }
    }
    for (int32_t i = 0; i < b->row_count; i++) {
        if (!c->taken[i]) {
            print_lonely(out, &b->rows[i], 'B');
        }
    }
    print_differences(out, c);
    if (c->line_count > 1) {
        fputc('\n', out);
        print_table(out, c);
    }
    fprintf(out, "\n%d faster, %d slower, %d same, %d unclear\n", (int)c->verdicts[VERDICT_FASTER],
            (int)c->verdicts[VERDICT_SLOWER], (int)c->verdicts[VERDICT_SAME], (int)c->verdicts[VERDICT_UNCLEAR]);
    print_method(out);
    return true;
}

bool bench_compare(const bench_result *a, const bench_result *b, FILE *out)
{
    comparison c = {.side = {a, b}};
    c.taken = calloc((size_t)b->row_count + 1, sizeof *c.taken);
    c.lines = calloc((size_t)a->row_count + 1, sizeof *c.lines);
    const bool done = c.taken && c.lines && compare_all(&c, out);
    free(c.taken);
    free(c.lines);
    return done;
}

rcnn_status bench_compare_files(const char *a, const char *b, FILE *out, rcnn_error *err)
{
    bench_result side[2] = {0};
    rcnn_status status = bench_read(a, &side[0], err);
    if (status == RCNN_OK) {
        status = bench_read(b, &side[1], err);
    }
    if (status == RCNN_OK) {
        fprintf(out, "A = %s\nB = %s\n", a, b);
        if (!bench_compare(&side[0], &side[1], out)) {
            tool_fail(err, "'%.150s' and '%.150s': out of memory", a, b);
            status = err->status = RCNN_ERR_MEMORY;
        }
    }
    bench_free(&side[0]);
    bench_free(&side[1]);
    return status;
}
