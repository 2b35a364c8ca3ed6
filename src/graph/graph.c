/* Building a graph: values and ops appended in execution order, lifetimes kept as they are added. */
#include "graph/graph.h"

#include <string.h>

#include "base/memory.h"

static const char *const OP_NAMES[] = {
#define OP(KIND, name, help) #name,
#include "graph/ops.def"
#undef OP
};

const char *rcnn_op_kind_name(rcnn_op_kind kind)
{
    return (unsigned)kind < RCNN_OP_KIND_COUNT ? OP_NAMES[kind] : "unknown";
}

void rcnn_graph_init(rcnn_graph *graph)
{
    *graph = (rcnn_graph){0};
}

void rcnn_graph_free(rcnn_graph *graph)
{
    rcnn_free(graph->values);
    rcnn_free(graph->ops);
    rcnn_graph_init(graph);
}

static bool desc_bytes(const rcnn_tensor_desc *desc, size_t *out)
{
    size_t bytes = rcnn_dtype_bytes(desc->dtype);
    for (int32_t i = 0; i < desc->rank; i++) {
        if (desc->dim[i] < 1 || !rcnn_mul_size(bytes, (size_t)desc->dim[i], &bytes)) {
            return false;
        }
    }
    *out = bytes;
    return true;
}

rcnn_status rcnn_graph_add_value(rcnn_graph *graph, const char *name, rcnn_dtype dtype, int32_t rank,
                                 const int32_t *dim, rcnn_value_id *out, rcnn_error *err)
{
    rcnn_value value = {.desc = {.dtype = dtype, .rank = rank}, .producer = -1, .last_use = -1};
    if (rank < 1 || rank > 4 || strlen(name) >= sizeof value.name) {
        return rcnn_fail(err, RCNN_ERR_INTERNAL, "graph: value '%s': bad rank %d or name", name, rank);
    }
    strcpy(value.name, name);
    memcpy(value.desc.dim, dim, (size_t)rank * sizeof *dim);
    if (!desc_bytes(&value.desc, &value.bytes)) {
        return rcnn_fail(err, RCNN_ERR_LIMIT, "graph: value '%s' does not fit in memory", name);
    }
    void *values = graph->values;
    bool grown = rcnn_grow(&values, &graph->value_capacity, (size_t)graph->value_count + 1, sizeof value);
    graph->values = values;
    if (!grown) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "graph: out of memory at value '%s'", name);
    }
    *out = graph->value_count;
    graph->values[graph->value_count++] = value;
    return RCNN_OK;
}

/* Later uses never shorten a life: a value marked as an output lives to the end whoever reads it afterwards. */
static void use(rcnn_value *value, int32_t op)
{
    value->last_use = value->last_use > op ? value->last_use : op;
}

rcnn_status rcnn_graph_add_op(rcnn_graph *graph, const rcnn_op *op, rcnn_error *err)
{
    void *ops = graph->ops;
    bool grown = rcnn_grow(&ops, &graph->op_capacity, (size_t)graph->op_count + 1, sizeof *op);
    graph->ops = ops;
    if (!grown) {
        return rcnn_fail(err, RCNN_ERR_MEMORY, "graph: out of memory at op '%s'", op->name);
    }
    int32_t index = graph->op_count;
    graph->ops[index] = *op;
    graph->ops[index].fused_first = index;
    graph->ops[index].fused_last = index;
    for (int32_t i = 0; i < op->input_count; i++) {
        rcnn_value *value = &graph->values[op->input[i]];
        if (value->producer < 0) {
            return rcnn_fail(err, RCNN_ERR_INTERNAL, "graph: op '%s' reads '%s' before it is made", op->name,
                             value->name);
        }
        use(value, index);
    }
    if (op->rows != RCNN_NO_VALUE) {
        use(&graph->values[op->rows], index);
    }
    for (int32_t i = 0; i < op->output_count; i++) {
        rcnn_value *value = &graph->values[op->output[i]];
        value->producer = index;
        use(value, index);
    }
    graph->op_count++;
    return RCNN_OK;
}

void rcnn_graph_mark_output(rcnn_graph *graph, rcnn_value_id value)
{
    graph->values[value].last_use = INT32_MAX;
}

void rcnn_graph_fuse(rcnn_graph *graph, int32_t first, int32_t count, int keep_between)
{
    for (int32_t i = first; i < first + count; i++) {
        graph->ops[i].fused_first = first;
        graph->ops[i].fused_last = first + count - 1;
        graph->ops[i].fused_keeps = keep_between;
    }
}

rcnn_value_id rcnn_graph_find(const rcnn_graph *graph, const char *name)
{
    for (int32_t i = 0; i < graph->value_count; i++) {
        if (strcmp(graph->values[i].name, name) == 0) {
            return i;
        }
    }
    return RCNN_NO_VALUE;
}
