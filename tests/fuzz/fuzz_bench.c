/* Fuzz target: any bytes as a benchmark's result file; what follows a NUL byte is another, compared with the first.
 * Whatever they are: one line of error, or a result that every printer can show, that is not faster than itself, and that
 * is read again as it was written. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_chart.h"
#include "bench_html.h"
#include "bench_out.h"
#include "fuzz.h"

#define ROWS_SHOWN_MAX 64 /* charts and tables grow with rows: keep the search quick */

typedef struct buffer {
    char *data;
    size_t size;
} buffer;

static FILE *buffer_open(buffer *t)
{
    FILE *out = open_memstream(&t->data, &t->size);
    require(out != NULL);
    return out;
}

static void show(const bench_result *r)
{
    buffer t = {0};
    FILE *out = buffer_open(&t);
    const bench_row *rows[ROWS_SHOWN_MAX];
    bench_group group = {.rows = rows, .count = r->row_count < ROWS_SHOWN_MAX ? r->row_count : ROWS_SHOWN_MAX};
    const html_page page = {.out = out, .r = r};
    for (int32_t i = 0; i < group.count; i++) {
        rows[i] = &r->rows[i];
    }
    html_head(&page);
    html_facts(&page);
    html_tables(&page, &group);
    html_skipped(&page);
    html_foot(&page);
    for (int kind = CHART_STAGES; kind <= CHART_END_TO_END; kind++) {
        chart c = {0};
        require(chart_rows(&c, (chart_kind)kind, rows, group.count, "title", "note"));
        require(chart_closer_limit((chart_kind)kind, rows, group.count) >= 0);
        chart_write_svg(&c, false, out);
        chart_free(&c);
    }
    bench_print(r, out);
    fclose(out);
    free(t.data);
}

static void compare(const bench_result *a, const bench_result *b)
{
    buffer t = {0};
    FILE *out = buffer_open(&t);
    require(bench_compare(a, b, out));
    fclose(out);
    require(a != b || strstr(t.data, "\n0 faster, 0 slower, ") != NULL);
    free(t.data);
}

static buffer written(const bench_result *r)
{
    buffer t = {0};
    FILE *out = buffer_open(&t);
    bench_print_json(r, out);
    fclose(out);
    return t;
}

/* Writing rounds numbers, and quantiles follow from rounded samples: from the second writing on nothing changes. */
static void read_again(const bench_result *r)
{
    buffer texts[3] = {written(r)};
    for (int i = 0; i < 2; i++) {
        bench_result again;
        rcnn_error err = {0};
        require(bench_parse("written", texts[i].data, texts[i].size, &again, &err) == RCNN_OK);
        require(again.row_count == r->row_count && again.fact_count == r->fact_count);
        for (int32_t k = 0; k < r->row_count; k++) {
            require(again.rows[k].end_to_end.count == r->rows[k].end_to_end.count);
        }
        texts[i + 1] = written(&again);
        bench_free(&again);
    }
    require(strcmp(texts[1].data, texts[2].data) == 0);
    for (int i = 0; i < 3; i++) {
        free(texts[i].data);
    }
}

/* Reads up to a NUL byte or to the end, where there is one too. */
static bool read_one(const char *text, bench_result *out)
{
    rcnn_error err = {0};
    const bool good = bench_parse("result", text, strlen(text), out, &err) == RCNN_OK;
    require(good || (err.message[0] && !strchr(err.message, '\n') && !out->rows && !out->facts));
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 2);
    bench_result a, b;
    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    memset(text + size, 0, 2); /* the second file is empty when there is none */
    const bool has_a = read_one(text, &a), has_b = read_one(text + strlen(text) + 1, &b);
    if (has_a) {
        show(&a);
        compare(&a, &a);
        read_again(&a);
    }
    if (has_a && has_b) {
        compare(&a, &b);
    }
    bench_free(&a);
    bench_free(&b);
    free(text);
    return 0;
}
