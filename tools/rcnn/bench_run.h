/* The measuring half of `rcnn bench`: modes and sizes in, rows out. */
#ifndef RCNN_TOOLS_BENCH_RUN_H
#define RCNN_TOOLS_BENCH_RUN_H

#include "bench_modes.h"
#include "bench_report.h"
#include "device.h"
#include "progress.h"

/* What is measured, with what. Filled by cmd_bench.c. */
typedef struct bench_plan {
    const rcnn_model *model;
    device_choice device;
    bool gpu, tune;
    char device_name[64]; /* "cpu", "cuda:0" */
    const bench_mode *modes[BENCH_MODES_MAX];
    bench_size sizes[BENCH_SIZES_MAX];
    int32_t mode_count, size_count;
    int32_t samples, warmup,
        threads; /* 0 samples: by time, at most the usual number; warmup -1: the usual number; 0 threads: all */
    const rcnn_image *image; /* NULL: a rendered picture */
    bench_times decode;      /* of the image's file; borrowed by the rows */
    const char *trace;       /* file for one run's ops, or NULL */
    bool keep_shown;         /* results of two modes are wanted */
    bool progress;
    /* Called when rows have changed, to write them; false with err filled ends the run. */
    bool (*changed)(void *context, bench_result *r, rcnn_error *err);
    void *context;
} bench_plan;

/* Detections of the slowest and the fastest mode of the first size, for the report. */
typedef struct bench_pair {
    rcnn_image_view image; /* owned                     */
    bench_shown shown[2];  /* slowest first; results owned */
    char mode[2][64];
    int32_t count; /* 0 or 2 */
} bench_pair;

/* Measures everything, or until a signal asks to stop, and adds the rows. A mode that cannot run is a row with the reason. False with err
 * filled when the whole cannot go on. bench_pair_free in either case. */
bool bench_run(const bench_plan *plan, bench_result *r, bench_pair *pair, rcnn_error *err);
void bench_pair_free(bench_pair *pair);

/* Adds a sample. False when out of memory. */
bool bench_times_add(bench_times *t, double ms);
/* Milliseconds of each stage of the run that made the results; -1 = this library's stages do not tell. */
void bench_stage_times(const rcnn_results *results, double ms[BENCH_STAGE_COUNT]);
/* The stage of tables that a stage of the library belongs to; BENCH_STAGE_COUNT = none. */
bench_stage bench_stage_of(const char *library_stage);

#endif
