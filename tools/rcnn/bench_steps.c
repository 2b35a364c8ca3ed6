#include "bench_steps.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_args.h"
#include "plan.h"

bool bench_steps_read(rcnn_session *session, bench_steps *out, rcnn_error *err)
{
    const int32_t count = rcnn_session_step_count(session);
    *out = (bench_steps){.items = calloc((size_t)count + 1, sizeof *out->items)};
    if (!out->items) {
        return tool_fail(err, "out of memory for %d kernels", (int)count);
    }
    for (; out->count < count; out->count++) {
        bench_step *step = &out->items[out->count];
        rcnn_step_time time;
        if (rcnn_session_step_get(session, out->count, &time) != RCNN_OK) {
            return tool_fail(err, "no kernel %d of %d", (int)out->count, (int)count);
        }
        snprintf(step->name, sizeof step->name, "%s", time.name);
        snprintf(step->stage, sizeof step->stage, "%s", time.stage);
        step->begin_ms = time.begin_ms;
        step->ms = time.ms;
        step->gflop = time.gflop;
        step->gbyte = time.gbyte;
        step->ops = time.ops;
    }
    return true;
}

void bench_steps_free(bench_steps *steps)
{
    free(steps->items);
    *steps = (bench_steps){NULL, 0};
}

/* ------------------------------------------------------------- sums */

static bool read_plan(rcnn_session *session, bench_size size, plan_summary *plan, rcnn_error *err)
{
    char *json;
    if (rcnn_session_plan_json(session, size.width, size.height, &json, err) != RCNN_OK) {
        return false;
    }
    const bool done = plan_read(json, plan, err);
    rcnn_free(json);
    return done;
}

bool bench_plan_mb(rcnn_session *session, bench_size size, double *mb, rcnn_error *err)
{
    plan_summary plan;
    if (!read_plan(session, size, &plan, err)) {
        return false;
    }
    *mb = (double)(plan.arena_bytes + plan.scratch_bytes) * 1e-6;
    plan_free(&plan);
    return true;
}

static void add_steps(const bench_steps *steps, bench_row *row)
{
    row->gflop = row->gbyte = 0;
    memset(row->stage_gflop, 0, sizeof row->stage_gflop);
    memset(row->stage_gbyte, 0, sizeof row->stage_gbyte);
    for (int32_t i = 0; i < steps->count; i++) {
        const bench_stage stage = bench_stage_of(steps->items[i].stage);
        row->gflop += steps->items[i].gflop;
        row->gbyte += steps->items[i].gbyte;
        if (stage < BENCH_STAGE_COUNT) {
            row->stage_gflop[stage] += steps->items[i].gflop;
            row->stage_gbyte[stage] += steps->items[i].gbyte;
        }
    }
}

/* Every product of the box head has a row for each proposal: what it computed, beside what the plan has for all rows there
 * can be, tells how many there were. -1 = not known. */
static int32_t count_proposals(const bench_steps *steps, const plan_summary *plan, const rcnn_model *model)
{
    const char *most = model_config_value(model, "rpn_post_nms", NULL);
    double live = 0, full = 0;
    for (int32_t i = 0; i < steps->count; i++) {
        live += strcmp(steps->items[i].stage, "box_head") == 0 ? steps->items[i].gflop : 0;
    }
    for (size_t i = 0; i < plan->stage_count; i++) {
        full += strcmp(plan->stages[i].name, "box_head") == 0 ? 2e-9 * (double)plan->stages[i].macs : 0;
    }
    return most && full > 0 ? (int32_t)lround(strtod(most, NULL) * live / full) : -1;
}

bool bench_steps_sum_up(const bench_steps *steps, rcnn_session *session, const rcnn_model *model, bench_row *row,
                        rcnn_error *err)
{
    plan_summary plan;
    const bench_size size = {row->width, row->height};
    if (!read_plan(session, size, &plan, err)) {
        return false;
    }
    add_steps(steps, row);
    row->proposals = count_proposals(steps, &plan, model);
    plan_free(&plan);
    return true;
}

/* ------------------------------------------------------------- trace */

#define TRACED "inference_raw_mask"

const bench_mode *bench_trace_mode(const bench_plan *plan)
{
    for (int32_t i = 0; i < plan->mode_count; i++) {
        if (strcmp(plan->modes[i]->name, TRACED) == 0) {
            return plan->modes[i];
        }
    }
    return plan->modes[0];
}

bool bench_steps_trace(const bench_steps *steps, const bench_row *row, const char *path, rcnn_error *err)
{
    char title[BENCH_TEXT_MAX];
    snprintf(title, sizeof title, "%s, %s %s, %dx%d", row->device, row->mode, row->precision, (int)row->width,
             (int)row->height);
    return bench_write_trace(path, steps->items, steps->count, title, err) == RCNN_OK;
}
