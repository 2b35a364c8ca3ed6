/* Tables of text. Each is filled as a grid of cells first, so that the same grid is aligned for a terminal or written as
 * Markdown; columns of which nothing is known are left out. */
#include "bench_out.h"

#include <stdlib.h>
#include <string.h>

#include "outfile.h"
#include "utf8.h"

#define CELL_BYTES  80
#define COLUMNS_MAX 20

typedef struct grid {
    char (*cells)[CELL_BYTES]; /* [rows][COLUMNS_MAX]; row 0 is the head, '|' breaks a line of it */
    int rows, columns;
    int texts;   /* first columns, aligned left */
    bool failed; /* out of memory */
} grid;

/* ------------------------------------------------------------- the grid */

static char *cell(const grid *g, int row, int column)
{
    return g->cells[row * COLUMNS_MAX + column];
}

/* A new row of "" cells; false when out of memory. */
static bool add_row(grid *g)
{
    void *grown = realloc(g->cells, sizeof *g->cells * COLUMNS_MAX * ((size_t)g->rows + 1));
    if (!grown) {
        g->failed = true;
        return false;
    }
    g->cells = grown;
    memset(cell(g, g->rows, 0), 0, sizeof *g->cells * COLUMNS_MAX);
    g->rows++;
    return true;
}

static void add_head(grid *g, const char *text)
{
    snprintf(cell(g, 0, g->columns++), CELL_BYTES, "%s", text);
}

static void set_text(const grid *g, int column, const char *text)
{
    utf8_copy_printable(cell(g, g->rows - 1, column), CELL_BYTES, text);
}

/* Four digits; nothing when there is no such number. */
static void set_number(const grid *g, int column, double value, bool known)
{
    const int digits = value >= 999.95 ? 0 : value >= 99.995 ? 1 : value >= 9.9995 ? 2 : 3;
    if (known) {
        snprintf(cell(g, g->rows - 1, column), CELL_BYTES, "%.*f", digits, value);
    }
}

static void set_count(const grid *g, int column, int32_t count)
{
    if (count >= 0) {
        snprintf(cell(g, g->rows - 1, column), CELL_BYTES, "%d", (int)count);
    }
}

static void drop_empty_columns(grid *g)
{
    for (int c = g->columns - 1; c >= g->texts; c--) {
        bool used = false;
        for (int r = 1; r < g->rows; r++) {
            used = used || cell(g, r, c)[0];
        }
        for (int r = 0; r < g->rows && !used; r++) {
            memmove(cell(g, r, c), cell(g, r, c + 1), sizeof *g->cells * (size_t)(COLUMNS_MAX - 1 - c));
        }
        g->columns -= !used;
    }
}

static void print_spaced(const grid *g, int column, const char *text, int length, int width, FILE *out)
{
    const int pad = width > length ? width - length : 0;
    fprintf(out, "%s%*s%.*s%*s", column ? "  " : "", column < g->texts ? 0 : pad, "", length, text,
            column < g->texts && column + 1 < g->columns ? pad : 0, "");
}

/* Line `line` of a head whose parts stand between bars; *length 0 when it has none. */
static const char *head_part(const char *text, int line, int *length)
{
    for (; line > 0 && *text; line--) {
        text += strcspn(text, "|");
        text += *text == '|';
    }
    *length = (int)strcspn(text, "|");
    return text;
}

static int width_of(const grid *g, int column)
{
    int width = 0, length;
    for (int line = 0; line < 2; line++) {
        (void)head_part(cell(g, 0, column), line, &length);
        width = length > width ? length : width;
    }
    for (int r = 1; r < g->rows; r++) {
        length = (int)strlen(cell(g, r, column));
        width = length > width ? length : width;
    }
    return width > 1 ? width : 1;
}

static void print_aligned(const grid *g, FILE *out)
{
    for (int line = 0; line < 2; line++) {
        for (int c = 0; c < g->columns; c++) {
            int length;
            const char *part = head_part(cell(g, 0, c), line, &length);
            print_spaced(g, c, part, length, width_of(g, c), out);
        }
        fputc('\n', out);
    }
    for (int r = 1; r < g->rows; r++) {
        for (int c = 0; c < g->columns; c++) {
            const char *text = cell(g, r, c)[0] ? cell(g, r, c) : "-";
            print_spaced(g, c, text, (int)strlen(text), width_of(g, c), out);
        }
        fputc('\n', out);
    }
}

