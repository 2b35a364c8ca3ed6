/* The memory planner: a pure function from lifetimes to offsets.
 *
 * Values that may share memory by construction (an op's output written over an input that dies there) are joined into
 * groups first. Groups are then placed largest first, each into the tightest gap left by the groups placed before it
 * whose lifetimes touch its own. Largest first with best fit stays within a few percent of the largest live set on
 * networks like these (the plan test states the bound it checks). */
#include "graph/graph.h"

#include <stdlib.h>

#include "base/memory.h"

typedef struct rcnn_plan_group {
    int32_t first, last; /* ops during which the memory is in use */
    size_t bytes, offset;
    int32_t leader; /* value id that names the group          */
} rcnn_plan_group;

static size_t round_up(size_t bytes)
{
    return (bytes + RCNN_ALIGNMENT - 1) / RCNN_ALIGNMENT * RCNN_ALIGNMENT;
}

/* Alive only between ops of one kernel that does not need the memory. */
static bool is_between(const rcnn_graph *graph, const rcnn_value *value)
{
    if (value->producer < 0 || value->last_use >= graph->op_count) {
        return false;
    }
    const rcnn_op *op = &graph->ops[value->producer];
    return op->fused_first != op->fused_last && !op->fused_keeps && value->last_use > value->producer &&
           value->last_use <= op->fused_last;
}

/* leader[v]: the value whose memory v uses; v itself when it has its own. */
static void join_inplace(const rcnn_graph *graph, int32_t *leader)
{
    for (int32_t v = 0; v < graph->value_count; v++) {
        leader[v] = v;
    }
    for (int32_t i = 0; i < graph->op_count; i++) {
        const rcnn_op *op = &graph->ops[i];
        if (op->fused_first != op->fused_last || op->inplace < 0 || op->inplace >= op->input_count ||
            op->output_count < 1) {
            continue;
        }
        rcnn_value_id from = op->input[op->inplace];
        rcnn_value_id to = op->output[0];
        int shared = 0; /* the same value read through another input must survive the write */
        for (int32_t k = 0; k < op->input_count; k++) {
            shared += op->input[k] == from;
        }
        if (shared == 1 && graph->values[from].last_use == i && graph->values[from].bytes == graph->values[to].bytes) {
            leader[to] = leader[from];
        }
    }
}

static int larger_first(const void *a, const void *b)
{
    const rcnn_plan_group *x = a;
    const rcnn_plan_group *y = b;
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? 1 : -1;
    }
    return x->leader < y->leader ? -1 : x->leader > y->leader;
}

static int lower_offset(const void *a, const void *b)
{
    const rcnn_plan_group *const *x = a;
    const rcnn_plan_group *const *y = b;
    return (*x)->offset < (*y)->offset ? -1 : (*x)->offset > (*y)->offset;
}

/* Tightest gap of at least group->bytes between the placed groups that are alive at the same time. */
static size_t best_gap(const rcnn_plan_group *group, const rcnn_plan_group **alive, int32_t alive_count)
{
    size_t best = SIZE_MAX;
    size_t best_size = SIZE_MAX;
    size_t end = 0; /* end of what is occupied so far */
    for (int32_t i = 0; i < alive_count; i++) {
        if (alive[i]->offset > end) {
            size_t gap = alive[i]->offset - end;
            if (gap >= group->bytes && gap < best_size) {
                best = end;
                best_size = gap;
            }
        }
        size_t after = alive[i]->offset + alive[i]->bytes;
        end = after > end ? after : end;
    }
    return best != SIZE_MAX ? best : end;
}

static void place(rcnn_plan_group *groups, int32_t count, const rcnn_plan_group **alive)
{
    qsort(groups, (size_t)count, sizeof *groups, larger_first);
    for (int32_t g = 0; g < count; g++) {
        int32_t alive_count = 0;
        for (int32_t p = 0; p < g; p++) {
            if (groups[p].first <= groups[g].last && groups[g].first <= groups[p].last) {
                alive[alive_count++] = &groups[p];
            }
        }
        qsort(alive, (size_t)alive_count, sizeof *alive, lower_offset);
        groups[g].offset = best_gap(&groups[g], alive, alive_count);
    }
}

/* Every offset and end that placing can come to is at most the sum of all sizes. */
static bool sizes_fit(const rcnn_graph *graph)
{
    size_t sum = 0;
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (!rcnn_add_size(sum, graph->values[v].bytes, &sum) || !rcnn_add_size(sum, RCNN_ALIGNMENT, &sum)) {
            return false;
        }
    }
    return true;
}

/* One group per leader, with the lifetime of all its values. Returns the number of groups. */
static int32_t make_groups(const rcnn_graph *graph, const int32_t *leader, rcnn_plan_group *groups, int32_t *group_of)
{
    int32_t count = 0;
    for (int32_t v = 0; v < graph->value_count; v++) {
        if (leader[v] == v) {
            group_of[v] = count;
            groups[count++] = (rcnn_plan_group){
                .first = INT32_MAX, .last = -1, .bytes = round_up(graph->values[v].bytes), .leader = v};
            if (is_between(graph, &graph->values[v])) {
                groups[count - 1].bytes = 0;
            }
        }
    }
    for (int32_t v = 0; v < graph->value_count; v++) {
        const rcnn_value *value = &graph->values[v];
        rcnn_plan_group *group = &groups[group_of[leader[v]]];
        int32_t first = value->producer < 0 ? 0 : graph->ops[value->producer].fused_first;
        bool ends = value->last_use >= 0 && value->last_use < graph->op_count;
        int32_t last = ends ? graph->ops[value->last_use].fused_last : value->last_use;
        group->first = first < group->first ? first : group->first;
        group->last = last > group->last ? last : group->last;
    }
    return count;
}

rcnn_status rcnn_graph_plan(rcnn_graph *graph, int keep_all, rcnn_error *err)
{
    size_t count = (size_t)graph->value_count;
    if (!sizes_fit(graph)) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "planner: %zu values do not fit in memory together", count);
    }
    int32_t *leader = rcnn_calloc(count, sizeof *leader);
    int32_t *group_of = rcnn_calloc(count, sizeof *group_of);
    rcnn_plan_group *groups = rcnn_calloc(count, sizeof *groups);
    const rcnn_plan_group **alive = rcnn_calloc(count, sizeof *alive);
    rcnn_status status = RCNN_OK;
    if (!leader || !group_of || !groups || !alive) {
        status = rcnn_fail(err, RCNN_ERR_MEMORY, "planner: out of memory for %zu values", count);
        goto done;
    }
    join_inplace(graph, leader);
    if (keep_all) {
        for (int32_t v = 0; v < graph->value_count; v++) {
            leader[v] = v;
        }
    }
    int32_t group_count = make_groups(graph, leader, groups, group_of);
    for (int32_t g = 0; keep_all && g < group_count; g++) {
        groups[g].first = 0;
        groups[g].last = INT32_MAX;
    }
    place(groups, group_count, alive);
    graph->arena_bytes = 0;
    for (int32_t g = 0; g < group_count; g++) {
        graph->values[groups[g].leader].offset = groups[g].offset;
        size_t end = groups[g].offset + groups[g].bytes;
        graph->arena_bytes = end > graph->arena_bytes ? end : graph->arena_bytes;
    }
    for (int32_t v = 0; v < graph->value_count; v++) {
        graph->values[v].offset = graph->values[leader[v]].offset;
    }
done:
    rcnn_free(leader);
    rcnn_free(group_of);
    rcnn_free(groups);
    rcnn_free(alive);
    return status;
}
