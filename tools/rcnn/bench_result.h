/* What `rcnn bench` measured, in memory: cmd_bench.c fills it, bench_json.c writes it, bench_read.c reads it again (also
 * from peers' files of the same schema, docs/benchmarking.md), and tables, charts, report and comparison draw on it. */
#ifndef RCNN_TOOLS_BENCH_RESULT_H
#define RCNN_TOOLS_BENCH_RESULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BENCH_SCHEMA   1
#define BENCH_TEXT_MAX 256

/* Columns of the study, in the order of a run. Their JSON names are those of bench_stages.def. */
typedef enum bench_stage {
#define BENCH_STAGE(name, title, help) BENCH_STAGE_##name,
#include "bench_stages.def"
#undef BENCH_STAGE
    BENCH_STAGE_COUNT
} bench_stage;

/* Milliseconds of one call. Nothing is known when count is 0; samples may be NULL in a file that only has the quantiles. */
typedef struct bench_times {
    int32_t count;
    double median, p10, p90, min;
    double *samples; /* [count] in the order taken, or NULL; owned */
} bench_times;

/* One mode at one size, by one subject. Texts are UTF-8 and end with NUL. */
typedef struct bench_row {
    char subject[64];                            /* "rcnn", "torchvision 0.26", "study's steps in torch 2.11" */
    char mode[64];                               /* "inference", "inference_fp16", ...                        */
    char device[64];                             /* "cpu", "cuda:0"                                           */
    char precision[8], preprocess[8], masks[16]; /* "fp16"; "cpu" or "gpu"; "full", "raw", "rle", ...          */
    int32_t width, height;                       /* bounds of the network input: 1333x800                     */
    int32_t batch;                               /* images of one call                                        */
    char skipped[BENCH_TEXT_MAX];                /* why nothing was measured; "" = it was                     */
    bench_times end_to_end;                      /* nothing between entry and return                          */
    bench_times staged;                          /* whole calls of the staged runs                            */
    bench_times stage[BENCH_STAGE_COUNT];        /* of the staged runs                                        */
    double images_per_s;                         /* of end_to_end's median, or of overlapped runs             */
    double gflop, gbyte;                         /* arithmetic and memory traffic of a call's network         */
    double stage_gflop[BENCH_STAGE_COUNT], stage_gbyte[BENCH_STAGE_COUNT]; /* 0 = not known                       */
    double first_run_ms, host_mb, device_mb; /* 0 = not known                                             */
    int32_t proposals, detections;           /* of the call's first image; -1 = not known                 */
    char picture[BENCH_TEXT_MAX];            /* file name of its detections' picture beside the JSON, or "" */
} bench_row;

typedef struct bench_fact {
    char name[64], value[BENCH_TEXT_MAX];
} bench_fact;

typedef struct bench_result {
    bench_fact *facts; /* machine, versions, clocks, model, image, threads, commit, date: for people; owned */
    int32_t fact_count;
    double peak_tflops,
        peak_gb_s; /* this device's own short matrix product (of the fastest precision) and copy; 0 = none */
    char peak_precision[8];
    bool random_weights; /* every output says so */
    bool complete;       /* false: stopped before its end */
    bench_row *rows;     /* owned */
    int32_t row_count;
} bench_result;

/* Adds an empty row or fact; NULL when out of memory. Pointers to earlier ones are lost. */
bench_row *bench_add_row(bench_result *r);
bench_fact *bench_add_fact(bench_result *r, const char *name, const char *value);
void bench_free(bench_result *r);

/* Fills the quantiles from samples [count]. */
void bench_times_sum_up(bench_times *t);
const char *bench_stage_name(bench_stage stage);  /* as in the JSON  */
const char *bench_stage_title(bench_stage stage); /* as in a table   */
/* Sum of box and mask stages (the study's roi_head), 0 when none is known. */
double bench_roi_head_ms(const bench_row *row);

#endif
