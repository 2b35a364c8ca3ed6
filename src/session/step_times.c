/* Times of single kernels: kept when a run lands, with the work that each had to do. */
#include <stdio.h>

#include "base/memory.h"
#include "session/session.h"

static int64_t live_rows(const int32_t *counts, int32_t images)
{
    int64_t sum = counts ? 0 : -1;
    for (int32_t n = 0; counts && n < images; n++) {
        sum += counts[n];
    }
    return sum;
}

static void name_step(char *text, size_t capacity, const rcnn_graph *graph, const rcnn_plan_step *step)
{
    const char *first = graph->ops[step->first].name;
    if (step->count == 1) {
        snprintf(text, capacity, "%s", first);
    } else {
        snprintf(text, capacity, "%s..%s", first, graph->ops[step->first + step->count - 1].name);
    }
}

rcnn_status rcnn_session_keep_steps(rcnn_session *s, const rcnn_plan *plan, const double *ms,
                                    const rcnn_delivered *delivered, rcnn_error *err)
{
    const rcnn_live_rows live[] = {
        {plan->delivery.counts, live_rows(delivered->counts, plan->batch)},
        {plan->delivery.proposal_counts, live_rows(delivered->proposal_counts, plan->batch)},
    };
    void *steps = s->steps;
    const bool grown = rcnn_grow(&steps, &s->step_capacity, (size_t)plan->step_count, sizeof *s->steps);
    s->steps = steps;
    if (!grown) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "session: out of memory for the times of %d kernels", plan->step_count);
    }
    double begin = 0;
    for (int32_t i = 0; i < plan->step_count; i++) {
        const rcnn_plan_step *step = &plan->steps[i];
        const rcnn_cost cost =
            rcnn_graph_cost(&plan->graph, step->first, step->count, live, (int32_t)(sizeof live / sizeof live[0]));
        name_step(s->steps[i].name, sizeof s->steps[i].name, &plan->graph, step);
        s->steps[i].time = (rcnn_step_time){.stage = rcnn_stage_name((int32_t)step->stage),
                                            .ops = step->count,
                                            .begin_ms = begin,
                                            .ms = ms[i],
                                            .gflop = cost.flop * 1e-9,
                                            .gbyte = cost.bytes * 1e-9};
        begin += ms[i];
    }
    s->step_count = plan->step_count;
    return RCNN_OK;
}

int32_t rcnn_session_step_count(const rcnn_session *s)
{
    return s && s->pending == 0 ? s->step_count : 0;
}

rcnn_status rcnn_session_step_get(const rcnn_session *s, int32_t index, rcnn_step_time *out)
{
    if (!out || index < 0 || index >= rcnn_session_step_count(s)) {
        return RCNN_ERR_ARGUMENT;
    }
    *out = s->steps[index].time;
    out->name = s->steps[index].name;
    return RCNN_OK;
}
