/* The plan of one image size as JSON: ops with their arithmetic, values with their place in memory. */
#include <stdio.h>

#include "base/text.h"
#include "model/model.h"
#include "session/session.h"

static void add_shape(rcnn_text *text, const rcnn_tensor_desc *desc)
{
    for (int32_t i = 0; i < desc->rank; i++) {
        rcnn_text_printf(text, "%s%d", i ? "," : "[", desc->dim[i]);
    }
    rcnn_text_add(text, "]");
}

static void add_op(rcnn_text *text, const rcnn_graph *graph, const rcnn_op *op)
{
    rcnn_text_printf(
        text,
        "{\"stage\":\"%s\",\"kind\":\"%s\",\"name\":\"%s\",\"macs\":%lld,\"rows\":%s,\"output\":\"%s\",\"shape\":",
        rcnn_stage_name((int32_t)op->stage), rcnn_op_kind_name(op->kind), op->name, (long long)rcnn_op_macs(graph, op),
        op->rows == RCNN_NO_VALUE ? "false" : "true", graph->values[op->output[0]].name);
    add_shape(text, &graph->values[op->output[0]].desc);
    rcnn_text_add(text, "}");
}

/* Lower case: "f32". */
static void add_dtype(rcnn_text *text, rcnn_dtype dtype)
{
    char name[8] = "";
    snprintf(name, sizeof name, "%s", rcnn_dtype_name(dtype));
    for (char *c = name; *c; c++) {
        *c = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    }
    rcnn_text_printf(text, ",\"dtype\":\"%s\"", name);
}

static void add_value(rcnn_text *text, const rcnn_graph *graph, const rcnn_value *value)
{
    int32_t last = value->last_use == INT32_MAX ? graph->op_count : value->last_use;
    rcnn_text_printf(text, "{\"name\":\"%s\",\"bytes\":%zu,\"offset\":%zu,\"first_op\":%d,\"last_op\":%d", value->name,
                     value->bytes, value->offset, value->producer, last);
    add_dtype(text, value->desc.dtype);
    if (value->scale > 0) {
        rcnn_text_add(text, ",\"scale\":");
        rcnn_text_json_number(text, (double)value->scale);
    }
    rcnn_text_add(text, ",\"shape\":");
    add_shape(text, &value->desc);
    rcnn_text_add(text, "}");
}

/* Of the stages that have ops. */
static void add_stage_macs(rcnn_text *text, const rcnn_graph *graph)
{
    int64_t macs[RCNN_STAGE_COUNT] = {0};
    bool built[RCNN_STAGE_COUNT] = {false};
    for (int32_t i = 0; i < graph->op_count; i++) {
        macs[graph->ops[i].stage] += rcnn_op_macs(graph, &graph->ops[i]);
        built[graph->ops[i].stage] = true;
    }
    const char *comma = "";
    for (int32_t i = 0; i < RCNN_STAGE_COUNT; i++) {
        if (built[i]) {
            rcnn_text_printf(text, "%s{\"stage\":\"%s\",\"macs\":%lld}", comma, rcnn_stage_name(i), (long long)macs[i]);
            comma = ",";
        }
    }
}

/* Which consecutive ops the backend runs as one kernel. */
static void add_kernels(rcnn_text *text, const rcnn_plan *plan)
{
    for (int32_t i = 0; i < plan->step_count; i++) {
        rcnn_text_printf(text, "%s[%d,%d]", i ? "," : "", plan->steps[i].first, plan->steps[i].count);
    }
}

static void add_plan(rcnn_text *text, const rcnn_plan *plan)
{
    static const char *const PRECISIONS[] = {"auto", "fp32", "tf32", "fp16", "bf16", "int8"};
    const rcnn_graph *graph = &plan->graph;
    rcnn_text_printf(text, "\"batch\":%d,\"width\":%d,\"height\":%d,\"precision\":\"%s\",", plan->batch, plan->width,
                     plan->height, PRECISIONS[graph->precision]);
    rcnn_text_printf(text, "\"arena_bytes\":%zu,\"scratch_bytes\":%zu,\"kernels\":[", graph->arena_bytes,
                     plan->scratch_bytes);
    add_kernels(text, plan);
    rcnn_text_add(text, "],\"stages\":[");
    add_stage_macs(text, graph);
    rcnn_text_add(text, "],\"ops\":[");
    for (int32_t i = 0; i < graph->op_count; i++) {
        rcnn_text_add(text, i ? ",\n" : "\n");
        add_op(text, graph, &graph->ops[i]);
    }
    rcnn_text_add(text, "],\"values\":[");
    for (int32_t i = 0; i < graph->value_count; i++) {
        rcnn_text_add(text, i ? ",\n" : "\n");
        add_value(text, graph, &graph->values[i]);
    }
    rcnn_text_add(text, "]");
}

rcnn_status rcnn_session_plan_json(rcnn_session *session, int32_t width, int32_t height, char **json, rcnn_error *err)
{
    if (json) {
        *json = NULL;
    }
    if (!session || !json || width < 1 || height < 1 || width > RCNN_IMAGE_SIDE_MAX || height > RCNN_IMAGE_SIDE_MAX) {
        return rcnn_fail(err, RCNN_ERR_ARGUMENT, "plan: want an image size of 1..%d, got %dx%d", RCNN_IMAGE_SIDE_MAX,
                         width, height);
    }
    int32_t net_width, net_height;
    rcnn_frame_image image = {.view = {.width = width, .height = height}};
    rcnn_session_place_image(session, &image, &net_width, &net_height);
    rcnn_plan *plan;
    RCNN_TRY(rcnn_session_plan_for(session, session->max_batch, net_width, net_height, &plan, err));
    rcnn_text text = {0};
    rcnn_text_printf(&text, "{\"image_width\":%d,\"image_height\":%d,", width, height);
    add_plan(&text, plan);
    rcnn_text_add(&text, "}\n");
    *json = rcnn_text_take(&text);
    return *json ? RCNN_OK : rcnn_fail(err, RCNN_ERR_MEMORY, "plan: out of memory for its text");
}
