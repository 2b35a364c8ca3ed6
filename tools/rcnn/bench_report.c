/* The report of a benchmark: one page, and the charts it shows as files of their own. */
#include "bench_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench_chart.h"
#include "bench_html.h"
#include "outfile.h"

#define PATH_BYTES 4300
#define CLOSER_MAX 2 /* charts of ever faster rows beside the whole one */

bool bench_report_has_png(void)
{
    return chart_has_png();
}

/* ------------------------------------------------------------------ groups */

static bool belongs(const bench_group *group, const bench_row *row)
{
    return group->width == row->width && group->height == row->height && group->batch == row->batch;
}

static void groups_free(bench_group *groups, int32_t count)
{
    for (int32_t i = 0; groups && i < count; i++) {
        free(groups[i].rows);
    }
    free(groups);
}

/* Groups in order of first appearance; NULL when out of memory. */
static bench_group *make_groups(const bench_result *r, int32_t *count)
{
    bench_group *groups = calloc((size_t)r->row_count + 1, sizeof *groups);
    *count = 0;
    for (int32_t i = 0; groups && i < r->row_count; i++) {
        const bench_row *row = &r->rows[i];
        int32_t g = 0;
        while (g < *count && !belongs(&groups[g], row)) {
            g++;
        }
        if (g == *count) {
            groups[g] = (bench_group){.width = row->width, .height = row->height, .batch = row->batch};
            ++*count;
        }
        const bench_row **grown = realloc(groups[g].rows, ((size_t)groups[g].count + 1) * sizeof *grown);
        if (!grown) {
            groups_free(groups, *count);
            return NULL;
        }
        groups[g].rows = grown;
        grown[groups[g].count++] = row;
    }
    return groups;
}

/* ------------------------------------------------------------------ charts */

/* One chart into its files and into the page. */
static bool put_chart(const html_page *page, const chart *c, const char *name)
{
    char path[PATH_BYTES];
    outfile file;
    snprintf(path, sizeof path, "%s/%s.svg", page->dir, name);
    if (!outfile_open(&file, path, page->err)) {
        return false;
    }
    chart_write_svg(c, false, file.stream);
    if (!outfile_commit(&file, page->err)) {
        return false;
    }
    snprintf(path, sizeof path, "%s/%s.png", page->dir, name);
    if (chart_has_png() && !chart_write_png(c, path, page->err)) {
        return false;
    }
    chart_write_svg(c, true, page->out);
    return true;
}

/* The rows of a group as one chart; closer > 0: the slower rows were left out for the closer-th time. */
static bool chart_group(const html_page *page, const bench_group *group, chart_kind kind, int closer)
{
    const char *what = kind == CHART_STAGES ? "By stage" : "End to end";
    const char *random = page->r->random_weights ? ", random weights" : "";
    char title[160], note[160] = "", name[96], number[32];
    double slowest = 0;
    chart c;
    for (int32_t i = 0; i < group->count; i++) {
        slowest = fmax(slowest, chart_row_ms(group->rows[i], kind));
    }
    chart_three_digits(number, slowest);
    snprintf(title, sizeof title, "%s: %dx%d, batch %d%s%s", what, (int)group->width, (int)group->height,
             (int)group->batch, closer > 0 ? ", the faster ones" : "", random);
    if (closer > 0) {
        snprintf(note, sizeof note, "Up to %s ms; what takes longer is left out here, see the chart of all.", number);
    } else if (kind == CHART_STAGES) {
        snprintf(note, sizeof note, "Medians of the staged calls; decoding the file lies outside of them.");
    }
    snprintf(name, sizeof name, "%s_%dx%d_b%d", kind == CHART_STAGES ? "stages" : "end_to_end", (int)group->width,
             (int)group->height, (int)group->batch);
    if (closer > 0) {
        snprintf(name + strlen(name), sizeof name - strlen(name), "_closer%d", closer);
    }
    const bool done = chart_rows(&c, kind, group->rows, group->count, title, note)
                          ? put_chart(page, &c, name)
                          : tool_fail(page->err, "'%.300s': out of memory for a chart", page->dir);
    chart_free(&c);
    return done;
}

/* Keeps the rows that have something to show and take at most `limit` ms (0 = any). */
static void keep_rows(bench_group *group, chart_kind kind, double limit)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < group->count; i++) {
        const double ms = chart_row_ms(group->rows[i], kind);
        if (ms > 0 && (limit <= 0 || ms <= limit)) {
            group->rows[kept++] = group->rows[i];
        }
    }
    group->count = kept;
}

/* All rows, then, where slow ones flatten the others, those without them. A single bar without segments says
 * nothing. */
static bool chart_all(const html_page *page, const bench_group *whole, chart_kind kind)
{
    bench_group group = *whole;
    const int32_t least = kind == CHART_STAGES ? 1 : 2;
    double limit = 0;
    bool done = true;
    group.rows = malloc(((size_t)whole->count + 1) * sizeof *group.rows);
    if (!group.rows) {
        return tool_fail(page->err, "'%.300s': out of memory for %d rows", page->dir, (int)whole->count);
    }
    memcpy(group.rows, whole->rows, (size_t)whole->count * sizeof *group.rows);
    for (int closer = 0; done && closer <= CLOSER_MAX && (closer == 0 || limit > 0); closer++) {
        keep_rows(&group, kind, limit);
        if (group.count >= (closer ? least : 1)) {
            done = chart_group(page, &group, kind, closer);
        }
        limit = chart_closer_limit(kind, group.rows, group.count);
    }
    free(group.rows);
    return done;
}

/* -------------------------------------------------------------------- page */

static bool put_page(const html_page *page, const bench_shown *shown, int32_t shown_count)
{
    int32_t count;
    bench_group *groups = make_groups(page->r, &count);
    bool done = groups || tool_fail(page->err, "'%.300s': out of memory for the report", page->dir);
    html_head(page);
    html_facts(page);
    for (int32_t i = 0; done && i < count; i++) {
        fprintf(page->out, "<h2>%dx%d, batch %d</h2>\n", (int)groups[i].width, (int)groups[i].height,
                (int)groups[i].batch);
        done = chart_all(page, &groups[i], CHART_STAGES) && chart_all(page, &groups[i], CHART_END_TO_END);
        if (done) {
            html_tables(page, &groups[i]);
        }
    }
    if (done && !chart_has_png()) {
        fputs("<p class=\"note\">This build writes charts as SVG only: it was made without cairo.</p>\n", page->out);
    }
    if (done) {
        html_skipped(page);
        if (shown_count == 2) {
            done = html_shown(page, shown);
        } else {
            html_row_pictures(page);
        }
        html_foot(page);
    }
    groups_free(groups, count);
    return done;
}

rcnn_status bench_write_report(const bench_result *r, const bench_shown *shown, int32_t shown_count, const char *dir,
                               rcnn_error *err)
{
    char path[PATH_BYTES];
    outfile file;
    snprintf(path, sizeof path, "%s/report.html", dir);
    if (!directory_make("--report", dir, err) || !outfile_open(&file, path, err)) {
        return err->status;
    }
    const html_page page = {.out = file.stream, .r = r, .dir = dir, .err = err};
    if (!put_page(&page, shown, shown_count)) {
        outfile_discard(&file);
        return err->status;
    }
    return outfile_commit(&file, err) ? RCNN_OK : err->status;
}
