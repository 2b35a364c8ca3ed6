/* Tables and frame of report.html. */
#include "bench_html.h"

#include <string.h>

#include "bench_chart.h"
#include "bench_markup.h"

static const char STYLE[] =
    "body{font:14px/1.45 'DejaVu "
    "Sans',Verdana,Arial,sans-serif;color:#1c2128;background:#fff;max-width:1200px;margin:0 auto;"
    "padding:16px 20px 60px}"
    "h1{font-size:24px;margin:12px 0 4px}h2{font-size:19px;margin:34px 0 8px;border-bottom:1px solid #d5d9de;"
    "padding-bottom:4px}"
    "h3{font-size:15px;margin:22px 0 6px}p{margin:6px 0}.note{color:#5b646e;font-size:13px}"
    ".warn{background:#fff3d6;border:1px solid #d9a93a;padding:8px 12px;margin:10px 0;font-weight:bold}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-size:12.5px}"
    "th,td{padding:4px 8px;text-align:right;vertical-align:top;border-bottom:1px solid #e4e7ea}"
    "th{font-weight:bold;vertical-align:bottom;border-bottom:2px solid #9aa3ad}"
    "th:first-child,td:first-child{text-align:left;padding-left:2px}td:first-child b{overflow-wrap:anywhere}"
    "td small{display:block;color:#5b646e;font-size:11.5px}"
    ".text td,.text "
    "th{text-align:left;overflow-wrap:anywhere}.sum{font-style:italic;color:#4a525b}.all{font-weight:bold}"
    "svg,img{max-width:100%;height:auto;display:block;margin:10px 0}"
    ".pair{display:grid;grid-template-columns:1fr 1fr;gap:12px}figure{margin:0}figcaption{font-size:13px}"
    "@media print{body{max-width:none;padding:0}h2{break-after:avoid}svg,figure,tr{break-inside:avoid}}";

void html_head(const html_page *page)
{
    FILE *out = page->out;
    fprintf(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Mask R-CNN benchmark</title>\n"
        "<style>%s</style>\n</head>\n<body>\n<h1>Mask R-CNN benchmark</h1>\n",
        STYLE);
    if (page->r->random_weights) {
        fputs("<p class=\"warn\">Random weights: nothing that was found means anything, and times of stages that "
              "depend on "
              "it (proposals, detections, masks) are those of noise.</p>\n",
              out);
    }
    if (!page->r->complete) {
        fputs("<p class=\"warn\">The benchmark was stopped before its end: modes are missing.</p>\n", out);
    }
}

void html_foot(const html_page *page)
{
    fputs("</body>\n</html>\n", page->out);
}

static void cell_text(FILE *out, const char *text)
{
    fputs("<td>", out);
    markup_text(out, text);
    fputs("</td>", out);
}

void html_facts(const html_page *page)
{
    FILE *out = page->out;
    const bench_result *r = page->r;
    fputs("<h2>Where and how</h2>\n<table class=\"text\"><tbody>\n", out);
    for (int32_t i = 0; i < r->fact_count; i++) {
        fputs("<tr>", out);
        cell_text(out, r->facts[i].name);
        cell_text(out, r->facts[i].value);
        fputs("</tr>\n", out);
    }
    if (r->peak_tflops > 0) {
        fprintf(out, "<tr><td>peak arithmetic, measured</td><td>%.4g TFLOP/s (", r->peak_tflops);
        markup_text(out, r->peak_precision[0] ? r->peak_precision : "precision not stated");
        fputs(", a matrix product of this device)</td></tr>\n", out);
    }
    if (r->peak_gb_s > 0) {
        fprintf(out, "<tr><td>peak memory traffic, measured</td><td>%.4g GB/s (a copy on this device)</td></tr>\n",
                r->peak_gb_s);
    }
    fputs("</tbody></table>\n", out);
}

/* ------------------------------------------------------------------- cells */

static void cell_digits(FILE *out, const char *attributes, double value)
{
    char text[32] = "-";
    if (value > 0) {
        chart_three_digits(text, value);
    }
    fprintf(out, "<td%s>%s</td>", attributes, text);
}

/* A number that is not known when it is 0. */
static void cell_number(FILE *out, const char *format, double value)
{
    fputs("<td>", out);
    if (value > 0) {
        fprintf(out, format, value);
    } else {
        fputc('-', out);
    }
    fputs("</td>", out);
}

static void cell_count(FILE *out, int32_t count)
{
    fprintf(out, count < 0 ? "<td>-</td>" : "<td>%d</td>", (int)count);
}

