/* The kernels of one run (a session with staged = BENCH_STEPS_STAGED): what they compute and move, and the run as a trace. */
#ifndef RCNN_TOOLS_BENCH_STEPS_H
#define RCNN_TOOLS_BENCH_STEPS_H

#include "bench_run.h"

#define BENCH_STEPS_STAGED 2

typedef struct bench_steps {
    bench_step *items; /* owned */
    int32_t count;
} bench_steps;

/* Of the session's last run. False with err filled; bench_steps_free in either case. */
bool bench_steps_read(rcnn_session *session, bench_steps *out, rcnn_error *err);
void bench_steps_free(bench_steps *steps);

/* Fills the row's arithmetic, traffic and number of proposals. False with err filled. */
bool bench_steps_sum_up(const bench_steps *steps, rcnn_session *session, const rcnn_model *model, bench_row *row,
                        rcnn_error *err);

/* The mode whose run --trace writes: the study's fastest, or the first one named. */
const bench_mode *bench_trace_mode(const bench_plan *plan);
bool bench_steps_trace(const bench_steps *steps, const bench_row *row, const char *path, rcnn_error *err);

/* MB of the arena and scratch memory that a session plans for the size. Plans without running. */
bool bench_plan_mb(rcnn_session *session, bench_size size, double *mb, rcnn_error *err);

#endif