static void write_markdown_cell(const char *text, FILE *out)
{
    fputs(" ", out);
    for (; *text; text++) {
        fputs(*text == '|' ? "\\|" : (char[]){*text, 0}, out);
    }
    fputs(" |", out);
}

/* "bbox|forward" as "bbox forward", "pre-|processing" as "pre-processing". */
static void join_head(char *text)
{
    char *bar = strchr(text, '|');
    if (bar && (bar[1] == '\0' || (bar > text && bar[-1] == '-'))) {
        memmove(bar, bar + 1, strlen(bar));
    } else if (bar) {
        *bar = ' ';
    }
}

static void print_markdown(const grid *g, FILE *out)
{
    for (int r = 0; r < g->rows; r++) {
        fputc('|', out);
        for (int c = 0; c < g->columns; c++) {
            char head[CELL_BYTES];
            snprintf(head, sizeof head, "%s", cell(g, r, c));
            if (r == 0) {
                join_head(head);
            }
            write_markdown_cell(head[0] ? head : "-", out);
        }
        fputs("\n", out);
        for (int c = 0; r == 0 && c < g->columns; c++) {
            fputs(c < g->texts ? "|---" : "|---:", out);
        }
        fputs(r == 0 ? "|\n" : "", out);
    }
}

static void finish(grid *g, bool markdown, FILE *out)
{
    if (g->failed) {
        fputs("(out of memory for a table)\n", out);
    } else if (g->rows > 1) {
        drop_empty_columns(g);
        (markdown ? print_markdown : print_aligned)(g, out);
    }
    free(g->cells);
}

/* ------------------------------------------------------------- two tables a size */

static bool of_size(const bench_row *row, const bench_row *size)
{
    return row->width == size->width && row->height == size->height;
}

/* The row's name: with whom it is, when others are in the table. */
static void set_names(const bench_result *r, const grid *g, const bench_row *row)
{
    char text[CELL_BYTES * 2];
    bool others = false;
    for (int32_t i = 0; i < r->row_count; i++) {
        others = others || strcmp(r->rows[i].subject, r->rows[0].subject) != 0;
    }
    snprintf(text, sizeof text, "%s%s%s", others ? row->subject : "", others ? ": " : "", row->mode);
    set_text(g, 0, text);
    set_text(g, 1, row->precision);
}

typedef struct bench_rates {
    double tflops, of_peak, of_copy; /* 0 = not known */
} bench_rates;

/* What a row's arithmetic and traffic are per second, and as a share of what the device reaches in its own short test. */
static bench_rates bench_rates_of(const bench_result *r, const bench_row *row)
{
    const double seconds = row->images_per_s > 0 ? row->batch / row->images_per_s : row->end_to_end.median * 1e-3;
    bench_rates rates = {0, 0, 0};
    if (seconds > 0) {
        rates.tflops = row->gflop * 1e-3 / seconds;
        rates.of_peak = r->peak_tflops > 0 ? rates.tflops / r->peak_tflops : 0;
        rates.of_copy = r->peak_gb_s > 0 ? row->gbyte / seconds / r->peak_gb_s : 0;
    }
    return rates;
}

/* Stages of the call in run `run`; of their medians where run is -1. */
static double stages_of_run(const bench_row *row, int32_t run)
{
    double ms = 0;
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        const bench_times *t = &row->stage[s];
        if (s != BENCH_STAGE_decode && t->count > 0) {
            ms += run < 0 ? t->median : t->samples[run];
        }
    }
    return ms;
}

static bool has_all_runs(const bench_row *row)
{
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        const bench_times *t = &row->stage[s];
        if (s != BENCH_STAGE_decode && t->count > 0 && (t->count != row->staged.count || !t->samples)) {
            return false;
        }
    }
    return row->staged.count > 0;
}

