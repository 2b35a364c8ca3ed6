/* A benchmark's result as text: JSON (bench_json.c), tables for a terminal, Markdown and CSV (bench_table.c). */
#ifndef RCNN_TOOLS_BENCH_OUT_H
#define RCNN_TOOLS_BENCH_OUT_H

#include <stdio.h>

#include "bench_result.h"
#include "message.h"

/* The documented file (docs/benchmarking.md). Replaced only when the new one is complete; "-" = standard output. */
bool bench_write_json(const bench_result *r, const char *path, rcnn_error *err);
void bench_print_json(const bench_result *r, FILE *out);
bool bench_write_csv(const bench_result *r, const char *path, rcnn_error *err);
bool bench_write_markdown(const bench_result *r, const char *path, rcnn_error *err);
/* Two aligned tables per size, stages and whole calls, and the reasons of what was not measured. */
void bench_print(const bench_result *r, FILE *out);

/* Stages of many runs, one an image, as one aligned table: median, mean and sum. ms [BENCH_STAGE_COUNT] and the whole call. */
void bench_print_profile(const bench_times stage[BENCH_STAGE_COUNT], const bench_times *total, const char *title,
                         FILE *out);

#endif