static void cell_mode(FILE *out, const bench_row *row)
{
    const char *const parts[] = {row->subject, row->device, row->precision};
    const char *between = "";
    fputs("<td><b>", out);
    markup_text(out, row->mode);
    fputs("</b><small>", out);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (parts[i][0]) {
            fputs(between, out);
            markup_text(out, parts[i]);
            between = ", ";
        }
    }
    if (row->preprocess[0]) {
        fprintf(out, "%spre-processing on ", between);
        markup_text(out, row->preprocess);
        between = ", ";
    }
    if (row->masks[0]) {
        fprintf(out, "%smasks ", between);
        markup_text(out, row->masks);
    }
    fputs("</small></td>", out);
}

static void heads(FILE *out, const char *const *names, size_t count)
{
    fputs("<div class=\"wide\"><table><thead><tr>", out);
    for (size_t i = 0; i < count; i++) {
        fprintf(out, "<th>%s</th>", names[i]);
    }
    fputs("</tr></thead><tbody>\n", out);
}

static void end_table(FILE *out)
{
    fputs("</tbody></table></div>\n", out);
}

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* ------------------------------------------------------------------ tables */

static bool is_staged(const bench_row *row)
{
    bool staged = false;
    for (int stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
        staged = staged || row->stage[stage].count > 0;
    }
    return staged && !row->skipped[0];
}

static bool is_measured(const bench_row *row)
{
    return !row->skipped[0] && row->end_to_end.count > 0;
}

/* Arithmetic is known for a stage that took time. */
static bool has_rate(const bench_row *row, int stage)
{
    return row->stage_gflop[stage] > 0 && row->stage[stage].count > 0 && row->stage[stage].median > 0;
}

static bool any_row(const bench_group *group, bool (*test)(const bench_row *))
{
    bool any = false;
    for (int32_t i = 0; i < group->count; i++) {
        any = any || test(group->rows[i]);
    }
    return any;
}

static bool has_any_rate(const bench_row *row)
{
    bool any = false;
    for (int stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
        any = any || has_rate(row, stage);
    }
    return any && is_staged(row);
}

/* The peak belongs to one device: shares of it are stated only where all rows ran on devices of one kind. */
static bool shares_mean_something(const bench_result *r)
{
    const bench_row *first = NULL;
    bool one = r->peak_tflops > 0;
    for (int32_t i = 0; i < r->row_count; i++) {
        if (is_measured(&r->rows[i])) {
            first = first ? first : &r->rows[i];
            const size_t kind = strcspn(first->device, ":"); /* "cuda" of "cuda:0" */
            one = one && kind == strcspn(r->rows[i].device, ":") && !strncmp(first->device, r->rows[i].device, kind);
        }
    }
    return one && first;
}

static void staged_table(const html_page *page, const bench_group *group)
{
    FILE *out = page->out;
    fputs("<h3>By stage: medians of the staged calls, ms</h3>\n", out);
    fputs("<div class=\"wide\"><table><thead><tr><th>mode</th>", out);
    for (int stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
        fprintf(out, "<th>%s</th>", bench_stage_title((bench_stage)stage));
    }
    fputs("<th>roi_head</th><th>whole call</th></tr></thead><tbody>\n", out);
    for (int32_t i = 0; i < group->count; i++) {
        const bench_row *row = group->rows[i];
        if (!is_staged(row)) {
            continue;
        }
        fputs("<tr>", out);
        cell_mode(out, row);
        for (int stage = 0; stage < BENCH_STAGE_COUNT; stage++) {
            cell_digits(out, "", row->stage[stage].count > 0 ? row->stage[stage].median : 0);
        }
        cell_digits(out, " class=\"sum\"", bench_roi_head_ms(row));
        cell_digits(out, " class=\"all\"", row->staged.count > 0 ? row->staged.median : 0);
        fputs("</tr>\n", out);
    }
    end_table(out);
    fputs("<p class=\"note\">decode lies outside of the call. roi_head is the sum of the four box and mask columns. "
          "Medians of stages need not add up to the median of calls.</p>\n",
          out);
}