/* The median over the runs of their sums: medians of stages do not add up where a run is slow here and another one there. */
static double sum_of_stages(const bench_row *row)
{
    bench_times sums = {.count = row->staged.count};
    sums.samples = has_all_runs(row) ? malloc((size_t)sums.count * sizeof *sums.samples) : NULL;
    if (!sums.samples) {
        return stages_of_run(row, -1);
    }
    for (int32_t run = 0; run < sums.count; run++) {
        sums.samples[run] = stages_of_run(row, run);
    }
    bench_times_sum_up(&sums);
    free(sums.samples);
    return sums.median;
}

/* A title as two lines: "bbox forward" breaks at the blank, "pre-processing" behind the hyphen. */
static void add_stage_head(grid *g, bench_stage stage)
{
    char text[CELL_BYTES];
    const char *title = bench_stage_title(stage);
    const size_t cut = strcspn(title, " -");
    if (title[cut] == '\0') {
        snprintf(text, sizeof text, "%s", title);
    } else {
        snprintf(text, sizeof text, "%.*s%s|%s", (int)cut, title, title[cut] == '-' ? "-" : "", title + cut + 1);
    }
    add_head(g, text);
}

static void print_stages(const bench_result *r, const bench_row *size, bool markdown, FILE *out)
{
    grid g = {.texts = 2};
    if (!add_row(&g)) {
        return;
    }
    add_head(&g, "stages, ms|(median)");
    add_head(&g, "precision|");
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        add_stage_head(&g, (bench_stage)s);
    }
    add_head(&g, "roi_head|(of these)");
    add_head(&g, "sum|");
    add_head(&g, "staged|call");
    for (int32_t i = 0; i < r->row_count; i++) {
        const bench_row *row = &r->rows[i];
        if (!of_size(row, size) || row->staged.count == 0 || !add_row(&g)) {
            continue;
        }
        set_names(r, &g, row);
        for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
            set_number(&g, 2 + s, row->stage[s].median, row->stage[s].count > 0);
        }
        set_number(&g, 2 + BENCH_STAGE_COUNT, bench_roi_head_ms(row), bench_roi_head_ms(row) > 0);
        set_number(&g, 3 + BENCH_STAGE_COUNT, sum_of_stages(row), true);
        set_number(&g, 4 + BENCH_STAGE_COUNT, row->staged.median, true);
    }
    finish(&g, markdown, out);
}

static void print_calls(const bench_result *r, const bench_row *size, bool markdown, FILE *out)
{
    static const char *const HEADS[] = {
        "end to end, ms|", "precision|", "median|",    "p10|",       "p90|",       "min|",
        "samples|",        "images/s|",  "first|call", "GFLOP|",     "TFLOP/s|",   "% of|peak",
        "% of|copy",       "host|MB",    "device|MB",  "proposals|", "detections|"};
    grid g = {.texts = 2};
    if (!add_row(&g)) {
        return;
    }
    for (size_t i = 0; i < sizeof HEADS / sizeof HEADS[0]; i++) {
        add_head(&g, HEADS[i]);
    }
    for (int32_t i = 0; i < r->row_count; i++) {
        const bench_row *row = &r->rows[i];
        const bench_times *t = &row->end_to_end;
        if (!of_size(row, size) || t->count == 0 || !add_row(&g)) {
            continue;
        }
        const bench_rates rates = bench_rates_of(r, row);
        set_names(r, &g, row);
        set_number(&g, 2, t->median, true);
        set_number(&g, 3, t->p10, true);
        set_number(&g, 4, t->p90, true);
        set_number(&g, 5, t->min, true);
        set_count(&g, 6, t->count);
        set_number(&g, 7, row->images_per_s, row->images_per_s > 0);
        set_number(&g, 8, row->first_run_ms, row->first_run_ms > 0);
        set_number(&g, 9, row->gflop, row->gflop > 0);
        set_number(&g, 10, rates.tflops, rates.tflops > 0);
        set_number(&g, 11, 100 * rates.of_peak, rates.of_peak > 0);
        set_number(&g, 12, 100 * rates.of_copy, rates.of_copy > 0);
        set_number(&g, 13, row->host_mb, row->host_mb > 0);
        set_number(&g, 14, row->device_mb, row->device_mb > 0);
        set_count(&g, 15, row->proposals);
        set_count(&g, 16, row->detections);
    }
    finish(&g, markdown, out);
}

