/* Parts of report.html. Every function writes markup to page->out; write errors stay in the stream. */
#ifndef RCNN_TOOLS_BENCH_HTML_H
#define RCNN_TOOLS_BENCH_HTML_H

#include <stdio.h>

#include "bench_report.h"

/* Rows of one size and batch, in the order of the file. */
typedef struct bench_group {
    int32_t width, height, batch;
    const bench_row **rows; /* [count]; owned by the group */
    int32_t count;
} bench_group;

typedef struct html_page {
    FILE *out;
    const bench_result *r;
    const char *dir;
    rcnn_error *err;
} html_page;

/* bench_html.c */
void html_head(const html_page *page);
void html_facts(const html_page *page);
void html_tables(const html_page *page, const bench_group *group);
void html_skipped(const html_page *page);
void html_foot(const html_page *page);

/* bench_html_pictures.c: two modes' detections drawn, matched and counted. False with err filled. */
bool html_shown(const html_page *page, const bench_shown shown[2]);
/* The pictures of the slowest and the fastest row that have one beside the report; nothing when there are none. */
void html_row_pictures(const html_page *page);

#endif
