/* Graph + backend -> prepared steps. */
#include "session/plan.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/range.h"

/* Which ops run as one kernel. */
static rcnn_status claim_steps(rcnn_plan *plan, bool fuse, const rcnn_backend_vt *vt, rcnn_backend *backend,
                               rcnn_error *err)
{
    rcnn_graph *graph = &plan->graph;
    for (int32_t first = 0, count; first < graph->op_count; first += count) {
        int32_t keep_between = 0;
        count = fuse && vt->claim ? vt->claim(backend, graph, first, &keep_between) : 1;
        if (count < 1 || count > graph->op_count - first) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "backend %s: claimed %d ops of %d at '%s'", vt->name, count,
                             graph->op_count - first, graph->ops[first].name);
        }
        plan->steps[plan->step_count++] =
            (rcnn_plan_step){.first = first, .count = count, .stage = graph->ops[first].stage};
        if (count > 1) {
            rcnn_graph_fuse(graph, first, count, keep_between);
        }
    }
    return RCNN_OK;
}

static rcnn_status prepare_steps(rcnn_plan *plan, const rcnn_backend_vt *vt, rcnn_backend *backend, rcnn_error *err)
{
    for (int32_t i = 0; i < plan->step_count; i++) {
        rcnn_plan_step *step = &plan->steps[i];
        size_t scratch = 0;
        RCNN_TRY(vt->prepare(backend, &plan->graph, step->first, step->count, &step->kernel, &scratch, err));
        plan->scratch_bytes = scratch > plan->scratch_bytes ? scratch : plan->scratch_bytes;
    }
    return RCNN_OK;
}

/* With keep_values every op is a kernel of its own: what passes between fused ones is never written. */
static rcnn_status fill_plan(rcnn_plan *plan, const rcnn_model *model, const rcnn_build_options *options,
                             int keep_values, const rcnn_backend_vt *vt, rcnn_backend *backend, rcnn_error *err)
{
    RCNN_TRY(rcnn_stages_build(model, options, &plan->graph, err));
    plan->steps = rcnn_calloc((size_t)plan->graph.op_count, sizeof *plan->steps);
    plan->value = rcnn_calloc((size_t)plan->graph.value_count, sizeof *plan->value);
    plan->mark_stage = rcnn_calloc((size_t)plan->graph.op_count + 2, sizeof *plan->mark_stage);
    if (!plan->steps || !plan->value || !plan->mark_stage) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "plan: out of memory for %d ops", plan->graph.op_count);
    }
    RCNN_TRY(claim_steps(plan, !keep_values, vt, backend, err));
    RCNN_TRY(rcnn_graph_plan(&plan->graph, keep_values, err));
    return prepare_steps(plan, vt, backend, err);
}

rcnn_status rcnn_plan_create(const rcnn_model *model, const rcnn_build_options *options, int keep_values,
                             const rcnn_backend_vt *vt, rcnn_backend *backend, rcnn_plan **out, rcnn_error *err)
{
    *out = NULL;
    rcnn_plan *plan = rcnn_calloc(1, sizeof *plan);
    if (!plan) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "plan: out of memory");
    }
    plan->batch = options->batch;
    plan->width = options->width;
    plan->height = options->height;
    rcnn_graph_init(&plan->graph);
    rcnn_status status = fill_plan(plan, model, options, keep_values, vt, backend, err);
    if (status != RCNN_OK) {
        rcnn_plan_destroy(plan, vt);
        return status;
    }
    *out = plan;
    return RCNN_OK;
}

void rcnn_plan_destroy(rcnn_plan *plan, const rcnn_backend_vt *vt)
{
    if (!plan) {
        return;
    }
    for (int32_t i = 0; i < plan->step_count && plan->steps[i].kernel; i++) { /* NULL: preparing failed there */
        vt->release(plan->steps[i].kernel);
    }
    rcnn_free(plan->steps);
    rcnn_free(plan->mark_stage);
    rcnn_free(plan->value);
    rcnn_graph_free(&plan->graph);
    rcnn_free(plan);
}

void rcnn_plan_bind(rcnn_plan *plan, void *arena)
{
    for (int32_t v = 0; v < plan->graph.value_count; v++) {
        plan->value[v] = (uint8_t *)arena + plan->graph.values[v].offset;
    }
}

rcnn_status rcnn_plan_enqueue_step(const rcnn_plan *plan, const rcnn_backend_vt *vt, int32_t step,
                                   const rcnn_args *args, rcnn_error *err)
{
    rcnn_range_begin(plan->graph.ops[plan->steps[step].first].name);
    const rcnn_status status = vt->enqueue(plan->steps[step].kernel, args, err);
    rcnn_range_end();
    return status;
}

static rcnn_status enqueue_steps(const rcnn_plan *plan, const rcnn_backend_vt *vt, void *scratch,
                                 const rcnn_frame *frame, double *stage_ms, double *step_ms, rcnn_error *err)
{
    const rcnn_args args = {.value = plan->value, .scratch = scratch, .frame = frame};
    double start = rcnn_clock_ms(); /* of what the clock was last read for */
    for (int32_t i = 0; i < plan->step_count; i++) {
        const rcnn_plan_step *step = &plan->steps[i];
        RCNN_TRY(rcnn_plan_enqueue_step(plan, vt, i, &args, err));
        if (step_ms || i + 1 == plan->step_count || plan->steps[i + 1].stage != step->stage) {
            const double now = rcnn_clock_ms();
            stage_ms[step->stage] += now - start;
            if (step_ms) {
                step_ms[i] = now - start;
            }
            start = now;
        }
    }
    return RCNN_OK;
}

rcnn_status rcnn_plan_run(const rcnn_plan *plan, const rcnn_backend_vt *vt, rcnn_backend *backend, void *scratch,
                          const rcnn_frame *frame, double *stage_ms, double *step_ms, rcnn_error *err)
{
    rcnn_status status = enqueue_steps(plan, vt, scratch, frame, stage_ms, step_ms, err);
    /* synced after a failure too: what was enqueued before it still uses the frame and the arena */
    rcnn_status synced = vt->sync(backend, status == RCNN_OK ? err : NULL);
    return status == RCNN_OK ? synced : status;
}