static bool is_first_of_size(const bench_result *r, int32_t index)
{
    for (int32_t i = 0; i < index; i++) {
        if (of_size(&r->rows[i], &r->rows[index])) {
            return false;
        }
    }
    return true;
}

static void explain_shares(const bench_result *r, const bench_row *size, FILE *out)
{
    for (int32_t i = 0; i < r->row_count; i++) {
        if (of_size(&r->rows[i], size) && bench_rates_of(r, &r->rows[i]).of_peak > 1) {
            fputs("\nmore than 100 % of the peak: FLOP are those of direct convolution, and Winograd's filtering does "
                  "fewer\n",
                  out);
            return;
        }
    }
}

static void print_skipped(const bench_result *r, const bench_row *size, bool markdown, FILE *out)
{
    bool any = false;
    for (int32_t i = 0; i < r->row_count; i++) {
        const bench_row *row = &r->rows[i];
        if (of_size(row, size) && row->skipped[0]) {
            char text[BENCH_TEXT_MAX];
            utf8_copy_printable(text, sizeof text, row->skipped);
            fprintf(out, "%snot measured: %s: %s\n", any ? (markdown ? "- " : "") : (markdown ? "\n- " : "\n"),
                    row->mode, text);
            any = true;
        }
    }
}

static void print_warning(const bench_result *r, bool markdown, FILE *out)
{
    const char *strong = markdown ? "**" : "";
    if (r->random_weights) {
        fprintf(out, "%sRANDOM WEIGHTS: times are those of the architecture, detections mean nothing.%s\n\n", strong,
                strong);
    }
    if (!r->complete) {
        fprintf(out, "%sIncomplete: stopped before its end.%s\n\n", strong, strong);
    }
}

static void print_peak(const bench_result *r, FILE *out)
{
    if (r->peak_tflops > 0) {
        fprintf(out, "peak of this device, measured here: %.4g TFLOP/s (%s matrix product), %.4g GB/s (copy)\n",
                r->peak_tflops, r->peak_precision, r->peak_gb_s);
    }
}

static void print_sizes(const bench_result *r, bool markdown, FILE *out)
{
    for (int32_t i = 0; i < r->row_count; i++) {
        const bench_row *row = &r->rows[i];
        if (is_first_of_size(r, i)) {
            fprintf(out, "%s%dx%d%s\n%s", markdown ? "\n## " : "\n", (int)row->width, (int)row->height,
                    r->random_weights ? ", random weights" : "", markdown ? "\n" : "");
            print_stages(r, row, markdown, out);
            fputc('\n', out);
            print_calls(r, row, markdown, out);
            explain_shares(r, row, out);
            print_skipped(r, row, markdown, out);
        }
    }
}

void bench_print(const bench_result *r, FILE *out)
{
    print_warning(r, false, out);
    for (int32_t i = 0; i < r->fact_count; i++) {
        char text[BENCH_TEXT_MAX];
        utf8_copy_printable(text, sizeof text, r->facts[i].value);
        fprintf(out, "%s: %s\n", r->facts[i].name, text);
    }
    print_peak(r, out);
    print_sizes(r, false, out);
}

bool bench_write_markdown(const bench_result *r, const char *path, rcnn_error *err)
{
    outfile file;
    if (!outfile_open(&file, path, err)) {
        return false;
    }
    fputs("# rcnn bench\n\n", file.stream);
    print_warning(r, true, file.stream);
    for (int32_t i = 0; i < r->fact_count; i++) {
        char text[BENCH_TEXT_MAX];
        utf8_copy_printable(text, sizeof text, r->facts[i].value);
        fprintf(file.stream, "- %s: %s\n", r->facts[i].name, text);
    }
    fputs(r->peak_tflops > 0 ? "- " : "", file.stream);
    print_peak(r, file.stream);
    print_sizes(r, true, file.stream);
    return outfile_commit(&file, err);
}

/* ------------------------------------------------------------- CSV */

/* In quotes: texts may hold commas. */
static void write_csv_text(FILE *out, const char *text)
{
    char shown[BENCH_TEXT_MAX];
    utf8_copy_printable(shown, sizeof shown, text);
    fputc('"', out);
    for (const char *p = shown; *p; p++) {
        fputs(*p == '"' ? "\"\"" : (char[]){*p, 0}, out);
    }
    fputs("\",", out);
}

