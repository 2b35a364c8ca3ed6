/* What is made from a benchmark's result: its file read again, charts and a page, two files compared, a run as a
 * trace. */
#ifndef RCNN_TOOLS_BENCH_REPORT_H
#define RCNN_TOOLS_BENCH_REPORT_H

#include <stdio.h>

#include "bench_result.h"
#include "message.h"

#define BENCH_FILE_BYTES_MAX 268435456 /* result file accepted (256 MiB)            */
#define BENCH_ROWS_MAX       4096      /* rows, and facts, of one file               */
#define BENCH_SAMPLES_MAX    1048576   /* samples of one list                        */

/* Reads a result file (docs/benchmarking.md). Members that are not known are passed over, missing ones are 0, "" or not
 * known. *out need not be initialised; on success the caller frees it with bench_free, on failure it is empty.
 * Statuses: NOT_FOUND, IO; FORMAT with the line and column where it is wrong; LIMIT; MEMORY. */
rcnn_status bench_read(const char *path, bench_result *out, rcnn_error *err);
/* The same of a text [size] with a NUL behind it; `name` heads the messages. Statuses: FORMAT, LIMIT, MEMORY. */
rcnn_status bench_parse(const char *name, const char *data, size_t size, bench_result *out, rcnn_error *err);

/* The detections of one measured mode, to be shown. Everything is borrowed; results is that of the image alone. */
typedef struct bench_shown {
    const char *mode;
    const rcnn_image_view *image; /* RGB8, the same for both modes of a report */
    rcnn_results *results;        /* masks are converted inside it             */
    const rcnn_model *model;
} bench_shown;

/* Writes into the directory `dir`, made when it is not there: report.html, which needs no other file and no network,
 * and its charts as stages_WxH_bN.svg, end_to_end_WxH_bN.svg and, where this build can draw, the same as .png. Where
 * slow rows flatten the others, charts without them follow: .._closer1, .._closer2.
 * shown_count is 0, or 2 for two modes whose detections are drawn side by side and compared (slowest first).
 * Rows with `picture` show that file of `dir` when it is there. Files are complete or not there. */
rcnn_status bench_write_report(const bench_result *r, const bench_shown *shown, int32_t shown_count, const char *dir,
                               rcnn_error *err);
/* False in builds that write charts as SVG only. */
bool bench_report_has_png(void);

/* Compares the rows of two results that have the same subject, mode, size, batch, precision and device, and prints a
 * table of verdicts on b as seen from a: faster, slower, same, unclear, with the test, n, p and the ratio. True whatever
 * the verdicts are; false when out of memory. */
bool bench_compare(const bench_result *a, const bench_result *b, FILE *out);
/* The same of two result files, their names printed first. Statuses: those of bench_read. */
rcnn_status bench_compare_files(const char *a, const char *b, FILE *out, rcnn_error *err);

/* One span of a run: a stage, or an op of it (then ops = 1). */
typedef struct bench_step {
    char name[96], stage[32];
    double begin_ms, ms; /* from the start of the run     */
    double gflop, gbyte; /* of this span; 0 = not known   */
    int32_t ops;         /* ops that run in it as one     */
} bench_step;

/* Writes trace-event JSON, as Perfetto and Chrome's tracing page open it: the device, named by title, is the process,
 * each stage a lane of it. */
rcnn_status bench_write_trace(const char *path, const bench_step *steps, int32_t count, const char *title,
                              rcnn_error *err);

#endif