static void rate_table(const html_page *page, const bench_group *group)
{
    FILE *out = page->out;
    const bool shares = shares_mean_something(page->r);
    fprintf(out, "<h3>Arithmetic by stage: TFLOP/s%s</h3>\n", shares ? " and share of the measured peak" : "");
    fputs("<div class=\"wide\"><table><thead><tr><th>mode</th>", out);
    for (int stage = BENCH_STAGE_backbone; stage < BENCH_STAGE_download; stage++) {
        fprintf(out, "<th>%s</th>", bench_stage_title((bench_stage)stage));
    }
    fputs("</tr></thead><tbody>\n", out);
    for (int32_t i = 0; i < group->count; i++) {
        const bench_row *row = group->rows[i];
        if (!has_any_rate(row)) {
            continue;
        }
        fputs("<tr>", out);
        cell_mode(out, row);
        for (int stage = BENCH_STAGE_backbone; stage < BENCH_STAGE_download; stage++) {
            const double rate = has_rate(row, stage) ? row->stage_gflop[stage] / row->stage[stage].median : 0;
            if (rate > 0 && shares) {
                fprintf(out, "<td>%.3g<small>%.1f %%</small></td>", rate, 100 * rate / page->r->peak_tflops);
            } else {
                cell_number(out, "%.3g", rate);
            }
        }
        fputs("</tr>\n", out);
    }
    end_table(out);
    fputs("<p class=\"note\">FLOP are those of direct convolution; Winograd's filtering, on a CPU, does fewer, and may "
          "come to more than 100 % of the peak.</p>\n",
          out);
}

static void end_to_end_row(FILE *out, const bench_row *row, double peak_tflops)
{
    const bench_times *t = &row->end_to_end;
    const double tflops = t->median > 0 ? row->gflop / t->median : 0; /* GFLOP in a ms */
    fputs("<tr>", out);
    cell_mode(out, row);
    cell_digits(out, " class=\"all\"", t->median);
    cell_digits(out, "", t->p10);
    cell_digits(out, "", t->p90);
    cell_digits(out, "", t->min);
    cell_count(out, t->count);
    cell_digits(out, "", row->images_per_s);
    cell_number(out, "%.1f", row->gflop);
    cell_number(out, "%.3g", tflops);
    cell_number(out, "%.1f", peak_tflops > 0 ? 100 * tflops / peak_tflops : 0);
    cell_number(out, "%.3g", row->gbyte);
    cell_number(out, "%.0f", t->median > 0 ? 1000 * row->gbyte / t->median : 0);
    cell_number(out, "%.0f", row->first_run_ms);
    cell_number(out, "%.0f", row->host_mb);
    cell_number(out, "%.0f", row->device_mb);
    cell_count(out, row->proposals);
    cell_count(out, row->detections);
    fputs("</tr>\n", out);
}

static void end_to_end_table(const html_page *page, const bench_group *group)
{
    static const char *const names[] = {"mode",
                                        "median<br>ms",
                                        "10&nbsp;%<br>ms",
                                        "90&nbsp;%<br>ms",
                                        "least<br>ms",
                                        "calls",
                                        "images<br>/s",
                                        "GFLOP",
                                        "TFLOP<br>/s",
                                        "peak<br>%",
                                        "GB",
                                        "GB/s",
                                        "first<br>call<br>ms",
                                        "host<br>MB",
                                        "device<br>MB",
                                        "propo-<br>sals",
                                        "detec-<br>tions"};
    fputs("<h3>End to end: ms per call, nothing between its entry and its return</h3>\n", page->out);
    heads(page->out, names, COUNT_OF(names));
    for (int32_t i = 0; i < group->count; i++) {
        if (is_measured(group->rows[i])) {
            end_to_end_row(page->out, group->rows[i], shares_mean_something(page->r) ? page->r->peak_tflops : 0);
        }
    }
    end_table(page->out);
    fputs("<p class=\"note\">GFLOP and GB: arithmetic and memory traffic of a call's network, from its shapes. 10 % "
          "and 90 %: "
          "of the calls were faster.",
          page->out);
    if (shares_mean_something(page->r)) {
        fputs(" peak %: of the arithmetic measured as this device's peak, whatever the mode's precision.", page->out);
    }
    fputs("</p>\n", page->out);
}

void html_tables(const html_page *page, const bench_group *group)
{
    if (any_row(group, is_staged)) {
        staged_table(page, group);
    }
    if (any_row(group, has_any_rate)) {
        rate_table(page, group);
    }
    if (any_row(group, is_measured)) {
        end_to_end_table(page, group);
    }
}

void html_skipped(const html_page *page)
{
    static const char *const names[] = {"mode", "size", "why"};
    FILE *out = page->out;
    bool any = false;
    for (int32_t i = 0; i < page->r->row_count; i++) {
        const bench_row *row = &page->r->rows[i];
        if (!row->skipped[0]) {
            continue;
        }
        if (!any) {
            fputs("<h2>Skipped</h2>\n<div class=\"text\">", out);
            heads(out, names, COUNT_OF(names));
            any = true;
        }
        fputs("<tr>", out);
        cell_mode(out, row);
        fprintf(out, "<td>%dx%d,&nbsp;batch&nbsp;%d</td>", (int)row->width, (int)row->height, (int)row->batch);
        cell_text(out, row->skipped);
        fputs("</tr>\n", out);
    }
    if (any) {
        end_table(out);
        fputs("</div>\n", out);
    }
}