/* Empty when not known. */
static void write_csv_number(FILE *out, double value, bool known)
{
    if (known) {
        fprintf(out, "%.8g", value);
    }
    fputc(',', out);
}

static void write_csv_head(FILE *out)
{
    fputs("subject,mode,device,precision,preprocess,masks,skipped,width,height,batch,random_weights,samples,median_ms,"
          "p10_ms,p90_ms,min_ms,staged_samples,staged_ms,",
          out);
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        fprintf(out, "%s_ms,", bench_stage_name((bench_stage)s));
    }
    fputs("roi_head_ms,images_per_s,gflop,gbyte,tflop_s,of_peak,of_copy,first_run_ms,host_mb,device_mb,proposals,"
          "detections\n",
          out);
}

static void write_csv_row(FILE *out, const bench_result *r, const bench_row *row)
{
    const char *const texts[] = {row->subject,    row->mode,  row->device, row->precision,
                                 row->preprocess, row->masks, row->skipped};
    const bench_times *t = &row->end_to_end;
    const bench_rates rates = bench_rates_of(r, row);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        write_csv_text(out, texts[i]);
    }
    fprintf(out, "%d,%d,%d,%d,%d,", (int)row->width, (int)row->height, (int)row->batch, r->random_weights ? 1 : 0,
            (int)t->count);
    const double calls[] = {t->median, t->p10, t->p90, t->min};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        write_csv_number(out, calls[i], t->count > 0);
    }
    fprintf(out, "%d,", (int)row->staged.count);
    write_csv_number(out, row->staged.median, row->staged.count > 0);
    for (int s = 0; s < BENCH_STAGE_COUNT; s++) {
        write_csv_number(out, row->stage[s].median, row->stage[s].count > 0);
    }
    const double rest[] = {bench_roi_head_ms(row), row->images_per_s, row->gflop,        row->gbyte,   rates.tflops,
                           rates.of_peak,          rates.of_copy,     row->first_run_ms, row->host_mb, row->device_mb};
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        write_csv_number(out, rest[i], rest[i] > 0);
    }
    write_csv_number(out, row->proposals, row->proposals >= 0);
    if (row->detections >= 0) {
        fprintf(out, "%d", (int)row->detections);
    }
    fputc('\n', out);
}

bool bench_write_csv(const bench_result *r, const char *path, rcnn_error *err)
{
    outfile file;
    if (!outfile_open(&file, path, err)) {
        return false;
    }
    write_csv_head(file.stream);
    for (int32_t i = 0; i < r->row_count; i++) {
        write_csv_row(file.stream, r, &r->rows[i]);
    }
    return outfile_commit(&file, err);
}

/* ------------------------------------------------------------- profile */

static double sum_of(const bench_times *t)
{
    double sum = 0;
    for (int32_t i = 0; i < t->count; i++) {
        sum += t->samples[i];
    }
    return sum;
}

void bench_print_profile(const bench_times stage[BENCH_STAGE_COUNT], const bench_times *total, const char *title,
                         FILE *out)
{
    static const char *const LINES[] = {"median", "p90", "mean", "sum"};
    grid g = {.texts = 1};
    for (int line = -1; line < (int)(sizeof LINES / sizeof LINES[0]) && add_row(&g); line++) {
        for (int s = 0; line < 0 && s < BENCH_STAGE_COUNT; s++) {
            if (s == 0) {
                add_head(&g, title);
            }
            add_stage_head(&g, (bench_stage)s);
        }
        if (line < 0) {
            add_head(&g, "call|");
            continue;
        }
        set_text(&g, 0, LINES[line]);
        for (int s = 0; s <= BENCH_STAGE_COUNT; s++) {
            const bench_times *t = s < BENCH_STAGE_COUNT ? &stage[s] : total;
            const double sum = sum_of(t);
            const double shown[] = {t->median, t->p90, t->count > 0 ? sum / t->count : 0, sum};
            set_number(&g, 1 + s, shown[line], sum > 0); /* a device without the stage says 0 */
        }
    }
    finish(&g, false, out);
}
